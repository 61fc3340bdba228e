package host

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/runtime/seccomp"
)

// The tests of this package run three times: without a lock on the stock Go runtime, and, by TestLocked,
// in a binary with the runtime overlay behind the lock, once with refused calls trapping
// (so that guests' own calls can be tested) and once with them killing the process.
const (
	envMode  = "PINHOLE_HOST_TEST_MODE"  // trap or kill
	envGuest = "PINHOLE_HOST_TEST_GUEST" // compiled testdata/guest.c
	envLong  = "PINHOLE_LONG"
)

const (
	imageBytes = 64 << 10
	ramBytes   = 8 << 20
)

var (
	mode   = os.Getenv(envMode) // "" without a lock
	mach   *Machine
	guests struct {
		file    string // path of the executable
		base    abi.Addr
		symbols map[string]uint64
	}
	image []byte // what the image file holds
	files hostFiles
	slots chan struct{} // one for each guest that may run
)

func TestMain(m *testing.M) {
	code, err := setUp(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func setUp(m *testing.M) (int, error) {
	dir, cfg := "", Config{ImageSize: imageBytes - 100, MemoryLimit: 64 << 20, CacheBytes: 1 << 20}
	image = make([]byte, imageBytes)
	for i := range image {
		image[i] = byte(i*7 + i>>8)
	}
	if mode == "" {
		var err error
		if dir, err = os.MkdirTemp("", "host-test"); err != nil {
			return 0, err
		}
		defer os.RemoveAll(dir)
		if guests.file, err = compile(dir); err != nil {
			return 0, err
		}
		if files, err = descriptors(dir); err != nil {
			return 0, err
		}
		cfg.EntropyFD, cfg.ImageFD, cfg.RAMFD = int(files.entropy.Fd()), int(files.image.Fd()), int(files.ram.Fd())
	} else {
		guests.file = os.Getenv(envGuest)
		cfg.EntropyFD, cfg.ImageFD, cfg.RAMFD = FDEntropy, FDImage, FDRAM
	}
	var err error
	if cfg.RAM, err = syscall.Mmap(cfg.RAMFD, 0, ramBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED); err != nil {
		return 0, err
	}
	if mach, err = New(cfg); err != nil {
		return 0, err
	}
	slots = make(chan struct{}, mach.MaxGuests())
	if guests.file != "" {
		if err := load(guests.file); err != nil {
			return 0, err
		}
	}
	if mode == "" {
		return m.Run(), nil
	}
	if err := mach.Seal(); err != nil {
		return 0, err
	}
	action := seccomp.Trap
	if mode == "kill" {
		action = seccomp.Kill
	}
	if err := seccomp.Load(action); err != nil {
		return 0, err
	}
	if mode == "trap" {
		if err := seccomp.Prove(4); err != nil {
			return 0, err
		}
	}
	before, _ := RefusedCalls()
	code := m.Run()
	if after, last := RefusedCalls(); after != before {
		return 0, fmt.Errorf("the lock refused %d calls of the kernel's own, the last number %d", after-before, last)
	}
	return code, nil
}

// compile makes the guests; "" if there is no compiler.
func compile(dir string) (string, error) {
	cc, err := exec.LookPath("gcc")
	if err != nil {
		return "", nil
	}
	out := filepath.Join(dir, "guest")
	cmd := exec.Command(cc, "-O2", "-Wall", "-fPIE", "-static-pie", "-nostdlib", "-nostartfiles", "-ffreestanding",
		"-fno-stack-protector", "-mno-red-zone", "-Wl,-e,start", "-Wl,-z,norelro", "-o", out, filepath.Join("testdata", "guest.c"))
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd, err, msg)
	}
	return out, nil
}

// hostFiles are what the supervisor would pass.
type hostFiles struct{ entropy, image, ram *os.File }

func descriptors(dir string) (f hostFiles, err error) {
	if f.entropy, err = os.Open("/dev/urandom"); err != nil {
		return f, err
	}
	path := filepath.Join(dir, "image")
	if err := os.WriteFile(path, image, 0o666); err != nil {
		return f, err
	}
	if f.image, err = os.Open(path); err != nil {
		return f, err
	}
	fd, _, e := syscall.Syscall(319 /* memfd_create */, uintptr(unsafe.Pointer(&[]byte("ram\x00")[0])), 0, 0)
	if e != 0 {
		return f, e
	}
	f.ram = os.NewFile(fd, "ram")
	return f, f.ram.Truncate(ramBytes)
}

// load puts the guests at the beginning of the area.
func load(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	base, _ := mach.Area()
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		lo, hi := p.Vaddr&^4095, (p.Vaddr+p.Memsz+4095)&^4095
		if e := mach.Map(base+abi.Addr(lo), hi-lo, 7, guest.BackAnon, 0); e != 0 {
			return e2err(e)
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return err
		}
		if n := guest.CopyOut(base+abi.Addr(p.Vaddr), b); n != len(b) {
			return errors.New("guest image does not fit")
		}
	}
	syms, err := f.Symbols()
	if err != nil {
		return err
	}
	guests.base, guests.symbols = base, map[string]uint64{}
	for _, s := range syms {
		if name, ok := strings.CutPrefix(s.Name, "guest_"); ok {
			guests.symbols[name] = uint64(base) + s.Value
		}
	}
	return nil
}

func e2err(e abi.Errno) error {
	if e == 0 {
		return nil
	}
	return syscall.Errno(e)
}

// room hands out address space for stacks and the like.
var room struct {
	mu   sync.Mutex
	used uint64
}

// mapped returns n bytes of fresh guest memory with an unmapped page on either side.
func mapped(t testing.TB, n uint64) abi.Addr {
	t.Helper()
	n = (n + 4095) &^ 4095
	room.mu.Lock()
	lo, _ := mach.Area()
	at := lo + 64<<20 + abi.Addr(room.used) + 4096
	room.used += n + 4096
	room.mu.Unlock()
	if e := mach.Map(at, n, 3, guest.BackAnon, 0); e != 0 {
		t.Fatalf("Map: %v", e2err(e))
	}
	t.Cleanup(func() { mach.Map(at, n, 0, guest.BackNone, 0) })
	return at
}

const (
	stackBytes = 64 << 10
	blockBytes = 16 << 10 // what FS base points to
)

// newGuest returns a context that will begin at an entry of testdata/guest.c.
func newGuest(t testing.TB, entry string, arg uint64) *guest.Context {
	t.Helper()
	if guests.symbols == nil {
		t.Skip("no gcc to compile the guests with")
	}
	if _, ok := guests.symbols[entry]; !ok {
		t.Fatalf("no guest %q", entry)
	}
	c := mach.NewContext()
	if c == nil {
		t.Fatal("no memory for a context")
	}
	t.Cleanup(func() { mach.FreeContext(c) })
	c.FSBase = uint64(mapped(t, stackBytes+blockBytes)) + stackBytes
	begin(c, entry, arg)
	return c
}

// begin makes a context begin (again) at an entry.
func begin(c *guest.Context, entry string, arg uint64) {
	c.RIP, c.RDI, c.RSI, c.RDX = guests.symbols[entry], mach.GateAddr(), arg, mach.LinuxGateAddr()
	c.RSP = c.FSBase - 64 - 8
	c.Full = 0
}

// Calls of the guests.
const (
	callExit = iota + 1
	callEcho
	callYield
	callSleep
	callCollect
)

// drive runs a guest until it exits or enters for another reason than a call or a tick: attached
// for as long as it calls, detached while it computes, as the kernel does.
func drive(c *guest.Context) {
	step := func() bool { return answer(c, func() {}, func() {}) }
	for {
		mach.Run(c, step)
		for c.Why == guest.Tick {
			slots <- struct{}{}
			mach.Enter(c)
			<-slots
		}
		if !step() {
			return
		}
	}
}

// driveDetached is drive without attachment.
func driveDetached(c *guest.Context) {
	slots <- struct{}{}
	defer func() { <-slots }()
	for {
		mach.Enter(c)
		if c.Why != guest.Tick && !answer(c, func() { <-slots }, func() { slots <- struct{}{} }) {
			return
		}
	}
}

// answer does what a call asks for, between before and after if it waits; false when the guest is
// not to go on as it did: it has ended, or computes.
func answer(c *guest.Context, before, after func()) bool {
	if c.Why != guest.Call {
		return false
	}
	switch c.RAX {
	case callExit:
		return false
	case callEcho:
		c.RAX = c.RDI + c.RSI
	case callYield:
		before()
		runtime.Gosched()
		after()
	case callSleep:
		before()
		time.Sleep(time.Duration(c.RDI))
		after()
	case callCollect:
		runtime.GC()
	default:
		c.RAX = ^uint64(37)
	}
	return true
}

// exits runs a guest and checks that it exits with a status.
func exits(t testing.TB, c *guest.Context, status uint64) {
	t.Helper()
	drive(c)
	if c.Why != guest.Call || c.RAX != callExit {
		t.Errorf("guest ended otherwise than by its exit: %s", describe(c))
	} else if c.RDI != status {
		t.Errorf("guest exits with %d, want %d", c.RDI, status)
	}
}

func describe(c *guest.Context) string {
	return fmt.Sprintf("why %d signal %d code %d addr %#x trap %d err %#x rip base%+#x rsp %#x rax %#x full %d",
		c.Why, c.Signo, c.Code, c.FaultAddr, c.Trapno, c.Err, c.RIP-uint64(guests.base), c.RSP, c.RAX, c.Full)
}

// churn keeps the collector, timers and other goroutines busy until the test ends.
func churn(t testing.TB) {
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			var keep [][]byte
			for range 100 {
				keep = append(keep, bytes.Repeat([]byte{1}, 10000))
			}
			runtime.GC()
			runtime.KeepAlive(keep)
		}
	})
	wg.Go(func() {
		for !stop.Load() {
			var in sync.WaitGroup
			for range 50 {
				in.Go(func() { deep(30); time.Sleep(100 * time.Microsecond) })
			}
			in.Wait()
		}
	})
	t.Cleanup(func() { stop.Store(true); wg.Wait() })
}

// deep makes the stack grow.
func deep(n int) int {
	var b [512]byte
	b[n] = 1
	if n == 0 {
		return 0
	}
	return deep(n-1) + int(b[n])
}

func block(c *guest.Context, off, n int) []byte {
	b := make([]byte, n)
	if got := guest.CopyIn(b, abi.Addr(c.FSBase)+abi.Addr(off)); got != n {
		panic("guest block is not readable")
	}
	return b
}

func put64(c *guest.Context, off int, v uint64) {
	if !guest.Store64(abi.Addr(c.FSBase)+abi.Addr(off), v) {
		panic("guest block is not writable")
	}
}

var le = binary.LittleEndian
