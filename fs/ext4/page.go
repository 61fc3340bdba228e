package ext4

import (
	"math/bits"
	"sync/atomic"
	"time"

	"pinhole/blockdev"
)

const (
	pageSize  = blockdev.PageSize
	pageShift = 12

	chunkShift = 6 // pages of a chunk
	chunkPages = 1 << chunkShift
	chunkBytes = chunkPages << pageShift
)

// pageSlot is a page of 4 KiB of a file's content in memory.
type pageSlot struct {
	frame   uint32 // its number in the arena
	dirty   uint8  // blocks that are newer than the device, lowest first
	delayed uint8  // blocks that have no place on the device, but a reservation: see reserve.go
	claimed uint8  // blocks whose place is not in the extent tree yet: see claim.go
}

// pageChunk has 64 pages of a file that lie together, 256 KiB. A bit of its masks stands for a
// page, the lowest for the first. Everything but what is said otherwise is guarded by the
// inode's lock.
type pageChunk struct {
	n     *inode
	index int64 // of its first page, divided by chunkPages

	present uint64 // has a frame
	dirty   uint64 // some of its blocks are newer than the device
	writing uint64 // its frame is being written: it must not change, unless it is pinned, nor be freed
	pinned  uint64 // mappings show the frame: it stays what it is
	stored  uint64 // of these, those that mappings may store to: see mapframes.go
	known   uint64 // of these, those whose sum is that of what was last read or written

	slots  []pageSlot // as many as were needed so far
	sums   []uint64   // of all pages, once one is mapped to be stored to
	listed bool       // in the inode's list of chunks with dirty pages
	born   uint32     // when the oldest dirty page became so, by contentWriter.tick

	used atomic.Bool // lately

	// Guarded by the cache's lock.
	prev, next       *pageChunk // in the ring of chunks with clean pages
	pinPrev, pinNext *pageChunk // in the ring of chunks with pinned pages
}

// clean returns the pages whose frames can be taken.
func (c *pageChunk) clean() uint64 { return c.present &^ (c.dirty | c.writing | c.pinned) }

// room makes sure that there are slots for the pages up to the i-th.
func (c *pageChunk) room(i int) {
	if i < len(c.slots) {
		return
	}
	k := max(len(c.slots), 1)
	for k <= i {
		k *= 4
	}
	slots := make([]pageSlot, min(k, chunkPages))
	copy(slots, c.slots)
	c.slots = slots
}

// base returns the offset of the chunk in the file, in bytes.
func (c *pageChunk) base() int64 { return c.index << (chunkShift + pageShift) }

// lastBit returns the number of the highest bit that is set.
func lastBit(mask uint64) int { return 63 - bits.LeadingZeros64(mask) }

// span returns the mask of pages lo to hi of a chunk, both included.
func span(lo, hi int) uint64 { return ^uint64(0) >> (63 - hi + lo) << lo }

// frame returns the bytes of page i, which is present.
func (c *pageChunk) frame(i int) []byte { return c.n.fs.frames.arena.Run(c.slots[i].frame, 1) }

// together returns the bytes of the pages from i on that are among mask and whose frames lie in
// a row, and their number. Page i is.
func (c *pageChunk) together(i int, mask uint64) ([]byte, int) {
	first := c.slots[i].frame
	k := bits.TrailingZeros64(^(mask >> i))
	n := 1
	for n < k && c.slots[i+n].frame == first+uint32(n) {
		n++
	}
	return c.n.fs.frames.arena.Run(first, n), n
}

// denseChunks is up to which index chunks are kept in a slice: those of the first GiB.
const denseChunks = 4096

// pageTable has a file's pages. What is not atomic is guarded by the inode's lock.
type pageTable struct {
	dense  []*pageChunk
	sparse map[int64]*pageChunk // from denseChunks on
	chunks int
	todo   []*pageChunk // with dirty pages, in order of becoming dirty

	npinned, nstored int          // pages that are
	nextNotice       time.Time    // when to look for stores without being asked
	count            atomic.Int32 // pages
	ndirty           atomic.Int32 // of these, dirty ones
	nwriting         atomic.Int32 // pages, or copies of them, that the device has or is about to get
	queued           atomic.Bool  // in the cache's list of dirty inodes; changed under its lock
}

// dirty tells whether content waits to be written. It takes no lock.
func (t *pageTable) dirty() bool { return t.ndirty.Load() != 0 }

// unplaced tells whether content waits to be written, or is being written: until that is done, the device
// lacks it, and the extent tree may have a hole in its place. It takes no lock. The order is that in which
// gather moves pages from one count to the other.
func (t *pageTable) unplaced() bool { return t.dirty() || t.nwriting.Load() != 0 }

// chunk returns the chunk at index, or nil.
func (t *pageTable) chunk(index int64) *pageChunk {
	if index < int64(len(t.dense)) {
		return t.dense[index]
	}
	if index < denseChunks || t.sparse == nil {
		return nil
	}
	return t.sparse[index]
}

// make returns the chunk at index, making one if need be.
func (t *pageTable) make(n *inode, index int64) *pageChunk {
	c := t.chunk(index)
	if c != nil {
		return c
	}
	c = &pageChunk{n: n, index: index}
	if index >= denseChunks {
		if t.sparse == nil {
			t.sparse = make(map[int64]*pageChunk)
		}
		t.sparse[index] = c
	} else {
		if index >= int64(len(t.dense)) {
			dense := make([]*pageChunk, max(index+1, min(2*int64(len(t.dense)), denseChunks)))
			copy(dense, t.dense)
			t.dense = dense
		}
		t.dense[index] = c
	}
	t.chunks++
	return c
}

// remove takes a chunk out that has no pages.
func (t *pageTable) remove(c *pageChunk) {
	if t.chunk(c.index) != c {
		return
	}
	if c.index >= denseChunks {
		delete(t.sparse, c.index)
	} else {
		t.dense[c.index] = nil
	}
	if t.chunks--; t.chunks == 0 {
		t.dense, t.sparse = nil, nil
	}
}

// page returns the chunk with page index and its place there, or nil if the page is not in memory.
func (t *pageTable) page(index int64) (*pageChunk, int) {
	c := t.chunk(index >> chunkShift)
	i := int(index & (chunkPages - 1))
	if c == nil || c.present>>i&1 == 0 {
		return nil, 0
	}
	return c, i
}

// from calls f for the chunks with pages at index and behind, in no certain order, with a mask of
// those that are in memory. f may take them out.
func (t *pageTable) from(index int64, f func(c *pageChunk, mask uint64)) {
	first := index >> chunkShift
	visit := func(c *pageChunk) {
		if c == nil || c.index < first {
			return
		}
		mask := c.present
		if c.index == first {
			mask &= span(int(index&(chunkPages-1)), chunkPages-1)
		}
		if mask != 0 {
			f(c, mask)
		}
	}
	for i := first; i < int64(len(t.dense)); i++ {
		visit(t.dense[i])
	}
	for _, c := range t.sparse {
		visit(c)
	}
}

// absent returns how many bytes there are from at to the next page that is in memory, at most
// want. The page of at is not.
func (t *pageTable) absent(at int64, want int) int {
	end := at + int64(want)
	for pos := at; pos < end; {
		index := pos >> pageShift
		c := t.chunk(index >> chunkShift)
		if c != nil {
			if m := c.present >> (index & (chunkPages - 1)); m != 0 {
				return int(min((index+int64(bits.TrailingZeros64(m)))<<pageShift, end) - at)
			}
		}
		pos = (index>>chunkShift + 1) << (chunkShift + pageShift)
	}
	return want
}
