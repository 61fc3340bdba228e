package emu

import (
	"sync"
	"time"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// input reads the host's standard input. The host call blocks and cannot be interrupted, so a
// goroutine of its own makes it, only when somebody wants something, and never for more than was
// asked for: what the guest does not read is left to others who have the stream.
type input struct {
	k     *Kernel
	queue waitQueue // woken when content or the end has come

	mu      sync.Mutex
	wanted  sync.Cond // want > 0; its lock is mu
	running bool      // the goroutine has been started
	want    int       // bytes to ask for; 0: nobody wants any
	buf     []byte
	content []byte // what has come and was not read yet, in buf
	end     bool   // the end has come, and nobody has been told yet
	held    bool   // somebody takes the content (see heldSource): other readers wait
	errno   abi.Errno
}

// inputMax is how much is asked for at once.
const inputMax = 64 << 10

// ask sees to it that content comes. The caller holds mu and has found none.
func (in *input) ask(n int) {
	if !in.running {
		in.running = true
		in.wanted.L = &in.mu
		go in.pump()
	}
	if in.want == 0 {
		in.want = min(n, inputMax)
		in.wanted.Signal()
	}
}

func (in *input) pump() {
	in.mu.Lock()
	for {
		for in.want == 0 {
			in.wanted.Wait()
		}
		if len(in.buf) < in.want {
			in.buf = make([]byte, in.want)
		}
		p := in.buf[:in.want]
		in.mu.Unlock()
		n, errno := in.k.m.HostRead(0, p)
		if errno == abi.EINTR || errno == abi.EAGAIN {
			// The host's own affair; a stream that somebody made non-blocking is looked at now and then.
			if errno == abi.EAGAIN {
				time.Sleep(retryPause)
			}
			in.mu.Lock()
			continue
		}
		in.mu.Lock()
		in.content, in.want = p[:max(n, 0)], 0
		in.errno = errno
		in.end = n <= 0 && errno == 0
		in.mu.Unlock()
		in.queue.wakeAll()
		in.mu.Lock()
	}
}

// retryPause is how long to wait before a non-blocking stream of the host is tried again.
const retryPause = 2 * time.Millisecond

// tryRead reads what has come. errWait: nothing has, and it was asked for.
func (in *input) tryRead(n int, dst vfs.Dest, nonblock bool) (int, abi.Errno) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.held:
		return 0, errWait
	case len(in.content) > 0:
		done, errno := dst.Put(in.content[:min(n, len(in.content))])
		in.content = in.content[done:]
		return done, errno
	case in.errno != 0:
		errno := in.errno
		in.errno = 0
		return 0, errno
	case in.end:
		in.end = false
		return 0, 0
	}
	in.ask(n)
	if nonblock {
		return 0, abi.EAGAIN
	}
	return 0, errWait
}

// hold implements heldSource. An error of the host is told once, and so is the end.
func (in *input) hold(t *Task, n int, nonblock bool) abi.Errno {
	w := &t.waiter
	w.task = t
	for {
		in.queue.add(w)
		errno := in.tryHold(n, nonblock)
		if errno == errWait {
			if t.wait(forever) == 0 {
				continue
			}
			errno = errRestart
		}
		in.queue.remove(w)
		return errno
	}
}

func (in *input) tryHold(n int, nonblock bool) abi.Errno {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.held:
		return errWait
	case len(in.content) == 0 && in.errno != 0:
		errno := in.errno
		in.errno = 0
		return errno
	case len(in.content) > 0 || in.end:
		in.end = in.end && len(in.content) > 0
		in.held = true
		return 0
	}
	in.ask(n)
	if nonblock {
		return abi.EAGAIN
	}
	return errWait
}

// peek implements heldSource.
func (in *input) peek(p []byte) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return copy(p, in.content)
}

// drop implements heldSource.
func (in *input) drop(n int) {
	in.mu.Lock()
	in.content = in.content[n:]
	in.mu.Unlock()
}

// letGo implements heldSource.
func (in *input) letGo() {
	in.mu.Lock()
	in.held = false
	in.mu.Unlock()
	in.queue.wakeAll()
}

func (in *input) read(t *Task, d *description, n int, dst vfs.Dest) (int, abi.Errno) {
	if n == 0 {
		return 0, 0
	}
	w := &t.waiter
	w.task = t
	for {
		in.queue.add(w)
		done, errno := in.tryRead(n, dst, d.has(abi.O_NONBLOCK))
		if errno == errWait {
			if t.wait(forever) == 0 {
				continue
			}
			errno = errRestart
		}
		in.queue.remove(w)
		return done, errno
	}
}

// ready tells whether a read would not wait; if it would, it sees to it that content comes.
func (in *input) ready() uint32 {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case len(in.content) > 0:
		return abi.POLLIN | abi.POLLRDNORM
	case in.errno != 0:
		return abi.POLLIN | abi.POLLRDNORM | abi.POLLERR
	case in.end:
		return abi.POLLIN | abi.POLLRDNORM | abi.POLLHUP
	}
	in.ask(abi.PIPE_BUF)
	return 0
}

func (in *input) buffered() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.content) == 0 {
		in.ask(abi.PIPE_BUF)
	}
	return len(in.content)
}
