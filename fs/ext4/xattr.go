package ext4

import (
	"cmp"
	"slices"
	"strings"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

// Attributes whose name starts with a known prefix; the prefix is stored as a number.
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
)

// xattr is an attribute; name is without its prefix.
type xattr struct {
	index uint8
	name  string
	value []byte
}

func (x xattr) size() int { return disk.XattrEntryLen(len(x.name)) + disk.XattrValueLen(len(x.value)) }

// splitXattrName turns a full name into what is stored.
func splitXattrName(name string) (index uint8, rest string, err error) {
	if name == "" || len(name) > disk.MaxNameLen {
		return 0, "", abi.ERANGE
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

// parseXattrs decodes the entries in area; values are at offsets from base.
func (n *inode) parseXattrs(block uint64, area, base []byte) ([]xattr, error) {
	var list []xattr
	for off := 0; ; {
		if off+4 > len(area) {
			return nil, n.fs.corruptBlock(n.ino, block, "extended attributes have no end")
		}
		if le.Uint32(area[off:]) == 0 {
			return list, nil
		}
		if off+disk.XattrEntrySize > len(area) {
			return nil, n.fs.corruptBlock(n.ino, block, "extended attribute at offset %d has no room", off)
		}
		var e disk.XattrEntry
		e.Decode(area[off:])
		next := off + disk.XattrEntryLen(int(e.NameLen))
		if next > len(area) || e.ValueIno != 0 || uint64(e.Offset)+uint64(e.ValueSize) > uint64(len(base)) {
			return nil, n.fs.corruptBlock(n.ino, block, "extended attribute at offset %d: name of %d bytes, value of %d at %d in inode %d", off, e.NameLen, e.ValueSize, e.Offset, e.ValueIno)
		}
		name := string(area[off+disk.XattrEntrySize:][:e.NameLen])
		value := slices.Clone(base[e.Offset:][:e.ValueSize])
		list = append(list, xattr{e.Index, name, value})
		off = next
	}
}

// buildXattrs writes list into area (zeroed) with values at the end of base, which ends
// where area ends. It returns the hashes of the entries.
func buildXattrs(list []xattr, area, base []byte) []uint32 {
	hashes := make([]uint32, 0, len(list))
	end := len(base)
	off := 0
	for _, x := range list {
		e := disk.XattrEntry{NameLen: uint8(len(x.name)), Index: x.index, ValueSize: uint32(len(x.value)), Hash: disk.XattrHash(x.name, x.value)}
		if len(x.value) > 0 {
			end -= disk.XattrValueLen(len(x.value))
			copy(base[end:], x.value)
			e.Offset = uint16(end)
		}
		e.Encode(area[off:])
		copy(area[off+disk.XattrEntrySize:], x.name)
		off += disk.XattrEntryLen(len(x.name))
		hashes = append(hashes, e.Hash)
	}
	return hashes
}

// fitsXattrs tells whether list fits into room bytes, with its end mark.
func fitsXattrs(list []xattr, room int) bool {
	size := disk.XattrPad
	for _, x := range list {
		size += x.size()
	}
	return size <= room
}

// xattrArea returns the room for attributes in the inode's bytes, magic number included.
func (n *inode) xattrArea(table *buffer) []byte {
	raw := n.fs.rawInode(table, n.ino)
	if len(raw) <= disk.GoodOldInodeSize {
		return nil
	}
	area := raw[disk.GoodOldInodeSize+int(n.d.ExtraIsize):]
	if len(area) < disk.XattrInodeHeader+disk.XattrPad {
		return nil
	}
	return area
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

// checkXattrBlock is the check of a buffer in roleXattr.
func checkXattrBlock(fs *FS, b *buffer, r role, _ uint32) error {
	var h disk.XattrHeader
	h.Decode(b.data)
	if h.Magic != disk.XattrMagic || h.Blocks != 1 || h.Refcount == 0 {
		return fs.corruptBlock(0, b.nr, "block of extended attributes with magic number %#x, %d blocks, %d users", h.Magic, h.Blocks, h.Refcount)
	}
	if fs.hasCsum {
		if want := disk.XattrBlockChecksum(fs.csumSeed, b.nr, b.data); h.Checksum != want {
			return fs.corruptBlock(0, b.nr, "checksum of extended attributes is %#x, should be %#x", h.Checksum, want)
		}
	}
	return nil
}

// xattrBlock reads the inode's block of attributes, nil if it has none.
func (n *inode) xattrBlock() (*buffer, error) {
	if n.d.FileACL == 0 {
		return nil, nil
	}
	return n.fs.buffers.read(n.d.FileACL, makeRole(roleXattr, 0), 0, checkXattrBlock)
}

// blockXattrs reads the attributes in the inode's block.
func (n *inode) blockXattrs() ([]xattr, error) {
	b, err := n.xattrBlock()
	if b == nil || err != nil {
		return nil, err
	}
	defer n.fs.buffers.put(b)
	n.fs.xattrMu.Lock()
	defer n.fs.xattrMu.Unlock()
	return n.parseXattrs(b.nr, b.data[disk.XattrBlockHeader:], b.data)
}

// Getxattr implements vfs.XattrNode.
func (n *inode) Getxattr(name string) ([]byte, abi.Errno) {
	index, rest, err := splitXattrName(name)
	if err != nil {
		return nil, errno(err)
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, read := range []func() ([]xattr, error){n.inodeXattrs, n.blockXattrs} {
		list, err := read()
		if err != nil {
			return nil, errno(err)
		}
		for _, x := range list {
			if x.index == index && x.name == rest {
				return x.value, 0
			}
		}
	}
	return nil, abi.ENODATA
}

// Listxattr implements vfs.XattrNode.
func (n *inode) Listxattr() ([]string, abi.Errno) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var names []string
	for _, read := range []func() ([]xattr, error){n.inodeXattrs, n.blockXattrs} {
		list, err := read()
		if err != nil {
			return nil, errno(err)
		}
		for _, x := range list {
			for _, p := range xattrPrefixes {
				if p.index == x.index {
					names = append(names, p.prefix+x.name)
				}
			}
		}
	}
	return names, 0
}

// Setxattr implements vfs.XattrNode.
func (n *inode) Setxattr(name string, value []byte, flags uint32) abi.Errno {
	index, rest, err := splitXattrName(name)
	if err != nil {
		return errno(err)
	}
	if flags&^(xattrCreate|xattrReplace) != 0 {
		return abi.EINVAL
	}
	if index == disk.XattrUser && !n.isRegular() && !n.isDir() {
		return abi.EPERM
	}
	x := xattr{index, rest, value}
	return errno(n.fs.retryFull(func() error { return n.changeXattr(x, flags, false) }))
}

// Removexattr implements vfs.XattrNode.
func (n *inode) Removexattr(name string) abi.Errno {
	index, rest, err := splitXattrName(name)
	if err != nil {
		return errno(err)
	}
	if index == disk.XattrUser && !n.isRegular() && !n.isDir() {
		return abi.EPERM
	}
	return errno(n.fs.retryFull(func() error { return n.changeXattr(xattr{index: index, name: rest}, 0, true) }))
}

// changeXattr sets or removes an attribute.
func (n *inode) changeXattr(x xattr, flags uint32, remove bool) error {
	fs := n.fs
	n.mu.Lock()
	defer n.mu.Unlock()
	inInode, err := n.inodeXattrs()
	if err != nil {
		return err
	}
	inBlock, err := n.blockXattrs()
	if err != nil {
		return err
	}
	same := func(y xattr) bool { return y.index == x.index && y.name == x.name }
	wasInode, wasBlock := slices.ContainsFunc(inInode, same), slices.ContainsFunc(inBlock, same)
	switch exists := wasInode || wasBlock; {
	case exists && flags&xattrCreate != 0:
		return abi.EEXIST
	case !exists && (remove || flags&xattrReplace != 0):
		return abi.ENODATA
	}
	inInode, inBlock = slices.DeleteFunc(inInode, same), slices.DeleteFunc(inBlock, same)

	h, err := fs.begin(8)
	if err != nil {
		return err
	}
	defer h.end()
	if err := h.inode(n); err != nil {
		return err
	}
	area := n.xattrArea(n.table)
	toInode, toBlock := wasInode, wasBlock
	if !remove {
		switch {
		case area != nil && fitsXattrs(append(slices.Clip(inInode), x), len(area)-disk.XattrInodeHeader):
			inInode, toInode = append(inInode, x), true
		case fitsXattrs(append(slices.Clip(inBlock), x), fs.bs-disk.XattrBlockHeader):
			inBlock, toBlock = append(inBlock, x), true
		default:
			return abi.ENOSPC
		}
	}
	// The block first: it may find the disk full.
	if toBlock {
		if err := n.putXattrBlock(h, inBlock); err != nil {
			return err
		}
	}
	if toInode {
		clear(area)
		if len(inInode) > 0 {
			le.PutUint32(area, disk.XattrMagic)
			entries := area[disk.XattrInodeHeader:]
			buildXattrs(inInode, entries, entries)
		}
	}
	n.stamp(fs.now(), false)
	n.touched(h, true)
	return nil
}

// putXattrBlock makes list the attributes in the inode's block: in place, in a new block if
// others share the old one, or without a block if the list is empty.
func (n *inode) putXattrBlock(h handle, list []xattr) error {
	fs := n.fs
	if len(list) == 0 {
		return n.dropXattrBlock(h)
	}
	b, err := n.xattrBlock()
	if err != nil {
		return err
	}
	fs.xattrMu.Lock()
	shared := b != nil && le.Uint32(b.data[4:]) > 1
	fs.xattrMu.Unlock()
	if b == nil || shared {
		fs.buffers.put(b)
		start, _, err := fs.allocRun(h, n.goal(0), 1)
		if err != nil {
			return err
		}
		if shared {
			if err := n.dropXattrBlock(h); err != nil {
				return err
			}
		}
		b = fs.buffers.create(start, makeRole(roleXattr, 0), 0)
		n.d.FileACL = start
		n.addBlocks(1)
	}
	defer fs.buffers.put(b)
	h.access(b)
	slices.SortFunc(list, func(a, b xattr) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	fs.xattrMu.Lock()
	defer fs.xattrMu.Unlock()
	clear(b.data)
	hashes := buildXattrs(list, b.data[disk.XattrBlockHeader:], b.data)
	hdr := disk.XattrHeader{Magic: disk.XattrMagic, Refcount: 1, Blocks: 1, Hash: disk.XattrBlockHash(hashes)}
	hdr.Encode(b.data)
	return nil
}

// dropXattrBlock gives up the inode's block of attributes, and frees it if nobody else has it.
func (n *inode) dropXattrBlock(h handle) error {
	b, err := n.xattrBlock()
	if b == nil || err != nil {
		return err
	}
	defer n.fs.buffers.put(b)
	h.access(b)
	n.fs.xattrMu.Lock()
	users := le.Uint32(b.data[4:]) - 1
	le.PutUint32(b.data[4:], users)
	n.fs.xattrMu.Unlock()
	if users == 0 {
		if err := n.fs.freeRun(h, b.nr, 1); err != nil {
			return err
		}
		h.forget(b.nr)
	}
	n.d.FileACL = 0
	n.addBlocks(-1)
	return nil
}
