package emu

import (
	"sync"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// output writes to the host's standard output or error. One task at a time does, and keeps what others
// write from getting in between.
type output struct {
	k     *Kernel
	host  int
	queue waitQueue // who waits for busy to end

	mu   sync.Mutex
	busy bool
	buf  []byte // of the task that is busy
}

// outputMax is how much is written with one host call.
const outputMax = 64 << 10

// acquire makes the task the one that writes.
func (o *output) acquire(t *Task) abi.Errno {
	w := &t.waiter
	w.task = t
	for {
		o.queue.add(w)
		o.mu.Lock()
		free := !o.busy
		if free {
			o.busy = true
		}
		o.mu.Unlock()
		if free {
			o.queue.remove(w)
			return 0
		}
		if t.wait(forever) != 0 {
			if !o.queue.remove(w) {
				o.queue.wakeOne()
			}
			return errRestart
		}
	}
}

func (o *output) release() {
	o.mu.Lock()
	o.busy = false
	o.mu.Unlock()
	o.queue.wakeOne()
}

func (o *output) write(t *Task, d *description, n int, src vfs.Source) (int, abi.Errno) {
	if n == 0 {
		return 0, 0
	}
	if errno := o.acquire(t); errno != 0 {
		return 0, errno
	}
	defer o.release()
	done := 0
	for done < n {
		size := min(n-done, outputMax)
		if len(o.buf) < size {
			o.buf = make([]byte, max(size, 4<<10))
		}
		got, errno := src.Get(o.buf[:size])
		m, e := o.put(t, d, o.buf[:got])
		done += m
		if e == abi.EPIPE {
			t.signal(abi.SIGPIPE)
		}
		if e != 0 {
			errno = e
		}
		if errno != 0 {
			return done, errno
		}
	}
	return done, 0
}

// put writes p to the host.
func (o *output) put(t *Task, d *description, p []byte) (int, abi.Errno) {
	done := 0
	for done < len(p) {
		var n int
		var errno abi.Errno
		t.outside(func() { n, errno = o.k.m.HostWrite(o.host, p[done:]) })
		done += max(n, 0)
		switch errno {
		case 0:
		case abi.EINTR:
			if t.attention.Load()&attInterrupt != 0 && t.interrupted() != 0 {
				return done, errRestart
			}
		case abi.EAGAIN: // somebody made the stream non-blocking
			if d.has(abi.O_NONBLOCK) {
				return done, abi.EAGAIN
			}
			if t.wait(t.deadlineIn(int64(retryPause))) == abi.EINTR {
				return done, errRestart
			}
		default:
			return done, errno
		}
	}
	return done, 0
}
