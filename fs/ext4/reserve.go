package ext4

import (
	"errors"
	"math/bits"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

// Content gets its place on the device when it is written there, not before. What Write takes
// into memory is only counted: a reservation says that there will be room for these blocks and for
// what the extent tree may need to map them in the worst case, so that a full disk is told to who
// writes and not found out afterwards.
//
// FS.reserved is the sum of all reservations, in blocks. Whoever takes blocks in any other way has
// to leave as many free ones as that. An inode's share is
//
//	delayed + tree
//
// where delayed are its blocks in memory without a place, and tree is what mapping them may need.

// reservation is an inode's share of FS.reserved, guarded by the inode's lock.
type reservation struct {
	delayed int64 // blocks of content without a place on the device
	claimed int64 // blocks that have a place, of which the extent tree does not know yet
	tree    int64 // blocks for the extent tree
	splits  int64 // extents that writing into unwritten ones may add
}

// available returns how many blocks are free, not kept from being used, and not reserved.
func (fs *FS) available() int64 {
	return fs.freeBlocks.Load() - fs.busyBlocks.Load() - fs.reserved.Load()
}

// reserveSpace reserves between least and most blocks, as many as there are beyond floor, and returns
// how many, or 0. least is at least 1.
func (fs *FS) reserveSpace(least, most, floor int64) int64 {
	for {
		old := fs.reserved.Load()
		k := min(fs.freeBlocks.Load()-fs.busyBlocks.Load()-old-floor, most)
		if k < least {
			return 0
		}
		if fs.reserved.CompareAndSwap(old, old+k) {
			return k
		}
	}
}

// releaseSpace gives up a reservation.
func (fs *FS) releaseSpace(k int64) { fs.reserved.Add(-k) }

// treeFor returns how many blocks n's tree may need for as many more extents.
func (n *inode) treeFor(extents int64) int64 {
	if extents == 0 || !n.hasExtents() {
		return 0
	}
	depth, entries := int(le.Uint16(n.d.Block[6:])), int64(le.Uint16(n.d.Block[2:]))
	if depth == 0 && entries+extents <= disk.RootExtentEntries {
		return 0
	}
	// A split leaves both halves at least half full, so that it takes that many entries to
	// the next one.
	half := int64(disk.ExtentBlockMax(n.fs.bs) / 2)
	sum := int64(0)
	for level := 0; ; level++ {
		extents = extents/half + 1
		sum += extents
		if level >= depth && extents < disk.RootExtentEntries {
			return sum
		}
	}
}

// delay reserves room for k more blocks of content, which may split so many extents besides. It
// returns ENOSPC if there is none. floor is how many blocks are to be left for others.
func (n *inode) delay(k, splits, floor int64) error {
	r := &n.space
	tree := n.treeFor(r.delayed + r.claimed + k + r.splits + splits)
	need := k + tree - r.tree
	switch {
	case need > 0:
		if n.fs.reserveSpace(need, need, floor) == 0 {
			return abi.ENOSPC
		}
	case need < 0:
		n.fs.releaseSpace(-need)
	}
	r.delayed += k
	r.splits += splits
	r.tree = tree
	return nil
}

// settleTree brings the reserve for the tree up to date, after the tree or what is to be mapped has
// changed.
func (n *inode) settleTree() {
	r := &n.space
	if n.pages.ndirty.Load() == 0 && r.claimed == 0 && r.delayed == 0 {
		r.splits = 0
	}
	tree := n.treeFor(r.delayed + r.claimed + r.splits)
	if tree > r.tree {
		// What others have taken meanwhile cannot be had back; delay sees to it that this does
		// not happen.
		return
	}
	n.fs.releaseSpace(r.tree - tree)
	r.tree = tree
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
	n.fs.releaseSpace(k)
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
// reservation, and the number of places where extents of unwritten blocks may be split. Files that
// cannot get blocks as they are get an extent tree.
func (n *inode) undelayed(c *pageChunk, from, to int64) (holes, splits int64, err error) {
	for from < to {
		r, err := n.mapRun(uint32(from))
		if err != nil {
			return 0, 0, err
		}
		end := min(from+int64(r.n), to)
		if r.home == 0 {
			if !n.hasExtents() {
				return 0, 0, errConvert
			}
			k := end - from
			c.eachPage(from, end, func(s *pageSlot, mask uint8) { k -= int64(bits.OnesCount8((s.delayed | s.claimed) & mask)) })
			holes += k
		} else if r.unwritten() {
			k := end - from
			c.eachPage(from, end, func(s *pageSlot, mask uint8) { k -= int64(bits.OnesCount8(s.dirty & mask)) })
			if k > 0 {
				splits += 2
			}
		}
		from = end
	}
	return holes, splits, nil
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
