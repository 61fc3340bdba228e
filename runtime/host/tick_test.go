package host

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// variant is the widest set of vector registers that this processor has.
func variant() (name string, width, count int) {
	_, b, _, _ := cpuid(7, 0)
	const avx512f, avx512bw = 1 << 16, 1 << 30
	switch {
	case xsaveMask&0xe0 == 0xe0 && b&avx512f != 0 && b&avx512bw != 0:
		return "avx512", 64, 32
	case haveAVX != 0:
		return "avx", 32, 16
	}
	return "sse", 16, 16
}

// callNumber is what guests ask Linux for: getpid, which no lock admits.
const callNumber = 39

// fillRegisters writes what a guest is to load, and returns what it must store: see
// testdata/guest.c for the layout.
func fillRegisters(c *guest.Context, seed uint64, spins uint64) []byte {
	_, width, count := variant()
	r := rand.New(rand.NewPCG(seed, 1))
	in := make([]byte, 0xb18)
	for off := 0; off < 0x78; off += 8 {
		le.PutUint64(in[off:], r.Uint64())
	}
	le.PutUint32(in[0x80:], 0x1fa0|uint32(seed%4)<<13) // rounding, and a sticky flag
	le.PutUint16(in[0x84:], 0x37f&^0x300|uint16(seed%4)<<10)
	for i := range 8 {
		x := in[0x100+16*i:]
		le.PutUint64(x, r.Uint64()|1<<63) // a normal number of 80 bits
		le.PutUint16(x[8:], uint16(0x3f00+r.Uint32N(0x100)))
	}
	for i := range count {
		for j := range width {
			in[0x200+64*i+j] = byte(r.Uint32())
		}
	}
	if width == 64 {
		for i := range 3 {
			le.PutUint64(in[0xa00+8*i:], r.Uint64())
		}
	}
	for off := 0; off < len(in); off += 8 {
		if off+8 <= len(in) {
			put64(c, 0x100+off, le.Uint64(in[off:]))
		}
	}
	le.PutUint64(in, callNumber)
	put64(c, 0x100, callNumber)
	put64(c, 0, spins)
	put64(c, 8, mach.LinuxGateAddr())
	want := append([]byte(nil), in...)
	return want
}

func storedRegisters(c *guest.Context) []byte { return block(c, 0x1100, 0xb18) }

// regions names the parts of the layout, for a readable difference.
func regions(b []byte) map[string]string {
	m := map[string]string{}
	for i, n := range []string{"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"} {
		m[n] = fmt.Sprintf("%x", b[8*i:8*i+8])
	}
	m["mxcsr"], m["fcw"] = fmt.Sprintf("%x", b[0x80:0x84]), fmt.Sprintf("%x", b[0x84:0x86])
	for i := range 8 {
		m[fmt.Sprint("st", i)] = fmt.Sprintf("%x", b[0x100+16*i:0x100+16*i+10])
	}
	for i := range 32 {
		m[fmt.Sprint("v", i)] = fmt.Sprintf("%x", b[0x200+64*i:0x240+64*i])
	}
	m["k"] = fmt.Sprintf("%x", b[0xa00:0xa18])
	return m
}

// Guests compute through many ticks; not a bit of their state may change. More of them than may
// run at once, so that they take turns on every thread.
func TestTicksKeepState(t *testing.T) {
	name, _, _ := variant()
	churn(t)
	n := 2 * mach.MaxGuests()
	var wg sync.WaitGroup
	var ticks atomic.Uint64
	for i := range n {
		c := newGuest(t, "spin_"+name, 0)
		want := fillRegisters(c, uint64(i), 50_000_000)
		wg.Go(func() {
			slots <- struct{}{}
			for c.Why != guest.Call || c.RAX != callExit {
				mach.Enter(c)
				if c.Why == guest.Tick { // on another thread the next time, perhaps
					<-slots
					slots <- struct{}{}
				} else if c.Why != guest.Call {
					t.Errorf("guest ended by %s", describe(c))
					break
				}
			}
			<-slots
			if d := cmp.Diff(regions(want), regions(storedRegisters(c))); d != "" {
				t.Errorf("state changed in %d ticks (-before +after):\n%s", c.Ticks, d)
			}
			ticks.Add(c.Ticks)
		})
	}
	wg.Wait()
	if ticks.Load() < uint64(n) {
		t.Errorf("%d computing guests got only %d ticks", n, ticks.Load())
	}
}

// A guest that never enters by itself can be stopped.
func TestTickEndsLoop(t *testing.T) {
	c := newGuest(t, "forever", 0)
	for range 3 {
		mach.Enter(c)
		if c.Why != guest.Tick || c.Full == 0 || c.RIP-guests.symbols["forever"] > 64 {
			t.Fatal(describe(c))
		}
	}
	if c.Ticks < 3 {
		t.Errorf("%d ticks counted, want 3 at least", c.Ticks)
	}
	if v, ok := mach.Clock(clockProcessCPUTime); !ok || v < int64(3*tickPeriod) {
		t.Errorf("processor time %d, %v after three ticks", v, ok)
	}
}

// With every host thread taken that may be, the runtime still makes none: it could not.
func TestPool(t *testing.T) {
	if mode == "" {
		t.Skip("the runtime may make threads")
	}
	churn(t)
	blockForEver()
	var wg sync.WaitGroup
	for range mach.MaxGuests() {
		c := newGuest(t, "forever", 0)
		wg.Go(func() {
			for c.Ticks < 5 {
				mach.Enter(c)
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
}

var blockForEver = sync.OnceFunc(func() {
	for _, fd := range []int{FDStdin, FDControlIn, FDDoorbellIn} {
		go mach.HostRead(fd, make([]byte, 1)) // nobody writes
	}
	for _, fd := range []int{FDControlOut, FDDoorbellOut} {
		go mach.HostWrite(fd, make([]byte, 1<<20)) // nobody reads
	}
})

func TestTickInVDSO(t *testing.T) {
	fn := vdsoSymbol(t, "__vdso_clock_gettime")
	churn(t)
	c := newGuest(t, "vdso", uint64(fn))
	exits(t, c, 0)
	if c.Ticks == 0 {
		t.Error("a guest that computes in the vDSO got no tick")
	}
}

func TestSecondGate(t *testing.T) {
	name, _, _ := variant()
	churn(t)
	for i := range 50 {
		keeps(t, "gate2_"+name, uint64(i), guest.LinuxCall)
	}
}

func TestTrapKeepsState(t *testing.T) {
	if mode != "trap" {
		t.Skip("only with a lock that traps")
	}
	name, _, _ := variant()
	churn(t)
	for i := range 50 {
		keeps(t, "trap_"+name, uint64(i), guest.Syscall)
	}
}

// keeps runs a guest that makes one Linux call and checks that all but RAX, RCX, R11 survives.
func keeps(t *testing.T, entry string, seed uint64, why guest.Reason) {
	t.Helper()
	c := newGuest(t, entry, 0)
	want := fillRegisters(c, seed, 0)
	drive(c)
	if c.Why != why || c.RAX != le.Uint64(want) || c.R10 != le.Uint64(want[0x48:]) {
		t.Fatalf("%s: %s", entry, describe(c))
	}
	c.RAX = 4321
	exits(t, c, 0)
	le.PutUint64(want, 4321)
	got := storedRegisters(c)
	copy(got[0x10:0x18], want[0x10:]) // rcx and r11 are not kept
	copy(got[0x50:0x58], want[0x50:])
	if d := cmp.Diff(regions(want), regions(got)); d != "" {
		t.Errorf("%s (-before +after):\n%s", entry, d)
	}
	const cf, df = 1, 1 << 10
	if flags, _ := guest.Load64(abi.Addr(c.FSBase) + 0x28); flags&(cf|df) != cf|df {
		t.Errorf("%s: flags %#x after the call, carry and direction were set before", entry, flags)
	}
}
