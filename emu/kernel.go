package emu

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"pinhole/emu/guest"
	"pinhole/fs/vfs"
)

// Config is what a Kernel is made of. The hooks may be called from any goroutine, and must not
// call back into the Kernel.
type Config struct {
	Machine   Machine
	Namespace *vfs.Namespace

	// Hostname is what uname tells; empty: "pinhole".
	Hostname string

	// UID and GID are the first process's.
	UID, GID uint32

	// Terminal says which of descriptors 0, 1, 2 were a terminal before the supervisor began to
	// relay it. Window is the terminal's size at the moment, in rows and columns; nil: unknown.
	Terminal [3]bool
	Window   func() (rows, cols uint16)
	// Settings are that terminal's at the start, abi.TermiosSize bytes as abi.Termios encodes them;
	// empty: usual ones. Configure is told when they change; nil: nobody is.
	Settings  []byte
	Configure func(settings []byte)

	// Attended tells that some goroutine is in a host call for as long as the kernel lives, so that
	// Go's runtime never finds all of them asleep. Otherwise a timer stands in, for which the
	// scheduler reads the clock at every switch between threads.
	Attended bool

	// Trace gets a line for each call of the guest; nil: none. Each line is one Write.
	Trace io.Writer

	// Report is told, in one paragraph of whole lines, why a signal that nobody handles ended the
	// program. May be nil.
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
	runners runners
	tracer  *tracer // nil: no trace
	futexes futexTable
	io      kernelIO // what file calls keep for all processes
	started int64    // CLOCK_MONOTONIC in nanoseconds

	// keepalive is a timer that never fires. With every guest thread asleep, and no deadline
	// anywhere, Go's runtime would take the sandbox for a deadlocked program and end it. Unset
	// if Config.Attended.
	keepalive *time.Timer

	areas  *areas
	commit commitment
	ram    *ramPool
	shares shares
	images images

	running running

	mu         sync.Mutex
	procs      map[int32]*Process
	tasks      map[int32]*Task // of all processes, by thread number
	nextID     int32
	wrapped    bool // numbers are given out for the second time
	first      *Process
	lateUsed   int64        // processor time of the processes that have ended
	alive      int          // processes that have not ended
	ending     bool         // the first process has ended, and all others are to
	taskN      atomic.Int32 // threads of all processes
	maxThreads int32
	initDone   chan struct{} // closed once all processes have ended
	initExit   int           // status of the first process, as shells have it
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
		tasks:    make(map[int32]*Task),
		nextID:   firstPID,
		areas:    newAreas(c.Machine),
		ram:      newRAMPool(c.Machine),
		initDone: make(chan struct{}),
	}
	k.slots.free.Store(int64(c.Machine.MaxGuests()))
	k.commit.limit = c.Machine.MemoryLimit()
	k.maxThreads = int32(min(maxThreads, max(64, k.commit.limit/4/threadBytes)))
	guest.SetMend(k.mend)
	c.Namespace.SetBusy(k.running.has)
	k.started = k.monotonic()
	if !c.Attended {
		k.keepalive = time.AfterFunc(time.Duration(forever), func() {})
	}
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

// bug ends the sandbox after a panic of the kernel: its state cannot be trusted any more.
func (k *Kernel) bug(r any, stack []byte) {
	trace := fmt.Sprintf("kernel bug: %v\n%s", r, stack)
	if k.conf.Fatal != nil {
		k.conf.Fatal(trace)
	}
	panic(trace) // nobody is there to tell
}

// Wait returns when the first process has ended, and all others, which that ends, too: the first one's
// exit status, or 128+N when signal N ended it.
func (k *Kernel) Wait() (status int) {
	<-k.initDone
	return k.initExit
}
