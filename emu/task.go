package emu

import (
	"sync/atomic"
	"time"

	"pinhole/emu/guest"
)

// Task is one guest thread. A goroutine runs it: either the guest's code in Machine.Enter, or
// the kernel on its behalf. Fields without a comment on locking belong to that goroutine.
type Task struct {
	ctx    *guest.Context
	kernel *Kernel
	proc   *Process
	tid    int32

	attention atomic.Uint32 // att* bits, set by anybody
	state     atomic.Uint32 // taskRunning or taskBlocked

	parker     parker
	slotWaiter slotWaiter
	timer      *time.Timer // made by the first wait with a deadline

	taskIO // what file calls keep per thread
}

// Bits of Task.attention: why the task should look around before it goes back to the guest.
const (
	attSignal = 1 << iota // a signal that the thread takes may be pending
	attExit               // the thread has to end
	attStop               // the process is stopped
	attQuiet              // somebody waits until all other threads of the process are out of the guest

	attInterrupt = attSignal | attExit | attStop | attQuiet // all that end a wait, at least for a look
)

// Values of Task.state.
const (
	taskRunning = iota // may be in the guest, or in a call
	taskBlocked        // in wait: touches neither guest memory nor locks until it has looked at attention
)
