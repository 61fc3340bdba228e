package host

import (
	"runtime"
	"unsafe"

	"pinhole/emu/guest"
)

// Enter runs the guest in c until it enters the kernel; c.Why says why. The goroutine is to the
// Go scheduler as in a host call: its processor may be taken for other work, the collector
// may run, and its stack stays where it is.
func (m *Machine) Enter(c *guest.Context) {
	if c.Full != 0 {
		tame(c)
	}
	for {
		entersyscall()
		ready := switchTo(c)
		exitsyscall()
		if ready {
			return
		}
		adoptLocked()
	}
}

// Run runs the guest in c, and calls step each time that it has entered the kernel, until step
// returns false. To the Go scheduler the guest is a part of this goroutine that takes its
// time: it keeps the processor, and the collector waits for it. That makes a call about
// three times as fast as by Enter, and is right for a guest that calls often. One that
// computes comes in at its next tick, with Why = Tick, and belongs into Enter from there.
func (m *Machine) Run(c *guest.Context, step func() bool) {
	for {
		if c.Full != 0 {
			tame(c)
		}
		switch runAttached(c, step) {
		case runDone:
			return
		case runStranger:
			adoptLocked()
		}
	}
}

// How runAttached ends.
const (
	runStranger = iota // the host thread has not been adopted; the guest has not run on it
	runDone            // step returned false
	runAgain           // the context is full, and has to be looked at before it runs
)

// adoptLocked adopts a thread that the runtime has made, as it may before the lock.
func adoptLocked() {
	runtime.LockOSThread()
	err := adopt()
	runtime.UnlockOSThread()
	if err != nil {
		panic(err)
	}
}

// Layout of the XSAVE area in standard format (Intel SDM volume 1, 13.4) and of the software
// bytes in its legacy region (linux asm/sigcontext.h).
const (
	fpFCW      = 0
	fpMXCSR    = 24
	fpMagic    = 464
	fpExtended = 468
	fpFeatures = 472
	fpSize     = 480
	fpState    = 512 // XSTATE_BV
	fpCompact  = 520 // XCOMP_BV and reserved, must be 0
	fpReserved = 528
	fpHeader   = 64

	fpMagic1 = 0x46505853
	fpMagic2 = 0x46505845

	mxcsrMask = 0xffff // no processor that we run on lacks one of these bits
)

func word32(a uint64, off uintptr) *uint32 { return (*uint32)(unsafe.Add(pointer(a), off)) }
func word64(a uint64, off uintptr) *uint64 { return (*uint64)(unsafe.Add(pointer(a), off)) }

// pointer makes a pointer of an address outside Go's heap.
func pointer(a uint64) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&a)) }

// tame makes the XSAVE area one that XRSTOR accepts: a guest may have had it in its hands, in
// a signal frame.
func tame(c *guest.Context) {
	*word32(c.XSave, fpMXCSR) &= mxcsrMask
	*word64(c.XSave, fpState) &= xsaveMask
	if *word64(c.XSave, fpCompact) != 0 {
		*word64(c.XSave, fpCompact) = 0
	}
	for off := uintptr(fpReserved); off < fpState+fpHeader; off += 8 {
		if *word64(c.XSave, off) != 0 {
			*word64(c.XSave, off) = 0
		}
	}
}

// switchTo is false if the host thread has not been adopted.
//
//go:noescape
func switchTo(c *guest.Context) (ready bool)

func runAttached(c *guest.Context, step func() bool) (how uint8)

func attached(c *guest.Context, step func() bool) (how uint8)

//go:linkname entersyscall runtime.entersyscall
func entersyscall()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// entries are addresses in the assembly.
type entries struct {
	enterBegin, switchTo, enterEnd                      uintptr
	gateBegin, gate, linuxGate, defaultControl, gateEnd uintptr
	handlerBegin, handler, handlerEnd                   uintptr
}

// ordered reports whether the linker kept the order of routines that the handler relies on.
func (e *entries) ordered() bool {
	return e.enterBegin < e.switchTo && e.switchTo < e.enterEnd &&
		e.gateBegin < e.gate && e.gate < e.linuxGate && e.linuxGate < e.defaultControl && e.defaultControl < e.gateEnd &&
		e.handlerBegin < e.handler && e.handler < e.handlerEnd
}

//go:noescape
func addresses(e *entries)
