// Package emu is the kernel that answers a guest's calls, inside the guest's own process.
package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
)

// Backing is what a mapping shows.
type Backing = guest.Backing

const (
	BackNone  = guest.BackNone
	BackAnon  = guest.BackAnon
	BackImage = guest.BackImage
	BackRAM   = guest.BackRAM
)

// Machine is the host as the kernel in the process sees it: what can be done with five calls.
// runtime/host implements it; tests of emu may use that implementation without the lock, or a
// fake. All methods may be called concurrently.
type Machine interface {
	// NewContext returns a zeroed context with its XSAVE area (initial state), FCW and MXCSR at their
	// defaults. FreeContext gives it back; it is reused. ErrNo memory: nil.
	NewContext() *guest.Context
	FreeContext(*guest.Context)

	// Run runs the guest in c attached to its goroutine, and calls step each time that it has
	// entered the kernel, until step returns false. To the Go scheduler the guest is a part of the
	// goroutine, which makes calls cheap; one that computes keeps a processor from others and the
	// collector waiting until its next tick.
	Run(c *guest.Context, step func() bool)
	// Enter runs the guest in c detached, as a host call, until it enters the kernel; c.Why says why. At
	// most MaxGuests calls of Enter may be under way at once: the host has no more threads, and cannot
	// make any.
	Enter(c *guest.Context)
	MaxGuests() int

	// GateAddr is the address that a guest CALLs (AT_PINHOLE_GATE in its auxv); LinuxGateAddr is
	// the second gate's, that keeps all registers but rax, rcx, r11.
	GateAddr() uint64
	LinuxGateAddr() uint64
	// VDSO is the host vDSO's address for AT_SYSINFO_EHDR (0: none), VDSOSize how many bytes of pages it has.
	VDSO() uint64
	VDSOSize() uint64

	// Area returns the guest address space: [lo, hi) is reserved for guests, everything in it is
	// BackNone at start. LowArea is a second, smaller one below the kernel for fixed-address programs (0, 0: none).
	Area() (lo, hi abi.Addr)
	LowArea() (lo, hi abi.Addr)
	// Map puts a mapping at [addr, addr+n), atomically in place of what is there (MAP_FIXED).
	// prot is Linux's PROT_*. addr, n, off are multiples of 4096 and inside Area, the image, the RAM. ENOMEM.
	Map(addr abi.Addr, n uint64, prot uint32, what Backing, off int64) abi.Errno
	// Populated is as Map for BackAnon, but with pages present (MAP_POPULATE).
	MapPopulated(addr abi.Addr, n uint64, prot uint32) abi.Errno

	// RAM is the guest RAM memfd, mapped whole for the kernel; offsets of BackRAM index it. The
	// first CacheBytes of it are the buffer cache's arena; the rest is emu's to hand out.
	RAM() []byte
	CacheBytes() int64
	// DiscardRAM makes a range of RAM zero and gives its pages back to the host.
	DiscardRAM(off, n int64)

	// HostRead and HostWrite do the host call on a pre-opened stdio descriptor (0; 1, 2). They may block,
	// holding a host thread: at most one HostRead of 0 and one HostWrite of each at a time.
	HostRead(fd int, p []byte) (int, abi.Errno)
	HostWrite(fd int, p []byte) (int, abi.Errno)

	// Clock reads a Linux clock in nanoseconds (CLOCK_REALTIME 0, MONOTONIC 1, PROCESS_CPUTIME 2,
	// BOOTTIME 7, ...); false: no such clock here, as THREAD_CPUTIME 3 (see guest.Context.Ticks).
	Clock(id int) (int64, bool)
	// Entropy fills p from the host's entropy source.
	Entropy(p []byte) error

	// CPUs and MemoryLimit are the sandbox's: processors it may use at once, bytes guests may have.
	CPUs() int
	MemoryLimit() int64
}
