package vfs

import "pinhole/abi"

// Stat fills a for what is at path. Flags: AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH.
func (ns *Namespace) Stat(c *Context, at *Dentry, path string, flags int, a *Attr) abi.Errno {
	d, e := ns.Walk(c, at, path, flags)
	if e != 0 {
		return e
	}
	e = d.Attr(a)
	d.Unref()
	return e
}

// Access checks what c may do with the file at path, as access(2); c holds the real ids, unless
// the call has AT_EACCESS. mode is made of R_OK, W_OK, X_OK; 0 asks whether the file exists.
func (ns *Namespace) Access(c *Context, at *Dentry, path string, mode uint32, flags int) abi.Errno {
	if mode&^7 != 0 {
		return abi.EINVAL
	}
	d, e := ns.Walk(c, at, path, flags)
	if e != 0 {
		return e
	}
	defer d.Unref()
	switch {
	case mode == 0:
		return 0
	case mode&abi.W_OK != 0:
		// Permissions come first here: access(2) looks at the mount afterwards.
		if e := c.permit(d, mode); e != 0 {
			return e
		}
		return c.mayWrite(d, mode)
	}
	return c.permit(d, mode)
}

// Readlink returns the target of the symbolic link at path; an empty path is the link at itself,
// opened with O_PATH.
func (ns *Namespace) Readlink(c *Context, at *Dentry, path string) (string, abi.Errno) {
	flags := abi.AT_SYMLINK_NOFOLLOW
	if at != nil {
		flags |= abi.AT_EMPTY_PATH
	}
	d, e := ns.Walk(c, at, path, flags)
	if e != 0 {
		return "", e
	}
	defer d.Unref()
	if d.typ != abi.S_IFLNK {
		if path == "" {
			return "", abi.ENOENT
		}
		return "", abi.EINVAL
	}
	if j, ok := d.node.(Jumper); ok {
		return j.Target(c)
	}
	return d.readlink()
}

// SetAttr changes attributes of what is at path under the rules of chmod(2), chown(2) and
// utimensat(2). Flags: AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH. SetSize is not for here, but for Truncate.
func (ns *Namespace) SetAttr(c *Context, at *Dentry, path string, flags int, s *SetAttr) abi.Errno {
	d, e := ns.Walk(c, at, path, flags)
	if e != 0 {
		return e
	}
	defer d.Unref()
	return d.SetAttr(c, s)
}

// SetAttr changes attributes of an open file under the rules of fchmod(2), fchown(2) and
// futimens(3). With SetSize, as ftruncate(2): that the file is open for writing is for the
// caller to check.
func (d *Dentry) SetAttr(c *Context, s *SetAttr) abi.Errno {
	if s.Mask&SetSize != 0 {
		if d.typ != abi.S_IFREG || s.Size < 0 {
			return abi.EINVAL
		}
		if s.Mask == SetSize {
			return d.mnt.ns.resize(c, d, s.Size)
		}
	}
	if d.readOnly() && d.mnt.fs != nil {
		return abi.EROFS
	}
	if s.Mask == 0 {
		return 0
	}
	var a Attr
	if e := d.node.Attr(&a); e != 0 {
		return e
	}
	if frozen(d.node) && (s.Mask&^(SetAtimeNow|SetMtimeNow) != 0 || NodeFlags(d.node)&abi.FS_IMMUTABLE_FL != 0) {
		return abi.EPERM
	}
	set := *s
	owner := c.UID == 0 || c.UID == a.UID

	if set.Mask&SetUID != 0 && c.UID != 0 && (!owner || set.UID != a.UID) {
		return abi.EPERM
	}
	if set.Mask&SetGID != 0 && c.UID != 0 && (!owner || set.GID != a.GID && !c.InGroup(set.GID)) {
		return abi.EPERM
	}
	mode := a.Mode & 0o7777
	if set.Mask&SetMode != 0 {
		if !owner {
			return abi.EPERM
		}
		if d.typ == abi.S_IFLNK {
			return abi.EOPNOTSUPP
		}
		mode = set.Mode & 0o7777
		group := a.GID
		if set.Mask&SetGID != 0 {
			group = set.GID
		}
		if c.UID != 0 && !c.InGroup(group) {
			mode &^= abi.S_ISGID
		}
	}
	if set.Mask&(SetUID|SetGID) != 0 && d.typ != abi.S_IFDIR {
		mode = c.dropPrivileges(mode, a.GID)
	}
	if mode != a.Mode&0o7777 {
		set.Mask |= SetMode
	}
	set.Mode = mode

	const explicit = SetAtime | SetMtime
	const touch = SetAtimeNow | SetMtimeNow
	switch times := set.Mask & (explicit | touch); {
	case times == 0 || owner:
	case times == touch:
		if e := c.Permit(a.Mode, a.UID, a.GID, abi.W_OK); e != 0 {
			return e
		}
	default:
		return abi.EPERM
	}
	return d.node.SetAttr(&set)
}

// Truncate sets the size of the regular file at path.
func (ns *Namespace) Truncate(c *Context, at *Dentry, path string, size int64) abi.Errno {
	if size < 0 {
		return abi.EINVAL
	}
	d, e := ns.Walk(c, at, path, 0)
	if e != 0 {
		return e
	}
	defer d.Unref()
	switch d.typ {
	case abi.S_IFREG:
	case abi.S_IFDIR:
		return abi.EISDIR
	default:
		return abi.EINVAL
	}
	if e := c.mayWrite(d, abi.W_OK); e != 0 {
		return e
	}
	if e := ns.mayChange(d); e != 0 {
		return e
	}
	return ns.resize(c, d, size)
}

// resize truncates or extends d for somebody who may write it.
func (ns *Namespace) resize(c *Context, d *Dentry, size int64) abi.Errno {
	if d.readOnly() {
		return abi.EROFS
	}
	if frozen(d.node) {
		return abi.EPERM
	}
	s := SetAttr{Mask: SetSize, Size: size}
	mode, e := d.privileges(c)
	if e != 0 {
		return e
	}
	if mode >= 0 {
		s.Mask |= SetMode
		s.Mode = uint32(mode)
	}
	return d.node.SetAttr(&s)
}

// DropPrivileges takes the setuid and setgid bits off a regular file before c writes to it. It
// is for the file layer, at each write; without such bits it costs next to nothing.
func (d *Dentry) DropPrivileges(c *Context) abi.Errno {
	mode, e := d.privileges(c)
	if e != 0 || mode < 0 {
		return e
	}
	return d.node.SetAttr(&SetAttr{Mask: SetMode, Mode: uint32(mode)})
}

// privileges returns the permission bits that a change of content by c leaves; -1: as they are.
func (d *Dentry) privileges(c *Context) (int, abi.Errno) {
	mode := d.node.Mode()
	if mode&(abi.S_ISUID|abi.S_ISGID) == 0 || c.UID == 0 || d.typ != abi.S_IFREG {
		return -1, 0
	}
	var a Attr
	if e := d.node.Attr(&a); e != 0 {
		return -1, e
	}
	less := c.dropPrivileges(a.Mode&0o7777, a.GID)
	if less == a.Mode&0o7777 {
		return -1, 0
	}
	return int(less), 0
}

// dropPrivileges clears setuid, and setgid unless it is only the old mark of mandatory locking,
// set by somebody who may.
func (c *Creds) dropPrivileges(mode, gid uint32) uint32 {
	mode &^= abi.S_ISUID
	if mode&abi.S_IXGRP != 0 || c.UID != 0 && !c.InGroup(gid) {
		mode &^= abi.S_ISGID
	}
	return mode
}
