package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
	"pinhole/fs/acl"
	"pinhole/fs/memfs"
	"pinhole/fs/vfs"
)

// xattrUsers returns the number of users of each block of attributes that the nodes have.
func xattrUsers(t *testing.T, nodes []vfs.Node) map[uint64]uint32 {
	t.Helper()
	users := make(map[uint64]uint32)
	for _, v := range nodes {
		b, err := v.(*inode).xattrBlock()
		if err != nil {
			t.Fatal(err)
		}
		if b != nil {
			users[b.nr] = le.Uint32(b.data[4:])
			v.(*inode).fs.buffers.put(b)
		}
	}
	return users
}

// TestSharedXattrs: files with the same attributes share a block, as many as Linux lets share, until
// one of them changes its own.
func TestSharedXattrs(t *testing.T) {
	for _, kind := range []string{"1k", "inode128", "nocsum"} {
		t.Run(kind, func(t *testing.T) {
			img := mkfs(t, "32M", imageKinds[kind]...)
			fs, dev := mount(t, img, true, Options{})
			root := fs.Root()
			free := fs.freeBlocks.Load()
			value := bytes.Repeat([]byte("value"), 60)
			var nodes []vfs.Node
			set := func(n vfs.Node, name string, value []byte) {
				t.Helper()
				if e := n.(vfs.XattrNode).Setxattr(name, value, 0); e != 0 {
					t.Fatal(e)
				}
			}
			for i := range maxXattrUsers + 76 {
				n := create(t, root, fmt.Sprint(i), abi.S_IFREG|0o644)
				set(n, "user.one", value)
				set(n, "user.two", value)
				nodes = append(nodes, n)
			}
			var counts []uint32
			for _, n := range xattrUsers(t, nodes) {
				counts = append(counts, n)
			}
			slices.Sort(counts)
			if len(counts) != 2 || counts[1] > maxXattrUsers || counts[0]+counts[1] != uint32(len(nodes)) {
				t.Errorf("users of %d blocks: %.60s", len(counts), fmt.Sprint(counts))
			}
			set(nodes[0], "user.two", []byte("other"))
			set(nodes[1], "user.\u00e9\xff", []byte("other"))
			nodes[2].(vfs.XattrNode).Removexattr("user.one")
			nodes[2].(vfs.XattrNode).Removexattr("user.two")
			for i, want := range []string{"other", string(value), "", string(value)} {
				got, e := nodes[i].(vfs.XattrNode).Getxattr("user.two")
				if string(got) != want || (e != 0) != (i == 2) {
					t.Errorf("file %d has %q, %v", i, got, e)
				}
			}
			if users := xattrUsers(t, nodes); len(users) > 5 {
				t.Errorf("users of %d blocks: %.60s", len(users), fmt.Sprint(users))
			}
			if e := fs.Sync(); e != 0 {
				t.Fatal(e)
			}
			fsck(t, dev.Image())
			// Blocks that a mount finds are shared, too.
			fs.xattrHashes = xattrHashes{}
			if _, e := nodes[5].(vfs.XattrNode).Getxattr("user.two"); e != 0 {
				t.Fatal(e)
			}
			n := create(t, root, "late", abi.S_IFREG|0o644)
			set(n, "user.one", value)
			set(n, "user.two", value)
			nodes = append(nodes, n)
			if users := xattrUsers(t, nodes); len(users) > 5 {
				t.Errorf("users of %d blocks: %.60s", len(users), fmt.Sprint(users))
			}
			for i, n := range nodes {
				n.Unref()
				if i%2 == 0 && i < maxXattrUsers {
					root.Unlink(fmt.Sprint(i))
				}
			}
			if e := fs.Sync(); e != 0 {
				t.Fatal(e)
			}
			fsck(t, dev.Image())
			for _, name := range names(t, root, 100) {
				if name != "." && name != ".." && name != "lost+found" {
					root.Unlink(name)
				}
			}
			if e := fs.Sync(); e != 0 {
				t.Fatal(e)
			}
			var a vfs.Attr
			root.Attr(&a)
			if lost := free - fs.freeBlocks.Load(); lost > a.Blocks {
				t.Errorf("%d blocks are lost", lost)
			}
			root.Unref()
			if e := fs.Unmount(); e != 0 {
				t.Fatal(e)
			}
			fsck(t, dev.Content())
		})
	}
}

func TestXattrLimits(t *testing.T) {
	img := mkfs(t, "8M", "-b", "1024", "-I", "128")
	fs, dev := mount(t, img, true, Options{})
	root := fs.Root()
	n := create(t, root, "f", abi.S_IFREG|0o644).(*inode)
	const most = 1024 - 32 - 4 - 16 - 4 // header, end, entry, name
	for _, tt := range []struct {
		name  string
		value int
		flags uint32
		want  abi.Errno
	}{
		{"user.big", most, 0, 0}, {"user.big", most + 1, 0, abi.ENOSPC}, {"user.big", 64 << 10, 0, abi.ENOSPC},
		{"user.big", 64<<10 + 1, 0, abi.E2BIG}, {"user.more", 0, 0, abi.ENOSPC}, {"user.big", 10, xattrCreate, abi.EEXIST},
		{"user.none", 10, xattrReplace, abi.ENODATA}, {"user.big", 10, 4, abi.EINVAL}, {"user." + strings.Repeat("n", 251), 1, 0, abi.ERANGE},
		{"user.big", 10, 0, 0}, {"user." + strings.Repeat("n", 250), 600, 0, 0}, {"system.data", 1, 0, abi.EOPNOTSUPP},
		{"trusted.", 1, 0, abi.EINVAL}, {"foo.bar", 1, 0, abi.EOPNOTSUPP},
	} {
		if e := n.Setxattr(tt.name, make([]byte, tt.value), tt.flags); e != tt.want {
			t.Errorf("setxattr %.20s of %d bytes: %v, want %v", tt.name, tt.value, e, tt.want)
		}
	}
	if v, e := n.Getxattr("user.big"); e != 0 || len(v) != 10 {
		t.Errorf("%d bytes, %v", len(v), e)
	}
	n.Unref()
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, dev.Content())
}

// An access control list, as setfacl(1) would set it.
var (
	namedACL = acl.List{{Tag: acl.UserObj, Perm: 7}, {Tag: acl.User, Perm: 6, ID: 1000}, {Tag: acl.GroupObj, Perm: 5},
		{Tag: acl.Group, Perm: 4, ID: 70000}, {Tag: acl.Mask, Perm: 7}, {Tag: acl.Other, Perm: 0}}
	minimalACL = acl.List{{Tag: acl.UserObj, Perm: 6}, {Tag: acl.GroupObj, Perm: 4}, {Tag: acl.Other, Perm: 1}}
)

// aclSteps does the same with lists in a file system of any kind. get and the like return what the
// call did.
func aclSteps(t testing.TB, set func(path, name string, value []byte) string, get func(path, name string) string,
	mk func(path string, mode uint32), chmod func(path string, mode uint32), mode func(path string) string) []string {
	var out []string
	see := func(path string) {
		out = append(out, fmt.Sprintf("%s: %s access %s default %s", path, mode(path), get(path, acl.Access), get(path, acl.Default)))
	}
	do := func(path, name string, value []byte) {
		out = append(out, fmt.Sprintf("set %s %s: %s", path, name, set(path, name, value)))
		see(path)
	}
	mk("file", abi.S_IFREG|0o640)
	do("file", acl.Access, minimalACL.Value())
	do("file", acl.Access, namedACL.Value())
	chmod("file", 0o2751)
	see("file")
	do("file", acl.Default, namedACL.Value())
	do("file", acl.Default, nil)
	do("file", acl.Access, namedACL.Value()[:12])
	do("file", acl.Access, append([]byte{3}, namedACL.Value()[1:]...))
	do("file", acl.Access, minimalACL.Value())
	do("file", acl.Access, namedACL.Value())
	do("file", acl.Access, nil)
	mk("dir", abi.S_IFDIR|0o755)
	do("dir", acl.Default, namedACL.Value())
	mk("dir/file", abi.S_IFREG|0o660)
	mk("dir/sub", abi.S_IFDIR|0o700)
	mk("dir/sub/file", abi.S_IFREG|0o604)
	mk("dir/dev", abi.S_IFCHR|0o600)
	for _, p := range []string{"dir/file", "dir/sub", "dir/sub/file", "dir/dev"} {
		see(p)
	}
	do("dir", acl.Default, minimalACL.Value())
	mk("dir/min", abi.S_IFREG|0o666)
	mk("dir/mindir", abi.S_IFDIR|0o777)
	see("dir/min")
	see("dir/mindir")
	do("dir", acl.Default, nil)
	mk("dir/plain", abi.S_IFREG|0o666)
	see("dir/plain")
	return out
}

// nodeACLs is aclSteps on a file system of ours.
func nodeACLs(t testing.TB, root vfs.Node) []string {
	find := func(path string) vfs.Node {
		n := root
		n.Ref()
		for _, name := range strings.Split(path, "/") {
			if name == "" || name == "." {
				continue
			}
			c, e := n.Lookup(name)
			if e != 0 {
				t.Fatal(path, e)
			}
			n.Unref()
			n = c
		}
		return n
	}
	return aclSteps(t, func(path, name string, value []byte) string {
		n := find(path)
		defer n.Unref()
		if value == nil {
			return fmt.Sprint(int(n.(vfs.XattrNode).Removexattr(name)))
		}
		return fmt.Sprint(int(n.(vfs.XattrNode).Setxattr(name, value, 0)))
	}, func(path, name string) string {
		n := find(path)
		defer n.Unref()
		v, e := n.(vfs.XattrNode).Getxattr(name)
		return fmt.Sprintf("%x %d", v, int(e))
	}, func(path string, mode uint32) {
		d := find(filepath.Dir(path))
		create(t, d, filepath.Base(path), mode).Unref()
		d.Unref()
	}, func(path string, mode uint32) {
		n := find(path)
		defer n.Unref()
		if e := n.SetAttr(&vfs.SetAttr{Mask: vfs.SetMode, Mode: mode}); e != 0 {
			t.Fatal(e)
		}
	}, func(path string) string {
		n := find(path)
		defer n.Unref()
		return fmt.Sprintf("%o", n.Mode())
	})
}

// hostACLs is aclSteps in a directory of the host.
func hostACLs(t testing.TB, dir string) []string {
	no := func(err error) string {
		var e syscall.Errno
		errors.As(err, &e)
		return fmt.Sprint(int(e))
	}
	get := func(path, name string) string {
		buf := make([]byte, 1000)
		n, err := syscall.Getxattr(filepath.Join(dir, path), name, buf)
		return fmt.Sprintf("%x %s", buf[:max(n, 0)], no(err))
	}
	defer syscall.Umask(syscall.Umask(0))
	return aclSteps(t, func(path, name string, value []byte) string {
		if value == nil {
			return no(syscall.Removexattr(filepath.Join(dir, path), name))
		}
		return no(syscall.Setxattr(filepath.Join(dir, path), name, value, 0))
	}, get, func(path string, mode uint32) {
		path = filepath.Join(dir, path)
		err := error(nil)
		if isType(mode, abi.S_IFDIR) {
			err = syscall.Mkdir(path, mode&0o7777)
		} else {
			err = syscall.Mknod(path, mode, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}, func(path string, mode uint32) {
		if err := syscall.Chmod(filepath.Join(dir, path), mode); err != nil {
			t.Fatal(err)
		}
	}, func(path string) string {
		var st syscall.Stat_t
		if err := syscall.Stat(filepath.Join(dir, path), &st); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%o", st.Mode)
	})
}

// TestACL does the same with access control lists in ext4, in memfs and in the host's ext4.
func TestACL(t *testing.T) {
	for _, kind := range []string{"4k", "inode128"} {
		t.Run(kind, func(t *testing.T) {
			img := mkfs(t, "32M", imageKinds[kind]...)
			fs, dev := mount(t, img, true, Options{})
			root := fs.Root()
			d := create(t, root, "ours", abi.S_IFDIR|0o755)
			ours := nodeACLs(t, d)
			mem := memfs.New(1 << 20).Root()
			if d := cmp.Diff(ours, nodeACLs(t, mem)); d != "" {
				t.Errorf("memfs (-ext4 +memfs):\n%s", d)
			}
			d.Unref()
			root.Unref()
			if e := fs.Unmount(); e != 0 {
				t.Fatal(e)
			}
			dir := loopMount(t, fsck(t, dev.Content()), "acl")
			if d := cmp.Diff(ours, hostACLs(t, dir)); d != "" {
				t.Errorf("the host (-ext4 +host):\n%s", d)
			}
			buf := make([]byte, 1000)
			n, err := syscall.Getxattr(filepath.Join(dir, "ours/dir/sub"), acl.Default, buf)
			if err != nil || !bytes.Equal(buf[:max(n, 0)], namedACL.Value()) {
				t.Errorf("the host sees %x, %v", buf[:max(n, 0)], err)
			}
		})
	}
}
