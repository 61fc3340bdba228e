package ext4

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// loopMount mounts an image file with the host's own ext4, or skips the test.
func loopMount(t testing.TB, path, opts string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount images")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop,"+opts, path, dir).CombinedOutput(); err != nil {
		t.Skipf("the host cannot mount images: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	return dir
}

// hostTree is tree for a directory of the host.
func hostTree(t testing.TB, root string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		s := fmt.Sprintf("%06o %d:%d links=%d mtime=%d.%09d", st.Mode, st.Uid, st.Gid, st.Nlink, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & abi.S_IFMT {
		case abi.S_IFREG:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			s += fmt.Sprintf(" size=%d sum=%x", len(b), sum(b))
		case abi.S_IFLNK:
			target, _ := os.Readlink(path)
			s += " -> " + target
		case abi.S_IFCHR, abi.S_IFBLK:
			s += fmt.Sprintf(" rdev=%#x", st.Rdev)
		}
		out[strings.TrimPrefix(path, root)] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestHostReadsWhatWeWrite writes trees at random, and has Linux read them.
func TestHostReadsWhatWeWrite(t *testing.T) {
	for _, kind := range []string{"1k", "2k", "4k", "nocsum", "uninit_bg", "inode128", "no_flex", "meta_bg", "nofiletyp"} {
		t.Run(kind, func(t *testing.T) {
			if testing.Short() && kind != "1k" && kind != "4k" {
				t.Skip("short test")
			}
			img := mkfs(t, "64M", imageKinds[kind]...)
			fs, dev := mount(t, img, kind != "2k", Options{})
			root := fs.Root()
			g := newGenerator(root, 7)
			for range 3000 {
				g.step(t)
			}
			want := tree(t, root)
			g.close()
			root.Unref()
			if e := fs.Unmount(); e != 0 {
				t.Fatalf("unmount: %v", e)
			}
			path := fsck(t, dev.Content())
			got := hostTree(t, loopMount(t, path, "ro"))
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("what the host reads (-ours +host):\n%s", d)
			}
		})
	}
}

// generator changes a tree at random. It is not told what is there: most steps try names
// from a small set, and errors are part of it.
type generator struct {
	rnd  *rand.Rand
	root vfs.Node
	open []vfs.Node // referenced, maybe without names by now
}

func newGenerator(root vfs.Node, seed uint64) *generator {
	return &generator{rnd: rand.New(rand.NewPCG(seed, 9)), root: root}
}

func (g *generator) close() {
	for _, n := range g.open {
		n.Unref()
	}
	g.open = nil
}

// dir walks down a few directories, and returns the last with a reference.
func (g *generator) dir() vfs.Node {
	d := g.root
	d.Ref()
	for range g.rnd.IntN(4) {
		c, e := d.Lookup(fmt.Sprintf("dir%d", g.rnd.IntN(4)))
		if e != 0 {
			break
		}
		d.Unref()
		d = c
	}
	return d
}

func (g *generator) name() string {
	n := g.rnd.IntN(40)
	if g.rnd.IntN(4) == 0 {
		return fmt.Sprintf("%d-%s", n, strings.Repeat("long", 10+n))
	}
	return fmt.Sprintf("f%d", n)
}

// noise is a Source of bytes at random.
type noise struct{ rnd *rand.Rand }

func (s noise) Get(p []byte) (int, abi.Errno) {
	b := byte(s.rnd.Uint32())
	for i := range p {
		p[i] = b + byte(i>>3)
	}
	return len(p), 0
}

// step does one thing. Without t it may fail as the device does.
func (g *generator) step(t testing.TB) {
	d := g.dir()
	defer d.Unref()
	rnd := g.rnd
	use := func(name string, f func(n vfs.Node)) {
		if n, e := d.Lookup(name); e == 0 {
			f(n)
			n.Unref()
		}
	}
	clean := func(e abi.Errno) {
		if t != nil && (e == abi.EUCLEAN || e == abi.EIO) {
			t.Fatalf("a step fails: %v", e)
		}
	}
	switch rnd.IntN(16) {
	case 0, 1, 2:
		n, e := d.Create(g.name(), &vfs.NewNode{Mode: abi.S_IFREG | 0o644, UID: 70000})
		clean(e)
		if e == 0 {
			_, _, e = n.Write(int64(rnd.IntN(3)*rnd.IntN(300000)), rnd.IntN(200000), noise{rnd})
			clean(e)
			if rnd.IntN(4) == 0 && len(g.open) < 20 {
				g.open = append(g.open, n)
			} else {
				n.Unref()
			}
		}
	case 3:
		n, e := d.Create(fmt.Sprintf("dir%d", rnd.IntN(4)), &vfs.NewNode{Mode: abi.S_IFDIR | 0o755})
		clean(e)
		if e == 0 {
			n.Unref()
		}
	case 4, 5:
		use(g.name(), func(n vfs.Node) {
			_, _, e := n.Write(int64(rnd.IntN(400000)), rnd.IntN(50000), noise{rnd})
			clean(e)
		})
	case 6:
		use(g.name(), func(n vfs.Node) { clean(n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: int64(rnd.IntN(500000))})) })
	case 7, 8:
		clean(d.Unlink(g.name()))
	case 9:
		clean(d.Rmdir(fmt.Sprintf("dir%d", rnd.IntN(4))))
	case 10:
		to := g.dir()
		clean(d.Rename(g.name(), to, g.name(), uint32(rnd.IntN(3))))
		to.Unref()
	case 11:
		use(g.name(), func(n vfs.Node) { clean(d.Link(g.name(), n)) })
	case 12:
		n, e := d.Symlink(g.name(), strings.Repeat("t", 1+rnd.IntN(200)), &vfs.NewNode{})
		clean(e)
		if e == 0 {
			n.Unref()
		}
	case 13:
		use(g.name(), func(n vfs.Node) {
			clean(n.(vfs.Allocator).Allocate(uint32(rnd.IntN(4)), int64(rnd.IntN(300000)), int64(1+rnd.IntN(300000))))
		})
	case 14:
		use(g.name(), func(n vfs.Node) {
			x := n.(vfs.XattrNode)
			name := fmt.Sprintf("user.%d", rnd.IntN(5))
			if rnd.IntN(3) == 0 {
				clean(x.Removexattr(name))
			} else {
				clean(x.Setxattr(name, bytes.Repeat([]byte("v"), rnd.IntN(300)), 0))
			}
		})
	case 15:
		switch {
		case len(g.open) > 0:
			i := rnd.IntN(len(g.open))
			_, _, e := g.open[i].Write(vfs.AtEnd, rnd.IntN(10000), noise{rnd})
			clean(e)
			clean(g.open[i].Sync(rnd.IntN(2) == 0))
			if rnd.IntN(3) == 0 {
				g.open[i].Unref()
				g.open = append(g.open[:i], g.open[i+1:]...)
			}
		default:
			n, e := d.Create(g.name(), &vfs.NewNode{Mode: abi.S_IFCHR | 0o600, Rdev: uint64(rnd.IntN(1 << 20))})
			clean(e)
			if e == 0 {
				n.Unref()
			}
		}
	}
}

// TestReplayHostJournal lets Linux change a mounted image, takes a copy with the journal
// still in use, and compares what a mount of the copy shows with what Linux shows.
func TestReplayHostJournal(t *testing.T) {
	kinds := map[string]struct {
		mkfs  []string
		mount string
	}{
		"csum v3":      {[]string{"-b", "4096"}, "data=ordered"},
		"1k":           {[]string{"-b", "1024"}, "data=ordered"},
		"data journal": {[]string{"-b", "4096"}, "data=journal"},
		"no csum":      {[]string{"-b", "1024", "-O", "^metadata_csum,^64bit"}, "data=ordered"},
		"csum v1":      {[]string{"-b", "1024", "-O", "^metadata_csum"}, "journal_checksum"},
		"async commit": {[]string{"-b", "4096"}, "journal_async_commit,data=writeback"},
		"wrap":         {[]string{"-b", "1024", "-J", "size=1"}, "data=journal"},
		"orphan file":  {[]string{"-b", "4096", "-O", "orphan_file"}, "data=ordered"},
	}
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image")
			writeSparse(t, path, mkfs(t, "48M", k.mkfs...))
			dir := loopMount(t, path, k.mount)
			held := hostChanges(t, dir)
			syscall.Sync()
			img, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want := hostTree(t, dir)
			for _, f := range held {
				f.Close()
			}
			if le.Uint32(img[1024+0x60:])&4 == 0 {
				t.Fatal("the copy does not need recovery; the test shows nothing")
			}
			before := cloneSparse(img)
			replayed := false
			log := func(format string, args ...any) {
				t.Logf(format, args...)
				replayed = replayed || strings.HasPrefix(format, "journal replayed")
			}
			for _, readOnly := range []bool{true, false} {
				fs, dev := mount(t, img, true, Options{ReadOnly: readOnly, Log: log})
				root := fs.Root()
				if d := cmp.Diff(want, tree(t, root)); d != "" {
					t.Errorf("read-only %v (-host +ours):\n%s", readOnly, d)
				}
				root.Unref()
				if e := fs.Unmount(); e != 0 {
					t.Errorf("unmount: %v", e)
				}
				if readOnly && !bytes.Equal(before, dev.Content()) {
					t.Error("a read-only mount has changed the image")
				}
			}
			if !replayed {
				t.Error("no journal was replayed")
			}
			fsck(t, img)
		})
	}
}

// hostChanges makes changes below dir that put all kinds of records into the journal. It
// returns files that are open and have no names.
func hostChanges(t testing.TB, dir string) []*os.File {
	t.Helper()
	// A block that starts with the journal's magic number has to be escaped.
	escaped := bytes.Repeat([]byte{0xc0, 0x3b, 0x39, 0x98}, 4096)
	var held []*os.File
	for round := range 4 {
		base := filepath.Join(dir, fmt.Sprint("round", round))
		os.Mkdir(base, 0o755)
		for i := range 60 {
			name := filepath.Join(base, fmt.Sprintf("a-file-with-a-name-%d", i))
			if err := os.WriteFile(name, bytes.Repeat([]byte(name), 200), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		os.WriteFile(filepath.Join(base, "escaped"), escaped, 0o600)
		syscall.Sync()
		if f, err := os.Create(filepath.Join(base, "held")); err == nil {
			f.Write(escaped)
			os.Remove(f.Name())
			held = append(held, f)
		}
		if round > 0 {
			// Freed directory blocks are revoked, and used again for content.
			old := filepath.Join(dir, fmt.Sprint("round", round-1))
			os.RemoveAll(old)
			os.WriteFile(filepath.Join(dir, fmt.Sprint("reused", round)), bytes.Repeat([]byte("content"), 30000), 0o644)
		}
		syscall.Sync()
	}
	return held
}

// TestHostReadsAttributes has Linux look up extended attributes, which it expects in order.
func TestHostReadsAttributes(t *testing.T) {
	for _, opts := range [][]string{{"-b", "4096"}, {"-b", "1024", "-I", "128"}} {
		fs, dev := mount(t, mkfs(t, "16M", opts...), true, Options{})
		root := fs.Root()
		n := create(t, root, "file", abi.S_IFREG|0o644)
		want := make(map[string]string)
		for i, name := range []string{"user.zz", "user.b", "trusted.x", "user.longer-name", "user.a", "security.s", "user.empty", "user.c"} {
			value := strings.Repeat(string(rune('a'+i)), i*9)
			if name == "user.empty" {
				value = ""
			}
			if e := n.(vfs.XattrNode).Setxattr(name, []byte(value), 0); e != 0 {
				t.Fatalf("%s: %v", name, e)
			}
			want[name] = value
		}
		if e := n.(vfs.XattrNode).Removexattr("user.b"); e != 0 {
			t.Fatal(e)
		}
		delete(want, "user.b")
		n.Unref()
		root.Unref()
		if e := fs.Unmount(); e != 0 {
			t.Fatal(e)
		}
		dir := loopMount(t, fsck(t, dev.Content()), "ro")
		for name, value := range want {
			buf := make([]byte, 100)
			k, err := syscall.Getxattr(filepath.Join(dir, "file"), name, buf)
			if err != nil || string(buf[:max(k, 0)]) != value {
				t.Errorf("%v: host reads %s = %q, %v; want %q", opts, name, buf[:max(k, 0)], err, value)
			}
		}
	}
}
