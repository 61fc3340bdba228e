package ext4

import (
	"errors"
	"math/bits"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

var (
	// errNoFrame says that all frames are dirty: wait for them to be written and go on.
	errNoFrame       = errors.New("no free frame")
	errTooBig  error = abi.EFBIG
)

// Write implements vfs.Node. It copies into frames of the cache and reserves what they will need
// on the device; nothing of it is in a transaction. The times that it sets are in memory until
// the content is written, as is the size.
func (n *inode) Write(off int64, count int, s vfs.Source) (int, int64, abi.Errno) {
	switch n.mode.Load() & abi.S_IFMT {
	case abi.S_IFREG:
	case abi.S_IFDIR:
		return 0, off, abi.EISDIR
	default:
		return 0, off, abi.EINVAL
	}
	if off < vfs.AtEnd || count < 0 {
		return 0, off, abi.EINVAL
	}
	if n.fs.readOnly.Load() {
		return 0, off, abi.EROFS
	}
	w := writer{n: n, off: off, left: count, s: s}
	err := w.run()
	if w.done > 0 || err == nil {
		return w.done, w.off, 0
	}
	return 0, w.off, errno(err)
}

// writer is a Write under way.
type writer struct {
	n     *inode
	off   int64 // of the next byte; vfs.AtEnd until the lock is held
	left  int
	done  int
	s     vfs.Source
	small bool // a block at a time: the disk is nearly full

	// Of the step under way.
	fresh  uint64             // pages that get a new frame
	frames [chunkPages]uint32 // these frames, by the page's place in the chunk
	holes  int64              // blocks that were reserved
}

// run writes, waiting without locks where it must.
func (w *writer) run() error {
	n, fs := w.n, w.n.fs
	for tries, short := 0, 0; ; {
		if err := fs.throttle(); err != nil {
			return err
		}
		before := w.done
		n.mu.Lock()
		err := w.locked()
		n.mu.Unlock()
		if err == nil {
			return nil
		}
		if w.done > before {
			tries, short = 0, 0
		}
		if err == errNoFrame {
			if err := fs.makeRoom(short); err != nil {
				return err
			}
			short++
			continue
		}
		if tries++; tries > 200 {
			return err
		}
		switch {
		case err == errConvert:
			if err := n.convert(); err != nil {
				return err
			}
		case err == abi.ENOSPC && tries < 4 && (!w.small || fs.heldSpace() > 0):
			// What is reserved for the worst case, or freed but not committed, may do; else there may be
			// room for a part.
			if fs.heldSpace() > 0 {
				if err := fs.freeBusy(); err != nil {
					return err
				}
			}
			w.small = true
		default:
			return err
		}
	}
}

// locked writes what it can while the inode's lock is held.
func (w *writer) locked() error {
	n := w.n
	if w.off == vfs.AtEnd {
		w.off = n.size
	}
	if limit := n.fs.maxSize(); w.off >= limit && w.left > 0 {
		return errTooBig
	} else if int64(w.left) > limit-w.off {
		w.left = int(limit - w.off)
	}
	if w.left > 0 && w.off > n.size {
		if err := n.zeroTail(); err != nil {
			return err
		}
	}
	before := w.done
	var err error
	for w.left > 0 && err == nil {
		err = w.step()
	}
	if w.done > before {
		n.written()
	}
	return err
}

// written notes the time of a change of content. It reaches the inode with the content.
func (n *inode) written() {
	n.wrote = n.fs.now()
	if t := disk.ClampTime(n.wrote, n.extraTime()); n.d.Mtime != t || n.d.Ctime != t {
		n.wroteDue = true
	}
	if !n.atimeDue.Load() {
		n.atimeDue.Store(true)
	}
}

// step writes as much as lies in one chunk.
func (w *writer) step() error {
	n, fs := w.n, w.n.fs
	index := w.off >> (chunkShift + pageShift)
	end := min(w.off+int64(w.left), (index+1)<<(chunkShift+pageShift))
	if w.small {
		end = min(end, w.off|int64(fs.bs-1)+1)
	}
	c := n.pages.make(n, index)
	end, err := w.prepare(c, end)
	got := 0
	if err == nil {
		got, err = w.fill(c, end)
		w.enter(c, w.off+int64(got))
	}
	w.giveFrames()
	w.off += int64(got)
	w.done += got
	w.left -= got
	if got > 0 { // otherwise off may lie beyond the end
		n.size = max(n.size, w.off)
	}
	if c.present == 0 {
		n.pages.remove(c)
	} else if !c.used.Load() {
		c.used.Store(true)
	}
	return err
}

// prepare takes frames and reserves space for writing up to end, or for as much as there are frames
// for, and returns where that ends.
func (w *writer) prepare(c *pageChunk, end int64) (int64, error) {
	n, fs := w.n, w.n.fs
	lo, hi := w.pages(c, end)
	c.room(hi)
	// New frames for pages that have none, and for those whose frame is being written.
	for missing := span(lo, hi) &^ (c.present &^ (c.writing &^ c.pinned)); missing != 0; {
		first, k := fs.pages.take(bits.OnesCount64(missing), n, c)
		if k == 0 {
			at := bits.TrailingZeros64(missing)
			if at == lo {
				return end, errNoFrame
			}
			end = c.base() + int64(at)<<pageShift
			break
		}
		for ; k > 0; k-- {
			i := bits.TrailingZeros64(missing)
			w.frames[i] = first
			w.fresh |= 1 << i
			missing &= missing - 1
			first++
		}
	}
	from, to := w.blocks(end)
	holes, err := n.undelayed(c, from, to)
	if err != nil || holes == 0 {
		return end, err
	}
	err = n.delay(holes, int64(fs.sb.RBlocksCount))
	if err == abi.ENOSPC && privileged(w.s) {
		err = n.delay(holes, 0)
	}
	if err == nil {
		w.holes = holes
	}
	return end, err
}

// pages returns the first and last page of the chunk that a write up to end touches.
func (w *writer) pages(c *pageChunk, end int64) (lo, hi int) {
	return int((w.off - c.base()) >> pageShift), int((end - 1 - c.base()) >> pageShift)
}

// blocks returns the file's blocks that a write up to end touches.
func (w *writer) blocks(end int64) (from, to int64) {
	log := w.n.fs.bsLog
	return w.off >> log, (end + int64(w.n.fs.bs) - 1) >> log
}

// fill copies the source's bytes up to end into the frames, and returns how many it took.
func (w *writer) fill(c *pageChunk, end int64) (int, error) {
	lo, hi := w.pages(c, end)
	start := c.base()
	if in := int(w.off & (pageSize - 1)); w.fresh>>lo&1 != 0 && (in != 0 || end < start+int64(lo+1)<<pageShift) {
		if err := w.keep(c, lo, 0); err != nil {
			return 0, err
		}
	}
	if hi != lo && w.fresh>>hi&1 != 0 && end&(pageSize-1) != 0 {
		if err := w.keep(c, hi, 0); err != nil {
			return 0, err
		}
	}
	want := int(end - w.off)
	got, e := w.copy(c, lo, hi, want)
	if got == want {
		return got, nil
	}
	if e == 0 {
		e = abi.EFAULT
	}
	at := w.off + int64(got)
	i, in := int((at-start)>>pageShift), int(at&(pageSize-1))
	if in != 0 && w.fresh>>i&1 != 0 && start+int64(i+1)<<pageShift <= end && (i != lo || w.off&(pageSize-1) == 0) {
		// The page was to be overwritten as a whole.
		if err := w.keep(c, i, in); err != nil {
			return max(got-in, 0), err
		}
	}
	return got, e
}

// keep fills page i's new frame, from byte in on, with what the page has.
func (w *writer) keep(c *pageChunk, i, in int) error {
	frame := w.n.fs.frames.arena.Run(w.frames[i], 1)
	if c.present>>i&1 != 0 {
		copy(frame[in:], c.frame(i)[in:])
		return nil
	}
	return w.n.load(c.index<<chunkShift+int64(i), frame, in, w.n.size)
}

// copy copies want bytes of the source to the pages lo to hi, as many at a time as lie together.
func (w *writer) copy(c *pageChunk, lo, hi, want int) (got int, e abi.Errno) {
	frame := func(i int) uint32 {
		if w.fresh>>i&1 != 0 {
			return w.frames[i]
		}
		return c.slots[i].frame
	}
	in := int(w.off & (pageSize - 1))
	for i := lo; i <= hi; {
		first, k := frame(i), 1
		for i+k <= hi && frame(i+k) == first+uint32(k) {
			k++
		}
		part := min(k<<pageShift-in, want-got)
		m, e := w.s.Get(w.n.fs.frames.arena.Run(first, k)[in : in+part])
		got += m
		if m < part || e != 0 {
			return got, e
		}
		i += k
		in = 0
	}
	return got, 0
}

// enter makes the pages up to end, which have been filled, the file's, and gives up what was
// reserved for more than that.
func (w *writer) enter(c *pageChunk, end int64) {
	n := w.n
	from, to := w.blocks(end)
	if w.off == end {
		to = from
	}
	if w.holes > 0 {
		n.releaseBlocks(w.holes - n.setDelayed(c, from, to))
		w.holes = 0
	}
	if from == to {
		return
	}
	lo, hi := w.pages(c, end)
	mask := span(lo, hi)
	for m := mask & w.fresh; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		// A frame that is being written is freed by who writes it.
		c.slots[i].frame = w.frames[i]
	}
	c.writing &^= mask & w.fresh
	added := mask & w.fresh &^ c.present
	n.pages.count.Add(int32(bits.OnesCount64(added)))
	c.present |= mask & w.fresh
	w.fresh &^= mask
	for i := lo; i <= hi; i++ {
		c.slots[i].dirty |= c.blockMask(i, from, to)
	}
	n.fs.pages.mark(c, mask)
	if n.isShown {
		n.replaced(c, added)
	}
}

// giveFrames gives the frames back that were not needed.
func (w *writer) giveFrames() {
	for ; w.fresh != 0; w.fresh &= w.fresh - 1 {
		w.n.fs.pages.give(w.frames[bits.TrailingZeros64(w.fresh)], 1)
	}
}
