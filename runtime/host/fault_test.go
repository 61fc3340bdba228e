package host

import (
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/emu/guest"
)

// fault is what a test looks at.
type fault struct {
	Why  guest.Reason
	Sig  syscall.Signal
	Code int32
	Addr uint64
}

func faultOf(c *guest.Context) fault {
	f := fault{Why: c.Why}
	if c.Why == guest.Fault {
		f.Sig, f.Code, f.Addr = syscall.Signal(c.Signo), c.Code, c.FaultAddr
	}
	return f
}

// si_code values, asm-generic/siginfo.h.
const (
	segvMapErr = 1
	segvAccErr = 2
	siKernel   = 0x80
	fpeIntDiv  = 1
	illIllOpn  = 2
	busAdrErr  = 2
	trapBrkpt  = 1
)

func TestFaults(t *testing.T) {
	readOnly := mapped(t, 4096)
	if e := mach.Map(readOnly, 4096, 1, guest.BackAnon, 0); e != 0 {
		t.Fatal(e)
	}
	nothing := readOnly + 4096 // the guard behind
	const lost = 1 << 63       // not canonical
	for _, test := range []struct {
		name string
		arg  uint64
		want fault
	}{
		{"read", 0, fault{guest.Fault, syscall.SIGSEGV, segvMapErr, 0}},
		{"read", uint64(nothing), fault{guest.Fault, syscall.SIGSEGV, segvAccErr, uint64(nothing)}},
		{"write", uint64(readOnly), fault{guest.Fault, syscall.SIGSEGV, segvAccErr, uint64(readOnly)}},
		{"read", lost, fault{guest.Fault, syscall.SIGSEGV, siKernel, 0}},
		{"jump", 0, fault{guest.Fault, syscall.SIGSEGV, segvMapErr, 0}},
		{"jump", uint64(readOnly), fault{guest.Fault, syscall.SIGSEGV, segvAccErr, uint64(readOnly)}},
		{"divide", 0, fault{guest.Fault, syscall.SIGFPE, fpeIntDiv, guests.symbols["divide"]}},
		{"undefined", 0, fault{guest.Fault, syscall.SIGILL, illIllOpn, guests.symbols["undefined"]}},
		{"break", 0, fault{guest.Fault, syscall.SIGTRAP, siKernel, 0}},
		{"privileged", 0, fault{guest.Fault, syscall.SIGSEGV, siKernel, 0}},
		{"bad_stack", 0, fault{guest.Fault, syscall.SIGSEGV, segvMapErr, 16}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newGuest(t, test.name, test.arg)
			drive(c)
			got := faultOf(c)
			if test.want.Sig == syscall.SIGFPE || test.want.Sig == syscall.SIGILL {
				// Somewhere in the function.
				if got.Addr-test.want.Addr < 64 {
					got.Addr = test.want.Addr
				}
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("(-want +got)\n%s%s", d, describe(c))
			}
			if c.Full == 0 {
				t.Error("registers of a fault are not all there")
			}
			exits(t, newGuest(t, "calls", 10), 0)
		})
	}
}

// A fault can be taken back: with the memory there, the guest goes on with all its registers.
func TestFaultAndRetry(t *testing.T) {
	at := mapped(t, 4096)
	if e := mach.Map(at, 4096, 0, guest.BackNone, 0); e != 0 {
		t.Fatal(e)
	}
	c := newGuest(t, "write", uint64(at))
	for n := 0; ; n++ {
		drive(c)
		if c.Why != guest.Fault {
			break
		}
		if c.FaultAddr != uint64(at) || n > 0 {
			t.Fatal(describe(c))
		}
		if e := mach.Map(at, 4096, 3, guest.BackAnon, 0); e != 0 {
			t.Fatal(e)
		}
	}
	exits(t, c, 0)
	if v, ok := guest.Load32(at); v != 1 || !ok {
		t.Errorf("after the retry the guest's word is %d, %v", v, ok)
	}
}

// A start address or stack that cannot be is the guest's fault, not the kernel's.
func TestBadStart(t *testing.T) {
	for _, full := range []uint32{0, 1} {
		for _, rip := range []uint64{0, 16, 1 << 63, 0x7fffffffffff, uint64(mapped(t, 4096))} {
			c := newGuest(t, "exit", 0)
			c.RIP, c.Full, c.RFLAGS = rip, full, 0
			drive(c)
			if c.Why != guest.Fault || syscall.Signal(c.Signo) != syscall.SIGSEGV || c.RIP != rip {
				t.Errorf("start at %#x, full %d: %s", rip, full, describe(c))
			}
		}
		c := newGuest(t, "exit", 3)
		c.FSBase, c.Full = 1<<63, full
		drive(c)
		if c.Why != guest.Fault || syscall.Signal(c.Signo) != syscall.SIGSEGV {
			t.Errorf("FS base not canonical, full %d: %s", full, describe(c))
		}
	}
}

// Whatever a guest makes of its vector state in a signal frame, the kernel lives on.
func TestWildXSave(t *testing.T) {
	for seed := range 200 {
		c := newGuest(t, "calls", 5)
		c.Full = 1
		x := uint64(seed)*0x9e3779b97f4a7c15 + 1
		for off := uint64(0); off < c.XSaveSize; off += 8 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			if off >= 512 && off < 576 && seed%4 == 0 {
				continue
			}
			*word64(c.XSave, uintptr(off)) = x
		}
		// Garbage in the control words may well raise signals in the guest.
		drive(c)
		if c.Why != guest.Call && c.Why != guest.Fault {
			t.Fatal(describe(c))
		}
	}
	exits(t, newGuest(t, "calls", 10), 0)
}

// What a guest asks Linux itself, behind the lock.
func TestTrappedCalls(t *testing.T) {
	if mode != "trap" {
		t.Skip("only with a lock that traps")
	}
	c := newGuest(t, "syscall", 39)
	drive(c)
	if c.Why != guest.Syscall || c.RAX != 39 || c.RDI != 11 || c.RSI != 22 || c.RDX != 33 || c.CallAddr != c.RIP {
		t.Fatalf("syscall: %s rdi %d rsi %d rdx %d call %#x rip %#x", describe(c), c.RDI, c.RSI, c.RDX, c.CallAddr, c.RIP)
	}
	c.RAX = 1234
	exits(t, c, 1234)

	c = newGuest(t, "int80", 20)
	drive(c)
	if c.Why != guest.ForeignSyscall || c.RAX != 20 {
		t.Fatalf("int 0x80: %s", describe(c))
	}
	c.RAX = 38
	exits(t, c, 38)

	c = newGuest(t, "syscall", 0x40000000+39) // x32: the filter answers
	exits(t, c, ^uint64(37))

	c = newGuest(t, "sysenter", 20)
	drive(c)
	if c.Why != guest.Fault {
		t.Errorf("sysenter: %s", describe(c))
	}
	exits(t, newGuest(t, "calls", 10), 0)
}
