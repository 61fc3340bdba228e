package seccomp

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"
)

// Instruction is one instruction of the filter, struct sock_filter of linux/filter.h.
type Instruction struct {
	Op     uint16
	JT, JF uint8
	K      uint32
}

// Action is the answer to a call that no row of the table admits.
type Action uint8

const (
	// Trap raises SIGSYS on the calling thread instead of the call. The process must have a
	// handler for it before [Load].
	Trap Action = iota
	// Kill ends the whole process, as if by SIGSYS: for tests that must see any stray call.
	Kill
)

// Program returns the filter as it is loaded. It must not be changed.
func Program(a Action) []Instruction {
	if a == Kill {
		return killFilter[:]
	}
	return trapFilter[:]
}

// seccomp(2) and prctl(2), linux/seccomp.h and linux/prctl.h.
const (
	sysSeccomp        = 317
	setModeFilter     = 1
	filterFlagTSync   = 1
	prSetNoNewPrivs   = 38
	noNewPrivsEnabled = 1
)

// Load locks the process: every one of its threads, and every one that those may still
// start, for good. It needs no privilege. On an error the caller must end the process,
// since the lock may hold for some threads and not for others.
//
// A thread that has a filter of its own already, other than by inheritance from the
// caller's, cannot be brought to the same state: seccomp(2) then returns the thread's
// number, a positive result that is an error here.
func Load(a Action) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	if _, _, e := syscall.RawSyscall6(syscall.SYS_PRCTL, prSetNoNewPrivs, noNewPrivsEnabled, 0, 0, 0, 0); e != 0 {
		return fmt.Errorf("set no_new_privs: %w", e)
	}
	insts := Program(a)
	prog := struct {
		n      uint16
		_      [6]byte
		filter *Instruction
	}{n: uint16(len(insts)), filter: &insts[0]}
	r, _, e := syscall.RawSyscall(sysSeccomp, setModeFilter, filterFlagTSync, uintptr(unsafe.Pointer(&prog)))
	return loadResult(r, e)
}

// loadResult judges what seccomp(2) returned.
func loadResult(r uintptr, e syscall.Errno) error {
	switch {
	case e == syscall.ENOSYS:
		return errors.New("load the system call filter: this host's kernel has no seccomp filters (CONFIG_SECCOMP_FILTER); a sandbox cannot run without them")
	case e != 0:
		return fmt.Errorf("load the system call filter: %w", e)
	case r != 0:
		return fmt.Errorf("load the system call filter: host thread %d has a filter of its own and cannot be locked", r)
	}
	return nil
}
