package emu

import (
	"testing"

	"pinhole/abi"
)

// polls makes an array of pollfds.
func (w *ioWorld) pollfds(fds ...abi.Pollfd) ([]byte, abi.Addr) {
	p, a := w.mem.alloc(len(fds) * abi.PollfdSize)
	for i := range fds {
		fds[i].Encode(p[i*abi.PollfdSize:])
	}
	return p, a
}

func revents(p []byte, i int) int16 {
	var f abi.Pollfd
	f.Decode(p[i*abi.PollfdSize:])
	return f.Revents
}

func TestPollWakes(t *testing.T) {
	w := newIOWorld(t, Config{})
	r1, w1 := w.pipe(0)
	r2, w2 := w.pipe(abi.O_NONBLOCK)
	_, big := w.mem.alloc(pipeCapacity)
	w.ok(w.fileWrite(w2, big, pipeCapacity))
	_ = r2
	for _, c := range []struct {
		name  string
		do    func()
		undo  func()
		index int
		want  int16
	}{
		{"content", func() { w.ok(w.fileWrite(w1, w.mem.bytes("x"), 1)) }, func() { w.ok(w.fileRead(r1, big, 1)) }, 0, abi.POLLIN},
		{"room", func() { w.ok(w.fileRead(r2, big, 4096)) }, func() { w.ok(w.fileWrite(w2, big, 4096)) }, 1, abi.POLLOUT},
		{"reader gone", func() { w.ok(w.fdClose(r2)) }, func() {}, 1, abi.POLLERR},
		{"writer gone", func() { w.ok(w.fdClose(w1)) }, func() {}, 0, abi.POLLHUP},
	} {
		if c.name == "writer gone" {
			w.ok(w.fdClose(w2)) // which has an event for good
		}
		var p []byte
		o, result := w.async(func(o *ioWorld) (uint64, abi.Errno) {
			var a abi.Addr
			p, a = o.pollfds(abi.Pollfd{FD: r1, Events: abi.POLLIN}, abi.Pollfd{FD: w2, Events: abi.POLLOUT}, abi.Pollfd{FD: -1})
			if c.name == "writer gone" {
				return o.pollMillis(a, 1, -1)
			}
			return o.pollMillis(a, 3, -1)
		})
		o.blocked()
		c.do()
		w.expect(result, callResult{1, 0})
		if got := revents(p, c.index); got != c.want {
			t.Errorf("%s: events %#x, want %#x", c.name, got, c.want)
		}
		c.undo()
	}
}

// TestPollLosesNothing has one thread poll and read while another writes, many times over: a wake
// that is lost leaves the test hanging.
func TestPollLosesNothing(t *testing.T) {
	const rounds = 2000
	w := newIOWorld(t, Config{})
	r1, w1 := w.pipe(0)
	r2, w2 := w.pipe(0)
	_, done := w.async(func(o *ioWorld) (uint64, abi.Errno) {
		_, buf := o.mem.alloc(8)
		for i := range rounds {
			p, a := o.pollfds(abi.Pollfd{FD: r1, Events: abi.POLLIN}, abi.Pollfd{FD: r2, Events: abi.POLLIN})
			n, errno := o.pollMillis(a, 2, -1)
			if n < 1 || errno != 0 {
				t.Errorf("round %d: poll returned %d, %v", i, n, errno)
				return 0, 0
			}
			for j, fd := range []int32{r1, r2} {
				if revents(p, j) != 0 {
					o.fileRead(fd, buf, 1)
				}
			}
		}
		return 0, 0
	})
	_, buf := w.mem.alloc(1)
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		default:
		}
		for fd := w1; ; fd = w2 {
			if !w.full(fd) {
				w.fileWrite(fd, buf, 1)
			}
			if fd == w2 || i%3 != 0 {
				break
			}
		}
	}
}

// full tells whether a write to the pipe would wait.
func (w *ioWorld) full(fd int32) bool {
	d, _ := w.file(fd)
	defer d.unref()
	return d.file.ready(w.Task, d)&abi.POLLOUT == 0
}

func TestPollInterrupted(t *testing.T) {
	w := newIOWorld(t, Config{})
	r, _ := w.pipe(0)
	for _, call := range []func(o *ioWorld) (uint64, abi.Errno){
		func(o *ioWorld) (uint64, abi.Errno) {
			_, a := o.pollfds(abi.Pollfd{FD: r, Events: abi.POLLIN})
			return o.pollMillis(a, 1, -1)
		},
		func(o *ioWorld) (uint64, abi.Errno) {
			_, a := o.pollfds(abi.Pollfd{FD: r, Events: abi.POLLIN})
			return o.pollWait(a, 1, 0, 0, 0)
		},
		func(o *ioWorld) (uint64, abi.Errno) {
			return o.pollSelect(0, 0, 0, 0, 0, 0)
		},
	} {
		o, result := w.async(call)
		o.blocked()
		o.alert(attExit)
		w.expect(result, callResult{0, abi.EINTR})
	}
}

// TestPollMask checks that ppoll sees a signal that is blocked otherwise, and that the mask is as
// it was if none has come.
func TestPollMask(t *testing.T) {
	w := newIOWorld(t, Config{})
	r, wr := w.pipe(0)
	w.proc.sig.act[abi.SIGUSR1].Handler = 0x1000
	all := abi.Sigset(0).Add(abi.SIGUSR1)
	w.proc.sig.mu.Lock()
	w.setMask(all)
	w.proc.sig.mu.Unlock()
	w.signal(abi.SIGUSR1)
	mask, maskAddr := w.mem.alloc(8)
	abi.Sigset(0).Encode(mask)
	_, a := w.pollfds(abi.Pollfd{FD: r, Events: abi.POLLIN})

	w.fails(abi.EINTR)(w.pollWait(a, 1, 0, maskAddr, 8))
	if !w.useOld || w.oldmask != all {
		t.Error("the mask to go back to after the handler is lost")
	}
	w.restoreMask()

	all.Encode(mask)
	w.ok(w.fileWrite(wr, w.mem.bytes("x"), 1))
	w.ok(w.pollWait(a, 1, 0, maskAddr, 8))
	if w.useOld || w.sigmask != all {
		t.Errorf("the mask is %#x after the call, want %#x", w.sigmask, all)
	}
}
