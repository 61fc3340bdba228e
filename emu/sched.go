package emu

import (
	"sync"
	"sync/atomic"
	"time"

	"pinhole/abi"
)

// forever as a deadline never comes.
const forever = int64(1<<63 - 1)

// wake makes the task's present or next wait return. It may be called from anywhere, with any
// lock held, and never blocks.
func (t *Task) wake() { t.parker.unpark() }

// handOver is what the kernel knows of how a task goes on after it has woken another one: many
// park soon after, to wait for that one, and the other best goes on in their place; others have
// more to do, and the other best goes on beside them.
//
// To count on the first and be wrong costs much more than the other way round, up to a tick, since the other
// waits for a processor while one may be idle. So it takes a few times in a row to be counted on, and
// a task that proves it wrong is not trusted again for a while, which is the longer the more often it does.
// Programs that compute and hand over by turns, as Go's collector, would otherwise wait again and again.
type handOver struct {
	soon    int16 // how often in a row it parked soon after a wake, up to handOverSure; negative: is not trusted
	doubt   int16 // how long it is not trusted after the next time that it was counted on in vain
	counted bool  // the last wake counted on it
	wokeAt  int64 // counter when it last woke another task, and has not parked since; 0: has parked
}

const (
	handOverSoon       = 60_000 // counts from a wake to parking, some 20 us: see counter
	handOverSure       = 4      // as often as that in a row, and the next wake counts on it
	handOverLeastDoubt = 8      // as often as that, besides, after it was counted on in vain for the first time
	handOverMostDoubt  = 512
)

// woke notes that the task wakes another one, and tells whether to count on its parking soon. now is not 0.
func (h *handOver) woke(now int64) bool {
	if h.wokeAt != 0 {
		h.stayed() // since the last one
	}
	h.wokeAt = now
	h.counted = h.soon >= handOverSure
	return h.counted
}

// parks notes that the task parks.
func (h *handOver) parks(now int64) {
	if h.wokeAt == 0 {
		return
	}
	if now-h.wokeAt > handOverSoon {
		h.stayed()
	} else {
		h.soon = min(h.soon+1, handOverSure)
		if h.counted {
			h.doubt = max(h.doubt-1, 0)
		}
	}
	h.wokeAt = 0
}

// stayed notes that the task went on after a wake.
func (h *handOver) stayed() {
	h.soon = min(h.soon, 0)
	if h.counted {
		h.doubt = max(h.doubt, handOverLeastDoubt)
		h.soon = -h.doubt
		h.doubt = min(2*h.doubt, handOverMostDoubt)
	}
}

// counter reads the processor's time stamp counter: nothing to tell the time by, but a third of the
// price of a clock where only "soon" matters. It runs at 2 to 4 counts a nanosecond.
func counter() int64

// wakes is o.wake by t.
func (t *Task) wakes(o *parker) {
	if t.handOver.woke(counter()) {
		o.unparkHere()
	} else {
		o.unparkAway()
	}
}

// parks notes that t parks.
func (t *Task) parks() {
	if t.handOver.wokeAt != 0 {
		t.handOver.parks(counter())
	}
}

// wait parks the task until it is woken, deadline (nanoseconds of CLOCK_MONOTONIC; forever: none)
// has come, or the guest's attention is needed. It returns
//
//   - 0 when the task was woken. This may be for no reason that the caller knows: it looks at
//     its condition again and waits again with the same deadline.
//   - ETIMEDOUT when the deadline has come. The condition may hold all the same.
//   - EINTR when a signal that the thread takes is pending, or the thread has to end. The
//     caller undoes what it began and returns to the guest at once: with EINTR from calls that Linux never
//     restarts (poll, select, nanosleep, futex with a timeout, ...), with errRestart from those
//     that SA_RESTART restarts (read, write, open, flock, fcntl, ...).
//
// No host thread is held meanwhile, so any number of tasks may wait. No lock may be held.
func (t *Task) wait(deadline int64) abi.Errno {
	if t.attention.Load()&attInterrupt != 0 {
		t.rested = false
		if errno := t.interrupted(); errno != 0 || t.rested {
			return errno // a wake that came while the task rested must not be lost
		}
	}
	var armed bool
	if deadline != forever {
		left := deadline - t.kernel.monotonic()
		if left <= 0 {
			return abi.ETIMEDOUT
		}
		t.arm(left)
		armed = true
	}
	t.parks()
	t.block()
	t.parker.park()
	t.unblock()
	if armed {
		t.timer.Stop()
	}
	if t.attention.Load()&attInterrupt != 0 {
		if errno := t.interrupted(); errno != 0 {
			return errno
		}
	}
	if armed && t.kernel.monotonic() >= deadline {
		return abi.ETIMEDOUT
	}
	return 0
}

// arm makes the task's timer wake it after d nanoseconds. A wake that comes late, after the wait
// it was meant for, is one for no reason.
func (t *Task) arm(d int64) {
	if t.timer == nil {
		t.timer = time.AfterFunc(time.Duration(d), t.wake)
		return
	}
	t.timer.Reset(time.Duration(d))
}

// outside runs f, which may block for long without wait (a host call on stdio). f touches no
// guest memory, and no lock is held.
func (t *Task) outside(f func()) {
	t.block()
	f()
	t.unblock()
}

// slots limits how many tasks are in Machine.Enter at once: each of those holds a host thread, and
// no more can be made. Those who find none free get one in the order in which they came, so that
// threads that compute take turns, a tick each.
type slots struct {
	free atomic.Int64 // negative: that many wait
	mu   sync.Mutex
	head *slotWaiter
	tail *slotWaiter
	owed int // released for waiters that are not in the list yet
}

type slotWaiter struct {
	next   *slotWaiter
	parker parker
	got    atomic.Bool
}

// acquire takes a slot, waiting for one if need be.
func (s *slots) acquire(t *Task) {
	if s.free.Add(-1) >= 0 {
		return
	}
	w := &t.slotWaiter
	w.next = nil
	w.got.Store(false)
	s.mu.Lock()
	if s.owed > 0 {
		s.owed--
		s.mu.Unlock()
		return
	}
	if s.tail != nil {
		s.tail.next = w
	} else {
		s.head = w
	}
	s.tail = w
	s.mu.Unlock()
	for !w.got.Load() {
		w.parker.park()
	}
}

// release gives a slot back, to the longest-waiting task if there is one.
func (s *slots) release() {
	if s.free.Add(1) > 0 {
		return
	}
	s.mu.Lock()
	w := s.head
	if w == nil {
		s.owed++
		s.mu.Unlock()
		return
	}
	s.head = w.next
	if s.head == nil {
		s.tail = nil
	}
	s.mu.Unlock()
	w.got.Store(true)
	w.parker.unpark()
}
