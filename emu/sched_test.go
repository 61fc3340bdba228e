package emu

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pinhole/abi"
)

func TestParkerToken(t *testing.T) {
	p := new(parker)
	p.unpark()
	p.unpark() // counts once
	p.park()
	woke := make(chan struct{})
	go func() {
		p.park()
		close(woke)
	}()
	select {
	case <-woke:
		t.Fatal("one token let park return twice")
	case <-time.After(10 * time.Millisecond):
	}
	p.unpark()
	<-woke
}

// TestParkerPingPong loses no wake, whichever of park and unpark comes first.
func TestParkerPingPong(t *testing.T) {
	a, b := new(parker), new(parker)
	const rounds = 20000
	go func() {
		for range rounds {
			a.park()
			b.unpark()
		}
	}()
	for range rounds {
		a.unpark()
		b.park()
	}
}

// TestSlots never lets more in than there are slots, and lets everybody in at last.
func TestSlots(t *testing.T) {
	var s slots
	s.free.Store(3)
	var in, most, turns atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			task := new(Task)
			for range 500 {
				s.acquire(task)
				n := in.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				if n > 3 {
					t.Errorf("%d in at once", n)
				}
				in.Add(-1)
				s.release()
				turns.Add(1)
			}
		}()
	}
	wg.Wait()
	if s.free.Load() != 3 || s.head != nil || s.owed != 0 || turns.Load() != 10000 {
		t.Errorf("%d free, %d owed, %d turns", s.free.Load(), s.owed, turns.Load())
	}
}

// TestSlotsOrder serves those who wait in the order in which they came.
func TestSlotsOrder(t *testing.T) {
	var s slots
	order := make(chan int, 5)
	for i := range 5 {
		go func() {
			s.acquire(new(Task))
			order <- i
		}()
		for s.free.Load() != int64(-i-1) {
			time.Sleep(time.Millisecond)
		}
		for s.listed() != i+1 {
			time.Sleep(time.Millisecond)
		}
	}
	for i := range 5 {
		s.release()
		if got := <-order; got != i {
			t.Errorf("%d came before %d", got, i)
		}
	}
}

func (s *slots) listed() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := s.head; w != nil; w = w.next {
		n++
	}
	return n
}

func TestWaitQueue(t *testing.T) {
	w := newIOWorld(t, Config{})
	var q waitQueue
	a, b, c := waiter{task: w.thread().Task}, waiter{task: w.thread().Task}, waiter{task: w.thread().Task}
	q.add(&a)
	q.add(&b)
	q.add(&b) // twice is once
	q.add(&c)
	if !q.remove(&b) || q.remove(&b) {
		t.Error("remove does not tell whether the waiter was in the queue")
	}
	if !q.wakeOne() || q.remove(&a) || !q.remove(&c) {
		t.Error("wakeOne did not take the first one off")
	}
	q.add(&a)
	q.add(&c)
	q.wakeAll()
	if q.remove(&a) || q.remove(&c) || q.wakeOne() || q.count.Load() != 0 {
		t.Error("wakeAll left somebody in the queue")
	}
}

func TestWaitDeadline(t *testing.T) {
	w := newIOWorld(t, Config{})
	if errno := w.wait(w.kernel.monotonic() - 1); errno != abi.ETIMEDOUT {
		t.Errorf("deadline in the past: %v", errno)
	}
	deadline := w.kernel.monotonic() + 5e6
	for w.wait(deadline) == 0 {
	}
	if now := w.kernel.monotonic(); now < deadline {
		t.Errorf("woke %d ns before the deadline", deadline-now)
	}
	w.wake()
	if errno := w.wait(forever); errno != 0 {
		t.Errorf("a wake that came before the wait: %v", errno)
	}
	time.AfterFunc(time.Millisecond, w.wake)
	if errno := w.wait(w.kernel.monotonic() + 60e9); errno != 0 {
		t.Errorf("woken: %v", errno)
	}
}

func TestWaitInterrupted(t *testing.T) {
	w := newIOWorld(t, Config{})
	w.proc.tasks = map[int32]*Task{w.tid: w.Task}
	w.proc.sig.act[abi.SIGUSR1].Handler = 0x1000
	time.AfterFunc(5*time.Millisecond, func() { w.proc.signal(abi.SIGUSR1) })
	if errno := w.wait(forever); errno != abi.EINTR {
		t.Errorf("signal with a handler: %v", errno)
	}
	w.sigpend, w.proc.sig.pending = sigQueue{}, sigQueue{}
	w.sigmask = sigset(abi.SIGUSR1)
	w.proc.signal(abi.SIGUSR1)
	w.proc.signal(abi.SIGCHLD) // ignored by default
	if errno := w.wait(w.kernel.monotonic() + 5e6); errno == abi.EINTR {
		t.Error("a blocked or ignored signal ended the wait")
	}
	time.AfterFunc(5*time.Millisecond, func() { w.proc.exit(1) })
	if errno := w.wait(forever); errno != abi.EINTR {
		t.Errorf("end of the process: %v", errno)
	}
}

// TestWaitStopped: a process that is stopped and continued waits on as if nothing had happened.
func TestWaitStopped(t *testing.T) {
	w := newIOWorld(t, Config{})
	w.proc.tasks = map[int32]*Task{w.tid: w.Task}
	p := w.proc
	woken := make(chan abi.Errno)
	go func() { woken <- w.wait(forever) }()
	p.signal(abi.SIGTSTP)
	for w.attention.Load()&attStop == 0 {
		time.Sleep(time.Millisecond)
	}
	w.wake() // what it waits for happens meanwhile
	select {
	case errno := <-woken:
		t.Fatalf("a stopped thread goes on: %v", errno)
	case <-time.After(5 * time.Millisecond):
	}
	p.signal(abi.SIGCONT)
	if errno := <-woken; errno != 0 {
		t.Errorf("after being continued: %v", errno)
	}
	if w.attention.Load() != 0 || p.sig.pending.set != 0 {
		t.Errorf("attention %#x, pending %#x", w.attention.Load(), p.sig.pending.set)
	}
}

func BenchmarkParkerPingPong(b *testing.B) {
	p, q := new(parker), new(parker)
	go func() {
		for range b.N {
			p.park()
			q.unpark()
		}
	}()
	for range b.N {
		p.unpark()
		q.park()
	}
}
