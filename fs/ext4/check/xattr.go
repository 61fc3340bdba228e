package check

import (
	"slices"

	"pinhole/fs/ext4/disk"
)

// xattrRefs is what is known of blocks of attributes.
type xattrRefs struct {
	seen blockSet
	// left is, for a block whose count of references is not 1, how many are still to be found;
	// negative if there were more.
	left map[uint64]int64
}

const maxXattrRefs = 1024 // inodes that Linux lets share a block

// inodeXattrs checks the extra fields of an inode, and the attributes behind them.
func (c *checker) inodeXattrs(ino uint32, raw []byte, n *disk.Inode) error {
	if c.isize == disk.GoodOldInodeSize {
		return nil
	}
	room := c.isize - disk.GoodOldInodeSize
	extra := int(n.ExtraIsize)
	if extra != 0 && (extra < 4 || extra > room || extra&3 != 0) {
		if err := c.add(inInode(InodeExtra, ino), "i_extra_isize is %d: must be a multiple of 4, up to %d", extra, room); err != nil {
			return err
		}
	}
	if extra >= room-disk.XattrInodeHeader {
		return nil
	}
	if area := raw[disk.GoodOldInodeSize+extra:]; le.Uint32(area) == disk.XattrMagic {
		k := xattrCheck{c: c, area: area, head: disk.XattrInodeHeader, values: disk.XattrInodeHeader, oldHash: true}
		if err := k.run(inInode(XattrEntry, ino)); err != nil {
			return err
		}
	}
	const (
		atime, ctime, mtime, crtime = 0x8, 0xc, 0x10, 0x90
		atimeX, ctimeX, mtimeX      = 0x8c, 0x84, 0x88
		crtimeX                     = 0x94
	)
	for _, t := range [...][2]int{{atime, atimeX}, {ctime, ctimeX}, {mtime, mtimeX}, {crtime, crtimeX}} {
		if t[1]+4 <= len(raw) && le.Uint32(raw[t[0]:])>>31 != 0 && le.Uint32(raw[t[1]:])&3 == 3 {
			return c.add(inInode(InodeTime, ino), "a time is beyond the year 2310, or before 1970 in a wrong form")
		}
	}
	return nil
}

// xattrBlock checks an inode's block of attributes, and returns how many blocks that is.
func (c *checker) xattrBlock(ino uint32, n *disk.Inode) (uint64, error) {
	b := n.FileACL
	if !c.hasIncompat(disk.Incompat64Bit) {
		b &= 1<<32 - 1
	}
	if b == 0 {
		return 0, nil
	}
	prob := inInode(XattrBlock, ino).onBlock(b)
	if !c.hasCompat(disk.CompatExtAttr) {
		return 0, c.add(prob, "it has a block of attributes, but the file system has none")
	}
	if !c.valid(b) {
		prob.Code = BlockRange
		return 0, c.add(prob, "the block of attributes is outside of the file system")
	}
	if c.xattrs.seen.has(b - c.first) {
		if c.xattrs.left == nil {
			c.xattrs.left = make(map[uint64]int64)
		}
		c.xattrs.left[b]--
		return 1, nil
	}
	c.xattrs.seen.add(b-c.first, 1, func(uint64, uint64) {})
	if again, err := c.claim(b, 1); again || err != nil {
		return 1, err // someone else's: told in pass 1b
	}
	p := c.block
	if err := c.read(p, b); err != nil {
		return 0, err
	}
	var h disk.XattrHeader
	h.Decode(p)
	if h.Magic != disk.XattrMagic || h.Blocks != 1 {
		return 1, c.add(prob, "the block of attributes has no good header (magic %#08x, %d blocks)", h.Magic, h.Blocks)
	}
	if c.csum {
		if want := disk.XattrBlockChecksum(c.seed, b, p); h.Checksum != want {
			prob.Code = XattrChecksum
			if err := c.add(prob, "the block of attributes has checksum %#08x, should have %#08x", h.Checksum, want); err != nil {
				return 0, err
			}
		}
	}
	if h.Refcount != 1 {
		if c.xattrs.left == nil {
			c.xattrs.left = make(map[uint64]int64)
		}
		c.xattrs.left[b] = int64(h.Refcount) - 1
	}
	k := xattrCheck{c: c, area: p, head: disk.XattrBlockHeader, blockNames: true}
	prob.Code = XattrEntry
	return 1, k.run(prob)
}

// xattrCounts tells which blocks of attributes have wrong counts.
func (c *checker) xattrCounts() error {
	var wrong []uint64
	for b, left := range c.xattrs.left {
		if left != 0 {
			wrong = append(wrong, b)
		}
	}
	slices.Sort(wrong)
	for _, b := range wrong {
		left := c.xattrs.left[b]
		text := "the block of attributes counts %d inodes too many"
		if left < 0 {
			left, text = -left, "the block of attributes counts %d inodes too few"
		}
		if err := c.add(at(XattrRefs).onBlock(b), text, left); err != nil {
			return err
		}
	}
	return nil
}

// xattrCheck goes over the entries in an inode or block.
type xattrCheck struct {
	c          *checker
	area       []byte
	head       int  // bytes before the first entry
	values     int  // what the places of values count from
	oldHash    bool // a hash of 0 means none
	blockNames bool // an entry needs a prefix
	taken      [65536 / 64]uint64
}

// take marks n bytes from lo on, and tells whether they are there and free.
func (k *xattrCheck) take(lo, n int) bool {
	if n < 0 || lo+n > len(k.area) {
		return false
	}
	for ; n > 0; lo, n = lo+1, n-1 {
		if k.taken[lo/64]&(1<<(lo%64)) != 0 {
			return false
		}
		k.taken[lo/64] |= 1 << (lo % 64)
	}
	return true
}

func (k *xattrCheck) run(prob Problem) error {
	k.take(0, k.head)
	at := k.head
	for at+4 <= len(k.area) && le.Uint32(k.area[at:]) != 0 {
		if at+disk.XattrEntrySize > len(k.area) {
			return k.c.add(prob, "an attribute is cut off")
		}
		var e disk.XattrEntry
		e.Decode(k.area[at:])
		size := disk.XattrEntryLen(int(e.NameLen))
		if !k.take(at, size) {
			return k.c.add(prob, "an attribute with a name of %d bytes does not fit", e.NameLen)
		}
		name := k.area[at+disk.XattrEntrySize:][:e.NameLen]
		prob := prob.named(name)
		if k.blockNames && e.Index == 0 {
			return k.c.add(prob, "an attribute's name is of no kind")
		}
		if e.ValueIno != 0 {
			return k.c.add(prob, "an attribute's value is in inode %d, but the file system has none such", e.ValueIno)
		}
		lo := k.values + int(e.Offset)
		if e.ValueSize > uint32(len(k.area)) || e.ValueSize > 0 && !k.take(lo, disk.XattrValueLen(int(e.ValueSize))) {
			return k.c.add(prob, "an attribute's value, %d bytes at %d, does not fit or lies on something else", e.ValueSize, e.Offset)
		}
		if e.Hash != 0 || !k.oldHash {
			var value []byte
			if e.ValueSize > 0 {
				value = k.area[lo:][:disk.XattrValueLen(int(e.ValueSize))]
			}
			if e.Hash != disk.XattrHash(string(name), value) && e.Hash != signedHash(name, value) {
				prob.Code = XattrHash
				return k.c.add(prob, "an attribute has hash %#08x, should have %#08x", e.Hash, disk.XattrHash(string(name), value))
			}
		}
		at += size
	}
	if !k.take(at, 4) {
		return k.c.add(prob, "the attributes have no end")
	}
	return nil
}

// signedHash is disk.XattrHash of systems on which a char has a sign, which counts for bytes
// beyond ASCII.
func signedHash(name, value []byte) uint32 {
	var h uint32
	for _, b := range name {
		h = h<<5 ^ h>>27 ^ uint32(int32(int8(b)))
	}
	for ; len(value) >= 4; value = value[4:] {
		h = h<<16 ^ h>>16 ^ le.Uint32(value)
	}
	return h
}
