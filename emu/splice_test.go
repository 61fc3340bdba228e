package emu

import (
	"bytes"
	"io"
	"sync"
	"testing"

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
