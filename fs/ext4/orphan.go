package ext4

import (
	"errors"
	"fmt"

	"pinhole/fs/ext4/disk"
)

// Inodes without names that are still in use, and those being truncated, are orphans: a mount
// after a crash finishes the work. They are in the orphan file where the file system has one
// with room, else on the orphan list, a chain from the superblock through the inodes' deletion
// times. Either is changed in the transaction that takes the last name away, or that frees the
// inode.

// addOrphan makes n an orphan. The caller holds n's lock.
func (fs *FS) addOrphan(h handle, n *inode) error {
	if n.onOrphanList.Load() {
		return nil
	}
	if err := h.inode(n); err != nil {
		return err
	}
	fs.sbMu.Lock()
	defer fs.sbMu.Unlock()
	slot, err := fs.orphanFile.add(h, n.ino)
	if err != nil {
		return err
	}
	n.d.Dtime = 0
	if slot != 0 {
		n.orphanSlot = slot
		fs.orphanFile.inodes[n.ino] = n
		n.onOrphanList.Store(true)
		return nil
	}
	n.orphanNext = fs.orphan
	if fs.orphan != nil {
		n.d.Dtime = fs.orphan.ino
		fs.orphan.orphanPrev = n
	}
	fs.orphan = n
	n.onOrphanList.Store(true)
	h.super()
	return nil
}

// dropOrphan makes n no orphan any more. The caller holds n's lock.
func (fs *FS) dropOrphan(h handle, n *inode) error {
	if !n.onOrphanList.Load() {
		return nil
	}
	if err := h.inode(n); err != nil {
		return err
	}
	fs.sbMu.Lock()
	defer fs.sbMu.Unlock()
	if n.orphanSlot != 0 {
		if err := fs.orphanFile.remove(h, n.orphanSlot, n.ino); err != nil {
			return err
		}
		n.orphanSlot = 0
		delete(fs.orphanFile.inodes, n.ino)
		n.onOrphanList.Store(false)
		return nil
	}
	if prev := n.orphanPrev; prev != nil {
		// Its deletion time is guarded by sbMu, as it is on the list.
		if err := h.inode(prev); err != nil {
			return err
		}
		prev.orphanNext = n.orphanNext
		prev.d.Dtime = n.d.Dtime
	} else {
		fs.orphan = n.orphanNext
		h.super()
	}
	if n.orphanNext != nil {
		n.orphanNext.orphanPrev = n.orphanPrev
	}
	n.orphanPrev, n.orphanNext = nil, nil
	n.d.Dtime = 0
	n.onOrphanList.Store(false)
	return nil
}

// beforeDropOrphan does what of dropOrphan can fail; the same handle then calls it without an
// error. The caller holds n's lock.
func (fs *FS) beforeDropOrphan(h handle, n *inode) error {
	if err := h.inode(n); err != nil {
		return err
	}
	fs.sbMu.Lock()
	defer fs.sbMu.Unlock()
	switch {
	case n.orphanSlot != 0:
		return fs.orphanFile.prepare(h, n.orphanSlot)
	case n.onOrphanList.Load() && n.orphanPrev != nil:
		// Whoever gets in between is put there in this transaction.
		return h.inode(n.orphanPrev)
	}
	return nil
}

// deleteOrphans deletes what has no names, whether or not somebody forgot a reference, when
// the file system is unmounted.
func (fs *FS) deleteOrphans() {
	var list []*inode
	fs.sbMu.Lock()
	for n := fs.orphan; n != nil; n = n.orphanNext {
		list = append(list, n)
	}
	for _, n := range fs.orphanFile.inodes {
		list = append(list, n)
	}
	fs.sbMu.Unlock()
	for _, n := range list {
		s := fs.inodes.shard(n.ino)
		s.mu.Lock()
		dead := n.d.Links == 0 && !n.freeing && s.m[n.ino] == n && !fs.readOnly.Load()
		if dead {
			n.freeing = true
			if n.refs.Load() == 0 {
				s.unlink(n)
			}
		}
		s.mu.Unlock()
		if dead {
			fs.deleteInode(n)
		}
	}
	fs.settleOrphanFile()
}

// processOrphans deletes or truncates what a crash has left, and reads the orphan file where
// the file system has one. Each inode is done in transactions of its own, so that a crash in
// between leaves the rest as it was.
func (fs *FS) processOrphans() error {
	inFile, err := fs.loadOrphanFile()
	if err != nil {
		return err
	}
	var c orphanCount
	if err := fs.processList(&c); err != nil {
		return err
	}
	for _, o := range inFile {
		n, err := fs.orphanInode(o.ino, "the orphan file has it")
		if err == errNotUsed {
			err = fs.dropSlot(o)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		if n.onOrphanList.Load() {
			n.Unref()
			return fs.corruptInode(o.ino, "the orphan file has it twice")
		}
		fs.sbMu.Lock()
		n.orphanSlot = o.slot
		fs.orphanFile.inodes[n.ino] = n
		n.onOrphanList.Store(true)
		fs.sbMu.Unlock()
		if err := fs.finishOrphan(n, &c); err != nil {
			return err
		}
	}
	fs.settleOrphanFile()
	if c == (orphanCount{}) {
		return nil
	}
	fs.log("orphans: %d inodes deleted, %d truncated", c.deleted, c.truncated)
	if e := fs.Sync(); e != 0 {
		return e
	}
	return nil
}

// orphanCount says what was done.
type orphanCount struct{ deleted, truncated int }

// processList follows the chain from the superblock. It is a list in memory as far as the
// inode behind the one that is being done: a hostile one may have all inodes on it.
func (fs *FS) processList(c *orphanCount) error {
	var n *inode
	for ino := fs.sb.LastOrphan; ino != 0 || n != nil; {
		var next *inode
		if ino != 0 {
			var err error
			next, err = fs.orphanInode(ino, "the orphan list leads to it")
			if err == errNotUsed {
				err = fs.corruptInode(ino, "the orphan list leads to it, but it is free")
			} else if err == nil && next.onOrphanList.Load() {
				err = fs.corruptInode(ino, "the orphan list leads to it twice")
			}
			if err != nil {
				return err
			}
			ino = next.d.Dtime
			fs.sbMu.Lock()
			next.onOrphanList.Store(true)
			if next.orphanPrev = n; n != nil {
				n.orphanNext = next
			} else {
				fs.orphan = next
			}
			fs.sbMu.Unlock()
		}
		if n != nil {
			if err := fs.finishOrphan(n, c); err != nil {
				return err
			}
		}
		n = next
	}
	return nil
}

var errNotUsed = errors.New("the inode is free")

// orphanInode returns an inode that is said to be an orphan, with a reference; errNotUsed if
// it is free.
func (fs *FS) orphanInode(ino uint32, why string) (*inode, error) {
	if ino == 0 || ino > fs.inodesCount || fs.reservedInode(ino) || ino == disk.RootInode {
		return nil, fs.corruptInode(ino, "%s", why)
	}
	if used, err := fs.inodeUsed(ino); err != nil {
		return nil, err
	} else if !used {
		return nil, errNotUsed
	}
	return fs.inodes.get(ino)
}

// dropSlot empties a slot whose inode is free: another driver has left it.
func (fs *FS) dropSlot(o foundOrphan) error {
	h, err := fs.begin(1)
	if err != nil {
		return err
	}
	defer h.end()
	fs.sbMu.Lock()
	defer fs.sbMu.Unlock()
	return fs.orphanFile.remove(h, o.slot, o.ino)
}

// inodeUsed tells whether the bitmap has the inode in use.
func (fs *FS) inodeUsed(ino uint32) (bool, error) {
	g := &fs.groups[(ino-1)/fs.inodesPerGroup]
	g.mu.Lock()
	defer g.mu.Unlock()
	b, err := fs.inodeBitmap(g)
	if err != nil {
		return false, err
	}
	return testBit(b.data, (ino-1)%fs.inodesPerGroup), nil
}

// finishOrphan deletes or truncates n, and gives its reference back.
func (fs *FS) finishOrphan(n *inode, c *orphanCount) error {
	if n.d.Links == 0 {
		c.deleted++
		n.Unref()
		if n.onOrphanList.Load() {
			return fmt.Errorf("inode %d cannot be deleted", n.ino)
		}
		return nil
	}
	defer n.Unref()
	c.truncated++
	n.mu.Lock()
	defer n.mu.Unlock()
	err := n.truncateBlocks(n.size)
	if err == nil {
		var h handle
		if h, err = fs.begin(4); err == nil {
			err = fs.dropOrphan(h, n)
			h.end()
		}
	}
	if err != nil {
		return fmt.Errorf("inode %d: %w", n.ino, err)
	}
	return nil
}
