package emu

import (
	"sync"
	"testing"

	"pinhole/abi"
)

// failingNode is a file whose writing behind fails now and then.
type failingNode struct {
	*frameNode
	mu    sync.Mutex
	count uint32 // of errors
	last  abi.Errno
	now   abi.Errno // what Sync meets itself
}

func (n *failingNode) SampleError() uint32 { n.mu.Lock(); defer n.mu.Unlock(); return n.count }

func (n *failingNode) CheckError(seen *uint32) abi.Errno {
	n.mu.Lock()
	defer n.mu.Unlock()
	if *seen == n.count {
		return 0
	}
	*seen = n.count
	return n.last
}

func (n *failingNode) Sync(bool) abi.Errno {
	if n.now != 0 {
		n.fails(n.now)
	}
	return n.now
}

func (n *failingNode) fails(e abi.Errno) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.count++
	n.last = e
}

// TestSyncErrors: an error of writing behind is told once to each open file, by whichever call asks first.
func TestSyncErrors(t *testing.T) {
	w := newMemWorld(t)
	n := &failingNode{frameNode: w.newFrameNode(4 * pageSize)}
	a, b := w.openNode(n, modeRead|modeWrite), w.openNode(n, modeRead|modeWrite)
	dup := int32(w.ok(w.fdDup(a)))
	m := w.mapFD(b, 1, rw, abi.MAP_SHARED, 0)
	w.ok(w.fileSync(a))
	n.fails(abi.EIO)
	late := w.openNode(n, modeRead|modeWrite) // opened when all is over
	w.fails(abi.EIO)(w.fileDatasync(dup))
	w.ok(w.fileSync(a)) // the same open file
	w.fails(abi.EIO)(w.memSync(m, pageSize, abi.MS_SYNC))
	w.ok(w.fileSync(b)) // likewise
	w.ok(w.fileSync(late))
	n.fails(abi.ENOSPC)
	w.ok(w.fileSyncRange(a, 0, 0, abi.SYNC_FILE_RANGE_WRITE)) // does not wait for anything
	w.fails(abi.ENOSPC)(w.fileSyncRange(a, 0, 0, abi.SYNC_FILE_RANGE_WAIT_BEFORE|abi.SYNC_FILE_RANGE_WRITE))
	w.fails(abi.ENOSPC)(w.fileSync(b))
	w.fails(abi.ENOSPC)(w.fileSync(late))
	// What a sync meets itself is told by it, and then to the others.
	n.now = abi.EIO
	w.fails(abi.EIO)(w.fileSync(a))
	n.now = 0
	w.ok(w.fileSync(a))
	w.fails(abi.EIO)(w.fileSync(b))
	w.ok(w.memSync(m, pageSize, abi.MS_SYNC))
	// A mapping keeps its open file after close.
	n.fails(abi.EIO)
	w.ok(w.fdClose(b))
	w.fails(abi.EIO)(w.memSync(m, pageSize, abi.MS_SYNC))
	w.ok(w.memSync(m, pageSize, abi.MS_SYNC))
	// A write with O_DSYNC.
	d := w.proc.files.get(a)
	d.flags.Or(abi.O_DSYNC)
	d.unref()
	n.fails(abi.ENOSPC)
	w.fails(abi.ENOSPC)(w.filePwrite(a, w.mem.bytes("x"), 1, 0))
	if got := w.ok(w.filePwrite(a, w.mem.bytes("x"), 1, 0)); got != 1 {
		t.Errorf("%d bytes", got)
	}
}
