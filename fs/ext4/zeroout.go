package ext4

import (
	"errors"
	"math/bits"

	"pinhole/abi"
	"pinhole/blockdev"
)

// Content for unwritten blocks has nothing reserved: who allocated them was told that there is room. To
// make a part of an extent written may split it, and nodes of the tree with it. If there is no block for
// that, the rest of the extent is filled with zeros on the device, and the extent becomes written as a
// whole, which takes no room. It costs time, but only on a disk that is full to the last block.

// errTight says that the extent tree has no room to have a part of an unwritten extent written.
var errTight = errors.New("no room to split an unwritten extent")

// whileTight does write again as long as it returns errTight.
func whileTight(write func() error) error {
	for range 4 {
		if err := write(); err != errTight {
			return err
		}
	}
	return abi.ENOSPC
}

// loosen makes it possible to write what a pass could not for want of room, and returns errTight: it is to
// be tried again. n.wbMu is held, and nothing of the file is being written.
func (n *inode) loosen() error {
	fs := n.fs
	if n.tight++; n.tight == 1 && fs.heldSpace() > 0 {
		// What is freed, or kept for files that grow, will do.
		fs.windows.closeAll(fs)
		if err := fs.commit(0); err != nil {
			n.failed(err)
			return err
		}
		return errTight
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.zeroOut(); err != nil {
		n.failed(err)
		return err
	}
	return errTight
}

// zeroOut makes the unwritten extents written that dirty blocks lie in. n.wbMu and n.mu are held.
func (n *inode) zeroOut() error {
	log := pageShift - n.fs.bsLog
	var failed error
	n.pages.from(0, func(c *pageChunk, mask uint64) {
		for mask &= c.dirty; mask != 0 && failed == nil; mask &= mask - 1 {
			i := bits.TrailingZeros64(mask)
			for d := c.slots[i].dirty; d != 0 && failed == nil; d &= d - 1 {
				failed = n.zeroExtent(uint32((c.index<<chunkShift+int64(i))<<log) + uint32(bits.TrailingZeros8(d)))
			}
		}
	})
	return failed
}

// zeroExtent makes the extent of a block of the file written and zero, if it is unwritten.
func (n *inode) zeroExtent(block uint32) error {
	fs := n.fs
	r, err := n.mapRun(block)
	if err != nil || !r.unwritten() {
		return err
	}
	var p treePath
	defer p.release(fs)
	if err := n.findLeaf(&p, block); err != nil {
		return err
	}
	i := p.leaf().lastStartingBy(block)
	if i < 0 {
		return fs.corruptInode(n.ino, "file block %d is not mapped", block)
	}
	e := p.leaf().extent(i)
	e.home = e.start()
	if err := fs.writeZeros(int64(e.home)<<fs.bsLog, int64(e.n)<<fs.bsLog); err != nil {
		return err
	}
	h, err := fs.begin(superCredits + attrCredits + 1)
	if err != nil {
		return err
	}
	defer h.end()
	if err := h.inode(n); err != nil {
		return err
	}
	p.leaf().access(h)
	p.leaf().setExtent(i, e)
	if !n.runs.big {
		n.runs.put(e)
	}
	n.touched(h, true)
	return nil
}

// writeZeros fills a range of the device with zeros.
func (fs *FS) writeZeros(off, count int64) error {
	const batch = 32
	for count > 0 {
		var vecs []blockdev.Vec
		for ; count > 0 && len(vecs) < batch; count -= int64(len(vecs[len(vecs)-1].Data)) {
			part := zeros[:min(int64(len(zeros)), count)]
			vecs = append(vecs, blockdev.Vec{Off: off, Data: part})
			off += int64(len(part))
		}
		if err := fs.dev.WriteV(vecs); err != nil {
			return err
		}
	}
	return nil
}
