package emu

import (
	"sync"
	"sync/atomic"

	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/fs/vfs"
)

// epoll is an event queue (epoll(7)): a set of descriptors that are watched, and a list of those
// that may be ready. A file's wait queue puts its watches on that list; a wait looks only at what
// is on it, and asks the file what holds.
//
// Lock order: an epoll's mu, then that of one it watches, and so on down; below all of them epolls.mu,
// description.watchMu, the locks of files, and of waitQueues (see there for lock).
type epoll struct {
	anonFile
	kernel *Kernel

	mu      sync.Mutex // held while what is watched changes, or is asked what holds
	watches map[watchKey]*watch

	lock       sync.Mutex // guards the list
	head, tail *watch     // those that may be ready, in the order in which they became so
	listed     atomic.Int32

	waiting waitQueue // tasks that wait for events
	polled  waitQueue // those who poll the queue, other queues among them

	// Of queues that contain each other; guarded by epolls.mu.
	above, below []*epoll // once for each watch
	depth        int      // what levels found, in round visited
	visited      uint64
}

const (
	// epollFlags are the bits that are not events of poll(2).
	epollFlags = abi.EPOLLET | abi.EPOLLONESHOT | abi.EPOLLWAKEUP | abi.EPOLLEXCLUSIVE
	// epollExclusive are those that may be asked for together with EPOLLEXCLUSIVE.
	epollExclusive = abi.EPOLLIN | abi.EPOLLOUT | abi.EPOLLERR | abi.EPOLLHUP | abi.EPOLLWAKEUP | abi.EPOLLET | abi.EPOLLEXCLUSIVE
	// epollMaxEvents bounds maxevents, as Linux does.
	epollMaxEvents = (1<<31 - 1) / abi.EpollEventSize
	// maxWatches bounds the watches of all event queues together (Linux's fs.epoll.max_user_watches).
	maxWatches = 1 << 18
)

// epollCreate answers epoll_create (epoll_create1(2)). size is the older call's hint.
func (t *Task) epollCreate(flags uint32, size int32) (uint64, abi.Errno) {
	if flags&^abi.EPOLL_CLOEXEC != 0 || size <= 0 {
		return 0, abi.EINVAL
	}
	e := &epoll{kernel: t.kernel, watches: make(map[watchKey]*watch)}
	return t.openAnon(anonEventQueue, e, flags)
}

// epollControl answers epoll_control (epoll_ctl(2)), with Linux's order of errors.
func (t *Task) epollControl(queue, op, fd int32, event abi.Addr) (uint64, abi.Errno) {
	var ev abi.EpollEvent
	if op != abi.EPOLL_CTL_DEL {
		if errno := t.getStruct(event, abi.EpollEventSize); errno != 0 {
			return 0, errno
		}
		ev.Decode(t.scratch[:])
	}
	q, errno := t.file(queue)
	if errno != 0 {
		return 0, errno
	}
	defer q.unref()
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	if !d.pollable() {
		return 0, abi.EPERM
	}
	e, ok := q.file.(*epoll)
	if !ok || q == d {
		return 0, abi.EINVAL
	}
	inner, _ := d.file.(*epoll)
	if op != abi.EPOLL_CTL_DEL && ev.Events&abi.EPOLLEXCLUSIVE != 0 {
		if op == abi.EPOLL_CTL_MOD || op == abi.EPOLL_CTL_ADD && (inner != nil || ev.Events&^epollExclusive != 0) {
			return 0, abi.EINVAL
		}
	}
	ev.Events &^= abi.EPOLLWAKEUP // the host does not sleep by our leave

	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.watches[watchKey{d, fd}]
	switch op {
	case abi.EPOLL_CTL_ADD:
		if inner != nil {
			// Linux looks at this first.
			if errno := t.kernel.io.epolls.nest(e, inner); errno != 0 {
				return 0, errno
			}
		}
		if w == nil {
			errno = e.add(t, watchKey{d, fd}, &ev)
		} else {
			errno = abi.EEXIST
		}
		if inner != nil && errno != 0 {
			t.kernel.io.epolls.unnest(e, inner)
		}
		return 0, errno
	case abi.EPOLL_CTL_DEL:
		if w == nil {
			return 0, abi.ENOENT
		}
		e.remove(w)
		return 0, 0
	case abi.EPOLL_CTL_MOD:
		if w == nil {
			return 0, abi.ENOENT
		}
		if w.exclusive {
			return 0, abi.EINVAL
		}
		w.data = ev.Data
		w.events.Store(ev.Events | alwaysReported)
		e.look(t, w)
		return 0, 0
	}
	return 0, abi.EINVAL
}

// pollable tells whether the kind of file has events to wait for: the others are always ready, and
// cannot be watched.
func (d *description) pollable() bool {
	switch d.file.(type) {
	case regularFile, directory, nullDevice, zeroDevice, fullDevice:
		return false
	case randomDevice: // of Linux's two, one once had to be waited for
		var a vfs.Attr
		return d.node.Attr(&a) == 0 && a.Rdev == devRandom
	}
	return true
}

// add begins to watch. The caller holds mu. ENOSPC: there are too many watches.
func (e *epoll) add(t *Task, key watchKey, ev *abi.EpollEvent) abi.Errno {
	if e.kernel.io.epolls.watches.Add(1) > maxWatches {
		e.kernel.io.epolls.watches.Add(-1)
		return abi.ENOSPC
	}
	w := &watch{epoll: e, key: key, data: ev.Data}
	w.events.Store(ev.Events | alwaysReported)
	w.observer = w
	w.exclusive = ev.Events&abi.EPOLLEXCLUSIVE != 0
	if _, ok := key.d.file.(*pipeEnd); ok {
		// On Linux the two sides of a pipe have a wait queue each.
		if key.d.mode&modeRead == 0 {
			w.deaf |= abi.POLLIN | abi.POLLRDNORM | abi.POLLHUP
		}
		if key.d.mode&modeWrite == 0 {
			w.deaf |= abi.POLLOUT | abi.POLLWRNORM | abi.POLLERR
		}
	}
	e.watches[key] = w
	key.d.watched(w)
	if q := key.d.file.queue(t); q != nil {
		q.observe(&w.waiter)
	}
	e.look(t, w)
	return 0
}

// look puts a watch on the list if something that it asks for holds already. The caller holds mu.
func (e *epoll) look(t *Task, w *watch) {
	if w.ready(t) == 0 {
		return
	}
	e.lock.Lock()
	if w.listed {
		e.lock.Unlock()
		return
	}
	e.push(w)
	e.waiting.wakeOne()
	e.lock.Unlock()
	e.polled.notify(abi.POLLIN)
}

// remove ends a watch. The caller holds mu.
func (e *epoll) remove(w *watch) {
	delete(e.watches, w.key)
	if q := w.waiter.queue; q != nil { // set by add, and by nobody taken off since
		q.remove(&w.waiter)
	}
	e.lock.Lock()
	if w.listed {
		e.unlist(w)
	}
	e.lock.Unlock()
	w.key.d.unwatched(w)
	if inner, ok := w.key.d.file.(*epoll); ok {
		e.kernel.io.epolls.unnest(e, inner)
	}
	e.kernel.io.epolls.watches.Add(-1)
}

// collect stores up to max events in the guest's memory, and returns how many. What is level-triggered
// goes to the end of the list afterwards, so that each has its turn; it leaves the list when it is found not
// to be ready.
func (e *epoll) collect(t *Task, at abi.Addr, max int) (n int, errno abi.Errno) {
	var b [abi.EpollEventSize]byte
	e.mu.Lock()
	// As many as there are now: what comes back to the list in the meantime waits for the next call.
	for left := int(e.listed.Load()); left > 0 && n < max; left-- {
		w := e.pop(nil)
		if w == nil {
			break
		}
		events := w.ready(t)
		if events == 0 {
			continue
		}
		(&abi.EpollEvent{Events: events, Data: w.data}).Encode(b[:])
		if guest.CopyOut(at+abi.Addr(n*abi.EpollEventSize), b[:]) < len(b) {
			e.pushFront(w)
			errno = abi.EFAULT
			break
		}
		n++
		switch flags := w.events.Load(); {
		case flags&abi.EPOLLONESHOT != 0:
			w.events.Store(flags & epollFlags)
		case flags&abi.EPOLLET == 0:
			e.lock.Lock()
			if !w.listed {
				e.push(w)
			}
			e.lock.Unlock()
		}
	}
	if e.listed.Load() > 0 {
		e.waiting.wakeOne()
	}
	e.mu.Unlock()
	if n > 0 {
		errno = 0
	}
	return n, errno
}

// ready implements openFile: whether some watch is. Those that are found not to be leave the list.
func (e *epoll) ready(t *Task, _ *description) uint32 {
	if e.listed.Load() == 0 {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for left := int(e.listed.Load()); left > 0; left-- {
		w := e.pop(nil)
		if w == nil {
			break
		}
		if w.ready(t) != 0 {
			e.pushFront(w)
			// It was off the list for a moment: a thread may have found the list empty just then, and wait.
			e.waiting.wakeOne()
			return abi.POLLIN | abi.POLLRDNORM
		}
	}
	return 0
}

// ioctl implements openFile; the real one says so in another way than most.
func (e *epoll) ioctl(*Task, *description, uint32, uint64) (uint64, abi.Errno) {
	return 0, abi.EINVAL
}

func (e *epoll) queue(*Task) *waitQueue { return &e.polled }

// release implements openFile.
func (e *epoll) release(*description) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.watches {
		e.remove(w)
	}
}

// epollMillis answers epoll_millis (epoll_pwait(2), and with mask 0 epoll_wait(2)).
func (t *Task) epollMillis(queue int32, events abi.Addr, max, ms int32, mask abi.Addr, maskSize uint64) (uint64, abi.Errno) {
	deadline := forever
	switch {
	case ms == 0:
		deadline = 0
	case ms > 0:
		deadline = t.deadlineIn(int64(ms) * 1e6)
	}
	return t.epollUntil(queue, events, max, deadline, mask, maskSize)
}

// epollWait answers epoll_wait (epoll_pwait2(2)).
func (t *Task) epollWait(queue int32, events abi.Addr, max int32, timeout, mask abi.Addr, maskSize uint64) (uint64, abi.Errno) {
	deadline, errno := t.timeoutAt(timeout)
	if errno != 0 {
		return 0, errno
	}
	return t.epollUntil(queue, events, max, deadline, mask, maskSize)
}

// epollUntil waits for events until the deadline; one that has passed already is no wait at all.
func (t *Task) epollUntil(queue int32, events abi.Addr, max int32, deadline int64, mask abi.Addr, maskSize uint64) (uint64, abi.Errno) {
	if mask != 0 {
		if errno := t.pollMask(mask, maskSize); errno != 0 {
			return 0, errno
		}
	}
	n, errno := t.epollEvents(queue, events, max, deadline)
	if mask != 0 && errno != abi.EINTR {
		t.restoreMask()
	}
	return uint64(n), errno
}

func (t *Task) epollEvents(queue int32, events abi.Addr, max int32, deadline int64) (int, abi.Errno) {
	d, counted, errno := t.borrow(queue)
	if errno != 0 {
		return 0, errno
	}
	if counted {
		defer d.unref()
	}
	if max <= 0 || max > epollMaxEvents {
		return 0, abi.EINVAL
	}
	if !inGuest(events, uint64(max)*abi.EpollEventSize) {
		return 0, abi.EFAULT
	}
	e, ok := d.file.(*epoll)
	if !ok {
		return 0, abi.EINVAL
	}
	return e.wait(t, events, int(max), deadline)
}

// wait collects events, and waits for some if there are none.
func (e *epoll) wait(t *Task, events abi.Addr, max int, deadline int64) (int, abi.Errno) {
	if e.listed.Load() > 0 {
		if n, errno := e.collect(t, events, max); n > 0 || errno != 0 {
			return n, errno
		}
	}
	if deadline == 0 {
		return 0, 0
	}
	w := &t.waiter
	w.task = t
	for {
		e.waiting.add(w)
		var why abi.Errno
		if e.listed.Load() == 0 {
			why = t.wait(deadline)
		}
		// From here on wakes are for others. Whatever has ended the wait, events come first: a wake that came
		// has put some on the list, and what this thread leaves there wakes the next one.
		e.waiting.remove(w)
		if e.listed.Load() > 0 {
			if n, errno := e.collect(t, events, max); n > 0 || errno != 0 {
				return n, errno
			}
		}
		switch why {
		case 0:
		case abi.ETIMEDOUT:
			return 0, 0
		default:
			return 0, abi.EINTR
		}
	}
}
