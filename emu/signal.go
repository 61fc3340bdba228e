package emu

import "pinhole/abi"

// signalTable is what the threads of a process share of signals.
type signalTable struct{}

// errRestart is what a call returns in place of EINTR when Linux would begin it anew after a
// handler with SA_RESTART. It never reaches a guest.
const errRestart abi.Errno = 512

// interrupted looks at what the task's attention is needed for: 0 when there is nothing (any
// more) that must end a wait, else EINTR.
func (t *Task) interrupted() abi.Errno { return 0 }

// signal sends signal sig to the process, as the kernel itself does (SIGPIPE, ...).
func (p *Process) signal(sig int) {}

// signal sends signal sig to this thread.
func (t *Task) signal(sig int) {}
