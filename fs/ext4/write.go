package ext4

import (
	"bytes"
	"errors"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// chunkPages is how many pages one step of a write covers.
const chunkPages = 32

var (
	// errNoFrame says that all frames are dirty: wait for the flusher and go on.
	errNoFrame       = errors.New("no free frame")
	errTooBig  error = abi.EFBIG
)

// Write implements vfs.Node.
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
	n    *inode
	off  int64 // of the next byte; vfs.AtEnd until the lock is held
	left int
	done int
	s    vfs.Source

	pages [chunkPages + 1]*page
	fresh [chunkPages + 1]bool // the page is not yet in the inode's table
	count int                  // of pages
}

// run writes chunk by chunk, waiting without locks where it must.
func (w *writer) run() error {
	n := w.n
	for retries := 0; ; {
		if err := n.fs.throttle(); err != nil {
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
			retries = 0
		}
		if retries++; retries > 20 {
			return err
		}
		switch {
		case err == errNoFrame:
			if err := n.fs.makeRoom(); err != nil {
				return err
			}
		case err == abi.ENOSPC && n.fs.busyBlocks.Load() > 0 && retries < 4:
			if err := n.fs.freeBusy(); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// locked writes what it can while the inode's lock is held.
func (w *writer) locked() error {
	if w.off == vfs.AtEnd {
		w.off = w.n.size
	}
	if limit := w.n.fs.maxSize(); w.off >= limit && w.left > 0 {
		return errTooBig
	} else if int64(w.left) > limit-w.off {
		w.left = int(limit - w.off)
	}
	for w.left > 0 {
		end := (w.off>>pageShift + chunkPages) << pageShift
		if err := w.chunk(int(min(int64(w.left), end-w.off))); err != nil {
			return err
		}
	}
	return nil
}

// chunk writes up to k bytes at w.off, which lie in no more than chunkPages pages.
func (w *writer) chunk(k int) error {
	n, fs := w.n, w.n.fs
	if w.off > n.size {
		if err := n.zeroTail(); err != nil {
			return err
		}
	}
	got, err := w.fill(k)
	if got == 0 {
		w.drop(0)
		return err
	}
	from := uint32(w.off >> fs.bsLog)
	to := uint32((w.off + int64(got) + int64(fs.bs) - 1) >> fs.bsLog)
	h, berr := fs.begin(8)
	if berr != nil {
		w.drop(0)
		return berr
	}
	mapped, merr := from, h.inode(n)
	if merr == nil {
		mapped, merr = n.mapBlocks(h, from, to)
	}
	if mapped < to {
		got = int(max(int64(mapped)<<fs.bsLog-w.off, 0))
		if err == nil {
			err = merr
		}
	}
	w.keep(from, mapped, to)
	if got > 0 {
		end := w.off + int64(got)
		grown := end > n.size
		if grown {
			n.setSize(end)
		}
		n.stamp(fs.now(), true)
		n.touched(h, grown)
		w.off = end
		w.done += got
		w.left -= got
	}
	h.end()
	return err
}

// fill copies up to k bytes of the source into pages, and returns how many.
func (w *writer) fill(k int) (got int, err error) {
	n, fs := w.n, w.n.fs
	w.count = 0
	for got < k {
		at := w.off + int64(got)
		in := int(at & (pageSize - 1))
		part := min(k-got, pageSize-in)
		p := n.pages.get(at >> pageShift)
		fresh := p == nil
		var old []byte // frame that p had before, which still has all of its content
		switch {
		case fresh:
			frame := fs.pages.frame(n)
			if frame == nil {
				return got, errNoFrame
			}
			p = &page{n: n, index: at >> pageShift, frame: frame}
			if part < pageSize {
				if err := n.load(p); err != nil {
					fs.pages.freeFrame(frame)
					return got, err
				}
			}
		case p.writing:
			frame := fs.pages.frame(n)
			if frame == nil {
				return got, errNoFrame
			}
			if part < pageSize {
				copy(frame, p.frame)
			} else {
				old = p.frame
			}
			// The old frame is freed by who writes it, under the lock that is held here.
			p.frame = frame
			p.writing = false
		default:
			fs.pages.take(p)
		}
		w.pages[w.count], w.fresh[w.count] = p, fresh
		w.count++
		c, e := w.s.Get(p.frame[in : in+part])
		got += c
		if c < part {
			// Complete a frame that was to be overwritten as a whole.
			if old != nil {
				copy(p.frame[in+c:], old[in+c:])
			} else if fresh && part == pageSize {
				if err := n.loadRest(p, in+c); err != nil {
					return got - c, err
				}
			}
			if e == 0 {
				e = abi.EFAULT
			}
			return got, e
		}
	}
	return got, nil
}

// keep enters the pages of the chunk in the table, with their blocks among [from, to)
// dirty, and drops what was to be written beyond, up to want.
func (w *writer) keep(from, to, want uint32) {
	n, fs := w.n, w.n.fs
	per := uint32(pageSize >> fs.bsLog)
	for i := range w.count {
		p := w.pages[i]
		first := uint32(p.index) * per
		lo, hi := max(first, from), min(first+per, to)
		if lo >= hi {
			w.drop(i)
			return
		}
		if w.fresh[i] {
			n.pages.set(p)
		}
		mask := uint8(1<<(hi-lo)-1) << (lo - first)
		fs.pages.mark(p, mask)
		if hi < min(first+per, want) {
			n.clearUnmapped(p)
		}
		w.pages[i] = nil
	}
	w.count = 0
}

// drop gives up the pages of the chunk from the i-th on. Content that was changed in a
// page that was there before becomes what the device has again.
func (w *writer) drop(i int) {
	n, fs := w.n, w.n.fs
	for ; i < w.count; i++ {
		p := w.pages[i]
		w.pages[i] = nil
		if w.fresh[i] {
			fs.pages.freeFrame(p.frame)
			continue
		}
		if p.dirty == 0 && !p.writing {
			fs.pages.discard(p)
		} else {
			n.clearUnmapped(p)
		}
	}
	w.count = 0
}

// clearUnmapped makes the parts of a page that have no blocks zero again, after a write
// that could not get any.
func (n *inode) clearUnmapped(p *page) {
	per := pageSize >> n.fs.bsLog
	for i := range per {
		r, err := n.mapRun(uint32(p.index)*uint32(per) + uint32(i))
		if err == nil && (r.home == 0 || r.unwritten()) {
			clear(p.frame[i<<n.fs.bsLog : (i+1)<<n.fs.bsLog])
		}
	}
}

// load fills a page's frame from the device; what is not there, or behind the end of the
// file, is zero.
func (n *inode) load(p *page) error { return n.loadRest(p, 0) }

// loadRest is load for the bytes of the page from in on.
func (n *inode) loadRest(p *page, in int) error {
	fs := n.fs
	base := p.index << pageShift
	for in < pageSize {
		at := base + int64(in)
		if at >= n.size {
			clear(p.frame[in:])
			return nil
		}
		r, err := n.mapRun(uint32(at >> fs.bsLog))
		if err != nil {
			return err
		}
		inBlock := at & int64(fs.bs-1)
		part := int(min(int64(r.n)<<fs.bsLog-inBlock, int64(pageSize-in)))
		dst := p.frame[in : in+part]
		if r.home == 0 || r.unwritten() {
			clear(dst)
		} else if err := fs.dev.ReadAt(dst, int64(r.home)<<fs.bsLog+inBlock); err != nil {
			return err
		}
		in += part
	}
	if end := n.size - base; end < pageSize {
		clear(p.frame[max(end, 0):])
	}
	return nil
}

// zeroTail makes sure that the block that the file ends in is zero behind the end, before
// the file is made longer. Other drivers leave what was mapped there.
func (n *inode) zeroTail() error {
	in := n.size & int64(n.fs.bs-1)
	if in == 0 {
		return nil
	}
	return n.zeroInBlock(n.size, int64(n.fs.bs)-in)
}

// zeroInBlock zeroes count bytes at off, which lie in one block, if the block has content.
func (n *inode) zeroInBlock(off, count int64) error {
	fs := n.fs
	block := uint32(off >> fs.bsLog)
	r, err := n.mapRun(block)
	if err != nil {
		return err
	}
	if r.home == 0 || r.unwritten() {
		return nil
	}
	in := int(off & (pageSize - 1))
	p := n.pages.get(off >> pageShift)
	switch {
	case p == nil:
		frame := fs.pages.frame(n)
		if frame == nil {
			return errNoFrame
		}
		p = &page{n: n, index: off >> pageShift, frame: frame}
		if err := n.loadBytes(p); err != nil {
			fs.pages.freeFrame(frame)
			return err
		}
		if allZero(frame[in : in+int(count)]) {
			fs.pages.freeFrame(frame)
			return nil
		}
		n.pages.set(p)
	case allZero(p.frame[in : in+int(count)]):
		return nil
	case p.writing:
		frame := fs.pages.frame(n)
		if frame == nil {
			return errNoFrame
		}
		copy(frame, p.frame)
		p.frame = frame
		p.writing = false
	default:
		fs.pages.take(p)
	}
	clear(p.frame[in : in+int(count)])
	fs.pages.mark(p, 1<<(block&uint32(pageSize>>fs.bsLog-1)))
	return nil
}

// loadBytes is load without the zeros behind the end.
func (n *inode) loadBytes(p *page) error {
	size := n.size
	n.size = (p.index + 1) << pageShift
	err := n.load(p)
	n.size = size
	return err
}

// allZero tells whether p has only zero bytes; p is no longer than zeros.
func allZero(p []byte) bool { return bytes.Equal(p, zeros[:len(p)]) }
