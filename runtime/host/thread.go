package host

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// thread is the block of a host thread: GS base points to it for as long as the thread lives.
// It lies outside Go's heap, in a cache line of its own, and is written by its thread alone.
type thread struct {
	ctx     uintptr // guest context that has the thread, or 0
	hostFS  uintptr // the Go runtime's FS base, one per thread
	alt     uintptr // base of the thread's alternate signal stack; 0: not known yet
	ticks   uint64  // of processor time, guest's and kernel's
	scratch uint64
	_       [24]byte
}

// tickPeriod is the processor time between two ticks of a thread.
const tickPeriod = 10 * time.Millisecond

// threads are the blocks of all host threads that may run guests.
var threads struct {
	mu   sync.Mutex
	slab []thread // room for more
	all  []*thread
	tids map[int]bool
}

// adopt makes the calling host thread one that can run guests: it gives it a block and arms its
// timer. The goroutine must be locked to the thread. The timer sends tickSignal each time that
// the thread has used another tickPeriod of processor time; a thread that sleeps gets none.
func adopt() error {
	if atomic.LoadUint32(&runtimeLocked) != 0 {
		// Too late for a timer, and the handler finds out where the alternate stack is.
		t, err := newThread()
		if err == nil {
			setThread(t)
		}
		return err
	}
	var alt struct {
		sp    uintptr
		flags int32
		size  uintptr
	}
	if _, _, e := syscall.RawSyscall(syscall.SYS_SIGALTSTACK, 0, uintptr(unsafe.Pointer(&alt)), 0); e != 0 {
		return fmt.Errorf("host: thread: sigaltstack: %w", e)
	}
	const ssDisable = 2
	if alt.flags&ssDisable != 0 {
		return fmt.Errorf("host: thread without an alternate signal stack")
	}
	t, err := newThread()
	if err != nil {
		return err
	}
	t.alt = alt.sp
	tid := syscall.Gettid()
	event := struct {
		value  uint64
		signo  int32
		notify int32
		tid    int32
		_      [44]byte
	}{signo: int32(tickSignal), notify: 4 /* SIGEV_THREAD_ID */, tid: int32(tid)}
	var timer int32
	const clockThreadCPUTime = 3
	if _, _, e := syscall.RawSyscall(syscall.SYS_TIMER_CREATE, clockThreadCPUTime,
		uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&timer))); e != 0 {
		return fmt.Errorf("host: thread: timer_create: %w", e)
	}
	period := syscall.NsecToTimespec(int64(tickPeriod))
	spec := [2]syscall.Timespec{period, period}
	if _, _, e := syscall.RawSyscall6(syscall.SYS_TIMER_SETTIME, uintptr(timer), 0,
		uintptr(unsafe.Pointer(&spec)), 0, 0, 0); e != 0 {
		return fmt.Errorf("host: thread: timer_settime: %w", e)
	}
	setThread(t)
	threads.mu.Lock()
	threads.all = append(threads.all, t)
	threads.tids[tid] = true
	threads.mu.Unlock()
	return nil
}

func newThread() (*thread, error) {
	threads.mu.Lock()
	defer threads.mu.Unlock()
	if threads.tids == nil {
		threads.tids = map[int]bool{}
	}
	if len(threads.slab) == 0 {
		m, err := syscall.Mmap(-1, 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			return nil, fmt.Errorf("host: thread: mmap: %w", err)
		}
		threads.slab = unsafe.Slice((*thread)(unsafe.Pointer(unsafe.SliceData(m))), len(m)/int(unsafe.Sizeof(thread{})))
	}
	t := &threads.slab[0]
	threads.slab = threads.slab[1:]
	return t, nil
}

// spawn makes the process have at least n host threads that can run guests, idle, and adopts
// every other one that the runtime may run Go code on. The runtime takes them instead of making
// new ones, which it cannot do behind the lock. It returns how many threads it could not adopt: they are
// when they first run a guest, and then have no timer if that is behind the lock.
func spawn(n int) (left int, err error) {
	// All threads stay held until no stranger is left: the runtime has no other to run the next
	// goroutine on, or this one, and makes a thread only while it has none.
	errs := make(chan error, n+1)
	release := make(chan struct{})
	var done sync.WaitGroup
	hold := func() {
		done.Go(func() {
			runtime.LockOSThread() // a goroutine that waits while it has a thread keeps others off it
			defer runtime.UnlockOSThread()
			errs <- adoptOnce()
			<-release
		})
	}
	procs := runtime.GOMAXPROCS(0)
	defer func() {
		close(release)
		done.Wait()
		runtime.GOMAXPROCS(procs)
	}()

	// All at once first, on all processors, which is quickest.
	for range n {
		hold()
	}
	for range n {
		if err := <-errs; err != nil {
			return 0, err
		}
	}
	// Then one after the other. With one processor the runtime wakes no thread but the one it
	// needs. With more it keeps making threads that look for work, faster than they can be found here.
	runtime.GOMAXPROCS(1)
	for range n + 16 {
		if err := adoptOnce(); err != nil { // the thread that this goroutine happens to be on by now
			return 0, err
		}
		if left = strangers(); left <= 0 {
			return 0, nil
		}
		// A thread that sleeps for the timers is none of the idle ones: wake it.
		time.Sleep(50 * time.Microsecond)
		if err := adoptOnce(); err != nil {
			return 0, err
		}
		hold()
		if err := <-errs; err != nil {
			return 0, err
		}
	}
	return left, nil
}

// adoptOnce adopts the calling host thread if that has not been done.
func adoptOnce() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if mine() {
		return nil
	}
	return adopt()
}

// mine reports whether this host thread has been adopted.
func mine() bool {
	threads.mu.Lock()
	defer threads.mu.Unlock()
	return threads.tids[syscall.Gettid()]
}

// strangers counts the threads that have not been adopted and that may run Go code. The runtime knows
// its threads; /proc may be out of reach by now.
func strangers() int {
	n, _ := runtime.ThreadCreateProfile(nil) // a record for each thread there is
	threads.mu.Lock()
	defer threads.mu.Unlock()
	return n - apart - len(threads.all)
}

// apart is how many threads never run Go code of anybody else: the runtime's monitor, and the
// thread that it makes threads from.
const apart = 2

// awaitApart waits until those two are up. What a thread does first, with all signals blocked, the
// lock forbids: a thread that the host had not run by then would end the process.
func awaitApart() error {
	if threadsApart == nil {
		return nil
	}
	for range 100000 { // seconds: the host may be busy
		if threadsApart() == apart {
			return nil
		}
		time.Sleep(20 * time.Microsecond)
	}
	return errors.New("host: the Go runtime's own threads do not come up")
}

// cpuTime returns the processor time that all adopted threads have used, to a tick.
func cpuTime() time.Duration {
	threads.mu.Lock()
	defer threads.mu.Unlock()
	var n uint64
	for _, t := range threads.all {
		n += t.ticks
	}
	return time.Duration(n) * tickPeriod
}

//go:noescape
func setThread(t *thread)
