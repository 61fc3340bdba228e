package ext4

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// pageCache counts the pages of all files. Chunks that have had clean pages are in a ring in order
// of age: who needs a frame takes those of the oldest one that was not used lately.
type pageCache struct {
	fs      *FS
	limit   int // frames in all
	keep    int // frames of clean pages that trim leaves
	frames  atomic.Int32
	ndirty  atomic.Int32
	npinned atomic.Int32

	nwriting atomic.Int32 // pages, or copies of them, that the device has

	mu      sync.Mutex
	ring    pageChunk // oldest next; the one of pinned pages, too
	waiting []*inode  // with dirty pages, in order
}

func (c *pageCache) init(fs *FS) {
	c.fs = fs
	c.limit = fs.frames.limit
	c.keep = c.limit
	c.ring.prev, c.ring.next = &c.ring, &c.ring
	c.ring.pinPrev, c.ring.pinNext = &c.ring, &c.ring
}

// take takes up to want frames that lie in a row, from clean pages if there are no others. It
// returns 0 if all are dirty. self is an inode whose lock the caller holds exclusively, or nil;
// the clean pages of its chunk spare are left alone.
func (c *pageCache) take(want int, self *inode, spare *pageChunk) (first uint32, n int) {
	for {
		if free := c.limit - int(c.frames.Load()); free > 0 {
			if first, n = c.fs.frames.arena.AllocRun(min(want, free)); n > 0 {
				c.frames.Add(int32(n))
				return first, n
			}
		}
		if !c.steal(self, spare) && !c.reclaim(self, spare, max(want, c.limit/16)) {
			return 0, 0
		}
	}
}

// takeFor takes a frame for page i of a chunk that mappings will show, so that pages that lie together
// in the file do so in memory, if it can: the host maps them as one then. Otherwise it is take.
func (c *pageCache) takeFor(ch *pageChunk, i int, self *inode) (frame uint32, n int) {
	if int(c.frames.Load()) < c.limit {
		arena := c.fs.frames.arena
		ok := false
		if ch.present == 0 {
			frame, ok = arena.AllocApart(i)
		} else {
			// Next to the nearest page below, or else above.
			j := bits.TrailingZeros64(ch.present)
			if below := ch.present & (1<<i - 1); below != 0 {
				j = lastBit(below)
			}
			if at := int64(ch.slots[j].frame) + int64(i-j); at >= 0 && at < int64(arena.Frames()) {
				frame, ok = uint32(at), arena.AllocAt(uint32(at))
			}
		}
		if ok {
			c.frames.Add(1)
			return frame, 1
		}
	}
	return c.take(1, self, ch)
}

// give gives frames back.
func (c *pageCache) give(first uint32, n int) {
	c.frames.Add(int32(-n))
	c.fs.frames.arena.FreeRun(first, n)
}

// giveMask gives the frames of the pages in mask back, and forgets the pages.
func (c *pageCache) giveMask(ch *pageChunk, mask uint64) {
	ch.present &^= mask
	ch.n.pages.count.Add(-int32(bits.OnesCount64(mask)))
	for mask != 0 {
		i := bits.TrailingZeros64(mask)
		_, k := ch.together(i, mask)
		c.give(ch.slots[i].frame, k)
		mask &^= span(i, i+k-1)
	}
	if ch.present == 0 {
		ch.n.pages.remove(ch)
	}
}

// steal frees the clean pages of a chunk that was not used lately.
func (c *pageCache) steal(self *inode, spare *pageChunk) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for tries := 0; tries < 256 && c.ring.next != &c.ring; tries++ {
		ch := c.ring.next
		c.unlink(ch)
		if ch == spare || tries < 64 && ch.used.Swap(false) {
			c.push(ch)
			continue
		}
		if ch.n != self && !ch.n.mu.TryLock() {
			c.push(ch)
			continue
		}
		mask := ch.clean()
		if mask != 0 {
			c.giveMask(ch, mask)
		}
		if ch.n != self {
			ch.n.mu.Unlock()
		}
		if mask != 0 {
			return true
		}
		// It comes back when its pages have been written.
	}
	return false
}

func (c *pageCache) unlink(ch *pageChunk) {
	ch.prev.next, ch.next.prev = ch.next, ch.prev
	ch.prev, ch.next = nil, nil
}

func (c *pageCache) push(ch *pageChunk) {
	ch.prev, ch.next = c.ring.prev, &c.ring
	ch.prev.next, ch.next.prev = ch, ch
}

// settle puts a chunk that may have clean pages into the ring.
func (c *pageCache) settle(ch *pageChunk) {
	if ch.clean() == 0 {
		return
	}
	c.mu.Lock()
	if ch.next == nil {
		c.push(ch)
	}
	c.mu.Unlock()
}

// trim frees clean pages beyond those that are kept.
func (c *pageCache) trim() {
	for int(c.frames.Load())-int(c.ndirty.Load()) > c.keep {
		if !c.steal(nil, nil) {
			return
		}
	}
}

// mark notes that the pages in mask have become dirty; their slots say which blocks.
func (c *pageCache) mark(ch *pageChunk, mask uint64) {
	fresh := mask &^ ch.dirty
	if fresh == 0 {
		return
	}
	if ch.dirty == 0 {
		ch.born = c.fs.behind.tick.Load()
	}
	ch.dirty |= fresh
	k := int32(bits.OnesCount64(fresh))
	t := &ch.n.pages
	t.ndirty.Add(k)
	c.ndirty.Add(k)
	if !ch.listed {
		ch.listed = true
		t.todo = append(t.todo, ch)
	}
	c.wait(ch.n, true)
}

// unclean returns how many frames hold what the device has not yet taken.
func (c *pageCache) unclean() int { return int(c.ndirty.Load() + c.nwriting.Load()) }

// addWriting adds to the number of pages of n that are being written.
func (c *pageCache) addWriting(n *inode, k int) {
	c.nwriting.Add(int32(k))
	n.pages.nwriting.Add(int32(k))
}

// undirty forgets that the pages in mask are newer than the device.
func (c *pageCache) undirty(ch *pageChunk, mask uint64) {
	mask &= ch.dirty
	if mask == 0 {
		return
	}
	ch.dirty &^= mask
	k := int32(bits.OnesCount64(mask))
	ch.n.pages.ndirty.Add(-k)
	c.ndirty.Add(-k)
	for ; mask != 0; mask &= mask - 1 {
		ch.slots[bits.TrailingZeros64(mask)].dirty = 0
	}
}

// discard drops pages, whatever they hold. Nobody is writing them. The inode's lock is held
// exclusively.
func (c *pageCache) discard(ch *pageChunk, mask uint64) {
	c.undirty(ch, mask)
	ch.n.undelay(ch, mask)
	c.unpin(ch, mask)
	c.giveMask(ch, mask)
	if ch.present != 0 {
		return
	}
	c.mu.Lock()
	if ch.next != nil {
		c.unlink(ch)
	}
	c.mu.Unlock()
}

// dropClean gives up all pages of an inode that leaves memory, whatever they hold. Nobody uses it
// but who looks for clean pages.
func (c *pageCache) dropClean(n *inode) {
	if n.pages.count.Load() == 0 {
		return
	}
	n.mu.Lock()
	n.pages.from(0, c.discard)
	n.pages.todo = nil
	n.mu.Unlock()
}

// wait puts an inode on the list of those with dirty pages, if dirty says that it has some.
func (c *pageCache) wait(n *inode, dirty bool) {
	if !dirty || n.pages.queued.Load() {
		return
	}
	c.mu.Lock()
	if !n.pages.queued.Swap(true) {
		c.waiting = append(c.waiting, n)
	}
	c.mu.Unlock()
	c.fs.behind.wrote()
}

// takeWaiting takes the list of inodes with dirty pages.
func (c *pageCache) takeWaiting() []*inode {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.waiting
	c.waiting = nil
	for _, n := range list {
		n.pages.queued.Store(false)
	}
	return list
}

// dropAll gives every frame back.
func (c *pageCache) dropAll(inodes *inodeCache) {
	for i := range inodes.shards {
		s := &inodes.shards[i]
		s.mu.Lock()
		var all []*inode
		for _, n := range s.m {
			all = append(all, n)
		}
		s.mu.Unlock()
		for _, n := range all {
			c.dropClean(n)
		}
	}
}
