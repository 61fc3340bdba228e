package emu

import (
	"math/rand/v2"
	"sync"
	"testing"

	"pinhole/abi"
)

// fileCalls are the calls that this file tests: all that take files, descriptors or paths.
var fileCalls = func() (calls []uint64) {
	for _, r := range [][2]uint64{
		{abi.CallProcUmask, abi.CallProcCwd}, {abi.CallProcChroot, abi.CallProcChroot}, {abi.CallSysSync, abi.CallSysSync},
		{abi.CallFdClose, abi.CallFdDup2}, {abi.CallFileRead, abi.CallFilePwritev2},
		{abi.CallPathOpen, abi.CallDirRead}, {abi.CallPipeSplice, abi.CallPollMillis},
	} {
		for c := r[0]; c <= r[1]; c++ {
			calls = append(calls, c)
		}
	}
	return calls
}()

// random is a source of arguments: of random numbers, or of a fuzzer's bytes.
type random interface{ next() uint64 }

type bytesRandom struct{ p []byte }

func (b *bytesRandom) next() uint64 {
	if len(b.p) == 0 {
		return 0
	}
	v := uint64(b.p[0])
	b.p = b.p[1:]
	return v
}

type seedRandom struct{ *rand.Rand }

func (s seedRandom) next() uint64 { return uint64(s.IntN(256)) }

// caller makes calls with arguments that mean something often enough to get far.
type caller struct {
	*ioWorld
	from  random
	names []abi.Addr
	iov   abi.Addr
	buf   abi.Addr
	// flocks are 16 locks.
	flocks abi.Addr
}

var fuzzControls = []uint64{
	abi.F_DUPFD, abi.F_GETFD, abi.F_SETFD, abi.F_GETFL, abi.F_SETFL, abi.F_GETLK, abi.F_SETLK, abi.F_SETLKW, abi.F_SETOWN,
	abi.F_GETOWN, abi.F_SETSIG, abi.F_GETSIG, abi.F_OFD_GETLK, abi.F_OFD_SETLK, abi.F_OFD_SETLKW, abi.F_SETLEASE, abi.F_GETLEASE,
	abi.F_DUPFD_CLOEXEC, abi.F_SETPIPE_SZ, abi.F_GETPIPE_SZ, abi.F_ADD_SEALS, 77,
}

var fuzzIoctls = []uint64{
	abi.FIOCLEX, abi.FIONCLEX, abi.FIONBIO, abi.FIOASYNC, abi.FIOQSIZE, abi.FIONREAD, abi.TCGETS, abi.TCSETS, abi.TIOCGWINSZ,
	abi.TIOCSWINSZ, abi.TIOCGPGRP, abi.TIOCSPGRP, abi.TIOCOUTQ, abi.FS_IOC_GETFLAGS, abi.FICLONE, 1,
}

func newCaller(w *ioWorld, from random) *caller {
	c := &caller{ioWorld: w, from: from}
	for _, s := range []string{"a", "b", "d", "d/a", "d/e", "l", "fifo", ".", "..", "/", "", "/dev/null", "/dev/zero", "/dev/full",
		"/dev/urandom", "/dev/tty", "/proc/self/fd", "/proc/self/fd/3", "/proc/self/status", "/proc/self/maps", "/proc/self/cwd",
		"/proc/mounts", "a/", "/dev/stdin", "/proc/self/comm"} {
		c.names = append(c.names, w.mem.str(s))
	}
	_, c.buf = w.mem.alloc(64 << 10)
	iov, a := w.mem.alloc(16 * abi.IovecSize)
	for i := range 16 {
		v := abi.Iovec{Base: c.buf, Len: uint64(i * 100)}
		if i == 11 {
			v.Base = w.mem.bad()
		}
		v.Encode(iov[i*abi.IovecSize:])
	}
	c.iov = a
	locks, a := w.mem.alloc(16 * abi.FlockSize)
	for i := range 16 {
		(&abi.Flock{Type: int16(i % 3), Whence: int16(i / 7), Start: int64(i * 5), Len: int64(i * 3 % 11)}).Encode(locks[i*abi.FlockSize:])
	}
	c.flocks = a
	w.mem.next = testMemorySize // what the test itself allocates from now on must not overwrite these
	return c
}

var interesting = [...]uint64{0, 1, 2, 3, 7, 8, 16, 144, 256, 4095, 4096, 4097, 65535, 1 << 16, 1 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32,
	1<<47 - 4096, 1 << 47, 1 << 62, 1<<63 - 1, 1 << 63, 1<<64 - 4096, 1<<64 - 2, 1<<64 - 1, 1<<64 - 100, 0x1000, 0o644, 0o777, 0o10644}

// arg returns an argument.
func (c *caller) arg() uint64 {
	switch v := c.from.next(); {
	case v < 80:
		return v % 20 // descriptors, small numbers, flags
	case v < 110:
		return 1 << (v % 64)
	case v < 140:
		return uint64(c.names[c.from.next()%uint64(len(c.names))])
	case v < 170:
		return uint64(c.buf) + c.from.next()*8
	case v < 180:
		return uint64(c.iov)
	case v < 190:
		return uint64(addressOf(c.mem.b)) + testMemorySize - v%20 // ends too early
	case v < 195:
		return uint64(c.mem.bad())
	case v < 200:
		return 1<<64 - 100 // AT_FDCWD
	case v < 210:
		return c.from.next() | c.from.next()<<8 | c.from.next()<<16
	}
	return interesting[c.from.next()%uint64(len(interesting))]
}

// call makes one call and checks that its result is one.
func (c *caller) call() {
	nr := fileCalls[(c.from.next()|c.from.next()<<8)%uint64(len(fileCalls))]
	var a [6]uint64
	for i := range a {
		a[i] = c.arg()
	}
	// With small numbers flags would rarely be right, nor descriptors open.
	switch nr {
	case abi.CallFdCloseRange:
		a[0] = max(a[0], 8)
	case abi.CallPathOpen:
		if c.from.next()%2 == 0 {
			a[0], a[1] = 1<<64-100, uint64(c.names[c.from.next()%uint64(len(c.names))])
			a[2] &= abi.O_ACCMODE | abi.O_CREAT | abi.O_APPEND | abi.O_TRUNC | abi.O_NONBLOCK | abi.O_PATH | abi.O_DIRECTORY
		}
	case abi.CallFdClose, abi.CallProcChroot:
		if c.from.next()%8 != 0 {
			return
		}
	case abi.CallFdControl:
		a[0] %= 16
		a[1] = fuzzControls[c.from.next()%uint64(len(fuzzControls))]
		if c.from.next()%2 == 0 {
			a[2] = uint64(c.flocks) + c.from.next()%16*abi.FlockSize
		}
	case abi.CallFdIoctl:
		a[0] %= 16
		a[1] = fuzzIoctls[c.from.next()%uint64(len(fuzzIoctls))]
	case abi.CallPipeSplice, abi.CallPipeTee, abi.CallPipeMemory:
		a[0] %= 16
		switch {
		case nr == abi.CallPipeTee:
			a[1], a[3] = a[1]%16, a[3]&0xf
		case nr == abi.CallPipeMemory:
			a[1], a[2], a[3] = uint64(c.iov), a[2]%16, a[3]&0xf
		case c.from.next()%2 == 0:
			a[1], a[2], a[3], a[5] = 0, a[2]%16, 0, a[5]&0xf
		}
	case abi.CallFileCopy, abi.CallFileSend, abi.CallFileLock, abi.CallFileRead, abi.CallFileWrite, abi.CallFilePread, abi.CallFilePwrite:
		if c.from.next()%2 == 0 {
			a[0] %= 16
			a[1] = uint64(c.buf) + c.from.next()*8
			a[2] %= 70000
		}
	}
	r := c.dispatch(nr, &a)
	if _, errno := abi.Split(r); errno != 0 && errno != errRestart && int(errno) > 133 {
		c.Fatalf("call %d with %#x returned %d", nr, a, r)
	}
}

// fuzzed makes calls until the source is exhausted, or n of them.
func fuzzed(w *ioWorld, from random, n int) {
	// What would wait is interrupted at once instead.
	w.attention.Or(attExit)
	c := newCaller(w, from)
	for range n {
		if b, ok := from.(*bytesRandom); ok && len(b.p) == 0 {
			break
		}
		c.call()
	}
}

// populate makes some files and opens some of them.
func (w *ioWorld) populate() {
	w.open("/a", abi.O_CREAT|abi.O_RDWR)
	w.ok(w.pathMkdir(abi.AT_FDCWD, w.mem.str("/d"), 0o755))
	w.ok(w.pathSymlink(w.mem.str("a"), abi.AT_FDCWD, w.mem.str("/l")))
	w.ok(w.pathMknod(abi.AT_FDCWD, w.mem.str("/fifo"), abi.S_IFIFO|0o644, 0))
	w.open("/d", abi.O_RDONLY)
	w.open("/fifo", abi.O_RDWR)
	w.open("/a", abi.O_RDWR|abi.O_APPEND)
	w.open("/a", abi.O_PATH)
	w.open("/proc", abi.O_RDONLY)
	w.open("/dev/zero", abi.O_RDWR)
	w.pipe(abi.O_NONBLOCK)
}

// leaks checks that nothing is left when all is closed.
func (w *ioWorld) leaks(others ...*ioWorld) {
	w.Helper()
	for _, o := range append(others, w) {
		o.proc.files.closeAll()
	}
	io := &w.kernel.io
	if n := io.open.Load(); n != 0 {
		w.Errorf("%d descriptions are left open", n)
	}
	if n := io.pipeBytes.Load(); n != 0 {
		w.Errorf("%d bytes of pipes are left", n)
	}
	if n, c := len(io.locks.files), io.locks.count; n != 0 || c != 0 {
		w.Errorf("%d files are left with %d locks", n, c)
	}
	if n := len(io.fifos.pipes); n != 0 {
		w.Errorf("%d FIFOs are left", n)
	}
}

func FuzzFileCalls(f *testing.F) {
	f.Add([]byte("\x10\x00\x20\x80\x05"))
	f.Fuzz(func(t *testing.T, p []byte) {
		w := newIOWorld(t, Config{Terminal: [3]bool{len(p)%2 == 0, true, true}})
		w.populate()
		fuzzed(w, &bytesRandom{p}, 1<<20)
		w.leaks()
	})
}

func TestFileCallsRandom(t *testing.T) {
	calls := 20000
	if testing.Short() {
		calls = 2000
	}
	for seed := range uint64(8) {
		w := newIOWorld(t, Config{Terminal: [3]bool{seed%2 == 0, seed%4 < 2, false}})
		w.populate()
		fuzzed(w, seedRandom{rand.New(rand.NewPCG(seed, 1))}, calls)
		w.leaks()
	}
}

// TestFileCallsConcurrent has threads of two processes make random calls on the same descriptors.
func TestFileCallsConcurrent(t *testing.T) {
	calls := 5000
	if testing.Short() {
		calls = 500
	}
	w := newIOWorld(t, Config{})
	w.populate()
	other := w.process()
	var wg sync.WaitGroup
	for i, o := range []*ioWorld{w, w.thread(), other, other.thread()} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			fuzzed(o, seedRandom{rand.New(rand.NewPCG(uint64(i), 2))}, calls)
		}()
	}
	wg.Wait()
	w.leaks(other)
}

// TestFileCallsWild passes each call each wild address in each place.
func TestFileCallsWild(t *testing.T) {
	w := newIOWorld(t, Config{})
	w.populate()
	w.attention.Or(attExit)
	name := w.mem.str("a")
	buf, bufAddr := w.mem.alloc(8192)
	for _, good := range []uint64{0, 3, 5, 1<<64 - 100, uint64(name), uint64(bufAddr)} {
		for _, bad := range []uint64{1, 4095, uint64(w.mem.bad()), 1<<47 - 4096, 1 << 47, 1 << 63, 1<<64 - 1, uint64(addressOf(w.mem.b)) + testMemorySize - 1} {
			for _, nr := range fileCalls {
				if nr == abi.CallFdClose || nr == abi.CallFdCloseRange || nr == abi.CallProcChroot {
					continue
				}
				for place := range 6 {
					a := [6]uint64{good, good, good, good, good, good}
					if nr >= abi.CallFdClose && place != 0 {
						a[0] = 3
					}
					a[place] = bad
					clear(buf)
					r := w.dispatch(nr, &a)
					if _, errno := abi.Split(r); errno != 0 && errno != errRestart && int(errno) > 133 {
						t.Fatalf("call %d with %#x returned %d", nr, a, r)
					}
					if fd, errno := abi.Split(r); errno == 0 && (nr == abi.CallPathOpen || nr == abi.CallFdDup) && fd > 12 {
						w.fdClose(int32(fd))
					}
				}
			}
		}
	}
}
