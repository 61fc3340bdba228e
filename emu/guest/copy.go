package guest

import (
	"bytes"
	"unsafe"

	"pinhole/abi"
)

// Side says whose memory stopped a copy.
type Side uint8

const (
	Neither Side = iota // nothing did: the copy is whole
	Guest               // the guest's: EFAULT
	Kernel              // the kernel's: a page of the image that the host cannot read, EIO
)

// chunk bounds what one run of assembly copies: the collector cannot stop a goroutine in it.
const chunk = 256 << 10

// area is where guests may have memory: two ranges, each as its first address and size.
// Written before any guest runs, read by every copy.
var area struct{ main, mainSize, low, lowSize uint64 }

// SetArea sets the address space in which guests may have memory: [lo, hi), and a second
// range [lowLo, lowHi), which may be empty. The copies touch nothing outside of them, whatever
// a guest passes. Call it once, before the first copy.
func SetArea(lo, hi, lowLo, lowHi abi.Addr) {
	area.main, area.mainSize = uint64(lo), uint64(hi-lo)
	area.low, area.lowSize = uint64(lowLo), uint64(lowHi-lowLo)
}

// mend is set by SetMend.
var mend func(a abi.Addr, write bool) bool

// SetMend sets what is asked about an address of a guest that a copy cannot read or write: true says
// that it can by now, so that the copy is to try again. What is asked may take locks of the kernel and
// of file systems; copies that are made with such locks held are those whose name begins with Held,
// which do not ask. Call it before the first copy.
func SetMend(f func(a abi.Addr, write bool) bool) { mend = f }

// maxMends is how often an access is tried again at one place. A page may be taken away again
// before it is reached; but one that the host itself cannot read never will be.
const maxMends = 16

// mender asks about addresses during one copy.
type mender struct {
	at    abi.Addr
	tries int
}

func (m *mender) mended(a abi.Addr, write bool) bool {
	if a != m.at {
		m.at, m.tries = a, 0
	}
	m.tries++
	return mend != nil && m.tries <= maxMends && mend(a, write)
}

// within returns how many of the n bytes at a lie before the end of the range that a is in; 0
// if a is no guest address.
func within(a abi.Addr, n uint64) uint64 {
	if off := uint64(a) - area.main; off < area.mainSize {
		return min(n, area.mainSize-off)
	}
	if off := uint64(a) - area.low; off < area.lowSize {
		return min(n, area.lowSize-off)
	}
	return 0
}

// InArea reports whether all n bytes at a are inside the guest address space.
func InArea(a abi.Addr, n uint64) bool {
	return within(a, max(n, 1)) == max(n, 1)
}

// CopyIn copies len(dst) bytes from a guest's memory and returns how many it got: fewer
// means that the guest's memory cannot be read from there on.
func CopyIn(dst []byte, src abi.Addr) int {
	n, _ := TryCopyIn(dst, src)
	return n
}

// CopyOut copies src into a guest's memory and returns how many bytes arrived: fewer means
// that the guest's memory cannot be written from there on.
func CopyOut(dst abi.Addr, src []byte) int {
	n, _ := TryCopyOut(dst, src)
	return n
}

// TryCopyIn is CopyIn that also says whose memory stopped it.
func TryCopyIn(dst []byte, src abi.Addr) (n int, stopped Side) {
	if n, stopped = HeldCopyIn(dst, src); stopped == Guest {
		n, stopped = mendIn(dst, src, n)
	}
	return n, stopped
}

// mendIn goes on with a copy that the guest's memory has stopped at n.
func mendIn(dst []byte, src abi.Addr, n int) (int, Side) {
	for m := (mender{}); m.mended(src+abi.Addr(n), false); {
		k, stopped := HeldCopyIn(dst[n:], src+abi.Addr(n))
		if n += k; stopped != Guest {
			return n, stopped
		}
	}
	return n, Guest
}

// HeldCopyIn is TryCopyIn for callers that hold locks: it stops where the guest's memory is not
// there at the moment, also if it could be had.
func HeldCopyIn(dst []byte, src abi.Addr) (n int, stopped Side) {
	m := int(within(src, uint64(len(dst))))
	for n < m {
		c := min(m-n, chunk)
		left, fault := pieceIn(unsafe.Pointer(&dst[n]), uintptr(src)+uintptr(n), uintptr(c))
		n += c - int(left)
		if left != 0 {
			return n, side(fault, dst)
		}
	}
	if n < len(dst) {
		return n, Guest
	}
	return n, Neither
}

// TryCopyOut is CopyOut that also says whose memory stopped it: with src a piece of the mapped
// image, the kernel's side may.
func TryCopyOut(dst abi.Addr, src []byte) (n int, stopped Side) {
	if n, stopped = HeldCopyOut(dst, src); stopped == Guest {
		n, stopped = mendOut(dst, src, n)
	}
	return n, stopped
}

// mendOut goes on with a copy that the guest's memory has stopped at n.
func mendOut(dst abi.Addr, src []byte, n int) (int, Side) {
	for m := (mender{}); m.mended(dst+abi.Addr(n), true); {
		k, stopped := HeldCopyOut(dst+abi.Addr(n), src[n:])
		if n += k; stopped != Guest {
			return n, stopped
		}
	}
	return n, Guest
}

// HeldCopyOut is TryCopyOut for callers that hold locks: see HeldCopyIn.
func HeldCopyOut(dst abi.Addr, src []byte) (n int, stopped Side) {
	m := int(within(dst, uint64(len(src))))
	for n < m {
		c := min(m-n, chunk)
		left, fault := pieceOut(uintptr(dst)+uintptr(n), unsafe.Pointer(&src[n]), uintptr(c))
		n += c - int(left)
		if left != 0 {
			return n, side(fault, src)
		}
	}
	if n < len(src) {
		return n, Guest
	}
	return n, Neither
}

// CopyHost copies between two places of the kernel's own, one of which may be mapped from the
// image: it returns how many bytes it copied before a page could not be read. The slices have
// the same length and do not overlap.
func CopyHost(dst, src []byte) (n int) {
	m := min(len(dst), len(src))
	for n < m {
		c := min(m-n, chunk)
		left := pieceHost(unsafe.Pointer(&dst[n]), unsafe.Pointer(&src[n]), uintptr(c))
		n += c - int(left)
		if left != 0 {
			break
		}
	}
	return n
}

// side tells whose memory a fault address belongs to.
func side(fault uintptr, mine []byte) Side {
	if fault-uintptr(unsafe.Pointer(unsafe.SliceData(mine))) < uintptr(len(mine)) {
		return Kernel
	}
	return Guest
}

// Zero writes n zero bytes to a guest's memory and returns how many arrived.
func Zero(dst abi.Addr, n uint64) (done uint64) {
	for m := (mender{}); ; {
		done += HeldZero(dst+abi.Addr(done), n-done)
		if done == n || !m.mended(dst+abi.Addr(done), true) {
			return done
		}
	}
}

// HeldZero is Zero for callers that hold locks: see HeldCopyIn.
func HeldZero(dst abi.Addr, n uint64) (done uint64) {
	m := within(dst, n)
	for done < m {
		c := min(m-done, chunk)
		left := pieceZero(uintptr(dst)+uintptr(done), uintptr(c))
		done += c - uint64(left)
		if left != 0 {
			break
		}
	}
	return done
}

// CopyString copies a NUL-terminated string from a guest's memory. n is its length without the
// NUL. If ok is false, either n == len(dst): dst has no room for the string with its NUL; or
// n < len(dst): the guest's memory cannot be read at src+n. What lies in dst behind n is arbitrary.
func CopyString(dst []byte, src abi.Addr) (n int, ok bool) {
	m := int(within(src, uint64(len(dst))))
	if m == 0 {
		return 0, false
	}
	if testing {
		n = CopyIn(dst[:m], src)
		if i := bytes.IndexByte(dst[:n], 0); i >= 0 {
			return i, true
		}
		return n, false
	}
	left, nul := copyString(unsafe.Pointer(&dst[0]), uintptr(src), uintptr(m))
	for p := (mender{}); nul == 0 && left != 0 && p.mended(src+abi.Addr(m)-abi.Addr(left), false); {
		left, nul = copyString(unsafe.Pointer(&dst[0]), uintptr(src), uintptr(m))
	}
	return m - int(left), nul == 1 && left != 0
}

// Load32 reads an aligned word atomically; false if it cannot be read.
func Load32(a abi.Addr) (v uint32, ok bool) {
	if a&3 != 0 || within(a, 4) != 4 || testing && !reachable(a, 4, false) {
		return 0, false
	}
	left, w := load32(uintptr(a), 0, 0)
	for m := (mender{}); left != 0 && m.mended(a, false); {
		left, w = load32(uintptr(a), 0, 0)
	}
	return uint32(w), left == 0
}

// Load64 reads an aligned word atomically; false if it cannot be read.
func Load64(a abi.Addr) (v uint64, ok bool) {
	if a&7 != 0 || within(a, 8) != 8 || testing && !reachable(a, 8, false) {
		return 0, false
	}
	left, w := load64(uintptr(a), 0, 0)
	for m := (mender{}); left != 0 && m.mended(a, false); {
		left, w = load64(uintptr(a), 0, 0)
	}
	return uint64(w), left == 0
}

// Store32 writes an aligned word atomically, and is a full barrier; false if it cannot be written.
func Store32(a abi.Addr, v uint32) (ok bool) {
	if a&3 != 0 || within(a, 4) != 4 || testing && !reachable(a, 4, true) {
		return false
	}
	left, _ := store32(uintptr(a), uintptr(v), 0)
	for m := (mender{}); left != 0 && m.mended(a, true); {
		left, _ = store32(uintptr(a), uintptr(v), 0)
	}
	return left == 0
}

// Store64 writes an aligned word atomically; false if it cannot be written.
func Store64(a abi.Addr, v uint64) (ok bool) {
	if a&7 != 0 || within(a, 8) != 8 || testing && !reachable(a, 8, true) {
		return false
	}
	left, _ := store64(uintptr(a), uintptr(v), 0)
	for m := (mender{}); left != 0 && m.mended(a, true); {
		left, _ = store64(uintptr(a), uintptr(v), 0)
	}
	return left == 0
}

// CompareAndSwap32 stores new in an aligned word if it holds old, atomically, and returns what
// it held; false if it cannot be written. Misaligned words are refused: a locked access across
// two cache lines stalls the whole host.
func CompareAndSwap32(a abi.Addr, old, new uint32) (prev uint32, ok bool) {
	if a&3 != 0 || within(a, 4) != 4 || testing && !reachable(a, 4, true) {
		return 0, false
	}
	left, w := cas32(uintptr(a), uintptr(old), uintptr(new))
	for m := (mender{}); left != 0 && m.mended(a, true); {
		left, w = cas32(uintptr(a), uintptr(old), uintptr(new))
	}
	return uint32(w), left == 0
}

// Fixup is a range of instructions whose memory faults are mended.
type Fixup struct {
	Lo, Hi uintptr // program counter in [Lo, Hi)
	To     uintptr // continue here, with the fault's address in RAX and all else unchanged
}

// Places of routines in the assembly file.
const (
	fastBegin = 0
	slowBegin = 5
	moveSlow  = 6
	slowEnd   = 14
	giveUp    = 15
	routines  = 16
)

// Fixups returns the ranges of the copies: what a handler of SIGSEGV and SIGBUS needs. It
// panics if the linker has not kept the order of the routines.
func Fixups() [2]Fixup {
	var a [routines]uintptr
	addresses(&a)
	for i := range routines - 1 {
		if a[i] >= a[i+1] {
			panic("guest: the linker did not keep the order of the copy routines")
		}
	}
	return [2]Fixup{{a[fastBegin], a[slowBegin], a[moveSlow]}, {a[slowBegin], a[slowEnd], a[giveUp]}}
}

//go:noescape
func copyIn(dst unsafe.Pointer, src, n uintptr) (left, fault uintptr)

//go:noescape
func copyOut(dst uintptr, src unsafe.Pointer, n uintptr) (left, fault uintptr)

//go:noescape
func copyHost(dst, src unsafe.Pointer, n uintptr) (left, fault uintptr)

//go:noescape
func copyString(dst unsafe.Pointer, src, n uintptr) (left, nul uintptr)

func zero(dst, _, n uintptr) (left, fault uintptr)
func load32(src, _, _ uintptr) (left, val uintptr)
func load64(src, _, _ uintptr) (left, val uintptr)
func store32(dst, val, _ uintptr) (left, fault uintptr)
func store64(dst, val, _ uintptr) (left, fault uintptr)
func cas32(dst, old, new uintptr) (left, prev uintptr)

//go:noescape
func addresses(a *[routines]uintptr)
