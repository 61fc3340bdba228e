package vfstest_test

import (
	"testing"

	"pinhole/abi"
	"pinhole/fs/memfs"
	"pinhole/fs/vfs"
	"pinhole/fs/vfs/vfstest"
)

// forgetful is memfs with a fault: after the third link, unlinks of what has more than one name
// say that they are done and are not.
type forgetful struct {
	vfs.Node
	links *int
}

func (f forgetful) wrap(n vfs.Node, e abi.Errno) (vfs.Node, abi.Errno) {
	if e != 0 || n.Mode()&abi.S_IFMT != abi.S_IFDIR {
		return n, e
	}
	return forgetful{n, f.links}, 0
}

func (f forgetful) Lookup(name string) (vfs.Node, abi.Errno) { return f.wrap(f.Node.Lookup(name)) }

func (f forgetful) Create(name string, n *vfs.NewNode) (vfs.Node, abi.Errno) {
	return f.wrap(f.Node.Create(name, n))
}

func (f forgetful) Link(name string, target vfs.Node) abi.Errno {
	*f.links++
	return f.Node.Link(name, target)
}

func (f forgetful) Rename(name string, to vfs.Node, newName string, flags uint32) abi.Errno {
	return f.Node.Rename(name, to.(forgetful).Node, newName, flags)
}

func (f forgetful) Unlink(name string) abi.Errno {
	if n, e := f.Node.Lookup(name); e == 0 && *f.links >= 3 {
		var a vfs.Attr
		n.Attr(&a)
		n.Unref()
		if a.Nlink > 1 {
			return 0
		}
	}
	return f.Node.Unlink(name)
}

type forgetfulFS struct {
	*memfs.FS
	links int
}

func (f *forgetfulFS) Root() vfs.Node { return forgetful{f.FS.Root(), &f.links} }

// TestShrink: a fault that needs three links and an unlink is found, and nothing else is left of
// the sequence that shows it.
func TestShrink(t *testing.T) {
	c := vfstest.Comparison{
		A: func() (vfstest.Instance, error) {
			return vfstest.NewMounted(&forgetfulFS{FS: memfs.New(1 << 30)}, nil, nil), nil
		},
		B:         vfstest.NewModel(nil),
		Generator: vfstest.NewTree(vfstest.TreeOptions{}),
	}
	long, short := c.Find(1, 3000)
	if long == nil {
		t.Fatal("the fault is not found")
	}
	// A few files, three links, an unlink.
	if len(short.Lines) > 10 {
		t.Errorf("%d steps are left: %v", len(short.Lines), short)
	}
}
