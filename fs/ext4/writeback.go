package ext4

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"math/bits"
	"slices"

	"pinhole/abi"
	"pinhole/blockdev"
)

// Writing back has three steps. Content is gathered, under the inode's lock: each dirty block is
// mapped, or gets a claim (claim.go), and its page is marked as being written. It is given to the
// device without a lock. And it is placed (place.go), under the inode's lock again: a transaction
// enters the claimed blocks in the extent tree and moves the file's size on disk up to where
// content is. No transaction ever leads to blocks whose content the device has not taken.

// batchPages is about how many pages are given to the device at a time.
const batchPages = 1024

// maxTogether is how many files may be in one batch.
const maxTogether = 64

// pass is the writing back of what is dirty in a file when it begins. n.wbMu is held.
type pass struct {
	n    *inode
	todo []*pageChunk // not yet gathered, in order
	err  error        // the first; nothing is placed after that
	held bool         // a reference goes back at the end

	urgency urgency
	stores  bool // mappings may store to the file at any time
	young   bool // what was left for the next round is still dirty

	// What was claimed last lies before this block of the file, and there on the device.
	next uint32
	goal uint64
}

// part is a part of a file on its way to the device.
type part struct {
	*pass
	pieces []piece
	frames []uint32 // of all pages, in order
	blocks []uint8  // likewise: those that are written
	runs   []placement
	vecs   []blockdev.Vec
	size   int64 // of the file when it was gathered
	plain  bool  // nothing but content is to be written
	last   bool  // of the pass
}

// piece is pages of a chunk.
type piece struct {
	c    *pageChunk
	mask uint64
	at   int // of its first page in the part's frames
}

// placement is what the extent tree is to be told of.
type placement struct {
	run
	claimed bool // a hole until now; else unwritten
}

// begin takes what is to be done.
func (p *pass) begin() {
	n := p.n
	n.mu.Lock()
	n.noticeAll(p.urgency == now)
	p.stores = n.pages.nstored > 0
	todo := n.pages.todo
	n.pages.todo = nil
	tick := n.fs.behind.tick.Load()
	for _, c := range todo {
		if c.dirty != 0 && p.urgency == old && c.born == tick {
			n.pages.todo = append(n.pages.todo, c)
			p.young = true
			continue
		}
		c.listed = false
		p.todo = append(p.todo, c)
	}
	n.mu.Unlock()
	byIndex := func(a, b *pageChunk) int { return cmp.Compare(a.index, b.index) }
	if !slices.IsSortedFunc(p.todo, byIndex) {
		slices.SortFunc(p.todo, byIndex)
	}
}

// gather takes the next pages of the pass, and says where they go.
func (p *pass) gather() (*part, error) {
	n := p.n
	n.mu.Lock()
	defer n.mu.Unlock()
	b := &part{pass: p, size: n.size}
	pages := 0
	for len(p.todo) > 0 && pages < batchPages {
		c := p.todo[0]
		p.todo = p.todo[1:]
		if mask := c.dirty; mask != 0 {
			b.pieces = append(b.pieces, piece{c, mask, pages})
			pages += bits.OnesCount64(mask)
		}
	}
	b.last = len(p.todo) == 0
	b.frames = make([]uint32, 0, pages)
	b.blocks = make([]uint8, 0, pages)
	for _, x := range b.pieces {
		for m := x.mask; m != 0; m &= m - 1 {
			i := bits.TrailingZeros64(m)
			frame := x.c.slots[i].frame
			if x.c.stored>>i&1 != 0 {
				frame = b.copyStored(x.c, i)
			}
			b.frames = append(b.frames, frame)
			b.blocks = append(b.blocks, x.c.slots[i].dirty)
		}
	}
	err := b.mapRuns()
	if err != nil {
		b.unclaim(b.runs)
	}
	b.plain = len(b.runs) == 0 && !n.wroteDue && n.size == int64(n.d.Size)
	for _, x := range b.pieces {
		if err == nil {
			n.fs.pages.addWriting(n, bits.OnesCount64(x.mask))
			n.fs.pages.undirty(x.c, x.mask)
		} else {
			p.todo = append(p.todo, x.c)
		}
		k := x.at
		for m := x.mask; m != 0; m &= m - 1 {
			i := bits.TrailingZeros64(m)
			if x.c.slots[i].frame == b.frames[k] {
				x.c.writing |= 1 << i
			} else if err != nil {
				n.fs.pages.give(b.frames[k], 1)
			}
			k++
		}
		if err != nil {
			x.c.writing &^= x.mask
		}
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// copyStored copies a page that may be stored to at any time, so that it is known what is written. It
// returns the copy's frame, or if there is none to be had, the page's own.
func (b *part) copyStored(c *pageChunk, i int) uint32 {
	n := b.n
	c.slots[i].dirty |= c.blocksInFile(i)
	c.known &^= 1 << i
	frame, k := n.fs.pages.take(1, n, c)
	if k == 0 {
		n.clearBehind(c)
		return c.slots[i].frame // and once more the next time
	}
	p := n.fs.frames.arena.Run(frame, 1)
	copy(p, c.frame(i))
	c.sums[i] = maphash.Bytes(pageSeed, p)
	c.known |= 1 << i
	if in := n.size - (c.base() + int64(i)<<pageShift); in < pageSize {
		clear(p[max(in, 0):])
	}
	return frame
}

// mapRuns finds a place for all dirty blocks of the pieces.
func (b *part) mapRuns() error {
	log := pageShift - b.n.fs.bsLog
	at := 0 // piece that the range begins in
	var from, to int64
	for i, x := range b.pieces {
		for m := x.mask; m != 0; m &= m - 1 {
			k := bits.TrailingZeros64(m)
			first := (x.c.index<<chunkShift + int64(k)) << log
			for d := x.c.slots[k].dirty; d != 0; {
				lo := bits.TrailingZeros8(d)
				n := bits.TrailingZeros8(^(d >> lo))
				d &^= uint8((1<<n - 1) << lo)
				if first+int64(lo) != to || to == 0 {
					if err := b.mapRange(at, from, to); err != nil {
						return err
					}
					at, from = i, first+int64(lo)
				}
				to = first + int64(lo+n)
			}
		}
	}
	return b.mapRange(at, from, to)
}

// mapRange finds a place for the file's blocks [from, to), which begin in a piece and are all dirty.
func (b *part) mapRange(at int, from, to int64) error {
	n := b.n
	for from < to {
		r, err := n.mapRun(uint32(from))
		if err != nil {
			return err
		}
		r.n = uint32(min(int64(r.n), to-from))
		switch {
		case r.home == 0:
			goal := uint64(0)
			if b.next == r.block {
				goal = b.goal
			}
			if r.home, r.n, err = n.claim(r.block, r.n, goal); err != nil {
				return fmt.Errorf("content of inode %d: %w", n.ino, err)
			}
			b.next, b.goal = r.block+r.n, r.home+uint64(r.n)
			b.runs = append(b.runs, placement{r, true})
		case r.unwritten():
			b.runs = append(b.runs, placement{r, false})
		}
		at = b.addVecs(at, r)
		from += int64(r.n)
	}
	return nil
}

// addVecs adds the writing of a run that begins in a piece, and returns the one it ends in.
func (b *part) addVecs(at int, r run) int {
	bsLog := b.n.fs.bsLog
	home := int64(r.start()) << bsLog
	pos, end := int64(r.block)<<bsLog, int64(r.end())<<bsLog
	for pos < end {
		index := pos >> pageShift
		for b.pieces[at].c.index < index>>chunkShift {
			at++
		}
		data := b.together(b.pieces[at], int(index&(chunkPages-1)))[pos&(pageSize-1):]
		data = data[:min(int64(len(data)), end-pos)]
		b.vecs = append(b.vecs, blockdev.Vec{Off: home, Data: data})
		home += int64(len(data))
		pos += int64(len(data))
	}
	return at
}

// together returns the bytes of the pages of a piece from i on whose frames lie in a row.
func (b *part) together(x piece, i int) []byte {
	frames := b.frames[x.at+bits.OnesCount64(x.mask&(1<<i-1)):]
	most := bits.TrailingZeros64(^(x.mask >> i))
	k := 1
	for k < most && frames[k] == frames[0]+uint32(k) {
		k++
	}
	return b.n.fs.frames.arena.Run(frames[0], k)
}

// unclaim gives claims back that are not placed.
func (b *part) unclaim(runs []placement) {
	for _, r := range runs {
		if r.claimed {
			b.n.unclaim(r.run)
		}
	}
}

// finish places what the device has taken, or if err says that it has not, makes it dirty again.
// With the last part the pass ends.
func (b *part) finish(err error) {
	n, fs := b.n, b.n.fs
	n.mu.Lock()
	if err == nil {
		err = b.err
	}
	if err == nil {
		err = b.place()
	}
	if err != nil {
		b.unclaim(b.runs)
		b.fail(err)
	}
	k := 0
	for _, x := range b.pieces {
		again := uint64(0)
		for m := x.mask; m != 0; m &= m - 1 {
			i := bits.TrailingZeros64(m)
			s := &x.c.slots[i]
			if s.frame == b.frames[k] {
				x.c.writing &^= 1 << i
			} else {
				fs.pages.give(b.frames[k], 1) // a copy, or replaced while it was written
			}
			if err != nil {
				s.dirty |= b.blocks[k]
				again |= 1 << i
			}
			k++
		}
		fs.pages.mark(x.c, again)
		fs.pages.addWriting(n, -bits.OnesCount64(x.mask))
		fs.pages.settle(x.c)
	}
	n.settleTree()
	n.mu.Unlock()
	if b.last {
		b.end()
	}
}

// fail notes the first error of a pass. Everything that follows waits for the next one.
func (p *pass) fail(err error) {
	if p.err == nil {
		p.err = err
		if err != errTight { // which is nobody's business
			p.n.failed(err)
		}
	}
}

// end ends a pass, of which nothing is under way.
func (p *pass) end() {
	n := p.n
	if p.err == errTight {
		p.err = n.loosen()
	} else if p.err == nil {
		n.tight = 0
	}
	if len(p.todo) > 0 {
		n.mu.Lock()
		for _, c := range p.todo {
			if c.dirty != 0 && !c.listed {
				c.listed = true
				n.pages.todo = append(n.pages.todo, c)
			}
		}
		n.fs.pages.wait(n, true)
		n.mu.Unlock()
	}
	if p.stores || p.young {
		n.fs.pages.wait(n, true)
	}
	n.wbMu.Unlock()
	if p.held {
		n.Unref()
	}
}

// alone takes n.wbMu, for who wants to change what content there is, and does not wait for more than
// the batches that are on their way.
func (n *inode) alone() {
	n.wbWanted.Add(1)
	n.wbMu.Lock()
	n.wbWanted.Add(-1)
}

// writeback writes the content of n home that is dirty when it is called. It does not flush
// the device.
func (n *inode) writeback() error { return n.writeOut(false) }

// writeOut is writeback. With sync, the device is flushed, too, if nothing else has to be done
// before; the caller's flush is free then.
func (n *inode) writeOut(sync bool) error {
	return whileTight(func() error {
		n.wbMu.Lock()
		w := writeBehind{fs: n.fs, sync: sync}
		w.file(&pass{n: n, urgency: now})
		return w.close()
	})
}

// writeBlocks writes what is dirty of the file's blocks [from, to), which lie in one page and have a
// place on the device. The caller holds n.wbMu and n.mu.
func (n *inode) writeBlocks(from, to int64) error {
	fs := n.fs
	if from >= to {
		return nil
	}
	c, i := n.pages.page(from << fs.bsLog >> pageShift)
	if c == nil {
		return nil
	}
	s := &c.slots[i]
	var vecs []blockdev.Vec
	var done uint8
	for ; from < to; from++ {
		mask := c.blockMask(i, from, from+1)
		r, err := n.mapRun(uint32(from))
		if err != nil {
			return err
		}
		if s.dirty&mask == 0 || r.home == 0 || r.unwritten() {
			continue
		}
		in := bits.TrailingZeros8(mask) << fs.bsLog
		vecs = append(vecs, blockdev.Vec{Off: int64(r.home) << fs.bsLog, Data: c.frame(i)[in : in+fs.bs]})
		done |= mask
	}
	if len(vecs) == 0 {
		return nil
	}
	if err := fs.writeVecs(vecs); err != nil {
		err = fmt.Errorf("content of inode %d: %w", n.ino, err)
		n.failed(err)
		return err
	}
	c.known &^= 1 << i // if it is stored to, that may have missed this
	if s.dirty &^= done; s.dirty == 0 {
		fs.pages.undirty(c, 1<<i)
		fs.pages.settle(c)
	}
	return nil
}

// syncContent is fsync, or fdatasync if dataOnly is set.
func (n *inode) syncContent(dataOnly bool) error {
	fs := n.fs
	if fs.opts.ReadOnly {
		return nil
	}
	if err := n.writeOut(n.lastChange(dataOnly) <= fs.committed.Load()); err != nil {
		if fs.flushFailed() {
			fs.abort(err)
		}
		return err
	}
	var err error
	if need := n.lastChange(dataOnly); need != 0 {
		err = fs.commit(need)
	}
	if err == nil {
		err = fs.flush()
	}
	if err != nil {
		n.failed(err)
	}
	return err
}

// lastChange returns the last transaction that fsync must see committed, or fdatasync.
func (n *inode) lastChange(dataOnly bool) uint64 {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if dataOnly {
		return n.sizeTx
	}
	return n.attrTx
}

// Sync implements vfs.Node.
func (n *inode) Sync(dataOnly bool) abi.Errno { return errno(n.syncContent(dataOnly)) }
