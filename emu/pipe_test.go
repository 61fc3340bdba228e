package emu

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"

	"pinhole/abi"
)

// async makes a call in a thread of its own and returns where its result will come.
func (w *ioWorld) async(f func(o *ioWorld) (uint64, abi.Errno)) (o *ioWorld, result chan callResult) {
	return w.thread().run(f)
}

type callResult struct {
	v     uint64
	errno abi.Errno
}

// run makes a call in a goroutine, for the world's own thread.
func (w *ioWorld) run(f func(o *ioWorld) (uint64, abi.Errno)) (*ioWorld, chan callResult) {
	result := make(chan callResult, 1)
	go func() {
		v, errno := f(w)
		result <- callResult{v, errno}
	}()
	return w, result
}

// blocked returns once the thread waits for something.
func (w *ioWorld) blocked() {
	for w.state.Load() != taskBlocked {
		yieldTest()
	}
}

func (w *ioWorld) expect(result chan callResult, want callResult) {
	w.Helper()
	if got := <-result; got != want {
		w.Errorf("call returned %d, %v; want %d, %v", got.v, got.errno, want.v, want.errno)
	}
}

func TestPipeBlocks(t *testing.T) {
	w := newIOWorld(t, Config{})
	r, wr := w.pipe(0)
	read := func(o *ioWorld) (uint64, abi.Errno) {
		_, a := o.mem.alloc(10)
		return o.fileRead(r, a, 10)
	}
	write := func(n int) func(o *ioWorld) (uint64, abi.Errno) {
		return func(o *ioWorld) (uint64, abi.Errno) {
			_, a := o.mem.alloc(n)
			return o.fileWrite(wr, a, uint64(n))
		}
	}
	o, result := w.async(read)
	o.blocked()
	w.ok(w.fileWrite(wr, w.mem.bytes("abc"), 3))
	w.expect(result, callResult{3, 0})

	o, result = w.async(read)
	o.blocked()
	o.alert(attExit)
	w.expect(result, callResult{0, errRestart})

	// A write that is longer than the pipe waits for room, and what was written before it is
	// interrupted counts.
	o, result = w.async(write(100000))
	o.blocked()
	_, a := w.mem.alloc(30000)
	w.ok(w.fileRead(r, a, 30000))
	o.blocked()
	o.alert(attExit)
	got := <-result
	if got.errno != 0 || got.v < pipeCapacity || got.v > 95536 {
		t.Errorf("interrupted write returned %d, %v", got.v, got.errno)
	}

	// One of up to PIPE_BUF bytes waits until it fits whole.
	for left := got.v - 30000; left < pipeCapacity-100; {
		left += w.ok(write(int(min(4096, pipeCapacity-100-left)))(w))
	}
	o, result = w.async(write(101))
	o.blocked()
	w.ok(w.fileRead(r, a, 1))
	w.expect(result, callResult{101, 0})

	o, result = w.async(write(1000))
	o.blocked()
	w.ok(w.fdClose(r))
	w.expect(result, callResult{0, abi.EPIPE})
	if !o.sigpend.set.Has(abi.SIGPIPE) {
		t.Error("no SIGPIPE")
	}

	r, wr = w.pipe(0)
	o, result = w.async(read)
	o.blocked()
	w.ok(w.fdClose(wr))
	w.expect(result, callResult{0, 0})
}

// TestPipeCloseInUse closes the reader while a read of it is under way: the read goes on.
func TestPipeCloseInUse(t *testing.T) {
	w := newIOWorld(t, Config{})
	r, wr := w.pipe(0)
	o, result := w.async(func(o *ioWorld) (uint64, abi.Errno) {
		_, a := o.mem.alloc(10)
		return o.fileRead(r, a, 10)
	})
	o.blocked()
	w.ok(w.fdClose(r))
	w.fails(abi.EBADF)(w.fdClose(r))
	w.ok(w.fileWrite(wr, w.mem.bytes("abc"), 3))
	w.expect(result, callResult{3, 0})
	w.fails(abi.EPIPE)(w.fileWrite(wr, w.mem.bytes("abc"), 3))
}

// TestPipeManyWriters checks that short messages arrive whole, each once, and in order of each
// writer, through several readers.
func TestPipeManyWriters(t *testing.T) {
	const writers, readers, messages, size = 4, 3, 500, 100
	w := newIOWorld(t, Config{})
	r, wr := w.pipe(0)
	w.ok(w.fdControl(r, abi.F_SETPIPE_SZ, 4096))
	var writing, reading sync.WaitGroup
	for i := range writers {
		o := w.thread()
		writing.Add(1)
		go func() {
			defer writing.Done()
			p, a := o.mem.alloc(size)
			for m := range messages {
				for j := 0; j < size; j += 4 {
					binary.LittleEndian.PutUint16(p[j:], uint16(i))
					binary.LittleEndian.PutUint16(p[j+2:], uint16(m))
				}
				if n, errno := o.fileWrite(wr, a, size); n != size {
					t.Errorf("write returned %d, %v", n, errno)
					return
				}
			}
		}()
	}
	var mu sync.Mutex
	seen := map[[2]uint16]int{}
	for range readers {
		o := w.thread()
		reading.Add(1)
		go func() {
			defer reading.Done()
			p, a := o.mem.alloc(size)
			last := [writers]int{-1, -1, -1, -1}
			for {
				n, errno := o.fileRead(r, a, size)
				if n == 0 && errno == 0 {
					return
				}
				if n != size || !bytes.Equal(p[:4], p[size-4:]) {
					t.Errorf("read returned %d, %v, % x ... % x", n, errno, p[:4], p[size-4:])
					return
				}
				from, m := binary.LittleEndian.Uint16(p), binary.LittleEndian.Uint16(p[2:])
				if int(m) <= last[from] {
					t.Errorf("message %d of %d came after %d", m, from, last[from])
				}
				last[from] = int(m)
				mu.Lock()
				seen[[2]uint16{from, m}]++
				mu.Unlock()
			}
		}()
	}
	writing.Wait()
	w.ok(w.fdClose(wr))
	reading.Wait()
	if len(seen) != writers*messages {
		t.Errorf("%d different messages came, want %d", len(seen), writers*messages)
	}
}

func TestFIFOBlocks(t *testing.T) {
	w := newIOWorld(t, Config{})
	path := "/fifo"
	w.ok(w.pathMknod(abi.AT_FDCWD, w.mem.str(path), abi.S_IFIFO|0o600, 0))
	open := func(flags uint32) func(o *ioWorld) (uint64, abi.Errno) {
		return func(o *ioWorld) (uint64, abi.Errno) {
			return o.pathOpen(abi.AT_FDCWD, o.mem.str(path), flags, 0)
		}
	}
	for _, first := range []uint32{abi.O_RDONLY, abi.O_WRONLY} {
		o, result := w.async(open(first))
		o.blocked()
		b := int32(w.ok(open(first ^ 1)(w)))
		got := <-result
		if got.errno != 0 {
			t.Fatalf("open returned %v", got.errno)
		}
		w.ok(w.fdClose(int32(got.v)))
		w.ok(w.fdClose(b))
	}
	// A writer that has come and gone before the reader looks lets it in all the same.
	o, result := w.async(open(abi.O_RDONLY))
	o.blocked()
	b := int32(w.ok(open(abi.O_WRONLY)(w)))
	w.ok(w.fdClose(b))
	got := <-result
	if got.errno != 0 {
		t.Fatalf("open returned %v", got.errno)
	}
	w.ok(w.fdClose(int32(got.v)))

	o, result = w.async(open(abi.O_RDONLY))
	o.blocked()
	o.alert(attExit)
	w.expect(result, callResult{0, errRestart})
	w.fails(abi.ENXIO)(open(abi.O_WRONLY | abi.O_NONBLOCK)(w))
	if n := len(w.kernel.io.fifos.pipes); n != 0 {
		t.Errorf("%d FIFOs are left open", n)
	}
	if n := w.kernel.io.pipeBytes.Load(); n != 0 {
		t.Errorf("%d bytes of pipes are left", n)
	}
}

// TestPipeCapacity: a pipe shrinks to what is in it, and no further; one that grows has room for who waits, and for
// who polls.
func TestPipeCapacity(t *testing.T) {
	w := newIOWorld(t, Config{})
	_, wr := w.pipe(0)
	_, a := w.mem.alloc(16 << 10)
	w.ok(w.fileWrite(wr, a, 8<<10))
	w.fails(abi.EBUSY)(w.fdControl(wr, abi.F_SETPIPE_SZ, 4<<10))
	if n := w.ok(w.fdControl(wr, abi.F_SETPIPE_SZ, 8<<10-1)); n != 8<<10 {
		t.Errorf("the pipe has %d bytes", n)
	}
	o, written := w.async(func(o *ioWorld) (uint64, abi.Errno) { return o.fileWrite(wr, a, 1) })
	o.blocked()
	o, polled := w.async(func(o *ioWorld) (uint64, abi.Errno) {
		p, at := o.mem.alloc(abi.PollfdSize)
		le.PutUint32(p, uint32(wr))
		le.PutUint16(p[4:], abi.POLLOUT)
		return o.pollMillis(at, 1, -1)
	})
	o.blocked()
	w.ok(w.fdControl(wr, abi.F_SETPIPE_SZ, 16<<10))
	w.arrives(written, callResult{1, 0})
	w.arrives(polled, callResult{1, 0})
}

// TestPacketFault: a packet that the reader's memory does not take stays, with the rest that would have been lost.
func TestPacketFault(t *testing.T) {
	w := newIOWorld(t, Config{})
	r, wr := w.pipe(abi.O_DIRECT | abi.O_NONBLOCK)
	w.ok(w.fileWrite(wr, w.mem.str("0123456789"), 10))
	w.fails(abi.EFAULT)(w.fileRead(r, w.mem.bad(), 4))
	b, a := w.mem.alloc(20)
	if n := w.ok(w.fileRead(r, a, 20)); string(b[:n]) != "0123456789" {
		t.Errorf("read %q", b[:n])
	}
}
