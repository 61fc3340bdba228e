package ext4

import (
	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

// blockPool has the blocks that a change of an extent tree may need, taken before the
// first byte is changed, so that a full disk stops the change as a whole.
type blockPool struct {
	blocks [4 * (disk.MaxExtentDepth + 2)]uint64
	n      int
}

// fill takes blocks until the pool has want of them.
func (p *blockPool) fill(h handle, n *inode, want int) error {
	return p.fillFrom(h, n, want, h.fs.allocRun)
}

// fillReserved is fill for content that was written behind, with the reserve for its tree.
func (p *blockPool) fillReserved(h handle, n *inode, want int) error {
	return p.fillFrom(h, n, want, h.fs.allocReserved)
}

func (p *blockPool) fillFrom(h handle, n *inode, want int, alloc func(handle, uint64, uint32) (uint64, uint32, error)) error {
	for p.n < want {
		start, k, err := alloc(h, n.goal(0), uint32(want-p.n))
		if err != nil {
			p.drain(h)
			return err
		}
		for i := range k {
			p.blocks[p.n] = start + uint64(i)
			p.n++
		}
	}
	return nil
}

// take returns one of the blocks.
func (p *blockPool) take() (uint64, error) {
	if p.n == 0 {
		return 0, abi.ENOSPC // fill was asked for too few: a bug that costs no consistency
	}
	p.n--
	return p.blocks[p.n], nil
}

// drain gives back what is left.
func (p *blockPool) drain(h handle) {
	for ; p.n > 0; p.n-- {
		if h.fs.unallocRun(h, p.blocks[p.n-1], 1) != nil {
			return // already reported as corruption
		}
	}
}
