package ext4

import (
	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

// placesPerHandle is the most runs that a handle enters in an extent tree.
const placesPerHandle = 16

// place enters the part's claimed blocks in the extent tree, makes unwritten ones written, moves the
// size on disk up to the end of the content, and sets the times. What was placed is taken from
// b.runs. The caller holds n.mu.
func (b *part) place() error {
	n := b.n
	for len(b.runs) > 0 || b.reached() != n.d.Size || n.wroteDue {
		each := n.placeCredits()
		k := min(len(b.runs), placesPerHandle, max(n.fs.maxCredits()/2/each, 1))
		h, err := n.fs.begin(2 + k*each)
		if err != nil {
			return err
		}
		moved := k > 0 // what fdatasync must wait for
		if err = h.inode(n); err == nil {
			err = b.placeIn(h, k)
		}
		if err == nil {
			n.applyWrote()
			if size := b.reached(); len(b.runs) == 0 && size != n.d.Size {
				n.d.Size = size
				moved = true
			}
		}
		n.touched(h, moved)
		h.end()
		if err != nil {
			return err
		}
	}
	return nil
}

// reached returns the size that the file has on disk once all of the part is placed. The last part of
// a pass takes along what a truncate has set.
func (b *part) reached() uint64 {
	n := b.n
	if b.last && n.pages.ndirty.Load() == 0 {
		return uint64(n.size)
	}
	if len(b.pieces) == 0 {
		return n.d.Size
	}
	return max(n.d.Size, uint64(min(b.size, b.behind())))
}

// behind returns where the last page of the part ends in the file.
func (b *part) behind() int64 {
	x := b.pieces[len(b.pieces)-1]
	return x.c.base() + int64(lastBit(x.mask)+1)<<pageShift
}

// placeIn places the first k runs in h.
func (b *part) placeIn(h handle, k int) error {
	n := b.n
	for ; k > 0; k-- {
		r := b.runs[0]
		if err := n.placeRun(h, r); err != nil {
			return err
		}
		b.runs = b.runs[1:]
		// No block in use lies behind the size, whenever a crash comes.
		n.d.Size = max(n.d.Size, uint64(min(b.size, int64(r.end())<<n.fs.bsLog)))
	}
	return nil
}

// placeRun enters a run whose content is on the device.
func (n *inode) placeRun(h handle, r placement) error {
	if !r.claimed {
		err := n.markRange(h, uint64(r.block), r.end(), 0)
		if err == abi.ENOSPC {
			err = errTight
		}
		return err
	}
	var pool blockPool
	need, err := n.pathNeed(r.block, 1)
	if err != nil {
		return err
	}
	if err := pool.fill(h, n, need); err != nil {
		return err
	}
	defer pool.drain(h)
	if err := n.fs.useClaim(h, r.home, r.n); err != nil {
		return err
	}
	if err := n.insertRun(h, r.run, &pool); err != nil {
		if e := n.fs.unuseClaim(h, r.home, r.n); e != nil {
			return e
		}
		return err
	}
	n.addBlocks(int64(r.n))
	n.space.claimed -= int64(r.n)
	n.eachSlot(int64(r.block), int64(r.end()), func(s *pageSlot, mask uint8) { s.claimed &^= mask })
	if n.space.expected() == 0 {
		return n.shrinkTree(h)
	}
	return nil
}

// placeCredits returns how many metadata blocks the entering of a run may change: the bitmap and
// the descriptor of its group, the way to the leaf, for each node that is split a new one with its
// bitmap and descriptor, and those of nodes that are freed when others take their entries up.
func (n *inode) placeCredits() int {
	depth := int(le.Uint16(n.d.Block[6:]))
	return 2 + depth + 1 + 3*n.treeNeed(3) + 2*disk.RootExtentEntries
}

// maxCredits returns how many blocks a handle can ask for.
func (fs *FS) maxCredits() int {
	if fs.journal == nil {
		return maxTransaction
	}
	return fs.maxTx
}

// applyWrote gives the inode the times of the last Write. The inode is announced.
func (n *inode) applyWrote() {
	if !n.wroteDue {
		return
	}
	n.wroteDue = false
	t := disk.ClampTime(n.wrote, n.extraTime())
	n.d.Mtime = t
	n.d.Ctime = later(t, n.d.Ctime)
	n.d.Version++
}

// later returns the later one of two times.
func later(a, b disk.Time) disk.Time {
	if a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec {
		return a
	}
	return b
}

// settleSize brings the size on disk up to date when no content is on its way that would do so. The
// caller holds n.mu.
func (n *inode) settleSize() error {
	if n.pages.ndirty.Load() != 0 || int64(n.d.Size) == n.size {
		return nil
	}
	h, err := n.fs.begin(1)
	if err != nil {
		return err
	}
	defer h.end()
	if err := h.inode(n); err != nil {
		return err
	}
	n.d.Size = uint64(n.size)
	n.touched(h, true)
	return nil
}
