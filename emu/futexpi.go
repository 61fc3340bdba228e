package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
)

// Futexes with priority inheritance (futex(2)). The word holds the number of the thread that has the
// futex, or 0, with FUTEX_WAITERS if others wait for it, so that its owner lets go of it here. The futex goes
// from owner to owner and is never free in between, so no thread can come before those that wait.
//
// All threads have the same priority: there is none to inherit, and who came first is next.
//
// All of these calls hold futexTable.pi, which comes before the locks of buckets.

// piWait is what a thread that waits has besides its place in a bucket; nil for plain waits. It
// changes with futexTable.pi and the bucket's lock held.
type piWait struct {
	owner *Task    // of the futex that it waits for; nil: it waits on a condition still
	word  abi.Addr // of the futex
	key   futexKey // of the futex
}

// first returns the first waiter on k, or nil. The bucket is locked.
func (b *futexBucket) first(k futexKey) *futexWaiter {
	for w := b.head; w != nil; w = w.next {
		if w.key == k {
			return w
		}
	}
	return nil
}

// inherits tells whether somebody waits on k in such a way that a plain operation must not touch it.
func (f *futexTable) inherits(k futexKey) bool {
	if f.piWaits.Load() == 0 {
		return false
	}
	b := f.bucket(k)
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := b.head; w != nil; w = w.next {
		if w.key == k && w.pi != nil {
			return true
		}
	}
	return false
}

// piClaim is an attempt to get a futex: the word's content, and the thread that it names.
type piClaim struct {
	key   futexKey
	word  abi.Addr
	value uint32
	owner *Task // nil: none, or none of that number
}

// claim reads a futex's word. It is called without locks; take finds out whether it is still true.
func (t *Task) claim(key futexKey, word abi.Addr) (c piClaim, _ abi.Errno) {
	v, ok := guest.Load32(word)
	if !ok {
		return c, abi.EFAULT
	}
	c = piClaim{key: key, word: word, value: v}
	if tid := v & abi.FUTEX_TID_MASK; tid != 0 {
		c.owner = t.kernel.task(int32(tid))
	}
	return c, 0
}

// take gets the futex for o if it is free, with the given flags in the word, else returns its owner and marks
// it as waited for. EAGAIN: the word has changed. EDEADLK: o has it, or its owner waits for o. ESRCH: its owner
// does not exist. EINVAL: the word is not as it was left, or others wait in another way. The futex's
// bucket is locked, and f.pi.
func (f *futexTable) take(o *Task, c *piClaim, flags uint32) (owner *Task, _ abi.Errno) {
	// As long as there are waiters the word changes under the lock only, so from here on it is what it was.
	switch v, ok := guest.Load32(c.word); {
	case !ok:
		return nil, abi.EFAULT
	case v != c.value:
		return nil, abi.EAGAIN
	}
	tid := c.value & abi.FUTEX_TID_MASK
	if tid == uint32(o.tid) {
		return nil, abi.EDEADLK
	}
	change := func(next uint32) abi.Errno {
		switch prev, ok := guest.CompareAndSwap32(c.word, c.value, next); {
		case !ok:
			return abi.EFAULT
		case prev != c.value:
			return abi.EAGAIN
		}
		return 0
	}
	if w := f.bucket(c.key).first(c.key); w != nil {
		if w.pi == nil || w.pi.owner == nil {
			return nil, abi.EINVAL
		}
		owner = w.pi.owner
		if tid != uint32(owner.tid) && (tid != 0 || c.value&abi.FUTEX_OWNER_DIED == 0) {
			return nil, abi.EINVAL
		}
	} else if tid == 0 {
		return nil, change(c.value&abi.FUTEX_OWNER_DIED | uint32(o.tid) | flags)
	} else if owner = c.owner; owner == nil || owner.futexGone {
		return nil, abi.ESRCH
	}
	if owner.waitsFor(o) {
		return nil, abi.EDEADLK
	}
	return owner, change(c.value | abi.FUTEX_WAITERS)
}

// waitsFor tells whether t waits for a futex that o has, or for one whose owner does, and so on. f.pi
// is held: no such wait begins meanwhile.
func (t *Task) waitsFor(o *Task) bool {
	for range maxChain {
		b := t.futex.bucket.Load()
		if b == nil || t.futex.pi == nil || t.futex.pi.owner == nil {
			return false
		}
		if t = t.futex.pi.owner; t == o {
			return true
		}
	}
	return true
}

// maxChain bounds how many owners are followed, as Linux does (kernel.max_lock_depth).
const maxChain = 1024

// futexLockPI answers FUTEX_LOCK_PI, FUTEX_LOCK_PI2 and, with try, FUTEX_TRYLOCK_PI. timeout is the
// address of a timespec, a time of the clock, or 0.
func (t *Task) futexLockPI(op uint32, word, timeout abi.Addr, clock int32, try bool) (uint64, abi.Errno) {
	deadline := forever
	if timeout != 0 && !try {
		var errno abi.Errno
		if deadline, errno = t.deadlineAt(timeout, clock, true); errno != 0 {
			return 0, errno
		}
	}
	f, key := &t.kernel.futexes, t.proc.futexKeyOf(word, op)
	f.piWaits.Add(1)
	defer f.piWaits.Add(-1)
	w, b := &t.futex, f.bucket(key)
	for {
		c, errno := t.claim(key, word)
		if errno != 0 {
			return 0, errno
		}
		f.pi.Lock()
		b.mu.Lock()
		owner, errno := f.take(t, &c, 0)
		waits := errno == 0 && owner != nil && !try
		if waits {
			w.task, w.key, w.bits, w.pi = t, key, 0, &piWait{owner: owner, word: word, key: key}
			b.add(w)
		}
		b.mu.Unlock()
		f.pi.Unlock()
		switch {
		case waits:
			return t.awaitPI(deadline, false)
		case errno == abi.EAGAIN:
		case errno == 0 && owner != nil:
			return 0, abi.EAGAIN
		default:
			return 0, errno
		}
	}
}

// awaitPI waits until the futex is the task's. condition: it waits on a condition first.
func (t *Task) awaitPI(deadline int64, condition bool) (uint64, abi.Errno) {
	w := &t.futex
	defer func() {
		f := &t.kernel.futexes
		f.pi.Lock() // somebody may follow the owners to here just now
		w.pi = nil
		f.pi.Unlock()
	}()
	for {
		errno := t.wait(deadline)
		if w.bucket.Load() == nil {
			return 0, 0
		}
		if errno == 0 {
			continue
		}
		if !t.abandon() {
			return 0, 0 // in the last moment
		}
		switch {
		case errno != abi.EINTR:
		case condition && w.pi.owner != nil:
			errno = abi.EAGAIN // the wait on the condition is over, so it cannot begin anew
		default:
			errno, t.restartAlways = errRestart, true
		}
		return 0, errno
	}
}

// futexUnlockPI answers FUTEX_UNLOCK_PI: the first that waits has the futex next.
func (t *Task) futexUnlockPI(op uint32, word abi.Addr) (uint64, abi.Errno) {
	f, key := &t.kernel.futexes, t.proc.futexKeyOf(word, op)
	b := f.bucket(key)
	f.pi.Lock()
	defer f.pi.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		v, ok := guest.Load32(word)
		if !ok {
			return 0, abi.EFAULT
		}
		if v&abi.FUTEX_TID_MASK != uint32(t.tid) {
			return 0, abi.EPERM
		}
		next, w := uint32(0), b.first(key)
		if w != nil {
			if w.pi == nil || w.pi.owner != t {
				return 0, abi.EINVAL
			}
			next = uint32(w.task.tid) | abi.FUTEX_WAITERS
		}
		prev, ok := guest.CompareAndSwap32(word, v, next)
		if !ok {
			return 0, abi.EFAULT
		}
		if prev != v {
			continue
		}
		if w != nil {
			b.handOver(w)
		}
		return 0, 0
	}
}

// handOver makes w, the first waiter on its key, the futex's owner; the word says so already.
func (b *futexBucket) handOver(w *futexWaiter) {
	t, k := w.task, w.key
	b.remove(w)
	for o := b.head; o != nil; o = o.next {
		if o.key == k && o.pi != nil {
			o.pi.owner = t
		}
	}
	t.wake()
}

// releasePI passes on the futexes that the task has and others wait for: it ends, or another program takes
// its place.
func (t *Task) releasePI(gone bool) {
	f := &t.kernel.futexes
	f.pi.Lock()
	defer f.pi.Unlock()
	t.futexGone = gone
	if f.piWaits.Load() == 0 {
		return
	}
	for i := range f.buckets {
		b := &f.buckets[i]
		b.mu.Lock()
		for w := b.head; w != nil; {
			after := w.next
			if w.pi == nil || w.pi.owner != t {
				w = after
				continue
			}
			next := uint32(w.task.tid) | abi.FUTEX_WAITERS | abi.FUTEX_OWNER_DIED
			for {
				v, ok := guest.Load32(w.pi.word)
				if !ok {
					break
				}
				if prev, ok := guest.CompareAndSwap32(w.pi.word, v, next); !ok || prev == v {
					break
				}
			}
			b.handOver(w)
			w = after
		}
		b.mu.Unlock()
	}
}

// futexWaitRequeuePI answers FUTEX_WAIT_REQUEUE_PI: it waits on word, a condition, until
// FUTEX_CMP_REQUEUE_PI lets it wait for the futex at word2 instead, and returns with that.
func (t *Task) futexWaitRequeuePI(op uint32, word abi.Addr, val uint32, timeout abi.Addr, clock int32, word2 abi.Addr) (uint64, abi.Errno) {
	deadline := forever
	if timeout != 0 {
		var errno abi.Errno
		if deadline, errno = t.deadlineAt(timeout, clock, true); errno != 0 {
			return 0, errno
		}
	}
	f, p := &t.kernel.futexes, t.proc
	key, key2 := p.futexKeyOf(word, op), p.futexKeyOf(word2, op)
	if key == key2 || word2%4 != 0 {
		return 0, abi.EINVAL
	}
	if !inGuest(word2, 4) {
		return 0, abi.EFAULT
	}
	f.piWaits.Add(1)
	defer f.piWaits.Add(-1)
	w, b := &t.futex, f.bucket(key)
	b.mu.Lock()
	v, ok := guest.Load32(word)
	if !ok || v != val {
		b.mu.Unlock()
		if !ok {
			return 0, abi.EFAULT
		}
		return 0, abi.EAGAIN
	}
	w.task, w.key, w.bits, w.pi = t, key, 0, &piWait{word: word2, key: key2}
	b.add(w)
	b.mu.Unlock()
	return t.awaitPI(deadline, true)
}

// futexRequeuePI answers FUTEX_CMP_REQUEUE_PI: the first thread that waits on word gets the futex at word2 if
// that is free, and is woken; up to move others, and that one if it is not, wait for the futex from now on.
func (t *Task) futexRequeuePI(op uint32, word abi.Addr, wake, move uint32, word2 abi.Addr, val uint32) (uint64, abi.Errno) {
	if word2%4 != 0 || wake != 1 || int32(move) < 0 {
		return 0, abi.EINVAL
	}
	f, p := &t.kernel.futexes, t.proc
	key, key2 := p.futexKeyOf(word, op), p.futexKeyOf(word2, op)
	if key == key2 {
		return 0, abi.EINVAL
	}
	for {
		c, errno := t.claim(key2, word2)
		if errno != 0 {
			return 0, errno
		}
		n, again, errno := f.requeuePI(key, word, val, &c, int(move))
		if !again {
			return uint64(n), errno
		}
	}
}

// requeuePI is one attempt of futexRequeuePI. again: the futex's word has changed.
func (f *futexTable) requeuePI(key futexKey, word abi.Addr, val uint32, c *piClaim, move int) (n int, again bool, _ abi.Errno) {
	f.pi.Lock()
	defer f.pi.Unlock()
	b, b2, unlock := f.lockTwo(key, c.key)
	defer unlock()
	switch v, ok := guest.Load32(word); {
	case !ok:
		return 0, false, abi.EFAULT
	case v != val:
		return 0, false, abi.EAGAIN
	}
	w := b.first(key)
	switch {
	case w == nil:
		return 0, false, 0
	case w.pi == nil || w.pi.key != c.key:
		return 0, false, abi.EINVAL
	}
	flags := uint32(0)
	if move > 0 {
		flags = abi.FUTEX_WAITERS
	}
	owner, errno := f.take(w.task, c, flags)
	if errno != 0 {
		return 0, errno == abi.EAGAIN, errno
	}
	if owner == nil {
		next := w.next
		owner = w.task
		b.remove(w)
		owner.wake()
		n, w = 1, next
	}
	for w != nil && n < move+1 {
		next := w.next
		if w.key == key {
			if w.pi == nil || w.pi.key != c.key {
				return n, false, abi.EINVAL
			}
			if owner == w.task || owner.waitsFor(w.task) {
				return n, false, abi.EDEADLK
			}
			b.remove(w)
			w.key, w.pi.owner = c.key, owner
			b2.add(w)
			n++
		}
		w = next
	}
	return n, false, 0
}
