package ext4

import (
	"errors"
	"math/bits"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// Content gets its place on the device when it is written there, not before. What Write takes
// into memory, and what a mapping may store to, is only counted: a reservation says that there will be
// room for these blocks and for what the extent tree may need to map them in the worst case, so that a
// full disk is told to who writes and not found out afterwards.
//
// Each free block is in one of three accounts, and moves between them by the number:
//
//	freeBlocks = freeSpace + busyBlocks + what is reserved
//
//   - FS.freeSpace counts the blocks that nobody has a right to. Whoever wants blocks takes them out
//     of it first, whatever they are for; it never gets below zero.
//   - Busy blocks are free on the device, but known to be somebody's (busy.go): claimed, kept for a file
//     that grows, or freed and not committed. The last two become free space by FS.freeBusy, which is
//     tried before ENOSPC is told.
//   - Reserved blocks are an inode's: delayed + tree (see reservation).
//
// So blocks that are reserved or busy cannot be taken by anybody else, and who has a reservation will
// find as many blocks. What is left to show is that the reservation suffices. Each delayed block takes
// one block. That tree is enough, whatever is done to the file, is shown in treereserve.go.

// reservation is what an inode has reserved, guarded by the inode's lock.
type reservation struct {
	delayed int64 // blocks of content without a place on the device
	claimed int64 // blocks that have a place, and are busy, of which the extent tree does not know yet
	tree    int64 // blocks for the extent tree
}

// expected returns how many extents the tree may have to take up for content in memory.
func (r *reservation) expected() int64 { return r.delayed + r.claimed }

// takeSpace takes between least and most blocks out of the free space, as many as there are beyond floor,
// and returns how many, or 0. least is at least 1.
func (fs *FS) takeSpace(least, most, floor int64) int64 {
	for {
		old := fs.freeSpace.Load()
		k := min(old-floor, most)
		if k < least {
			return 0
		}
		if fs.freeSpace.CompareAndSwap(old, old-k) {
			return k
		}
	}
}

// giveSpace makes k blocks that somebody had a right to free space.
func (fs *FS) giveSpace(k int64) { fs.freeSpace.Add(k) }

// heldSpace returns how many free blocks are not free space, some of which may become it.
func (fs *FS) heldSpace() int64 { return fs.freeBlocks.Load() - fs.freeSpace.Load() }

// delay reserves room for k more blocks of content. It returns ENOSPC if there is none. floor is how many
// blocks are to be left for others.
func (n *inode) delay(k, floor int64) error {
	r := &n.space
	tree := max(n.treeBound(r.expected()+k)-r.tree, 0)
	if n.fs.takeSpace(k+tree, k+tree, floor) == 0 {
		return abi.ENOSPC
	}
	r.delayed += k
	r.tree += tree
	return nil
}

// undelay gives up the reservations of those blocks of pages that are not dirty.
func (n *inode) undelay(c *pageChunk, mask uint64) {
	k := int64(0)
	for ; mask != 0; mask &= mask - 1 {
		s := &c.slots[bits.TrailingZeros64(mask)]
		k += int64(bits.OnesCount8(s.delayed &^ s.dirty))
		s.delayed &= s.dirty
	}
	n.releaseBlocks(k)
}

// releaseBlocks gives up the reservation of k blocks of content.
func (n *inode) releaseBlocks(k int64) {
	if k == 0 {
		return
	}
	n.space.delayed -= k
	n.fs.giveSpace(k)
	n.settleTree()
}

// errConvert says that the file has to be given an extent tree first.
var errConvert = errors.New("the file has no extents")

// privileged tells whether s may have the blocks that are reserved for the superuser.
func privileged(s vfs.Source) bool {
	u, ok := s.(vfs.Unprivileged)
	return !ok || !u.Unprivileged()
}

// floor returns how many blocks must remain for others.
func (fs *FS) floor(privileged bool) int64 {
	if privileged {
		return 0
	}
	return int64(fs.sb.RBlocksCount)
}

// blockMask returns the bits of the blocks of page i of a chunk that lie in the file's
// blocks [from, to).
func (c *pageChunk) blockMask(i int, from, to int64) uint8 {
	log := pageShift - c.n.fs.bsLog
	first := (c.index<<chunkShift + int64(i)) << log
	lo, hi := max(from-first, 0), min(to-first, 1<<log)
	if lo >= hi {
		return 0
	}
	return uint8((1<<hi - 1) &^ (1<<lo - 1))
}

// undelayed returns how many of the file's blocks [from, to), which lie in c, are holes without a
// reservation. Files that cannot get blocks as they are get an extent tree.
func (n *inode) undelayed(c *pageChunk, from, to int64) (int64, error) {
	holes := int64(0)
	for from < to {
		r, err := n.mapRun(uint32(from))
		if err != nil {
			return 0, err
		}
		end := min(from+int64(r.n), to)
		if r.home == 0 {
			if !n.hasExtents() {
				return 0, errConvert
			}
			holes += end - from
			c.eachPage(from, end, func(s *pageSlot, mask uint8) { holes -= int64(bits.OnesCount8((s.delayed | s.claimed) & mask)) })
		}
		from = end
	}
	return holes, nil
}

// setDelayed notes that the holes among the file's blocks [from, to) have a reservation, and
// returns how many had none before.
func (n *inode) setDelayed(c *pageChunk, from, to int64) (fresh int64) {
	for from < to {
		r, err := n.mapRun(uint32(from))
		if err != nil {
			return fresh // undelayed has mapped it a moment ago
		}
		end := min(from+int64(r.n), to)
		if r.home == 0 {
			c.eachPage(from, end, func(s *pageSlot, mask uint8) {
				mask &^= s.delayed | s.claimed
				fresh += int64(bits.OnesCount8(mask))
				s.delayed |= mask
			})
		}
		from = end
	}
	return fresh
}

// eachPage calls f for the slots of the file's blocks [from, to), with a mask of those blocks. Pages
// that have no slot yet are skipped.
func (c *pageChunk) eachPage(from, to int64, f func(s *pageSlot, mask uint8)) {
	log := pageShift - c.n.fs.bsLog
	first := c.index << chunkShift
	for i := int(from>>log - first); i <= int((to-1)>>log-first) && i < len(c.slots); i++ {
		f(&c.slots[i], c.blockMask(i, from, to))
	}
}
