package ext4

import (
	"slices"
	"strings"

	"pinhole/abi"
	"pinhole/fs/acl"
	"pinhole/fs/ext4/disk"
)

// Attributes whose name starts with a known prefix; the prefix is stored as a number. Access control
// lists have nothing but a number, and are stored in another form than they are shown in.
var xattrPrefixes = []struct {
	index  uint8
	prefix string
}{
	{disk.XattrUser, "user."},
	{disk.XattrTrusted, "trusted."},
	{disk.XattrSecurity, "security."},
}

const (
	xattrCreate  = 1 // XATTR_CREATE
	xattrReplace = 2 // XATTR_REPLACE

	maxXattrValue = 64 << 10 // XATTR_SIZE_MAX
)

// splitXattrName turns a full name into what is stored.
func splitXattrName(name string) (index uint8, rest string, err error) {
	if name == "" || len(name) > disk.MaxNameLen {
		return 0, "", abi.ERANGE
	}
	switch name {
	case acl.Access:
		return disk.XattrPosixACLAccess, "", nil
	case acl.Default:
		return disk.XattrPosixACLDefault, "", nil
	}
	for _, p := range xattrPrefixes {
		if r, ok := strings.CutPrefix(name, p.prefix); ok {
			if r == "" {
				return 0, "", abi.EINVAL
			}
			return p.index, r, nil
		}
	}
	return 0, "", abi.EOPNOTSUPP
}

// fullName is the inverse of splitXattrName; "" for what Linux does not show either.
func (x xattr) fullName() string {
	switch x.index {
	case disk.XattrPosixACLAccess:
		return acl.Access
	case disk.XattrPosixACLDefault:
		return acl.Default
	}
	for _, p := range xattrPrefixes {
		if p.index == x.index {
			return p.prefix + x.name
		}
	}
	return ""
}

func isACL(index uint8) bool {
	return index == disk.XattrPosixACLAccess || index == disk.XattrPosixACLDefault
}

// xattrArea returns the room for attributes in the inode's bytes, magic number included.
func (n *inode) xattrArea(table *buffer) []byte {
	raw := n.fs.rawInode(table, n.ino)
	if n.xattrRoom() <= 0 {
		return nil
	}
	return raw[disk.GoodOldInodeSize+int(n.d.ExtraIsize):]
}

// xattrRoom returns how many bytes of entries and values the inode has room for, with their end mark.
func (n *inode) xattrRoom() int {
	room := n.fs.inodeSize - disk.GoodOldInodeSize - int(n.d.ExtraIsize) - disk.XattrInodeHeader
	if room < disk.XattrPad {
		return 0
	}
	return room
}

// inodeXattrs reads the attributes in the inode.
func (n *inode) inodeXattrs() ([]xattr, error) {
	table, err := n.fs.inodeBlock(n.ino)
	if err != nil {
		return nil, err
	}
	defer n.fs.buffers.put(table)
	area := n.xattrArea(table)
	if area == nil || le.Uint32(area) != disk.XattrMagic {
		return nil, nil
	}
	entries := area[disk.XattrInodeHeader:]
	return n.parseXattrs(0, entries, entries)
}

// xattrs reads all attributes, of which those in the inode come first.
func (n *inode) xattrs() (inInode, inBlock []xattr, err error) {
	if inInode, err = n.inodeXattrs(); err == nil {
		inBlock, err = n.blockXattrs()
	}
	return inInode, inBlock, err
}

// xattr returns the value of an attribute, or ENODATA. The caller holds n.mu.
func (n *inode) xattr(index uint8, name string) ([]byte, error) {
	want := xattr{index: index, name: name}
	for _, read := range []func() ([]xattr, error){n.inodeXattrs, n.blockXattrs} {
		list, err := read()
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(list, want.is); i >= 0 {
			return list[i].value, nil
		}
	}
	return nil, abi.ENODATA
}

// Getxattr implements vfs.XattrNode.
func (n *inode) Getxattr(name string) ([]byte, abi.Errno) {
	index, rest, err := splitXattrName(name)
	if err != nil {
		return nil, errno(err)
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	if isACL(index) {
		if n.isLink() {
			return nil, abi.EOPNOTSUPP
		}
		l, err := n.readACL(index)
		if err != nil {
			return nil, errno(err)
		}
		if l == nil {
			return nil, abi.ENODATA
		}
		return l.Value(), 0
	}
	value, err := n.xattr(index, rest)
	return value, errno(err)
}

// Listxattr implements vfs.XattrNode.
func (n *inode) Listxattr() ([]string, abi.Errno) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	inInode, inBlock, err := n.xattrs()
	if err != nil {
		return nil, errno(err)
	}
	var names []string
	for _, list := range [][]xattr{inInode, inBlock} {
		for _, x := range list {
			if name := x.fullName(); name != "" {
				names = append(names, name)
			}
		}
	}
	return names, 0
}

// Setxattr implements vfs.XattrNode.
func (n *inode) Setxattr(name string, value []byte, flags uint32) abi.Errno {
	index, rest, err := splitXattrName(name)
	switch {
	case flags&^(xattrCreate|xattrReplace) != 0:
		return abi.EINVAL
	case err != nil:
		return errno(err)
	case len(value) > maxXattrValue:
		return abi.E2BIG
	case isACL(index):
		return n.setACL(index, value)
	case index == disk.XattrUser && !n.isRegular() && !n.isDir():
		return abi.EPERM
	}
	return errno(n.changeXattr(xattr{index, rest, value}, flags, false))
}

// Removexattr implements vfs.XattrNode.
func (n *inode) Removexattr(name string) abi.Errno {
	index, rest, err := splitXattrName(name)
	switch {
	case err != nil:
		return errno(err)
	case isACL(index):
		return n.setACL(index, nil)
	case index == disk.XattrUser && !n.isRegular() && !n.isDir():
		return abi.EPERM
	}
	return errno(n.changeXattr(xattr{index: index, name: rest}, xattrReplace, true))
}

// changeXattr sets or removes an attribute.
func (n *inode) changeXattr(x xattr, flags uint32, remove bool) error {
	return n.fs.retryFull(func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		c, err := n.prepareXattr(x, flags, remove)
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
		n.stamp(n.fs.now(), false)
		n.touched(h, true)
		return nil
	})
}

// xattrChange is a change of an inode's attributes that is known to fit: what will be in the inode
// and what in its block.
type xattrChange struct {
	n                *inode
	inInode, inBlock []xattr
	toInode, toBlock bool // which of the two changes
}

// prepareXattr finds out what setting or removing x comes to. ENOSPC if there is no room. The caller
// holds n.mu, until it applies the change.
func (n *inode) prepareXattr(x xattr, flags uint32, remove bool) (xattrChange, error) {
	c := xattrChange{n: n}
	var err error
	if c.inInode, c.inBlock, err = n.xattrs(); err != nil {
		return c, err
	}
	c.toInode, c.toBlock = slices.ContainsFunc(c.inInode, x.is), slices.ContainsFunc(c.inBlock, x.is)
	switch exists := c.toInode || c.toBlock; {
	case exists && flags&xattrCreate != 0:
		return c, abi.EEXIST
	case !exists && flags&xattrReplace != 0:
		return c, abi.ENODATA
	}
	c.inInode, c.inBlock = slices.DeleteFunc(c.inInode, x.is), slices.DeleteFunc(c.inBlock, x.is)
	if remove {
		return c, nil
	}
	switch {
	case fitsXattrs(append(slices.Clip(c.inInode), x), n.xattrRoom()):
		c.inInode, c.toInode = append(c.inInode, x), true
	case fitsXattrs(append(slices.Clip(c.inBlock), x), n.fs.bs-disk.XattrBlockHeader):
		c.inBlock, c.toBlock = append(c.inBlock, x), true
		return c, n.fs.roomFor(1, true)
	default:
		return c, abi.ENOSPC
	}
	return c, nil
}

// apply makes the change. The inode is announced.
func (c *xattrChange) apply(h handle) error {
	// The block first: it may find the disk full.
	if c.toBlock {
		if err := c.n.putXattrBlock(h, c.inBlock); err != nil {
			return err
		}
	}
	if c.toInode {
		area := c.n.xattrArea(c.n.table)
		clear(area)
		if len(c.inInode) > 0 {
			le.PutUint32(area, disk.XattrMagic)
			entries := area[disk.XattrInodeHeader:]
			buildXattrs(c.inInode, entries, entries)
		}
	}
	return nil
}
