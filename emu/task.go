package emu

import (
	"runtime/debug"
	"sync/atomic"
	"time"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// Task is one guest thread. A goroutine runs it: either the guest's code in Machine.Enter, or
// the kernel on its behalf. Fields without a word on locking belong to that goroutine.
type Task struct {
	ctx    *guest.Context
	kernel *Kernel
	proc   *Process
	tid    int32

	attention atomic.Uint32 // att* bits, set by anybody
	state     atomic.Uint32 // taskRunning, taskBlocked or taskGone

	over   bool      // the thread has to end
	args   [6]uint64 // of the call under way
	taskIO           // what file calls keep from one call to the next

	parker     parker
	handOver   handOver
	slotWaiter slotWaiter
	timer      *time.Timer // made by the first wait with a deadline
	futex      futexWaiter
	futexGone  bool // the task has ended, and gets no futex any more; guarded by futexTable.pi

	clearTID   abi.Addr // CLONE_CHILD_CLEARTID: zeroed and woken when the thread ends
	robust     abi.Addr // head of the list of robust futexes
	lastFault  faultPoint
	name       [16]byte // PR_SET_NAME; guarded by proc.mu
	nameLen    int
	keepCaps   bool // PR_SET_KEEPCAPS: kept and shown
	exitStatus int

	// Of signals; guarded by proc.sig.mu but for reading by the task itself.
	sigmask  abi.Sigset
	sigpend  sigQueue
	sigwait  abi.Sigset // those that signal_wait waits for, though they are blocked
	oldmask  abi.Sigset // mask to go back to after a call that replaced it (sigsuspend, ppoll)
	useOld   bool       // oldmask is to be put back
	altStack abi.SigaltStack
	frames   int  // signal handlers begun so far
	returned bool // signal_return has given back a value that looks like an error

	restartAlways bool // the call that returns errRestart is to be made again whatever the handler's flags say
	rested        bool // it parked for another reason than the one it waits for
	forcing       bool // a signal that cannot be put off is being handled
}

// Bits of Task.attention: why the task should look around before it goes back to the guest.
const (
	attSignal = 1 << iota // a signal that the thread takes may be pending, or a mask is to be put back
	attExit               // the thread has to end
	attStop               // the process is stopped
	attQuiet              // another thread needs all others to be out of the guest and of calls

	attInterrupt = attSignal | attExit | attStop | attQuiet // those that end a wait, at least for a look
)

// Values of Task.state.
const (
	taskRunning = iota // in the guest, or in a call
	taskBlocked        // in wait, or waiting for a slot: touches no guest memory before it has looked at attention
	taskGone           // ended
)

// alert sets bits of attention and sees to it that the task notices: a blocked one wakes, one in
// the guest comes in at its next call or tick.
func (t *Task) alert(bits uint32) {
	t.attention.Or(bits)
	atomic.StoreUint32(&t.ctx.Kick, 1)
	t.wake()
}

// calm takes back bits of attention.
func (t *Task) calm(bits uint32) {
	t.attention.And(^bits)
}

// run is the task's goroutine.
func (t *Task) run() {
	defer t.failure()
	if t.attention.Load() == 0 || t.attend(0) {
		t.loop()
	}
	t.end()
}

// loop runs the guest and answers its calls until the thread has to end. For as long as the
// guest calls, it is attached (see Machine.Run); when a tick finds it computing, it is detached
// and needs a slot, until it calls again.
func (t *Task) loop() {
	c, m, slots := t.ctx, t.kernel.m, &t.kernel.slots
	step := func() bool { return t.step() }
	for {
		m.Run(c, step)
		for !t.over && c.Why == guest.Tick {
			t.block()
			slots.acquire(t)
			t.unblock()
			if t.attention.Load() == 0 {
				m.Enter(c)
			}
			slots.release()
			if t.attention.Load() != 0 && c.Why == guest.Tick && !t.attend(0) {
				return
			}
		}
		if t.over || !t.step() && t.over {
			return
		}
	}
}

// step answers what the guest has entered the kernel for. False: the guest is not to go on as it
// did, since it computes, or the thread has to end and over is set.
func (t *Task) step() bool {
	c := t.ctx
	if t.attention.Load()&attExit != 0 {
		t.over = true
		return false
	}
	var ret int64
	switch c.Why {
	case guest.Call:
		t.args = [6]uint64{c.RDI, c.RSI, c.RDX, c.R10, c.R8, c.R9}
		nr := c.RAX
		if t.kernel.tracer == nil {
			ret = t.dispatch(nr, &t.args)
		} else {
			ret = t.traceCall(nr)
		}
		if ret != -int64(errRestart) && t.attention.Load() == 0 {
			c.RAX = uint64(ret)
			return true
		}
		t.over = !t.finish(nr, ret)
		return !t.over
	case guest.LinuxCall, guest.Syscall:
		t.args = [6]uint64{c.RDI, c.RSI, c.RDX, c.R10, c.R8, c.R9}
		nr := c.RAX
		if t.kernel.tracer == nil {
			ret = t.dispatchLinux(nr, &t.args)
		} else {
			ret = t.traceLinux(nr)
		}
		t.over = !t.finish(nr, ret)
		return !t.over
	case guest.ForeignSyscall:
		if t.kernel.tracer != nil {
			t.kernel.tracer.foreign(t)
		}
		c.RAX = ^uint64(abi.ENOSYS) + 1
	case guest.Fault:
		t.fault()
	}
	if t.attention.Load() != 0 && !t.attend(0) {
		t.over = true
		return false
	}
	return c.Why != guest.Tick
}

// finish ends a call that returned ret, with signals to be looked at first: false when the thread
// has to end. The call is made again where Linux would do so.
func (t *Task) finish(nr uint64, ret int64) bool {
	c := t.ctx
	for {
		restart := uint64(0)
		if ret == -int64(errRestart) && !t.returned {
			ret = -int64(abi.EINTR)
			restart = nr + 1
		}
		t.returned = false
		c.RAX = uint64(ret)
		if t.attention.Load() != 0 {
			frames := t.frames
			if !t.attend(restart) {
				return false
			}
			if t.frames != frames {
				t.restartAlways = false
				return true // a handler runs first; the call's result is in its frame
			}
		}
		t.restartAlways = false
		if restart == 0 {
			return true
		}
		if c.Why == guest.Call {
			ret = t.dispatch(nr, &t.args)
		} else {
			ret = t.dispatchLinux(nr, &t.args)
		}
		if t.attention.Load()&attExit != 0 {
			return false
		}
	}
}

// attend sees to all that attention asks for before the guest goes on; false when the thread has to
// end. restart is a call's number and 1 if that call was interrupted and is to be made again
// after a handler that says so.
func (t *Task) attend(restart uint64) bool {
	for {
		a := t.attention.Load()
		switch {
		case a == 0:
			atomic.StoreUint32(&t.ctx.Kick, 0)
			if t.attention.Load() == 0 {
				return true
			}
		case a&attExit != 0:
			return false
		case a&attQuiet != 0:
			t.rest()
		case a&attStop != 0:
			t.stopped()
		case a&attSignal != 0:
			if t.deliver(restart) {
				restart = 0 // the frame of the first handler holds what is restarted
			}
		}
	}
}

// block and unblock bracket what a task does that may take long, without touching guest memory.
func (t *Task) block() {
	t.state.Store(taskBlocked)
	if t.attention.Load()&attQuiet != 0 {
		t.quietWake()
	}
}

func (t *Task) unblock() {
	t.state.Store(taskRunning)
	for t.attention.Load()&attQuiet != 0 {
		t.rest()
	}
}

// stopped keeps the task where it is until the process is continued or has to end.
func (t *Task) stopped() {
	t.block()
	t.rested = true
	for t.attention.Load()&(attStop|attExit) == attStop {
		t.parker.park()
	}
	t.unblock()
}

// failure ends the sandbox after a panic in the kernel: nothing that it holds can be trusted.
func (t *Task) failure() {
	if r := recover(); r != nil {
		t.kernel.bug(r, debug.Stack())
	}
}
