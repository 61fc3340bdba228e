package emu

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// waiting makes n threads wait on word with bits, and returns when all do. Each sends what its wait
// gave to results.
func (w *ioWorld) waiting(n int, word abi.Addr, bits uint32, results chan abi.Errno) {
	w.Helper()
	v, _ := guest.Load32(word)
	for range n {
		o := w.thread()
		go func() {
			_, errno := o.threadFutex(word, abi.FUTEX_WAIT_BITSET|abi.FUTEX_PRIVATE_FLAG, v, 0, 0, bits)
			o.kernel.slots.release()
			results <- errno
		}()
		for o.futex.bucket.Load() == nil {
			time.Sleep(100 * time.Microsecond)
		}
	}
}

func newFutexWorld(t testing.TB) *ioWorld {
	w := newIOWorld(t, Config{})
	w.kernel.slots.free.Store(1000)
	return w
}

// got fails the test unless exactly n waits end, all without an error.
func got(t *testing.T, results chan abi.Errno, n int) {
	t.Helper()
	for range n {
		if errno := <-results; errno != 0 {
			t.Errorf("wait: %v", errno)
		}
	}
	select {
	case <-results:
		t.Errorf("more than %d threads were woken", n)
	case <-time.After(2 * time.Millisecond):
	}
}

func TestFutexErrors(t *testing.T) {
	w := newFutexWorld(t)
	_, word := w.mem.alloc(8)
	_, badTime := w.mem.alloc(16)
	guest.Store64(badTime+8, 1e9)
	const any = abi.FUTEX_BITSET_MATCH_ANY
	for _, c := range []struct {
		name    string
		word    abi.Addr
		op, val uint32
		timeout abi.Addr
		word2   abi.Addr
		val3    uint32
		want    abi.Errno
	}{
		{"misaligned", word + 1, abi.FUTEX_WAIT, 0, 0, 0, 0, abi.EINVAL},
		{"bad address", w.mem.bad(), abi.FUTEX_WAIT, 0, 0, 0, 0, abi.EFAULT},
		{"other value", word, abi.FUTEX_WAIT, 1, 0, 0, 0, abi.EAGAIN},
		{"no bits", word, abi.FUTEX_WAIT_BITSET, 0, 0, 0, 0, abi.EINVAL},
		{"wake no bits", word, abi.FUTEX_WAKE_BITSET, 1, 0, 0, 0, abi.EINVAL},
		{"wake nowhere", 1 << 62, abi.FUTEX_WAKE, 1, 0, 0, 0, abi.EFAULT},
		{"bad time", word, abi.FUTEX_WAIT, 0, badTime, 0, 0, abi.EINVAL},
		{"time at a bad address", word, abi.FUTEX_WAIT, 0, w.mem.bad(), 0, 0, abi.EFAULT},
		{"requeue to a misaligned word", word, abi.FUTEX_REQUEUE, 0, 0, word + 6, 0, abi.EINVAL},
		{"requeue: other value", word, abi.FUTEX_CMP_REQUEUE, 0, 0, word + 4, 9, abi.EAGAIN},
		{"requeue: negative", word, abi.FUTEX_REQUEUE, 1 << 31, 0, word + 4, 0, abi.EINVAL},
		{"wake op: bad address", word, abi.FUTEX_WAKE_OP, 1, 0, w.mem.bad(), 0, abi.EFAULT},
		{"wake op: unknown", word, abi.FUTEX_WAKE_OP, 1, 0, word + 4, 7 << 28, abi.ENOSYS},
		{"unlock what is not locked", word, abi.FUTEX_UNLOCK_PI, 0, 0, 0, 0, abi.EPERM},
		{"lock by the clock", word, abi.FUTEX_LOCK_PI | abi.FUTEX_CLOCK_REALTIME, 0, 0, 0, 0, abi.ENOSYS},
		{"requeue for a lock: wake two", word, abi.FUTEX_CMP_REQUEUE_PI, 2, 0, word + 4, 0, abi.EINVAL},
		{"unknown", word, 77, 0, 0, 0, 0, abi.ENOSYS},
		{"wake by the clock", word, abi.FUTEX_WAKE | abi.FUTEX_CLOCK_REALTIME, 1, 0, 0, any, abi.ENOSYS},
	} {
		if _, errno := w.threadFutex(c.word, c.op, c.val, uint64(c.timeout), c.word2, c.val3); errno != c.want {
			t.Errorf("%s: %v, want %v", c.name, errno, c.want)
		}
	}
	if w.futex.bucket.Load() != nil {
		t.Error("the thread still waits")
	}
}

func TestFutexWake(t *testing.T) {
	w := newFutexWorld(t)
	_, word := w.mem.alloc(4)
	results := make(chan abi.Errno, 16)
	w.waiting(3, word, 1, results)
	w.waiting(2, word, 6, results)
	if n := w.ok(w.threadFutex(word, abi.FUTEX_WAKE_BITSET, 10, 0, 0, 4)); n != 2 {
		t.Errorf("%d woken by bits", n)
	}
	got(t, results, 2)
	if n := w.ok(w.threadFutex(word, abi.FUTEX_WAKE, 2, 0, 0, 0)); n != 2 {
		t.Errorf("%d woken of 2", n)
	}
	got(t, results, 2)
	if n := w.ok(w.threadFutex(word, abi.FUTEX_WAKE, 1<<31-1, 0, 0, 0)); n != 1 {
		t.Errorf("%d woken of the rest", n)
	}
	got(t, results, 1)
	if n := w.ok(w.threadFutex(word, abi.FUTEX_WAKE, 1, 0, 0, 0)); n != 0 {
		t.Errorf("%d woken of none", n)
	}
}

func TestFutexRequeue(t *testing.T) {
	w := newFutexWorld(t)
	_, word := w.mem.alloc(4)
	_, word2 := w.mem.alloc(4)
	results := make(chan abi.Errno, 16)
	w.waiting(5, word, abi.FUTEX_BITSET_MATCH_ANY, results)
	if n := w.ok(w.threadFutex(word, abi.FUTEX_CMP_REQUEUE, 1, 3, word2, 0)); n != 4 {
		t.Errorf("%d woken and moved", n)
	}
	got(t, results, 1)
	if n := w.ok(w.threadFutex(word, abi.FUTEX_WAKE, 100, 0, 0, 0)); n != 1 {
		t.Errorf("%d were left behind", n)
	}
	got(t, results, 1)
	if n := w.ok(w.threadFutex(word2, abi.FUTEX_WAKE, 100, 0, 0, 0)); n != 3 {
		t.Errorf("%d were moved", n)
	}
	got(t, results, 3)
}

func TestFutexWakeOp(t *testing.T) {
	for _, c := range []struct {
		name         string
		op, before   uint32
		after        uint32
		woken, left2 int // of 2 that wait on each
	}{
		{"set, equal", abi.FUTEX_OP_SET<<28 | abi.FUTEX_OP_CMP_EQ<<24 | 7<<12 | 3, 3, 7, 3, 1},
		{"set, not equal", abi.FUTEX_OP_SET<<28 | abi.FUTEX_OP_CMP_EQ<<24 | 7<<12 | 3, 4, 7, 1, 2},
		{"add a negative", abi.FUTEX_OP_ADD<<28 | abi.FUTEX_OP_CMP_GT<<24 | 0xfff<<12 | 0, 5, 4, 3, 1},
		{"or a shifted bit", (abi.FUTEX_OP_OR|abi.FUTEX_OP_OPARG_SHIFT)<<28 | abi.FUTEX_OP_CMP_LT<<24 | 31<<12 | 0, 1, 1<<31 | 1, 1, 2},
		{"and not", abi.FUTEX_OP_ANDN<<28 | abi.FUTEX_OP_CMP_NE<<24 | 6<<12 | 0, 7, 1, 3, 1},
		{"xor", abi.FUTEX_OP_XOR<<28 | abi.FUTEX_OP_CMP_GE<<24 | 5<<12 | 0, 4, 1, 3, 1},
		{"less or equal, signed", abi.FUTEX_OP_SET<<28 | abi.FUTEX_OP_CMP_LE<<24 | 0<<12 | 0, 1 << 31, 0, 3, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newFutexWorld(t)
			_, word := w.mem.alloc(4)
			_, word2 := w.mem.alloc(4)
			guest.Store32(word2, c.before)
			results := make(chan abi.Errno, 16)
			w.waiting(2, word, 1, results)
			w.waiting(2, word2, 1, results)
			n := w.ok(w.threadFutex(word, abi.FUTEX_WAKE_OP, 1, 1, word2, c.op))
			// One of word always; one of word2 if the comparison holds.
			want := 1
			if c.left2 == 1 {
				want = 2
			}
			if int(n) != want {
				t.Errorf("%d woken, want %d", n, want)
			}
			if v, _ := guest.Load32(word2); v != c.after {
				t.Errorf("the word became %#x, want %#x", v, c.after)
			}
			got(t, results, want)
			w.threadFutex(word, abi.FUTEX_WAKE, 9, 0, 0, 0)
			w.threadFutex(word2, abi.FUTEX_WAKE, 9, 0, 0, 0)
			got(t, results, 4-want)
		})
	}
}

func TestFutexTimeout(t *testing.T) {
	w := newFutexWorld(t)
	_, word := w.mem.alloc(4)
	_, ts := w.mem.alloc(16)
	for _, c := range []struct {
		name string
		op   uint32
		from int64
	}{
		{"relative", abi.FUTEX_WAIT, 0},
		{"absolute", abi.FUTEX_WAIT_BITSET, w.kernel.monotonic()},
		{"absolute, of the wall clock", abi.FUTEX_WAIT_BITSET | abi.FUTEX_CLOCK_REALTIME, time.Now().UnixNano()},
	} {
		storeTime(ts, c.from+3e6)
		start := w.kernel.monotonic()
		if _, errno := w.threadFutex(word, c.op, 0, uint64(ts), 0, 1); errno != abi.ETIMEDOUT {
			t.Errorf("%s: %v", c.name, errno)
		}
		if c.from == 0 && w.kernel.monotonic()-start < 3e6 {
			t.Errorf("%s: too early", c.name)
		}
		if w.futex.bucket.Load() != nil {
			t.Fatalf("%s: still in the list", c.name)
		}
	}
	storeTime(ts, 5e9)
	if _, errno := w.threadFutex(word, abi.FUTEX_WAIT_BITSET|abi.FUTEX_CLOCK_REALTIME, 0, uint64(ts), 0, 1); errno != abi.ETIMEDOUT {
		t.Errorf("in 1970: %v", errno)
	}
}

// TestFutexMutex builds a mutex of futex calls and lets threads fight for it: with one wake lost they
// would hang.
func TestFutexMutex(t *testing.T) {
	w := newFutexWorld(t)
	_, word := w.mem.alloc(4)
	var counter atomic.Int32 // never added to at once, if the mutex works
	var wg sync.WaitGroup
	for range 6 {
		o := w.thread()
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 3000 {
				if prev, _ := guest.CompareAndSwap32(word, 0, 1); prev != 0 {
					for {
						prev, _ := guest.CompareAndSwap32(word, 1, 2)
						if prev != 0 {
							o.threadFutex(word, abi.FUTEX_WAIT|abi.FUTEX_PRIVATE_FLAG, 2, 0, 0, 0)
						}
						if prev, _ = guest.CompareAndSwap32(word, 0, 2); prev == 0 {
							break
						}
					}
				}
				counter.Store(counter.Load() + 1)
				for {
					v, _ := guest.Load32(word)
					if prev, _ := guest.CompareAndSwap32(word, v, 0); prev == v {
						if v == 2 {
							o.threadFutex(word, abi.FUTEX_WAKE|abi.FUTEX_PRIVATE_FLAG, 1, 0, 0, 0)
						}
						break
					}
				}
			}
			o.kernel.slots.release()
		}()
	}
	wg.Wait()
	if n := counter.Load(); n != 18000 {
		t.Errorf("counted to %d", n)
	}
}

func TestRobustList(t *testing.T) {
	w := newFutexWorld(t)
	// A head, and three entries whose words lie 8 behind: one held and waited for, one of somebody
	// else, one pending.
	_, head := w.mem.alloc(24)
	var entry [3]abi.Addr
	for i := range entry {
		_, entry[i] = w.mem.alloc(16)
	}
	const offset = 8
	guest.Store64(head, uint64(entry[0]))
	guest.Store64(head+8, offset)
	guest.Store64(head+16, uint64(entry[2]))
	guest.Store64(entry[0], uint64(entry[1]))
	guest.Store64(entry[1], uint64(head))
	tid := uint32(w.tid)
	guest.Store32(entry[0]+offset, tid|abi.FUTEX_WAITERS)
	guest.Store32(entry[1]+offset, tid+1)
	guest.Store32(entry[2]+offset, tid)
	results := make(chan abi.Errno, 4)
	w.waiting(1, entry[0]+offset, 1, results)
	w.fails(abi.EINVAL)(w.threadSetRobustList(head, 23))
	w.ok(w.threadSetRobustList(head, 24))
	w.releaseRobust()
	got(t, results, 1)
	for i, want := range []uint32{abi.FUTEX_OWNER_DIED | abi.FUTEX_WAITERS, tid + 1, abi.FUTEX_OWNER_DIED} {
		if v, _ := guest.Load32(entry[i] + offset); v != want {
			t.Errorf("entry %d holds %#x, want %#x", i, v, want)
		}
	}
	// A list that never ends, and one that leads nowhere.
	guest.Store64(entry[1], uint64(entry[0]))
	w.releaseRobust()
	guest.Store64(entry[0], uint64(w.mem.bad()))
	w.releaseRobust()
}
