package ext4

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

// Allocate implements vfs.Allocator: fallocate(2) with and without KEEP_SIZE, PUNCH_HOLE
// and ZERO_RANGE.
func (n *inode) Allocate(mode uint32, off, count int64) abi.Errno {
	switch n.mode.Load() & abi.S_IFMT {
	case abi.S_IFREG:
	case abi.S_IFDIR:
		return abi.EISDIR
	default:
		return abi.ENODEV
	}
	if off < 0 || count <= 0 {
		return abi.EINVAL
	}
	if off > n.fs.maxSize() || count > n.fs.maxSize()-off {
		return abi.EFBIG
	}
	if n.fs.readOnly.Load() {
		return abi.EROFS
	}
	f := allocation{keep: mode&abi.FALLOC_FL_KEEP_SIZE != 0}
	if mode&vfs.AllocUnprivileged != 0 {
		f.floor = int64(n.fs.sb.RBlocksCount)
	}
	mode &^= vfs.AllocUnprivileged
	var step func() error
	switch mode &^ abi.FALLOC_FL_KEEP_SIZE {
	case 0:
		step = func() error { return n.allocate(off, count, f) }
	case abi.FALLOC_FL_PUNCH_HOLE:
		if !f.keep {
			return abi.EOPNOTSUPP
		}
		step = func() error { return n.punch(off, count) }
	case abi.FALLOC_FL_ZERO_RANGE:
		step = func() error {
			from, to, err := n.zeroEdges(off, count)
			if err != nil {
				return err
			}
			f.zeroFrom, f.zeroTo = uint64(from), uint64(to)
			err = n.allocate(off, count, f)
			if e := n.settleSize(); err == nil {
				err = e
			}
			return err
		}
	default:
		return abi.EOPNOTSUPP
	}
	if !n.hasExtents() {
		return abi.EOPNOTSUPP
	}
	for tries, short := 0, 0; ; tries++ {
		n.alone()
		n.mu.Lock()
		var err error
		if off+count > n.size && !f.keep {
			err = n.zeroTail()
		}
		if err == nil {
			err = step()
		}
		n.mu.Unlock()
		n.wbMu.Unlock()
		switch {
		case err == errNoFrame:
			err = n.fs.makeRoom(short)
			short++
			tries--
		case tries > 3:
			return errno(err)
		case err == abi.ENOSPC && n.fs.heldSpace() > 0:
			err = n.fs.freeBusy()
		default:
			return errno(err)
		}
		if err != nil {
			return errno(err)
		}
	}
}

// allocation is what is asked of allocate.
type allocation struct {
	keep  bool  // the size
	floor int64 // blocks that must remain for others

	// Written blocks [zeroFrom, zeroTo) become unwritten, too, and what memory has of them is dropped.
	zeroFrom, zeroTo uint64
}

// allocate gives the holes in a range unwritten blocks. The caller holds n.wbMu and n.mu.
func (n *inode) allocate(off, count int64, f allocation) error {
	bs := int64(n.fs.bs)
	from, to := uint64(off>>n.fs.bsLog), uint64((off+count+bs-1)>>n.fs.bsLog)
	to = min(to, maxFileBlocks)
	end := off + count
	for first := true; from < to || first; first = false {
		h, err := n.fs.begin(2 + n.placeCredits())
		if err != nil {
			return err
		}
		from, err = n.allocateOnce(h, from, to, f)
		if err == nil && from == to && end > n.size && !f.keep {
			n.size = end
			if !n.pages.dirty() {
				n.d.Size = uint64(end)
			}
		}
		h.end()
		if err != nil {
			return err
		}
	}
	return nil
}

// allocateOnce fills the first hole in [from, to), or converts the first extent, and returns where to go on.
func (n *inode) allocateOnce(h handle, from, to uint64, f allocation) (uint64, error) {
	if err := h.inode(n); err != nil {
		return from, err
	}
	n.stamp(n.fs.now(), true)
	n.touched(h, true)
	for from < to {
		r, err := n.mapRun(uint32(from))
		if err != nil {
			return from, err
		}
		k := min(uint64(r.n), to-from)
		zero := from >= f.zeroFrom && from < f.zeroTo
		switch {
		case zero:
			k = min(k, f.zeroTo-from)
		case from < f.zeroFrom:
			k = min(k, f.zeroFrom-from)
		}
		if zero && (r.home == 0 || r.unwritten()) {
			n.dropBlocks(int64(from), int64(from+k)) // it is zero without that
		}
		if r.home == 0 {
			if skip, free := n.delayedFrom(int64(from), int64(from+k)); skip > 0 {
				from += uint64(skip) // has its reservation
				continue
			} else {
				k = uint64(free)
			}
			room := n.fs.freeSpace.Load() - f.floor
			if room <= 0 {
				return from, abi.ENOSPC
			}
			got, err := n.fillHole(h, uint32(from), uint32(min(k, uint64(room))), unwrittenBit)
			return from + uint64(got), err
		}
		if zero && !r.unwritten() {
			end, err := n.markOnce(h, from, from+k, unwrittenBit)
			if err != nil {
				return from, err
			}
			n.dropBlocks(int64(from), int64(end))
			return end, n.shrinkTree(h)
		}
		from += k
	}
	return from, nil
}

// delayedFrom returns how many of the blocks of a hole from from on have a reservation, or if the first
// has none, how many have none.
func (n *inode) delayedFrom(from, to int64) (delayed, free int64) {
	if n.space.delayed+n.space.claimed == 0 {
		return 0, to - from
	}
	log := pageShift - n.fs.bsLog
	for at := from; at < to; at++ {
		c, i := n.pages.page(at >> log)
		if c == nil {
			// To the next page that is in memory.
			skip := n.pages.absent(at<<n.fs.bsLog, int(min((to-at)<<n.fs.bsLog, 1<<30)))
			if delayed > 0 {
				return delayed, 0
			}
			k := (int64(skip) + int64(n.fs.bs) - 1) >> n.fs.bsLog
			free += k
			at += k - 1
			continue
		}
		is := (c.slots[i].delayed|c.slots[i].claimed)&c.blockMask(i, at, at+1) != 0
		switch {
		case is && free > 0 || !is && delayed > 0:
			return delayed, free
		case is:
			delayed++
		default:
			free++
		}
	}
	return delayed, free
}

// zeroEdges zeroes those parts of a range that are not whole blocks. It returns the blocks that are,
// [from, to), which mappings do not show any more. What memory has of them is dropped when the device has
// got rid of it, not before: if that fails, both say the same. The caller holds n.wbMu and n.mu.
func (n *inode) zeroEdges(off, count int64) (from, to int64, err error) {
	end := min(off+count, n.size)
	bs := int64(n.fs.bs)
	from, to = (off+bs-1)>>n.fs.bsLog, (off+count)>>n.fs.bsLog
	if off < end {
		// The parts of blocks at both ends are on the device before what lies between them goes.
		head := min(from<<n.fs.bsLog, end)
		if err := n.zeroPart(off, head); err != nil {
			return 0, 0, err
		}
		if tail := to << n.fs.bsLog; tail >= head {
			if err := n.zeroPart(tail, end); err != nil {
				return 0, 0, err
			}
		}
	}
	if from >= to {
		return from, from, nil
	}
	n.takeAway(from<<n.fs.bsLog, (to-from)<<n.fs.bsLog, vfs.RevokeFreed)
	return from, min(to, maxFileBlocks), nil
}

// zeroPart zeroes the bytes [off, end), which lie in one block, on the device, too.
func (n *inode) zeroPart(off, end int64) error {
	if off >= end {
		return nil
	}
	if err := n.zeroInBlock(off, end-off); err != nil {
		return err
	}
	block := off >> n.fs.bsLog
	return n.writeBlocks(block, block+1)
}

// punch makes a hole: whole blocks are freed, the rest of the range is zeroed. The caller
// holds n.wbMu and n.mu.
func (n *inode) punch(off, count int64) error {
	defer n.settleTree()
	if err := n.raiseTree(1, 0); err != nil {
		return err
	}
	from, to, err := n.zeroEdges(off, count)
	if err != nil {
		return err
	}
	h, err := n.fs.begin(1)
	if err != nil {
		return err
	}
	if err = h.inode(n); err == nil {
		n.stamp(n.fs.now(), true)
		n.touched(h, true)
	}
	h.end()
	if err != nil {
		return err
	}
	low, err := n.cutBlocks(uint64(from), uint64(to))
	n.dropBlocks(int64(low), to)
	if e := n.settleSize(); err == nil {
		err = e
	}
	return err
}

// SeekData implements vfs.HoleSeeker.
func (n *inode) SeekData(off int64) (int64, abi.Errno) { return n.seek(off, true) }

// SeekHole implements vfs.HoleSeeker.
func (n *inode) SeekHole(off int64) (int64, abi.Errno) { return n.seek(off, false) }

// seek returns the first offset from off on that is data, or that is not. The end of the
// file counts as a hole. Unwritten blocks do, too, but not where memory has newer content.
func (n *inode) seek(off int64, data bool) (int64, abi.Errno) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if off < 0 || off >= n.size {
		return 0, abi.ENXIO
	}
	for off < n.size {
		r, err := n.mapRun(uint32(off >> n.fs.bsLog))
		if err != nil {
			return 0, errno(err)
		}
		end := min((off>>n.fs.bsLog+int64(r.n))<<n.fs.bsLog, n.size)
		if r.home != 0 && !r.unwritten() {
			if data {
				return off, 0
			}
			off = end
			continue
		}
		for off < end {
			newer, next := n.newer(off, end)
			if newer == data {
				return off, 0
			}
			off = next
		}
	}
	if data {
		return 0, abi.ENXIO
	}
	return n.size, 0
}

// newer tells whether memory has newer content for the block of off, which reads as zeros from the device,
// and where the next one begins that it may be otherwise for, at most end.
func (n *inode) newer(off, end int64) (bool, int64) {
	block := off >> n.fs.bsLog
	c, i := n.pages.page(off >> pageShift)
	if c == nil {
		return false, off + int64(n.pages.absent(off, int(min(end-off, 1<<30))))
	}
	mask := c.blockMask(i, block, block+1)
	s := &c.slots[i]
	// A page that mappings may store to is content, as one is on Linux from the first store on.
	is := (s.dirty|s.delayed|s.claimed)&mask != 0 || (c.writing|c.stored)>>i&1 != 0
	return is, min((block+1)<<n.fs.bsLog, end)
}
