package emu

import "pinhole/abi"

// flock is a lock of flock(2): on the whole file, owned by an open file description.
type flock struct {
	d         *description
	exclusive bool
	pid       int32 // of the process that took it
}

// unflock removes the lock of d, and tells whether there was one.
func (f *fileLocks) unflock(d *description) bool {
	for i := range f.flocks {
		if f.flocks[i].d == d {
			f.flocks = append(f.flocks[:i], f.flocks[i+1:]...)
			return true
		}
	}
	return false
}

// flocked returns the lock of d, or nil.
func (f *fileLocks) flocked(d *description) *flock {
	for i := range f.flocks {
		if f.flocks[i].d == d {
			return &f.flocks[i]
		}
	}
	return nil
}

// flockable tells whether nobody else's lock is in the way of one of d.
func (f *fileLocks) flockable(d *description, exclusive bool) bool {
	for _, l := range f.flocks {
		if l.d != d && (exclusive || l.exclusive) {
			return false
		}
	}
	return true
}

// lockMandatory asked for a kind of lock that Linux no longer has: it answers with success.
const lockMandatory = 32

// fileLock is flock(2). A lock that is changed from shared to exclusive or back is given up
// first, and lost if the new one cannot be had.
func (t *Task) fileLock(fd, op int32) (uint64, abi.Errno) {
	if op&lockMandatory != 0 {
		return 0, 0
	}
	kind := op &^ abi.LOCK_NB
	if kind != abi.LOCK_SH && kind != abi.LOCK_EX && kind != abi.LOCK_UN {
		return 0, abi.EINVAL
	}
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	if kind != abi.LOCK_UN && d.mode&(modeRead|modeWrite) == 0 {
		return 0, abi.EBADF
	}
	d.flocked.Store(true)
	locks := &t.kernel.io.locks
	locks.mu.Lock()
	defer locks.mu.Unlock()
	f := locks.get(d.node)
	errno = t.flock(locks, f, d, kind, op&abi.LOCK_NB == 0)
	locks.done(d.node, f, f.size())
	return 0, errno
}

// flock does the work with locks.mu held, which it gives up while it waits.
func (t *Task) flock(locks *lockTable, f *fileLocks, d *description, kind int32, wait bool) abi.Errno {
	exclusive := kind == abi.LOCK_EX
	if l := f.flocked(d); l != nil {
		if kind != abi.LOCK_UN && l.exclusive == exclusive {
			return 0
		}
		f.unflock(d)
		locks.count--
		f.queue.wakeAll()
	}
	if kind == abi.LOCK_UN {
		return 0
	}
	f.waiting++
	defer func() { f.waiting-- }()
	for !f.flockable(d, exclusive) {
		if !wait {
			return abi.EAGAIN
		}
		if errno := t.awaitUnlock(locks, f); errno != 0 {
			return errno
		}
	}
	if f.flocked(d) != nil { // another thread locked through the same description meanwhile
		f.unflock(d)
		locks.count--
		f.queue.wakeAll()
	}
	if locks.count >= maxLocks {
		return abi.ENOLCK
	}
	f.flocks = append(f.flocks, flock{d, exclusive, t.proc.pid})
	locks.count++
	return 0
}
