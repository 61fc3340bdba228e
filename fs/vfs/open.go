package vfs

import "pinhole/abi"

// Walk returns what is at path, with a reference. Flags: AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH.
func (ns *Namespace) Walk(c *Context, at *Dentry, path string, flags int) (*Dentry, abi.Errno) {
	follow := flags&abi.AT_SYMLINK_NOFOLLOW == 0
	d, e := ns.fast(c, at, path, follow)
	if e != 0 {
		return nil, e
	}
	if d != nil && d.tryRef() {
		return d, 0
	}
	if path == "" && flags&abi.AT_EMPTY_PATH != 0 {
		if at == nil {
			at = ns.cwdOf(c)
		}
		at.Ref()
		return at, 0
	}
	var w walk
	defer w.done()
	if e := w.from(ns, c, at, path); e != 0 {
		return nil, e
	}
	return w.find(path, follow)
}

// Open walks to path for open(2), makes a regular file if flags say so and it is missing, checks
// the access that flags ask for, and truncates. It returns the dentry with a reference, and
// whether the file was made (its permission bits do not limit this first opening). flags are O_*; with
// O_TMPFILE, which the caller has found to come with O_DIRECTORY and the right to write, path is a
// directory.
func (ns *Namespace) Open(c *Context, at *Dentry, path string, flags int, mode uint32) (_ *Dentry, created bool, _ abi.Errno) {
	if flags&abi.O_PATH != 0 {
		flags &= abi.O_PATH | abi.O_DIRECTORY | abi.O_NOFOLLOW
	}
	if flags&(abi.O_TMPFILE&^abi.O_DIRECTORY) != 0 {
		d, e := ns.openTmpfile(c, at, path, flags, mode)
		return d, e == 0, e
	}
	create := flags&abi.O_CREAT != 0
	exclusive := create && flags&abi.O_EXCL != 0
	if create && flags&abi.O_DIRECTORY != 0 {
		return nil, false, abi.EINVAL
	}
	follow := flags&abi.O_NOFOLLOW == 0 && !exclusive

	if !exclusive && !(create && path != "" && path[len(path)-1] == '/') {
		d, e := ns.fast(c, at, path, follow)
		if e != 0 && !create {
			return nil, false, e
		}
		if d != nil && d.tryRef() {
			if e := ns.opened(c, d, flags); e != 0 {
				d.Unref()
				return nil, false, e
			}
			return d, false, 0
		}
	}

	var w walk
	defer w.done()
	if e := w.from(ns, c, at, path); e != 0 {
		return nil, false, e
	}
	if e := w.toParent(path); e != 0 {
		return nil, false, e
	}
	for {
		if create && w.slash && w.end == endName {
			return nil, false, abi.EISDIR
		}
		d, e := w.last(follow && !create)
		if e != 0 {
			return nil, false, e
		}
		if create && d.node == nil {
			made, e := w.makeFile(mode)
			d.Unref()
			if made == nil && e == 0 && !exclusive {
				continue // somebody else made it: open that
			}
			if made == nil && e == 0 {
				e = abi.EEXIST
			}
			return made, e == 0, e
		}
		if e := w.exists(d); e != 0 {
			d.Unref()
			return nil, false, e
		}
		if exclusive {
			d.Unref()
			return nil, false, abi.EEXIST
		}
		if create && follow && d.typ == abi.S_IFLNK {
			target, e := w.follow(d)
			if e != 0 {
				return nil, false, e
			}
			if target == "" { // jumped
				w.end, w.slash = endDot, false
				continue
			}
			if e := w.toParent(target); e != 0 {
				return nil, false, e
			}
			continue
		}
		if e := ns.opened(c, d, flags); e != 0 {
			d.Unref()
			return nil, false, e
		}
		return d, false, 0
	}
}

// makeFile makes a regular file with the name that toParent found, and returns it with a
// reference; nil without an error if there is something of that name by now.
func (w *walk) makeFile(mode uint32) (*Dentry, abi.Errno) {
	dir := w.cur
	dir.mu.Lock()
	defer dir.mu.Unlock()
	d, e := w.ns.lookupLocked(dir, w.name)
	if e != 0 {
		return nil, e
	}
	defer d.Unref()
	if d.node != nil {
		return nil, 0
	}
	if e := w.c.mayWrite(dir, abi.W_OK|abi.X_OK); e != 0 {
		return nil, e
	}
	n := NewNode{Mode: abi.S_IFREG | mode&0o7777&^w.c.Umask}
	if e := w.inherit(dir, &n); e != 0 {
		return nil, e
	}
	node, e := dir.node.Create(w.name, &n)
	if e != 0 {
		return nil, e
	}
	w.ns.cache.remove(d, true)
	return w.ns.cache.create(dir, w.name, node, dir.mnt.transient)
}

// opened checks that d may be opened with flags, and truncates it if they say so.
func (ns *Namespace) opened(c *Context, d *Dentry, flags int) abi.Errno {
	if flags&abi.O_DIRECTORY != 0 && d.typ != abi.S_IFDIR {
		return abi.ENOTDIR
	}
	if flags&abi.O_PATH != 0 {
		return 0
	}
	var want uint32
	switch flags & abi.O_ACCMODE {
	case abi.O_RDONLY:
		want = abi.R_OK
	case abi.O_WRONLY:
		want = abi.W_OK
	default: // 3 asks for both, as on Linux
		want = abi.R_OK | abi.W_OK
	}
	if flags&abi.O_TRUNC != 0 {
		want |= abi.W_OK
	}
	switch d.typ {
	case abi.S_IFLNK:
		return abi.ELOOP
	case abi.S_IFDIR:
		if want&abi.W_OK != 0 || flags&abi.O_CREAT != 0 {
			return abi.EISDIR
		}
	}
	var e abi.Errno
	if want&abi.W_OK != 0 {
		if e = c.mayWrite(d, want); e == 0 {
			e = ns.mayChange(d)
		}
	} else {
		e = c.permit(d, want)
	}
	if e != 0 {
		return e
	}
	if want&abi.W_OK != 0 && NodeFlags(d.node)&abi.FS_APPEND_FL != 0 &&
		(flags&abi.O_TRUNC != 0 || flags&abi.O_ACCMODE != abi.O_RDONLY && flags&abi.O_APPEND == 0) {
		return abi.EPERM
	}
	if flags&abi.O_NOATIME != 0 && c.UID != 0 {
		var a Attr
		if e := d.node.Attr(&a); e != 0 {
			return e
		}
		if a.UID != c.UID {
			return abi.EPERM
		}
	}
	if flags&abi.O_TRUNC != 0 && d.typ == abi.S_IFREG {
		return ns.resize(c, d, 0)
	}
	return 0
}
