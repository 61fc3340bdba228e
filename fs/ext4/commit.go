package ext4

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/ext4/jbd2"
)

// frozen is a transaction on its way to the device: copies of what it changed.
type frozen struct {
	tx      *transaction
	buffers []*buffer // each with the transaction's reference
	log     jbd2.Transaction
	fresh   int    // of log.Blocks, at their start: blocks that were not in use before
	super   []byte // without a journal
}

// commit makes the running transaction durable, unless need (0 for whatever there is) is
// already. Content that it leads to has been written before. Callers at the same time share a
// commit.
//
// Without a journal the transaction is written home, and not flushed: the caller does that.
func (fs *FS) commit(need uint64) error {
	if fs.opts.ReadOnly || need != 0 && fs.committed.Load() >= need {
		return nil
	}
	fs.commitMu.Lock()
	defer fs.commitMu.Unlock()
	return fs.commitLocked(need)
}

func (fs *FS) commitLocked(need uint64) error {
	if err := fs.retryStuck(); err != nil {
		return err
	}
	if need != 0 && fs.committed.Load() >= need {
		return nil
	}
	fs.txLock.Lock()
	if err := fs.aborted(); err != nil {
		fs.txLock.Unlock()
		return err
	}
	tx := fs.running
	if tx.empty() {
		fs.txLock.Unlock()
		return nil
	}
	fs.running = newTransaction(tx.id + 1)
	fs.frozen.Store(tx.id)
	f := fs.freeze(tx)
	fs.txLock.Unlock()
	return fs.put(f)
}

// put writes a frozen transaction. If the device is full, the transaction waits for the next
// commit, which does it first; any other failure ends all changing.
func (fs *FS) put(f *frozen) error {
	if fs.journal == nil {
		defer fs.release(f)
		if err := fs.writeFrozen(f); err != nil {
			fs.thaw(f)
			if !errors.Is(err, blockdev.ErrNoSpace) {
				fs.abort(err)
			}
			return fmt.Errorf("transaction %d: %w", f.tx.id, err)
		}
	} else if err := fs.writeLog(f); errors.Is(err, blockdev.ErrNoSpace) && !fs.flushFailed() {
		fs.stuck = f
		return err
	} else if err != nil {
		fs.release(f)
		fs.abort(err)
		return err
	} else {
		fs.release(f)
	}
	fs.committed.Store(f.tx.id)
	fs.reuse(f.tx.freed)
	return nil
}

// retryStuck commits the transaction that an earlier commit had no room for.
func (fs *FS) retryStuck() error {
	f := fs.stuck
	if f == nil {
		return fs.aborted()
	}
	if err := fs.aborted(); err != nil {
		fs.stuck = nil
		fs.release(f)
		return err
	}
	fs.stuck = nil
	return fs.put(f)
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
	for _, b := range tx.buffers {
		fs.seal(b)
	}
	for _, g := range tx.groups {
		b := fs.gdt[g.nr/fs.descPerBlock]
		off := int(g.nr%fs.descPerBlock) * fs.descSize
		fs.encodeGroup(g, b.data[off:off+fs.descSize])
		g.tx = nil
	}
	f := &frozen{tx: tx, buffers: tx.buffers}
	if b := fs.superBuf; b != nil && tx.super.Load() {
		fs.sbMu.Lock()
		fs.encodeSuperblock(b.data[fs.superOffset():][:disk.SuperblockSize], fs.stateOnDisk())
		fs.sbMu.Unlock()
	} else if b == nil {
		fs.sbMu.Lock()
		f.super = make([]byte, disk.SuperblockSize)
		fs.encodeSuperblock(f.super, fs.stateOnDisk())
		fs.sbMu.Unlock()
		slices.SortFunc(tx.buffers, func(a, b *buffer) int {
			if a.fresh != b.fresh {
				if a.fresh {
					return -1
				}
				return 1
			}
			return cmp.Compare(a.nr, b.nr)
		})
	}
	revoked := make(map[uint64]bool, len(tx.revoked))
	for _, nr := range tx.revoked {
		revoked[nr] = true
	}
	f.log.Blocks = make([]jbd2.Block, 0, len(f.buffers))
	for _, b := range f.buffers {
		b.tx.Store(nil)
		if role(b.role.Load()).kind() == roleNone {
			continue // freed
		}
		data := fs.frames.block(fs.bs)
		copy(data, b.data)
		f.log.Blocks = append(f.log.Blocks, jbd2.Block{Nr: b.nr, Data: data})
		if b.fresh {
			b.fresh = false
			f.fresh = len(f.log.Blocks)
		}
		delete(revoked, b.nr) // freed, and in use again
	}
	for nr := range revoked {
		f.log.Revoked = append(f.log.Revoked, nr)
	}
	slices.Sort(f.log.Revoked)
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
		disk.SetOrphanTail(b.gen, b.nr, b.data, true)
	}
}

func sealHtree(b *buffer, off int) {
	e := disk.HtreeEntries(b.data[off:])
	disk.SetHtreeChecksum(b.gen, b.data, off, e.Limit(), e.Count())
}

// writeFrozen writes a transaction's metadata home, in a file system without a journal. Around
// that the superblock says that the file system is not clean: should the writing be cut short,
// e2fsck will know.
func (fs *FS) writeFrozen(f *frozen) error {
	sb := []blockdev.Vec{{Off: disk.SuperblockOffset, Data: f.super}}
	vecs := make([]blockdev.Vec, len(f.log.Blocks))
	for i, b := range f.log.Blocks {
		vecs[i] = blockdev.Vec{Off: int64(b.Nr) << fs.bsLog, Data: b.Data}
	}
	if len(vecs) == 1 && !f.tx.super.Load() {
		// One block, usually of inodes with new times: there is nothing to be cut short.
		return fs.dev.WriteV(vecs)
	}
	if len(vecs) > 0 {
		fs.setStateIn(f.super, fs.stateOnDisk()&^disk.StateValid)
		if err := fs.dev.WriteV(sb); err != nil {
			return err
		}
		// What the others lead to is there before they do.
		for _, part := range [][]blockdev.Vec{vecs[:f.fresh], vecs[f.fresh:]} {
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
	h := handle{fs: fs, tx: fs.running}
	for _, b := range f.buffers {
		if role(b.role.Load()).kind() != roleNone {
			h.access(b)
		}
	}
	h.super()
	h.tx.mu.Lock()
	h.tx.freed = append(h.tx.freed, f.tx.freed...)
	h.tx.mu.Unlock()
}

// release gives the copies' memory and the transaction's references back.
func (fs *FS) release(f *frozen) {
	for _, b := range f.log.Blocks {
		fs.frames.freeBlock(b.Data)
	}
	for _, b := range f.buffers {
		fs.buffers.put(b)
	}
}
