// Package supervisor runs one sandbox: it opens everything the sandbox is born with, starts it,
// and afterwards serves it over what it holds: it writes and flushes blocks of the image, relays a
// terminal, passes signals on, and tells how it ended.
//
// It is trusted and therefore small. It never parses the image, an ELF file or any structure of a
// guest; from the sandbox it takes ring requests of fixed size (disk.go) and frames of bounded
// length (package control), and believes neither.
package supervisor

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pinhole/blockdev"
	"pinhole/runtime/control"
	"pinhole/runtime/launch"
	"pinhole/runtime/seccomp"
)

// Exit statuses of pinhole itself, as a shell has them. A program that signal N ended has 128+N.
const (
	ExitBug           = 70  // a fault of the kernel in the sandbox, or of the sandbox process
	ExitNotStarted    = 125 // the sandbox could not be started
	ExitNotExecutable = 126
	ExitNotFound      = 127
)

// Spec is one sandbox to run.
type Spec struct {
	Image  *Image
	Kernel *os.File       // the pinhole-kernel program
	Config control.Config // what the program is and may; Run fills in what it decides itself (sizes, terminal, image)

	Stdin, Stdout, Stderr *os.File
	Messages              io.Writer // lines for the operator, each with its end
	Trace                 io.Writer // lines of the call trace; nil: none

	RequireLayers bool // fail where the host does not offer every layer of protection

	// Master is a pidfd of the process without which the sandbox is not to go on; nil: none.
	Master *os.File
}

// Run runs a sandbox to its end and returns the exit status for the shell. Whatever there is to
// say has been said on Messages. It must be called at most once in a process, from the goroutine that is
// bound to the main thread: the sandbox dies with the thread that started it.
func Run(s Spec) (status int) {
	runtime.LockOSThread()
	r, err := prepare(s)
	if err == nil {
		err = r.launch()
	}
	if err != nil {
		fmt.Fprintf(s.Messages, "pinhole: %v\n", err)
		return ExitNotStarted
	}
	return r.wait()
}

// sandbox is a running one, with everything that the supervisor holds for it.
type sandbox struct {
	spec  Spec
	stdio *stdio
	disk  disk
	child [seccomp.Descriptors]*os.File // what it is born with, by descriptor number
	toIt  *os.File                      // control pipe, write end
	from  *os.File                      // control pipe, read end
	proc  *launch.Process
	told  told

	terminal terminal // changed only by listen

	signals  chan os.Signal
	running  atomic.Bool  // the program has begun
	killedBy atomic.Int32 // the signal that came before that and ended the sandbox
}

// kernelMemory is what the host may spend on the sandbox process besides its program's memory and its
// cache, in bytes: the kernel in it, page tables, and pages of the image it brought in.
const kernelMemory = 256 << 20

// prepare opens everything.
func prepare(s Spec) (*sandbox, error) {
	r := &sandbox{spec: s}
	r.catchSignals()
	var err error
	if r.stdio, err = newStdio([3]*os.File{s.Stdin, s.Stdout, s.Stderr}); err != nil {
		return nil, err
	}
	c := &r.spec.Config
	c.Image, c.ImageBytes = s.Image.name, s.Image.size
	c.ReadOnly = s.Image.readOnly && !c.Ephemeral
	c.RAMBytes = c.CacheBytes + pageUp(c.Memory)
	c.Terminal = r.stdio.terminal
	r.terminal = newTerminal([3]*os.File{s.Stdin, s.Stdout, s.Stderr})
	c.Settings = string(r.terminal.settings())
	c.Rows, c.Cols = r.terminal.window()
	c.Trace = s.Trace != nil

	copy(r.child[:3], r.stdio.child[:])
	if r.toIt, r.child[seccomp.ControlIn], err = pipeTo(); err != nil {
		return nil, err
	}
	if r.from, r.child[seccomp.ControlOut], err = pipeFrom(); err != nil {
		return nil, err
	}
	if r.child[seccomp.DoorbellIn], err = eventfd(); err != nil {
		return nil, err
	}
	if r.child[seccomp.DoorbellOut], err = eventfd(); err != nil {
		return nil, err
	}
	entropy, err := unix.Open("/dev/urandom", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the entropy source /dev/urandom: %w", err)
	}
	r.child[seccomp.Entropy] = os.NewFile(uintptr(entropy), "entropy")
	if r.child[seccomp.Image], err = s.Image.reader(); err != nil {
		return nil, err
	}
	ram, err := sealedMemory("ram", c.RAMBytes)
	if err != nil {
		return nil, err
	}
	r.child[seccomp.RAM] = os.NewFile(uintptr(ram), "ram")
	ring, err := sealedMemory("ring", blockdev.RingBytes)
	if err != nil {
		return nil, err
	}
	r.child[seccomp.Ring] = os.NewFile(uintptr(ring), "ring")
	return r, r.prepareDisk()
}

func eventfd() (*os.File, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making an eventfd: %w", err)
	}
	return os.NewFile(uintptr(fd), "doorbell"), nil
}

// waitable returns the eventfd f again, so that a goroutine that reads it waits without a thread.
// It makes the eventfd non-blocking for the sandbox too, which only writes it.
func waitable(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, fmt.Errorf("making an eventfd: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

func pageUp(n int64) int64 { return (n + blockdev.PageSize - 1) &^ (blockdev.PageSize - 1) }

// prepareDisk maps what the disk service shares with the sandbox.
func (r *sandbox) prepareDisk() error {
	fd := func(i int) int { return int(r.child[i].Fd()) }
	shared, err := unix.Mmap(fd(seccomp.Ring), 0, blockdev.RingBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mapping the ring: %w", err)
	}
	ram, err := unix.Mmap(fd(seccomp.RAM), 0, int(r.spec.Config.RAMBytes), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("mapping %d bytes of memory: %w", r.spec.Config.RAMBytes, err)
	}
	d := &r.disk
	if d.ring, err = blockdev.NewRing(shared); err != nil {
		return err
	}
	d.image = int(r.spec.Image.file.Fd())
	if !r.spec.Image.readOnly {
		d.writable = uint64(r.spec.Image.size)
	}
	d.ram, d.ramFD = ram, fd(seccomp.RAM)
	d.out = fd(seccomp.DoorbellIn)
	if d.in, err = waitable(r.child[seccomp.DoorbellOut]); err != nil {
		return err
	}
	return nil
}

// launch starts the sandbox process and the services for it.
func (r *sandbox) launch() error {
	var err error
	c := &r.spec.Config
	var require launch.Layers
	if r.spec.RequireLayers {
		require = launch.AllLayers &^ launch.ControlGroup // which most users have no right to on any host
	}
	memory := c.RAMBytes + kernelMemory
	if c.Ephemeral {
		memory += c.EphemeralBytes()
	}
	r.proc, err = launch.Start(launch.Spec{
		Kernel:  r.spec.Kernel,
		Files:   r.child,
		Memory:  memory,
		CPUs:    int(c.CPUs),
		Require: require,
	})
	if err != nil {
		return err
	}
	c.Started, c.Require = uint32(r.proc.Layers), uint32(require)
	r.stdio.closeChild()
	for _, i := range []int{seccomp.ControlIn, seccomp.ControlOut, seccomp.Entropy, seccomp.Image, seccomp.Ring} { // the disk service keeps the others
		r.child[i].Close()
	}
	r.disk.start()
	r.stdio.start()
	time.AfterFunc(settled, trim)
	// A sandbox that ends before it has read everything is not an error here: wait tells why.
	go func() {
		r.spec.Config.Send(r.toIt)
		r.relaySignals()
	}()
	if s := r.spec.Master; s != nil {
		go r.follow(s)
	}
	return nil
}

// wait returns when the sandbox has ended and everything it said is out.
func (r *sandbox) wait() (status int) {
	r.listen()
	state, err := r.proc.Wait()
	r.stdio.done.Wait()
	r.disk.stop()
	r.terminal.restore()
	if err != nil {
		fmt.Fprintf(r.spec.Messages, "pinhole: waiting for the sandbox: %v\n", err)
		return ExitBug
	}
	return r.verdict(unix.WaitStatus(state.Sys().(syscall.WaitStatus)))
}
