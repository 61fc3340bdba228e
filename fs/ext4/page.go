package ext4

import (
	"sync"
	"sync/atomic"

	"pinhole/blockdev"
)

const (
	pageSize     = blockdev.PageSize
	pageShift    = 12
	pagesOfChunk = 64
)

// page is 4 KiB of a file's content in memory that is, or lately was, newer than the
// device. Content that was only read is not kept: the device's own mapping shows it.
type page struct {
	n       *inode
	index   int64
	frame   []byte
	dirty   uint8 // blocks to be written, lowest first
	writing bool  // frame is being written: replace it before changing it
	listed  bool  // in the inode's dirty list
	used    atomic.Bool

	prev, next *page // in the cache's ring of clean pages
}

// pageTable has a file's pages. It is guarded by the inode's lock.
type pageTable struct {
	first  *pageChunk           // the first 256 KiB
	more   map[int64]*pageChunk // the rest, by index / pagesOfChunk
	list   []*page              // dirty pages, in order of becoming dirty
	wbErr  error                // of writing back, to be told by the next Sync
	count  atomic.Int32
	ndirty atomic.Int32
	queued atomic.Bool // in the cache's list of dirty inodes; set and cleared under its mu
}

type pageChunk [pagesOfChunk]*page

// dirty tells whether content waits to be written. It takes no lock.
func (t *pageTable) dirty() bool { return t.ndirty.Load() != 0 }

// get returns the page at index, or nil.
func (t *pageTable) get(index int64) *page {
	c := t.first
	if index >= pagesOfChunk {
		c = t.more[index/pagesOfChunk]
	}
	if c == nil {
		return nil
	}
	return c[index%pagesOfChunk]
}

// set enters p at its index.
func (t *pageTable) set(p *page) {
	i := p.index / pagesOfChunk
	var c *pageChunk
	if i == 0 {
		if t.first == nil {
			t.first = new(pageChunk)
		}
		c = t.first
	} else if c = t.more[i]; c == nil {
		if t.more == nil {
			t.more = make(map[int64]*pageChunk)
		}
		c = new(pageChunk)
		t.more[i] = c
	}
	c[p.index%pagesOfChunk] = p
	t.count.Add(1)
}

// clear takes p out.
func (t *pageTable) clear(p *page) {
	i := p.index / pagesOfChunk
	if i == 0 {
		t.first[p.index] = nil
	} else {
		c := t.more[i]
		c[p.index%pagesOfChunk] = nil
		if *c == (pageChunk{}) {
			delete(t.more, i)
		}
	}
	if t.count.Add(-1) == 0 {
		t.first, t.more = nil, nil
	}
}

// from calls f for the pages at index and behind, in no certain order. f may take the
// page out.
func (t *pageTable) from(index int64, f func(*page)) {
	visit := func(c *pageChunk) {
		for _, p := range c {
			if p != nil && p.index >= index {
				f(p)
			}
		}
	}
	if t.first != nil {
		visit(t.first)
	}
	for i, c := range t.more {
		if (i+1)*pagesOfChunk > index {
			visit(c)
		}
	}
}

// pageCache counts the pages of all files, and keeps the clean ones in order of age.
type pageCache struct {
	fs      *FS
	limit   int // frames in all
	keep    int // clean pages kept
	frames  atomic.Int32
	ndirty  atomic.Int32
	mu      sync.Mutex
	clean   page // ring, oldest next
	nclean  int
	waiting []*inode // with dirty pages, in order
}

func (c *pageCache) init(fs *FS) {
	c.fs = fs
	c.limit = fs.frames.limit
	c.keep = c.limit / 4
	c.clean.prev, c.clean.next = &c.clean, &c.clean
}

func (c *pageCache) unlink(p *page) {
	p.prev.next, p.next.prev = p.next, p.prev
	p.prev, p.next = nil, nil
	c.nclean--
}

func (c *pageCache) push(p *page) {
	p.prev, p.next = c.clean.prev, &c.clean
	p.prev.next, p.next.prev = p, p
	c.nclean++
}

// frame returns a free frame, taking one from a clean page if there is no other; nil if
// all are dirty. self is an inode whose lock the caller holds exclusively, or nil.
func (c *pageCache) frame(self *inode) []byte {
	if int(c.frames.Load()) < c.limit {
		if f := c.fs.frames.arena.Alloc(); f != nil {
			c.frames.Add(1)
			return f
		}
	}
	return c.steal(self)
}

// freeFrame gives a frame back.
func (c *pageCache) freeFrame(f []byte) {
	c.frames.Add(-1)
	c.fs.frames.arena.Free(f)
}

// steal takes the frame of a clean page that was not used lately.
func (c *pageCache) steal(self *inode) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for tries := 0; tries < 64 && c.nclean > 0; tries++ {
		p := c.clean.next
		c.unlink(p)
		if p.used.Swap(false) && tries < 32 {
			c.push(p)
			continue
		}
		if p.n == self {
			p.n.pages.clear(p)
			return p.frame
		}
		if p.n.mu.TryLock() {
			p.n.pages.clear(p)
			p.n.mu.Unlock()
			return p.frame
		}
		c.push(p)
	}
	return nil
}

// take removes a page from the ring, so that it stays while its inode's lock is held.
func (c *pageCache) take(p *page) {
	if p.dirty != 0 || p.writing {
		return // is not there
	}
	c.mu.Lock()
	if p.next != nil {
		c.unlink(p)
	}
	c.mu.Unlock()
}

// settle puts a page that is clean and not being written into the ring.
func (c *pageCache) settle(p *page) {
	if p.dirty != 0 || p.writing {
		return
	}
	c.mu.Lock()
	if p.next == nil {
		c.push(p)
	}
	c.mu.Unlock()
}

// trim frees clean pages beyond those that are kept.
func (c *pageCache) trim() {
	for {
		c.mu.Lock()
		over := c.nclean > c.keep
		c.mu.Unlock()
		if !over {
			return
		}
		f := c.steal(nil)
		if f == nil {
			return
		}
		c.freeFrame(f)
	}
}

// discard drops a page, whatever it holds. The inode's lock is held exclusively.
func (c *pageCache) discard(p *page) {
	c.take(p)
	c.undirty(p)
	p.n.pages.clear(p)
	if p.writing {
		// Its frame belongs to who writes it now.
		p.frame = nil
		return
	}
	c.freeFrame(p.frame)
	p.frame = nil
}

// dropClean frees the pages of an inode that is dropped from memory; none is dirty.
func (c *pageCache) dropClean(n *inode) {
	n.pages.from(0, c.discard)
}

// mark notes that blocks of p are newer than the device.
func (c *pageCache) mark(p *page, blocks uint8) {
	if p.dirty == 0 {
		p.n.pages.ndirty.Add(1)
		c.ndirty.Add(1)
		if !p.listed {
			p.listed = true
			p.n.pages.list = append(p.n.pages.list, p)
		}
		c.wait(p.n, true)
	}
	p.dirty |= blocks
}

// undirty forgets that p is newer than the device.
func (c *pageCache) undirty(p *page) {
	if p.dirty != 0 {
		p.dirty = 0
		p.n.pages.ndirty.Add(-1)
		c.ndirty.Add(-1)
	}
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
			n.mu.Lock()
			n.pages.from(0, c.discard)
			n.mu.Unlock()
		}
	}
}
