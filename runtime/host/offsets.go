package host

import (
	"unsafe"

	"pinhole/emu/guest"
)

// Offsets that the assembly needs, which it gets from the compiler as const_ names.
const (
	cHostSP    = unsafe.Offsetof(guest.Context{}.HostSP)
	cHostBP    = unsafe.Offsetof(guest.Context{}.HostBP)
	cHostPC    = unsafe.Offsetof(guest.Context{}.HostPC)
	cTicks     = unsafe.Offsetof(guest.Context{}.Ticks)
	cFSBase    = unsafe.Offsetof(guest.Context{}.FSBase)
	cRIP       = unsafe.Offsetof(guest.Context{}.RIP)
	cRSP       = unsafe.Offsetof(guest.Context{}.RSP)
	cRFLAGS    = unsafe.Offsetof(guest.Context{}.RFLAGS)
	cRAX       = unsafe.Offsetof(guest.Context{}.RAX)
	cRBX       = unsafe.Offsetof(guest.Context{}.RBX)
	cRCX       = unsafe.Offsetof(guest.Context{}.RCX)
	cRDX       = unsafe.Offsetof(guest.Context{}.RDX)
	cRSI       = unsafe.Offsetof(guest.Context{}.RSI)
	cRDI       = unsafe.Offsetof(guest.Context{}.RDI)
	cRBP       = unsafe.Offsetof(guest.Context{}.RBP)
	cR8        = unsafe.Offsetof(guest.Context{}.R8)
	cR9        = unsafe.Offsetof(guest.Context{}.R9)
	cR10       = unsafe.Offsetof(guest.Context{}.R10)
	cR11       = unsafe.Offsetof(guest.Context{}.R11)
	cR12       = unsafe.Offsetof(guest.Context{}.R12)
	cR13       = unsafe.Offsetof(guest.Context{}.R13)
	cR14       = unsafe.Offsetof(guest.Context{}.R14)
	cR15       = unsafe.Offsetof(guest.Context{}.R15)
	cMXCSR     = unsafe.Offsetof(guest.Context{}.MXCSR)
	cFCW       = unsafe.Offsetof(guest.Context{}.FCW)
	cWhy       = unsafe.Offsetof(guest.Context{}.Why)
	cFull      = unsafe.Offsetof(guest.Context{}.Full)
	cSigno     = unsafe.Offsetof(guest.Context{}.Signo)
	cCode      = unsafe.Offsetof(guest.Context{}.Code)
	cFaultAddr = unsafe.Offsetof(guest.Context{}.FaultAddr)
	cTrapno    = unsafe.Offsetof(guest.Context{}.Trapno)
	cErr       = unsafe.Offsetof(guest.Context{}.Err)
	cCallAddr  = unsafe.Offsetof(guest.Context{}.CallAddr)
	cXSave     = unsafe.Offsetof(guest.Context{}.XSave)
	cXSaveSize = unsafe.Offsetof(guest.Context{}.XSaveSize)

	tCtx     = unsafe.Offsetof(thread{}.ctx)
	tHostFS  = unsafe.Offsetof(thread{}.hostFS)
	tAlt     = unsafe.Offsetof(thread{}.alt)
	tTicks   = unsafe.Offsetof(thread{}.ticks)
	tScratch = unsafe.Offsetof(thread{}.scratch)

	whyCall    = int(guest.Call)
	whyLinux   = int(guest.LinuxCall)
	whySyscall = int(guest.Syscall)
	whyForeign = int(guest.ForeignSyscall)
	whyFault   = int(guest.Fault)
	whyTick    = int(guest.Tick)
)
