package ext4

import "math/bits"

// Where the device does not show its content in memory, what is read is kept in clean pages. A file
// that is read from one end to the other is read ahead, up to the end of a chunk.

// readIn sees to it that the bytes from off on are in memory, as far as there are frames. The caller holds
// no lock.
func (n *inode) readIn(off int64, count int) {
	n.mu.RLock()
	there := true
	for at := off; at < min(off+int64(count), n.size) && there; at = (at>>pageShift + 1) << pageShift {
		c, _ := n.pages.page(at >> pageShift)
		there = c != nil
	}
	n.mu.RUnlock()
	if there || count <= 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if off >= n.size {
		return
	}
	ahead := off == n.nextRead
	end := min(off+int64(count), n.size)
	n.nextRead = end
	for off < end {
		index := off >> (chunkShift + pageShift)
		c := n.pages.make(n, index)
		stop := c.base() + chunkBytes
		if !ahead {
			stop = min(stop, end)
		}
		stop = min(stop, n.size)
		lo, hi := int((off-c.base())>>pageShift), int((stop-1-c.base())>>pageShift)
		c.room(hi)
		ok := n.readChunk(c, span(lo, hi)&^c.present)
		n.fs.pages.settle(c)
		if c.present == 0 {
			n.pages.remove(c)
		}
		if !ok {
			return // the reading will meet with the error, or do without frames
		}
		off = stop
	}
}

// readChunk makes pages present that are not, and reports whether it could.
func (n *inode) readChunk(c *pageChunk, missing uint64) bool {
	fs := n.fs
	for missing != 0 {
		i := bits.TrailingZeros64(missing)
		first, k := fs.pages.take(bits.TrailingZeros64(^(missing >> i)), n, c)
		if k == 0 {
			return false
		}
		if n.readRun(c.index<<chunkShift+int64(i), fs.frames.arena.Run(first, k)) != nil {
			fs.pages.give(first, k)
			return false
		}
		for j := range k {
			c.slots[i+j] = pageSlot{frame: first + uint32(j)}
		}
		mask := span(i, i+k-1)
		c.present |= mask
		missing &^= mask
		n.pages.count.Add(int32(k))
	}
	return true
}

// readRun reads pages from index on, as many at a time as lie together.
func (n *inode) readRun(index int64, p []byte) error {
	fs := n.fs
	for len(p) > 0 {
		at := index << pageShift
		whole := (min(int64(len(p)), n.size-at)) &^ (pageSize - 1)
		if whole > pageSize {
			r, err := n.mapRun(uint32(at >> fs.bsLog))
			if err != nil {
				return err
			}
			whole = min(whole, int64(r.n)<<fs.bsLog) &^ (pageSize - 1)
			if whole > 0 && r.home != 0 && !r.unwritten() {
				if err := fs.dev.ReadAt(p[:whole], int64(r.home)<<fs.bsLog); err != nil {
					return err
				}
				p = p[whole:]
				index += whole >> pageShift
				continue
			}
		}
		if err := n.load(index, p[:pageSize], 0, n.size); err != nil {
			return err
		}
		p = p[pageSize:]
		index++
	}
	return nil
}
