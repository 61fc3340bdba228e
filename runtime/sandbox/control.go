package sandbox

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"syscall"

	"pinhole/abi"
	"pinhole/runtime/control"
	"pinhole/runtime/seccomp"
)

// hostIO are the host calls that the control pipes need, as runtime/host makes them.
type hostIO interface {
	HostRead(fd int, p []byte) (int, abi.Errno)
	HostWrite(fd int, p []byte) (int, abi.Errno)
}

// controlPipe reads what the supervisor says before the lock. It is no os.File: the collector would close the
// descriptor once nobody uses that any more, which is behind the lock.
type controlPipe struct{}

func (controlPipe) Read(p []byte) (int, error) {
	for {
		n, err := syscall.Read(seccomp.ControlIn, p)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return 0, fmt.Errorf("reading the control pipe: %w", err)
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// teller sends frames to the supervisor. Its methods may be called concurrently.
type teller struct {
	host hostIO
	mu   sync.Mutex
	buf  []byte
}

// send sends one frame; text that is too long for it is cut off. A supervisor that does not listen any more
// has ended, and will be followed.
func (t *teller) send(k control.Kind, value uint64, text []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = (&control.Frame{Kind: k, Value: value, Text: text}).Append(t.buf[:0])
	for p := t.buf; len(p) > 0; {
		n, e := t.host.HostWrite(seccomp.ControlOut, p)
		if e != 0 && e != abi.EINTR {
			return
		}
		p = p[n:]
	}
}

// say sends text of any length in as many frames as it takes, cut at line ends where there are any.
func (t *teller) say(k control.Kind, text []byte) {
	for len(text) > 0 {
		n := min(len(text), control.MaxText)
		if n < len(text) {
			if i := bytes.LastIndexByte(text[:n], '\n'); i >= 0 {
				n = i + 1
			}
		}
		t.send(k, 0, text[:n])
		text = text[n:]
	}
}

// lines is an io.Writer of whole lines of one kind.
type lines struct {
	t *teller
	k control.Kind
}

func (l lines) Write(p []byte) (int, error) {
	l.t.say(l.k, p)
	return len(p), nil
}

// listener reads the supervisor's frames.
type listener struct{ host hostIO }

func (l listener) Read(p []byte) (int, error) {
	for {
		switch n, e := l.host.HostRead(seccomp.ControlIn, p); {
		case e == abi.EINTR:
		case e != 0:
			return 0, e
		case n == 0:
			return 0, errSupervisorGone
		default:
			return n, nil
		}
	}
}
