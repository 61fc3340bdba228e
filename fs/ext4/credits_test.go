package ext4

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// creditAudit compares what handles are said to change with what they do.
type creditAudit struct {
	fs      *FS
	credits int
	callers []string
}

func newCreditAudit(t testing.TB, fs *FS) *creditAudit {
	a := &creditAudit{fs: fs}
	fs.onBegin = func(credits int) {
		a.credits += credits
		_, file, line, _ := runtime.Caller(2)
		a.callers = append(a.callers, fmt.Sprintf("%d at %s:%d", credits, file[strings.LastIndexByte(file, '/')+1:], line))
	}
	return a
}

// do makes a change and checks it. The transaction is empty before, so that every block counts.
func (a *creditAudit) do(t testing.TB, what string, f func()) {
	t.Helper()
	if err := a.fs.commit(0); err != nil {
		t.Fatal(err)
	}
	a.fs.txLock.RLock()
	tx := a.fs.running
	a.fs.txLock.RUnlock()
	a.credits, a.callers = 0, nil
	f()
	a.fs.txLock.RLock()
	same := a.fs.running == tx
	a.fs.txLock.RUnlock()
	if got := int(tx.size.Load()); same && got > a.credits {
		t.Errorf("%s: %d blocks are changed, handles were for %v", what, got, a.callers)
	}
}

// TestCredits does what the guest can do to names and attributes, each in a transaction of its own, and
// counts the blocks that it changes.
func TestCredits(t *testing.T) {
	for _, kind := range []string{"1k", "no_flex", "orphan", "inode128"} {
		t.Run(kind, func(t *testing.T) {
			img := mkfs(t, "64M", append([]string{"-g", "1024"}, imageKinds[kind]...)...)
			fs, dev := mount(t, img, true, Options{FlushAfter: time.Hour, CommitEvery: time.Hour})
			root := fs.Root()
			a := newCreditAudit(t, fs)
			dirs := []vfs.Node{root}
			for i := range 4 {
				dirs = append(dirs, create(t, root, fmt.Sprint("dir", i), abi.S_IFDIR|0o755))
			}
			long := strings.Repeat("long-name-", 20)
			var target vfs.Node
			for i := range 700 {
				d := dirs[i%5]
				name := fmt.Sprint(i, long)
				a.do(t, "create", func() { create(t, d, name, abi.S_IFREG|0o644).Unref() })
				n, e := d.Lookup(name)
				if e != 0 {
					t.Fatal(e)
				}
				a.do(t, "setxattr in the inode", func() { n.(vfs.XattrNode).Setxattr("user.a", []byte("value"), 0) })
				a.do(t, "setxattr in a block", func() { n.(vfs.XattrNode).Setxattr("user.b", make([]byte, 100+i/3), 0) })
				a.do(t, "list", func() { n.(vfs.XattrNode).Setxattr("system.posix_acl_access", namedACL.Value(), 0) })
				a.do(t, "chmod", func() { n.SetAttr(&vfs.SetAttr{Mask: vfs.SetMode, Mode: 0o640}) })
				a.do(t, "link", func() { dirs[(i+1)%5].Link("link-"+name, n) })
				a.do(t, "rename", func() { d.Rename(name, dirs[(i+2)%5], "renamed-"+name, 0) })
				a.do(t, "mkdir", func() { create(t, d, "dir-"+name, abi.S_IFDIR|0o755).Unref() })
				a.do(t, "symlink", func() {
					if n, e := d.Symlink("sym-"+name, long, &vfs.NewNode{}); e == 0 {
						n.Unref()
					}
				})
				a.do(t, "tmpfile", func() { target = tmpfile(t, d, true, "") })
				a.do(t, "link of a tmpfile", func() { d.Link("tmp-"+name, target) })
				target.Unref()
				a.do(t, "rename over", func() { d.Rename("tmp-"+name, dirs[(i+2)%5], "renamed-"+name, 0) })
				n.Unref()
				a.do(t, "exchange", func() { d.Rename("dir-"+name, dirs[(i+2)%5], "renamed-"+name, abi.RENAME_EXCHANGE) })
				if i%3 == 0 {
					a.do(t, "rmdir", func() { dirs[(i+2)%5].Rmdir("renamed-" + name) })
					a.do(t, "unlink", func() { dirs[(i+1)%5].Unlink("link-" + name) })
					a.do(t, "unlink of a symlink", func() { d.Unlink("sym-" + name) })
				}
			}
			g := newGenerator(root, 3)
			for i := range 500 {
				a.do(t, fmt.Sprint("step ", i), func() { g.step(t) })
			}
			g.close()
			fs.onBegin = nil
			for _, d := range dirs {
				d.Unref()
			}
			if e := fs.Unmount(); e != 0 {
				t.Fatal(e)
			}
			fsck(t, dev.Content())
		})
	}
}
