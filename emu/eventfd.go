package emu

import (
	"math"
	"sync"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// eventFD is a counter that is waited for (eventfd(2)).
type eventFD struct {
	anonFile
	semaphore bool // a read takes 1, not all

	mu    sync.Mutex
	count uint64

	// Who waits to read, who waits to write, and who polls.
	forCount, forRoom, forAny waitQueue
}

// eventfdCreate answers eventfd_create (eventfd2(2)).
func (t *Task) eventfdCreate(count, flags uint32) (uint64, abi.Errno) {
	if flags&^(abi.EFD_SEMAPHORE|abi.EFD_NONBLOCK|abi.EFD_CLOEXEC) != 0 {
		return 0, abi.EINVAL
	}
	e := &eventFD{semaphore: flags&abi.EFD_SEMAPHORE != 0, count: uint64(count)}
	return t.openAnon(anonEventFD, e, flags)
}

// tryTake takes from the counter what a read does; false: there is nothing.
func (e *eventFD) tryTake() (uint64, bool) {
	e.mu.Lock()
	n := e.count
	if n == 0 {
		e.mu.Unlock()
		return 0, false
	}
	if e.semaphore {
		n = 1
	}
	e.count -= n
	more := e.count > 0
	e.mu.Unlock()
	e.forRoom.wakeAll()
	e.forAny.notify(abi.POLLOUT)
	if more {
		e.forCount.wakeOne()
	}
	return n, true
}

// tryAdd adds to the counter; false: it would get too high.
func (e *eventFD) tryAdd(n uint64) bool {
	e.mu.Lock()
	if n >= math.MaxUint64-e.count {
		e.mu.Unlock()
		return false
	}
	e.count += n
	some := e.count > 0
	e.mu.Unlock()
	if some {
		e.forCount.wakeOne()
	}
	e.forAny.notify(abi.POLLIN)
	return true
}

// read implements openFile. What was taken is lost if it cannot be stored, as on Linux.
func (e *eventFD) read(t *Task, d *description, _ int64, n int, dst vfs.Dest) (int, abi.Errno) {
	if n < 8 {
		return 0, abi.EINVAL
	}
	count, ok := e.tryTake()
	if !ok {
		if d.has(abi.O_NONBLOCK) {
			return 0, abi.EAGAIN
		}
		w := &t.waiter
		w.task = t
		for {
			e.forCount.add(w)
			if count, ok = e.tryTake(); ok {
				break
			}
			if t.wait(forever) != 0 {
				if !e.forCount.remove(w) && e.ready(t, d)&abi.POLLIN != 0 {
					e.forCount.wakeOne() // the wake was for one reader
				}
				return 0, errRestart
			}
		}
		e.forCount.remove(w)
	}
	var b [8]byte
	le.PutUint64(b[:], count)
	return dst.Put(b[:])
}

// write implements openFile.
func (e *eventFD) write(t *Task, d *description, _ int64, n int, src vfs.Source) (int, int64, abi.Errno) {
	if n != 8 {
		return 0, 0, abi.EINVAL
	}
	var b [8]byte
	if _, errno := src.Get(b[:]); errno != 0 {
		return 0, 0, errno
	}
	count := le.Uint64(b[:])
	if count == math.MaxUint64 {
		return 0, 0, abi.EINVAL
	}
	if e.tryAdd(count) {
		return 8, 0, 0
	}
	if d.has(abi.O_NONBLOCK) {
		return 0, 0, abi.EAGAIN
	}
	w := &t.waiter
	w.task = t
	for {
		e.forRoom.add(w)
		if e.tryAdd(count) {
			e.forRoom.remove(w)
			return 8, 0, 0
		}
		if t.wait(forever) != 0 {
			e.forRoom.remove(w)
			return 0, 0, errRestart
		}
	}
}

func (e *eventFD) ready(*Task, *description) uint32 {
	e.mu.Lock()
	count := e.count
	e.mu.Unlock()
	var events uint32
	if count > 0 {
		events |= abi.POLLIN
	}
	if count < math.MaxUint64-1 {
		events |= abi.POLLOUT
	}
	return events
}

func (e *eventFD) queue(*Task) *waitQueue { return &e.forAny }
