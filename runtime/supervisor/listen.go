package supervisor

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"pinhole/runtime/control"
	"pinhole/runtime/launch"
)

// told is what the sandbox said of itself. It may be lies; nothing but messages and the exit status
// depends on it.
type told struct {
	ended   bool // by Exited or Failed
	status  int
	reason  []byte // of Failed
	reports int    // bytes of reports shown so far
	bug     bool
	odd     int // frames that make no sense
}

// maxReports bounds what a sandbox can have the supervisor print of itself, in bytes. The call trace
// is not bounded: whoever asked for it wants all.
const maxReports = 64 << 10

// listen takes the sandbox's frames until it closes its end, which it does at the latest by ending.
func (r *sandbox) listen() {
	frames := control.NewReader(r.from)
	for {
		f, err := frames.Next()
		if err != nil {
			// Garbage cannot be read on from. Keep emptying the pipe: the end of the stream is the sandbox's end.
			r.drain()
			return
		}
		r.told.frame(r, f)
	}
}

func (t *told) frame(r *sandbox, f control.Frame) {
	switch f.Kind {
	case control.Running:
		if r.running.Swap(true) {
			t.odd++
			break
		}
		// A cgroup is rarely to be had by a user who has not been given one: not worth a line at every start.
		if missing := launch.AllLayers &^ (launch.Layers(f.Value) | launch.ControlGroup); missing != 0 {
			fmt.Fprintf(r.spec.Messages, "pinhole: this host does not offer all protections around the lock; missing: %s\n", missing)
		}
	case control.Exited:
		if !t.ended {
			t.ended, t.status = true, int(f.Value&0xff)
		}
	case control.Failed:
		if !t.ended {
			t.ended, t.status = true, int(f.Value&0xff)
			t.reason = bytes.Clone(control.Clean(f.Text))
		}
	case control.Report:
		t.show(r, f.Text)
	case control.Bug:
		t.bug = true
		t.show(r, f.Text)
	case control.Trace:
		if r.spec.Trace != nil {
			r.spec.Trace.Write(control.Clean(f.Text))
		}
	case control.Settings:
		r.terminal.change(f.Text)
	default:
		// The kernel sends nothing else. Whoever does may not keep a processor busy with it.
		if t.odd++; t.odd%64 == 0 {
			time.Sleep(2 * time.Millisecond)
		}
	}
}

// show prints text of the sandbox as far as the budget goes.
func (t *told) show(r *sandbox, text []byte) {
	left := maxReports - t.reports
	if left <= 0 {
		return
	}
	t.reports += len(text)
	r.spec.Messages.Write(control.Clean(text[:min(len(text), left)]))
	if t.reports >= maxReports {
		fmt.Fprintf(r.spec.Messages, "\npinhole: (more of this is left out)\n")
	}
}

// drain reads the control pipe to its end without looking.
func (r *sandbox) drain() {
	var b [4096]byte
	for i := 1; ; i++ {
		n, err := r.from.Read(b[:])
		if n == 0 || err != nil {
			return
		}
		if i%64 == 0 {
			time.Sleep(2 * time.Millisecond)
		}
	}
}

// verdict says how the sandbox ended, and returns the exit status.
func (r *sandbox) verdict(state unix.WaitStatus) int {
	say := func(format string, a ...any) { fmt.Fprintf(r.spec.Messages, "pinhole: "+format+"\n", a...) }
	d := &r.disk.stats
	if n := d.NoSpace.Load(); n > 0 {
		say("image %s: the host's disk is full: %d writes of the sandbox failed. What it had synced is safe; make room before you run it again", r.spec.Image.name, n)
	}
	if n := d.Failed.Load(); n > 0 {
		say("image %s: the host reported I/O errors for %d writes of the sandbox", r.spec.Image.name, n)
	}
	if n := d.Refused.Load() + d.Garbled.Load(); n > 0 {
		say("refused %d malformed disk requests of the sandbox: its kernel is broken or was taken over", n)
	}
	t := &r.told
	switch {
	case r.killedBy.Load() != 0:
		return 128 + int(r.killedBy.Load())
	case t.ended && len(t.reason) > 0:
		say("%s", bytes.TrimSpace(t.reason))
		return t.status
	case t.ended:
		return t.status
	case t.bug:
		say("this is a bug of Pinhole's kernel, or the program wrote into the kernel's memory. What was synced to the image is safe")
		return ExitBug
	case state.Signaled() && state.Signal() == unix.SIGKILL:
		say("the sandbox was killed (SIGKILL): by somebody on the host, or by the host for want of memory. What was synced to the image is safe")
		return 128 + int(unix.SIGKILL)
	case state.Signaled() && state.Signal() == unix.SIGSYS:
		say("the sandbox was killed by its lock (SIGSYS): it attempted a forbidden host call")
		return 128 + int(unix.SIGSYS)
	case state.Signaled():
		say("the sandbox was ended by signal %d (%s): a fault of Pinhole's kernel, or the program's writing into it. What was synced to the image is safe", int(state.Signal()), unix.SignalName(state.Signal()))
		return ExitBug
	case !r.running.Load() && state.ExitStatus() == ExitNotStarted:
		return ExitNotStarted // it said why on standard error
	default:
		say("the sandbox ended without a word (exit status %d): a fault of Pinhole's kernel, or the program's writing into it. What was synced to the image is safe", state.ExitStatus())
		return ExitBug
	}
}
