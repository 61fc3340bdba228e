package emu

import (
	"testing"

	"pinhole/abi"
)

// TestForeground: the terminal's signals go to the process group in the foreground, others to the first one.
func TestForeground(t *testing.T) {
	w := newIOWorld(t, Config{})
	o := w.process()
	w.proc.ids.pgid, w.proc.ids.sid = w.proc.pid, w.proc.pid
	o.proc.ids.pgid, o.proc.ids.sid = o.proc.pid, w.proc.pid
	for _, p := range []*Process{w.proc, o.proc} {
		for _, sig := range []int{abi.SIGINT, abi.SIGTERM} {
			p.sig.act[sig].Handler = 0x1000
		}
	}
	w.proc.sig.act[abi.SIGTTOU].Handler = abi.SIG_IGN // else it is stopped when it takes the terminal back
	got := func(p *Process, sig int) bool {
		has := p.sig.pending.set.Has(sig)
		p.sig.pending.flush(^abi.Sigset(0), &p.sig)
		return has
	}
	p, a := w.mem.alloc(4)
	set := func(pgid int32) (uint64, abi.Errno) {
		le.PutUint32(p, uint32(pgid))
		return w.terminalIoctl(abi.TIOCSPGRP, a)
	}
	for _, c := range []struct {
		pgid int32
		to   *Process
	}{{0, w.proc}, {o.proc.pid, o.proc}, {w.proc.pid, w.proc}} {
		if c.pgid != 0 {
			w.ok(set(c.pgid))
			w.ok(w.terminalIoctl(abi.TIOCGPGRP, a))
			if int32(le.Uint32(p)) != c.pgid {
				t.Errorf("group %d is in the foreground, want %d", le.Uint32(p), c.pgid)
			}
		}
		w.kernel.Signal(abi.SIGINT)
		if a, b := got(w.proc, abi.SIGINT), got(o.proc, abi.SIGINT); a != (c.to == w.proc) || b != (c.to == o.proc) {
			t.Errorf("with %d in the foreground SIGINT goes to the first process %v, to the other %v", c.pgid, a, b)
		}
		w.kernel.Signal(abi.SIGTERM)
		if !got(w.proc, abi.SIGTERM) || got(o.proc, abi.SIGTERM) {
			t.Error("SIGTERM goes elsewhere than to the first process")
		}
	}
	w.fails(abi.ESRCH)(set(4711))
	w.fails(abi.EINVAL)(set(-1))
	o.proc.ids.sid = 77
	w.fails(abi.EPERM)(set(o.proc.pid))
}
