package ext4

import "pinhole/fs/ext4/disk"

// checkBlockBitmap is the check of a buffer in roleBlockBitmap.
func checkBlockBitmap(fs *FS, b *buffer, r role, _ uint32) error {
	g := &fs.groups[r.owner()]
	if fs.hasCsum {
		got, want := g.desc.BlockCsum, fs.bitmapSum(b.data, fs.blocksPerGroup)
		if got != want {
			return fs.corruptGroup(g.nr, "block bitmap checksum is %#x, should be %#x", got, want)
		}
	}
	// What lies behind the end must not look free.
	n := fs.groupLen(g.nr)
	if nextFree(b.data, nil, n, fs.blocksPerGroup) < fs.blocksPerGroup {
		return fs.corruptGroup(g.nr, "block bitmap has free blocks behind the end")
	}
	if free := countFree(b.data, n); free != g.desc.FreeBlocks {
		return fs.corruptGroup(g.nr, "block bitmap has %d free blocks, descriptor says %d", free, g.desc.FreeBlocks)
	}
	return fs.checkOwnBlocks(g, b)
}

// checkOwnBlocks makes sure that the bitmap has the file system's own blocks in use.
func (fs *FS) checkOwnBlocks(g *group, b *buffer) error {
	ok := true
	fs.ownBlocks(g.nr, func(start, n uint32) {
		ok = ok && nextFree(b.data, nil, start, start+n) == start+n
	})
	if !ok {
		return fs.corruptGroup(g.nr, "block bitmap has the file system's own blocks free")
	}
	return nil
}

// ownBlocks calls f for the runs of group nr that are bitmaps, tables and superblocks.
func (fs *FS) ownBlocks(nr uint32, f func(start, n uint32)) {
	first := fs.groupStart(nr)
	end := first + uint64(fs.groupLen(nr))
	for _, z := range fs.zones.from(first) {
		if z.start >= end {
			break
		}
		if z.owner == 0 {
			a, b := max(z.start, first), min(z.end, end)
			f(uint32(a-first), uint32(b-a))
		}
	}
}

// bitmapSum returns the checksum of a bitmap of n bits, as wide as descriptors hold it.
func (fs *FS) bitmapSum(bm []byte, n uint32) uint32 {
	sum := disk.BitmapChecksum(fs.csumSeed, bm, int(n/8))
	if fs.descSize < disk.MinDescSize64 {
		sum &= 0xffff
	}
	return sum
}

// blockBitmap returns g's block bitmap, which stays in memory until g.mu is released, and most
// likely longer. The caller holds g.mu.
func (fs *FS) blockBitmap(g *group) (*buffer, error) {
	if g.blocks != nil {
		g.used = true
		return g.blocks, nil
	}
	r := makeRole(roleBlockBitmap, g.nr)
	if g.desc.Flags&disk.GroupBlockUninit == 0 {
		b, err := fs.buffers.read(g.desc.BlockBitmap, r, 0, checkBlockBitmap)
		if err != nil {
			return nil, err
		}
		g.blocks = b
		fs.bitmaps.pinned(fs, g)
		return b, nil
	}
	// Never written: only the file system's own blocks are in use.
	b := fs.buffers.create(g.desc.BlockBitmap, r, 0)
	fs.ownBlocks(g.nr, func(start, n uint32) { setBits(b.data, start, n) })
	n := fs.groupLen(g.nr)
	setBits(b.data, n, uint32(8*fs.bs)-n)
	if free := countFree(b.data, fs.groupLen(g.nr)); free != g.desc.FreeBlocks {
		fs.buffers.put(b)
		return nil, fs.corruptGroup(g.nr, "descriptor has %d free blocks of an unused group, should be %d", g.desc.FreeBlocks, free)
	}
	g.blocks = b
	fs.bitmaps.pinned(fs, g)
	return b, nil
}
