package ext4

import (
	"sync"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
)

const (
	inodeShards = 16
	// Unused inodes may take a sixteenth of what the cache may take, and a KiB each.
	unusedShare = 16 << 10
	minUnused   = 1024
	maxUnused   = 64 << 10
)

// inodeCache has the one object of every inode in use, and some that were used lately.
type inodeCache struct {
	fs     *FS
	limit  int // unused inodes kept per shard
	shards [inodeShards]inodeShard
}

type inodeShard struct {
	mu     sync.Mutex
	m      map[uint32]*inode
	lru    inode // ring of inodes without references, oldest next
	unused int
}

func (c *inodeCache) init(fs *FS) {
	c.fs = fs
	c.limit = min(max(fs.frames.limit*blockdev.PageSize/unusedShare, minUnused), maxUnused) / inodeShards
	for i := range c.shards {
		s := &c.shards[i]
		s.m = make(map[uint32]*inode)
		s.lru.lruPrev, s.lru.lruNext = &s.lru, &s.lru
		s.unused = 0
	}
}

func (c *inodeCache) shard(ino uint32) *inodeShard { return &c.shards[ino%inodeShards] }

func (s *inodeShard) unlink(n *inode) {
	n.lruPrev.lruNext, n.lruNext.lruPrev = n.lruNext, n.lruPrev
	n.lruPrev, n.lruNext = nil, nil
	s.unused--
}

func (s *inodeShard) push(n *inode) {
	n.lruPrev, n.lruNext = s.lru.lruPrev, &s.lru
	n.lruPrev.lruNext, n.lruNext.lruPrev = n, n
	s.unused++
}

// shrink drops the inodes that were unused longest and hold nothing that is not on the
// device. Called with the shard locked.
func (s *inodeShard) shrink() {
	for tries := 0; s.unused > 0 && tries < 8; tries++ {
		n := s.lru.lruNext
		if s.unused <= n.fs.inodes.limit {
			break
		}
		s.unlink(n)
		if n.busy() {
			s.push(n)
			continue
		}
		n.fs.pages.dropClean(n)
		delete(s.m, n.ino)
	}
}

// busy tells whether an inode without references must stay in memory.
func (n *inode) busy() bool {
	return n.tx.Load() != nil || n.pages.dirty() || n.onOrphanList.Load() || n.loose.Load()
}

// reserved tells whether ino must not be reached through a directory.
func (fs *FS) reservedInode(ino uint32) bool {
	return ino < fs.sb.FirstIno && ino != disk.RootInode ||
		ino == fs.sb.JournalInum || ino == fs.sb.UserQuotaInum || ino == fs.sb.GroupQuotaInum ||
		ino == fs.sb.ProjQuotaInum || fs.sb.HasCompat(disk.CompatOrphanFile) && ino == fs.sb.OrphanFileInum
}

// iget returns inode ino with a reference. It refuses numbers that no directory may hold,
// and inodes that are not in use.
func (fs *FS) iget(ino uint32) (*inode, error) {
	if ino == 0 || ino > fs.inodesCount || fs.reservedInode(ino) {
		return nil, fs.corruptInode(ino, "a directory refers to it")
	}
	n, err := fs.inodes.get(ino)
	if err != nil {
		return nil, err
	}
	if n.wasDead && !n.onOrphanList.Load() {
		err := fs.corruptInode(ino, "a directory refers to it, but it is deleted")
		n.Unref()
		return nil, err
	}
	return n, nil
}

// get returns inode ino with a reference, loading it if need be.
func (c *inodeCache) get(ino uint32) (*inode, error) {
	s := c.shard(ino)
	s.mu.Lock()
	n := s.m[ino]
	if n != nil {
		if n.freeing {
			s.mu.Unlock()
			return nil, c.fs.corruptInode(ino, "a directory refers to it while it is deleted")
		}
		if n.refs.Load() == 0 {
			s.unlink(n)
		}
		n.refs.Add(1)
		s.mu.Unlock()
		if !n.ready.Load() {
			n.mu.RLock()
			err := n.loadErr
			n.mu.RUnlock()
			if err != nil {
				return nil, err
			}
		}
		return n, nil
	}
	n = &inode{fs: c.fs, ino: ino}
	n.refs.Store(1)
	n.mu.Lock()
	s.m[ino] = n
	s.mu.Unlock()

	err := c.fs.loadInode(n)
	if err != nil {
		n.loadErr = err
		s.mu.Lock()
		delete(s.m, ino)
		s.mu.Unlock()
	} else {
		n.ready.Store(true)
	}
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return n, nil
}

// insert makes a new inode known, with one reference. It fails if the number is in use,
// which only a corrupt bitmap can cause.
func (c *inodeCache) insert(n *inode) error {
	s := c.shard(n.ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.m[n.ino]; old != nil {
		if old.freeing || old.refs.Load() != 0 || old.busy() {
			return c.fs.corruptInode(n.ino, "it is in use, but marked free")
		}
		s.unlink(old)
		c.fs.pages.dropClean(old)
	}
	n.refs.Store(1)
	n.ready.Store(true)
	s.m[n.ino] = n
	return nil
}

// remove forgets a deleted inode.
func (c *inodeCache) remove(n *inode) {
	s := c.shard(n.ino)
	s.mu.Lock()
	if s.m[n.ino] == n {
		delete(s.m, n.ino)
	}
	s.mu.Unlock()
}

// hold takes a reference to an inode that may have none, for the flusher. It reports false
// if the inode is being deleted.
func (c *inodeCache) hold(n *inode) bool {
	s := c.shard(n.ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.freeing || s.m[n.ino] != n {
		return false
	}
	if n.refs.Load() == 0 {
		s.unlink(n)
	}
	n.refs.Add(1)
	return true
}

// Ref implements vfs.Node.
func (n *inode) Ref() { n.refs.Add(1) }

// Unref implements vfs.Node. The last one of an inode without names deletes it.
func (n *inode) Unref() {
	if n.emptied.Load() {
		n.fs.behind.writeSoon(n) // whoever has emptied the file may close it now
	}
	for {
		r := n.refs.Load()
		if r <= 1 {
			break
		}
		if n.refs.CompareAndSwap(r, r-1) {
			return
		}
	}
	s := n.fs.inodes.shard(n.ino)
	s.mu.Lock()
	if n.refs.Add(-1) != 0 || s.m[n.ino] != n {
		s.mu.Unlock()
		return
	}
	if n.d.Links == 0 && !n.fs.readOnly.Load() {
		n.freeing = true
		s.mu.Unlock()
		n.fs.deleteInode(n)
		return
	}
	s.push(n)
	s.shrink()
	s.mu.Unlock()
	n.fs.windows.close(n.fs, n)
}

// broken returns a directory without content, for when the root cannot be read.
func (c *inodeCache) broken() *inode {
	n := &inode{fs: c.fs, ino: disk.RootInode, loadErr: abi.EIO}
	n.refs.Store(1)
	n.setMode(abi.S_IFDIR)
	return n
}
