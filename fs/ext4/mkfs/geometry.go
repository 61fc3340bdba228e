package mkfs

import (
	"fmt"

	"pinhole/fs/ext4/disk"
)

const (
	inodeSize  = 256
	descSize   = 64
	maxLogFlex = 4
	firstInode = 11
	lostFound  = firstInode
	minBlocks  = 64
	growth     = 1024      // how many times as large it can become while mounted
	maxBlocks  = 1<<32 - 1 // that the resize inode can name, and a group descriptor of 32 bytes
	smallest   = 512 << 20 // bytes from which on there are fewer inodes
	largest    = 4 << 40   // bytes from which on there are fewer still
	mountOpts  = 0x000c    // user_xattr, acl
	compat     = disk.CompatExtAttr | disk.CompatDirIndex
	incompat   = disk.IncompatFiletype | disk.IncompatExtents | disk.Incompat64Bit | disk.IncompatFlexBG
	roCompat   = disk.ROCompatSparseSuper | disk.ROCompatLargeFile | disk.ROCompatHugeFile | disk.ROCompatDirNlink | disk.ROCompatExtraIsize | disk.ROCompatMetadataCsum
	minLast    = 50 // blocks for files that a last group needs to be worth its metadata
)

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
	if total > maxBlocks {
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
	inodes := max(size/b.bytesPerInode(size), int64(min(b.o.Inodes, 1<<32)), firstInode+5)
	if inodes > 1<<32-1 {
		return fmt.Errorf("%d inodes: more than an ext4 file system can have", inodes)
	}
	for {
		s.BlocksCount = uint64(total)
		data := total - int64(s.FirstDataBlock)
		b.groups = ceilDiv(data, b.perGroup)
		b.gdtLen = ceilDiv(b.groups*descSize, b.bs)
		b.reserved = b.reservedGDT(total)
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
		if last == 0 || b.blocks(last) >= b.overhead(last)+minLast {
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
	b.describe()
	return nil
}

// bytesPerInode returns how much of the device there is for each inode.
func (b *builder) bytesPerInode(size int64) int64 {
	switch {
	case b.o.BytesPerInode != 0:
		return b.o.BytesPerInode
	case size < smallest:
		return 4096
	case size < largest:
		return 16384
	}
	return 32768
}

// reservedGDT returns how many blocks are kept for the growth of the descriptor table.
func (b *builder) reservedGDT(total int64) int64 {
	if b.o.NoResize {
		return 0
	}
	most := int64(maxBlocks)
	if total < most/growth {
		most = total * growth
	}
	groups := ceilDiv(most-int64(b.sb.FirstDataBlock), b.perGroup)
	// Each has a place in one indirect block.
	return min(ceilDiv(groups*descSize, b.bs)-b.gdtLen, b.bs/4)
}

// describe fills the superblock but for the counts.
func (b *builder) describe() {
	s := &b.sb
	s.InodesCount = uint32(b.inodes * b.groups)
	s.RBlocksCount = uint64(float64(s.BlocksCount) * b.o.Reserved / 100)
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
		if b.o.HashSeed != [16]byte{} {
			s.HashSeed[i] = le.Uint32(b.o.HashSeed[4*i:])
		} else {
			// The UUID is as good as anything: what matters is that it differs.
			s.HashSeed[i] = disk.Checksum32(disk.Checksum(^uint32(0), s.UUID[:]), uint32(i))
		}
	}
	s.DefHashVersion = uint8(disk.DefaultHashLevel)
	s.DescSize = descSize
	s.DefaultMountOpt = mountOpts
	s.MinExtraIsize, s.WantExtraIsize = disk.ExtraIsize, disk.ExtraIsize
	s.Flags = disk.FlagSignedHash
	s.LogGroupsPerFlx = b.logFlex
	s.ChecksumType = disk.ChecksumCRC32C
	if !b.o.NoChecksumSeed {
		s.ChecksumSeed = disk.Checksum(^uint32(0), s.UUID[:])
		s.FeatureIncompat |= disk.IncompatCsumSeed
	}
	if !b.o.NoResize {
		s.FeatureCompat |= disk.CompatResizeInode
		s.ReservedGDT = uint16(b.reserved)
	}
	b.seed = s.Seed()
}

// super returns how many blocks at the start of group g hold a copy of superblock and descriptors,
// or are kept for more of them.
func (b *builder) super(g int64) int64 {
	if !b.sb.HasSuper(uint32(g)) {
		return 0
	}
	return 1 + b.gdtLen + b.reserved
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
