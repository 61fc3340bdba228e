package host

import (
	"bytes"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// The guest copies with the real fix-up of faults; emu/guest tests the rest.
func TestCopies(t *testing.T) {
	churn(t)
	base := mapped(t, 4*pageSize)
	end := base + 4*pageSize
	src := bytes.Repeat([]byte("0123456789abcdef!"), 2000)
	for n := 1; n < 6000; n += 1 + n/7 {
		for _, have := range []int{0, 1, 7, 16, 33, 64, 100, 900, 1100, 5000} {
			have := min(have, n)
			at := end - abi.Addr(have)
			side := guest.Guest
			if have == n {
				side = guest.Neither
			}
			if got, s := guest.TryCopyOut(at, src[:n]); got != have || s != side {
				t.Fatalf("TryCopyOut of %d bytes, %d of them reachable = %d, %v", n, have, got, s)
			}
			back := make([]byte, n)
			if got, s := guest.TryCopyIn(back, at); got != have || s != side || !bytes.Equal(back[:have], src[:have]) {
				t.Fatalf("TryCopyIn of %d bytes, %d of them reachable = %d, %v", n, have, got, s)
			}
			if got := guest.Zero(at, uint64(n)); got != uint64(have) {
				t.Fatalf("Zero of %d bytes, %d of them reachable = %d", n, have, got)
			}
		}
	}
	for n := range 200 {
		guest.CopyOut(end-abi.Addr(n), bytes.Repeat([]byte{'x'}, n))
		if got, ok := guest.CopyString(make([]byte, 300), end-abi.Addr(n)); got != n || ok {
			t.Fatalf("CopyString of %d bytes before the end = %d, %v", n, got, ok)
		}
		if n > 0 {
			guest.CopyOut(end-1, []byte{0})
			if got, ok := guest.CopyString(make([]byte, 300), end-abi.Addr(n)); got != n-1 || !ok {
				t.Fatalf("CopyString of %d bytes = %d, %v", n-1, got, ok)
			}
		}
	}
	if _, ok := guest.Load32(end); ok {
		t.Error("Load32 of nothing succeeds")
	}
	if _, ok := guest.Load64(end); ok {
		t.Error("Load64 of nothing succeeds")
	}
	if guest.Store32(end, 1) || guest.Store64(end, 1) {
		t.Error("a store to nothing succeeds")
	}
	if e := mach.Map(base, pageSize, syscall.PROT_READ, guest.BackAnon, 0); e != 0 {
		t.Fatal(e2err(e))
	}
	if _, ok := guest.CompareAndSwap32(base, 0, 1); ok {
		t.Error("CompareAndSwap32 of a read-only word succeeds")
	}
	if v, ok := guest.CompareAndSwap32(base+pageSize, 0, 5); v != 0 || !ok {
		t.Error("CompareAndSwap32 =", v, ok)
	}
	if v, ok := guest.CompareAndSwap32(base+pageSize, 5, 6); v != 5 || !ok {
		t.Error("CompareAndSwap32 =", v, ok)
	}
}

// No address that a guest may pass reaches the kernel's memory.
func TestCopiesStayInArea(t *testing.T) {
	secret := []byte("secret")
	lo, hi := mach.Area()
	llo, lhi := mach.LowArea()
	for _, a := range []abi.Addr{addressOf(secret), abi.Addr(mach.GateAddr()), abi.Addr(mach.VDSO()), 0, lo - 1, hi, llo - 1, lhi, 1 << 63, ^abi.Addr(0)} {
		b := make([]byte, 6)
		if n := guest.CopyIn(b, a); n != 0 {
			t.Errorf("CopyIn reads %d bytes at %#x", n, a)
		}
		if n := guest.CopyOut(a, b); n != 0 {
			t.Errorf("CopyOut writes %d bytes at %#x", n, a)
		}
	}
	if string(secret) != "secret" {
		t.Error("kernel memory is written")
	}
}

// Every kind of page that a copy may meet, changing under many copies at once.
func TestCopiesWhileMapping(t *testing.T) {
	base := mapped(t, 16*pageSize)
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for i := range 2000 {
			at := base + abi.Addr(i%16)*pageSize
			what, prot := guest.BackAnon, uint32(3)
			if i%3 == 0 {
				what, prot = guest.BackNone, 0
			}
			if e := mach.Map(at, pageSize, prot, what, 0); e != 0 {
				t.Error(e2err(e))
			}
		}
	})
	for range 3 {
		wg.Go(func() {
			b := make([]byte, 10*pageSize)
			for {
				select {
				case <-done:
					return
				default:
				}
				guest.CopyOut(base+100, b)
				guest.CopyIn(b, base+pageSize)
				guest.Zero(base, 16*pageSize)
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
}

// FuzzCopies compares the copies with a model: pages that can be read and written, only read, or
// neither, and accesses of any place, length and kind.
func FuzzCopies(f *testing.F) {
	const pages = 4
	f.Add([]byte{2, 1, 0, 2, 0, 0x0f, 0xf0, 0x00, 0x20})
	f.Add([]byte{2, 2, 2, 2, 4, 0x00, 0x10, 0x3f, 0xff})
	base := mapped(f, pages*pageSize)
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < pages {
			return
		}
		var may [pages]byte // 0 nothing, 1 read, 2 read and write
		model := make([]byte, pages*pageSize)
		for i := range may {
			may[i] = in[i] % 3
			at := base + abi.Addr(i)*pageSize
			if e := mach.Map(at, pageSize, 3, guest.BackAnon, 0); e != 0 {
				t.Fatal(e2err(e))
			}
			switch may[i] {
			case 0:
				mach.Map(at, pageSize, 0, guest.BackNone, 0)
			case 1:
				mach.Map(at, pageSize, 1, guest.BackAnon, 0)
			}
		}
		reach := func(off, n int, need byte) int {
			for i := range n {
				if off+i >= len(model) || may[(off+i)/pageSize] < need {
					return i
				}
			}
			return n
		}
		for in = in[pages:]; len(in) >= 5; in = in[5:] {
			off := int(le.Uint16(in[1:])) % len(model)
			n := int(le.Uint16(in[3:])) % (2 * pageSize)
			at := base + abi.Addr(off)
			switch in[0] % 7 {
			case 0, 1:
				src := bytes.Repeat([]byte{in[3], in[4] | 1, 0}, n/3+1)[:n]
				want := reach(off, n, 2)
				if got := guest.CopyOut(at, src); got != want {
					t.Fatalf("CopyOut(%d, %d bytes) = %d, want %d of %v", off, n, got, want, may)
				}
				copy(model[off:], src[:want])
			case 2, 3:
				dst := make([]byte, n)
				want := reach(off, n, 1)
				if got := guest.CopyIn(dst, at); got != want || !bytes.Equal(dst[:want], model[off:off+want]) {
					t.Fatalf("CopyIn(%d, %d bytes) = %d, want %d of %v", off, n, got, want, may)
				}
			case 4:
				want := reach(off, n, 2)
				if got := guest.Zero(at, uint64(n)); got != uint64(want) {
					t.Fatalf("Zero(%d, %d bytes) = %d, want %d of %v", off, n, got, want, may)
				}
				clear(model[off : off+want])
			case 5:
				dst := make([]byte, n)
				want, ok := reach(off, n, 1), false
				if i := bytes.IndexByte(model[off:off+want], 0); i >= 0 {
					want, ok = i, true
				}
				if got, is := guest.CopyString(dst, at); got != want || is != ok || !bytes.Equal(dst[:want], model[off:off+want]) {
					t.Fatalf("CopyString(%d, %d bytes) = %d, %v, want %d, %v of %v", off, n, got, is, want, ok, may)
				}
			case 6:
				off &^= 3
				if v, ok := guest.CompareAndSwap32(base+abi.Addr(off), le.Uint32(model[off:]), 77); ok != (may[off/pageSize] == 2) {
					t.Fatalf("CompareAndSwap32(%d) = %d, %v of %v", off, v, ok, may)
				} else if ok {
					le.PutUint32(model[off:], 77)
				}
				if v, ok := guest.Load32(base + abi.Addr(off)); ok != (may[off/pageSize] > 0) || ok && v != le.Uint32(model[off:]) {
					t.Fatalf("Load32(%d) = %d, %v of %v", off, v, ok, may)
				}
			}
		}
	})
}

// A fault in Go code is the runtime's: a panic that can be recovered, while other
// signals come and go, and without a call to return from the handler.
func TestKernelFault(t *testing.T) {
	churn(t)
	for range 100 {
		func() {
			defer func() {
				if r := recover(); r == nil {
					t.Error("no panic")
				} else if e, ok := r.(runtime.Error); !ok {
					t.Errorf("panic with %v, want a runtime.Error", e)
				}
			}()
			var p *int
			*p = 1
		}()
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		zero := len(nothing)
		_ = 1 / zero
	}()
	exits(t, newGuest(t, "calls", 10), 0)
}

var nothing []byte

// A call of the kernel's own that the lock refuses is answered, and counted.
func TestRefusedCall(t *testing.T) {
	if mode != "trap" {
		t.Skip("only with a lock that traps")
	}
	before, _ := RefusedCalls()
	if _, _, e := syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0); e != syscall.ENOSYS {
		t.Errorf("getppid: %v, want ENOSYS", e)
	}
	if n, last := RefusedCalls(); n != before+1 || last != syscall.SYS_GETPPID {
		t.Errorf("refused calls went from %d to %d, the last number %d", before, n, last)
	}
	refusedCalls = before // the test's main looks at it
}
