package ext4

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

// resize changes the size of a regular file. The caller holds no lock.
func (n *inode) resize(size int64) error {
	if size < 0 {
		return abi.EINVAL
	}
	if size > n.fs.maxSize() {
		return abi.EFBIG
	}
	for tries := 0; ; tries++ {
		n.alone()
		n.mu.Lock()
		var err error
		if size < n.size && tries == 0 {
			err = n.raiseTree(0, 0)
		}
		if err == nil {
			err = n.resizeLocked(size)
		}
		n.mu.Unlock()
		n.wbMu.Unlock()
		switch {
		case err == abi.ENOSPC && tries == 0:
			// Without content on its way nothing needs to be reserved. Should it not get there, it is
			// cut all the same.
			if err := n.writeback(); err != nil {
				n.fs.log("truncating inode %d: %v", n.ino, err)
			}
		case err != errNoFrame:
			return err
		default:
			if err := n.fs.makeRoom(tries); err != nil {
				return err
			}
		}
	}
}

// resizeLocked is resize for who holds n.wbMu and n.mu.
func (n *inode) resizeLocked(size int64) error {
	old := n.size
	if size > old {
		if err := n.zeroTail(); err != nil {
			return err
		}
	} else if in := size & int64(n.fs.bs-1); in != 0 && size < old {
		if err := n.zeroInBlock(size, min(int64(n.fs.bs)-in, old-size)); err != nil {
			return err
		}
	}
	if size < old {
		// What was zeroed is on the device before the file ends there.
		if err := n.writeBlocks(size>>n.fs.bsLog, (size+int64(n.fs.bs)-1)>>n.fs.bsLog); err != nil {
			return err
		}
	}
	cut := size < old && n.blocksBehind(size)
	if cut {
		n.fs.windows.close(n.fs, n)
	}
	if size < old {
		// The last page stays, but for blocks of it that are freed.
		from := (size + pageSize - 1) &^ (pageSize - 1)
		if n.fs.bs < pageSize {
			from = size &^ (pageSize - 1)
		}
		n.takeAway(from, old-from+pageSize, vfs.RevokeFreed)
	}
	h, err := n.fs.begin(4)
	if err != nil {
		return err
	}
	if err := h.inode(n); err != nil {
		h.end()
		return err
	}
	if cut {
		if err := n.fs.addOrphan(h, n); err != nil {
			h.end()
			return err
		}
	}
	if size == 0 && old > 0 && n.d.Links > 0 {
		n.emptied.Store(true)
	}
	n.size = size
	n.d.Size = min(n.d.Size, uint64(size))
	if size > old && !n.pages.dirty() {
		n.d.Size = uint64(size)
	}
	n.stamp(n.fs.now(), true)
	n.touched(h, true)
	h.end()
	if size < old {
		n.dropPages(size)
		if err := n.settleSize(); err != nil {
			return err
		}
	}
	if !cut {
		return nil
	}
	if err := n.truncateBlocks(size); err != nil {
		return err
	}
	if n.d.Links == 0 {
		return nil // it is on the list for another reason, which remains
	}
	h, err = n.fs.begin(4)
	if err != nil {
		return err
	}
	defer h.end()
	return n.fs.dropOrphan(h, n)
}

// blocksBehind tells whether blocks may be mapped behind size.
func (n *inode) blocksBehind(size int64) bool {
	block := (size + int64(n.fs.bs) - 1) >> n.fs.bsLog
	if block >= maxFileBlocks {
		return false
	}
	r, err := n.mapRun(uint32(block))
	return err != nil || r.home != 0 || uint64(r.block)+uint64(r.n) < maxFileBlocks
}

// truncateBlocks frees the blocks behind size, a handle at a time. The caller holds n.mu,
// and the inode is on the orphan list, so that a crash in between is mended by a mount.
func (n *inode) truncateBlocks(size int64) error {
	from := uint64(size+int64(n.fs.bs)-1) >> n.fs.bsLog
	_, err := n.cutBlocks(from, maxFileBlocks)
	return err
}

// cutBlocks frees the blocks [from, to) of the file, a handle at a time, and returns from where on that is
// done, which is from unless there is an error.
func (n *inode) cutBlocks(from, to uint64) (uint64, error) {
	if from >= to || !n.hasContent() {
		return from, nil
	}
	if err := n.loadRuns(); err != nil {
		return to, err
	}
	defer n.settleTree()
	for to > from {
		credits, err := n.cutCredits(), error(nil)
		if !n.hasExtents() {
			if credits, err = n.indirectCredits(); err != nil {
				return to, err
			}
		}
		h, err := n.fs.begin(credits)
		if err != nil {
			return to, err
		}
		to, err = n.cutOnce(h, from, to)
		h.end()
		if err != nil {
			return to, err
		}
	}
	return from, nil
}

// cutOnce does as much of cutBlocks as belongs in one handle, and returns from where on that is done.
func (n *inode) cutOnce(h handle, from, to uint64) (uint64, error) {
	if err := h.inode(n); err != nil {
		return to, err
	}
	n.touched(h, true)
	if !n.hasExtents() {
		if from == 0 && to == maxFileBlocks {
			if err := n.freeIndirect(h); err != nil {
				return to, err
			}
			return 0, nil
		}
		if err := n.toExtents(h); err != nil {
			return to, err
		}
	}
	var pool blockPool
	need, err := n.splitNeed(from, to)
	if err == nil && need > 0 {
		err = n.raiseTree(1, need)
	}
	if err == nil {
		err = pool.fill(h, n, need)
	}
	if err != nil {
		return to, err
	}
	defer pool.drain(h)
	return n.cutRange(h, from, to, &pool)
}

// splitNeed returns how many blocks the tree may need to have the blocks [from, to) cut out.
func (n *inode) splitNeed(from, to uint64) (int, error) {
	if from == 0 || to == maxFileBlocks {
		return 0, nil
	}
	before, err := n.mapRun(uint32(from - 1))
	if err != nil || before.home == 0 {
		return 0, err
	}
	last, err := n.mapRun(uint32(to - 1))
	if err != nil || last.home == 0 || last.n == 1 {
		return 0, err
	}
	return n.pathNeed(uint32(to-1), 1)
}
