package emu

import (
	"slices"
	"sync/atomic"

	"pinhole/abi"
)

// kin is where a process stands among the others. Guarded by Kernel.mu but where it says otherwise.
type kin struct {
	parent     atomic.Pointer[Process] // nil: nobody in the sandbox; readable without the lock
	children   []*Process              // in the order in which they came, those included that have ended
	maker      int32                   // the parent's thread that made it; 0: none that lives
	exitSignal int32                   // sent to the parent at the end; 0: none
	subreaper  bool                    // gets the orphans among its descendants
	ended      atomic.Bool             // all threads are gone; the process is there until its parent has waited for it
	reaped     atomic.Bool             // it is not there any more
	used       int64                   // processor time at the end, in nanoseconds
	peak       int64                   // memory at the end, in KiB
	childUsed  int64                   // processor time of the children that were waited for, and of theirs
	childPeak  int64                   // the most that one of those had

	hadChildren atomic.Bool // at any time; readable without the lock

	waits waitQueue // threads that wait for a child; has its own lock
	ends  waitQueue // who waits by a pidfd until the process has ended; likewise
}

// waitStatus is how a process has ended, as wait(2) tells.
type waitStatus int32

func exited(status int32) waitStatus { return waitStatus(status&0xff) << 8 }
func killed(sig int32) waitStatus    { return waitStatus(sig & 0x7f) }

// signal returns the signal that has ended the process; 0: it has ended by itself.
func (s waitStatus) signal() int32 { return int32(s & 0x7f) }

// shell returns the status as shells tell it: 128+N for signal N.
func (s waitStatus) shell() int {
	if sig := s.signal(); sig != 0 {
		return 128 + int(sig)
	}
	return int(s >> 8)
}

// code returns what siginfo_t has of it.
func (s waitStatus) code() (code, status int32) {
	if sig := s.signal(); sig != 0 {
		return abi.CLD_KILLED, sig
	}
	return abi.CLD_EXITED, int32(s >> 8)
}

// bury makes a process that has ended one that its parent can wait for, and its children others'.
func (k *Kernel) bury(p *Process) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p.ended.Store(true)
	p.used = p.cpuTime()
	k.lateUsed += p.used
	k.alive--
	k.orphan(p)
	k.jobsOrphaned(p, p.parent.Load(), p)
	o := p.parent.Load()
	switch {
	case o == nil && p == k.first:
		k.initExit = p.status.shell()
		k.ending = true
		for _, q := range k.procs {
			if !q.ended.Load() {
				q.exit(killed(abi.SIGKILL))
			}
		}
		k.reap(p)
	case o == nil:
		k.reap(p)
	default:
		k.announce(p, o)
	}
	p.ends.notifyAll(abi.POLLIN | abi.POLLRDNORM)
	if k.ending && k.alive == 0 {
		close(k.initDone)
	}
}

// orphan gives the children of p, which has ended, to another process, and sends them the signal that
// they have asked for. k.mu is held.
func (k *Kernel) orphan(p *Process) {
	o := k.reaper(p)
	children := p.children
	p.children = nil
	for _, c := range children {
		c.parent.Store(o)
		c.maker = 0
		if !c.ended.Load() {
			c.parentDied(p)
		}
		if o == nil {
			if c.ended.Load() {
				k.reap(c)
			}
			continue
		}
		if c.exitSignal != 0 {
			c.exitSignal = abi.SIGCHLD
		}
		o.children = append(o.children, c)
		k.jobsOrphaned(c, p, nil)
		if c.ended.Load() {
			k.announce(c, o)
		}
	}
}

// reaper returns who gets the children of p: its nearest ancestor that wants them, else the first
// process; nil if that has ended. k.mu is held.
func (k *Kernel) reaper(p *Process) *Process {
	for o := p.parent.Load(); o != nil; o = o.parent.Load() {
		if o.subreaper && !o.ended.Load() {
			return o
		}
	}
	if k.first == nil || k.first == p || k.first.ended.Load() {
		return nil
	}
	return k.first
}

// parentDied sends p the signal that it wants when the process, or the thread, that made it ends. k.mu
// is held.
func (p *Process) parentDied(o *Process) {
	p.mu.Lock()
	sig := p.ids.deathSig
	p.mu.Unlock()
	if sig != 0 {
		p.post(&abi.Siginfo{Signo: sig, Code: abi.SI_USER, PID: o.pid, UID: o.realUID()}, nil)
	}
}

// makerDied is called when a thread ends and its process does not.
func (t *Task) makerDied() {
	p, k := t.proc, t.kernel
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range p.children {
		if c.maker == t.tid {
			c.maker = 0
			if !c.ended.Load() {
				c.parentDied(p)
			}
		}
	}
}

// announce tells o that its child p has ended; if it does not want to know, p is gone at once.
// k.mu is held.
func (k *Kernel) announce(p, o *Process) {
	code, status := p.status.code()
	gone := false
	if p.exitSignal == abi.SIGCHLD {
		act := o.sig.action(abi.SIGCHLD)
		gone = act.Handler == abi.SIG_IGN || act.Flags&abi.SA_NOCLDWAIT != 0
		if act.Handler != abi.SIG_IGN {
			o.post(p.childInfo(abi.SIGCHLD, code, status), nil)
		}
	} else if p.exitSignal != 0 {
		o.post(p.childInfo(p.exitSignal, code, status), nil)
	}
	if gone {
		k.reap(p)
	}
	o.waits.wakeAll()
}

// childInfo is the siginfo_t by which a parent learns of p. k.mu is held.
func (p *Process) childInfo(sig, code, status int32) *abi.Siginfo {
	const tick = 1e9 / abi.ClockTick
	used := p.used
	if !p.ended.Load() {
		used = p.cpuTime()
	}
	return &abi.Siginfo{Signo: sig, Code: code, PID: p.pid, UID: p.realUID(), Status: status, Utime: used / tick}
}

// reap makes a process that has ended one that is not there. k.mu is held.
func (k *Kernel) reap(p *Process) {
	if o := p.parent.Load(); o != nil {
		o.children = slices.DeleteFunc(o.children, func(c *Process) bool { return c == p })
	}
	p.reaped.Store(true)
	delete(k.procs, p.pid)
}

// realUID returns the real user id.
func (p *Process) realUID() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ids.user.real
}

// action returns what a signal does.
func (s *signals) action(sig int) abi.Sigaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.act[sig]
}

// cpuTime is how long the process has computed, in nanoseconds, as far as ticks tell.
func (p *Process) cpuTime() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.ticks.Load() * tickTime
	for _, t := range p.tasks {
		n += t.cpuTime()
	}
	return n
}

// childTime is the processor time of the children that were waited for.
func (p *Process) childTime() int64 {
	p.kernel.mu.Lock()
	defer p.kernel.mu.Unlock()
	return p.childUsed
}
