package emu

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/fs/memfs"
	"pinhole/fs/vfs"
)

// memMachine is a host with real mappings, made by the test's own process in the ways that the
// lock admits, and no guest to run.
type memMachine struct {
	ioMachine
	lo, hi   abi.Addr
	ram      []byte
	ramFD    int
	imageFD  int
	limit    int64
	fail     int // Map fails once this many more calls were made; negative: never
	calls    int // of Map
	contexts func() *guest.Context
}

const (
	memArea = 16 << 30
	memRAM  = 64 << 20
)

func newMemMachine(t testing.TB) *memMachine {
	t.Helper()
	m := &memMachine{limit: 1 << 30, fail: -1}
	area, err := unix.Mmap(-1, 0, memArea, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	m.lo = addressOf(area)
	m.hi = m.lo + memArea
	if m.ramFD, err = unix.MemfdCreate("ram", unix.MFD_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(m.ramFD, memRAM); err != nil {
		t.Fatal(err)
	}
	if m.ram, err = unix.Mmap(m.ramFD, 0, memRAM, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		t.Fatal(err)
	}
	if m.imageFD, err = unix.MemfdCreate("image", unix.MFD_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	image := make([]byte, 1<<20)
	for i := range image {
		image[i] = byte(i>>12) ^ byte(i)
	}
	if _, err := unix.Pwrite(m.imageFD, image, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Munmap(area)
		unix.Munmap(m.ram)
		unix.Close(m.ramFD)
		unix.Close(m.imageFD)
	})
	return m
}

func (m *memMachine) Area() (lo, hi abi.Addr) { return m.lo, m.hi }
func (m *memMachine) RAM() []byte             { return m.ram }
func (m *memMachine) CacheBytes() int64       { return 1 << 20 }
func (m *memMachine) MemoryLimit() int64      { return m.limit }
func (m *memMachine) DiscardRAM(off, n int64) { clear(m.ram[off : off+n]) }
func (m *memMachine) GateAddr() uint64        { return 0x1000 }
func (m *memMachine) LinuxGateAddr() uint64   { return 0x2000 }
func (m *memMachine) VDSO() uint64            { return 0 }
func (m *memMachine) VDSOSize() uint64        { return 0 }

func (m *memMachine) NewContext() *guest.Context {
	const size = 576 + 256
	x := make([]byte, size+64+64)
	p := unsafe.Pointer(&x[0])
	off := -uintptr(p) & 63
	c := &guest.Context{XSave: uint64(uintptr(p) + off), XSaveSize: size, MXCSR: mxcsrDefault, FCW: fcwDefault}
	keepAlive = append(keepAlive, x)
	area := xsaveArea(c)
	le.PutUint32(area[xsaveSoftware:], 0x46505853)
	le.PutUint32(area[xsaveSoftware+4:], size+4)
	le.PutUint64(area[xsaveSoftware+8:], 7)
	le.PutUint32(area[xsaveSoftware+16:], size)
	initXSave(area, fcwDefault, mxcsrDefault)
	return c
}

// keepAlive holds XSAVE areas: a context refers to its own by a number.
var keepAlive [][]byte

func (m *memMachine) Map(a abi.Addr, n uint64, prot uint32, what Backing, off int64) abi.Errno {
	flags, fd := unix.MAP_FIXED|unix.MAP_PRIVATE|unix.MAP_ANON, -1
	switch what {
	case BackNone:
		flags |= unix.MAP_NORESERVE
		prot = 0
	case BackImage:
		flags, fd = unix.MAP_FIXED|unix.MAP_PRIVATE, m.imageFD
	case BackRAM:
		flags, fd = unix.MAP_FIXED|unix.MAP_SHARED, m.ramFD
	}
	return m.mmap(a, n, prot, flags, fd, off)
}

func (m *memMachine) MapPopulated(a abi.Addr, n uint64, prot uint32) abi.Errno {
	return m.mmap(a, n, prot, unix.MAP_FIXED|unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE, -1, 0)
}

func (m *memMachine) mmap(a abi.Addr, n uint64, prot uint32, flags, fd int, off int64) abi.Errno {
	if a < m.lo || a+abi.Addr(n) > m.hi || a%pageSize != 0 || n%pageSize != 0 || n == 0 || off%pageSize != 0 {
		panic(fmt.Sprintf("Map(%#x, %#x) is not in the area", a, n))
	}
	m.calls++
	if m.fail == 0 {
		return abi.ENOMEM
	}
	m.fail--
	_, _, e := unix.Syscall6(unix.SYS_MMAP, uintptr(a), uintptr(n), uintptr(prot), uintptr(flags), uintptr(fd), uintptr(off))
	return abi.Errno(e)
}

// hostMappings counts the mappings that the host has in the area, without and with empty space.
func (m *memMachine) hostMappings(t testing.TB) (n, all int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		var lo, hi uint64
		var prot string
		fmt.Sscanf(line, "%x-%x %s", &lo, &hi, &prot)
		// What is empty may be one mapping with a neighbour's of the same kind, such as Go's own.
		if abi.Addr(lo) < m.hi && abi.Addr(hi) > m.lo {
			all++
			if prot != "---p" {
				n++
			}
		}
	}
	return n, all
}

// memWorld is a process with memory.
type memWorld struct {
	*ioWorld
	machine *memMachine
}

func newMemWorld(t testing.TB) *memWorld {
	t.Helper()
	m := newMemMachine(t)
	guest.TestMode()
	k := New(Config{Machine: m, Namespace: vfs.NewNamespace(memfs.New(64 << 20))})
	p, err := k.newProcess("/")
	if err != nil {
		t.Fatal(err)
	}
	task := newIOTask(k, p, p.pid)
	task.ctx = m.NewContext()
	p.tasks[task.tid] = task
	p.live.Store(1)
	return &memWorld{&ioWorld{TB: t, Task: task, machine: &m.ioMachine, mem: newTestMemory(t)}, m}
}

// read returns the byte at a; false if it cannot be read.
func peek(a abi.Addr) (byte, bool) {
	var b [1]byte
	ok := guest.CopyIn(b[:], a) == 1
	return b[0], ok
}

func poke(a abi.Addr, v byte) bool { return guest.CopyOut(a, []byte{v}) == 1 }
