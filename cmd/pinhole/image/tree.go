package image

import (
	"path"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// treeNode is a file of an image, while its tree is walked.
type treeNode struct {
	path  string // for messages and output
	name  string
	depth int // 0 where the walk began
	d     *vfs.Dentry
	a     vfs.Attr
}

func (n *treeNode) isDir() bool { return n.a.Mode&abi.S_IFMT == abi.S_IFDIR }

// tree walks what is at a path of an image, itself included. Entries of a directory come in the order of
// their names, so that two walks of the same tree are the same.
type tree struct {
	im *Image
	// enter is called for each file, a directory before what is in it; descend says whether to look into it.
	enter func(n *treeNode) (descend bool, err error)
	// leave is called for a directory after what is in it; may be nil.
	leave func(n *treeNode) error

	above map[uint64]bool // inodes of the directories on the way
}

// walk walks the tree at p, which follows a symbolic link only if follow is set.
func (t *tree) walk(p string, follow bool) error {
	d, a, err := t.im.walk(p, follow)
	if err != nil {
		return err
	}
	defer d.Unref()
	t.above = make(map[uint64]bool)
	return t.node(&treeNode{path: p, name: path.Base(cleanPath(p)), d: d, a: a})
}

func (t *tree) node(n *treeNode) error {
	if err := stopped(t.im.ctx); err != nil {
		return err
	}
	descend, err := t.enter(n)
	if err != nil || !descend || !n.isDir() {
		return err
	}
	// A directory that is in itself is damage that would never end.
	if t.above[n.a.Ino] {
		return t.im.fail(n.path, abi.EUCLEAN)
	}
	t.above[n.a.Ino] = true
	defer delete(t.above, n.a.Ino)
	entries, err := t.im.list(n.d, n.path)
	if err != nil {
		return err
	}
	for i := range entries {
		e := &entries[i]
		d, a, err := t.im.entry(n.d, n.path, e.Name)
		if err != nil {
			return err
		}
		err = t.node(&treeNode{path: child(n.path, e.Name), name: e.Name, depth: n.depth + 1, d: d, a: a})
		d.Unref()
		if err != nil {
			return err
		}
	}
	if t.leave != nil {
		return t.leave(n)
	}
	return nil
}
