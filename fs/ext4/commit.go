package ext4

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
)

// frozen is a transaction on its way to the device: copies of what it changed.
type frozen struct {
	tx      *transaction
	buffers []*buffer // each with the transaction's reference
	vecs    []blockdev.Vec
	fresh   int // of vecs, at their start: blocks that were not in use before
	super   []byte
}

// commit writes the running transaction, unless need (0 for whatever there is) has been
// committed already. It does not flush the device.
//
// Content comes first, so that no inode leads to blocks with somebody else's old content.
// Around the metadata the superblock says that the file system is not clean: should the
// writing be cut short, e2fsck will know.
func (fs *FS) commit(need uint64) error {
	if fs.opts.ReadOnly {
		return nil
	}
	fs.commitMu.Lock()
	held, err := fs.commitLocked(need)
	fs.commitMu.Unlock()
	for _, n := range held {
		n.Unref()
	}
	return err
}

func (fs *FS) commitLocked(need uint64) (held []*inode, err error) {
	if need != 0 && fs.committed >= need {
		return nil, nil
	}
	fs.txLock.Lock()
	tx := fs.running
	if tx.empty() {
		fs.txLock.Unlock()
		return nil, nil
	}
	fs.running = newTransaction(tx.id + 1)
	fs.frozen.Store(tx.id)
	f := fs.freeze(tx)
	fs.txLock.Unlock()
	defer fs.release(f)

	for _, n := range tx.ordered {
		if fs.inodes.hold(n) {
			held = append(held, n)
			if e := n.writeback(); e != nil && err == nil {
				err = e
			}
		}
	}
	if err == nil {
		err = fs.writeFrozen(f)
	}
	if err != nil {
		fs.thaw(f)
		if !errors.Is(err, blockdev.ErrNoSpace) && !fs.readOnly.Swap(true) {
			fs.log("writing failed, file system is now read-only: %v", err)
		}
		return held, fmt.Errorf("transaction %d: %w", tx.id, err)
	}
	fs.committed = tx.id
	fs.reuse(tx.freed)
	return held, nil
}

// freeze brings the transaction's blocks into the form that they have on the device, and
// copies them. The caller holds txLock exclusively.
func (fs *FS) freeze(tx *transaction) *frozen {
	for _, n := range tx.inodes {
		n.encode()
		n.tx.Store(nil)
		fs.buffers.put(n.table)
		n.table = nil
	}
	tx.inodes = nil
	f := &frozen{tx: tx}
	for _, b := range tx.buffers {
		b.tx.Store(nil)
		fs.seal(b)
	}
	h := handle{fs, tx}
	for _, g := range tx.groups {
		b := fs.gdt[g.nr/fs.descPerBlock]
		h.access(b)
		off := int(g.nr%fs.descPerBlock) * fs.descSize
		fs.encodeGroup(g, b.data[off:off+fs.descSize])
		g.tx = nil
	}
	slices.SortFunc(tx.buffers, func(a, b *buffer) int {
		if a.fresh != b.fresh {
			if a.fresh {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.nr, b.nr)
	})
	f.buffers = tx.buffers
	for _, b := range f.buffers {
		b.tx.Store(nil)
		if role(b.role.Load()).kind() == roleNone {
			continue // freed
		}
		data := fs.frames.block(fs.bs)
		copy(data, b.data)
		f.vecs = append(f.vecs, blockdev.Vec{Off: int64(b.nr) << fs.bsLog, Data: data})
		if b.fresh {
			b.fresh = false
			f.fresh = len(f.vecs)
		}
	}
	fs.sbMu.Lock()
	f.super = make([]byte, disk.SuperblockSize)
	fs.encodeSuperblock(f.super, fs.stateOnDisk())
	fs.sbMu.Unlock()
	return f
}

// stateOnDisk returns the state that the superblock has while all is well.
func (fs *FS) stateOnDisk() uint16 {
	s := fs.cleanState
	if fs.damaged.Load() {
		s |= disk.StateError
	}
	return s
}

// seal computes the checksum of a changed block.
func (fs *FS) seal(b *buffer) {
	if !fs.hasCsum {
		return
	}
	r := role(b.role.Load())
	switch r.kind() {
	case roleBlockBitmap:
		fs.groups[r.owner()].desc.BlockCsum = fs.bitmapSum(b.data, fs.blocksPerGroup)
	case roleInodeBitmap:
		fs.groups[r.owner()].desc.InodeCsum = fs.bitmapSum(b.data, fs.inodesPerGroup)
	case roleExtent:
		disk.SetExtentChecksum(b.gen, b.data, int(le.Uint16(b.data[4:])))
	case roleDir:
		disk.SetDirChecksum(b.gen, b.data)
	case roleHtreeRoot:
		sealHtree(b, disk.HtreeRootOffset)
	case roleHtreeNode:
		sealHtree(b, disk.HtreeNodeOffset)
	case roleXattr:
		disk.SetXattrChecksum(fs.csumSeed, b.nr, b.data)
	case roleOrphanFile:
		le.PutUint32(b.data[len(b.data)-4:], orphanBlockSum(b, b.gen))
	}
}

func sealHtree(b *buffer, off int) {
	e := disk.HtreeEntries(b.data[off:])
	disk.SetHtreeChecksum(b.gen, b.data, off, e.Limit(), e.Count())
}

// writeFrozen writes a transaction's metadata home.
func (fs *FS) writeFrozen(f *frozen) error {
	sb := []blockdev.Vec{{Off: disk.SuperblockOffset, Data: f.super}}
	if len(f.vecs) == 1 && !f.tx.super.Load() {
		// One block, usually of inodes with new times: there is nothing to be cut short.
		return fs.dev.WriteV(f.vecs)
	}
	if len(f.vecs) > 0 {
		fs.setStateIn(f.super, fs.stateOnDisk()&^disk.StateValid)
		if err := fs.dev.WriteV(sb); err != nil {
			return err
		}
		// What the others lead to is there before they do.
		for _, part := range [][]blockdev.Vec{f.vecs[:f.fresh], f.vecs[f.fresh:]} {
			if len(part) == 0 {
				continue
			}
			if err := fs.dev.WriteV(part); err != nil {
				return err
			}
		}
	}
	fs.setStateIn(f.super, fs.stateOnDisk())
	return fs.dev.WriteV(sb)
}

// setStateIn changes the state in an encoded superblock.
func (fs *FS) setStateIn(p []byte, state uint16) {
	le.PutUint16(p[0x3a:], state)
	if fs.hasCsum {
		le.PutUint32(p[0x3fc:], disk.SuperblockChecksum(p))
	}
}

// thaw returns what could not be written to the running transaction.
func (fs *FS) thaw(f *frozen) {
	fs.txLock.RLock()
	defer fs.txLock.RUnlock()
	h := handle{fs, fs.running}
	for _, b := range f.buffers {
		if role(b.role.Load()).kind() != roleNone {
			h.access(b)
		}
	}
	h.super()
	h.tx.mu.Lock()
	h.tx.freed = append(h.tx.freed, f.tx.freed...)
	h.tx.ordered = append(h.tx.ordered, f.tx.ordered...)
	h.tx.mu.Unlock()
}

// release gives the copies' memory and the transaction's references back.
func (fs *FS) release(f *frozen) {
	for _, v := range f.vecs {
		fs.frames.freeBlock(v.Data)
	}
	for _, b := range f.buffers {
		fs.buffers.put(b)
	}
}
