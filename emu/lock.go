package emu

import (
	"math"
	"sync"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// maxLocks bounds the locks of all files together: ENOLCK.
const maxLocks = 1 << 16

// lockTable holds the locks of all files: the record locks of fcntl(2), which belong to a
// process (more exactly: to its table of descriptors) or to an open file description, and those
// of flock(2). The node is held by the descriptions through which it was locked.
type lockTable struct {
	mu    sync.Mutex
	files map[vfs.Node]*fileLocks
	count int
	// waits finds the waits of a process, for telling deadlocks.
	waits map[lockOwner][]*recordWait
}

// lockOwner is a *fdTable or a *description.
type lockOwner any

// fileLocks are the locks of one file; it exists while there are any, or somebody waits.
type fileLocks struct {
	records []recordLock // by start; those of one owner do not overlap
	flocks  []flock
	queue   waitQueue // who waits for any of them to go
	waiting int
}

// recordLock is a lock on the bytes from start to end, both included.
type recordLock struct {
	start, end int64
	write      bool
	owner      lockOwner
	pid        int32 // of the process that took it; -1: it belongs to a description
}

// recordWait is a process that waits for a record lock.
type recordWait struct {
	blocker lockOwner // owner of a lock that is in the way
}

func (l *recordLock) overlaps(start, end int64) bool { return l.start <= end && start <= l.end }

// conflict returns a lock of somebody else that is in the way of r, or nil.
func (f *fileLocks) conflict(r *recordLock) *recordLock {
	for i := range f.records {
		l := &f.records[i]
		if l.owner != r.owner && (l.write || r.write) && l.overlaps(r.start, r.end) {
			return l
		}
	}
	return nil
}

// held returns a lock of r's owner on r's range, or nil.
func (f *fileLocks) held(r *recordLock) *recordLock {
	for i := range f.records {
		if l := &f.records[i]; l.owner == r.owner && l.overlaps(r.start, r.end) {
			return l
		}
	}
	return nil
}

// change makes r's range locked as r says, or unlocked, for r's owner: what it held there before is
// replaced, and what it holds next to it in the same way becomes one lock with it.
func (f *fileLocks) change(r recordLock, unlock bool) {
	next := make([]recordLock, 0, len(f.records)+2)
	for _, l := range f.records {
		touches := l.owner == r.owner && (l.overlaps(r.start, r.end) ||
			l.end != math.MaxInt64 && l.end+1 == r.start || r.end != math.MaxInt64 && r.end+1 == l.start)
		switch {
		case !touches:
			next = append(next, l)
		case !unlock && l.write == r.write:
			r.start, r.end = min(l.start, r.start), max(l.end, r.end)
		default:
			if l.start < r.start {
				left := l
				left.end = min(l.end, r.start-1)
				next = append(next, left)
			}
			if l.end > r.end {
				right := l
				right.start = max(l.start, r.end+1)
				next = append(next, right)
			}
		}
	}
	if !unlock {
		next = append(next, r)
	}
	f.records = next
}

// drop removes the record locks of owner, and tells whether there were any.
func (f *fileLocks) drop(owner lockOwner) bool {
	kept := f.records[:0]
	for _, l := range f.records {
		if l.owner != owner {
			kept = append(kept, l)
		}
	}
	dropped := len(kept) < len(f.records)
	clear(f.records[len(kept):])
	f.records = kept
	return dropped
}

func (f *fileLocks) size() int { return len(f.records) + len(f.flocks) }

// get returns the locks of a file; a new entry if there are none. The caller holds mu, and calls
// done afterwards.
func (t *lockTable) get(node vfs.Node) *fileLocks {
	f := t.files[node]
	if f == nil {
		if t.files == nil {
			t.files = make(map[vfs.Node]*fileLocks)
			t.waits = make(map[lockOwner][]*recordWait)
		}
		f = &fileLocks{}
		t.files[node] = f
	}
	return f
}

// done forgets an entry that has become empty. before is its size when it was got. The caller holds mu.
func (t *lockTable) done(node vfs.Node, f *fileLocks, before int) {
	t.count += f.size() - before
	if f.size() == 0 && f.waiting == 0 {
		delete(t.files, node)
	}
}

// releaseProcess removes the record locks that a process has on the file of d: it has closed
// one of its descriptors of the file.
func (t *lockTable) releaseProcess(d *description, owner *fdTable) {
	t.release(d.node, func(f *fileLocks) bool { return f.drop(owner) })
}

// releaseDescription removes the locks that belong to d: it is closed for good.
func (t *lockTable) releaseDescription(d *description) {
	t.release(d.node, func(f *fileLocks) bool {
		records, flocked := f.drop(d), f.unflock(d)
		return records || flocked
	})
}

// release has drop, which tells whether there were any, remove locks of a file that may have some.
func (t *lockTable) release(node vfs.Node, drop func(f *fileLocks) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.files[node]
	if f == nil {
		return
	}
	before := f.size()
	if drop(f) {
		f.queue.wakeAll()
	}
	t.done(node, f, before)
}

// deadlock tells whether owner, which is about to wait for blocker, would wait for itself. As on
// Linux only processes are looked at, and chains of limited length.
func (t *lockTable) deadlock(owner, blocker lockOwner) bool {
	const steps = 256
	seen := map[lockOwner]bool{blocker: true}
	for list := []lockOwner{blocker}; len(list) > 0 && len(seen) < steps; list = list[1:] {
		if list[0] == owner {
			return true
		}
		for _, w := range t.waits[list[0]] {
			if !seen[w.blocker] {
				seen[w.blocker] = true
				list = append(list, w.blocker)
			}
		}
	}
	return false
}

// recordLock is fcntl(2) with F_GETLK and its kin.
func (t *Task) recordLock(fd int32, d *description, cmd int32, a abi.Addr) abi.Errno {
	if errno := t.getStruct(a, abi.FlockSize); errno != 0 {
		return errno
	}
	var l abi.Flock
	l.Decode(t.scratch[:])
	r := recordLock{owner: t.proc.files, pid: t.proc.pid, write: l.Type == abi.F_WRLCK}
	switch cmd {
	case abi.F_OFD_GETLK, abi.F_OFD_SETLK, abi.F_OFD_SETLKW:
		if l.PID != 0 {
			return abi.EINVAL
		}
		r.owner, r.pid = d, -1
	}
	query := cmd == abi.F_GETLK || cmd == abi.F_OFD_GETLK
	switch {
	case l.Type == abi.F_RDLCK, l.Type == abi.F_WRLCK:
	case l.Type != abi.F_UNLCK, cmd == abi.F_GETLK:
		return abi.EINVAL
	}
	var errno abi.Errno
	if r.start, r.end, errno = t.lockRange(d, &l); errno != 0 {
		return errno
	}
	if query {
		return t.queryLock(d, &r, &l, a)
	}
	switch {
	case l.Type == abi.F_RDLCK && d.mode&modeRead == 0,
		l.Type == abi.F_WRLCK && d.mode&modeWrite == 0:
		return abi.EBADF
	}
	wait := cmd == abi.F_SETLKW || cmd == abi.F_OFD_SETLKW
	errno = t.setRecordLock(d, r, l.Type == abi.F_UNLCK, wait)
	if errno != 0 || l.Type == abi.F_UNLCK || r.owner == lockOwner(d) {
		return errno
	}
	// Another thread may have closed the descriptor meanwhile, and would have missed the lock.
	now := t.proc.files.get(fd)
	if now != nil {
		now.unref()
	}
	if now != d {
		t.kernel.io.locks.releaseProcess(d, t.proc.files)
		return abi.EBADF
	}
	return 0
}

// lockRange translates the range of a struct flock: both ends included.
func (t *Task) lockRange(d *description, l *abi.Flock) (start, end int64, _ abi.Errno) {
	switch l.Whence {
	case abi.SEEK_SET:
	case abi.SEEK_CUR:
		d.mu.Lock()
		start = d.pos
		d.mu.Unlock()
	case abi.SEEK_END:
		if errno := d.dentry.Attr(&t.attr); errno != 0 {
			return 0, 0, errno
		}
		start = t.attr.Size
	default:
		return 0, 0, abi.EINVAL
	}
	if l.Start > math.MaxInt64-start {
		return 0, 0, abi.EOVERFLOW
	}
	start += l.Start
	if start < 0 {
		return 0, 0, abi.EINVAL
	}
	switch {
	case l.Len == 0:
		return start, math.MaxInt64, 0
	case l.Len > 0:
		if l.Len-1 > math.MaxInt64-start {
			return 0, 0, abi.EOVERFLOW
		}
		return start, start + l.Len - 1, 0
	}
	if start+l.Len < 0 {
		return 0, 0, abi.EINVAL
	}
	return start + l.Len, start - 1, 0
}

// queryLock answers F_GETLK: which lock would be in the way; or, for a lock that is none, which
// lock the description has there itself.
func (t *Task) queryLock(d *description, r *recordLock, l *abi.Flock, a abi.Addr) abi.Errno {
	locks := &t.kernel.io.locks
	locks.mu.Lock()
	var c *recordLock
	if f := locks.files[d.node]; f != nil {
		if l.Type == abi.F_UNLCK {
			c = f.held(r)
		} else {
			c = f.conflict(r)
		}
	}
	if c == nil {
		l.Type = abi.F_UNLCK
	} else {
		*l = abi.Flock{Type: abi.F_RDLCK, Start: c.start, PID: c.pid}
		if c.write {
			l.Type = abi.F_WRLCK
		}
		if c.end != math.MaxInt64 {
			l.Len = c.end - c.start + 1
		}
	}
	locks.mu.Unlock()
	l.Encode(t.scratch[:])
	return t.putStruct(a, abi.FlockSize)
}

// setRecordLock locks or unlocks a range, and waits, if it may, while others are in the way.
func (t *Task) setRecordLock(d *description, r recordLock, unlock, wait bool) abi.Errno {
	locks := &t.kernel.io.locks
	process := r.owner == lockOwner(t.proc.files)
	if process {
		t.proc.files.locked.Store(true)
	} else {
		d.flocked.Store(true)
	}
	locks.mu.Lock()
	defer locks.mu.Unlock()
	f := locks.get(d.node)
	before := f.size()
	defer func() { locks.done(d.node, f, before) }()
	if !unlock {
		if errno := t.awaitRecord(locks, f, &r, wait, process); errno != 0 {
			before = f.size() // which others have counted
			return errno
		}
		before = f.size()
	}
	if locks.count+2 > maxLocks && !unlock {
		return abi.ENOLCK
	}
	f.change(r, unlock)
	// Also a lock may let others go on: one for reading in place of one for writing.
	f.queue.wakeAll()
	return 0
}

// awaitRecord returns when nothing is in the way of r. locks.mu is held, and given up meanwhile.
func (t *Task) awaitRecord(locks *lockTable, f *fileLocks, r *recordLock, wait, process bool) abi.Errno {
	c := f.conflict(r)
	if c == nil {
		return 0
	}
	if !wait {
		return abi.EAGAIN
	}
	me := &recordWait{}
	if process {
		locks.waits[r.owner] = append(locks.waits[r.owner], me)
		defer locks.forget(r.owner, me)
	}
	f.waiting++
	defer func() { f.waiting-- }()
	for ; c != nil; c = f.conflict(r) {
		me.blocker = c.owner
		if process && locks.deadlock(r.owner, c.owner) {
			return abi.EDEADLK
		}
		if errno := t.awaitUnlock(locks, f); errno != 0 {
			return errno
		}
	}
	return 0
}

// awaitUnlock waits until a lock of the file may be gone. The caller holds mu, which is given up meanwhile.
func (t *Task) awaitUnlock(locks *lockTable, f *fileLocks) abi.Errno {
	w := &t.waiter
	w.task = t
	f.queue.add(w)
	locks.mu.Unlock()
	errno := t.wait(forever)
	locks.mu.Lock()
	f.queue.remove(w)
	if errno != 0 {
		return errRestart
	}
	return 0
}

// forget takes a wait off the list. The caller holds mu.
func (t *lockTable) forget(owner lockOwner, me *recordWait) {
	list := t.waits[owner]
	for i, w := range list {
		if w == me {
			list[i] = list[len(list)-1]
			list = list[:len(list)-1]
			break
		}
	}
	if len(list) == 0 {
		delete(t.waits, owner)
	} else {
		t.waits[owner] = list
	}
}
