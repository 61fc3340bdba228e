package mkfs

import (
	"fmt"

	"pinhole/fs/ext4/disk"
)

const (
	inodeSize   = 256
	descSize    = 64
	maxLogFlex  = 4
	firstInode  = 11
	lostFound   = firstInode
	minBlocks   = 64
	smallest    = 512 << 20 // from this size on there are fewer inodes
	compat      = disk.CompatExtAttr | disk.CompatDirIndex
	incompat    = disk.IncompatFiletype | disk.IncompatExtents | disk.Incompat64Bit | disk.IncompatFlexBG
	mountOpts   = 0x000c // user_xattr, acl
	roCompat    = disk.ROCompatSparseSuper | disk.ROCompatLargeFile | disk.ROCompatHugeFile | disk.ROCompatDirNlink | disk.ROCompatExtraIsize | disk.ROCompatMetadataCsum
	maxJournal  = disk.MaxExtentLen
	needJournal = 2048 // blocks from which on there is a journal
)

// journalBlocks returns the size of the journal of a file system of n blocks: as mke2fs, but not
// more than one extent has.
func journalBlocks(n int64) int64 {
	for _, s := range [...]struct{ below, size int64 }{
		{needJournal, 0}, {32768, 1024}, {256 << 10, 4096}, {512 << 10, 8192}, {4096 << 10, 16384},
	} {
		if n < s.below {
			return s.size
		}
	}
	return maxJournal
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }

// first returns the first block of group g, and blocks its length.
func (b *builder) first(g int64) int64 { return int64(b.sb.FirstDataBlock) + g*b.perGroup }

func (b *builder) blocks(g int64) int64 {
	return min(b.perGroup, int64(b.sb.BlocksCount)-b.first(g))
}

// geometry decides on groups and inodes.
func (b *builder) geometry(size int64) error {
	s := &b.sb
	total := size / b.bs
	if total < minBlocks {
		return fmt.Errorf("%d bytes: %w", size, ErrTooSmall)
	}
	if total > 1<<32-1 {
		return fmt.Errorf("%d bytes: %w", size, ErrTooLarge)
	}
	s.FeatureCompat, s.FeatureIncompat, s.FeatureROCompat = compat, incompat, roCompat
	b.perGroup = 8 * b.bs
	for 1024<<s.LogBlockSize < b.bs {
		s.LogBlockSize++
	}
	if b.bs == 1024 {
		s.FirstDataBlock = 1
	}
	ratio := int64(16384)
	if size < smallest {
		ratio = 4096
	}
	inodes := max(size/ratio, int64(b.o.Inodes), firstInode+5)
	if inodes > 1<<32-1 {
		return fmt.Errorf("%d inodes: more than an ext4 file system can have", inodes)
	}
	for {
		s.BlocksCount = uint64(total)
		data := total - int64(s.FirstDataBlock)
		b.groups = ceilDiv(data, b.perGroup)
		b.gdtLen = ceilDiv(b.groups*descSize, b.bs)
		// Whole blocks of inodes, and whole bytes of the bitmap.
		unit := max(b.bs/inodeSize, 8)
		b.inodes = max(ceilDiv(ceilDiv(inodes, b.groups), unit)*unit, 16)
		if most := min(8*b.bs, (1<<32-1)/b.groups/unit*unit); b.inodes > most {
			if int64(b.o.Inodes) > most*b.groups {
				return fmt.Errorf("%d inodes: at most %d in a file system of this size and block size", inodes, most*b.groups)
			}
			b.inodes = most
		}
		b.tableLen = b.inodes * inodeSize / b.bs
		// The first of the groups that have their metadata together keeps room for files.
		for b.logFlex = maxLogFlex; b.logFlex > 0 && b.groups > 1 && b.overhead(0) > b.perGroup/4*3; b.logFlex-- {
		}
		// A last group that would be little more than its own metadata is left out.
		last := b.groups - 1
		if last == 0 || b.blocks(last) >= b.overhead(last)+50 {
			break
		}
		total = b.first(last)
	}
	for g := range min(b.groups, 1<<b.logFlex+1) {
		if b.overhead(g) >= b.blocks(g) {
			if b.groups > 1 {
				return fmt.Errorf("%d bytes: %w", size, ErrTooLarge)
			}
			return fmt.Errorf("%d bytes: %w", size, ErrTooSmall)
		}
	}

	s.InodesCount = uint32(b.inodes * b.groups)
	s.BlocksPerGroup, s.ClustersPerGrp = uint32(b.perGroup), uint32(b.perGroup)
	s.LogClusterSize = s.LogBlockSize
	s.InodesPerGroup = uint32(b.inodes)
	now := uint64(b.o.Time.Unix())
	s.Wtime, s.MkfsTime, s.LastCheck = now, now, now
	s.MaxMntCount = 0xffff
	s.State = disk.StateValid
	s.Errors = disk.ErrorsContinue
	s.RevLevel = disk.RevDynamic
	s.FirstIno, s.InodeSize = firstInode, inodeSize
	s.UUID = b.o.UUID
	copy(s.VolumeName[:], b.o.Label)
	for i := range s.HashSeed {
		// The UUID is as good as anything: what matters is that it differs.
		s.HashSeed[i] = disk.Checksum32(disk.Checksum(^uint32(0), s.UUID[:]), uint32(i))
	}
	s.DefHashVersion = uint8(disk.DefaultHashLevel)
	s.DescSize = descSize
	s.DefaultMountOpt = mountOpts
	s.MinExtraIsize, s.WantExtraIsize = disk.ExtraIsize, disk.ExtraIsize
	s.Flags = disk.FlagSignedHash
	s.LogGroupsPerFlx = b.logFlex
	s.ChecksumType = disk.ChecksumCRC32C
	b.seed = s.Seed()
	return nil
}

// super returns how many blocks at the start of group g hold a copy of superblock and descriptors.
func (b *builder) super(g int64) int64 {
	if !b.sb.HasSuper(uint32(g)) {
		return 0
	}
	return 1 + b.gdtLen
}

// flexSize returns how many groups have their metadata in group g: 0 if it is not the first of
// a flexible group.
func (b *builder) flexSize(g int64) int64 {
	if g%(1<<b.logFlex) != 0 {
		return 0
	}
	return min(1<<b.logFlex, b.groups-g)
}

// overhead returns how many blocks of group g are metadata.
func (b *builder) overhead(g int64) int64 {
	return b.super(g) + b.flexSize(g)*(2+b.tableLen)
}

// Places of a group's metadata: behind the superblock copy of the flexible group's first, all
// block bitmaps, all inode bitmaps, all inode tables.
func (b *builder) metadata(g int64) (blockBitmap, inodeBitmap, table int64) {
	flex := g &^ (1<<b.logFlex - 1)
	n, i := b.flexSize(flex), g-flex
	base := b.first(flex) + b.super(flex)
	return base + i, base + n + i, base + 2*n + i*b.tableLen
}
