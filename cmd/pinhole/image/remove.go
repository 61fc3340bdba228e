package image

import (
	"errors"
	"strings"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// room takes away what is at a place, so that something can be made there.
func (w *writer) room(pl place) error {
	if pl.name == "." {
		return w.im.failWith(pl.path, errors.New("is the root directory; nothing else can be there"))
	}
	d, err := w.lookup(pl)
	if d == nil {
		return err
	}
	isDir := d.IsDir()
	d.Unref()
	if isDir && !w.replace {
		return w.im.failWith(pl.path, errors.New("is a directory; it is not replaced by something else"))
	}
	return w.remove(pl)
}

// remove takes away what is at a place, with all that is in it.
func (w *writer) remove(pl place) error {
	d, err := w.lookup(pl)
	if d == nil {
		return err
	}
	defer d.Unref()
	if d.Node().Mode()&abi.S_IFMT != abi.S_IFREG {
		w.parentPath = "" // which may have led through it
	}
	if !d.IsDir() {
		return w.change(pl.dir, pl.path, func() abi.Errno { return w.im.ns.Unlink(&w.im.root, pl.dir, pl.name) })
	}
	if err := w.empty(pl, d, make(map[uint64]bool)); err != nil {
		return err
	}
	return w.change(pl.dir, pl.path, func() abi.Errno { return w.im.ns.Rmdir(&w.im.root, pl.dir, pl.name) })
}

// removeBatch is how many names of a directory are looked at before they are removed.
const removeBatch = 1024

// empty removes all that is in the directory d, which is at pl.
func (w *writer) empty(pl place, d *vfs.Dentry, above map[uint64]bool) error {
	var a vfs.Attr
	if e := d.Attr(&a); e != 0 {
		return w.im.fail(pl.path, e)
	}
	if above[a.Ino] {
		return w.im.fail(pl.path, abi.EUCLEAN)
	}
	above[a.Ino] = true
	defer delete(above, a.Ino)
	for {
		var names []string
		e := w.im.ns.ReadDir(d, 0, func(entry *vfs.DirEntry) bool {
			if entry.Name != "." && entry.Name != ".." {
				names = append(names, strings.Clone(entry.Name))
			}
			return len(names) < removeBatch
		})
		if e != 0 {
			return w.im.fail(pl.path, e)
		}
		if len(names) == 0 {
			return nil
		}
		for _, name := range names {
			if err := stopped(w.im.ctx); err != nil {
				return err
			}
			at := pl.in(name, d)
			if strings.ContainsAny(name, "/\x00") || name == "" {
				return w.im.fail(pl.path, abi.EUCLEAN)
			}
			e := w.im.ns.Unlink(&w.im.root, d, name)
			if e == abi.EISDIR {
				sub, err := w.lookup(at)
				if err != nil {
					return err
				}
				if sub != nil {
					err = w.empty(at, sub, above)
					sub.Unref()
					if err != nil {
						return err
					}
				}
				e = w.im.ns.Rmdir(&w.im.root, d, name)
			}
			if e != 0 {
				return w.im.fail(at.path, e)
			}
		}
	}
}
