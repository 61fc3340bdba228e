package emu

import (
	"bytes"
	"io"
	"sync"
	"testing"
	"time"

	"pinhole/abi"
)

// TestSpliceThreads moves content round two pipes that are spliced into each other, while others tee it,
// read, write and move it to a file and back: all must end, and no byte may be lost or made.
func TestSpliceThreads(t *testing.T) {
	w := newIOWorld(t, Config{})
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	r1, w1 := w.pipe(0)
	r2, w2 := w.pipe(0)
	file := w.open("/file", abi.O_CREAT|abi.O_RDWR)
	const amount = 10000
	content := bytes.Repeat([]byte("0123456789"), amount/10)
	p := w.mem.str(string(content))
	w.ok(w.fileWrite(w1, p, amount))
	var wg sync.WaitGroup
	run := func(f func(o *ioWorld)) {
		o := w.thread()
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range rounds {
				f(o)
			}
		}()
	}
	const nb = abi.SPLICE_F_NONBLOCK
	for _, n := range []uint64{1, 777, 4096, 1 << 20} {
		run(func(o *ioWorld) { o.pipeSplice(r1, 0, w2, 0, n, nb) })
		run(func(o *ioWorld) { o.pipeSplice(r2, 0, w1, 0, n, nb) })
	}
	run(func(o *ioWorld) { o.fdControl(r1, abi.F_SETPIPE_SZ, 32<<10) })
	run(func(o *ioWorld) { o.fdControl(r1, abi.F_SETPIPE_SZ, 64<<10) })
	for _, fd := range []int32{r1, r2} {
		to := w1
		if fd == r2 {
			to = w2
		}
		_, buf := w.mem.alloc(3000)
		vec := w.vectorAt(buf, 3000)
		run(func(o *ioWorld) { // takes some out and puts it back
			n, errno := o.pipeMemory(fd, vec, 1, nb)
			for at := uint64(0); errno == 0 && at < n; {
				m, e := o.fileWrite(to, buf+abi.Addr(at), n-at)
				if e != 0 {
					t.Errorf("write: %v", e)
					return
				}
				at += m
			}
		})
	}
	wg.Wait()
	left := 0
	for _, fd := range []int32{r1, r2} {
		for {
			n, errno := w.pipeSplice(fd, 0, file, 0, 1<<20, nb)
			if errno == abi.EAGAIN {
				break
			}
			w.ok(n, errno)
			left += int(n)
		}
	}
	if left != amount {
		t.Errorf("%d bytes are left of %d", left, amount)
	}
}

// vectorAt returns the address of a struct iovec of n bytes at a.
func (w *ioWorld) vectorAt(a abi.Addr, n uint64) abi.Addr {
	b, at := w.mem.alloc(abi.IovecSize)
	v := abi.Iovec{Base: a, Len: n}
	v.Encode(b)
	return at
}

// TestSpliceShort: what a target does not take stays in the pipe.
func TestSpliceShort(t *testing.T) {
	w := newIOWorld(t, Config{})
	r, wr := w.pipe(abi.O_NONBLOCK)
	file := w.open("/file", abi.O_CREAT|abi.O_RDWR)
	w.ok(w.fileWrite(wr, w.mem.str("0123456789"), 10))
	w.proc.limits[abi.RLIMIT_FSIZE].cur.Store(4)
	if n, errno := w.pipeSplice(r, 0, file, 0, 10, 0); n != 4 || errno != 0 {
		t.Fatalf("got %d, %v", n, errno)
	}
	if n, errno := w.pipeSplice(r, 0, file, 0, 10, 0); errno != abi.EFBIG {
		t.Fatalf("got %d, %v", n, errno)
	}
	b, a := w.mem.alloc(10)
	if n, errno := w.fileRead(r, a, 10); n != 6 || errno != 0 || string(b[:6]) != "456789" {
		t.Errorf("left: %d, %v, %q", n, errno, b)
	}
}

// TestSpliceHeld: a reader waits while another has the content, and gets what that leaves.
func TestSpliceHeld(t *testing.T) {
	w := newIOWorld(t, Config{})
	r, wr := w.pipe(abi.O_NONBLOCK)
	w.ok(w.fileWrite(wr, w.mem.str("0123456789"), 10))
	d, _ := w.file(r)
	defer d.unref()
	held := d.held()
	if errno := held.hold(w.Task, 1, true); errno != 0 {
		t.Fatal(errno)
	}
	b, a := w.mem.alloc(10)
	// Nor does a call that does not wait for content take it for an empty pipe.
	o, result := w.async(func(o *ioWorld) (uint64, abi.Errno) { return o.fileRead(r, a, 10) })
	o.blocked()
	var p [4]byte
	if n := held.peek(p[:]); n != 4 || string(p[:]) != "0123" {
		t.Errorf("peek: %d, %q", n, p)
	}
	held.drop(3)
	held.letGo()
	w.expect(result, callResult{7, 0})
	if string(b[:7]) != "3456789" {
		t.Errorf("read %q", b)
	}
}

// TestSpliceRests: several that wait for room, and are woken since there is some but not enough, wait again
// and do not keep waking each other.
func TestSpliceRests(t *testing.T) {
	w := newIOWorld(t, Config{})
	r, wr := w.pipe(0)
	w.ok(w.fdControl(r, abi.F_SETPIPE_SZ, 8192))
	w.ok(w.fileWrite(wr, w.mem.str(string(make([]byte, 8192))), 8192))
	var waiting []*ioWorld
	var results []chan callResult
	for range 3 {
		from, to := w.pipe(0)
		w.ok(w.fileWrite(to, w.mem.str("xx"), 2))
		o, result := w.async(func(o *ioWorld) (uint64, abi.Errno) { return o.pipeSplice(from, 0, wr, 0, 2, 0) })
		o.blocked()
		waiting, results = append(waiting, o), append(results, result)
	}
	_, a := w.mem.alloc(8192)
	w.ok(w.fileRead(r, a, 1))
	// Each rests when it is seen so often enough, one after the other; those that wake each other never all are.
	rests := 0
	for tries := 0; rests < 1000; tries++ {
		if tries == 10_000 {
			t.Fatal("they do not rest")
		}
		rests++
		for _, o := range waiting {
			if o.state.Load() != taskBlocked {
				rests = 0
			}
		}
		yieldTest()
	}
	w.ok(w.fileRead(r, a, 8191))
	for _, result := range results {
		w.expect(result, callResult{2, 0})
	}
}

// TestSpliceHeldTwice: what one call holds no other one takes, to a file or to a pipe; it rests meanwhile.
func TestSpliceHeldTwice(t *testing.T) {
	w := newIOWorld(t, Config{})
	r, wr := w.pipe(0)
	_, other := w.pipe(0)
	file := w.open("/file", abi.O_CREAT|abi.O_RDWR)
	d, _ := w.file(r)
	defer d.unref()
	for _, to := range []int32{file, other} {
		w.ok(w.fileWrite(wr, w.mem.str("0123456789"), 10))
		held := d.held()
		if errno := held.hold(w.Task, 1, true); errno != 0 {
			t.Fatal(errno)
		}
		o, result := w.async(func(o *ioWorld) (uint64, abi.Errno) { return o.pipeSplice(r, 0, to, 0, 10, 0) })
		for tries := 0; o.state.Load() != taskBlocked; tries++ {
			if len(result) != 0 || tries == 100_000 {
				t.Fatal("the call does not wait")
			}
			yieldTest()
		}
		held.drop(3)
		held.letGo()
		w.expect(result, callResult{7, 0})
	}
}

// TestSplicePassesOn: content wakes one of those who wait for it. If that leaves it where it is, the next one gets it.
func TestSplicePassesOn(t *testing.T) {
	w := newIOWorld(t, Config{})
	r, wr := w.pipe(0)
	_, other := w.pipe(0)
	o, tee := w.async(func(o *ioWorld) (uint64, abi.Errno) { return o.pipeTee(r, other, 10, 0) })
	o.blocked()
	o, read := w.async(func(o *ioWorld) (uint64, abi.Errno) { _, a := o.mem.alloc(10); return o.fileRead(r, a, 10) })
	o.blocked()
	w.ok(w.fileWrite(wr, w.mem.str("abc"), 3))
	w.arrives(read, callResult{3, 0})
	w.ok(w.fileWrite(wr, w.mem.str("def"), 3)) // the reader may have been faster
	w.arrives(tee, callResult{3, 0})
}

// arrives is expect for what may not come at all.
func (w *ioWorld) arrives(result chan callResult, want callResult) {
	w.Helper()
	select {
	case got := <-result:
		if got != want {
			w.Errorf("call returned %d, %v; want %d, %v", got.v, got.errno, want.v, want.errno)
		}
	case <-time.After(20 * time.Second):
		w.Fatal("a call does not return")
	}
}

// TestPipePassesOn: what the reader that was woken leaves is the next one's.
func TestPipePassesOn(t *testing.T) {
	w := newIOWorld(t, Config{})
	r, wr := w.pipe(0)
	var results [2]chan callResult
	for i := range results {
		var o *ioWorld
		o, results[i] = w.async(func(o *ioWorld) (uint64, abi.Errno) { _, a := o.mem.alloc(1); return o.fileRead(r, a, 1) })
		o.blocked()
	}
	w.ok(w.fileWrite(wr, w.mem.str("ab"), 2))
	for _, result := range results {
		w.arrives(result, callResult{1, 0})
	}
}

// TestSpliceMakesRoom: who waits to write, or polls for that, is told when a pipe is emptied by splice.
func TestSpliceMakesRoom(t *testing.T) {
	w := newIOWorld(t, Config{})
	file := w.open("/file", abi.O_CREAT|abi.O_RDWR)
	_, other := w.pipe(0)
	w.ok(w.fdControl(other, abi.F_SETPIPE_SZ, 2*pipeCapacity))
	for _, to := range []int32{file, other} {
		r, wr := w.pipe(0)
		_, a := w.mem.alloc(pipeCapacity)
		w.ok(w.fileWrite(wr, a, pipeCapacity))
		o, written := w.async(func(o *ioWorld) (uint64, abi.Errno) { return o.fileWrite(wr, a, 1) })
		o.blocked()
		w.ok(w.pipeSplice(r, 0, to, 0, pipeCapacity/2, 0))
		w.arrives(written, callResult{1, 0})
		// What the writer writes would wake who polls, too.
		w.ok(w.fileWrite(wr, a, pipeCapacity/2-1))
		o, polled := w.async(func(o *ioWorld) (uint64, abi.Errno) {
			p, at := o.mem.alloc(abi.PollfdSize)
			le.PutUint32(p, uint32(wr))
			le.PutUint16(p[4:], abi.POLLOUT)
			return o.pollMillis(at, 1, -1)
		})
		o.blocked()
		w.ok(w.pipeSplice(r, 0, to, 0, pipeCapacity/2, 0))
		w.arrives(polled, callResult{1, 0})
	}
}

// TestLockPipes: of two pipes, the one that was made first is locked first, whichever is named first.
func TestLockPipes(t *testing.T) {
	p, q := &pipe{serial: 1}, &pipe{serial: 2}
	for _, pair := range [][2]*pipe{{p, q}, {q, p}} {
		p.mu.Lock()
		done := make(chan bool)
		go func() {
			lockPipes(pair[0], pair[1])
			close(done)
		}()
		for range 1000 {
			if !q.mu.TryLock() {
				t.Fatal("the second one is locked, and the first one is not")
			}
			q.mu.Unlock()
			yieldTest()
		}
		p.mu.Unlock()
		<-done
		p.mu.Unlock()
		q.mu.Unlock()
	}
}

// TestSplicePackets: a packet goes from pipe to pipe whole or not at all, and each has a page of the pipe.
func TestSplicePackets(t *testing.T) {
	w := newIOWorld(t, Config{})
	const nb = abi.SPLICE_F_NONBLOCK
	r, wr := w.pipe(abi.O_DIRECT | abi.O_NONBLOCK)
	r2, w2 := w.pipe(abi.O_NONBLOCK)
	w.ok(w.fdControl(r2, abi.F_SETPIPE_SZ, 8192))
	_, a := w.mem.alloc(8192)
	for range 4 {
		w.ok(w.fileWrite(wr, a, 100))
	}
	if n := w.ok(w.pipeSplice(r, 0, w2, 0, 8192, nb)); n != 200 {
		t.Errorf("%d bytes moved of packets of 100 into a pipe of two pages", n)
	}
	w.fails(abi.EAGAIN)(w.pipeSplice(r, 0, w2, 0, 8192, nb))
	if n := w.ok(w.fileRead(r2, a, 8192)); n != 100 {
		t.Errorf("a packet of 100 is %d there", n)
	}
	w.ok(w.fileRead(r2, a, 8192))
	w.ok(w.fileRead(r, a, 8192))
	w.ok(w.fileRead(r, a, 8192))
	// 3000 and 4000 bytes fit, the next packet of 4000 does not, though some of it would.
	for _, n := range []uint64{3000, 4000, 4000} {
		w.ok(w.fileWrite(wr, a, n))
	}
	w.ok(w.fdControl(r2, abi.F_SETPIPE_SZ, 4*4096))
	w.ok(w.fileWrite(w2, a, 6000))
	if n := w.ok(w.pipeSplice(r, 0, w2, 0, 1<<20, nb)); n != 7000 {
		t.Errorf("%d bytes moved", n)
	}
}

// TestSpliceStreams has the host's streams on either side, and on both.
func TestSpliceStreams(t *testing.T) {
	pr, pw := io.Pipe()
	var out bytes.Buffer
	w := newIOWorld(t, Config{Machine: &ioMachine{stdin: pr, stdout: [3]io.Writer{1: &out}}})
	r, wr := w.pipe(0)
	file := w.open("/file", abi.O_CREAT|abi.O_RDWR)
	b, a := w.mem.alloc(100)
	w.fails(abi.EAGAIN)(w.pipeSplice(0, 0, wr, 0, 100, abi.SPLICE_F_NONBLOCK))
	w.fails(abi.ESPIPE)(w.pipeSplice(0, a, wr, 0, 100, 0))
	w.fails(abi.EBADF)(w.pipeSplice(1, 0, wr, 0, 100, 0))
	send := func(s string, call func(o *ioWorld) (uint64, abi.Errno), n uint64) {
		t.Helper()
		o, result := w.async(call)
		o.blocked()
		pw.Write([]byte(s))
		w.expect(result, callResult{n, 0})
	}
	send("to a pipe", func(o *ioWorld) (uint64, abi.Errno) { return o.pipeTee(0, wr, 100, 0) }, 9)
	if n := w.ok(w.fileRead(r, a, 100)); string(b[:n]) != "to a pipe" {
		t.Errorf("read %q", b[:n])
	}
	if n := w.ok(w.pipeSplice(0, 0, wr, 0, 100, 0)); n != 9 {
		t.Errorf("spliced %d", n)
	}
	send("to a file", func(o *ioWorld) (uint64, abi.Errno) { return o.pipeSplice(0, 0, file, 0, 100, 0) }, 9)
	w.ok(w.pipeSplice(r, 0, 1, 0, 100, 0))
	off, offset := w.mem.alloc(8)
	off[0] = 2
	w.ok(w.pipeSplice(file, offset, 1, 0, 100, 0))
	send(" memory", func(o *ioWorld) (uint64, abi.Errno) { return o.pipeMemory(0, o.vectorAt(a, 100), 1, 0) }, 7)
	w.ok(w.pipeMemory(1, w.vectorAt(a, 7), 1, 0))
	send(" stream", func(o *ioWorld) (uint64, abi.Errno) { return o.pipeSplice(0, 0, 1, 0, 7, 0) }, 7)
	o, result := w.async(func(o *ioWorld) (uint64, abi.Errno) { return o.pipeSplice(0, 0, 1, 0, 100, 0) })
	o.blocked()
	pw.Close()
	w.expect(result, callResult{0, 0})
	if got := out.String(); got != "to a pipe a file memory stream" || off[0] != 9 {
		t.Errorf("out: %q, offset %d", got, off[0])
	}
}
