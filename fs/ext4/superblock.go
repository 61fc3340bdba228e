package ext4

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
)

var le = binary.LittleEndian

// Features that this driver handles. Compatible features need no list: what is not known
// may be ignored.
const (
	supportedIncompat = disk.IncompatFiletype | disk.IncompatRecover | disk.IncompatMetaBG |
		disk.IncompatExtents | disk.Incompat64Bit | disk.IncompatFlexBG |
		disk.IncompatCsumSeed | disk.IncompatLargeDir
	supportedROCompat = disk.ROCompatSparseSuper | disk.ROCompatLargeFile |
		disk.ROCompatBtreeDir | disk.ROCompatHugeFile | disk.ROCompatGDTCsum |
		disk.ROCompatDirNlink | disk.ROCompatExtraIsize | disk.ROCompatMetadataCsum |
		disk.ROCompatOrphanPresent
	// bigalloc is read-only compatible only for a driver that reads no bitmap.
	refusedROCompat = disk.ROCompatBigalloc
)

// Limits of what is mounted, against images made to exhaust memory.
const (
	maxGroups         = 1 << 17 // 16 TiB of 128 MiB groups
	minBlocksPerGroup = 256     // the least that mke2fs makes
)

// geometry is what the superblock says of the image's layout, checked, and never changes.
type geometry struct {
	bs             int
	bsLog          uint
	blocks         uint64
	firstDataBlock uint64
	blocksPerGroup uint32
	inodesPerGroup uint32
	inodesCount    uint32
	inodeSize      int
	inodesPerBlock uint32
	itableBlocks   uint32
	descSize       int
	descPerBlock   uint32
	groupCount     uint32
	flexLog        uint // groups in a flex group: 1 << flexLog
	overhead       uint64
	fsid           uint64
	csumSeed       uint32
	hashVersion    disk.HashVersion

	hasCsum      bool // metadata_csum
	hasGroupCsum bool // group descriptors have checksums (and the uninit flags mean something)
	hasFiletype  bool
	hasDirIndex  bool
	hasDirNlink  bool
	hasHugeFile  bool
	hasLargeDir  bool
	hasExtents   bool
	hasFlexBG    bool
	hasExtraTime bool // new inodes have room for nanoseconds
}

// loadSuperblock reads and checks the superblock and fills in the geometry.
func (fs *FS) loadSuperblock() error {
	size := fs.dev.Size()
	if size < disk.SuperblockOffset+disk.SuperblockSize {
		return fmt.Errorf("image of %d bytes is too small for a file system", size)
	}
	var raw [disk.SuperblockSize]byte
	if err := fs.dev.ReadAt(raw[:], disk.SuperblockOffset); err != nil {
		return fmt.Errorf("superblock: %w", err)
	}
	sb := &fs.sb
	if err := sb.Decode(raw[:]); err != nil {
		return fmt.Errorf("not an ext4 image: %w", err)
	}
	if sb.RevLevel > disk.RevDynamic {
		return fmt.Errorf("ext4 revision %d is not known", sb.RevLevel)
	}
	if err := fs.checkFeatures(); err != nil {
		return err
	}
	bad := func(format string, args ...any) error {
		return &CorruptError{What: "superblock: " + fmt.Sprintf(format, args...), Group: -1}
	}
	if sb.HasROCompat(disk.ROCompatMetadataCsum) {
		if sb.ChecksumType != disk.ChecksumCRC32C {
			return bad("checksum type %d is not known", sb.ChecksumType)
		}
		if want := disk.SuperblockChecksum(raw[:]); want != sb.StoredChecksum {
			return bad("checksum is %#x, should be %#x", sb.StoredChecksum, want)
		}
	}
	if sb.LogBlockSize > disk.MaxBlockSizeLog-disk.MinBlockSizeLog {
		return bad("block size 1024 << %d", sb.LogBlockSize)
	}
	if sb.BlockSize() > blockdev.PageSize {
		return fmt.Errorf("block size %d is not supported: make the image with mkfs.ext4 -b 4096 or less", sb.BlockSize())
	}
	g := geometry{bs: sb.BlockSize(), bsLog: uint(disk.MinBlockSizeLog + sb.LogBlockSize)}
	if sb.LogClusterSize != sb.LogBlockSize || sb.ClustersPerGrp != sb.BlocksPerGroup {
		return bad("cluster size differs from block size without bigalloc")
	}
	if n := int(sb.InodeSize); n < disk.GoodOldInodeSize || n > g.bs || bits.OnesCount(uint(n)) != 1 {
		return bad("inode size %d", n)
	}
	if sb.HasIncompat(disk.Incompat64Bit) {
		if n := int(sb.DescSize); n < disk.MinDescSize64 || n > disk.MaxDescSize || bits.OnesCount(uint(n)) != 1 {
			return bad("group descriptor size %d", n)
		}
	}
	if n := sb.BlocksPerGroup; n < minBlocksPerGroup || n > uint32(8*g.bs) || n%8 != 0 {
		return bad("%d blocks per group", n)
	}
	g.inodeSize = int(sb.InodeSize)
	g.inodesPerBlock = uint32(g.bs / g.inodeSize)
	if n := sb.InodesPerGroup; n == 0 || n > uint32(8*g.bs) || n%8 != 0 || n%g.inodesPerBlock != 0 {
		return bad("%d inodes per group", n)
	}
	g.itableBlocks = sb.InodesPerGroup / g.inodesPerBlock
	if g.itableBlocks >= sb.BlocksPerGroup {
		return bad("%d blocks of inodes in groups of %d blocks", g.itableBlocks, sb.BlocksPerGroup)
	}
	first := uint32(0)
	if g.bs == 1024 {
		first = 1
	}
	if sb.FirstDataBlock != first {
		return bad("first data block is %d, should be %d", sb.FirstDataBlock, first)
	}
	if sb.BlocksCount <= uint64(first) || sb.BlocksCount > 1<<48 {
		return bad("%d blocks", sb.BlocksCount)
	}
	if have := uint64(size) >> g.bsLog; sb.BlocksCount > have {
		return fmt.Errorf("image is truncated: the file system has %d blocks of %d bytes, the image %d", sb.BlocksCount, g.bs, have)
	}
	groups := sb.GroupCount()
	if groups > maxGroups {
		return fmt.Errorf("%d block groups are more than the %d supported", groups, maxGroups)
	}
	g.groupCount = uint32(groups)
	if uint64(sb.InodesPerGroup)*groups != uint64(sb.InodesCount) {
		return bad("%d inodes in %d groups of %d", sb.InodesCount, groups, sb.InodesPerGroup)
	}
	if sb.FirstIno < 11 && sb.RevLevel >= disk.RevDynamic || sb.FirstIno > sb.InodesCount {
		return bad("first inode %d", sb.FirstIno)
	}
	if sb.LogGroupsPerFlx > 31 {
		return bad("flex group size 1 << %d", sb.LogGroupsPerFlx)
	}
	if sb.RBlocksCount > sb.BlocksCount {
		return bad("%d of %d blocks are reserved", sb.RBlocksCount, sb.BlocksCount)
	}
	g.blocks = sb.BlocksCount
	g.firstDataBlock = uint64(first)
	g.blocksPerGroup = sb.BlocksPerGroup
	g.inodesPerGroup = sb.InodesPerGroup
	g.inodesCount = sb.InodesCount
	g.descSize = sb.DescriptorSize()
	g.descPerBlock = uint32(g.bs / g.descSize)
	g.csumSeed = sb.Seed()
	g.fsid = le.Uint64(sb.UUID[:8]) ^ le.Uint64(sb.UUID[8:])
	g.hasCsum = sb.HasROCompat(disk.ROCompatMetadataCsum)
	g.hasGroupCsum = g.hasCsum || sb.HasROCompat(disk.ROCompatGDTCsum)
	g.hasFiletype = sb.HasIncompat(disk.IncompatFiletype)
	g.hasDirIndex = sb.HasCompat(disk.CompatDirIndex)
	g.hasDirNlink = sb.HasROCompat(disk.ROCompatDirNlink)
	g.hasHugeFile = sb.HasROCompat(disk.ROCompatHugeFile)
	g.hasLargeDir = sb.HasIncompat(disk.IncompatLargeDir)
	g.hasExtents = sb.HasIncompat(disk.IncompatExtents)
	g.hasFlexBG = sb.HasIncompat(disk.IncompatFlexBG)
	if g.hasFlexBG && sb.LogGroupsPerFlx < 31 {
		g.flexLog = uint(sb.LogGroupsPerFlx)
	}
	g.hasExtraTime = g.inodeSize >= disk.GoodOldInodeSize+disk.ExtraIsize
	g.hashVersion = disk.HashVersion(sb.DefHashVersion)
	if g.hashVersion > disk.HashTEA {
		g.hashVersion = disk.HashHalfMD4
	}
	fs.geometry = g
	return nil
}

// checkFeatures refuses features that are not handled, and makes the mount read-only for
// those that only stand against writing.
func (fs *FS) checkFeatures() error {
	sb := &fs.sb
	if bad := sb.FeatureIncompat &^ supportedIncompat; bad != 0 {
		return &FeatureError{Names: disk.FeatureNames(disk.Incompat, bad)}
	}
	if bad := sb.FeatureROCompat & refusedROCompat; bad != 0 {
		return &FeatureError{Names: disk.FeatureNames(disk.ROCompat, bad)}
	}
	why := ""
	switch {
	case sb.FeatureROCompat&^supportedROCompat != 0:
		why = disk.FeatureNames(disk.ROCompat, sb.FeatureROCompat&^supportedROCompat)
	case sb.RevLevel < disk.RevDynamic:
		why = "revision 0"
	case sb.FeatureIncompat&disk.IncompatExtents == 0:
		why = "^extent"
	}
	if why != "" && !fs.readOnly.Swap(true) {
		fs.log("the image can only be read, not written, because of its features: %s", why)
	}
	return nil
}

// hashOf returns the major hash of a name in a directory whose root names version v.
func (fs *FS) hashOf(v disk.HashVersion, name string) uint32 {
	if fs.sb.HashUnsigned() {
		v += disk.HashLegacyUnsigned
	}
	h, _, _ := disk.DirHash(v, &fs.sb.HashSeed, name)
	return h
}

// noteMount counts the mount. The superblock is written with the first change.
func (fs *FS) noteMount() {
	if fs.sb.State&disk.StateValid == 0 {
		fs.log("the image was left while changes were being written: e2fsck is advised")
	}
	if fs.sb.State&disk.StateError != 0 {
		fs.log("the image is marked as having errors: e2fsck is advised")
	}
	fs.cleanState = fs.sb.State
	// Linux sets these when they are first needed; mke2fs always does.
	fs.sb.FeatureCompat |= disk.CompatExtAttr
	if fs.sb.RevLevel >= disk.RevDynamic {
		fs.sb.FeatureROCompat |= disk.ROCompatLargeFile
	}
	fs.sb.MntCount++
	fs.sb.Mtime = uint64(fs.now().Sec)
}

// encodeSuperblock brings the counts up to date and writes the superblock to p. The
// caller excludes changes.
func (fs *FS) encodeSuperblock(p []byte, state uint16) {
	sb := &fs.sb
	sb.FreeBlocksCount = uint64(fs.freeBlocks.Load())
	sb.FreeInodesCount = uint32(fs.freeInodes.Load())
	sb.Wtime = uint64(fs.now().Sec)
	sb.LastOrphan = 0
	if fs.orphan != nil {
		sb.LastOrphan = fs.orphan.ino
	}
	sb.State = state
	out := *sb
	fs.damage.addTo(&out)
	out.Encode(p)
}

// writeSuperblockNow writes the superblock past the cache and flushes the device. Used
// while nothing else is going on. The counts in it become those of the groups: nobody may
// write the superblock again before the unmount, and the ones that were read may be older than
// what a replay has brought home, since Linux does not journal them.
func (fs *FS) writeSuperblockNow() error {
	var raw [disk.SuperblockSize]byte
	fs.sb.FreeBlocksCount = uint64(fs.freeBlocks.Load())
	fs.sb.FreeInodesCount = uint32(fs.freeInodes.Load())
	fs.sb.Encode(raw[:])
	if err := fs.dev.WriteV([]blockdev.Vec{{Off: disk.SuperblockOffset, Data: raw[:]}}); err != nil {
		return fmt.Errorf("superblock: %w", err)
	}
	if err := fs.dev.Flush(); err != nil {
		return fmt.Errorf("superblock: %w", err)
	}
	return nil
}

// validBlocks tells whether n blocks from start lie on the device.
func (g *geometry) validBlocks(start, n uint64) bool {
	return start >= g.firstDataBlock && start < g.blocks && n <= g.blocks-start
}

// groupOf returns a block's group and its place in it.
func (g *geometry) groupOf(block uint64) (uint32, uint32) {
	b := block - g.firstDataBlock
	return uint32(b / uint64(g.blocksPerGroup)), uint32(b % uint64(g.blocksPerGroup))
}

// groupStart returns the first block of group nr.
func (g *geometry) groupStart(nr uint32) uint64 {
	return g.firstDataBlock + uint64(nr)*uint64(g.blocksPerGroup)
}

// groupLen returns the number of blocks of group nr; only the last is shorter.
func (g *geometry) groupLen(nr uint32) uint32 {
	return uint32(min(uint64(g.blocksPerGroup), g.blocks-g.groupStart(nr)))
}

// maxFileBlocks is the number of blocks that a file with extents can have.
const maxFileBlocks = 1<<32 - 1

// maxSize returns the largest size of a file with extents, in bytes.
func (g *geometry) maxSize() int64 { return int64(maxFileBlocks) << g.bsLog }

var errReadOnly error = abi.EROFS
