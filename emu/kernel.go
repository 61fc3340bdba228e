package emu

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"pinhole/fs/vfs"
)

// Config is what a Kernel is made of. The hooks may be called from any goroutine, and must not
// call back into the Kernel.
type Config struct {
	Machine   Machine
	Namespace *vfs.Namespace

	// Hostname is what uname tells; empty: "pinhole".
	Hostname string

	// Trace gets a line for each call of the guest; nil: none. Each line is one Write.
	Trace io.Writer

	// Report is told, in one paragraph of whole lines, why a signal that nobody handles ended the program. May be nil.
	Report func(text string)

	// Fatal is told of a bug of the kernel, with the trace of the goroutine that met it. It
	// does not return: the sandbox ends with status 70.
	Fatal func(trace string)
}

// Kernel answers the calls of the processes of one sandbox.
type Kernel struct {
	m    Machine
	ns   *vfs.Namespace
	conf Config

	slots   slots
	tracer  *tracer // nil: no trace
	futexes futexTable
	started int64 // CLOCK_MONOTONIC in nanoseconds

	// keepalive is a timer that never fires. With every guest thread asleep, and no deadline
	// anywhere, Go's runtime would take the sandbox for a deadlocked program and end it.
	keepalive *time.Timer

	mu       sync.Mutex
	procs    map[int32]*Process
	nextPID  int32
	taskN    atomic.Int32 // threads of all processes
	initDone chan struct{}
	initExit int // status of the first process, once initDone is closed
}

// New makes a kernel without processes.
func New(c Config) *Kernel {
	if c.Hostname == "" {
		c.Hostname = "pinhole"
	}
	k := &Kernel{
		m:        c.Machine,
		ns:       c.Namespace,
		conf:     c,
		procs:    make(map[int32]*Process),
		nextPID:  firstPID,
		initDone: make(chan struct{}),
	}
	k.slots.free.Store(int64(c.Machine.MaxGuests()))
	k.started = k.monotonic()
	k.keepalive = time.AfterFunc(time.Duration(forever), func() {})
	if c.Trace != nil {
		k.tracer = newTracer(c.Trace)
	}
	return k
}

// Start loads the program at path (as seen from cwd) as the first process and sets it going. The
// error wraps one of ErrNotFound, ErrNotExecutable when the program is at fault.
func (k *Kernel) Start(path string, argv, env []string, cwd string) error {
	return k.start(path, argv, env, cwd)
}

// Wait returns when the first process has ended: its exit status, or 128+N when signal N ended it.
func (k *Kernel) Wait() (status int) {
	<-k.initDone
	return k.initExit
}
