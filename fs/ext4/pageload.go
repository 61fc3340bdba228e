package ext4

import (
	"bytes"
	"math/bits"

	"pinhole/fs/vfs"
)

// load fills a frame, from byte in on, with page index of the file as the device has it. What is
// not there, or lies at or behind size, is zero.
func (n *inode) load(index int64, frame []byte, in int, size int64) error {
	fs := n.fs
	base := index << pageShift
	for in < pageSize {
		at := base + int64(in)
		if at >= size {
			clear(frame[in:])
			return nil
		}
		r, err := n.mapRun(uint32(at >> fs.bsLog))
		if err != nil {
			return err
		}
		inBlock := at & int64(fs.bs-1)
		part := int(min(int64(r.n)<<fs.bsLog-inBlock, int64(pageSize-in)))
		dst := frame[in : in+part]
		if r.home == 0 || r.unwritten() {
			clear(dst)
		} else if err := fs.dev.ReadAt(dst, int64(r.home)<<fs.bsLog+inBlock); err != nil {
			return err
		}
		in += part
	}
	if end := size - base; end < pageSize {
		clear(frame[max(end, 0):])
	}
	return nil
}

// hold returns the chunk of page index and its place there, reading the page into memory if it is
// not, with a frame that may be changed. Bytes at or behind size are zero if it is read.
func (n *inode) hold(index, size int64) (*pageChunk, int, error) {
	fs := n.fs
	c := n.pages.make(n, index>>chunkShift)
	i := int(index & (chunkPages - 1))
	bit := uint64(1) << i
	if c.present&^(c.writing&^c.pinned)&bit != 0 {
		return c, i, nil
	}
	first, k := fs.pages.take(1, n, c)
	var err error = errNoFrame
	if k > 0 {
		frame := fs.frames.arena.Run(first, 1)
		c.room(i)
		if c.present&bit != 0 {
			// The old frame is freed by who writes it.
			copy(frame, c.frame(i))
			c.writing &^= bit
			c.slots[i].frame = first
			return c, i, nil
		}
		if err = n.load(index, frame, 0, size); err == nil {
			c.slots[i] = pageSlot{frame: first}
			c.present |= bit
			n.pages.count.Add(1)
			if n.isShown {
				n.replaced(c, bit)
			}
			return c, i, nil
		}
		fs.pages.give(first, 1)
	}
	if c.present == 0 {
		n.pages.remove(c)
	}
	return nil, 0, err
}

// replaced has shared mappings ask again for pages that have got frames.
func (n *inode) replaced(c *pageChunk, mask uint64) {
	for mask != 0 && n.fs.opts.Revoke != nil {
		i := bits.TrailingZeros64(mask)
		k := bits.TrailingZeros64(^(mask >> i))
		n.fs.opts.Revoke(uint64(n.ino), c.base()+int64(i)<<pageShift, int64(k)<<pageShift, vfs.RevokeChanged)
		mask &^= span(i, i+k-1)
	}
}

// zeroTail makes sure that the block that the file ends in is zero behind the end, before
// the file is made longer. Other drivers leave what was mapped there, and mappings what was stored.
func (n *inode) zeroTail() error {
	if c, i := n.pages.page(n.size >> pageShift); c != nil && c.pinned>>i&1 != 0 {
		if n.fs.bs < pageSize && c.stored>>i&1 != 0 {
			// The page gets blocks that nothing is reserved for yet.
			n.takeAway(n.size&^(pageSize-1), pageSize, vfs.RevokeChanged)
		}
		n.clearBehind(c)
	}
	in := n.size & int64(n.fs.bs-1)
	if in == 0 {
		return nil
	}
	return n.zeroInBlock(n.size, int64(n.fs.bs)-in)
}

// zeroInBlock zeroes count bytes at off, which lie in one block, if there may be something else.
func (n *inode) zeroInBlock(off, count int64) error {
	fs := n.fs
	index, in := off>>pageShift, int(off&(pageSize-1))
	c, i := n.pages.page(index)
	if c == nil {
		r, err := n.mapRun(uint32(off >> fs.bsLog))
		if err != nil {
			return err
		}
		if r.home == 0 || r.unwritten() {
			return nil
		}
	} else if allZero(c.frame(i)[in : in+int(count)]) {
		return nil
	}
	c, i, err := n.hold(index, (index+1)<<pageShift)
	if err != nil {
		return err
	}
	part := c.frame(i)[in : in+int(count)]
	if allZero(part) {
		fs.pages.settle(c)
		return nil
	}
	clear(part)
	block := off >> fs.bsLog
	r, err := n.mapRun(uint32(block))
	if err != nil {
		return err
	}
	s := &c.slots[i]
	if mask := c.blockMask(i, block, block+1); (s.delayed|s.claimed)&mask != 0 || r.home != 0 {
		s.dirty |= mask
		fs.pages.mark(c, 1<<i)
	} else {
		fs.pages.settle(c)
	}
	return nil
}

// zeros is what holes read as.
var zeros [64 << 10]byte

// allZero tells whether p has only zero bytes; p is no longer than zeros.
func allZero(p []byte) bool { return bytes.Equal(p, zeros[:len(p)]) }

// dropPages forgets content at and behind size, and zeroes the rest of the page it is in. n.wbMu is
// held, so that no frame is being written.
func (n *inode) dropPages(size int64) {
	if n.pages.count.Load() == 0 {
		return
	}
	n.pages.from((size+pageSize-1)>>pageShift, n.fs.pages.discard)
	in := int(size & (pageSize - 1))
	if in == 0 {
		return
	}
	c, i := n.pages.page(size >> pageShift)
	if c == nil {
		return
	}
	clear(c.frame(i)[in:])
	// Blocks behind the end are freed: what was dirty of them is not.
	n.dropOfPage(c, i, ^uint8(1<<((in+n.fs.bs-1)>>n.fs.bsLog)-1))
}

// dropBlocks forgets what is in memory of the file's blocks [from, to). n.wbMu is held.
func (n *inode) dropBlocks(from, to int64) {
	if n.pages.count.Load() == 0 {
		return
	}
	log := pageShift - n.fs.bsLog
	n.pages.from(from>>log, func(c *pageChunk, mask uint64) {
		first := c.index << chunkShift
		whole := uint64(0)
		for m := mask; m != 0; m &= m - 1 {
			i := bits.TrailingZeros64(m)
			blocks := c.blockMask(i, from, to)
			switch {
			case (first+int64(i))<<log >= to:
				m = 1 << i // the rest lies behind
			case blocks == uint8(1<<(1<<log)-1) && c.pinned>>i&1 == 0:
				whole |= 1 << i
			case blocks != 0:
				a, k := bits.TrailingZeros8(blocks), bits.OnesCount8(blocks)
				clear(c.frame(i)[a<<n.fs.bsLog : (a+k)<<n.fs.bsLog])
				n.dropOfPage(c, i, blocks)
			}
		}
		if whole != 0 {
			n.fs.pages.discard(c, whole)
		}
	})
}

// dropOfPage forgets that some blocks of a page are to be written.
func (n *inode) dropOfPage(c *pageChunk, i int, blocks uint8) {
	s := &c.slots[i]
	k := bits.OnesCount8(s.delayed & blocks)
	s.delayed &^= blocks
	if c.dirty>>i&1 != 0 {
		if s.dirty &^= blocks; s.dirty == 0 {
			n.fs.pages.undirty(c, 1<<i)
			n.fs.pages.settle(c)
		}
	}
	n.releaseBlocks(int64(k))
}
