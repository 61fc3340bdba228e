package ext4

import (
	"fmt"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

// The orphan list has the inodes without names that are still in use, and those being
// truncated, so that a mount after a crash can finish the work. On disk it is a chain from
// the superblock through the inodes' deletion times.

// addOrphan puts n on the list. The caller holds n's lock.
func (fs *FS) addOrphan(h handle, n *inode) error {
	if n.onOrphanList.Load() {
		return nil
	}
	if err := h.inode(n); err != nil {
		return err
	}
	fs.sbMu.Lock()
	defer fs.sbMu.Unlock()
	n.orphanNext = fs.orphan
	n.d.Dtime = 0
	if fs.orphan != nil {
		n.d.Dtime = fs.orphan.ino
		fs.orphan.orphanPrev = n
	}
	fs.orphan = n
	n.onOrphanList.Store(true)
	h.super()
	return nil
}

// dropOrphan takes n off the list. The caller holds n's lock.
func (fs *FS) dropOrphan(h handle, n *inode) error {
	if !n.onOrphanList.Load() {
		return nil
	}
	if err := h.inode(n); err != nil {
		return err
	}
	fs.sbMu.Lock()
	defer fs.sbMu.Unlock()
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
	// Whoever gets in between is put there in this transaction.
	if n.onOrphanList.Load() && n.orphanPrev != nil {
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
}

// processOrphans deletes or truncates what a crash has left on the list, and in the orphan
// file where the file system has one.
func (fs *FS) processOrphans() error {
	list, err := fs.readOrphanList()
	if err != nil {
		return err
	}
	inFile, err := fs.readOrphanFile()
	if err != nil {
		return err
	}
	if len(list)+len(inFile) == 0 {
		return nil
	}
	deleted, truncated := 0, 0
	for _, ino := range append(list, inFile...) {
		n, err := fs.inodes.get(ino)
		if err != nil {
			return err
		}
		if n.d.Links == 0 {
			deleted++
			n.Unref()
			continue
		}
		n.mu.Lock()
		err = n.truncateBlocks(n.size)
		n.mu.Unlock()
		n.Unref()
		if err != nil {
			return fmt.Errorf("inode %d: %w", ino, err)
		}
		truncated++
	}
	if err := fs.clearOrphanFile(); err != nil {
		return err
	}
	// The head in the superblock goes with the next commit.
	h, err := fs.begin(1)
	if err != nil {
		return err
	}
	h.super()
	h.end()
	fs.log("orphans: %d inodes deleted, %d truncated", deleted, truncated)
	if e := fs.Sync(); e != 0 {
		return e
	}
	return nil
}

// readOrphanList follows the chain from the superblock.
func (fs *FS) readOrphanList() ([]uint32, error) {
	var list []uint32
	seen := make(map[uint32]bool)
	for ino := fs.sb.LastOrphan; ino != 0; {
		if ino > fs.inodesCount || fs.reservedInode(ino) || ino == disk.RootInode || seen[ino] {
			return nil, fs.corruptInode(ino, "the orphan list leads to it")
		}
		seen[ino] = true
		n, err := fs.inodes.get(ino)
		if err != nil {
			return nil, err
		}
		list = append(list, ino)
		ino = n.d.Dtime
		n.d.Dtime = 0
		if n.d.Links != 0 {
			n.Unref()
			continue
		}
		fs.inodes.park(n)
	}
	return list, nil
}

const (
	orphanBlockMagic = 0x0b10ca04
	orphanTailSize   = 8 // magic and checksum, at the end of each block
)

// orphanBlocks calls f for the blocks of the orphan file; f returns whether it has changed
// the block.
func (fs *FS) orphanBlocks(f func(b *buffer)) error {
	if !fs.sb.HasCompat(disk.CompatOrphanFile) || !fs.sb.HasROCompat(disk.ROCompatOrphanPresent) {
		return nil
	}
	ino := fs.sb.OrphanFileInum
	if ino == 0 || ino > fs.inodesCount {
		return fs.corruptInode(ino, "the superblock says that it is the orphan file")
	}
	n := &inode{fs: fs, ino: ino}
	if err := fs.loadInode(n); err != nil {
		return err
	}
	if !isType(uint32(n.d.Mode), abi.S_IFREG) || n.size > 1<<24 {
		return fs.corruptInode(ino, "the orphan file has mode %#o and size %d", n.d.Mode, n.size)
	}
	for i := range uint32(n.size >> fs.bsLog) {
		r, err := n.mapRun(i)
		if err != nil {
			return err
		}
		if r.home == 0 || r.unwritten() {
			return fs.corruptInode(ino, "the orphan file has a hole")
		}
		b, err := fs.buffers.read(r.home, makeRole(roleOrphanFile, ino), n.seed, checkOrphanBlock)
		if err != nil {
			return err
		}
		f(b)
		fs.buffers.put(b)
	}
	return nil
}

func checkOrphanBlock(fs *FS, b *buffer, r role, seed uint32) error {
	tail := b.data[fs.bs-orphanTailSize:]
	if magic := le.Uint32(tail); magic != orphanBlockMagic {
		return fs.corruptBlock(r.owner(), b.nr, "orphan file block has magic number %#x", magic)
	}
	if fs.hasCsum {
		if got, want := le.Uint32(tail[4:]), orphanBlockSum(b, seed); got != want {
			return fs.corruptBlock(r.owner(), b.nr, "orphan file block checksum is %#x, should be %#x", got, want)
		}
	}
	return nil
}

// orphanBlockSum sums the entries of a block, under its number.
func orphanBlockSum(b *buffer, seed uint32) uint32 {
	return disk.Checksum(disk.Checksum64(seed, b.nr), b.data[:len(b.data)-orphanTailSize])
}

// readOrphanFile returns the inodes in the orphan file.
func (fs *FS) readOrphanFile() ([]uint32, error) {
	var list []uint32
	seen := make(map[uint32]bool)
	var bad error
	err := fs.orphanBlocks(func(b *buffer) {
		for off := 0; off < fs.bs-orphanTailSize; off += 4 {
			ino := le.Uint32(b.data[off:])
			if ino == 0 {
				continue
			}
			if ino > fs.inodesCount || fs.reservedInode(ino) || ino == disk.RootInode || seen[ino] {
				bad = fs.corruptInode(ino, "the orphan file has it")
				return
			}
			seen[ino] = true
			list = append(list, ino)
		}
	})
	if err == nil {
		err = bad
	}
	return list, err
}

// clearOrphanFile empties the orphan file, and says in the superblock that it is empty.
func (fs *FS) clearOrphanFile() error {
	if !fs.sb.HasROCompat(disk.ROCompatOrphanPresent) {
		return nil
	}
	h, err := fs.begin(8)
	if err != nil {
		return err
	}
	defer h.end()
	err = fs.orphanBlocks(func(b *buffer) {
		h.access(b)
		clear(b.data[:fs.bs-orphanTailSize])
	})
	if err != nil {
		return err
	}
	fs.sb.FeatureROCompat &^= disk.ROCompatOrphanPresent
	h.super()
	return nil
}
