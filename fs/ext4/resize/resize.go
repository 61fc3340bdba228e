package resize

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
)

var le = binary.LittleEndian

// Options of Resize. The zero value is good.
type Options struct {
	// Zeroed promises that the device reads as zeros behind the old end of the file system.
	Zeroed bool
	// Progress, if not nil, is called now and then with how much of the work is done, of total.
	Progress func(done, total int64)
	// Stop, if not nil, is asked now and then whether to give up; its error is Resize's.
	Stop func() error
	// Time is when it is said to have happened; zero: now.
	Time time.Time
}

// Errors that Resize wraps.
var (
	// ErrNoRoom: the files do not fit into the new size.
	ErrNoRoom = errors.New("the files do not fit")
	// ErrUnclean: the file system has to be mounted, or checked, first.
	ErrUnclean = errors.New("was not cleanly unmounted, or is damaged")
	// ErrUnsupported: it has something that cannot be resized.
	ErrUnsupported = errors.New("cannot be resized")
)

// CorruptError says what is wrong with the file system, and where.
type CorruptError struct {
	Where string // "inode 12", "group 3"
	What  string
}

func (e *CorruptError) Error() string { return e.Where + ": " + e.What }

// Size is the size of a file system.
type Size struct {
	Blocks    uint64
	BlockSize int64
}

// Bytes returns the size in bytes.
func (s Size) Bytes() int64 { return int64(s.Blocks) * s.BlockSize }

// SizeOf returns the size of the file system on a device.
func SizeOf(dev blockdev.Device) (Size, error) {
	f, err := load(dev, Options{})
	if err != nil {
		return Size{}, err
	}
	return Size{f.old.blocks, f.bs}, nil
}

// Resize makes the file system on dev one of blocks blocks, or of a few less if its last group would hold
// little more than its own bookkeeping, and returns the size that it has then. dev is large enough for the
// old and the new size; the file system is not mounted, and clean. If there is an error, the file system
// may be damaged beyond repair.
func Resize(dev blockdev.Device, blocks uint64, o Options) (Size, error) {
	f, err := load(dev, o)
	if err != nil {
		return Size{}, err
	}
	if err := f.loadBitmaps(); err != nil {
		return Size{}, err
	}
	if f.new, err = f.plan(blocks); err != nil {
		return Size{}, err
	}
	if have := uint64(dev.Size()) / uint64(f.bs); f.new.blocks > have {
		return Size{}, fmt.Errorf("%d blocks: the device has only %d", f.new.blocks, have)
	}
	if f.new.blocks == f.old.blocks {
		return Size{f.old.blocks, f.bs}, nil
	}
	for _, step := range []func() error{f.reshape, f.moveInodes, f.dropGroups, f.moveMetadata, f.moveFiles, f.resizeInode, f.finish} {
		if err := step(); err != nil {
			return Size{}, err
		}
	}
	return Size{f.new.blocks, f.bs}, nil
}

// fs is a file system that is being resized.
type fs struct {
	dev  blockdev.Device
	o    Options
	sb   disk.Superblock
	bs   int64
	seed uint32
	csum bool // metadata_csum
	gsum bool // descriptors have checksums, and groups may be without bitmaps

	old, new layout
	groups   []group
	free     freeSpace
	inodes   inodeMap
	xattrs   map[uint64]uint64 // blocks of attributes that were moved, which files may share
	buf      []byte            // for copying
	done     int64             // inodes and blocks looked at, for the progress
	total    int64
}

// group is a block group.
type group struct {
	desc   disk.Group
	raw    []byte // the descriptor, with what has no field in desc
	blocks []byte // bitmaps: nil for one that is not written and not yet needed
	inodes []byte
	dirtyB bool
	dirtyI bool
}

// Features that Resize knows how to keep.
const (
	goodCompat = disk.CompatDirPrealloc | disk.CompatImagicInodes | disk.CompatHasJournal | disk.CompatExtAttr | disk.CompatResizeInode |
		disk.CompatDirIndex | disk.CompatFastCommit | disk.CompatOrphanFile
	goodIncompat = disk.IncompatFiletype | disk.IncompatMetaBG | disk.IncompatExtents | disk.Incompat64Bit |
		disk.IncompatFlexBG | disk.IncompatCsumSeed | disk.IncompatLargeDir
	goodROCompat = disk.ROCompatSparseSuper | disk.ROCompatLargeFile | disk.ROCompatBtreeDir | disk.ROCompatHugeFile |
		disk.ROCompatGDTCsum | disk.ROCompatDirNlink | disk.ROCompatExtraIsize | disk.ROCompatMetadataCsum
)

const (
	maxGroups = 1 << 17
	maxBlocks = 1<<32 - 1 // what a block map of ext2 can name
)

// load reads the superblock and the descriptors.
func load(dev blockdev.Device, o Options) (*fs, error) {
	f := &fs{dev: dev, o: o, xattrs: make(map[uint64]uint64)}
	var raw [disk.SuperblockSize]byte
	if dev.Size() < disk.SuperblockOffset+disk.SuperblockSize {
		return nil, disk.ErrNotExt4
	}
	if err := dev.ReadAt(raw[:], disk.SuperblockOffset); err != nil {
		return nil, fmt.Errorf("superblock: %w", err)
	}
	s := &f.sb
	if err := s.Decode(raw[:]); err != nil {
		return nil, err
	}
	f.csum = s.HasROCompat(disk.ROCompatMetadataCsum)
	f.gsum = f.csum || s.HasROCompat(disk.ROCompatGDTCsum)
	if f.csum && s.StoredChecksum != disk.SuperblockChecksum(raw[:]) {
		return nil, &CorruptError{"superblock", "wrong checksum"}
	}
	switch {
	case s.HasIncompat(disk.IncompatRecover), s.HasROCompat(disk.ROCompatOrphanPresent), s.State != disk.StateValid, s.LastOrphan != 0:
		return nil, fmt.Errorf("the file system %w", ErrUnclean)
	case s.RevLevel != disk.RevDynamic:
		return nil, fmt.Errorf("revision %d: %w", s.RevLevel, ErrUnsupported)
	}
	for set, bad := range map[disk.FeatureSet]uint32{disk.Compat: s.FeatureCompat &^ goodCompat, disk.Incompat: s.FeatureIncompat &^ goodIncompat, disk.ROCompat: s.FeatureROCompat &^ goodROCompat} {
		if bad != 0 {
			return nil, fmt.Errorf("a file system with feature %s %w", disk.FeatureNames(set, bad), ErrUnsupported)
		}
	}
	bad := func(what string, n uint64) error { return &CorruptError{"superblock", fmt.Sprintf("%s %d", what, n)} }
	if s.LogBlockSize > disk.MaxBlockSizeLog-disk.MinBlockSizeLog {
		return nil, bad("block size 1024 <<", uint64(s.LogBlockSize))
	}
	f.bs = int64(s.BlockSize())
	first := uint32(0)
	if f.bs == 1024 {
		first = 1
	}
	perBlock := int64(0)
	if s.InodeSize != 0 {
		perBlock = f.bs / int64(s.InodeSize)
	}
	switch {
	case s.FirstDataBlock != first:
		return nil, bad("first data block", uint64(s.FirstDataBlock))
	case s.LogClusterSize != s.LogBlockSize:
		return nil, bad("cluster size 1024 <<", uint64(s.LogClusterSize))
	case s.BlocksPerGroup < 256 || int64(s.BlocksPerGroup) > 8*f.bs || s.BlocksPerGroup%8 != 0:
		return nil, bad("blocks per group", uint64(s.BlocksPerGroup))
	case s.InodeSize < disk.GoodOldInodeSize || s.InodeSize&(s.InodeSize-1) != 0 || perBlock == 0:
		return nil, bad("inode size", uint64(s.InodeSize))
	case s.InodesPerGroup < 8 || int64(s.InodesPerGroup) > 8*f.bs || s.InodesPerGroup%8 != 0 || int64(s.InodesPerGroup)%perBlock != 0:
		return nil, bad("inodes per group", uint64(s.InodesPerGroup))
	case s.BlocksCount <= uint64(first) || s.BlocksCount > maxBlocks || s.BlocksCount > uint64(dev.Size()/f.bs):
		return nil, bad("blocks:", s.BlocksCount)
	case s.GroupCount() > maxGroups || s.GroupCount()*uint64(s.InodesPerGroup) != uint64(s.InodesCount):
		return nil, bad("inodes:", uint64(s.InodesCount))
	case s.HasIncompat(disk.Incompat64Bit) && (s.DescSize < disk.MinDescSize64 || s.DescSize > disk.MaxDescSize || s.DescSize&(s.DescSize-1) != 0):
		return nil, bad("descriptor size", uint64(s.DescSize))
	case s.LogGroupsPerFlx > 31:
		return nil, bad("flex group size 1 <<", uint64(s.LogGroupsPerFlx))
	case int64(s.ReservedGDT) > f.bs/4:
		return nil, bad("reserved blocks for descriptors:", uint64(s.ReservedGDT))
	case s.RBlocksCount > s.BlocksCount:
		return nil, bad("reserved blocks:", s.RBlocksCount)
	}
	f.seed = s.Seed()
	f.old = f.layout(s.BlocksCount, uint64(s.ReservedGDT))
	f.new = f.old
	f.buf = make([]byte, max(1<<20, f.bs))
	return f, f.loadGroups()
}

func (f *fs) loadGroups() error {
	size := f.sb.DescriptorSize()
	f.groups = make([]group, f.old.groups)
	block := make([]byte, f.bs)
	for g := range f.groups {
		i := uint64(g) % f.old.perDesc
		if i == 0 {
			if err := f.readBlock(f.old.descBlock(uint64(g)/f.old.perDesc), block); err != nil {
				return err
			}
		}
		gr := &f.groups[g]
		gr.raw = append([]byte(nil), block[int(i)*size:][:size]...)
		gr.desc.Decode(gr.raw)
		d := &gr.desc
		where := fmt.Sprintf("group %d", g)
		if f.gsum && f.sb.GroupChecksum(uint32(g), gr.raw) != d.Checksum {
			return &CorruptError{where, "wrong checksum of the descriptor"}
		}
		if !f.gsum {
			d.Flags, d.ItableUnused = 0, 0
		}
		for _, r := range []run{{d.BlockBitmap, 1}, {d.InodeBitmap, 1}, {d.InodeTable, f.tableLen()}} {
			if !f.old.valid(r) {
				return &CorruptError{where, fmt.Sprintf("has a bitmap or inode table at block %d", r.start)}
			}
		}
		if uint64(d.FreeBlocks) > f.old.len(uint64(g)) || d.FreeInodes > f.sb.InodesPerGroup || d.ItableUnused > f.sb.InodesPerGroup {
			return &CorruptError{where, "has more free than there is"}
		}
	}
	return nil
}

func (f *fs) tableLen() uint64 {
	return uint64(f.sb.InodesPerGroup) * uint64(f.sb.InodeSize) / uint64(f.bs)
}

func (f *fs) readBlock(nr uint64, p []byte) error {
	return f.dev.ReadAt(p, int64(nr)*f.bs)
}

func (f *fs) writeBlock(nr uint64, p []byte) error {
	return f.dev.WriteV([]blockdev.Vec{{Off: int64(nr) * f.bs, Data: p}})
}

// step counts work and asks whether to go on.
func (f *fs) step(n int64) error {
	const every = 1 << 10
	before := f.done / every
	f.done += n
	if f.done/every == before {
		return nil
	}
	if f.o.Progress != nil {
		f.o.Progress(min(f.done, f.total), f.total)
	}
	if f.o.Stop != nil {
		return f.o.Stop()
	}
	return nil
}

// copyRun copies n blocks. The runs do not overlap.
func (f *fs) copyRun(from, to, n uint64) error {
	for n > 0 {
		k := min(n, uint64(int64(len(f.buf))/f.bs))
		p := f.buf[:int64(k)*f.bs]
		if err := f.dev.ReadAt(p, int64(from)*f.bs); err != nil {
			return err
		}
		if err := f.dev.WriteV([]blockdev.Vec{{Off: int64(to) * f.bs, Data: p}}); err != nil {
			return err
		}
		from, to, n = from+k, to+k, n-k
		if err := f.step(int64(k)); err != nil {
			return err
		}
	}
	return nil
}

// zeroRun writes zeros.
func (f *fs) zeroRun(r run) error {
	clear(f.buf)
	for r.n > 0 {
		k := min(r.n, uint64(int64(len(f.buf))/f.bs))
		if err := f.dev.WriteV([]blockdev.Vec{{Off: int64(r.start) * f.bs, Data: f.buf[:int64(k)*f.bs]}}); err != nil {
			return err
		}
		r = run{r.start + k, r.n - k}
	}
	return nil
}
