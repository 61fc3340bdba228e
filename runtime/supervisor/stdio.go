package supervisor

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"pinhole/runtime/launch"
)

// stdio are the sandbox's three standard descriptors. Regular files and pipes are handed
// over as they are. A terminal, socket, device or directory is not: it would let the sandbox do more than
// read or write (ioctl, descriptor passing) if the lock ever failed, so the supervisor relays it through a pipe.
type stdio struct {
	child    [3]*os.File // what the sandbox gets
	terminal [3]bool
	input    func()         // relays stdin; nil: handed over
	output   []func()       // relay stdout and stderr until the sandbox has closed them
	done     sync.WaitGroup // the running output relays
	opened   []*os.File     // the sandbox's ends of relay pipes, for closing
}

// newStdio decides how host[0..2] reach the sandbox.
func newStdio(host [3]*os.File) (*stdio, error) {
	s := &stdio{}
	for i, f := range host {
		fd := int(f.Fd())
		direct, terminal, err := classify(i, f)
		if err != nil {
			s.closeChild()
			return nil, fmt.Errorf("standard %s: %w", [...]string{"input", "output", "error"}[i], err)
		}
		s.terminal[i] = terminal
		if direct {
			s.child[i] = f
			continue
		}
		if i == 0 {
			ours, theirs, err := pipeTo()
			if err != nil {
				s.closeChild()
				return nil, err
			}
			s.child[i] = theirs
			s.opened = append(s.opened, theirs)
			s.input = func() { relayIn(ours, fd); ours.Close() }
		} else {
			ours, theirs, err := pipeFrom()
			if err != nil {
				s.closeChild()
				return nil, err
			}
			s.child[i] = theirs
			s.opened = append(s.opened, theirs)
			s.output = append(s.output, func() { relayOut(fd, ours); ours.Close() })
		}
	}
	return s, nil
}

// pipeTo and pipeFrom make a pipe to and from the sandbox. Its end blocks, since it has nothing else
// to wait with; ours does not, so that a goroutine that waits for it costs no thread.
func pipeTo() (ours, theirs *os.File, err error) {
	theirs, ours, err = pipe(1)
	return ours, theirs, err
}

func pipeFrom() (ours, theirs *os.File, err error) { return pipe(0) }

// pipe makes a pipe; its read end is given first. The end with index mine does not block.
func pipe(mine int) (r, w *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("making a pipe: %w", err)
	}
	if err := unix.SetNonblock(p[mine], true); err != nil {
		return nil, nil, fmt.Errorf("making a pipe: %w", err)
	}
	return os.NewFile(uintptr(p[0]), "pipe"), os.NewFile(uintptr(p[1]), "pipe"), nil
}

// classify tells whether f may be handed to the sandbox as its descriptor i, and whether it is
// a terminal.
func classify(i int, f *os.File) (direct, terminal bool, err error) {
	fd := int(f.Fd())
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
		return false, true, nil
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return false, false, err
	}
	// The sandbox cannot poll: a description that somebody made non-blocking needs the relay.
	return flags&unix.O_NONBLOCK == 0 && launch.CheckDescriptor(i, fd) == nil, false, nil
}

// start begins to relay, once the sandbox has its ends.
func (s *stdio) start() {
	if s.input != nil {
		go s.input()
	}
	for _, f := range s.output {
		s.done.Go(f)
	}
}

// closeChild closes the sandbox's ends of the relays in this process.
func (s *stdio) closeChild() {
	for _, f := range s.opened {
		f.Close()
	}
	s.opened = nil
}

// relayBytes is how much a relay moves at a time.
const relayBytes = 32 << 10

// relayIn copies from a descriptor of the host's until it ends or the sandbox takes no more. The
// descriptor is shared with others: it is taken as it is, blocking or not.
func relayIn(to *os.File, from int) {
	buf := make([]byte, relayBytes)
	for {
		n, err := unix.Read(from, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			ready(from, unix.POLLIN)
			continue
		case err != nil || n <= 0:
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// relayOut copies until the sandbox has closed its end or nobody reads any more. It calls the host
// directly: os.File would end the process when a closed standard output raises EPIPE. That becomes
// a closed pipe for the sandbox, whose program then gets EPIPE and SIGPIPE of its own.
func relayOut(to int, from *os.File) {
	buf := make([]byte, relayBytes)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		for p := buf[:n]; len(p) > 0; {
			n, err := unix.Write(to, p)
			switch {
			case err == unix.EINTR:
			case err == unix.EAGAIN:
				ready(to, unix.POLLOUT)
			case err != nil:
				return
			default:
				p = p[n:]
			}
		}
	}
}

// ready waits until fd, which somebody made non-blocking, can be read or written.
func ready(fd int, events int16) {
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, -1)
}
