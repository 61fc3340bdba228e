package ext4

import (
	"math/bits"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

const (
	// goodRun is the length of a run that is good enough to end a search that has met with
	// groups in pieces.
	goodRun = 16
	// maxOneTake is the most that one call allocates, in blocks.
	maxOneTake = 1 << 15
)

// roomFor returns ENOSPC unless so many blocks can be taken for metadata.
func (fs *FS) roomFor(blocks int64, privileged bool) error {
	if blocks == 0 {
		return nil
	}
	free := fs.freeSpace.Load()
	if !privileged {
		free -= int64(fs.sb.RBlocksCount)
	}
	if free < blocks {
		return abi.ENOSPC
	}
	return nil
}

// mayUseReserve tells whether the blocks kept for the superuser are for this user.
func (fs *FS) mayUseReserve(uid, gid uint32) bool {
	return uid == 0 || uid == uint32(fs.sb.DefResUID) || gid != 0 && gid == uint32(fs.sb.DefResGID)
}

// taker does something with a run of g that has been found free. g.mu is held.
type taker func(g *group, b *buffer, start, n uint32) error

// findSpace looks for up to want blocks in a row, as near behind goal as can be, and has take do
// with them what is to be done. It returns the first and how many there are. ENOSPC if there is
// none.
//
// The group of the goal comes first, and after it the next group that has all that is wanted in a
// row; if none has, half of that will do, and so on.
func (fs *FS) findSpace(goal uint64, want uint32, take taker) (uint64, uint32, error) {
	want = max(min(want, maxOneTake), 1)
	if !fs.validBlocks(goal, 1) {
		goal = fs.firstDataBlock
	}
	home, off := fs.groupOf(goal)
	g := &fs.groups[home]
	start, n, err := fs.findInGroup(g, off, want, min(want, goodRun), true, take)
	if err != nil || n > 0 {
		return fs.groupStart(home) + uint64(start), n, err
	}
	for least, misses := uint32(1)<<(bits.Len32(want)-1), 0; least > 0; {
		nr, ok := fs.space.findRun(home, least)
		if !ok {
			least /= 2
			continue
		}
		start, n, err := fs.findInGroup(&fs.groups[nr], 0, want, least, false, take)
		if err != nil || n > 0 {
			return fs.groupStart(nr) + uint64(start), n, err
		}
		// What the group is in pieces of is known from now on. Where there are many like it, a
		// shorter run is better than to read all their bitmaps.
		if misses++; misses%4 == 0 && least > 1 {
			least = max(least/4, 1)
		}
	}
	return 0, 0, abi.ENOSPC
}

// findInGroup looks in g for want blocks in a row, and takes them, or else as many as there are if
// they are at least least. near asks for those from off on first. n is 0 if nothing was taken.
func (fs *FS) findInGroup(g *group, off, want, least uint32, near bool, take taker) (start, n uint32, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.maxRun < least {
		return 0, 0, nil
	}
	b, err := fs.blockBitmap(g)
	if err != nil {
		return 0, 0, err
	}
	end := fs.groupLen(g.nr)
	if !near {
		off = g.nextBlock
	}
	off = min(off, end)
	if near {
		// A file that goes on where it ended takes what there is.
		if n = freeLen(b.data, g.busy, off, end, want); n >= min(least, goodRun/2) {
			return off, n, take(g, b, off, n)
		}
	}
	start, n = findRun(b.data, g.busy, off, end, want)
	if n < want && off > 0 {
		// A run across off is found whole, too.
		if s, k := findRun(b.data, g.busy, 0, min(off+want, end), want); k > n {
			start, n = s, k
		}
		if n < want {
			fs.setMaxRun(g, n)
		}
	} else if n < want {
		fs.setMaxRun(g, n)
	}
	if n < least {
		return 0, 0, nil
	}
	return start, n, take(g, b, start, n)
}

// setMaxRun notes the length of g's longest run of blocks that are free and not busy, or an upper
// bound. The caller holds g.mu.
func (fs *FS) setMaxRun(g *group, n uint32) {
	if n != g.maxRun {
		g.maxRun = n
		fs.space.setRun(g.nr, n)
	}
}

// lostSpace brings g's longest run up to date after blocks were taken or made busy. The caller
// holds g.mu.
func (fs *FS) lostSpace(g *group) {
	if free := g.desc.FreeBlocks - min(g.nBusy, g.desc.FreeBlocks); g.maxRun > free {
		fs.setMaxRun(g, free)
	}
}

// gotSpace brings g's longest run up to date after n blocks from off on have become available. The
// caller holds g.mu.
func (fs *FS) gotSpace(g *group, off, n uint32) {
	free := g.desc.FreeBlocks - min(g.nBusy, g.desc.FreeBlocks)
	if g.maxRun >= free {
		return
	}
	if g.blocks == nil {
		fs.setMaxRun(g, free)
		return
	}
	end := fs.groupLen(g.nr)
	run := freeBefore(g.blocks.data, g.busy, off) + freeLen(g.blocks.data, g.busy, off, end, end-off)
	fs.setMaxRun(g, max(g.maxRun, run))
}

// allocRun takes up to want blocks in a row out of the free space, as near behind goal as can be, and
// returns the first and how many there are. ENOSPC if there is none. It changes a bitmap and a
// descriptor.
func (fs *FS) allocRun(h handle, goal uint64, want uint32) (uint64, uint32, error) {
	k := fs.takeSpace(1, int64(want), 0)
	if k == 0 {
		return 0, 0, abi.ENOSPC
	}
	start, n, err := fs.allocReserved(h, goal, uint32(k))
	if err != nil {
		n = 0
	}
	fs.giveSpace(k - int64(n))
	return start, n, err
}

// allocReserved is allocRun for who has reserved them.
func (fs *FS) allocReserved(h handle, goal uint64, want uint32) (uint64, uint32, error) {
	return fs.findSpace(goal, want, func(g *group, b *buffer, start, n uint32) error {
		return fs.take(h, g, b, start, n)
	})
}

// claimRun is allocReserved in memory only: the blocks are busy and so nobody else's, but remain free on
// the device until useClaim. Who does not want them any more calls dropClaim.
func (fs *FS) claimRun(goal uint64, want uint32) (uint64, uint32, error) {
	return fs.findSpace(goal, want, func(g *group, _ *buffer, start, n uint32) error {
		fs.makeBusy(g, start, n)
		g.nextBlock = start + n
		return nil
	})
}

// useClaim marks claimed blocks as used. They are all in one group, as claimRun gave them, or a
// part of that.
func (fs *FS) useClaim(h handle, start uint64, n uint32) error {
	nr, off := fs.groupOf(start)
	g := &fs.groups[nr]
	g.mu.Lock()
	defer g.mu.Unlock()
	b, err := fs.blockBitmap(g)
	if err != nil {
		return err
	}
	fs.clearBusy(g, off, n)
	next := g.nextBlock
	err = fs.take(h, g, b, off, n)
	g.nextBlock = next
	return err
}

// dropClaim gives claimed blocks up. They are the caller's reservation again.
func (fs *FS) dropClaim(start uint64, n uint32) {
	nr, off := fs.groupOf(start)
	g := &fs.groups[nr]
	g.mu.Lock()
	fs.clearBusy(g, off, n)
	fs.gotSpace(g, off, n)
	g.mu.Unlock()
}

// take marks a run of g as used. The caller holds g.mu and has found it free.
func (fs *FS) take(h handle, g *group, b *buffer, start, n uint32) error {
	if n > g.desc.FreeBlocks {
		return fs.corruptGroup(g.nr, "block bitmap has more free blocks than the descriptor says (%d)", g.desc.FreeBlocks)
	}
	h.access(b)
	h.group(g)
	if !setBits(b.data, start, n) {
		return fs.corruptGroup(g.nr, "blocks %d to %d of the group are allocated, but in use", start, start+n-1)
	}
	g.desc.FreeBlocks -= n
	g.desc.Flags &^= disk.GroupBlockUninit
	g.nextBlock = start + n
	fs.freeBlocks.Add(-int64(n))
	fs.flexOf(g.nr).freeBlocks.Add(-int64(n))
	fs.lostSpace(g)
	return nil
}

// freeRun gives n blocks from start on back. They may be used again when the transaction
// is committed: until then a crash brings back who had them.
func (fs *FS) freeRun(h handle, start uint64, n uint32) error {
	return fs.giveBack(h, start, n, true)
}

// unallocRun gives blocks back that the same handle has taken and nobody has used. They are the caller's
// reservation again.
func (fs *FS) unallocRun(h handle, start uint64, n uint32) error {
	return fs.giveBack(h, start, n, false)
}

func (fs *FS) giveBack(h handle, start uint64, n uint32, used bool) error {
	if !fs.validBlocks(start, uint64(n)) || fs.zones.hits(start, uint64(n), 0) {
		return fs.corruptBlock(0, start, "%d blocks to be freed are not a file's", n)
	}
	if last, _ := fs.groupOf(start + uint64(n) - 1); n > 0 {
		// All or nothing: a bitmap that cannot be read is found out before the first one is changed.
		first, _ := fs.groupOf(start)
		for nr := first; first < last && nr <= last; nr++ {
			g := &fs.groups[nr]
			g.mu.Lock()
			_, err := fs.blockBitmap(g)
			g.mu.Unlock()
			if err != nil {
				return err
			}
		}
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
	h.access(b)
	h.group(g)
	if !clearBits(b.data, off, n) {
		return fs.corruptGroup(g.nr, "blocks %d to %d of the group are freed, but not in use", off, off+n-1)
	}
	g.desc.FreeBlocks += n
	g.desc.Flags &^= disk.GroupBlockUninit
	fs.freeBlocks.Add(int64(n))
	fs.flexOf(g.nr).freeBlocks.Add(int64(n))
	if !used {
		fs.gotSpace(g, off, n)
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
