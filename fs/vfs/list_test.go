package vfs

import (
	"testing"

	"pinhole/abi"
)

// dirNode is an empty directory in which everything can be made.
type dirNode struct {
	noNode
	ino uint64
}

func (d *dirNode) Ino() uint64  { return d.ino }
func (d *dirNode) Mode() uint32 { return abi.S_IFDIR | 0o755 }
func (d *dirNode) Attr(a *Attr) abi.Errno {
	*a = Attr{Ino: d.ino, Mode: d.Mode(), Nlink: 2}
	return 0
}
func (d *dirNode) Lookup(string) (Node, abi.Errno)               { return nil, abi.ENOENT }
func (d *dirNode) ReadDir(int64, func(*DirEntry) bool) abi.Errno { return 0 }
func (d *dirNode) Create(string, *NewNode) (Node, abi.Errno)     { return &dirNode{ino: d.ino + 1}, 0 }
func (d *dirNode) Rmdir(string) abi.Errno                        { return 0 }

type dirFS struct{}

func (dirFS) Root() Node               { return &dirNode{ino: 1} }
func (dirFS) StatFS(*StatFS) abi.Errno { return 0 }
func (dirFS) Sync() abi.Errno          { return 0 }
func (dirFS) Unmount() abi.Errno       { return 0 }
func (dirFS) ReadOnly() bool           { return false }

// TestChildren: a directory does not keep lists of what is gone.
func TestChildren(t *testing.T) {
	ns := NewNamespace(dirFS{})
	c := &Context{}
	for range 100 {
		if e := ns.Mkdir(c, nil, "/d", 0o755); e != 0 {
			t.Fatal(e)
		}
		d, e := ns.Walk(c, nil, "/d", 0)
		if e != 0 {
			t.Fatal(e)
		}
		if e := ns.Rmdir(c, nil, "/d"); e != 0 {
			t.Fatal(e)
		}
		d.Unref() // the last holder of one that is gone
	}
	n := 0
	for d := ns.root.child; d != nil; d = d.next {
		n++
	}
	if n != 1 { // the one that does not exist
		t.Errorf("%d children are listed", n)
	}
	if ns.cache.count != 1 || len(ns.cache.dirs) != 1 {
		t.Errorf("%d names in the cache, %d directories", ns.cache.count, len(ns.cache.dirs))
	}
	if n := ns.root.refs.Load(); n != 2 {
		t.Errorf("the root is held %d times", n)
	}
}
