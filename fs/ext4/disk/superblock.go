package disk

import (
	"errors"
	"fmt"
)

// Where the primary superblock lies on the device, and how long it is, in bytes.
const (
	SuperblockOffset = 1024
	SuperblockSize   = 1024
	Magic            = 0xef53
)

// Bits of Superblock.State.
const (
	StateValid   = 0x1 // unmounted cleanly
	StateError   = 0x2 // errors were found
	StateOrphans = 0x4 // orphans are being recovered
)

// Values of Superblock.Errors: what a mount is to do when it finds corruption.
const (
	ErrorsContinue = 1
	ErrorsReadOnly = 2
	ErrorsPanic    = 3
)

// Bits of Superblock.Flags.
const (
	FlagSignedHash   = 0x1
	FlagUnsignedHash = 0x2
	FlagTestFS       = 0x4
)

// Revisions, and the defaults of the first.
const (
	RevOriginal      = 0
	RevDynamic       = 1
	oldFirstInode    = 11
	oldInodeSize     = 128
	ChecksumCRC32C   = 1
	MinDescSize      = 32
	MinDescSize64    = 64
	MaxDescSize      = 1024
	MinBlockSizeLog  = 10
	MaxBlockSizeLog  = 16
	GroupNumberNone  = ^uint32(0)
	DefaultHashLevel = HashHalfMD4
)

// Inodes with a fixed number.
const (
	BadBlocksInode = 1
	RootInode      = 2
	UserQuotaInode = 3
	GrpQuotaInode  = 4
	BootLoadInode  = 5
	UndeleteInode  = 6
	ResizeInode    = 7
	JournalInode   = 8
)

// Superblock is the superblock, by field, in the units of the disk (BlocksCount and the
// like join the low and high halves). Raw keeps what was decoded, so that Encode leaves
// bytes without a field here as they were.
type Superblock struct {
	InodesCount     uint32
	BlocksCount     uint64
	RBlocksCount    uint64 // reserved for root
	FreeBlocksCount uint64
	FreeInodesCount uint32
	FirstDataBlock  uint32
	LogBlockSize    uint32 // block size is 1024 << LogBlockSize
	LogClusterSize  uint32
	BlocksPerGroup  uint32
	ClustersPerGrp  uint32
	InodesPerGroup  uint32
	Mtime           uint64 // last mount; times are seconds since the epoch, 40 bits on disk
	Wtime           uint64 // last write
	MntCount        uint16
	MaxMntCount     uint16
	MagicNumber     uint16
	State           uint16
	Errors          uint16
	MinorRevLevel   uint16
	LastCheck       uint64
	CheckInterval   uint32
	CreatorOS       uint32
	RevLevel        uint32
	DefResUID       uint16
	DefResGID       uint16
	FirstIno        uint32
	InodeSize       uint16
	BlockGroupNr    uint16 // group that this copy lies in
	FeatureCompat   uint32
	FeatureIncompat uint32
	FeatureROCompat uint32
	UUID            [16]byte
	VolumeName      [16]byte
	LastMounted     [64]byte
	ReservedGDT     uint16 // blocks kept for the growth of the descriptor table
	JournalUUID     [16]byte
	JournalInum     uint32
	JournalDev      uint32
	LastOrphan      uint32 // head of the list of inodes to delete
	HashSeed        [4]uint32
	DefHashVersion  uint8
	JnlBackupType   uint8 // 1: JnlBlocks holds the journal inode's i_block and size
	DescSize        uint16
	DefaultMountOpt uint32
	FirstMetaBG     uint32
	MkfsTime        uint64
	JnlBlocks       [17]uint32
	MinExtraIsize   uint16
	WantExtraIsize  uint16
	Flags           uint32
	RAIDStride      uint16
	MMPInterval     uint16
	MMPBlock        uint64
	RAIDStripeWidth uint32
	LogGroupsPerFlx uint8
	ChecksumType    uint8
	KBytesWritten   uint64
	ErrorCount      uint32
	FirstErrorTime  uint64
	FirstErrorIno   uint32
	FirstErrorBlock uint64
	FirstErrorFunc  [32]byte
	FirstErrorLine  uint32
	LastErrorTime   uint64
	LastErrorIno    uint32
	LastErrorLine   uint32
	LastErrorBlock  uint64
	LastErrorFunc   [32]byte
	MountOpts       [64]byte
	UserQuotaInum   uint32
	GroupQuotaInum  uint32
	OverheadBlocks  uint32
	BackupBGs       [2]uint32
	LostFoundIno    uint32
	ProjQuotaInum   uint32
	ChecksumSeed    uint32
	FirstErrorCode  uint8
	LastErrorCode   uint8
	Encoding        uint16
	EncodingFlags   uint16
	OrphanFileInum  uint32
	StoredChecksum  uint32 // as found by Decode

	Raw [SuperblockSize]byte
}

// ErrNotExt4 is returned for a superblock without ext4's magic number.
var ErrNotExt4 = errors.New("no ext4 superblock (magic number missing)")

// Decode reads the superblock from its 1024 bytes. It fails only if the magic number is
// missing or p is too short.
func (s *Superblock) Decode(p []byte) error {
	if len(p) < SuperblockSize {
		return fmt.Errorf("superblock of %d bytes: too short", len(p))
	}
	if le.Uint16(p[0x38:]) != Magic {
		return ErrNotExt4
	}
	copy(s.Raw[:], p)
	u16 := func(o int) uint16 { return le.Uint16(p[o:]) }
	u32 := func(o int) uint32 { return le.Uint32(p[o:]) }
	u64 := func(lo, hi int) uint64 { return uint64(u32(lo)) | uint64(u32(hi))<<32 }
	sec := func(lo, hi int) uint64 { return uint64(u32(lo)) | uint64(p[hi])<<32 }

	s.InodesCount = u32(0x0)
	s.FreeInodesCount = u32(0x10)
	s.FirstDataBlock = u32(0x14)
	s.LogBlockSize = u32(0x18)
	s.LogClusterSize = u32(0x1c)
	s.BlocksPerGroup = u32(0x20)
	s.ClustersPerGrp = u32(0x24)
	s.InodesPerGroup = u32(0x28)
	s.MntCount = u16(0x34)
	s.MaxMntCount = u16(0x36)
	s.MagicNumber = u16(0x38)
	s.State = u16(0x3a)
	s.Errors = u16(0x3c)
	s.MinorRevLevel = u16(0x3e)
	s.CheckInterval = u32(0x44)
	s.CreatorOS = u32(0x48)
	s.RevLevel = u32(0x4c)
	s.DefResUID = u16(0x50)
	s.DefResGID = u16(0x52)
	s.FirstIno, s.InodeSize = oldFirstInode, oldInodeSize
	if s.RevLevel >= RevDynamic {
		s.FirstIno = u32(0x54)
		s.InodeSize = u16(0x58)
	}
	s.BlockGroupNr = u16(0x5a)
	s.FeatureCompat = u32(0x5c)
	s.FeatureIncompat = u32(0x60)
	s.FeatureROCompat = u32(0x64)
	copy(s.UUID[:], p[0x68:])
	copy(s.VolumeName[:], p[0x78:])
	copy(s.LastMounted[:], p[0x88:])
	s.ReservedGDT = u16(0xce)
	copy(s.JournalUUID[:], p[0xd0:])
	s.JournalInum = u32(0xe0)
	s.JournalDev = u32(0xe4)
	s.LastOrphan = u32(0xe8)
	for i := range s.HashSeed {
		s.HashSeed[i] = u32(0xec + 4*i)
	}
	s.DefHashVersion = p[0xfc]
	s.JnlBackupType = p[0xfd]
	s.DescSize = u16(0xfe)
	s.DefaultMountOpt = u32(0x100)
	s.FirstMetaBG = u32(0x104)
	for i := range s.JnlBlocks {
		s.JnlBlocks[i] = u32(0x10c + 4*i)
	}
	s.BlocksCount = uint64(u32(0x4))
	s.RBlocksCount = uint64(u32(0x8))
	s.FreeBlocksCount = uint64(u32(0xc))
	if s.FeatureIncompat&Incompat64Bit != 0 {
		s.BlocksCount = u64(0x4, 0x150)
		s.RBlocksCount = u64(0x8, 0x154)
		s.FreeBlocksCount = u64(0xc, 0x158)
	}
	s.MinExtraIsize = u16(0x15c)
	s.WantExtraIsize = u16(0x15e)
	s.Flags = u32(0x160)
	s.RAIDStride = u16(0x164)
	s.MMPInterval = u16(0x166)
	s.MMPBlock = le.Uint64(p[0x168:])
	s.RAIDStripeWidth = u32(0x170)
	s.LogGroupsPerFlx = p[0x174]
	s.ChecksumType = p[0x175]
	s.KBytesWritten = le.Uint64(p[0x178:])
	s.ErrorCount = u32(0x194)
	s.FirstErrorIno = u32(0x19c)
	s.FirstErrorBlock = le.Uint64(p[0x1a0:])
	copy(s.FirstErrorFunc[:], p[0x1a8:])
	s.FirstErrorLine = u32(0x1c8)
	s.LastErrorIno = u32(0x1d0)
	s.LastErrorLine = u32(0x1d4)
	s.LastErrorBlock = le.Uint64(p[0x1d8:])
	copy(s.LastErrorFunc[:], p[0x1e0:])
	copy(s.MountOpts[:], p[0x200:])
	s.UserQuotaInum = u32(0x240)
	s.GroupQuotaInum = u32(0x244)
	s.OverheadBlocks = u32(0x248)
	s.BackupBGs = [2]uint32{u32(0x24c), u32(0x250)}
	s.LostFoundIno = u32(0x268)
	s.ProjQuotaInum = u32(0x26c)
	s.ChecksumSeed = u32(0x270)
	s.Wtime = sec(0x30, 0x274)
	s.Mtime = sec(0x2c, 0x275)
	s.MkfsTime = sec(0x108, 0x276)
	s.LastCheck = sec(0x40, 0x277)
	s.FirstErrorTime = sec(0x198, 0x278)
	s.LastErrorTime = sec(0x1cc, 0x279)
	s.FirstErrorCode = p[0x27a]
	s.LastErrorCode = p[0x27b]
	s.Encoding = u16(0x27c)
	s.EncodingFlags = u16(0x27e)
	s.OrphanFileInum = u32(0x280)
	s.StoredChecksum = u32(0x3fc)
	return nil
}

// Encode writes the superblock to p (1024 bytes), with its checksum if the file system
// has metadata checksums. Bytes without a field come from Raw.
func (s *Superblock) Encode(p []byte) {
	p = p[:SuperblockSize]
	copy(p, s.Raw[:])
	u16 := func(o int, v uint16) { le.PutUint16(p[o:], v) }
	u32 := func(o int, v uint32) { le.PutUint32(p[o:], v) }
	u64 := func(lo, hi int, v uint64) {
		u32(lo, uint32(v))
		if s.FeatureIncompat&Incompat64Bit != 0 {
			u32(hi, uint32(v>>32))
		}
	}
	sec := func(lo, hi int, v uint64) {
		u32(lo, uint32(v))
		p[hi] = byte(v >> 32)
	}
	u32(0x0, s.InodesCount)
	u64(0x4, 0x150, s.BlocksCount)
	u64(0x8, 0x154, s.RBlocksCount)
	u64(0xc, 0x158, s.FreeBlocksCount)
	u32(0x10, s.FreeInodesCount)
	u32(0x14, s.FirstDataBlock)
	u32(0x18, s.LogBlockSize)
	u32(0x1c, s.LogClusterSize)
	u32(0x20, s.BlocksPerGroup)
	u32(0x24, s.ClustersPerGrp)
	u32(0x28, s.InodesPerGroup)
	u16(0x34, s.MntCount)
	u16(0x36, s.MaxMntCount)
	u16(0x38, Magic)
	u16(0x3a, s.State)
	u16(0x3c, s.Errors)
	u16(0x3e, s.MinorRevLevel)
	u32(0x44, s.CheckInterval)
	u32(0x48, s.CreatorOS)
	u32(0x4c, s.RevLevel)
	u16(0x50, s.DefResUID)
	u16(0x52, s.DefResGID)
	if s.RevLevel >= RevDynamic {
		u32(0x54, s.FirstIno)
		u16(0x58, s.InodeSize)
	}
	u16(0x5a, s.BlockGroupNr)
	u32(0x5c, s.FeatureCompat)
	u32(0x60, s.FeatureIncompat)
	u32(0x64, s.FeatureROCompat)
	copy(p[0x68:], s.UUID[:])
	copy(p[0x78:], s.VolumeName[:])
	copy(p[0x88:], s.LastMounted[:])
	u16(0xce, s.ReservedGDT)
	copy(p[0xd0:], s.JournalUUID[:])
	u32(0xe0, s.JournalInum)
	u32(0xe4, s.JournalDev)
	u32(0xe8, s.LastOrphan)
	for i, v := range s.HashSeed {
		u32(0xec+4*i, v)
	}
	p[0xfc] = s.DefHashVersion
	p[0xfd] = s.JnlBackupType
	u16(0xfe, s.DescSize)
	u32(0x100, s.DefaultMountOpt)
	u32(0x104, s.FirstMetaBG)
	for i, v := range s.JnlBlocks {
		u32(0x10c+4*i, v)
	}
	u16(0x15c, s.MinExtraIsize)
	u16(0x15e, s.WantExtraIsize)
	u32(0x160, s.Flags)
	u16(0x164, s.RAIDStride)
	u16(0x166, s.MMPInterval)
	le.PutUint64(p[0x168:], s.MMPBlock)
	u32(0x170, s.RAIDStripeWidth)
	p[0x174] = s.LogGroupsPerFlx
	p[0x175] = s.ChecksumType
	le.PutUint64(p[0x178:], s.KBytesWritten)
	u32(0x194, s.ErrorCount)
	u32(0x19c, s.FirstErrorIno)
	le.PutUint64(p[0x1a0:], s.FirstErrorBlock)
	copy(p[0x1a8:], s.FirstErrorFunc[:])
	u32(0x1c8, s.FirstErrorLine)
	u32(0x1d0, s.LastErrorIno)
	u32(0x1d4, s.LastErrorLine)
	le.PutUint64(p[0x1d8:], s.LastErrorBlock)
	copy(p[0x1e0:], s.LastErrorFunc[:])
	copy(p[0x200:], s.MountOpts[:])
	u32(0x240, s.UserQuotaInum)
	u32(0x244, s.GroupQuotaInum)
	u32(0x248, s.OverheadBlocks)
	u32(0x24c, s.BackupBGs[0])
	u32(0x250, s.BackupBGs[1])
	u32(0x268, s.LostFoundIno)
	u32(0x26c, s.ProjQuotaInum)
	u32(0x270, s.ChecksumSeed)
	sec(0x30, 0x274, s.Wtime)
	sec(0x2c, 0x275, s.Mtime)
	sec(0x108, 0x276, s.MkfsTime)
	sec(0x40, 0x277, s.LastCheck)
	sec(0x198, 0x278, s.FirstErrorTime)
	sec(0x1cc, 0x279, s.LastErrorTime)
	p[0x27a] = s.FirstErrorCode
	p[0x27b] = s.LastErrorCode
	u16(0x27c, s.Encoding)
	u16(0x27e, s.EncodingFlags)
	u32(0x280, s.OrphanFileInum)
	if s.FeatureROCompat&ROCompatMetadataCsum != 0 {
		u32(0x3fc, SuperblockChecksum(p))
	}
}

// SuperblockChecksum sums an encoded superblock (all but the checksum field at its end).
func SuperblockChecksum(p []byte) uint32 { return Checksum(^uint32(0), p[:0x3fc]) }

// HasCompat tells whether all compatible features of mask are set; likewise the others.
func (s *Superblock) HasCompat(mask uint32) bool   { return s.FeatureCompat&mask == mask }
func (s *Superblock) HasIncompat(mask uint32) bool { return s.FeatureIncompat&mask == mask }
func (s *Superblock) HasROCompat(mask uint32) bool { return s.FeatureROCompat&mask == mask }

// BlockSize returns the block size in bytes; LogBlockSize must have been checked.
func (s *Superblock) BlockSize() int { return 1024 << s.LogBlockSize }

// GroupCount returns the number of block groups.
func (s *Superblock) GroupCount() uint64 {
	return (s.BlocksCount - uint64(s.FirstDataBlock) + uint64(s.BlocksPerGroup) - 1) / uint64(s.BlocksPerGroup)
}

// DescriptorSize returns the size of a group descriptor in bytes.
func (s *Superblock) DescriptorSize() int {
	if s.FeatureIncompat&Incompat64Bit == 0 {
		return MinDescSize
	}
	return int(s.DescSize)
}

// Seed returns the seed of the metadata checksums: a function of the UUID, or stored when
// the UUID may change (metadata_csum_seed).
func (s *Superblock) Seed() uint32 {
	if s.FeatureIncompat&IncompatCsumSeed != 0 {
		return s.ChecksumSeed
	}
	return Checksum(^uint32(0), s.UUID[:])
}

// HasSuper tells whether group g holds a copy of the superblock and descriptor table.
func (s *Superblock) HasSuper(g uint32) bool {
	switch {
	case g == 0:
		return true
	case s.FeatureCompat&CompatSparseSuper2 != 0:
		return g == s.BackupBGs[0] || g == s.BackupBGs[1]
	case g == 1 || s.FeatureROCompat&ROCompatSparseSuper == 0:
		return true
	case g&1 == 0:
		return false
	}
	for _, base := range [...]uint64{3, 5, 7} {
		n := base
		for n < uint64(g) {
			n *= base
		}
		if n == uint64(g) {
			return true
		}
	}
	return false
}

// HashUnsigned tells whether directory hashes take the bytes of names as unsigned.
func (s *Superblock) HashUnsigned() bool { return s.Flags&FlagUnsignedHash != 0 }
