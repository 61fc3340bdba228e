package ext4

import (
	"fmt"
	"sync"
	"sync/atomic"

	"pinhole/fs/ext4/disk"
)

// group is a block group in memory. desc is the truth while mounted; a commit encodes it
// into its block of the descriptor table.
type group struct {
	mu         sync.Mutex
	nr         uint32
	desc       disk.Group
	blocks     *buffer  // block bitmap, while at hand: see bitmapCache
	inodes     *buffer  // inode bitmap, likewise
	used       bool     // one of them was used since bitmapCache looked
	inRing     bool     // guarded by bitmapCache.mu, too
	busy       []uint64 // blocks that are free on disk but not to be used: freed by a transaction that is not yet committed, or kept for somebody. May be nil if there are none
	nBusy      uint32   // how many
	maxRun     uint32   // no run of blocks that are free and not busy is longer
	nextBlock  uint32   // where the last allocation ended
	firstInode uint32   // no inode below is free
	tx         *transaction
}

// flexGroup has the sums over the groups of a flex group: groups whose bitmaps and inode tables lie
// together, and which are one to whoever looks for a place for a directory. Without the feature,
// each group is one.
type flexGroup struct {
	freeBlocks atomic.Int64
	freeInodes atomic.Int64
	dirs       atomic.Int64
}

// flexOf returns the flex group of group nr.
func (fs *FS) flexOf(nr uint32) *flexGroup { return &fs.flex[nr>>fs.flexLog] }

// loadGroups reads the descriptor table, checks it, and builds the zones. Without strict it only
// reads, as much as finding the journal takes.
func (fs *FS) loadGroups(strict bool) error {
	fs.groups = make([]group, fs.groupCount)
	fs.flex = make([]flexGroup, (fs.groupCount-1)>>fs.flexLog+1)
	fs.space.init(fs.groupCount)
	fs.bitmaps.init(fs)
	fs.zones = nil
	var freeBlocks, freeInodes, dirs int64
	fs.gdt = nil
	var block []byte
	var table uint64
	for nr := range fs.groupCount {
		if nr%fs.descPerBlock == 0 {
			table = fs.descBlock(nr / fs.descPerBlock)
			if !fs.validBlocks(table, 1) {
				return fs.corruptGroup(nr, "descriptor lies at block %d, behind the end", table)
			}
			b, err := fs.buffers.read(table, makeRole(roleGroupTable, nr), 0, nil)
			if err != nil {
				return fmt.Errorf("group descriptors: %w", err)
			}
			fs.gdt = append(fs.gdt, b)
			block = b.data
		}
		g := &fs.groups[nr]
		g.nr = nr
		raw := block[int(nr%fs.descPerBlock)*fs.descSize:][:fs.descSize]
		g.desc.Decode(raw)
		if !strict {
			continue
		}
		if err := fs.checkGroup(g, raw); err != nil {
			return err
		}
		fs.setMaxRun(g, g.desc.FreeBlocks) // until somebody looks
		fs.space.setInodes(nr, g.desc.FreeInodes > 0)
		flex := fs.flexOf(nr)
		flex.freeBlocks.Add(int64(g.desc.FreeBlocks))
		flex.freeInodes.Add(int64(g.desc.FreeInodes))
		flex.dirs.Add(int64(g.desc.UsedDirs))
		freeBlocks += int64(g.desc.FreeBlocks)
		freeInodes += int64(g.desc.FreeInodes)
		dirs += int64(g.desc.UsedDirs)
		fs.zones.add(g.desc.BlockBitmap, 1, 0)
		fs.zones.add(g.desc.InodeBitmap, 1, 0)
		fs.zones.add(g.desc.InodeTable, uint64(fs.itableBlocks), 0)
		if start, n := fs.superBlocks(nr); n > 0 {
			fs.zones.add(start, min(n, fs.blocks-start), 0)
		}
	}
	if at := fs.zones.finish(); at != 0 {
		return fs.corruptBlock(0, at, "two structures of the file system claim the block")
	}
	fs.freeBlocks.Store(freeBlocks)
	fs.freeSpace.Store(freeBlocks)
	fs.freeInodes.Store(freeInodes)
	fs.dirCount.Store(dirs)
	fs.overhead = fs.countOverhead()
	return nil
}

// checkGroup judges a descriptor.
func (fs *FS) checkGroup(g *group, raw []byte) error {
	d := &g.desc
	if fs.hasGroupCsum {
		if want := fs.sb.GroupChecksum(g.nr, raw); want != d.Checksum {
			return fs.corruptGroup(g.nr, "descriptor checksum is %#x, should be %#x", d.Checksum, want)
		}
	} else {
		d.Flags &^= disk.GroupInodeUninit | disk.GroupBlockUninit
		d.ItableUnused = 0
	}
	inGroup := func(start, n uint64) bool {
		if fs.hasFlexBG {
			return fs.validBlocks(start, n)
		}
		first := fs.groupStart(g.nr)
		return start >= first && start+n <= first+uint64(fs.groupLen(g.nr)) && start+n > start
	}
	switch {
	case !inGroup(d.BlockBitmap, 1):
		return fs.corruptGroup(g.nr, "block bitmap at block %d", d.BlockBitmap)
	case !inGroup(d.InodeBitmap, 1):
		return fs.corruptGroup(g.nr, "inode bitmap at block %d", d.InodeBitmap)
	case !inGroup(d.InodeTable, uint64(fs.itableBlocks)):
		return fs.corruptGroup(g.nr, "inode table at block %d", d.InodeTable)
	case d.FreeBlocks > fs.groupLen(g.nr):
		return fs.corruptGroup(g.nr, "%d free blocks", d.FreeBlocks)
	case d.FreeInodes > fs.inodesPerGroup || d.ItableUnused > fs.inodesPerGroup:
		return fs.corruptGroup(g.nr, "%d free and %d unused inodes of %d", d.FreeInodes, d.ItableUnused, fs.inodesPerGroup)
	}
	return nil
}

// descBlock returns where block i of the descriptor table lies.
func (fs *FS) descBlock(i uint32) uint64 {
	if !fs.sb.HasIncompat(disk.IncompatMetaBG) || i < fs.sb.FirstMetaBG {
		return fs.firstDataBlock + 1 + uint64(i)
	}
	first := i * fs.descPerBlock
	b := fs.groupStart(first)
	if fs.sb.HasSuper(first) {
		b++
	}
	return b
}

// superBlocks returns the run of blocks at the start of group nr that holds copies of the
// superblock and the descriptor table, and the blocks reserved for the table's growth.
func (fs *FS) superBlocks(nr uint32) (start, n uint64) {
	start = fs.groupStart(nr)
	super := fs.sb.HasSuper(nr)
	if super {
		n = 1
	}
	tableBlocks := (fs.groupCount + fs.descPerBlock - 1) / fs.descPerBlock
	if !fs.sb.HasIncompat(disk.IncompatMetaBG) || nr/fs.descPerBlock < fs.sb.FirstMetaBG {
		if super {
			if fs.sb.HasIncompat(disk.IncompatMetaBG) {
				tableBlocks = min(tableBlocks, fs.sb.FirstMetaBG)
			}
			n += uint64(tableBlocks) + uint64(fs.sb.ReservedGDT)
		}
		return start, n
	}
	// A meta group has its one block of descriptors in its first, second and last group.
	switch nr % fs.descPerBlock {
	case 0, 1, fs.descPerBlock - 1:
		n++
	}
	return start, n
}

// countOverhead returns the blocks that hold the file system's own structures.
func (fs *FS) countOverhead() uint64 {
	n := fs.firstDataBlock
	for _, z := range fs.zones {
		n += z.end - z.start
	}
	return min(n, fs.blocks)
}

// encodeGroup writes descriptor and checksum of g to raw.
func (fs *FS) encodeGroup(g *group, raw []byte) {
	g.desc.Encode(raw)
	if fs.hasGroupCsum {
		fs.sb.SetGroupChecksum(g.nr, raw)
	}
}
