package ext4

import (
	"fmt"
	"sync"
	"sync/atomic"

	"pinhole/blockdev"
)

// role says what a metadata block is used as, and by whom: the kind in the high half, its
// owner (inode or group) in the low. A block's content has been checked for the role that
// its buffer carries.
type role uint64

type roleKind uint32

const (
	roleNone roleKind = iota
	roleBlockBitmap
	roleInodeBitmap
	roleInodeTable
	roleGroupTable
	roleSuper
	roleExtent   // node of an extent tree
	roleIndirect // block of block numbers
	roleDir      // directory leaf
	roleHtreeRoot
	roleHtreeNode
	roleXattr
	roleSymlink
	roleOrphanFile
)

func makeRole(k roleKind, owner uint32) role { return role(k)<<32 | role(owner) }
func (r role) kind() roleKind                { return roleKind(r >> 32) }
func (r role) owner() uint32                 { return uint32(r) }

// buffer is a metadata block in memory. data stays in place as long as the buffer lives.
// Content is read under the lock of what owns the block (inode, group), and changed under
// that and an open handle that has asked for access.
type buffer struct {
	nr   uint64
	data []byte
	role atomic.Uint64 // a role
	tx   atomic.Pointer[transaction]
	gen  uint32 // seed of the owner's checksums, with the role

	order atomic.Pointer[leafOrder] // of a directory leaf; nil until it is read

	fresh bool // nothing on the device leads to the block yet; written first

	mu     sync.Mutex // held while loading or checking
	loaded atomic.Bool

	// guarded by the shard's mu
	refs       int
	gone       bool // forgotten: not in the map any more
	prev, next *buffer
}

const bufferShards = 16

// bufferCache holds metadata blocks by number. Buffers without references stay until
// there are too many; a transaction keeps references to what it has changed.
type bufferCache struct {
	fs     *FS
	limit  int // unused buffers kept per shard
	shards [bufferShards]bufferShard
}

type bufferShard struct {
	mu     sync.Mutex
	m      map[uint64]*buffer
	lru    buffer // ring of unused buffers, oldest next
	unused int
}

func (c *bufferCache) init(fs *FS) {
	c.fs = fs
	c.limit = max(fs.frames.limit/4*blockdev.PageSize/fs.bs/bufferShards, 16)
	for i := range c.shards {
		s := &c.shards[i]
		s.m = make(map[uint64]*buffer)
		s.lru.prev, s.lru.next = &s.lru, &s.lru
		s.unused = 0
	}
}

func (c *bufferCache) shard(nr uint64) *bufferShard { return &c.shards[nr%bufferShards] }

func (s *bufferShard) unlink(b *buffer) {
	b.prev.next, b.next.prev = b.next, b.prev
	b.prev, b.next = nil, nil
	s.unused--
}

func (s *bufferShard) push(b *buffer) {
	b.prev, b.next = s.lru.prev, &s.lru
	b.prev.next, b.next.prev = b, b
	s.unused++
}

// get returns the buffer of block nr with a reference, loaded or not.
func (c *bufferCache) get(nr uint64) *buffer {
	s := c.shard(nr)
	s.mu.Lock()
	b := s.m[nr]
	if b == nil {
		b = &buffer{nr: nr, data: make([]byte, c.fs.bs)}
		s.m[nr] = b
	} else if b.refs == 0 {
		s.unlink(b)
	}
	b.refs++
	s.mu.Unlock()
	return b
}

// ref takes another reference.
func (c *bufferCache) ref(b *buffer) {
	s := c.shard(b.nr)
	s.mu.Lock()
	b.refs++
	s.mu.Unlock()
}

// put gives a reference back. nil is allowed.
func (c *bufferCache) put(b *buffer) {
	if b == nil {
		return
	}
	s := c.shard(b.nr)
	s.mu.Lock()
	b.refs--
	if b.refs == 0 && !b.gone {
		s.push(b)
		if s.unused > c.limit {
			old := s.lru.next
			s.unlink(old)
			delete(s.m, old.nr)
		}
	}
	s.mu.Unlock()
}

// read returns block nr with a reference, read from the device and checked for the role r
// by check, unless that has been done before.
func (c *bufferCache) read(nr uint64, r role, seed uint32, check func(fs *FS, b *buffer, r role, seed uint32) error) (*buffer, error) {
	b := c.get(nr)
	if b.role.Load() == uint64(r) && b.loaded.Load() {
		return b, nil
	}
	if err := c.load(b, r, seed, check); err != nil {
		c.put(b)
		return nil, err
	}
	return b, nil
}

func (c *bufferCache) load(b *buffer, r role, seed uint32, check func(fs *FS, b *buffer, r role, seed uint32) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.loaded.Load() {
		if err := c.fs.readBlock(b.nr, b.data); err != nil {
			return fmt.Errorf("block %d: %w", b.nr, err)
		}
		b.loaded.Store(true)
	}
	old := role(b.role.Load())
	if old == r {
		return nil
	}
	if old.kind() != roleNone && c.inUse(b) {
		return c.fs.corruptBlock(r.owner(), b.nr, "the block is also in use by inode or group %d", old.owner())
	}
	if check != nil {
		if err := check(c.fs, b, r, seed); err != nil {
			return err
		}
	}
	b.gen = seed
	b.role.Store(uint64(r))
	return nil
}

// inUse tells whether anybody but the caller uses b, or b is changed.
func (c *bufferCache) inUse(b *buffer) bool {
	s := c.shard(b.nr)
	s.mu.Lock()
	defer s.mu.Unlock()
	return b.refs > 1 || b.tx.Load() != nil
}

// create returns the buffer of a block that was just allocated, zeroed, for the role r,
// with a reference.
func (c *bufferCache) create(nr uint64, r role, seed uint32) *buffer {
	b := c.get(nr)
	b.mu.Lock()
	clear(b.data)
	b.fresh = true
	b.loaded.Store(true)
	b.gen = seed
	b.role.Store(uint64(r))
	b.mu.Unlock()
	return b
}

// forget drops the content of a freed block from the cache. The caller has taken it out
// of its transaction.
func (c *bufferCache) forget(nr uint64) {
	s := c.shard(nr)
	s.mu.Lock()
	if b := s.m[nr]; b != nil {
		b.gone = true
		delete(s.m, nr)
		if b.refs == 0 {
			s.unlink(b)
		}
	}
	s.mu.Unlock()
}

// lookup returns the buffer of block nr with a reference if the cache has it, else nil.
func (c *bufferCache) lookup(nr uint64) *buffer {
	s := c.shard(nr)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.m[nr]
	if b == nil {
		return nil
	}
	if b.refs == 0 {
		s.unlink(b)
	}
	b.refs++
	return b
}

// has tells whether block nr is in memory.
func (c *bufferCache) has(nr uint64) bool {
	s := c.shard(nr)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[nr] != nil
}

// drop forgets every unused buffer (for tests, and to shed memory).
func (c *bufferCache) drop() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for s.lru.next != &s.lru {
			b := s.lru.next
			s.unlink(b)
			delete(s.m, b.nr)
		}
		s.mu.Unlock()
	}
}
