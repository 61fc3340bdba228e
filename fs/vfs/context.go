package vfs

import (
	"slices"

	"pinhole/abi"
)

// Creds says who asks, as the file system ids of credentials(7). UID 0 has the file
// capabilities of Linux's root: it passes every permission check but that of executing a
// file that nobody may execute.
type Creds struct {
	UID, GID uint32
	Groups   []uint32 // supplementary groups
}

// Context is what path walks need to know of a process. It must not change while a call uses
// it: a process that changes its directories hands out a new copy.
type Context struct {
	Creds
	// Root is where absolute paths start, and ".." ends; nil: the namespace's root.
	Root *Dentry
	// Cwd is where relative paths start if a call names no directory; nil: Root.
	Cwd   *Dentry
	Umask uint32
	// Owner is for file systems whose links depend on who follows them (see Jumper); the
	// walk itself does not look at it.
	Owner any
}

// InGroup tells whether gid is the group or one of the supplementary groups.
func (c *Creds) InGroup(gid uint32) bool {
	return c.GID == gid || slices.Contains(c.Groups, gid)
}

// Permit checks the permission bits of a file (inode(7)) for want, made of R_OK, W_OK and X_OK.
// EACCES.
func (c *Creds) Permit(mode, uid, gid, want uint32) abi.Errno {
	if c.UID == 0 {
		if want&abi.X_OK != 0 && mode&0o111 == 0 && mode&abi.S_IFMT != abi.S_IFDIR {
			return abi.EACCES
		}
		return 0
	}
	bits := mode
	switch {
	case c.UID == uid:
		bits >>= 6
	case c.InGroup(gid):
		bits >>= 3
	}
	if bits&want != want {
		return abi.EACCES
	}
	return 0
}

// permit is Permit for a dentry, with the owner fetched only if the answer depends on it.
func (c *Creds) permit(d *Dentry, want uint32) abi.Errno {
	mode := d.node.Mode()
	if all := want<<6 | want<<3 | want; mode&all == all {
		return 0
	}
	if c.UID == 0 {
		return c.Permit(mode, 0, 0, want)
	}
	var a Attr
	if e := d.node.Attr(&a); e != 0 {
		return e
	}
	return c.Permit(a.Mode, a.UID, a.GID, want)
}

// mayWrite is the check before a directory's names, or a file's content, change.
func (c *Creds) mayWrite(d *Dentry, want uint32) abi.Errno {
	switch d.typ {
	case abi.S_IFREG, abi.S_IFDIR, abi.S_IFLNK:
		if d.readOnly() {
			return abi.EROFS
		}
		if NodeFlags(d.node)&abi.FS_IMMUTABLE_FL != 0 {
			return abi.EPERM
		}
	}
	return c.permit(d, want)
}

// mayDelete checks that the name of victim may be taken out of dir, for a call that removes
// directories, or one that removes everything else.
func (c *Creds) mayDelete(dir, victim *Dentry, isDir bool) abi.Errno {
	if e := c.mayWrite(dir, abi.W_OK|abi.X_OK); e != 0 {
		return e
	}
	if NodeFlags(dir.node)&abi.FS_APPEND_FL != 0 || frozen(victim.node) {
		return abi.EPERM
	}
	if e := c.sticky(dir, victim); e != 0 {
		return e
	}
	if isDir != (victim.typ == abi.S_IFDIR) {
		if isDir {
			return abi.ENOTDIR
		}
		return abi.EISDIR
	}
	return 0
}

// sticky checks the restricted deletion flag: in such a directory only the owner of the file
// or of the directory removes and renames. EPERM.
func (c *Creds) sticky(dir, victim *Dentry) abi.Errno {
	if c.UID == 0 || dir.node.Mode()&abi.S_ISVTX == 0 {
		return 0
	}
	var a Attr
	if e := victim.node.Attr(&a); e != 0 || a.UID == c.UID {
		return e
	}
	if e := dir.node.Attr(&a); e != 0 || a.UID == c.UID {
		return e
	}
	return abi.EPERM
}
