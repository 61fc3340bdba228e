package host

import (
	"syscall"

	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/runtime/seccomp"
)

// Address space of guests. The kernel is linked at lowEnd and above, so what is below is free for
// programs with fixed addresses; how much of the rest is theirs, Config says.
const (
	lowBegin = 0x10000 // vm.mmap_min_addr at most
	lowEnd   = 0x60000000

	// Where the rest is, if it is free there: nearly all that is not the kernel's, since Go programs want
	// their heaps anywhere below 1<<46. The kernel itself is built to have its own at 0xc0<<32. Where
	// things come to lie in it is random all the same.
	areaBegin = 1 << 40
	areaBytes = 64 << 40
	leastArea = 1 << 40

	noFile = 0xffffffff // descriptor -1 of anonymous mappings

	pageSize  = 4096
	hugePage  = 2 << 20
	bigMap    = 1 << 20 // from here on a mapping takes long enough to let go of the processor
	noReserve = syscall.MAP_ANON | syscall.MAP_PRIVATE | syscall.MAP_FIXED | syscall.MAP_NORESERVE
	private   = syscall.MAP_ANON | syscall.MAP_PRIVATE | syscall.MAP_FIXED
)

// span is a range of addresses.
type span struct{ lo, hi abi.Addr }

// has reports whether all of [a, a+n) is in s.
func (s span) has(a abi.Addr, n uint64) bool {
	return a >= s.lo && a < s.hi && n <= uint64(s.hi-a)
}

const fixedNoReplace = 0x100000

// reserve takes n bytes of address space, from areaBegin on or, if they are not free there, from another multiple of
// hugePage.
func reserve(n uint64) (span, error) {
	const flags = syscall.MAP_ANON | syscall.MAP_PRIVATE | syscall.MAP_NORESERVE
	if p, _, e := syscall.RawSyscall6(syscall.SYS_MMAP, areaBegin, uintptr(n), syscall.PROT_NONE, flags|fixedNoReplace, noFile, 0); e == 0 {
		if p == areaBegin {
			return span{areaBegin, areaBegin + abi.Addr(n)}, nil
		}
		// Linux before 4.17 takes the address as a hint.
		syscall.RawSyscall(syscall.SYS_MUNMAP, p, uintptr(n), 0)
	}
	p, _, e := syscall.RawSyscall6(syscall.SYS_MMAP, 0, uintptr(n+hugePage), syscall.PROT_NONE, flags, noFile, 0)
	if e != 0 {
		return span{}, e
	}
	lo := (p + hugePage - 1) &^ (hugePage - 1)
	for _, cut := range []struct{ at, n uintptr }{{p, lo - p}, {lo + uintptr(n), p + hugePage - lo}} {
		if cut.n != 0 {
			if _, _, e := syscall.RawSyscall(syscall.SYS_MUNMAP, cut.at, cut.n, 0); e != 0 {
				return span{}, e
			}
		}
	}
	return span{abi.Addr(lo), abi.Addr(lo) + abi.Addr(n)}, nil
}

// reserveLow takes the range below the kernel, or nothing if the kernel itself is in there.
func reserveLow() span {
	p, _, e := syscall.RawSyscall6(syscall.SYS_MMAP, lowBegin, lowEnd-lowBegin, syscall.PROT_NONE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_NORESERVE|fixedNoReplace, noFile, 0)
	if e != 0 {
		return span{}
	}
	if p != lowBegin { // Linux before 4.17 takes the address as a hint
		syscall.RawSyscall(syscall.SYS_MUNMAP, p, lowEnd-lowBegin, 0)
		return span{}
	}
	return span{lowBegin, lowEnd}
}

// Area implements emu.Machine.
func (m *Machine) Area() (lo, hi abi.Addr) { return m.area.lo, m.area.hi }

// LowArea implements emu.Machine.
func (m *Machine) LowArea() (lo, hi abi.Addr) { return m.low.lo, m.low.hi }

// Map implements emu.Machine. What is not page-aligned, or not inside the guests' address
// space, the image or the RAM, is EINVAL: the caller has checked, this is the last line.
func (m *Machine) Map(addr abi.Addr, n uint64, prot uint32, what guest.Backing, off int64) abi.Errno {
	fd, flags := uintptr(noFile), uintptr(0)
	switch what {
	case guest.BackNone:
		prot, off, flags = syscall.PROT_NONE, 0, noReserve
	case guest.BackAnon:
		off, flags = 0, private
	case guest.BackImage:
		if !inFile(off, n, m.imageSize) {
			return abi.EINVAL
		}
		fd, flags = uintptr(m.imageFD), syscall.MAP_PRIVATE|syscall.MAP_FIXED
	case guest.BackRAM:
		if !inFile(off, n, int64(len(m.ram))) {
			return abi.EINVAL
		}
		fd, flags = uintptr(m.ramFD), syscall.MAP_SHARED|syscall.MAP_FIXED
	default:
		return abi.EINVAL
	}
	return m.mmap(addr, n, prot, flags, fd, off)
}

// MapPopulated implements emu.Machine.
func (m *Machine) MapPopulated(addr abi.Addr, n uint64, prot uint32) abi.Errno {
	return m.mmap(addr, n, prot, private|syscall.MAP_POPULATE, noFile, 0)
}

func (m *Machine) mmap(addr abi.Addr, n uint64, prot uint32, flags, fd uintptr, off int64) abi.Errno {
	if (uint64(addr)|n)%pageSize != 0 || n == 0 || prot&^7 != 0 || !m.area.has(addr, n) && !m.low.has(addr, n) {
		return abi.EINVAL
	}
	call := syscall.RawSyscall6
	if n >= bigMap {
		call = syscall.Syscall6
	}
	p, _, e := call(syscall.SYS_MMAP, uintptr(addr), uintptr(n), uintptr(prot), flags, seccomp.Mark|fd, uintptr(off))
	switch {
	case e != 0:
		return abi.Errno(e)
	case p != uintptr(addr):
		panic("host: mmap did not keep to MAP_FIXED")
	}
	return 0
}

// inFile reports whether the pages [off, off+n) begin and end in a file of size bytes; the
// last one may be cut off by its end.
func inFile(off int64, n uint64, size int64) bool {
	size = (size + pageSize - 1) &^ (pageSize - 1)
	return off >= 0 && off%pageSize == 0 && off <= size && n <= uint64(size-off)
}

// RAM implements emu.Machine.
func (m *Machine) RAM() []byte { return m.ram }

// CacheBytes implements emu.Machine.
func (m *Machine) CacheBytes() int64 { return m.cacheBytes }

// DiscardRAM implements emu.Machine. Behind the lock there is no call that gives pages of the memfd
// back; without a hook to somebody who can, they are only made zero.
func (m *Machine) DiscardRAM(off, n int64) {
	if m.discard != nil && m.discard(off, n) {
		return
	}
	const piece = 256 << 10 // clear cannot be interrupted
	for p := m.ram[off : off+n]; len(p) > 0; p = p[min(piece, len(p)):] {
		clear(p[:min(piece, len(p))])
	}
}
