package emu

import (
	"math/rand/v2"
	"sync"
	"testing"

	"pinhole/abi"
)

// TestEpollThreads has threads watch, close, make ready and wait for the same descriptors at random. What
// comes of each call depends on the others; the kernel must come to no harm, and forget nothing it holds.
func TestEpollThreads(t *testing.T) {
	w := newIOWorld(t, Config{})
	rounds := 20000
	if testing.Short() {
		rounds = 3000
	}
	const fds = 16 // those that the threads use, from the first free one on
	first := int32(w.ok(w.eventfdCreate(0, abi.EFD_NONBLOCK)))
	var threads sync.WaitGroup
	for n := range 4 {
		o := w.thread()
		threads.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 2))
			fd := func() int32 { return first + int32(r.IntN(fds)) }
			p, at := o.mem.alloc(64 * abi.EpollEventSize)
			for range rounds {
				switch r.IntN(10) {
				case 0:
					if v, errno := o.epollCreate(0, 1); errno == 0 && int32(v) >= first+fds {
						o.fdClose(int32(v))
					}
				case 1:
					if v, errno := o.eventfdCreate(1, abi.EFD_NONBLOCK); errno == 0 && int32(v) >= first+fds {
						o.fdClose(int32(v))
					}
				case 2:
					o.fdClose(fd())
				case 3:
					o.fdDup2(fd(), fd())
				case 4, 5:
					events := []uint32{abi.EPOLLIN, abi.EPOLLIN | abi.EPOLLET, abi.EPOLLOUT | abi.EPOLLONESHOT, abi.EPOLLIN | abi.EPOLLEXCLUSIVE}[r.IntN(4)]
					(&abi.EpollEvent{Events: events}).Encode(p)
					o.epollControl(fd(), int32(1+r.IntN(3)), fd(), at)
				case 6, 7:
					o.epollMillis(fd(), at, 64, int32(r.IntN(2)), 0, 0)
				case 8:
					le.PutUint64(p, 1)
					o.fileWrite(fd(), at, 8)
				case 9:
					o.fileRead(fd(), at, 8)
				}
			}
		})
	}
	threads.Wait()
	for fd := first; fd < first+fds; fd++ {
		w.fdClose(fd)
	}
	if n := w.kernel.io.epolls.watches.Load(); n != 0 {
		t.Errorf("%d watches are left", n)
	}
}

// TestEpollWakes: a task that waits is woken by what is made ready, watched, and changed afterwards, and by a
// queue below.
func TestEpollWakes(t *testing.T) {
	w := newIOWorld(t, Config{})
	for _, c := range []struct {
		name string
		do   func(outer, inner, fd int32)
	}{
		{"ready", func(_, inner, fd int32) {
			w.control(inner, abi.EPOLL_CTL_ADD, fd, abi.EPOLLIN)
			w.raise(fd)
		}},
		{"watched", func(outer, _, fd int32) {
			w.raise(fd)
			w.control(outer, abi.EPOLL_CTL_ADD, fd, abi.EPOLLIN)
		}},
		{"watched below", func(_, inner, fd int32) {
			w.raise(fd)
			w.control(inner, abi.EPOLL_CTL_ADD, fd, abi.EPOLLIN)
		}},
		{"changed", func(outer, _, fd int32) {
			w.raise(fd)
			w.control(outer, abi.EPOLL_CTL_ADD, fd, 0)
			w.control(outer, abi.EPOLL_CTL_MOD, fd, abi.EPOLLIN)
		}},
	} {
		outer, inner := int32(w.ok(w.epollCreate(0, 1))), int32(w.ok(w.epollCreate(0, 1)))
		fd := int32(w.ok(w.eventfdCreate(0, 0)))
		w.control(outer, abi.EPOLL_CTL_ADD, inner, abi.EPOLLIN)
		o, result := w.async(func(o *ioWorld) (uint64, abi.Errno) {
			_, at := o.mem.alloc(4 * abi.EpollEventSize)
			return o.epollMillis(outer, at, 4, -1, 0, 0)
		})
		o.blocked()
		c.do(outer, inner, fd)
		w.expect(result, callResult{1, 0})
		for _, fd := range []int32{outer, inner, fd} {
			w.ok(w.fdClose(fd))
		}
	}
}

// TestEpollManyWaiters: every event of a queue on which several tasks wait is told once, though each wake is
// for one of them.
func TestEpollManyWaiters(t *testing.T) {
	const waiters, events = 4, 3000
	w := newIOWorld(t, Config{})
	q, fd := int32(w.ok(w.epollCreate(0, 1))), int32(w.ok(w.eventfdCreate(0, abi.EFD_NONBLOCK|abi.EFD_SEMAPHORE)))
	w.control(q, abi.EPOLL_CTL_ADD, fd, abi.EPOLLIN)
	var threads sync.WaitGroup
	for range waiters {
		o := w.thread()
		threads.Go(func() {
			_, at := o.mem.alloc(4 * abi.EpollEventSize)
			for got := 0; got < events/waiters; {
				o.epollMillis(q, at, 4, -1, 0, 0)
				if _, errno := o.fileRead(fd, at, 8); errno == 0 {
					got++
				}
			}
		})
	}
	for range events {
		w.raise(fd)
	}
	threads.Wait() // hangs if a wake is lost
}

// askedFile is an event whose first look at what holds does something else besides.
type askedFile struct {
	eventFD
	once  sync.Once
	asked func()
}

func (f *askedFile) ready(t *Task, d *description) uint32 {
	f.once.Do(f.asked)
	return f.eventFD.ready(t, d)
}

// TestEpollPolledMeanwhile: a thread that begins to wait while another one polls the queue, and has taken
// what is ready off its list to look at it, is told of that.
func TestEpollPolledMeanwhile(t *testing.T) {
	w := newIOWorld(t, Config{})
	q := int32(w.ok(w.epollCreate(0, 1)))
	var result chan callResult
	waits := func() {
		var o *ioWorld
		o, result = w.async(func(o *ioWorld) (uint64, abi.Errno) {
			_, at := o.mem.alloc(4 * abi.EpollEventSize)
			return o.epollMillis(q, at, 4, -1, 0, 0)
		})
		o.blocked()
	}
	f := &askedFile{asked: func() {}}
	fd := int32(w.ok(w.openAnon(anonEventFD, f, 0)))
	w.control(q, abi.EPOLL_CTL_ADD, fd, abi.EPOLLIN)
	w.raise(fd)
	f.once, f.asked = sync.Once{}, waits
	p, at := w.mem.alloc(abi.PollfdSize)
	le.PutUint32(p, uint32(q))
	le.PutUint16(p[4:], abi.POLLIN)
	if n := w.ok(w.pollMillis(at, 1, 0)); n != 1 {
		t.Errorf("poll returned %d", n)
	}
	w.arrives(result, callResult{1, 0})
}

// TestEpollLevelWaiters: what is still ready is told to everybody who waits, one after the other.
func TestEpollLevelWaiters(t *testing.T) {
	w := newIOWorld(t, Config{})
	q, fd := int32(w.ok(w.epollCreate(0, 1))), int32(w.ok(w.eventfdCreate(0, 0)))
	w.control(q, abi.EPOLL_CTL_ADD, fd, abi.EPOLLIN)
	var results [3]chan callResult
	for i := range results {
		var o *ioWorld
		o, results[i] = w.async(func(o *ioWorld) (uint64, abi.Errno) {
			_, at := o.mem.alloc(4 * abi.EpollEventSize)
			return o.epollMillis(q, at, 4, -1, 0, 0)
		})
		o.blocked()
	}
	w.raise(fd)
	for _, result := range results {
		w.arrives(result, callResult{1, 0})
	}
}

// TestEventfdWaiters: who waits for a counter to have room is woken when it is read, and each of those who
// wait to read gets a number when there are as many.
func TestEventfdWaiters(t *testing.T) {
	w := newIOWorld(t, Config{})
	full := int32(w.ok(w.eventfdCreate(0, 0)))
	p, at := w.mem.alloc(8)
	le.PutUint64(p, ^uint64(1))
	w.ok(w.fileWrite(full, at, 8))
	o, written := w.async(func(o *ioWorld) (uint64, abi.Errno) {
		p, at := o.mem.alloc(8)
		p[0] = 1
		return o.fileWrite(full, at, 8)
	})
	o.blocked()
	w.ok(w.fileRead(full, at, 8))
	w.arrives(written, callResult{8, 0})

	fd := int32(w.ok(w.eventfdCreate(0, abi.EFD_SEMAPHORE)))
	var results [3]chan callResult
	for i := range results {
		o, results[i] = w.async(func(o *ioWorld) (uint64, abi.Errno) { _, at := o.mem.alloc(8); return o.fileRead(fd, at, 8) })
		o.blocked()
	}
	le.PutUint64(p, 3)
	w.ok(w.fileWrite(fd, at, 8))
	for _, result := range results {
		w.arrives(result, callResult{8, 0})
	}
}

func (w *ioWorld) control(q, op, fd int32, events uint32) {
	w.Helper()
	p, at := w.mem.alloc(abi.EpollEventSize)
	(&abi.EpollEvent{Events: events}).Encode(p)
	w.ok(w.epollControl(q, op, fd, at))
}

// raise adds 1 to an event.
func (w *ioWorld) raise(fd int32) {
	w.Helper()
	p, at := w.mem.alloc(8)
	p[0] = 1
	w.ok(w.fileWrite(fd, at, 8))
}
