package ext4

import (
	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

// blockPool has the blocks that a change of an extent tree may need, taken before the
// first byte is changed, so that a full disk stops the change as a whole. They come out of the
// inode's reservation, and what is left returns there.
type blockPool struct {
	n      *inode
	blocks [4 * (disk.MaxExtentDepth + 2)]uint64
	have   int
}

// fill takes blocks until the pool has want of them, which are reserved for n's tree.
func (p *blockPool) fill(h handle, n *inode, want int) error {
	p.n = n
	if int64(want-p.have) > n.space.tree {
		// A bug in the reckoning of reserves. It costs no more than this.
		h.fs.log("reserve of inode %d: %d blocks for its extent tree, not %d (%d delayed, %d claimed)",
			n.ino, n.space.tree, want-p.have, n.space.delayed, n.space.claimed)
		return abi.ENOSPC
	}
	for p.have < want {
		start, k, err := h.fs.allocReserved(h, n.goal(0), uint32(want-p.have))
		if err != nil {
			p.drain(h)
			return err
		}
		n.space.tree -= int64(k)
		for i := range k {
			p.blocks[p.have] = start + uint64(i)
			p.have++
		}
	}
	return nil
}

// take returns one of the blocks.
func (p *blockPool) take() (uint64, error) {
	if p.have == 0 {
		return 0, abi.ENOSPC // fill was asked for too few: a bug that costs no consistency
	}
	p.have--
	return p.blocks[p.have], nil
}

// drain gives back what is left.
func (p *blockPool) drain(h handle) {
	for ; p.have > 0; p.have-- {
		if h.fs.unallocRun(h, p.blocks[p.have-1], 1) != nil {
			return // already reported as corruption
		}
		p.n.space.tree++
	}
}
