package ext4

import (
	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

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

// blockBitmap returns g's block bitmap, which stays in memory. The caller holds g.mu.
func (fs *FS) blockBitmap(g *group) (*buffer, error) {
	if g.blocks != nil {
		return g.blocks, nil
	}
	r := makeRole(roleBlockBitmap, g.nr)
	if g.desc.Flags&disk.GroupBlockUninit == 0 {
		b, err := fs.buffers.read(g.desc.BlockBitmap, r, 0, checkBlockBitmap)
		if err != nil {
			return nil, err
		}
		g.blocks = b
		return b, nil
	}
	// Never written: only the file system's own blocks are in use.
	b := fs.buffers.create(g.desc.BlockBitmap, r, 0)
	fs.ownBlocks(g.nr, func(start, n uint32) { setBits(b.data, start, n) })
	for i := fs.groupLen(g.nr); i < uint32(8*fs.bs); i++ {
		setBit(b.data, i)
	}
	if free := countFree(b.data, fs.groupLen(g.nr)); free != g.desc.FreeBlocks {
		fs.buffers.put(b)
		return nil, fs.corruptGroup(g.nr, "descriptor has %d free blocks of an unused group, should be %d", g.desc.FreeBlocks, free)
	}
	g.blocks = b
	return b, nil
}

// goodRun is the length of a run that ends the search for a longer one after a few groups.
const (
	goodRun    = 16
	fewGroups  = 4
	maxOneTake = 1 << 15
)

// allocRun takes up to want blocks in a row, as near behind goal as can be, and returns
// the first and how many. ENOSPC if there is none.
func (fs *FS) allocRun(h handle, goal uint64, want uint32) (uint64, uint32, error) {
	want = min(want, maxOneTake)
	if !fs.validBlocks(goal, 1) {
		goal = fs.firstDataBlock
	}
	for try := 0; ; try++ {
		if fs.freeBlocks.Load()-fs.busyBlocks.Load() <= 0 {
			return 0, 0, abi.ENOSPC
		}
		first, off := fs.groupOf(goal)
		var bestGroup, bestAt, bestLen uint32
		for i := range fs.groupCount {
			g := &fs.groups[(first+i)%fs.groupCount]
			start, n, took, err := fs.allocInGroup(h, g, off, want, i == 0, false)
			if err != nil {
				return 0, 0, err
			}
			if took {
				return fs.groupStart(g.nr) + uint64(start), n, nil
			}
			if n > bestLen {
				bestGroup, bestAt, bestLen = g.nr, start, n
			}
			if i >= fewGroups && bestLen >= min(want, goodRun) {
				break
			}
		}
		if bestLen == 0 {
			return 0, 0, abi.ENOSPC
		}
		// No group has all that is wanted in a row: take the best that was seen, which
		// somebody else may have taken meanwhile.
		start, n, took, err := fs.allocInGroup(h, &fs.groups[bestGroup], bestAt, bestLen, true, true)
		if err != nil || took {
			return fs.groupStart(bestGroup) + uint64(start), n, err
		}
		if try > 100 {
			return 0, 0, abi.ENOSPC
		}
	}
}

// allocInGroup looks in g for want blocks in a row, from off on if near is set, and takes
// them; any takes fewer, too. If it takes nothing, it returns the longest run it saw.
func (fs *FS) allocInGroup(h handle, g *group, off, want uint32, near, any bool) (start, n uint32, took bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.desc.FreeBlocks == 0 {
		return 0, 0, false, nil
	}
	b, err := fs.blockBitmap(g)
	if err != nil {
		return 0, 0, false, err
	}
	end := fs.groupLen(g.nr)
	if near && off < end {
		// A file that goes on where it ended takes what there is.
		if n = freeLen(b.data, g.busy, off, end, want); n > 0 {
			return off, n, true, fs.take(h, g, b, off, n)
		}
	} else {
		off = min(g.nextBlock, end)
	}
	start, n = findRun(b.data, g.busy, off, end, want)
	if n < want && off > 0 {
		// A run across off is found whole, too.
		if s, k := findRun(b.data, g.busy, 0, min(off+want, end), want); k > n {
			start, n = s, k
		}
	}
	if n < want && !any || n == 0 {
		return start, n, false, nil
	}
	return start, n, true, fs.take(h, g, b, start, n)
}

// take marks a run of g as used. The caller holds g.mu and has found it free.
func (fs *FS) take(h handle, g *group, b *buffer, start, n uint32) error {
	if n > g.desc.FreeBlocks || !setBits(b.data, start, n) {
		return fs.corruptGroup(g.nr, "block bitmap and count of free blocks (%d) differ", g.desc.FreeBlocks)
	}
	h.access(b)
	h.group(g)
	g.desc.FreeBlocks -= n
	g.desc.Flags &^= disk.GroupBlockUninit
	g.nextBlock = start + n
	fs.freeBlocks.Add(-int64(n))
	return nil
}

// freeRun gives n blocks from start on back. They may be used again when the transaction
// is committed: until then a crash brings back who had them.
func (fs *FS) freeRun(h handle, start uint64, n uint32) error {
	return fs.giveBack(h, start, n, true)
}

// unallocRun gives blocks back that the same handle has taken and nobody has used.
func (fs *FS) unallocRun(h handle, start uint64, n uint32) error {
	return fs.giveBack(h, start, n, false)
}

func (fs *FS) giveBack(h handle, start uint64, n uint32, used bool) error {
	if !fs.validBlocks(start, uint64(n)) || fs.zones.hits(start, uint64(n), 0) {
		return fs.corruptBlock(0, start, "%d blocks to be freed are not a file's", n)
	}
	for n > 0 {
		nr, off := fs.groupOf(start)
		k := min(n, fs.groupLen(nr)-off)
		if err := fs.freeInGroup(h, &fs.groups[nr], off, k, used); err != nil {
			return err
		}
		start += uint64(k)
		n -= k
	}
	return nil
}

func (fs *FS) freeInGroup(h handle, g *group, off, n uint32, used bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, err := fs.blockBitmap(g)
	if err != nil {
		return err
	}
	if !clearBits(b.data, off, n) {
		return fs.corruptGroup(g.nr, "blocks %d to %d of the group are freed, but not in use", off, off+n-1)
	}
	h.access(b)
	h.group(g)
	g.desc.FreeBlocks += n
	g.desc.Flags &^= disk.GroupBlockUninit
	fs.freeBlocks.Add(int64(n))
	if !used {
		return nil
	}
	fs.makeBusy(g, off, n)
	h.tx.mu.Lock()
	h.tx.freed = append(h.tx.freed, freedRun{g.nr, off, n})
	h.tx.mu.Unlock()
	return nil
}

// reuse makes blocks that a committed transaction has freed available.
func (fs *FS) reuse(freed []freedRun) {
	for _, r := range freed {
		g := &fs.groups[r.group]
		g.mu.Lock()
		fs.unbusy(g, r.start, r.n)
		g.mu.Unlock()
	}
}
