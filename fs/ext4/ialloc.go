package ext4

import (
	"math"
	"math/rand/v2"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

// checkInodeBitmap is the check of a buffer in roleInodeBitmap.
func checkInodeBitmap(fs *FS, b *buffer, r role, _ uint32) error {
	g := &fs.groups[r.owner()]
	if fs.hasCsum {
		got, want := g.desc.InodeCsum, fs.bitmapSum(b.data, fs.inodesPerGroup)
		if got != want {
			return fs.corruptGroup(g.nr, "inode bitmap checksum is %#x, should be %#x", got, want)
		}
	}
	if free := countFree(b.data, fs.inodesPerGroup); free != g.desc.FreeInodes {
		return fs.corruptGroup(g.nr, "inode bitmap has %d free inodes, descriptor says %d", free, g.desc.FreeInodes)
	}
	return nil
}

// inodeBitmap returns g's inode bitmap, which stays in memory until g.mu is released, and most
// likely longer. The caller holds g.mu.
func (fs *FS) inodeBitmap(g *group) (*buffer, error) {
	if g.inodes != nil {
		g.used = true
		return g.inodes, nil
	}
	r := makeRole(roleInodeBitmap, g.nr)
	var b *buffer
	if g.desc.Flags&disk.GroupInodeUninit == 0 {
		var err error
		if b, err = fs.buffers.read(g.desc.InodeBitmap, r, 0, checkInodeBitmap); err != nil {
			return nil, err
		}
	} else {
		if g.desc.FreeInodes != fs.inodesPerGroup {
			return nil, fs.corruptGroup(g.nr, "%d free inodes in a group without inodes", g.desc.FreeInodes)
		}
		b = fs.buffers.create(g.desc.InodeBitmap, r, 0)
		setBits(b.data, fs.inodesPerGroup, uint32(8*fs.bs)-fs.inodesPerGroup)
	}
	g.inodes = b
	fs.bitmaps.pinned(fs, g)
	return b, nil
}

// newInode allocates an inode of the kind c for a directory parent (whose lock is held),
// and returns it locked, with a reference. Its block area is zero.
func (fs *FS) newInode(h handle, parent *inode, c *vfs.NewNode, now disk.Time) (*inode, error) {
	isDir := isType(c.Mode, abi.S_IFDIR)
	ino, fresh, err := fs.allocInode(h, fs.groupForInode(parent, isDir), isDir)
	if err != nil {
		return nil, err
	}
	n := &inode{fs: fs, ino: ino}
	var table *buffer
	if fresh {
		block, g := fs.inodeHome(ino)
		table = fs.buffers.create(block, makeRole(roleInodeTable, g), 0)
	} else if table, err = fs.inodeBlock(ino); err != nil {
		fs.releaseInode(h, ino, isDir)
		return nil, err
	}
	d := &n.d
	d.UID, d.GID = c.UID, c.GID
	d.Generation = rand.Uint32()
	if fs.inodeSize > disk.GoodOldInodeSize {
		d.ExtraIsize = min(disk.ExtraIsize, uint16(fs.inodeSize-disk.GoodOldInodeSize))
	}
	d.Flags = flagsFor(c.Mode, parent.d.Flags&inheritedFlags)
	t := disk.ClampTime(now, n.extraTime())
	d.Atime, d.Ctime, d.Mtime, d.Crtime = t, t, t, t
	n.setMode(uint16(c.Mode))
	n.seed = disk.InodeSeed(fs.csumSeed, ino, d.Generation)
	n.runsReady.Store(true)
	switch c.Mode & abi.S_IFMT {
	case abi.S_IFREG, abi.S_IFDIR:
		n.initExtents()
	case abi.S_IFCHR, abi.S_IFBLK:
		old, new := disk.EncodeRdev(c.Rdev)
		le.PutUint32(d.Block[:], old)
		le.PutUint32(d.Block[4:], new)
	}
	n.flag.Store(d.Flags)
	n.mu.Lock()
	if err := fs.inodes.insert(n); err != nil {
		fs.buffers.put(table)
		return nil, err
	}
	// Attributes of an earlier inode in the same place end here.
	raw := fs.rawInode(table, ino)
	h.access(table)
	clear(raw)
	h.inodeIn(n, table)
	n.touched(h, true)
	return n, nil
}

// initExtents gives a new inode an empty extent tree.
func (n *inode) initExtents() {
	n.d.Flags |= disk.InodeExtents
	h := disk.ExtentHeader{Magic: disk.ExtentMagic, Max: disk.RootExtentEntries}
	h.Encode(n.d.Block[:])
}

// groupForInode chooses the group that the search for a free inode starts in: the parent's for what
// is not a directory, so that what is used together lies together. Directories are placed as Orlov
// placed them for BSD: those at the top, which have little to do with each other, are spread over
// the device, where there is room for them to grow; others go near their parent, unless it is
// crowded there.
func (fs *FS) groupForInode(parent *inode, isDir bool) uint32 {
	home := (parent.ino - 1) / fs.inodesPerGroup
	if !isDir || fs.groupCount < 2 {
		return home
	}
	flexes := uint32(len(fs.flex))
	avgInodes := fs.freeInodes.Load() / int64(flexes)
	avgBlocks := fs.freeBlocks.Load() / int64(flexes)
	avgDirs := fs.dirCount.Load() / int64(flexes)
	best := home >> fs.flexLog
	if parent.ino == disk.RootInode || parent.d.Flags&disk.InodeTopDir != 0 {
		// Of those with more room than most, the one with the fewest directories.
		fewest := int64(math.MaxInt64)
		start := rand.Uint32N(flexes)
		for i := range min(flexes, maxFlexProbes) {
			at := (start + i) % flexes
			f := &fs.flex[at]
			if free := f.freeInodes.Load(); free == 0 || free < avgInodes || f.freeBlocks.Load() < avgBlocks {
				continue
			}
			if d := f.dirs.Load(); d < fewest {
				best, fewest = at, d
			}
		}
	} else {
		// The nearest that is not crowded.
		size := int64(1) << fs.flexLog
		minInodes := max(avgInodes-int64(fs.inodesPerGroup)*size/4, 1)
		minBlocks := avgBlocks - int64(fs.blocksPerGroup)*size/4
		maxDirs := avgDirs + int64(fs.inodesPerGroup)*size/16
		for i := range min(flexes, maxFlexProbes) {
			at := (best + i) % flexes
			f := &fs.flex[at]
			if f.freeInodes.Load() >= minInodes && f.freeBlocks.Load() >= minBlocks && f.dirs.Load() <= maxDirs {
				best = at
				break
			}
		}
	}
	if best == home>>fs.flexLog {
		return home
	}
	return best << fs.flexLog
}

// maxFlexProbes bounds how many flex groups are looked at for a directory.
const maxFlexProbes = 512

// allocInode takes a free inode, from group first on. fresh says that its block of the
// inode table was never used and holds nothing.
func (fs *FS) allocInode(h handle, first uint32, isDir bool) (ino uint32, fresh bool, err error) {
	for {
		nr, ok := fs.space.findInodes(first)
		if !ok {
			return 0, false, abi.ENOSPC
		}
		ino, fresh, err = fs.allocInodeIn(h, &fs.groups[nr], isDir)
		if ino != 0 || err != nil {
			return ino, fresh, err
		}
	}
}

func (fs *FS) allocInodeIn(h handle, g *group, isDir bool) (ino uint32, fresh bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.desc.FreeInodes == 0 {
		return 0, false, nil
	}
	b, err := fs.inodeBitmap(g)
	if err != nil {
		return 0, false, err
	}
	i := nextFree(b.data, nil, g.firstInode, fs.inodesPerGroup)
	if i == fs.inodesPerGroup {
		i = nextFree(b.data, nil, 0, fs.inodesPerGroup)
	}
	ino = g.nr*fs.inodesPerGroup + i + 1
	if i == fs.inodesPerGroup || fs.reservedInode(ino) || ino == disk.RootInode {
		return 0, false, fs.corruptGroup(g.nr, "inode bitmap has no usable inode, descriptor says %d are free", g.desc.FreeInodes)
	}
	h.access(b)
	h.group(g)
	setBit(b.data, i)
	g.firstInode = i + 1
	g.desc.FreeInodes--
	fs.flexOf(g.nr).freeInodes.Add(-1)
	if g.desc.FreeInodes == 0 {
		fs.space.setInodes(g.nr, false)
	}
	g.desc.Flags &^= disk.GroupInodeUninit
	if isDir {
		g.desc.UsedDirs++
		fs.dirCount.Add(1)
		fs.flexOf(g.nr).dirs.Add(1)
	}
	if fs.hasGroupCsum {
		used := fs.inodesPerGroup - g.desc.ItableUnused
		if i >= used {
			g.desc.ItableUnused = fs.inodesPerGroup - i - 1
			// Blocks of the table behind the used part may never have been written.
			fresh = i/fs.inodesPerBlock*fs.inodesPerBlock >= used
		}
	}
	fs.freeInodes.Add(-1)
	return ino, fresh, nil
}

// releaseInode gives an inode's number back.
func (fs *FS) releaseInode(h handle, ino uint32, isDir bool) error {
	g := &fs.groups[(ino-1)/fs.inodesPerGroup]
	i := (ino - 1) % fs.inodesPerGroup
	g.mu.Lock()
	defer g.mu.Unlock()
	b, err := fs.inodeBitmap(g)
	if err != nil {
		return err
	}
	if !testBit(b.data, i) {
		return fs.corruptInode(ino, "it is freed, but not in use")
	}
	h.access(b)
	h.group(g)
	clearBit(b.data, i)
	g.firstInode = min(g.firstInode, i)
	if g.desc.FreeInodes++; g.desc.FreeInodes == 1 {
		fs.space.setInodes(g.nr, true)
	}
	fs.flexOf(g.nr).freeInodes.Add(1)
	if isDir && g.desc.UsedDirs > 0 {
		g.desc.UsedDirs--
		fs.dirCount.Add(-1)
		fs.flexOf(g.nr).dirs.Add(-1)
	}
	fs.freeInodes.Add(1)
	return nil
}
