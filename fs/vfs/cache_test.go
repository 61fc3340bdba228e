package vfs_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"pinhole/abi"
	"pinhole/fs/memfs"
	"pinhole/fs/vfs"
)

// counting is a memfs that counts the references to its nodes and the lookups.
type counting struct {
	*memfs.FS
	refs    atomic.Int64
	lookups atomic.Int64
}

type countingNode struct {
	vfs.Node
	fs *counting
}

func (c *counting) wrap(n vfs.Node, e abi.Errno) (vfs.Node, abi.Errno) {
	if e != 0 {
		return nil, e
	}
	c.refs.Add(1)
	return countingNode{n, c}, 0
}

func (c *counting) Root() vfs.Node {
	n, _ := c.wrap(c.FS.Root(), 0)
	return n
}

func (n countingNode) Ref() {
	n.fs.refs.Add(1)
	n.Node.Ref()
}

func (n countingNode) Unref() {
	n.fs.refs.Add(-1)
	n.Node.Unref()
}

func (n countingNode) Lookup(name string) (vfs.Node, abi.Errno) {
	n.fs.lookups.Add(1)
	return n.fs.wrap(n.Node.Lookup(name))
}

func (n countingNode) Create(name string, c *vfs.NewNode) (vfs.Node, abi.Errno) {
	return n.fs.wrap(n.Node.Create(name, c))
}

func (n countingNode) Symlink(name, target string, c *vfs.NewNode) (vfs.Node, abi.Errno) {
	return n.fs.wrap(n.Node.Symlink(name, target, c))
}

func (n countingNode) Link(name string, target vfs.Node) abi.Errno {
	return n.Node.Link(name, target.(countingNode).Node)
}

func (n countingNode) Rename(name string, dir vfs.Node, newName string, flags uint32) abi.Errno {
	return n.Node.Rename(name, dir.(countingNode).Node, newName, flags)
}

// TestCacheLimit: unused names are forgotten beyond the limit, and every reference is given back.
func TestCacheLimit(t *testing.T) {
	fs := &counting{FS: memfs.New(64 << 20)}
	ns := vfs.NewNamespace(fs)
	const limit = 100
	ns.SetCacheLimit(limit)
	c := &vfs.Context{}
	mustOK(t, ns.Mkdir(c, nil, "/d", 0o755))
	var held []*vfs.Dentry
	for i := range 2000 {
		d, _, e := ns.Open(c, nil, fmt.Sprintf("/d/%d", i), abi.O_CREAT, 0o644)
		mustOK(t, e)
		if i%20 == 0 {
			held = append(held, d)
		} else {
			d.Unref()
		}
	}
	// Held nodes, cached ones, and the directories.
	if n := fs.refs.Load(); n > int64(limit+len(held)+10) {
		t.Errorf("%d references to nodes with a limit of %d and %d held", n, limit, len(held))
	}
	var a vfs.Attr
	for i := range 2000 {
		mustOK(t, ns.Stat(c, nil, fmt.Sprintf("/d/%d", i), 0, &a))
		expect(t, "missing", ns.Stat(c, nil, fmt.Sprintf("/d/x%d", i), 0, &a), abi.ENOENT)
	}
	for i, d := range held {
		if got, _ := ns.PathTo(c, d); got != fmt.Sprintf("/d/%d", i*20) {
			t.Errorf("held %d is %s", i*20, got)
		}
		again, e := ns.Walk(c, nil, fmt.Sprintf("/d/%d", i*20), 0)
		mustOK(t, e)
		if again != d {
			t.Errorf("two dentries for %d", i*20)
		}
		again.Unref()
		d.Unref()
	}
	// What is used again and again stays.
	mustOK(t, ns.Stat(c, nil, "/d/1", 0, &a))
	before := fs.lookups.Load()
	for i := range 1000 {
		mustOK(t, ns.Stat(c, nil, "/d/1", 0, &a))
		mustOK(t, ns.Stat(c, nil, fmt.Sprintf("/d/%d", 10+i%500), 0, &a))
	}
	if n := fs.lookups.Load() - before; n > 1002 {
		t.Errorf("%d lookups of 1000 other names: what is always used is forgotten", n)
	}
	mustOK(t, ns.Close())
	if n := fs.refs.Load(); n != 0 {
		t.Errorf("%d references to nodes after Close", n)
	}
}

// TestCached: names that exist and names that do not are asked for once.
func TestCached(t *testing.T) {
	fs := &counting{FS: memfs.New(1 << 20)}
	ns := vfs.NewNamespace(fs)
	c := &vfs.Context{}
	mustOK(t, ns.Mkdir(c, nil, "/d", 0o755))
	mustOK(t, ns.Mknod(c, nil, "/d/f", 0o644, 0))
	mustOK(t, ns.Symlink(c, "d/f", nil, "/l"))
	var a vfs.Attr
	round := func() {
		mustOK(t, ns.Stat(c, nil, "/d/f", 0, &a))
		mustOK(t, ns.Stat(c, nil, "/l", 0, &a))
		expect(t, "missing", ns.Stat(c, nil, "/d/missing/x", 0, &a), abi.ENOENT)
		expect(t, "missing", ns.Stat(c, nil, "/missing", 0, &a), abi.ENOENT)
	}
	round()
	before := fs.lookups.Load()
	for range 10 {
		round()
	}
	if n := fs.lookups.Load() - before; n != 0 {
		t.Errorf("%d lookups of known names", n)
	}
	// Changes keep the cache right without asking.
	mustOK(t, ns.Rename(c, nil, "/d/f", nil, "/missing", 0))
	mustOK(t, ns.Stat(c, nil, "/missing", 0, &a))
	expect(t, "moved", ns.Stat(c, nil, "/d/f", 0, &a), abi.ENOENT)
	mustOK(t, ns.Unlink(c, nil, "/missing"))
	expect(t, "removed", ns.Stat(c, nil, "/missing", 0, &a), abi.ENOENT)
	mustOK(t, ns.Mkdir(c, nil, "/missing", 0o755))
	mustOK(t, ns.Stat(c, nil, "/missing", 0, &a))
	mustOK(t, ns.Rmdir(c, nil, "/missing"))
	if n := fs.lookups.Load() - before; n != 0 {
		t.Errorf("%d lookups of known names after changes", n)
	}
	mustOK(t, ns.Close())
	if n := fs.refs.Load(); n != 0 {
		t.Errorf("%d references to nodes after Close", n)
	}
}

// TestCacheConcurrent walks, moves, removes and evicts at the same time.
func TestCacheConcurrent(t *testing.T) {
	fs := &counting{FS: memfs.New(64 << 20)}
	ns := vfs.NewNamespace(fs)
	ns.SetCacheLimit(50)
	c := &vfs.Context{}
	for i := range 10 {
		mustOK(t, ns.Mkdir(c, nil, fmt.Sprintf("/d%d", i), 0o755))
		for j := range 30 {
			mustOK(t, ns.Mknod(c, nil, fmt.Sprintf("/d%d/f%d", i, j), 0o644, 0))
		}
	}
	mustOK(t, ns.Mkdir(c, nil, "/d0/deep", 0o755))
	mustOK(t, ns.Mknod(c, nil, "/d0/deep/steady", 0o644, 0))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range 3 {
		wg.Go(func() {
			var a vfs.Attr
			for i := w; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if e := ns.Stat(c, nil, fmt.Sprintf("/d%d/f%d", 1+i%9, i%30), 0, &a); e != 0 {
					t.Errorf("stat: %s", e.String())
					return
				}
				// There all the while, under one of the names that its directory has in turn.
				e := ns.Stat(c, nil, "/d0/deep/steady", 0, &a)
				if e == abi.ENOENT {
					e = ns.Stat(c, nil, "/d1/moved/steady", 0, &a)
				}
				if e != 0 && e != abi.ENOENT { // it may have moved in between
					t.Errorf("stat of what moves: %s", e.String())
					return
				}
				d, e := ns.Walk(c, nil, fmt.Sprintf("/d%d/../d%d/./f%d", i%9, 1+i%9, i%30), 0)
				if e != 0 {
					t.Errorf("walk: %s", e.String())
					return
				}
				ns.PathTo(c, d)
				d.Unref()
			}
		})
	}
	for i := range 3000 {
		mustOK(t, ns.Rename(c, nil, "/d0/deep", nil, "/d1/moved", 0))
		mustOK(t, ns.Rename(c, nil, "/d1/moved", nil, "/d0/deep", 0))
		mustOK(t, ns.Mknod(c, nil, fmt.Sprintf("/d2/new%d", i), 0o644, 0))
		mustOK(t, ns.Unlink(c, nil, fmt.Sprintf("/d2/new%d", i)))
	}
	close(stop)
	wg.Wait()
	mustOK(t, ns.Close())
	if n := fs.refs.Load(); n != 0 {
		t.Errorf("%d references to nodes after Close", n)
	}
}

// TestCacheGrows walks what is cached while the table grows: nothing may be looked up again, since
// a name would have two dentries then, and a directory seem to have two names.
func TestCacheGrows(t *testing.T) {
	for range 40 {
		fs := &counting{FS: memfs.New(64 << 20)}
		ns := vfs.NewNamespace(fs)
		c := &vfs.Context{}
		const dirs = 200
		for i := range dirs {
			mustOK(t, ns.Mkdir(c, nil, fmt.Sprint("/d", i), 0o755))
		}
		lookups := fs.lookups.Load()
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for w := range 3 {
			wg.Go(func() {
				var a vfs.Attr
				for i := w; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					if e := ns.Stat(c, nil, fmt.Sprint("/d", i%dirs), 0, &a); e != 0 {
						t.Errorf("stat: %s", e.String())
						return
					}
				}
			})
		}
		const files = 2000 // the table grows with names 512 and 2048
		for i := range files {
			mustOK(t, ns.Mknod(c, nil, fmt.Sprint("/d0/f", i), 0o644, 0))
		}
		close(stop)
		wg.Wait()
		if n := fs.lookups.Load() - lookups; n > files {
			t.Fatalf("%d names were looked up again", n-files)
		}
		mustOK(t, ns.Close())
	}
}

// looping is a damaged file system: "again" in any directory is the directory itself, and "other"
// is one and the same directory everywhere.
type looping struct{ *memfs.FS }

type loopingNode struct {
	vfs.Node
	other vfs.Node
}

func (l looping) Root() vfs.Node {
	root := l.FS.Root()
	other, _ := root.Create("other", &vfs.NewNode{Mode: abi.S_IFDIR | 0o755})
	return loopingNode{root, other}
}

func (n loopingNode) Lookup(name string) (vfs.Node, abi.Errno) {
	switch name {
	case "again":
		n.Ref()
		return n, 0
	case "other", "alias":
		n.other.Ref()
		return loopingNode{n.other, n.other}, 0
	}
	return nil, abi.ENOENT
}

func TestLoops(t *testing.T) {
	ns := vfs.NewNamespace(looping{memfs.New(1 << 20)})
	c := &vfs.Context{}
	var a vfs.Attr
	expect(t, "again", ns.Stat(c, nil, "/again", 0, &a), abi.EUCLEAN)
	mustOK(t, ns.Stat(c, nil, "/other", 0, &a))
	expect(t, "alias", ns.Stat(c, nil, "/alias", 0, &a), abi.EUCLEAN)
	expect(t, "again", ns.Stat(c, nil, "/other/again", 0, &a), abi.EUCLEAN)
	expect(t, "again", ns.Stat(c, nil, "/other/other", 0, &a), abi.EUCLEAN)
	expect(t, "rename", ns.Rename(c, nil, "/other", nil, "/other/again/x", 0), abi.EUCLEAN)
}

// readOnly is a file system that refuses changes.
type readOnly struct{ *memfs.FS }

func (readOnly) ReadOnly() bool { return true }

func TestReadOnly(t *testing.T) {
	fs := memfs.New(1 << 20)
	rw := vfs.NewNamespace(fs)
	c := &vfs.Context{}
	mustOK(t, rw.Mkdir(c, nil, "/d", 0o755))
	mustOK(t, rw.Mknod(c, nil, "/d/f", 0o644, 0))
	mustOK(t, rw.Mknod(c, nil, "/d/p", abi.S_IFIFO|0o644, 0))
	ns := vfs.NewNamespace(readOnly{fs})
	try := func(path string, flags int) abi.Errno {
		d, _, e := ns.Open(c, nil, path, flags, 0o644)
		if e == 0 {
			d.Unref()
		}
		return e
	}
	for _, test := range []struct {
		what string
		got  abi.Errno
		want abi.Errno
	}{
		{"open", try("/d/f", abi.O_RDONLY), 0},
		{"open to write", try("/d/f", abi.O_RDWR), abi.EROFS},
		{"open to truncate", try("/d/f", abi.O_TRUNC), abi.EROFS},
		{"open what is there, with O_CREAT", try("/d/f", abi.O_CREAT), 0},
		{"create", try("/d/new", abi.O_CREAT), abi.EROFS},
		{"open a FIFO to write", try("/d/p", abi.O_RDWR), 0},
		{"access", ns.Access(c, nil, "/d/f", abi.W_OK, 0), abi.EROFS},
		{"access to read", ns.Access(c, nil, "/d/f", abi.R_OK, 0), 0},
		{"access of a FIFO", ns.Access(c, nil, "/d/p", abi.W_OK, 0), 0},
		{"mkdir", ns.Mkdir(c, nil, "/d/new", 0o755), abi.EROFS},
		{"mkdir of what is there", ns.Mkdir(c, nil, "/d", 0o755), abi.EEXIST},
		{"mknod", ns.Mknod(c, nil, "/d/new", 0o644, 0), abi.EROFS},
		{"symlink", ns.Symlink(c, "x", nil, "/d/new"), abi.EROFS},
		{"link", ns.Link(c, nil, "/d/f", nil, "/d/new", 0), abi.EROFS},
		{"unlink", ns.Unlink(c, nil, "/d/f"), abi.EROFS},
		{"unlink of what is missing", ns.Unlink(c, nil, "/d/new"), abi.EROFS},
		{"rmdir", ns.Rmdir(c, nil, "/d"), abi.EROFS},
		{"rename", ns.Rename(c, nil, "/d/f", nil, "/d/g", 0), abi.EROFS},
		{"truncate", ns.Truncate(c, nil, "/d/f", 0), abi.EROFS},
		{"chmod", ns.SetAttr(c, nil, "/d/f", 0, &vfs.SetAttr{Mask: vfs.SetMode}), abi.EROFS},
		{"touch", ns.SetAttr(c, nil, "/d/f", 0, &vfs.SetAttr{Mask: vfs.SetAtimeNow | vfs.SetMtimeNow}), abi.EROFS},
	} {
		expect(t, test.what, test.got, test.want)
	}
}

// TestRemovedDirectory: a removed directory is given back at once, whatever was asked for in it.
func TestRemovedDirectory(t *testing.T) {
	fs := &counting{FS: memfs.New(1 << 20)}
	ns := vfs.NewNamespace(fs)
	c := &vfs.Context{}
	var a vfs.Attr
	before := fs.refs.Load()
	missing := func(dir string) {
		mustOK(t, ns.Mkdir(c, nil, dir, 0o755))
		for i := range 40 {
			expect(t, "missing", ns.Stat(c, nil, fmt.Sprintf("%s/%d", dir, i), 0, &a), abi.ENOENT)
		}
	}
	missing("/d")
	mustOK(t, ns.Rmdir(c, nil, "/d"))
	if n := fs.refs.Load(); n != before {
		t.Errorf("rmdir leaves %d references", n-before)
	}
	missing("/e")
	missing("/f")
	mustOK(t, ns.Rename(c, nil, "/f", nil, "/e", 0))
	mustOK(t, ns.Rmdir(c, nil, "/e"))
	if n := fs.refs.Load(); n != before {
		t.Errorf("rename leaves %d references", n-before)
	}
}

// FuzzWalk: a path leads to the same place whether it is in the cache or not, and in time.
func FuzzWalk(f *testing.F) {
	for _, seed := range []string{"/", "a", "a/../a//b/./f", "/l1/l2/../x", "loop/x", "l2/", "../../..", "a/b/f/", "\x00", "a/missing/.."} {
		f.Add(seed)
	}
	fs := &counting{FS: memfs.New(1 << 20)}
	warm, cold := vfs.NewNamespace(fs), vfs.NewNamespace(fs)
	cold.SetCacheLimit(0)
	c := &vfs.Context{}
	mustOK(f, warm.Mkdir(c, nil, "/a", 0o755))
	mustOK(f, warm.Mkdir(c, nil, "/a/b", 0o755))
	mustOK(f, warm.Mknod(c, nil, "/a/b/f", 0o644, 0))
	for link, target := range map[string]string{"/l1": "a", "/a/l2": "../l1/b/", "/loop": "loop", "/l2": "/a/l2", "/up": "..", "/a/b/x": "/l1/l2/../../l2/f"} {
		mustOK(f, warm.Symlink(c, target, nil, link))
	}
	f.Fuzz(func(t *testing.T, path string) {
		for _, flags := range []int{0, abi.AT_SYMLINK_NOFOLLOW, abi.AT_EMPTY_PATH} {
			var x, y, z vfs.Attr
			first := warm.Stat(c, nil, path, flags, &x)
			again := warm.Stat(c, nil, path, flags, &y)
			other := cold.Stat(c, nil, path, flags, &z)
			if first != again || first != other {
				t.Errorf("%q: %s, then %s, uncached %s", path, first.String(), again.String(), other.String())
			}
			x.Dev, y.Dev, z.Dev = 0, 0, 0
			if first == 0 && (x != y || x != z) {
				t.Errorf("%q leads to different files", path)
			}
		}
	})
}
