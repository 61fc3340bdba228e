package vfs

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"pinhole/abi"
)

// DefaultCacheLimit is how many dentries the cache keeps, if fewer are held by users.
const DefaultCacheLimit = 64 << 10

// cache is all dentries with a place, found by directory and name.
//
// Reading takes no lock: a chain is a list of immutable places linked by atomic pointers. A
// reader may miss a name that is just being moved, as all are when the table grows, or find one
// that is just going; so who misses looks again under the directory's lock and the cache's
// before the file system is asked, and who finds must get a reference (Dentry.tryRef) to be
// sure.
type cache struct {
	seed  maphash.Seed
	table atomic.Pointer[[]atomic.Pointer[place]] // length is a power of two

	// mu guards every change of the table, the lists in Dentry, and what follows. It is taken
	// last; nothing is called with it held.
	mu     sync.Mutex
	count  int
	limit  int
	newest *Dentry
	oldest *Dentry
	salt   uint64
	dirs   map[dirKey]*Dentry // directories in the table
}

type dirKey struct {
	mnt *mount
	ino uint64
}

func (c *cache) init(limit int) {
	c.seed = maphash.MakeSeed()
	c.limit = limit
	c.dirs = make(map[dirKey]*Dentry)
	t := make([]atomic.Pointer[place], 256)
	c.table.Store(&t)
}

func (c *cache) hash(dir *Dentry, name string) uint64 {
	return maphash.String(c.seed, name) ^ dir.salt
}

// find looks a name up. The dentry may be dead by the time it is returned.
func (c *cache) find(dir *Dentry, name string) *Dentry {
	h := c.hash(dir, name)
	t := *c.table.Load()
	for p := t[h&uint64(len(t)-1)].Load(); p != nil; p = p.next.Load() {
		if p.hash == h && p.parent == dir && p.name == name {
			return p.d
		}
	}
	return nil
}

// findSurely is find for who holds dir.mu and must not miss a name that is cached: with c.mu
// held, nothing is on its way from one chain to another.
func (c *cache) findSurely(dir *Dentry, name string) *Dentry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(dir, name)
}

// create makes a dentry for node (nil: negative) with one reference, and, unless transient,
// enters it into the table in place of whatever has the name. It takes over the reference to
// node, also if it fails. name is cloned. The caller holds dir.mu. EUCLEAN: the node is a
// directory that has another name already; a damaged file system could so make loops.
func (c *cache) create(dir *Dentry, name string, node Node, transient bool) (*Dentry, abi.Errno) {
	d := &Dentry{node: node, mnt: dir.mnt}
	if node != nil {
		d.typ = node.Mode() & abi.S_IFMT
	}
	d.refs.Store(1)
	if transient {
		d.flags.Store(dentryUnhashed)
	}
	d.at.Store(&d.first)
	p := &d.first
	p.d, p.parent, p.name, p.hash = d, dir, strings.Clone(name), c.hash(dir, name)
	dir.Ref()

	var victims [8]*Dentry
	n := 0
	c.mu.Lock()
	if !transient && d.typ == abi.S_IFDIR {
		key := dirKey{d.mnt, node.Ino()}
		if c.dirs[key] != nil {
			c.mu.Unlock()
			dir.Unref()
			node.Unref()
			return nil, abi.EUCLEAN
		}
		c.dirs[key] = d
	}
	c.salt++
	d.salt = c.salt * 0x9e3779b97f4a7c15
	c.adopt(d, dir)
	if !transient {
		c.enter(p)
		d.newer, d.older = nil, c.newest
		if c.newest != nil {
			c.newest.newer = d
		} else {
			c.oldest = d
		}
		c.newest = d
		c.count++
		n = c.evict(victims[:])
	}
	c.mu.Unlock()
	c.release(victims[:n])
	return d, 0
}

// enter puts p into the table. c.mu is held.
func (c *cache) enter(p *place) {
	t := *c.table.Load()
	if c.count > 2*len(t) {
		t = c.grow(t)
	}
	b := &t[p.hash&uint64(len(t)-1)]
	p.next.Store(b.Load())
	b.Store(p)
}

// grow makes the table larger. Readers of the old one may miss names meanwhile, as they always may.
func (c *cache) grow(old []atomic.Pointer[place]) []atomic.Pointer[place] {
	t := make([]atomic.Pointer[place], 4*len(old))
	for i := range old {
		for p := old[i].Load(); p != nil; {
			next := p.next.Load()
			b := &t[p.hash&uint64(len(t)-1)]
			p.next.Store(b.Load())
			b.Store(p)
			p = next
		}
	}
	c.table.Store(&t)
	return t
}

// leave takes p out of the table. p keeps its link: a reader may stand on it. c.mu is held.
func (c *cache) leave(p *place) {
	t := *c.table.Load()
	for at := &t[p.hash&uint64(len(t)-1)]; ; {
		q := at.Load()
		if q == nil {
			return
		}
		if q == p {
			at.Store(p.next.Load())
			return
		}
		at = &q.next
	}
}

// adopt enters d into its parent's list of children, orphan takes it out. adopt needs c.mu.
func (c *cache) adopt(d, parent *Dentry) {
	d.prev, d.next = nil, parent.child
	if parent.child != nil {
		parent.child.prev = d
	}
	parent.child = d
}

func (c *cache) orphan(d, parent *Dentry) {
	c.mu.Lock()
	c.orphanLocked(d, parent)
	c.mu.Unlock()
}

func (c *cache) orphanLocked(d, parent *Dentry) {
	if d.prev != nil {
		d.prev.next = d.next
	} else if parent.child == d {
		parent.child = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	}
	d.prev, d.next = nil, nil
}

// remove takes a dentry, which the caller holds, out of the table; it dies when it is no longer
// held. gone: because its name does not exist any more.
func (c *cache) remove(d *Dentry, gone bool) {
	c.mu.Lock()
	c.removeLocked(d)
	c.mu.Unlock()
	if gone {
		d.flags.Or(dentryRemoved)
	}
}

func (c *cache) removeLocked(d *Dentry) {
	if d.has(dentryUnhashed) {
		return
	}
	d.flags.Or(dentryUnhashed)
	c.leave(d.at.Load())
	if d.newer != nil {
		d.newer.older = d.older
	} else {
		c.newest = d.older
	}
	if d.older != nil {
		d.older.newer = d.newer
	} else {
		c.oldest = d.newer
	}
	d.newer, d.older = nil, nil
	c.count--
	if d.typ == abi.S_IFDIR {
		delete(c.dirs, dirKey{d.mnt, d.node.Ino()})
	}
}

// move gives d, held by the caller, another name. Both directories' locks are held, and what
// had the new name has been removed.
func (c *cache) move(d, dir *Dentry, name string) {
	p := &place{d: d, parent: dir, name: strings.Clone(name), hash: c.hash(dir, name)}
	dir.Ref()
	c.mu.Lock()
	old := d.at.Load()
	if !d.has(dentryUnhashed) {
		c.leave(old)
		c.enter(p)
	}
	d.at.Store(p)
	c.orphanLocked(d, old.parent)
	c.adopt(d, dir)
	c.mu.Unlock()
	old.parent.Unref()
}

// forget drops the children of a directory that has just been removed: they are negative, or the
// file system is damaged.
func (c *cache) forget(dir *Dentry) {
	for {
		var victims [16]*Dentry
		n := 0
		c.mu.Lock()
		for d := dir.child; d != nil && n < len(victims); d = d.next {
			if d.has(dentryUnhashed) {
				continue
			}
			d.refs.Add(1) // it is alive: it is in the table, and c.mu is held
			d.flags.Or(dentryRemoved)
			c.removeLocked(d)
			victims[n] = d
			n++
		}
		c.mu.Unlock()
		for _, d := range victims[:n] {
			d.Unref()
		}
		if n < len(victims) {
			return
		}
	}
}

// evict picks dentries that nobody holds, if the cache is over its limit: those that were not
// found again since they were last passed by go. c.mu is held; the victims are out of the table
// and dead, and for release.
func (c *cache) evict(victims []*Dentry) int {
	n := 0
	for tries := 0; c.count > c.limit && tries < 32 && n < len(victims); tries++ {
		d := c.oldest
		if d == nil {
			break
		}
		if d.has(dentryUsed|dentryPinned) || !d.refs.CompareAndSwap(0, dead) {
			d.flags.And(^uint32(dentryUsed))
			c.refresh(d)
			continue
		}
		c.removeLocked(d)
		c.orphanLocked(d, d.at.Load().parent)
		victims[n] = d
		n++
	}
	return n
}

// refresh makes the oldest dentry the newest.
func (c *cache) refresh(d *Dentry) {
	if d == c.newest {
		return
	}
	c.oldest = d.newer
	c.oldest.older = nil
	d.newer, d.older = nil, c.newest
	c.newest.newer = d
	c.newest = d
}

// release lets go what dead dentries held.
func (c *cache) release(victims []*Dentry) {
	for _, d := range victims {
		if d.node != nil {
			d.node.Unref()
		}
		d.at.Load().parent.Unref()
	}
}

// shrink evicts until at most limit dentries are left, or all that are left are held.
func (c *cache) shrink(limit int) {
	for {
		var victims [64]*Dentry
		n := 0
		c.mu.Lock()
		var next *Dentry
		for d := c.oldest; d != nil && n < len(victims) && c.count > limit; d = next {
			next = d.newer
			if d.has(dentryPinned) || !d.refs.CompareAndSwap(0, dead) {
				continue
			}
			c.removeLocked(d)
			c.orphanLocked(d, d.at.Load().parent)
			victims[n] = d
			n++
		}
		c.mu.Unlock()
		c.release(victims[:n])
		if n == 0 {
			return
		}
	}
}
