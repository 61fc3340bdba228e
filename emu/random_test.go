package emu

import (
	"math/rand/v2"
	"testing"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// TestRandomCalls makes calls with arguments that no program would pass: nothing may hang, panic, or
// touch anything outside of the guest's address space.
func TestRandomCalls(t *testing.T) {
	for seed := range uint64(4) {
		randomCalls(t, rand.New(rand.NewPCG(seed, 2)), 20000)
	}
}

func randomCalls(t *testing.T, r *rand.Rand, n int) {
	w := newMemWorld(t)
	fd := w.file("/f", make([]byte, 10*pageSize+77))
	// Addresses outside of the area would be the test's own memory.
	guest.SetArea(w.machine.lo, w.machine.hi, 0, 0)
	defer guest.TestMode()
	s := w.proc.mem()
	s.heap = s.lo + 64<<20
	s.brk = s.heap
	s.top = s.hi - 1<<20
	w.proc.limits[abi.RLIMIT_AS].cur.Store(256 << 20)
	w.attention.Store(attExit) // no wait waits
	never := map[uint64]bool{
		abi.CallProcExit: true, abi.CallThreadExit: true, abi.CallThreadCreate: true, abi.CallSignalReturn: true,
		abi.CallSysSync: true,
	}
	var last []uint64 // results, which make good arguments
	arg := func() uint64 {
		switch r.IntN(9) {
		case 0:
			return uint64(r.IntN(8))
		case 1:
			return uint64(r.IntN(1 << 20))
		case 2:
			return -uint64(r.IntN(1 << 16))
		case 3:
			return 1 << r.IntN(64)
		case 4:
			return uint64(w.machine.lo) + uint64(r.IntN(memArea))
		case 5:
			return (uint64(w.machine.lo) + uint64(r.IntN(memArea))) &^ 4095
		case 6:
			return uint64(w.machine.hi) - uint64(r.IntN(3))*4096 + uint64(r.IntN(3)) - 1
		case 7:
			return uint64(r.IntN(64)) * pageSize
		}
		if len(last) == 0 {
			return r.Uint64()
		}
		return last[r.IntN(len(last))]
	}
	mapped := func() uint64 {
		if len(last) == 0 {
			return 0
		}
		a := last[r.IntN(len(last))]
		if r.IntN(3) > 0 {
			a += uint64(r.IntN(8)) * pageSize
		}
		if r.IntN(4) == 0 {
			a += uint64(r.IntN(pageSize))
		}
		return a
	}
	for range n {
		nr := uint64(r.IntN(abi.CallTop))
		if r.IntN(2) == 0 {
			nr = abi.CallMemMap + uint64(r.IntN(10))
		}
		c := abi.LookupCall(nr)
		if c == nil || never[nr] || nr >= 112 && nr < 208 {
			continue
		}
		var a [6]uint64
		for i := range a {
			a[i] = arg()
			if i >= len(c.Args) || r.IntN(4) == 0 {
				continue
			}
			switch c.Args[i].Type {
			case abi.TypeAddr:
				a[i] = mapped()
			case abi.TypeSize:
				a[i] = uint64(r.IntN(40)) * pageSize
				if r.IntN(3) == 0 {
					a[i] = 8
				}
			case abi.TypeInt, abi.TypeUInt, abi.TypePID, abi.TypeFD:
				a[i] = uint64(r.IntN(16))
			}
		}
		if nr == abi.CallMemMap && r.IntN(4) > 0 {
			a[2], a[3] = uint64(r.IntN(4)), uint64(abi.MAP_PRIVATE|abi.MAP_ANONYMOUS|r.IntN(2)*abi.MAP_FIXED)
		}
		if nr == abi.CallMemMap && r.IntN(4) == 0 {
			a[3], a[4], a[5] = uint64(abi.MAP_SHARED+r.IntN(2)), uint64(fd), uint64(r.IntN(12))*pageSize
		}
		if nr == abi.CallProcLimit && a[2] != 0 {
			a[2] = 0 // they bound what the test may take
		}
		w.ctx.RSP = arg()
		ret := w.dispatch(nr, &a)
		if ret < 0 && ret > -abi.MaxErrno {
			if errno := abi.Errno(-ret); errno == errRestart && nr != abi.CallThreadFutex {
				t.Fatalf("%s%x: %v", c.Name, a, errno)
			}
			continue
		}
		if c.Result == abi.TypeAddr {
			last = append(last, uint64(ret))
			last = last[max(0, len(last)-64):]
		}
	}
	checkSet(t, &s.set)
	s.release()
	if used := w.kernel.commit.used.Load(); used != 0 {
		t.Errorf("%d bytes are still charged", used)
	}
	if left := w.kernel.ram.left; left != memRAM-1<<20 {
		t.Errorf("%d bytes of RAM are lost", memRAM-1<<20-left)
	}
	if n, all := w.machine.hostMappings(t); n != 0 || all != 1 {
		t.Errorf("the host has %d mappings left, %d in all", n, all)
	}
}
