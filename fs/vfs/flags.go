package vfs

import "pinhole/abi"

// NodeFlags returns the flags of chattr(1) that a node has.
func NodeFlags(n Node) uint32 {
	if f, ok := n.(FlagNode); ok {
		return f.Flags()
	}
	return 0
}

// frozen tells whether the flags forbid to change anything of the node but, with append, to add to it.
func frozen(n Node) bool { return NodeFlags(n)&(abi.FS_IMMUTABLE_FL|abi.FS_APPEND_FL) != 0 }

// Flags returns the flags of chattr(1), for FS_IOC_GETFLAGS. ENOTTY: the file system has none.
func (d *Dentry) Flags() (uint32, abi.Errno) {
	f, ok := d.node.(FlagNode)
	if !ok {
		return 0, abi.ENOTTY
	}
	return f.Flags(), 0
}

// SetFlags changes them under the rules of FS_IOC_SETFLAGS: the owner may, but immutable and append-only
// are for UID 0 alone.
func (d *Dentry) SetFlags(c *Context, flags uint32) abi.Errno {
	f, ok := d.node.(FlagNode)
	if !ok {
		return abi.ENOTTY
	}
	if d.readOnly() {
		return abi.EROFS
	}
	if c.UID != 0 {
		var a Attr
		if e := d.node.Attr(&a); e != 0 {
			return e
		}
		if a.UID != c.UID || (flags^f.Flags())&(abi.FS_IMMUTABLE_FL|abi.FS_APPEND_FL) != 0 {
			return abi.EPERM
		}
	}
	return f.SetFlags(flags)
}

// MayAllocate checks the flags before fallocate(2) changes an open file: an append-only one can only get
// more room.
func (d *Dentry) MayAllocate(mode uint32) abi.Errno {
	switch flags := NodeFlags(d.node); {
	case flags&abi.FS_IMMUTABLE_FL != 0, flags&abi.FS_APPEND_FL != 0 && mode&^abi.FALLOC_FL_KEEP_SIZE != 0:
		return abi.EPERM
	}
	return 0
}
