package guest

import (
	"runtime/debug"
	"unsafe"

	"pinhole/abi"
)

// testing is set by TestMode.
var testing bool

// TestMode makes the copies work under plain go test, where nobody has installed the signal
// handlers that mend a fault: the runtime turns faults into panics, which are recovered; and
// all addresses but the first page are accepted. Call it before the first copy.
func TestMode() {
	testing = true
	SetArea(4096, 1<<63, 0, 0)
}

func pieceIn(dst unsafe.Pointer, src, n uintptr) (left, fault uintptr) {
	if testing {
		return probe(n, func(off, n uintptr) { copyIn(unsafe.Add(dst, off), src+off, n) })
	}
	return copyIn(dst, src, n)
}

func pieceOut(dst uintptr, src unsafe.Pointer, n uintptr) (left, fault uintptr) {
	if testing {
		return probe(n, func(off, n uintptr) { copyOut(dst+off, unsafe.Add(src, off), n) })
	}
	return copyOut(dst, src, n)
}

func pieceHost(dst, src unsafe.Pointer, n uintptr) (left uintptr) {
	if testing {
		left, _ = probe(n, func(off, n uintptr) { copyHost(unsafe.Add(dst, off), unsafe.Add(src, off), n) })
		return left
	}
	left, _ = copyHost(dst, src, n)
	return left
}

func pieceZero(dst, n uintptr) (left uintptr) {
	if testing {
		left, _ = probe(n, func(off, n uintptr) { zero(dst+off, 0, n) })
		return left
	}
	left, _ = zero(dst, 0, n)
	return left
}

// reachable tries a word under TestMode: to read it, or to write what it holds.
func reachable(a abi.Addr, n uintptr, write bool) bool {
	left, _ := probe(n, func(_, _ uintptr) {
		v, _ := load32(uintptr(a), 0, 0)
		if write {
			cas32(uintptr(a), v, v)
		}
	})
	return left == 0
}

// probe does an access of n bytes under TestMode. After a fault it finds, by smaller accesses,
// how many bytes cannot be reached, and the address of the first.
func probe(n uintptr, access func(off, n uintptr)) (left, fault uintptr) {
	off := uintptr(0)
	for _, step := range [...]uintptr{n, 4096, 64, 1} {
		for off < n {
			m := min(step, n-off)
			addr, ok := recovered(access, off, m)
			if !ok {
				fault = addr
				break
			}
			off += m
		}
	}
	return n - off, fault
}

// recovered does an access; false, and the address, if it faults.
func recovered(access func(off, n uintptr), off, n uintptr) (fault uintptr, ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			f, is := r.(interface{ Addr() uintptr })
			if !is {
				panic(r)
			}
			fault, ok = f.Addr(), false
		}
	}()
	access(off, n)
	return 0, true
}
