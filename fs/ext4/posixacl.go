package ext4

import (
	"pinhole/abi"
	"pinhole/fs/acl"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

// readACL reads an access control list, nil if there is none. The caller holds n.mu.
func (n *inode) readACL(index uint8) (acl.List, error) {
	value, err := n.xattr(index, "")
	if err == abi.ENODATA {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l, ok := acl.ParseDisk(value)
	if !ok {
		return nil, n.fs.corruptInode(n.ino, "access control list of %d bytes", len(value))
	}
	return l, nil
}

// aclXattr is the attribute that holds l.
func aclXattr(index uint8, l acl.List) xattr { return xattr{index: index, value: l.Disk()} }

// setACL sets or, with an empty value, removes an access control list, and the permission bits that
// go with it. A list that says no more than those bits is not stored.
func (n *inode) setACL(index uint8, value []byte) abi.Errno {
	if n.isLink() {
		return abi.EOPNOTSUPP
	}
	l, e := acl.Parse(value)
	if e != 0 {
		return e
	}
	if index == disk.XattrPosixACLDefault && !n.isDir() {
		if len(l) > 0 {
			return abi.EACCES
		}
		return 0
	}
	return errno(n.fs.retryFull(func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		mode, minimal := n.mode.Load(), len(l) == 0
		if index == disk.XattrPosixACLAccess && !minimal {
			mode, minimal = l.Mode(mode)
		}
		c, err := n.prepareXattr(aclXattr(index, l), 0, minimal)
		if err != nil {
			return err
		}
		h, err := n.fs.begin(xattrCredits)
		if err != nil {
			return err
		}
		defer h.end()
		if err := h.inode(n); err != nil {
			return err
		}
		if err := c.apply(h); err != nil {
			return err
		}
		if index == disk.XattrPosixACLDefault {
			n.defaultACL = aclUnknown
		}
		n.setMode(uint16(mode))
		n.stamp(n.fs.now(), false)
		n.touched(h, true)
		return nil
	}))
}

// chmodACL prepares what chmod does to the inode's access control list, if it has one. The caller
// holds n.mu.
func (n *inode) chmodACL(mode uint32) (xattrChange, error) {
	if n.d.FileACL == 0 && n.xattrRoom() == 0 || n.isLink() {
		return xattrChange{n: n}, nil
	}
	l, err := n.readACL(disk.XattrPosixACLAccess)
	if l == nil || err != nil {
		return xattrChange{n: n}, err
	}
	l.SetMode(mode)
	return n.prepareXattr(aclXattr(disk.XattrPosixACLAccess, l), xattrReplace, false)
}

// What is known of a directory's default access control list.
const (
	aclUnknown = iota
	aclNone
	aclSome
)

// inheritACL finds out which lists what c describes gets in directory n, and what they make of its
// mode. The caller holds n.mu exclusively.
func (n *inode) inheritACL(c *vfs.NewNode) (lists []xattr, mode uint32, err error) {
	if n.defaultACL == aclNone || isType(c.Mode, abi.S_IFLNK) {
		return nil, c.Mode, nil
	}
	l, err := n.readACL(disk.XattrPosixACLDefault)
	if err != nil {
		return nil, 0, err
	}
	if l == nil {
		n.defaultACL = aclNone
		return nil, c.Mode, nil
	}
	n.defaultACL = aclSome
	if isType(c.Mode, abi.S_IFDIR) {
		lists = append(lists, aclXattr(disk.XattrPosixACLDefault, l))
	}
	mode = l.Inherit(c.Mode)
	if _, minimal := l.Mode(mode); !minimal {
		lists = append(lists, aclXattr(disk.XattrPosixACLAccess, l))
	}
	return lists, mode, nil
}

// giveACL gives a new inode the lists that it inherits.
func (n *inode) giveACL(h handle, lists []xattr) error {
	for _, x := range lists {
		c, err := n.prepareXattr(x, 0, false)
		if err == nil {
			err = c.apply(h)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
