// Package guest is the kernel's only way to a guest: its registers and its memory.
package guest

// Reason says why a guest entered the kernel.
type Reason uint32

const (
	// Call: through the gate. RAX is the ABI number, RDI RSI RDX R10 R8 R9 the arguments.
	// Only callee-saved registers, RIP, RSP and FSBase are meaningful besides.
	Call Reason = iota
	// LinuxCall: through the second gate, from a rewritten syscall site; RAX is Linux's number.
	LinuxCall
	// Syscall: a syscall instruction trapped by the lock (SIGSYS); RAX is Linux's number. Full.
	Syscall
	// ForeignSyscall: as Syscall, but by int 0x80, sysenter or x32: never answered but by ENOSYS. Full.
	ForeignSyscall
	// Fault: a synchronous host signal; see Context.Signo and following. Full.
	Fault
	// Tick: the preemption timer found the guest computing. Full.
	Tick
)

// Context is the state of one guest thread. It lies outside Go's heap at an address that
// never moves: while the guest runs, the block of its host thread, which GS base points to, holds
// that address for the gate and the signal handlers. runtime/host's assembly takes the offsets
// from this declaration.
type Context struct {
	Self   uint64 // 0x00 address of this Context
	HostSP uint64 // 0x08 kernel side, while the guest runs
	HostBP uint64 // 0x10
	Ticks  uint64 // 0x18 preemption ticks that found this guest computing, 10 ms of processor time each

	FSBase uint64 // 0x20 guest's FS base (thread pointer)
	RIP    uint64 // 0x28
	RSP    uint64 // 0x30
	RFLAGS uint64 // 0x38 only when Full

	RAX uint64 // 0x40
	RBX uint64 // 0x48
	RCX uint64 // 0x50 only when Full
	RDX uint64 // 0x58
	RSI uint64 // 0x60
	RDI uint64 // 0x68
	RBP uint64 // 0x70
	R8  uint64 // 0x78
	R9  uint64 // 0x80
	R10 uint64 // 0x88
	R11 uint64 // 0x90 only when Full
	R12 uint64 // 0x98
	R13 uint64 // 0xa0
	R14 uint64 // 0xa8
	R15 uint64 // 0xb0

	MXCSR uint32 // 0xb8 the guest's, swapped at the gate
	FCW   uint32 // 0xbc x87 control word, swapped at the gate

	Why  Reason // 0xc0
	Full uint32 // 0xc4 nonzero: every register and XSave are valid, and Enter restores them all

	_ uint32 // 0xc8
	// Kick asks for a return into the kernel before long (set by anybody). Every tick that
	// finds the guest computing is one, so nothing in the machine looks at it.
	Kick uint32 // 0xcc

	// Of a Fault: as in siginfo_t and the machine context.
	Signo     int32  // 0xd0 host signal number
	Code      int32  // 0xd4 si_code
	FaultAddr uint64 // 0xd8 si_addr (CR2)
	Trapno    uint64 // 0xe0
	Err       uint64 // 0xe8 page-fault error code
	CallAddr  uint64 // 0xf0 of a Syscall: instruction behind the syscall

	// XSave is the address of the XSAVE area: 64-byte aligned, standard format, XSaveSize bytes,
	// with the software bytes at 464 filled in and FP_XSTATE_MAGIC2 in the four bytes behind, so
	// that XSaveSize+4 bytes are the fpstate of a Linux signal frame. What a guest put into it
	// is made harmless by Enter.
	XSave     uint64 // 0xf8
	XSaveSize uint64 // 0x100

	HostPC uint64 // 0x108 kernel side: where it goes on when the guest enters
}
