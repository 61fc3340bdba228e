// Package host is the machine under the kernel: host threads, the gate, signals, mappings, clocks, and
// every host call that is made behind the lock.
//
// # One thread, two masters
//
// A guest thread is a goroutine in [Machine.Run] or [Machine.Enter]. In there, the switch (switch_amd64.s)
// gives the host thread to the guest; the kernel has it back when the guest calls the gate, or when
// a signal handler (signal_amd64.s) takes it: for a fault, a call that the lock trapped, or a tick of the
// thread's processor-time timer.
//
// Enter is detached: to the Go scheduler a host call, which costs entersyscall and exitsyscall, two
// thirds of a round trip. Run is attached: to the scheduler the guest is a part of the
// goroutine between two calls of step. It keeps the processor from other goroutines, and a
// collection waits for it, which is fine for a guest that is back in a microsecond. One that is
// not comes in at its next tick, 10 ms at the latest, and goes on detached. So nobody waits
// longer for an attached guest than for a goroutine in a loop without calls.
//
// Run's loop is assembly for the sake of the processor's return-address predictor: the gate ends in a
// RET to the guest's CALL, with all calls in between paired. As a Go loop around switchTo, every
// round mispredicts two returns.
//
// GS base points to the host thread's block (thread.go) as long as the thread lives. The block's
// field ctx is the guest's context while the guest has the thread, and 0 otherwise: by that, and
// for the few instructions of the switch itself by the program counter, the handler knows whose
// an interruption is. A program counter alone would not tell, as guests and kernel share the vDSO.
// FS base is the Go runtime's in the kernel and the guest's in the guest.
//
// A call through the gate keeps all general registers but RAX, RCX and R11: more than a C function has to, so
// that Go's runtime and system call functions can use it as they use SYSCALL. Vector registers are not kept.
// Everything else comes in with Full set: all registers and the vector state, which Enter
// loads (as Run does) by XRSTOR and IRETQ. No way in or out uses rt_sigreturn.
//
// # Rules
//
// In the kernel, MXCSR and the x87 control word have default control bits, and DF is clear. AC, TF and NT may
// be whatever a guest left: the handler clears the first two when they strike, and who uses
// IRETQ clears the third.
//
// Signal handlers run on the alternate stack that the Go runtime gave the thread, interrupt each other, and
// never run Go code but the runtime's own handler for a fault in Go code.
//
// The Go runtime needs host threads for: guests in Enter (MaxGuests), other blocking calls (Config.BlockingCalls),
// running Go (CPUs), and a few in between. New makes them all; behind the lock there are no others, and
// a runtime that wants one more ends the process with a message.
//
// # Reading order
//
// machine.go, enter.go, switch_amd64.s, thread.go, signal.go, signal_amd64.s; then map.go, mapflags.go (what
// the lock admits for it), context.go, cpu.go, clock.go, stdio.go.
package host
