package ext4

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
)

// transaction is a set of changes that reach the device together.
type transaction struct {
	id uint64

	mu      sync.Mutex
	buffers []*buffer // changed, each with a reference
	inodes  []*inode  // changed; encoded into their table blocks at commit
	groups  []*group  // changed descriptors
	freed   []freedRun
	revoked []uint64 // metadata blocks that were freed

	super    atomic.Bool  // the superblock changed
	size     atomic.Int32 // len(buffers), to be read without the lock
	reserved atomic.Int32 // credits of open handles
}

// freedRun is a run of blocks that may be used again once the transaction is committed.
type freedRun struct {
	group uint32
	start uint32
	n     uint32
}

func newTransaction(id uint64) *transaction { return &transaction{id: id} }

func (tx *transaction) empty() bool {
	return len(tx.buffers) == 0 && len(tx.inodes) == 0 && len(tx.groups) == 0 && !tx.super.Load()
}

// handle is one atomic change of metadata: everything done between begin and end is in the
// same transaction. A handle is short: it may read blocks, but must not wait for a commit,
// a frame or an inode's lock. Handles do not nest.
type handle struct {
	fs      *FS
	tx      *transaction
	credits int32
	audit   *handleAudit // in tests
}

// handleAudit counts what a handle adds to its transaction.
type handleAudit struct {
	used  atomic.Int32
	begun string // file and line
}

// overdrawn, if tests set it, is told of handles that change more blocks than they asked for.
var overdrawn func(begun string, credits, used int32)

// begin opens a handle that changes at most credits blocks of metadata: each block that it
// asks access for counts once, those of inodes, bitmaps, group descriptors and the superblock
// included. It may wait for a commit and for a checkpoint, neither of which takes an inode's
// lock.
func (fs *FS) begin(credits int) (handle, error) {
	for {
		fs.txLock.RLock()
		if fs.readOnly.Load() {
			fs.txLock.RUnlock()
			return handle{}, errReadOnly
		}
		tx := fs.running
		if fs.journal == nil || fs.reserve(tx, credits) {
			if fs.onBegin != nil {
				fs.onBegin(credits)
			}
			h := handle{fs: fs, tx: tx, credits: int32(credits)}
			if overdrawn != nil {
				h.audit = &handleAudit{begun: caller(2)}
			}
			return h, nil
		}
		fs.txLock.RUnlock()
		if err := fs.makeLogRoom(tx, credits); err != nil {
			return handle{}, err
		}
	}
}

// caller returns file and line of a function's caller.
func caller(skip int) string {
	_, file, line, _ := runtime.Caller(skip)
	return fmt.Sprintf("%s:%d", filepath.Base(file), line)
}

// end closes the handle. What was changed under it may be committed from now on.
func (h handle) end() {
	if h.audit != nil && h.audit.used.Load() > h.credits {
		overdrawn(h.audit.begun, h.credits, h.audit.used.Load())
	}
	many := int(h.tx.size.Load()) > h.fs.manyChanges
	h.tx.reserved.Add(-h.credits)
	h.fs.txLock.RUnlock()
	h.fs.flusher.dirtied()
	if many {
		h.fs.flusher.commitSoon()
	}
}

// access announces that b's content will be changed. b must be loaded and checked.
func (h handle) access(b *buffer) {
	if b.tx.Load() == h.tx || !b.tx.CompareAndSwap(nil, h.tx) {
		return
	}
	h.fs.buffers.ref(b)
	if h.audit != nil {
		h.audit.used.Add(1)
	}
	h.tx.mu.Lock()
	h.tx.buffers = append(h.tx.buffers, b)
	h.tx.size.Store(int32(len(h.tx.buffers)))
	h.tx.mu.Unlock()
}

// inode announces that n's persistent fields will be changed. The caller holds n's lock.
func (h handle) inode(n *inode) error {
	if n.tx.Load() == h.tx {
		return nil
	}
	b, err := h.fs.inodeBlock(n.ino)
	if err != nil {
		return err
	}
	h.inodeIn(n, b)
	return nil
}

// inodeIn is inode for a caller that has n's block of the inode table, with a reference
// that passes to the handle.
func (h handle) inodeIn(n *inode, b *buffer) {
	h.access(b)
	if n.tx.CompareAndSwap(nil, h.tx) {
		n.table = b
		h.tx.mu.Lock()
		h.tx.inodes = append(h.tx.inodes, n)
		h.tx.mu.Unlock()
		return
	}
	h.fs.buffers.put(b)
}

// group announces that g's descriptor will be changed. The caller holds g's lock.
func (h handle) group(g *group) {
	if g.tx == h.tx {
		return
	}
	g.tx = h.tx
	h.access(h.fs.gdt[g.nr/h.fs.descPerBlock])
	h.tx.mu.Lock()
	h.tx.groups = append(h.tx.groups, g)
	h.tx.mu.Unlock()
	h.super()
}

// super announces that the superblock changes.
func (h handle) super() {
	if h.tx.super.Load() {
		return
	}
	h.tx.super.Store(true)
	if b := h.fs.superBuf; b != nil {
		h.access(b)
	}
}

// forget drops a metadata block that the handle has freed: its changes need not reach the
// device, and older ones in the journal must not be brought home over what comes after.
func (h handle) forget(nr uint64) {
	if h.fs.journal != nil {
		h.tx.mu.Lock()
		h.tx.revoked = append(h.tx.revoked, nr)
		h.tx.mu.Unlock()
	}
	b := h.fs.buffers.lookup(nr)
	if b == nil {
		return
	}
	b.role.Store(uint64(roleNone))
	h.fs.buffers.forget(nr)
	h.fs.buffers.put(b)
}
