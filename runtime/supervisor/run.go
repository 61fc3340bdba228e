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

	"golang.org/x/sys/unix"

	"pinhole/blockdev"
	"pinhole/runtime/control"
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
	child [descriptors]*os.File // what it is born with, by descriptor number
	toIt  *os.File              // control pipe, write end
	from  *os.File              // control pipe, read end
	proc  *process
	told  told

	signals  chan os.Signal
	running  atomic.Bool  // the program has begun
	killedBy atomic.Int32 // the signal that came before that and ended the sandbox
}

// descriptors is how many descriptors a sandbox is born with.
const descriptors = 11

// prepare opens everything.
func prepare(s Spec) (*sandbox, error) {
	r := &sandbox{spec: s}
	r.catchSignals()
	var err error
	if r.stdio, err = newStdio([3]*os.File{s.Stdin, s.Stdout, s.Stderr}); err != nil {
		return nil, err
	}
	c := &r.spec.Config
	c.Image, c.ImageBytes, c.ReadOnly = s.Image.name, s.Image.size, s.Image.readOnly
	c.RAMBytes = c.CacheBytes + pageUp(c.Memory)
	c.Terminal = r.stdio.terminal
	c.Rows, c.Cols = windowSize([3]*os.File{s.Stdin, s.Stdout, s.Stderr})
	c.Trace = s.Trace != nil

	copy(r.child[:3], r.stdio.child[:])
	if r.child[3], r.toIt, err = pipe(); err != nil {
		return nil, err
	}
	if r.from, r.child[4], err = pipe(); err != nil {
		return nil, err
	}
	for i := 5; i <= 6; i++ {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("making an eventfd: %w", err)
		}
		r.child[i] = os.NewFile(uintptr(fd), "doorbell")
	}
	if r.child[7], err = os.Open("/dev/urandom"); err != nil {
		return nil, fmt.Errorf("opening the entropy source: %w", err)
	}
	if r.child[8], err = s.Image.reader(); err != nil {
		return nil, err
	}
	ram, err := sealedMemory("ram", c.RAMBytes)
	if err != nil {
		return nil, err
	}
	r.child[9] = os.NewFile(uintptr(ram), "ram")
	ring, err := sealedMemory("ring", blockdev.RingBytes)
	if err != nil {
		return nil, err
	}
	r.child[10] = os.NewFile(uintptr(ring), "ring")
	return r, r.prepareDisk()
}

func pageUp(n int64) int64 { return (n + blockdev.PageSize - 1) &^ (blockdev.PageSize - 1) }

// prepareDisk maps what the disk service shares with the sandbox.
func (r *sandbox) prepareDisk() error {
	fd := func(i int) int { return int(r.child[i].Fd()) }
	shared, err := unix.Mmap(fd(10), 0, blockdev.RingBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mapping the ring: %w", err)
	}
	ram, err := unix.Mmap(fd(9), 0, int(r.spec.Config.RAMBytes), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_NORESERVE)
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
	d.ram, d.ramFD, d.in, d.out = ram, fd(9), fd(6), fd(5)
	return nil
}

// launch starts the sandbox process and the services for it.
func (r *sandbox) launch() error {
	var err error
	if r.proc, err = start(r.spec.Kernel, r.child[:], r.spec.RequireLayers); err != nil {
		return err
	}
	r.spec.Config.Missing = r.proc.missing
	r.stdio.closeChild()
	for _, i := range []int{3, 4, 7, 8, 10} { // the disk service keeps the others
		r.child[i].Close()
	}
	r.disk.start()
	r.stdio.start()
	// A sandbox that ends before it has read everything is not an error here: wait tells why.
	go func() {
		r.spec.Config.Send(r.toIt)
		r.relaySignals()
	}()
	return nil
}

// wait returns when the sandbox has ended and everything it said is out.
func (r *sandbox) wait() (status int) {
	r.listen()
	state := r.proc.wait()
	r.stdio.done.Wait()
	r.disk.stop()
	return r.verdict(state)
}
