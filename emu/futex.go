package emu

import (
	"sync"
	"sync/atomic"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// futexKey is what makes two futex words the same one: where they are in their process, all threads of
// which see one address space; or, in a shared mapping of a file and unless the caller says that the word
// is private, where they are in the file.
type futexKey struct {
	space *space
	file  *sharedFile // not nil: addr is an offset in the file, and space nil
	addr  abi.Addr
}

// futexKey is the key of a private word.
func (p *Process) futexKey(a abi.Addr) futexKey { return futexKey{space: p.mem(), addr: a} }

// futexKeyOf is the key of a word for an operation.
func (p *Process) futexKeyOf(a abi.Addr, op uint32) futexKey {
	if op&abi.FUTEX_PRIVATE_FLAG == 0 {
		s := p.mem()
		s.lock()
		defer s.unlock()
		if v := s.set.find(a); v != nil && v.sharesFile() {
			return futexKey{file: v.file.shared, addr: abi.Addr(v.fileOff) + (a - v.start)}
		}
	}
	return p.futexKey(a)
}

// futexTable holds the threads that wait on futex words, by a hash of the word.
//
// A thread is added with the bucket locked and after a look at the word; whoever changes the word
// wakes with the bucket locked, after the change. So none is lost.
type futexTable struct {
	buckets [256]futexBucket

	pi      sync.Mutex   // held for what futexes with priority inheritance do: see futexpi.go
	piWaits atomic.Int32 // threads that wait for such ones, or are about to
}

type futexBucket struct {
	mu         sync.Mutex
	waiting    atomic.Int32 // length of the list, readable without mu
	head, tail *futexWaiter
	_          [24]byte // a cache line each
}

// futexWaiter is a thread's place in a bucket. It is part of the Task, since a thread waits on one
// word at a time.
type futexWaiter struct {
	key        futexKey
	bits       uint32 // 0: not to be woken by a plain operation
	task       *Task
	pi         *piWait                     // not nil: of a futex with priority inheritance
	bucket     atomic.Pointer[futexBucket] // nil when not waiting; changed with the bucket's lock held
	next, prev *futexWaiter
}

func (f *futexTable) bucket(k futexKey) *futexBucket {
	h := uint64(k.addr>>2) * 0x9e3779b97f4a7c15
	return &f.buckets[h>>56]
}

func (b *futexBucket) add(w *futexWaiter) {
	w.prev, w.next = b.tail, nil
	if b.tail != nil {
		b.tail.next = w
	} else {
		b.head = w
	}
	b.tail = w
	w.bucket.Store(b)
	b.waiting.Add(1)
}

func (b *futexBucket) remove(w *futexWaiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		b.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		b.tail = w.prev
	}
	w.next, w.prev = nil, nil
	w.bucket.Store(nil)
	b.waiting.Add(-1)
}

// wake wakes up to n threads that wait on k with one of bits, in the order in which they came, and
// returns how many.
func (f *futexTable) wake(k futexKey, n int, bits uint32) int {
	b := f.bucket(k)
	// A thread on its way into the list counts itself before it looks at the word, which the
	// caller has changed: so one that is not counted yet will not wait.
	if b.waiting.Load() == 0 {
		return 0
	}
	b.mu.Lock()
	woken := b.wake(k, n, bits)
	b.mu.Unlock()
	return woken
}

// futexWakeOne is wake of one thread by another, which may hand over to it.
func (t *Task) futexWakeOne(k futexKey, bits uint32) uint64 {
	b := t.kernel.futexes.bucket(k)
	if b.waiting.Load() == 0 {
		return 0
	}
	b.mu.Lock()
	w := b.head
	for w != nil && (w.key != k || w.bits&bits == 0) {
		w = w.next
	}
	if w == nil {
		b.mu.Unlock()
		return 0
	}
	o := w.task
	b.remove(w)
	b.mu.Unlock()
	t.wakes(&o.parker)
	return 1
}

func (b *futexBucket) wake(k futexKey, n int, bits uint32) (woken int) {
	for w := b.head; w != nil && woken < n; {
		next := w.next
		if w.key == k && w.bits&bits != 0 {
			t := w.task
			b.remove(w)
			t.wake()
			woken++
		}
		w = next
	}
	return woken
}

// abandon takes t off the list it waits in; false when it was woken before.
func (t *Task) abandon() bool {
	for {
		b := t.futex.bucket.Load()
		if b == nil {
			return false
		}
		b.mu.Lock()
		if t.futex.bucket.Load() == b { // else it was requeued in between
			b.remove(&t.futex)
			b.mu.Unlock()
			return true
		}
		b.mu.Unlock()
	}
}

// threadFutex answers thread_futex (futex(2)).
func (t *Task) threadFutex(word abi.Addr, op, val uint32, timeout uint64, word2 abi.Addr, val3 uint32) (uint64, abi.Errno) {
	if word%4 != 0 {
		return 0, abi.EINVAL
	}
	switch cmd := op &^ (abi.FUTEX_PRIVATE_FLAG | abi.FUTEX_CLOCK_REALTIME); cmd {
	case abi.FUTEX_WAIT:
		return t.futexWait(t.proc.futexKeyOf(word, op), word, val, abi.FUTEX_BITSET_MATCH_ANY, abi.Addr(timeout), false, op&abi.FUTEX_CLOCK_REALTIME != 0)
	case abi.FUTEX_WAIT_BITSET:
		return t.futexWait(t.proc.futexKeyOf(word, op), word, val, val3, abi.Addr(timeout), true, op&abi.FUTEX_CLOCK_REALTIME != 0)
	case abi.FUTEX_LOCK_PI2:
		return t.futexLockPI(op, word, abi.Addr(timeout), futexClock(op), false)
	case abi.FUTEX_WAIT_REQUEUE_PI:
		return t.futexWaitRequeuePI(op, word, val, abi.Addr(timeout), futexClock(op), word2)
	}
	if op&abi.FUTEX_CLOCK_REALTIME != 0 {
		return 0, abi.ENOSYS
	}
	p := t.proc
	switch op &^ abi.FUTEX_PRIVATE_FLAG {
	case abi.FUTEX_WAKE:
		val3 = abi.FUTEX_BITSET_MATCH_ANY
		fallthrough
	case abi.FUTEX_WAKE_BITSET:
		if val3 == 0 {
			return 0, abi.EINVAL
		}
		if !inGuest(word, 4) {
			return 0, abi.EFAULT
		}
		k := p.futexKeyOf(word, op)
		if t.kernel.futexes.inherits(k) {
			return 0, abi.EINVAL
		}
		if val == 1 {
			return t.futexWakeOne(k, val3), 0
		}
		return uint64(t.kernel.futexes.wake(k, wakeCount(val), val3)), 0
	case abi.FUTEX_REQUEUE:
		return t.futexRequeue(op, word, val, uint32(timeout), word2, nil)
	case abi.FUTEX_CMP_REQUEUE:
		return t.futexRequeue(op, word, val, uint32(timeout), word2, &val3)
	case abi.FUTEX_WAKE_OP:
		return t.futexWakeOp(op, word, val, uint32(timeout), word2, val3)
	case abi.FUTEX_LOCK_PI:
		return t.futexLockPI(op, word, abi.Addr(timeout), abi.CLOCK_REALTIME, false)
	case abi.FUTEX_TRYLOCK_PI:
		return t.futexLockPI(op, word, 0, abi.CLOCK_REALTIME, true)
	case abi.FUTEX_UNLOCK_PI:
		return t.futexUnlockPI(op, word)
	case abi.FUTEX_CMP_REQUEUE_PI:
		return t.futexRequeuePI(op, word, val, uint32(timeout), word2, val3)
	}
	return 0, abi.ENOSYS
}

// futexClock is the clock of an absolute time.
func futexClock(op uint32) int32 {
	if op&abi.FUTEX_CLOCK_REALTIME != 0 {
		return abi.CLOCK_REALTIME
	}
	return abi.CLOCK_MONOTONIC
}

// wakeCount is how many threads a count of FUTEX_WAKE means: Linux wakes one for 0 and for what is
// negative as an int.
func wakeCount(val uint32) int { return max(1, int(int32(val))) }

// futexWait waits on word as long as it holds val. timeout is the address of a timespec, or 0:
// a duration for FUTEX_WAIT, else (absolute) a time.
func (t *Task) futexWait(key futexKey, word abi.Addr, val, bits uint32, timeout abi.Addr, absolute, realtime bool) (uint64, abi.Errno) {
	deadline := forever
	if timeout != 0 {
		var errno abi.Errno
		clock := int32(abi.CLOCK_MONOTONIC)
		if realtime {
			clock = abi.CLOCK_REALTIME
		}
		if deadline, errno = t.deadlineAt(timeout, clock, absolute); errno != 0 {
			return 0, errno
		}
	}
	if bits == 0 {
		return 0, abi.EINVAL
	}
	w := &t.futex
	w.task, w.key, w.bits = t, key, bits
	b := t.kernel.futexes.bucket(w.key)
	b.mu.Lock()
	b.add(w) // before the word is read: see wake
	v, ok := guest.Load32(word)
	if !ok || v != val {
		b.remove(w)
		b.mu.Unlock()
		if !ok {
			return 0, abi.EFAULT
		}
		return 0, abi.EAGAIN
	}
	b.mu.Unlock()
	for {
		errno := t.wait(deadline)
		if w.bucket.Load() == nil {
			return 0, 0
		}
		if errno == 0 {
			continue
		}
		if !t.abandon() {
			return 0, 0
		}
		if errno == abi.EINTR && timeout == 0 {
			errno = errRestart
		}
		return 0, errno
	}
}

// lockTwo locks the buckets of two keys without a deadlock.
func (f *futexTable) lockTwo(k1, k2 futexKey) (b1, b2 *futexBucket, unlock func()) {
	h1, h2 := uint64(k1.addr>>2)*0x9e3779b97f4a7c15>>56, uint64(k2.addr>>2)*0x9e3779b97f4a7c15>>56
	b1, b2 = &f.buckets[h1], &f.buckets[h2]
	switch {
	case h1 == h2:
		b1.mu.Lock()
		return b1, b2, b1.mu.Unlock
	case h1 < h2:
		b1.mu.Lock()
		b2.mu.Lock()
	default:
		b2.mu.Lock()
		b1.mu.Lock()
	}
	return b1, b2, func() { b1.mu.Unlock(); b2.mu.Unlock() }
}

// futexRequeue wakes up to wake threads that wait on word and lets up to move others wait on word2
// instead, if word still holds *cmp.
func (t *Task) futexRequeue(flags uint32, word abi.Addr, wake, move uint32, word2 abi.Addr, cmp *uint32) (uint64, abi.Errno) {
	if word2%4 != 0 || int32(wake) < 0 || int32(move) < 0 {
		return 0, abi.EINVAL
	}
	if !inGuest(word, 4) || !inGuest(word2, 4) {
		return 0, abi.EFAULT
	}
	k1, k2 := t.proc.futexKeyOf(word, flags), t.proc.futexKeyOf(word2, flags)
	if t.kernel.futexes.inherits(k1) {
		return 0, abi.EINVAL
	}
	b1, b2, unlock := t.kernel.futexes.lockTwo(k1, k2)
	defer unlock()
	if cmp != nil {
		v, ok := guest.Load32(word)
		if !ok {
			return 0, abi.EFAULT
		}
		if v != *cmp {
			return 0, abi.EAGAIN
		}
	}
	n := b1.wake(k1, int(wake), abi.FUTEX_BITSET_MATCH_ANY)
	if k1 == k2 {
		return uint64(n), 0
	}
	moved := 0
	for w := b1.head; w != nil && moved < int(move); {
		next := w.next
		if w.key == k1 && w.pi == nil {
			b1.remove(w)
			w.key = k2
			b2.add(w)
			moved++
		}
		w = next
	}
	return uint64(n + moved), 0
}

// futexWakeOp changes word2 as op says, wakes up to wake threads that wait on word, and up to
// wake2 that wait on word2 if what it held before compares as op says.
func (t *Task) futexWakeOp(flags uint32, word abi.Addr, wake, wake2 uint32, word2 abi.Addr, op uint32) (uint64, abi.Errno) {
	if word2%4 != 0 {
		return 0, abi.EINVAL
	}
	if !inGuest(word, 4) {
		return 0, abi.EFAULT
	}
	k1, k2 := t.proc.futexKeyOf(word, flags), t.proc.futexKeyOf(word2, flags)
	if f := &t.kernel.futexes; f.inherits(k1) || f.inherits(k2) {
		return 0, abi.EINVAL
	}
	b1, b2, unlock := t.kernel.futexes.lockTwo(k1, k2)
	defer unlock()
	old, errno := futexAtomic(word2, op)
	if errno != 0 {
		return 0, errno
	}
	holds, ok := futexCompare(old, op)
	if !ok {
		return 0, abi.ENOSYS
	}
	n := b1.wake(k1, wakeCount(wake), abi.FUTEX_BITSET_MATCH_ANY)
	if holds {
		n += b2.wake(k2, wakeCount(wake2), abi.FUTEX_BITSET_MATCH_ANY)
	}
	return uint64(n), 0
}

// futexAtomic does the change that op, an operation word of FUTEX_WAKE_OP, stands for, and returns
// what the word held before.
func futexAtomic(word abi.Addr, op uint32) (old uint32, errno abi.Errno) {
	arg := uint32(int32(op<<8) >> 20) // sign-extended
	kind := op >> 28
	if kind&abi.FUTEX_OP_OPARG_SHIFT != 0 {
		arg = 1 << (arg & 31)
	}
	for {
		v, ok := guest.Load32(word)
		if !ok {
			return 0, abi.EFAULT
		}
		var next uint32
		switch kind &^ abi.FUTEX_OP_OPARG_SHIFT {
		case abi.FUTEX_OP_SET:
			next = arg
		case abi.FUTEX_OP_ADD:
			next = v + arg
		case abi.FUTEX_OP_OR:
			next = v | arg
		case abi.FUTEX_OP_ANDN:
			next = v &^ arg
		case abi.FUTEX_OP_XOR:
			next = v ^ arg
		default:
			return 0, abi.ENOSYS
		}
		prev, ok := guest.CompareAndSwap32(word, v, next)
		if !ok {
			return 0, abi.EFAULT
		}
		if prev == v {
			return v, 0
		}
	}
}

// futexCompare does the comparison of an operation word.
func futexCompare(old, op uint32) (holds, ok bool) {
	v, arg := int32(old), int32(op<<20)>>20
	switch op >> 24 & 15 {
	case abi.FUTEX_OP_CMP_EQ:
		return v == arg, true
	case abi.FUTEX_OP_CMP_NE:
		return v != arg, true
	case abi.FUTEX_OP_CMP_LT:
		return v < arg, true
	case abi.FUTEX_OP_CMP_LE:
		return v <= arg, true
	case abi.FUTEX_OP_CMP_GT:
		return v > arg, true
	case abi.FUTEX_OP_CMP_GE:
		return v >= arg, true
	}
	return false, false
}
