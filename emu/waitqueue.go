package emu

import (
	"sync"
	"sync/atomic"
)

// waiter is a place in one waitQueue: a task's, or an observer's. A task that waits for several
// things at once (poll) has one waiter for each. The zero waiter with task or observer set is
// ready for use.
type waiter struct {
	task       *Task
	observer   observer   // in place of task
	exclusive  bool       // the observer wants to share no event with others of this kind
	queue      *waitQueue // nil when in none; guarded by queue.mu
	prev, next *waiter
}

// observer is told of the events of a file for as long as it is in the file's queue, where a task
// is taken off by the first one.
type observer interface {
	// observe is told that some of events (POLL*) may have come to hold. It is called with the
	// queue's lock held, and perhaps others: it may only note it in a place with a lock of its
	// own that is held for nothing but such notes, and wake. used tells whether they were of
	// use: see notify.
	observe(events uint32) (used bool)
}

// waitQueue is a first-in-first-out list of waiters for one condition. The pattern of use is
//
//	w := waiter{task: t} // or one that the caller keeps
//	for {
//		q.add(&w) // before the condition is looked at, so that no wake is lost
//		if condition() { q.remove(&w); break }
//		if errno := t.wait(deadline); errno != 0 { q.remove(&w); return errno }
//	}
//
// Waking takes tasks off the queue; add on a waiter that is still in the queue does nothing.
// One that was taken off by wakeOne and then gives up must wake the next if the condition
// still holds. The zero waitQueue is empty and ready for use.
//
// A queue that openFile.queue returns may hold observers too. It is woken by notify with the events
// that may have come to hold, each time that one does: also when it did before, but there is more to it now
// (content behind content that was not read yet), since edge-triggered observers want to know.
//
// Lock order: the lock of a waitQueue may be taken with any other lock held but those below it, which
// observers take: epoll.lock, then that of epoll.waiting; or that of epoll.polled, and so on upwards in
// nested event queues, of which no two contain each other.
type waitQueue struct {
	count      atomic.Int32 // waiters in the list, so that waking nobody costs one load
	mu         sync.Mutex
	head, tail *waiter
}

// add puts w at the end of the queue unless it is in it. A waiter is in one queue at a time.
func (q *waitQueue) add(w *waiter) {
	q.mu.Lock()
	if w.queue == nil {
		w.queue = q
		w.prev, w.next = q.tail, nil
		if q.tail != nil {
			q.tail.next = w
		} else {
			q.head = w
		}
		q.tail = w
		q.count.Add(1)
	}
	q.mu.Unlock()
}

// observe puts an observer into the queue, where it stays until remove: an exclusive one at the end, any
// other at the beginning. So those that share an event see it before one takes it, and, as on Linux, the
// newest first.
func (q *waitQueue) observe(w *waiter) {
	if w.exclusive {
		q.add(w)
		return
	}
	q.mu.Lock()
	w.queue = q
	w.prev, w.next = nil, q.head
	if q.head != nil {
		q.head.prev = w
	} else {
		q.tail = w
	}
	q.head = w
	q.count.Add(1)
	q.mu.Unlock()
}

// remove takes w off the queue and tells whether it was in it; false means that it was woken
// (or never added).
func (q *waitQueue) remove(w *waiter) bool {
	q.mu.Lock()
	was := w.queue == q
	if was {
		q.unlink(w)
	}
	q.mu.Unlock()
	return was
}

// wakeOne takes the first waiter off the queue, which has no observers, and wakes its task; false
// when there is none.
func (q *waitQueue) wakeOne() bool {
	if q.count.Load() == 0 {
		return false
	}
	q.mu.Lock()
	w := q.head
	if w == nil {
		q.mu.Unlock()
		return false
	}
	t := w.task
	q.unlink(w)
	q.mu.Unlock()
	t.wake()
	return true
}

// wakeAll takes all tasks off the queue and wakes them; observers are told that anything may hold.
func (q *waitQueue) wakeAll() { q.notifyAll(^uint32(0)) }

// notifyAll takes all tasks off the queue and wakes them, and tells all observers of events.
func (q *waitQueue) notifyAll(events uint32) { q.tell(events, true) }

// notify is notifyAll, but that of the exclusive observers it tells only as many as it takes to find one to
// whom the events are of use.
func (q *waitQueue) notify(events uint32) { q.tell(events, false) }

func (q *waitQueue) tell(events uint32, all bool) {
	if q.count.Load() == 0 {
		return
	}
	q.mu.Lock()
	used := false
	for w := q.head; w != nil; {
		next := w.next
		switch t := w.task; {
		case t != nil:
			q.unlink(w)
			t.wake()
		case !w.exclusive:
			w.observer.observe(events)
		case all || !used:
			used = w.observer.observe(events)
		}
		w = next
	}
	q.mu.Unlock()
}

// unlink takes w, which is in q, off it. The caller holds q.mu.
func (q *waitQueue) unlink(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.tail = w.prev
	}
	w.prev, w.next, w.queue = nil, nil, nil
	q.count.Add(-1)
}
