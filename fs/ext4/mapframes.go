package ext4

import (
	"hash/maphash"
	"math/bits"
	"time"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// Shared mappings show frames of the cache. A page that a mapping may show is pinned; one that it may
// store to is stored to at any instant without a word. So it is dirty when it is asked for; and whether it
// was stored to since it was written is found out by its checksum: each time that it is written, a copy is
// made, summed and written, and a page whose sum has become another one is dirty again. Pages ahead of the
// store that have no place on the device are summed from the start, lest they get one for nothing.

// mapPages is the most pages that one call of MapFrames answers for.
const mapPages = 1024

// MapFrames implements vfs.FrameMapper.
func (n *inode) MapFrames(off, count int64, write bool) ([]vfs.Frame, abi.Errno) {
	switch {
	case !n.isRegular():
		return nil, abi.ENODEV
	case off < 0 || count <= 0 || off%pageSize != 0 || count%pageSize != 0:
		return nil, abi.EINVAL
	case write && n.fs.readOnly.Load():
		return nil, abi.EROFS
	}
	most := min(count>>pageShift, mapPages)
	for tries, short := 0, 0; ; tries++ {
		m := frameMap{n: n, off: off, left: most, write: write}
		n.mu.Lock()
		err := m.locked()
		n.mu.Unlock()
		switch {
		case err == nil || len(m.list) > 0:
			return m.list, 0
		case err == errNoFrame:
			if err = n.fs.makeRoom(short); err == nil {
				short++
				tries--
				continue
			}
		case tries > 10:
		case err == errConvert:
			if err = n.convert(); err == nil {
				continue
			}
		case err == abi.ENOSPC && (most > 1 || tries == 0):
			most = 1 // there may be room for the first, if not for all
			if n.fs.heldSpace() == 0 {
				continue
			}
			if err = n.fs.freeBusy(); err == nil {
				continue
			}
		}
		return nil, errno(err)
	}
}

// frameMap is a MapFrames under way.
type frameMap struct {
	n     *inode
	off   int64
	left  int64 // pages
	write bool
	list  []vfs.Frame
}

// locked finds or makes the pages. What has been listed when it fails is sound.
func (m *frameMap) locked() error {
	n := m.n
	cache := &n.fs.pages
	if int(cache.npinned.Load()) > cache.limit/2 {
		cache.reclaim(n, nil, cache.limit/16)
	}
	end := min(m.off+m.left<<pageShift, (n.size+pageSize-1)&^(pageSize-1))
	for m.off < end {
		stop := min(end, (m.off>>(chunkShift+pageShift)+1)<<(chunkShift+pageShift))
		var err error
		if m.write {
			err = m.claim(stop)
		} else {
			err = m.show(stop)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// add lists a run of pages.
func (m *frameMap) add(count, ram, home int64) {
	if k := len(m.list); k > 0 {
		last := &m.list[k-1]
		if last.RAM >= 0 && last.RAM+last.Len == ram || last.Home >= 0 && last.Home+last.Len == home || last.RAM&last.Home&ram&home == -1 {
			last.Len += count
			m.off += count
			return
		}
	}
	m.list = append(m.list, vfs.Frame{Off: m.off, Len: count, RAM: ram, Home: home})
	m.off += count
}

// claim pins the pages up to end, which lie in one chunk, for write.
func (m *frameMap) claim(end int64) error {
	n, fs := m.n, m.n.fs
	c := n.pages.make(n, m.off>>(chunkShift+pageShift))
	lo, hi := int((m.off-c.base())>>pageShift), int((end-1-c.base())>>pageShift)
	c.room(hi)
	var short error // what stops the pages behind
	for i := lo; i <= hi && short == nil; i++ {
		if short = n.fetch(c, i); short == nil {
			continue
		}
		if hi = i - 1; hi < lo {
			if c.present == 0 {
				n.pages.remove(c)
			}
			return short
		}
	}
	end = c.base() + int64(hi+1)<<pageShift
	from, to := m.off>>fs.bsLog, (min(end, n.size)+int64(fs.bs)-1)>>fs.bsLog
	holes, err := n.undelayed(c, from, to)
	if err == nil && holes > 0 {
		err = n.delay(holes, int64(fs.sb.RBlocksCount))
	}
	if err != nil {
		fs.pages.settle(c)
		return err
	}
	if holes > 0 {
		n.releaseBlocks(holes - n.setDelayed(c, from, to))
	}
	mask := span(lo, hi)
	if c.sums == nil {
		c.sums = make([]uint64, chunkPages)
	}
	changed := uint64(0)
	for fresh := mask &^ c.stored; fresh != 0; fresh &= fresh - 1 {
		i := bits.TrailingZeros64(fresh)
		c.known &^= 1 << i
		s := &c.slots[i]
		switch {
		case i == lo && len(m.list) == 0, s.delayed == 0:
			// It is about to be stored to, or likely so and has its place: to write it in vain costs less than
			// two sums.
			if blocks := c.blocksInFile(i) &^ s.dirty; blocks != 0 {
				s.dirty |= blocks
				changed |= 1 << i
			}
		case (c.dirty|c.writing)>>i&1 == 0:
			c.sum(i)
		}
	}
	fs.pages.pin(c, mask, mask)
	if changed != 0 {
		fs.pages.mark(c, changed)
		n.written()
	}
	m.frames(c, lo, hi)
	return short
}

// frames lists the pages lo to hi of c, which are present.
func (m *frameMap) frames(c *pageChunk, lo, hi int) {
	for i := lo; i <= hi; {
		_, k := c.together(i, span(lo, hi))
		m.add(int64(k)<<pageShift, int64(c.slots[i].frame)<<pageShift, -1)
		i += k
	}
}

// show pins those pages up to end, which lie in one chunk, that have frames, and lists where the others
// are on the device.
func (m *frameMap) show(end int64) error {
	n, fs := m.n, m.n.fs
	for m.off < end {
		index := m.off >> pageShift
		if c, i := n.pages.page(index); c != nil {
			hi := i + bits.TrailingZeros64(^(c.present >> i)) - 1
			hi = min(hi, int((end-1-c.base())>>pageShift))
			fs.pages.pin(c, span(i, hi), 0)
			if m.off+int64(hi-i+1)<<pageShift > n.size {
				n.clearBehind(c)
			}
			m.frames(c, i, hi)
			continue
		}
		upTo := m.off + int64(n.pages.absent(m.off, int(end-m.off)))
		r, err := n.mapRun(uint32(m.off >> fs.bsLog))
		if err != nil {
			return err
		}
		size := min(int64(r.n)<<fs.bsLog, upTo-m.off) &^ (pageSize - 1)
		home := int64(-1)
		if r.home != 0 && !r.unwritten() {
			home = int64(r.home) << fs.bsLog
			size = min(size, n.size&^(pageSize-1)-m.off) // the last page is not zero behind the end, maybe
		}
		if home < 0 && size > 0 {
			n.isShown = true
			m.add(size, -1, -1)
			continue
		}
		if size > 0 && home%pageSize == 0 && fs.mapped != nil && fs.pristine(home, size) {
			n.isMapped.Store(true)
			n.isShown = true
			m.add(size, -1, home)
			continue
		}
		c := n.pages.make(n, index>>chunkShift)
		i := int(index & (chunkPages - 1))
		c.room(i)
		if err := n.fetch(c, i); err != nil {
			if c.present == 0 {
				n.pages.remove(c)
			}
			return err
		}
		fs.pages.pin(c, 1<<i, 0)
		m.frames(c, i, i)
	}
	return nil
}

// pristine tells whether a mapping of the image file shows what is on the device.
func (fs *FS) pristine(off, n int64) bool {
	changed, ok := fs.device().(interface {
		Pristine(off, n int64) bool // see blockdev.EphemeralDevice
	})
	return !ok || changed.Pristine(off, n)
}

// fetch makes page i of c, which has a slot, present.
func (n *inode) fetch(c *pageChunk, i int) error {
	if c.present>>i&1 != 0 {
		if c.pinned>>i&1 == 0 && c.base()+int64(i+1)<<pageShift > n.size {
			n.clearBehind(c)
		}
		return nil
	}
	first, k := n.fs.pages.takeFor(c, i, n)
	if k == 0 {
		return errNoFrame
	}
	if err := n.load(c.index<<chunkShift+int64(i), n.fs.frames.arena.Run(first, 1), 0, n.size); err != nil {
		n.fs.pages.give(first, 1)
		return err
	}
	c.slots[i] = pageSlot{frame: first}
	c.present |= 1 << i
	n.pages.count.Add(1)
	return nil
}

// clearBehind zeroes what lies behind the end of the file in its last page, if c has that. Nothing of it
// is on the device, or ever was the file's.
func (n *inode) clearBehind(c *pageChunk) {
	in := int(n.size & (pageSize - 1))
	i := int(n.size>>pageShift - c.index<<chunkShift)
	if in == 0 || i < 0 || i >= chunkPages || c.present>>i&1 == 0 || c.writing&^c.pinned>>i&1 != 0 {
		return
	}
	if rest := c.frame(i)[in:]; !allZero(rest) {
		clear(rest)
	}
}

// UnmapFrames implements vfs.FrameMapper.
func (n *inode) UnmapFrames(off, count int64) {
	if off < 0 || count <= 0 {
		return
	}
	n.mu.Lock()
	n.unpin(off, count)
	n.mu.Unlock()
}

// unpin ends the pins of the pages that the bytes [off, off+count) touch. What was stored in them is
// found. The caller holds n.mu.
func (n *inode) unpin(off, count int64) {
	if n.pages.npinned == 0 {
		return
	}
	first := off >> pageShift
	last := (off + min(count, 1<<62-off) - 1) >> pageShift
	n.pages.from(first, func(c *pageChunk, mask uint64) {
		if c.index > last>>chunkShift {
			return
		}
		if c.index == last>>chunkShift {
			mask &= span(0, int(last&(chunkPages-1)))
		}
		n.unpinIn(c, mask)
	})
}

// unpinIn is unpin for the pages in mask.
func (n *inode) unpinIn(c *pageChunk, mask uint64) {
	cache := &n.fs.pages
	mask &= c.pinned
	if mask == 0 {
		return
	}
	n.noticeStores(c, mask)
	n.clearBehind(c)
	cache.unpin(c, mask)
	// What was claimed and not stored to needs no space.
	n.undelay(c, mask)
	cache.settle(c)
}

// noticeStores makes those pages in mask dirty that were stored to by way of mappings.
func (n *inode) noticeStores(c *pageChunk, mask uint64) {
	changed := uint64(0)
	for m := mask & c.stored; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		s := &c.slots[i]
		blocks := c.blocksInFile(i) &^ s.dirty
		if blocks == 0 {
			continue // to be written in any case, or behind the end by now
		}
		// Which blocks of a page that is dirty otherwise were stored to cannot be told.
		if s.dirty == 0 && c.known>>i&1 != 0 && c.sums[i] == maphash.Bytes(pageSeed, c.frame(i)) {
			continue
		}
		s.dirty |= blocks
		changed |= 1 << i
	}
	if changed != 0 {
		n.fs.pages.mark(c, changed)
		n.written()
	}
}

// blocksInFile returns the blocks of page i that the file reaches into.
func (c *pageChunk) blocksInFile(i int) uint8 {
	first := (c.index<<chunkShift + int64(i)) << (pageShift - c.n.fs.bsLog)
	return c.blockMask(i, first, (c.n.size+int64(c.n.fs.bs)-1)>>c.n.fs.bsLog)
}

// noticeAll is noticeStores for the whole file. To do so often costs more than it is worth, unless
// somebody asks for it.
func (n *inode) noticeAll(asked bool) {
	if n.pages.nstored == 0 {
		return
	}
	start := time.Now()
	if !asked && start.Before(n.pages.nextNotice) {
		return
	}
	n.pages.from(0, func(c *pageChunk, mask uint64) { n.noticeStores(c, mask) })
	end := time.Now()
	n.pages.nextNotice = end.Add(max(n.fs.opts.FlushAfter, 20*end.Sub(start)))
}

var pageSeed = maphash.MakeSeed()

// sum notes what page i is like.
func (c *pageChunk) sum(i int) {
	c.sums[i] = maphash.Bytes(pageSeed, c.frame(i))
	c.known |= 1 << i
}

// pin pins the pages in mask, for write those that are in stored, too.
func (c *pageCache) pin(ch *pageChunk, mask, stored uint64) {
	t := &ch.n.pages
	k := bits.OnesCount64(mask &^ ch.pinned)
	t.npinned += k
	c.npinned.Add(int32(k))
	ch.pinned |= mask
	t.nstored += bits.OnesCount64(stored &^ ch.stored)
	ch.stored |= stored
	if stored != 0 {
		c.wait(ch.n, true)
	}
	c.mu.Lock()
	if ch.pinNext == nil {
		c.pushPinned(ch)
	}
	c.mu.Unlock()
}

func (c *pageCache) pushPinned(ch *pageChunk) {
	ch.pinPrev, ch.pinNext = c.ring.pinPrev, &c.ring
	ch.pinPrev.pinNext, ch.pinNext.pinPrev = ch, ch
}

func (c *pageCache) unlinkPinned(ch *pageChunk) {
	ch.pinPrev.pinNext, ch.pinNext.pinPrev = ch.pinNext, ch.pinPrev
	ch.pinPrev, ch.pinNext = nil, nil
}

// unpin takes back pin.
func (c *pageCache) unpin(ch *pageChunk, mask uint64) {
	mask &= ch.pinned
	t := &ch.n.pages
	k := bits.OnesCount64(mask)
	t.npinned -= k
	c.npinned.Add(int32(-k))
	ch.pinned &^= mask
	t.nstored -= bits.OnesCount64(mask & ch.stored)
	ch.stored &^= mask
	if k == 0 || ch.pinned != 0 {
		return
	}
	c.mu.Lock()
	if ch.pinNext != nil {
		c.unlinkPinned(ch)
	}
	c.mu.Unlock()
}

// reclaim takes about want pinned frames back from mappings, those first that were pinned first, and
// reports whether it found any. self and spare are as steal's.
func (c *pageCache) reclaim(self *inode, spare *pageChunk, want int) bool {
	some := false
	for tries := 0; tries < 64 && want > 0; tries++ {
		c.mu.Lock()
		ch := c.ring.pinNext
		if ch == &c.ring {
			c.mu.Unlock()
			break
		}
		c.unlinkPinned(ch)
		c.pushPinned(ch)
		got := ch != spare && (ch.n == self || ch.n.mu.TryLock())
		c.mu.Unlock()
		if !got {
			continue
		}
		if k := bits.OnesCount64(ch.pinned); k > 0 {
			ch.n.takeAway(ch.base(), chunkBytes, vfs.RevokeChanged)
			want -= k
			some = true
		}
		if ch.n != self {
			ch.n.mu.Unlock()
		}
	}
	return some
}

// takeAway takes what mappings show of a range of the file away. The caller holds n.mu.
func (n *inode) takeAway(off, count int64, why vfs.RevokeReason) {
	if (n.isMapped.Load() || n.isShown || n.pages.npinned > 0) && n.fs.opts.Revoke != nil {
		n.fs.opts.Revoke(uint64(n.ino), off, count, why)
	}
	n.unpin(off, count)
}
