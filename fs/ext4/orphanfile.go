package ext4

import (
	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

// orphanFile is the file of orphans' inode numbers, guarded by FS.sbMu. The feature
// orphan_present says on disk that it may have some: it is set with the first, and cleared
// when the file system is unmounted without any.
type orphanFile struct {
	fs     *FS
	ino    uint32
	seed   uint32
	blocks []orphanBlock
	next   int // block that is looked at first
	used   int // slots
	inodes map[uint32]*inode
}

// orphanBlock is a block of the file.
type orphanBlock struct {
	home uint64
	free int // slots
}

// foundOrphan is an inode found in the file. slot counts from one, over all blocks.
type foundOrphan struct {
	ino  uint32
	slot uint32
}

// maxOrphanFile is the largest size of an orphan file in bytes; mke2fs makes none beyond 2 MiB.
const maxOrphanFile = 16 << 20

// loadOrphanFile finds the orphan file's blocks, and what is in them. Without orphan_present
// that is nothing: e2fsck -p clears the feature, but not the slots.
func (fs *FS) loadOrphanFile() ([]foundOrphan, error) {
	f := &fs.orphanFile
	*f = orphanFile{fs: fs, inodes: make(map[uint32]*inode)}
	if !fs.sb.HasCompat(disk.CompatOrphanFile) {
		return nil, nil
	}
	f.ino = fs.sb.OrphanFileInum
	if f.ino == 0 || f.ino > fs.inodesCount {
		return nil, fs.corruptInode(f.ino, "the superblock says that it is the orphan file")
	}
	n := &inode{fs: fs, ino: f.ino}
	if err := fs.loadInode(n); err != nil {
		return nil, err
	}
	if !isType(uint32(n.d.Mode), abi.S_IFREG) || n.size > maxOrphanFile || n.size&int64(fs.bs-1) != 0 {
		return nil, fs.corruptInode(f.ino, "the orphan file has mode %#o and size %d", n.d.Mode, n.size)
	}
	f.seed = n.seed
	var found []foundOrphan
	for i := range uint32(n.size >> fs.bsLog) {
		r, err := n.mapRun(i)
		if err != nil {
			return nil, err
		}
		if r.home == 0 || r.unwritten() {
			return nil, fs.corruptInode(f.ino, "the orphan file has a hole")
		}
		b, err := f.read(r.home)
		if err != nil {
			return nil, err
		}
		if !fs.sb.HasROCompat(disk.ROCompatOrphanPresent) {
			if err := f.clear(b); err != nil {
				fs.buffers.put(b)
				return nil, err
			}
		}
		block := orphanBlock{home: r.home}
		for k := range disk.OrphanSlots(fs.bs) {
			if ino := disk.OrphanSlot(b.data, k); ino != 0 {
				found = append(found, foundOrphan{ino, f.slot(int(i), k)})
			} else {
				block.free++
			}
		}
		f.blocks = append(f.blocks, block)
		fs.buffers.put(b)
	}
	f.used = len(found)
	return found, nil
}

// clear empties all slots of a block.
func (f *orphanFile) clear(b *buffer) error {
	slots := b.data[:4*disk.OrphanSlots(f.fs.bs)]
	if allZero(slots) {
		return nil
	}
	h, err := f.fs.begin(1)
	if err != nil {
		return err
	}
	h.access(b)
	clear(slots)
	h.end()
	return nil
}

// slot numbers slot k of block i.
func (f *orphanFile) slot(i, k int) uint32 { return uint32(i*disk.OrphanSlots(f.fs.bs) + k + 1) }

// read returns a block of the file, with a reference.
func (f *orphanFile) read(home uint64) (*buffer, error) {
	return f.fs.buffers.read(home, makeRole(roleOrphanFile, f.ino), f.seed, checkOrphanBlock)
}

// checkOrphanBlock is the check of a buffer in roleOrphanFile.
func checkOrphanBlock(fs *FS, b *buffer, r role, seed uint32) error {
	if !disk.HasOrphanTail(b.data) {
		return fs.corruptBlock(r.owner(), b.nr, "orphan file block has no magic number")
	}
	if fs.hasCsum {
		if got, want := disk.StoredOrphanChecksum(b.data), disk.OrphanChecksum(seed, b.nr, b.data); got != want {
			return fs.corruptBlock(r.owner(), b.nr, "orphan file block checksum is %#x, should be %#x", got, want)
		}
	}
	return nil
}

// add enters an inode, and returns its slot; 0 if there is no file, or no room in it.
func (f *orphanFile) add(h handle, ino uint32) (uint32, error) {
	for tries := range f.blocks {
		i := (f.next + tries) % len(f.blocks)
		if f.blocks[i].free == 0 {
			continue
		}
		b, err := f.read(f.blocks[i].home)
		if err != nil {
			return 0, err
		}
		defer f.fs.buffers.put(b)
		k := 0
		for ; k < disk.OrphanSlots(f.fs.bs) && disk.OrphanSlot(b.data, k) != 0; k++ {
		}
		if k == disk.OrphanSlots(f.fs.bs) {
			return 0, f.fs.corruptBlock(f.ino, b.nr, "orphan file block is full, but should have %d free slots", f.blocks[i].free)
		}
		h.access(b)
		disk.SetOrphanSlot(b.data, k, ino)
		f.blocks[i].free--
		f.next = i
		f.used++
		if !f.fs.sb.HasROCompat(disk.ROCompatOrphanPresent) {
			f.fs.sb.FeatureROCompat |= disk.ROCompatOrphanPresent
			h.super()
		}
		return f.slot(i, k), nil
	}
	return 0, nil
}

// prepare does what of remove can fail on a slot: the transaction keeps the block.
func (f *orphanFile) prepare(h handle, slot uint32) error {
	b, err := f.read(f.blocks[int(slot-1)/disk.OrphanSlots(f.fs.bs)].home)
	if err != nil {
		return err
	}
	h.access(b)
	f.fs.buffers.put(b)
	return nil
}

// remove empties a slot that has ino.
func (f *orphanFile) remove(h handle, slot, ino uint32) error {
	i, k := int(slot-1)/disk.OrphanSlots(f.fs.bs), int(slot-1)%disk.OrphanSlots(f.fs.bs)
	b, err := f.read(f.blocks[i].home)
	if err != nil {
		return err
	}
	defer f.fs.buffers.put(b)
	if got := disk.OrphanSlot(b.data, k); got != ino {
		return f.fs.corruptBlock(f.ino, b.nr, "slot %d of the orphan file has inode %d, should have %d", slot-1, got, ino)
	}
	h.access(b)
	disk.SetOrphanSlot(b.data, k, 0)
	f.blocks[i].free++
	f.used--
	return nil
}

// settleOrphanFile says in the superblock that the orphan file is empty, if it is.
func (fs *FS) settleOrphanFile() {
	fs.sbMu.Lock()
	clear := fs.orphanFile.used == 0 && fs.sb.HasROCompat(disk.ROCompatOrphanPresent)
	fs.sbMu.Unlock()
	if !clear || fs.readOnly.Load() {
		return
	}
	h, err := fs.begin(1)
	if err != nil {
		fs.log("orphan file: %v", err)
		return
	}
	defer h.end()
	fs.sbMu.Lock()
	if fs.orphanFile.used == 0 {
		fs.sb.FeatureROCompat &^= disk.ROCompatOrphanPresent
		h.super()
	}
	fs.sbMu.Unlock()
}
