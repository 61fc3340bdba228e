package supervisor

import (
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"pinhole/runtime/control"
)

// relayed are the signals that are meant for the program in the sandbox, which the host's terminal
// or shell can only send to the supervisor.
var relayed = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH}

// catchSignals begins to collect signals, so that none ends the supervisor from here on.
func (r *sandbox) catchSignals() {
	r.signals = make(chan os.Signal, 16)
	signal.Notify(r.signals, relayed...)
	// Writing to a closed pipe is an error to handle, not a reason to end.
	signal.Ignore(unix.SIGPIPE)
	// In the background, too, the terminal is given back as it was.
	signal.Ignore(unix.SIGTTOU)
}

// patience is how long a sandbox has to get to the point where its program takes a signal.
const patience = 200 * time.Millisecond

// relaySignals passes signals on for as long as the process lives. A sandbox that does not get its
// program to run, for whatever its image makes it do, is ended by them.
func (r *sandbox) relaySignals() {
	var b []byte
	for s := range r.signals {
		n := s.(unix.Signal)
		f := control.Frame{Kind: control.Signal, Value: uint64(n)}
		switch {
		case n == unix.SIGWINCH:
			rows, cols := r.terminal.window()
			f = control.Frame{Kind: control.Window, Value: uint64(rows)<<32 | uint64(uint32(cols))}
		case !r.running.Load():
			time.AfterFunc(patience, func() {
				if !r.running.Load() {
					r.killedBy.Store(int32(n))
					r.proc.Kill()
				}
			})
		}
		b = f.Append(b[:0])
		r.toIt.Write(b)
	}
}

// follow ends the sandbox once the process of a pidfd has ended (pidfd_open(2)).
func (r *sandbox) follow(pidfd *os.File) {
	wait := []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}
	for {
		if n, err := unix.Poll(wait, -1); err == nil && n > 0 {
			break
		} else if err != nil && err != unix.EINTR {
			return
		}
	}
	r.killedBy.Store(int32(unix.SIGKILL))
	r.proc.Kill()
}
