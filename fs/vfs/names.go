package vfs

import "pinhole/abi"

// inherit fills in the owner of a new node: in a directory with the setgid bit, the
// directory's group, and the bit itself for directories.
func (w *walk) inherit(dir *Dentry, n *NewNode) abi.Errno {
	n.UID, n.GID = w.c.UID, w.c.GID
	if dir.node.Mode()&abi.S_ISGID == 0 {
		return 0
	}
	var a Attr
	if e := dir.node.Attr(&a); e != 0 {
		return e
	}
	n.GID = a.GID
	switch {
	case n.Mode&abi.S_IFMT == abi.S_IFDIR:
		n.Mode |= abi.S_ISGID
	case n.Mode&(abi.S_ISGID|abi.S_IXGRP) == abi.S_ISGID|abi.S_IXGRP && w.c.UID != 0 && !w.c.InGroup(a.GID):
		// No setgid program for a group that the maker is not in.
		n.Mode &^= abi.S_ISGID
	}
	return 0
}

// make walks to the place of a new name and calls do with the directory locked and the rights
// checked; do returns the new node, whose reference make takes over. isDir: a slash may follow
// the name. check is called before the rights are looked at; it may be nil.
func (ns *Namespace) make(c *Context, at *Dentry, path string, isDir bool,
	check func(dir *Dentry) abi.Errno, do func(w *walk, dir Node) (Node, abi.Errno)) abi.Errno {
	var w walk
	defer w.done()
	if e := w.from(ns, c, at, path); e != 0 {
		return e
	}
	if e := w.toParent(path); e != 0 {
		return e
	}
	if w.end != endName {
		return abi.EEXIST
	}
	dir := w.cur
	dir.mu.Lock()
	defer dir.mu.Unlock()
	d, e := ns.lookupLocked(dir, w.name)
	if e != 0 {
		return e
	}
	defer d.Unref()
	switch {
	case d.node != nil:
		return abi.EEXIST
	case w.slash && !isDir:
		return abi.ENOENT
	case dir.readOnly():
		return abi.EROFS
	}
	if check != nil {
		if e := check(dir); e != 0 {
			return e
		}
	}
	if e := c.mayWrite(dir, abi.W_OK|abi.X_OK); e != 0 {
		return e
	}
	node, e := do(&w, dir.node)
	if e != 0 {
		return e
	}
	ns.cache.remove(d, true)
	made, e := ns.cache.create(dir, w.name, node, dir.mnt.transient)
	if e == 0 {
		made.Unref()
	}
	return e
}

// Mkdir makes a directory.
func (ns *Namespace) Mkdir(c *Context, at *Dentry, path string, mode uint32) abi.Errno {
	return ns.make(c, at, path, true, nil, func(w *walk, dir Node) (Node, abi.Errno) {
		n := NewNode{Mode: abi.S_IFDIR | mode&(0o777|abi.S_ISVTX)&^c.Umask}
		if e := w.inherit(w.cur, &n); e != 0 {
			return nil, e
		}
		return dir.Create(w.name, &n)
	})
}

// Mknod makes a file that is no directory and no symbolic link; mode has its type, 0 being
// S_IFREG. dev is for devices, which only UID 0 makes (EPERM).
func (ns *Namespace) Mknod(c *Context, at *Dentry, path string, mode uint32, dev uint64) abi.Errno {
	switch mode & abi.S_IFMT {
	case 0:
		mode |= abi.S_IFREG
	case abi.S_IFREG, abi.S_IFIFO, abi.S_IFSOCK:
		dev = 0
	case abi.S_IFCHR, abi.S_IFBLK:
	case abi.S_IFDIR:
		return abi.EPERM
	default:
		return abi.EINVAL
	}
	return ns.make(c, at, path, false, nil, func(w *walk, dir Node) (Node, abi.Errno) {
		switch mode & abi.S_IFMT {
		case abi.S_IFCHR, abi.S_IFBLK:
			if c.UID != 0 {
				return nil, abi.EPERM
			}
		}
		n := NewNode{Mode: mode & (abi.S_IFMT | 0o7777) &^ c.Umask, Rdev: dev}
		if e := w.inherit(w.cur, &n); e != 0 {
			return nil, e
		}
		return dir.Create(w.name, &n)
	})
}

// Symlink makes a symbolic link to target.
func (ns *Namespace) Symlink(c *Context, target string, at *Dentry, path string) abi.Errno {
	switch {
	case target == "":
		return abi.ENOENT
	case len(target) > PathMax:
		return abi.ENAMETOOLONG
	}
	return ns.make(c, at, path, false, nil, func(w *walk, dir Node) (Node, abi.Errno) {
		n := NewNode{Mode: abi.S_IFLNK | 0o777}
		if e := w.inherit(w.cur, &n); e != 0 {
			return nil, e
		}
		return dir.Symlink(w.name, target, &n)
	})
}

// Link gives the file at oldPath another name. Flags: AT_SYMLINK_FOLLOW, AT_EMPTY_PATH.
func (ns *Namespace) Link(c *Context, oldAt *Dentry, oldPath string, newAt *Dentry, newPath string, flags int) abi.Errno {
	walkFlags := flags & abi.AT_EMPTY_PATH
	if flags&abi.AT_SYMLINK_FOLLOW == 0 {
		walkFlags |= abi.AT_SYMLINK_NOFOLLOW
	}
	old, e := ns.Walk(c, oldAt, oldPath, walkFlags)
	if e != 0 {
		return e
	}
	defer old.Unref()
	crosses := func(dir *Dentry) abi.Errno {
		if old.mnt != dir.mnt {
			return abi.EXDEV
		}
		return 0
	}
	return ns.make(c, newAt, newPath, false, crosses, func(w *walk, dir Node) (Node, abi.Errno) {
		if old.typ == abi.S_IFDIR {
			return nil, abi.EPERM
		}
		if frozen(old.node) {
			return nil, abi.EPERM
		}
		if old.Removed() && !old.has(dentryLinkable) {
			var a Attr
			if e := old.node.Attr(&a); e != 0 || a.Nlink == 0 {
				return nil, abi.ENOENT
			}
		}
		if e := dir.Link(w.name, old.node); e != 0 {
			return nil, e
		}
		old.flags.And(^uint32(dentryLinkable)) // from here on it is a file like any other
		old.node.Ref()
		return old.node, 0
	})
}

// Unlink removes a name that is not a directory's.
func (ns *Namespace) Unlink(c *Context, at *Dentry, path string) abi.Errno {
	var w walk
	defer w.done()
	if e := w.from(ns, c, at, path); e != 0 {
		return e
	}
	if e := w.toParent(path); e != 0 {
		return e
	}
	if w.end != endName {
		return abi.EISDIR
	}
	d, e := w.unlink()
	if d != nil {
		d.Unref() // frees the file on disk, without the directory's lock
	}
	return e
}

func (w *walk) unlink() (*Dentry, abi.Errno) {
	dir := w.cur
	if dir.readOnly() {
		return nil, abi.EROFS
	}
	dir.mu.Lock()
	defer dir.mu.Unlock()
	d, e := w.ns.lookupLocked(dir, w.name)
	if e != 0 {
		return nil, e
	}
	switch {
	case d.node == nil:
		return d, abi.ENOENT
	case w.slash && d.typ == abi.S_IFDIR:
		return d, abi.EISDIR
	case w.slash:
		return d, abi.ENOTDIR
	}
	if e := w.c.mayDelete(dir, d, false); e != 0 {
		return d, e
	}
	if d.busy() {
		return d, abi.EBUSY
	}
	if e := dir.node.Unlink(w.name); e != 0 {
		return d, e
	}
	w.ns.gone(dir, d, w.name)
	return d, 0
}

// gone takes d out of the cache, whose name has been removed, and remembers that the name does not exist.
func (ns *Namespace) gone(dir, d *Dentry, name string) {
	ns.cache.remove(d, true)
	if !dir.mnt.transient {
		if n, e := ns.cache.create(dir, name, nil, false); e == 0 {
			n.Unref()
		}
	}
}

// Rmdir removes an empty directory.
func (ns *Namespace) Rmdir(c *Context, at *Dentry, path string) abi.Errno {
	var w walk
	defer w.done()
	if e := w.from(ns, c, at, path); e != 0 {
		return e
	}
	if e := w.toParent(path); e != 0 {
		return e
	}
	switch w.end {
	case endDot:
		return abi.EINVAL
	case endDotDot:
		return abi.ENOTEMPTY
	case endRoot:
		return abi.EBUSY
	}
	d, e := w.rmdir()
	if d != nil {
		d.Unref()
	}
	return e
}

func (w *walk) rmdir() (*Dentry, abi.Errno) {
	dir := w.cur
	if dir.readOnly() {
		return nil, abi.EROFS
	}
	dir.mu.Lock()
	defer dir.mu.Unlock()
	d, e := w.ns.lookupLocked(dir, w.name)
	if e != 0 {
		return nil, e
	}
	if d.node == nil {
		return d, abi.ENOENT
	}
	if e := w.c.mayDelete(dir, d, true); e != 0 {
		return d, e
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy() {
		return d, abi.EBUSY
	}
	if d.has(dentrySynthetic) {
		return d, abi.ENOTEMPTY // mount points are in it
	}
	if e := dir.node.Rmdir(w.name); e != 0 {
		return d, e
	}
	w.ns.gone(dir, d, w.name)
	w.ns.cache.forget(d)
	return d, 0
}
