package disk

// Bits of Inode.Flags. Those up to InodeNoAtime, and DirSync to TopDir, ProjInh and Casefold can be
// set by users (chattr(1)).
const (
	InodeSecRm       = 0x1
	InodeUnRm        = 0x2
	InodeCompr       = 0x4
	InodeSync        = 0x8
	InodeImmutable   = 0x10
	InodeAppend      = 0x20
	InodeNoDump      = 0x40
	InodeNoAtime     = 0x80
	InodeNoCompr     = 0x400
	InodeEncrypt     = 0x800
	InodeIndex       = 0x1000 // directory has a hash tree
	InodeJournalData = 0x4000
	InodeNoTail      = 0x8000
	InodeDirSync     = 0x10000
	InodeTopDir      = 0x20000
	InodeHugeFile    = 0x40000
	InodeExtents     = 0x80000
	InodeVerity      = 0x100000
	InodeEAInode     = 0x200000
	InodeDAX         = 0x2000000
	InodeInline      = 0x10000000
	InodeProjInh     = 0x20000000
	InodeCasefold    = 0x40000000
)

// Sizes and places in an inode, in bytes.
const (
	GoodOldInodeSize = 128
	BlockAreaOffset  = 0x28 // i_block
	BlockAreaSize    = 60
	ExtraIsize       = 32 // i_extra_isize that is written to new inodes
)

// DirectBlocks is the number of directly mapped blocks of an inode without extents; the
// indirect, double and triple indirect blocks follow them in the block area.
const DirectBlocks = 12

// Time is a time of an inode: seconds since the epoch (34 bits signed where the inode has
// the extra field, else 32) and nanoseconds.
type Time struct {
	Sec  int64
	Nsec int32
}

// Inode is an inode by field; halves are joined. Blocks is in the inode's own unit: 512
// bytes, or the block size if InodeHugeFile is set. Extended attributes in the inode
// (behind the extra fields) are left to the caller.
type Inode struct {
	Mode       uint16
	UID, GID   uint32
	Size       uint64
	Atime      Time
	Ctime      Time
	Mtime      Time
	Crtime     Time
	Dtime      uint32 // of deletion; the next inode's number while on the orphan list
	Links      uint16
	Blocks     uint64
	Flags      uint32
	Version    uint64
	Block      [BlockAreaSize]byte
	Generation uint32
	FileACL    uint64 // block of extended attributes, 0 for none
	ExtraIsize uint16
	ProjID     uint32
	Checksum   uint32 // as found by Decode
}

// offsets of the fields behind the first 128 bytes
const (
	offExtraIsize = 0x80
	offCsumHi     = 0x82
	offCtimeExtra = 0x84
	offMtimeExtra = 0x88
	offAtimeExtra = 0x8c
	offCrtime     = 0x90
	offCrtimeXtra = 0x94
	offVersionHi  = 0x98
	offProjID     = 0x9c
	offCsumLo     = 0x7c
)

// fits tells whether the field of n bytes at off exists in an inode with extra extra bytes.
func fits(extra uint16, off, n int) bool { return off+n <= GoodOldInodeSize+int(extra) }

// Decode reads an inode of len(p) bytes (the file system's inode size, at least 128). An
// ExtraIsize that does not fit the inode is for the caller to refuse; the fields beyond
// are then not read.
func (n *Inode) Decode(p []byte) {
	*n = Inode{
		Mode:       le.Uint16(p[0x0:]),
		UID:        uint32(le.Uint16(p[0x2:])) | uint32(le.Uint16(p[0x78:]))<<16,
		GID:        uint32(le.Uint16(p[0x18:])) | uint32(le.Uint16(p[0x7a:]))<<16,
		Size:       uint64(le.Uint32(p[0x4:])) | uint64(le.Uint32(p[0x6c:]))<<32,
		Dtime:      le.Uint32(p[0x14:]),
		Links:      le.Uint16(p[0x1a:]),
		Blocks:     uint64(le.Uint32(p[0x1c:])) | uint64(le.Uint16(p[0x74:]))<<32,
		Flags:      le.Uint32(p[0x20:]),
		Version:    uint64(le.Uint32(p[0x24:])),
		Generation: le.Uint32(p[0x64:]),
		FileACL:    uint64(le.Uint32(p[0x68:])) | uint64(le.Uint16(p[0x76:]))<<32,
		Checksum:   uint32(le.Uint16(p[offCsumLo:])),
	}
	copy(n.Block[:], p[BlockAreaOffset:])
	n.Atime.Sec = int64(int32(le.Uint32(p[0x8:])))
	n.Ctime.Sec = int64(int32(le.Uint32(p[0xc:])))
	n.Mtime.Sec = int64(int32(le.Uint32(p[0x10:])))
	if len(p) <= GoodOldInodeSize {
		return
	}
	n.ExtraIsize = le.Uint16(p[offExtraIsize:])
	if GoodOldInodeSize+int(n.ExtraIsize) > len(p) {
		return
	}
	x := n.ExtraIsize
	if fits(x, offCsumHi, 2) {
		n.Checksum |= uint32(le.Uint16(p[offCsumHi:])) << 16
	}
	extra := func(t *Time, off int) {
		if fits(x, off, 4) {
			v := le.Uint32(p[off:])
			t.Sec += int64(v&3) << 32
			t.Nsec = int32(v >> 2)
		}
	}
	extra(&n.Ctime, offCtimeExtra)
	extra(&n.Mtime, offMtimeExtra)
	extra(&n.Atime, offAtimeExtra)
	if fits(x, offCrtime, 4) {
		n.Crtime.Sec = int64(int32(le.Uint32(p[offCrtime:])))
		extra(&n.Crtime, offCrtimeXtra)
	}
	if fits(x, offVersionHi, 4) {
		n.Version |= uint64(le.Uint32(p[offVersionHi:])) << 32
	}
	if fits(x, offProjID, 4) {
		n.ProjID = le.Uint32(p[offProjID:])
	}
}

// Encode writes the inode to p (the file system's inode size) without its checksum (see
// SetInodeChecksum), and leaves bytes without a field alone.
func (n *Inode) Encode(p []byte) {
	le.PutUint16(p[0x0:], n.Mode)
	le.PutUint16(p[0x2:], uint16(n.UID))
	le.PutUint16(p[0x78:], uint16(n.UID>>16))
	le.PutUint16(p[0x18:], uint16(n.GID))
	le.PutUint16(p[0x7a:], uint16(n.GID>>16))
	put64split(p[0x4:], p[0x6c:], n.Size)
	le.PutUint32(p[0x8:], uint32(n.Atime.Sec))
	le.PutUint32(p[0xc:], uint32(n.Ctime.Sec))
	le.PutUint32(p[0x10:], uint32(n.Mtime.Sec))
	le.PutUint32(p[0x14:], n.Dtime)
	le.PutUint16(p[0x1a:], n.Links)
	le.PutUint32(p[0x1c:], uint32(n.Blocks))
	le.PutUint16(p[0x74:], uint16(n.Blocks>>32))
	le.PutUint32(p[0x20:], n.Flags)
	le.PutUint32(p[0x24:], uint32(n.Version))
	copy(p[BlockAreaOffset:BlockAreaOffset+BlockAreaSize], n.Block[:])
	le.PutUint32(p[0x64:], n.Generation)
	le.PutUint32(p[0x68:], uint32(n.FileACL))
	le.PutUint16(p[0x76:], uint16(n.FileACL>>32))
	if len(p) <= GoodOldInodeSize || GoodOldInodeSize+int(n.ExtraIsize) > len(p) {
		return
	}
	x := n.ExtraIsize
	le.PutUint16(p[offExtraIsize:], x)
	extra := func(t Time, off int) {
		if fits(x, off, 4) {
			le.PutUint32(p[off:], TimeExtra(t))
		}
	}
	extra(n.Ctime, offCtimeExtra)
	extra(n.Mtime, offMtimeExtra)
	extra(n.Atime, offAtimeExtra)
	if fits(x, offCrtime, 4) {
		le.PutUint32(p[offCrtime:], uint32(n.Crtime.Sec))
		extra(n.Crtime, offCrtimeXtra)
	}
	if fits(x, offVersionHi, 4) {
		le.PutUint32(p[offVersionHi:], uint32(n.Version>>32))
	}
	if fits(x, offProjID, 4) {
		le.PutUint32(p[offProjID:], n.ProjID)
	}
}

// TimeExtra returns the extra field of a time: two more bits of seconds, and nanoseconds.
func TimeExtra(t Time) uint32 {
	epoch := uint32((t.Sec-int64(int32(t.Sec)))>>32) & 3
	return epoch | uint32(t.Nsec)<<2
}

// ClampTime returns t as an inode with or without extra time fields can hold it.
func ClampTime(t Time, extra bool) Time {
	low, high := int64(-1<<31), int64(1<<31-1)
	if extra {
		high = 1<<34 - 1<<31 - 1
	} else {
		t.Nsec = 0
	}
	if t.Sec < low {
		return Time{Sec: low}
	}
	if t.Sec > high {
		return Time{Sec: high}
	}
	return t
}

// InodeChecksum sums the encoded inode p under the inode's seed (see InodeSeed). Only 16
// bits of it are stored if the inode has no room for the high half.
func InodeChecksum(seed uint32, p []byte) uint32 {
	zero := []byte{0, 0}
	c := Checksum(seed, p[:offCsumLo])
	c = Checksum(c, zero)
	c = Checksum(c, p[offCsumLo+2:GoodOldInodeSize])
	if len(p) <= GoodOldInodeSize {
		return c & 0xffff
	}
	c = Checksum(c, p[GoodOldInodeSize:offCsumHi])
	if !fits(le.Uint16(p[offExtraIsize:]), offCsumHi, 2) {
		return Checksum(c, p[offCsumHi:]) & 0xffff
	}
	c = Checksum(c, zero)
	return Checksum(c, p[offCsumHi+2:])
}

// SetInodeChecksum stores the checksum in the encoded inode p.
func SetInodeChecksum(seed uint32, p []byte) {
	c := InodeChecksum(seed, p)
	le.PutUint16(p[offCsumLo:], uint16(c))
	if len(p) > GoodOldInodeSize && fits(le.Uint16(p[offExtraIsize:]), offCsumHi, 2) {
		le.PutUint16(p[offCsumHi:], uint16(c>>16))
	}
}

// EncodeRdev returns what the first two words of the block area hold for a device with
// Linux's 64-bit number dev: the old 16-bit form where it fits, else the new one.
func EncodeRdev(dev uint64) (old, new uint32) {
	major := uint32(dev>>8&0xfff | dev>>32&^0xfff)
	minor := uint32(dev&0xff | dev>>12&0xffffff00)
	if major < 256 && minor < 256 {
		return major<<8 | minor, 0
	}
	return 0, minor&0xff | major<<8 | minor&^0xff<<12
}

// DecodeRdev is the inverse of EncodeRdev.
func DecodeRdev(old, new uint32) uint64 {
	var major, minor uint64
	if old != 0 {
		major, minor = uint64(old>>8&0xff), uint64(old&0xff)
	} else {
		major = uint64(new >> 8 & 0xfff)
		minor = uint64(new&0xff | new>>12&0xfff00)
	}
	return minor&0xff | major&0xfff<<8 | minor&^0xff<<12 | major&^0xfff<<32
}
