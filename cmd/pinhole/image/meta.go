package image

import (
	"slices"
	"strings"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// meta is what a file has besides its content.
type meta struct {
	mode         uint32 // permission bits
	uid, gid     uint32
	mtime, atime vfs.Timespec
	xattrs       map[string]string
}

// finish sets what m says, for a file whose content is complete.
func (w *writer) finish(d *vfs.Dentry, p string, m *meta, fresh bool) error {
	var a vfs.Attr
	n := d.Node()
	e := d.Attr(&a)
	if e == 0 && (a.UID != m.uid || a.GID != m.gid) {
		e = n.SetAttr(&vfs.SetAttr{Mask: vfs.SetUID | vfs.SetGID, UID: m.uid, GID: m.gid})
	}
	if e != 0 {
		return w.im.fail(p, e)
	}
	// Behind the owner, whose change takes capabilities away; before the mode, which says what part of an
	// ACL counts.
	if len(m.xattrs) > 0 || !fresh && w.only {
		if err := w.xattrs(n, p, m, fresh); err != nil {
			return err
		}
	}
	set := vfs.SetAttr{Mask: vfs.SetAtime | vfs.SetMtime, Atime: m.atime, Mtime: m.mtime}
	if a.Mode&abi.S_IFMT != abi.S_IFLNK {
		set.Mask |= vfs.SetMode
		set.Mode = m.mode & 0o7777
	}
	return w.im.fail(p, n.SetAttr(&set))
}

func (w *writer) xattrs(n vfs.Node, p string, m *meta, fresh bool) error {
	x, ok := n.(vfs.XattrNode)
	if !ok {
		w.warn(p, "extended attributes are not kept: the image's file system has none")
		return nil
	}
	if !fresh && w.only {
		old, e := x.Listxattr()
		if e != 0 {
			return w.im.fail(p, e)
		}
		for _, name := range old {
			if _, ok := m.xattrs[name]; !ok && name != incompleteMark {
				if e := x.Removexattr(name); e != 0 && e != abi.ENODATA {
					return w.im.failWith(p, attributeError{name, e})
				}
			}
		}
	}
	names := make([]string, 0, len(m.xattrs))
	for name := range m.xattrs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch e := x.Setxattr(name, []byte(m.xattrs[name]), 0); e {
		case 0:
		case abi.EOPNOTSUPP:
			kind, _, _ := strings.Cut(name, ".")
			if !w.skipped[kind] {
				w.skipped[kind] = true
				w.warn(p, "attribute "+printable(name)+" and others of its kind are not kept: the image's file system cannot hold them")
			}
		default:
			return w.im.failWith(p, attributeError{name, e})
		}
	}
	return nil
}

// attributeError says which extended attribute it was.
type attributeError struct {
	name string
	e    abi.Errno
}

func (a attributeError) Error() string {
	what := a.e.Error()
	switch a.e {
	case abi.ENOSPC:
		what = "there is no room for it: all attributes of a file have to fit into a block"
	case abi.ERANGE, abi.E2BIG:
		what = "it is too long"
	}
	return "attribute " + printable(a.name) + ": " + what
}
func (a attributeError) Unwrap() error { return a.e }
