package emu

import (
	"sync/atomic"

	"pinhole/abi"
)

// watchKey is what a watch is known by: a descriptor, and what it was open on.
type watchKey struct {
	d  *description
	fd int32
}

// watch is a descriptor that an event queue watches. It ends with the description: when that is about
// to be released it takes all its watches out of their queues.
type watch struct {
	waiter // in the file's wait queue
	epoll  *epoll
	key    watchKey
	data   uint64        // the guest's; guarded by epoll.mu
	events atomic.Uint32 // asked for, with flags; changed with epoll.mu held
	deaf   uint32        // events of the file's wait queue that are of another side of it

	nextWatch *watch // of the description; guarded by its watchMu

	// Guarded by epoll.lock.
	listed     bool
	prev, next *watch
}

// ready returns the events that hold of those that the watch asks for. The caller holds epoll.mu.
func (w *watch) ready(t *Task) uint32 {
	return w.key.d.file.ready(t, w.key.d) & w.events.Load()
}

// observe implements observer: it is called with the lock of the file's wait queue held.
func (w *watch) observe(events uint32) (used bool) {
	want := w.events.Load()
	events &^= w.deaf
	if want&^epollFlags&events == 0 {
		return false // nothing of this, or nothing any more (EPOLLONESHOT)
	}
	e := w.epoll
	e.lock.Lock()
	if !w.listed {
		e.push(w)
	}
	woken := e.waiting.wakeOne()
	e.lock.Unlock()
	e.polled.notify(abi.POLLIN)
	// A queue on which nobody waits takes no exclusive event from one on which somebody does.
	switch events & (abi.POLLIN | abi.POLLOUT) {
	case abi.POLLIN, abi.POLLOUT:
		return woken && want&events&(abi.POLLIN|abi.POLLOUT) != 0
	}
	return woken && events&(abi.POLLIN|abi.POLLOUT) == 0
}

// push puts a watch at the end of the list. The caller holds lock.
func (e *epoll) push(w *watch) {
	w.listed = true
	w.prev, w.next = e.tail, nil
	if e.tail != nil {
		e.tail.next = w
	} else {
		e.head = w
	}
	e.tail = w
	e.listed.Add(1)
}

// pushFront puts a watch at the beginning of the list, unless it is on it. The caller holds mu.
func (e *epoll) pushFront(w *watch) {
	e.lock.Lock()
	defer e.lock.Unlock()
	if w.listed {
		e.unlist(w)
	}
	w.listed = true
	w.prev, w.next = nil, e.head
	if e.head != nil {
		e.head.prev = w
	} else {
		e.tail = w
	}
	e.head = w
	e.listed.Add(1)
}

// unlist takes a watch off the list. The caller holds lock.
func (e *epoll) unlist(w *watch) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		e.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		e.tail = w.prev
	}
	w.prev, w.next, w.listed = nil, nil, false
	e.listed.Add(-1)
}

// pop takes the first watch off the list; nil: it is empty. again, if not nil, is put at its end first.
// The caller holds mu.
func (e *epoll) pop(again *watch) *watch {
	e.lock.Lock()
	if again != nil && !again.listed {
		e.push(again)
	}
	w := e.head
	if w != nil {
		e.unlist(w)
	}
	e.lock.Unlock()
	return w
}

// watched and unwatched keep the description's list of its watches.
func (d *description) watched(w *watch) {
	d.watchMu.Lock()
	w.nextWatch = d.watches.Load()
	d.watches.Store(w)
	d.watchMu.Unlock()
}

func (d *description) unwatched(w *watch) {
	d.watchMu.Lock()
	defer d.watchMu.Unlock()
	first := d.watches.Load()
	if first == w {
		d.watches.Store(w.nextWatch)
		return
	}
	for first.nextWatch != w {
		first = first.nextWatch
	}
	first.nextWatch = w.nextWatch
}

// unwatch takes a description, which nobody has open any more, out of the event queues that watch it. It
// is called without a lock.
func (d *description) unwatch() {
	for {
		w := d.watches.Load()
		if w == nil {
			return
		}
		w.epoll.mu.Lock()
		if w.epoll.watches[w.key] == w { // else the queue was closed at the same time
			w.epoll.remove(w)
		}
		w.epoll.mu.Unlock()
	}
}
