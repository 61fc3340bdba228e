package emu

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/fs/devfs"
	"pinhole/fs/memfs"
	"pinhole/fs/procfs"
	"pinhole/fs/vfs"
)

// ioMachine is a host that has clocks, entropy and standard streams, and no guest to run.
type ioMachine struct {
	Machine // nil: the rest is not there
	stdin   io.Reader
	stdout  [3]io.Writer // of 1 and 2
}

func (m *ioMachine) NewContext() *guest.Context { return new(guest.Context) }
func (m *ioMachine) FreeContext(*guest.Context) {}
func (m *ioMachine) MaxGuests() int             { return 4 }
func (m *ioMachine) RAM() []byte                { return nil }
func (m *ioMachine) CacheBytes() int64          { return 0 }
func (m *ioMachine) VDSO() uint64               { return 0 }
func (m *ioMachine) Area() (lo, hi abi.Addr)    { return 1 << 32, 1 << 46 }
func (m *ioMachine) LowArea() (lo, hi abi.Addr) { return 0, 0 }
func (m *ioMachine) CPUs() int                  { return 2 }
func (m *ioMachine) MemoryLimit() int64         { return 1 << 30 }
func (m *ioMachine) Entropy(p []byte) error     { rand.Read(p); return nil }

var ioStart = time.Now()

func (m *ioMachine) Clock(id int) (int64, bool) {
	if id == abi.CLOCK_REALTIME {
		return time.Now().UnixNano(), true
	}
	return int64(time.Since(ioStart)), true
}

func (m *ioMachine) HostRead(fd int, p []byte) (int, abi.Errno) {
	if m.stdin == nil {
		return 0, 0
	}
	n, err := m.stdin.Read(p)
	if err != nil && err != io.EOF {
		return n, abi.EIO
	}
	return n, 0
}

func (m *ioMachine) HostWrite(fd int, p []byte) (int, abi.Errno) {
	w := m.stdout[fd]
	if w == nil {
		return len(p), 0
	}
	n, err := w.Write(p)
	if err != nil {
		return n, abi.EPIPE
	}
	return n, 0
}

// ioWorld is a kernel with memfs as its root, one process, and memory that its calls are
// given addresses of.
type ioWorld struct {
	testing.TB
	*Task
	machine *ioMachine
	mem     *testMemory
}

func newIOWorld(t testing.TB, conf Config) *ioWorld {
	t.Helper()
	if _, ok := t.(*testing.B); !ok { // which has the copies at full speed
		guest.TestMode()
	}
	// Nothing else may be reached by what calls are given: it would be this program's own.
	lo := addressOf(testRegion())
	guest.SetArea(lo, lo+testRegionSize, 0, 0)
	m := &ioMachine{}
	if conf.Machine == nil {
		conf.Machine = m
	} else {
		m = conf.Machine.(*ioMachine)
	}
	if conf.Namespace == nil {
		conf.Namespace = vfs.NewNamespace(memfs.New(256 << 20))
	}
	k := New(conf)
	for path, fs := range map[string]vfs.FileSystem{"/dev": devfs.New(), "/proc": procfs.New(k.ProcInfo(), vfsNow())} {
		if e := conf.Namespace.Mount(path, fs); e != 0 {
			t.Fatal(e)
		}
	}
	p := &Process{kernel: k, pid: 2, files: k.newStdio(), name: "/bin/test"}
	k.newSpace().enter(p)
	p.fsctx.Store(&vfs.Context{
		Creds: vfs.Creds{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())},
		Umask: 0o022, Owner: p,
	})
	for i := range p.limits {
		p.limits[i].cur.Store(abi.RLIM_INFINITY)
		p.limits[i].max.Store(abi.RLIM_INFINITY)
	}
	p.limits[abi.RLIMIT_NOFILE].cur.Store(1024)
	w := &ioWorld{TB: t, machine: m, mem: newTestMemory(t)}
	w.Task = newIOTask(k, p, 2)
	t.Cleanup(p.files.closeAll)
	return w
}

// thread returns another thread of the world's process, with memory of its own.
func (w *ioWorld) thread() *ioWorld {
	n := *w
	n.Task = newIOTask(w.kernel, w.proc, w.tid+lastTestThread.Add(1))
	n.mem = newTestMemory(w.TB)
	return &n
}

var lastTestThread atomic.Int32

// process returns a thread of another process of the same kernel.
func (w *ioWorld) process() *ioWorld {
	p := &Process{kernel: w.kernel, pid: w.proc.pid + 1, files: w.proc.files.clone()}
	w.kernel.newSpace().enter(p)
	fs := *w.proc.fs()
	fs.Owner = p
	p.fsctx.Store(&fs)
	for i := range p.limits {
		p.limits[i].cur.Store(w.proc.limit(i))
	}
	n := *w
	n.Task = newIOTask(w.kernel, p, p.pid)
	n.mem = newTestMemory(w.TB)
	w.Cleanup(p.files.closeAll)
	return &n
}

// ok fails the test unless errno is 0.
func (w *ioWorld) ok(v uint64, errno abi.Errno) uint64 {
	w.Helper()
	if errno != 0 {
		w.Fatalf("call failed: %v", errno)
	}
	return v
}

// fails fails the test unless errno is want.
func (w *ioWorld) fails(want abi.Errno) func(uint64, abi.Errno) {
	w.Helper()
	return func(v uint64, errno abi.Errno) {
		w.Helper()
		if errno != want {
			w.Errorf("call returned %d, %v; want %v", v, errno, want)
		}
	}
}

// open opens a file and returns its descriptor.
func (w *ioWorld) open(path string, flags uint32) int32 {
	w.Helper()
	return int32(w.ok(w.pathOpen(abi.AT_FDCWD, w.mem.str(path), flags, 0o644)))
}

// pipe makes a pipe and returns its ends.
func (w *ioWorld) pipe(flags uint32) (r, wr int32) {
	w.Helper()
	p, a := w.mem.alloc(8)
	w.ok(w.pipeCreate(a, flags))
	return int32(binary.LittleEndian.Uint32(p)), int32(binary.LittleEndian.Uint32(p[4:]))
}

// testMemory is memory that a test passes to calls as a guest's: 1 MiB that can be accessed,
// followed by pages that cannot.
type testMemory struct {
	t    testing.TB
	b    []byte // all of it
	next int
}

const (
	testMemorySize = 1 << 20
	testMemoryStep = testMemorySize + 64<<10
	testRegionSize = 512 * testMemoryStep
)

// testRegion is where the memory of all tests lies.
var testRegion = sync.OnceValue(func() []byte {
	b, err := unix.Mmap(-1, 0, testRegionSize, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		panic(err)
	}
	return b
})

// testRegionUsed tells which parts of it are in use.
var testRegionUsed struct {
	sync.Mutex
	parts [testRegionSize / testMemoryStep]bool
}

func newTestMemory(t testing.TB) *testMemory {
	t.Helper()
	u := &testRegionUsed
	u.Lock()
	defer u.Unlock()
	n := slices.Index(u.parts[:], false)
	if n < 0 {
		t.Fatal("too many test memories")
	}
	u.parts[n] = true
	b := testRegion()[n*testMemoryStep:][:testMemorySize]
	if err := unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		u.Lock()
		defer u.Unlock()
		unix.Mprotect(b, unix.PROT_NONE)
		u.parts[n] = false
	})
	return &testMemory{t: t, b: b}
}

// alloc returns n bytes and their address.
func (m *testMemory) alloc(n int) ([]byte, abi.Addr) {
	m.t.Helper()
	n8 := (n + 7) &^ 7
	if m.next+n8 > len(m.b) {
		m.next = 0 // calls do not keep what they were given
	}
	p := m.b[m.next : m.next+n : m.next+n]
	m.next += n8
	clear(p)
	return p, addressOf(p)
}

// end returns the last n bytes before memory that cannot be accessed.
func (m *testMemory) end(n int) ([]byte, abi.Addr) {
	p := m.b[len(m.b)-n:]
	return p, addressOf(m.b) + abi.Addr(len(m.b)-n)
}

// bad returns an address that cannot be accessed.
func (m *testMemory) bad() abi.Addr { return addressOf(m.b) + testMemorySize + 4096 }

func (m *testMemory) str(s string) abi.Addr {
	p, a := m.alloc(len(s) + 1)
	copy(p, s)
	return a
}

func (m *testMemory) bytes(s string) abi.Addr {
	p, a := m.alloc(len(s))
	copy(p, s)
	return a
}

// steppedMachine is a host whose time of day can be set.
type steppedMachine struct {
	ioMachine
	step atomic.Int64
}

func (m *steppedMachine) Clock(id int) (int64, bool) {
	now, ok := m.ioMachine.Clock(id)
	if id == abi.CLOCK_REALTIME {
		now += m.step.Load()
	}
	return now, ok
}
