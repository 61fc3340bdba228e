package emu

import (
	"sync"

	"pinhole/abi"
)

// signals is what the threads of a process share of signals.
type signals struct {
	mu      sync.Mutex
	act     [abi.SIGRTMAX + 1]abi.Sigaction // by number; 0 is unused
	pending sigQueue                        // for whichever thread takes them
	queued  int                             // real-time signals in all queues of the process
	polled  waitQueue                       // who waits for any of them by a signalFD

	continued uint64 // how often SIGCONT was sent
}

func sigset(sigs ...int) (s abi.Sigset) {
	for _, sig := range sigs {
		s = s.Add(sig)
	}
	return s
}

var (
	faultSignals  = sigset(abi.SIGSEGV, abi.SIGBUS, abi.SIGFPE, abi.SIGILL, abi.SIGTRAP, abi.SIGSYS)
	unmaskable    = sigset(abi.SIGKILL, abi.SIGSTOP)
	ignoreSignals = sigset(abi.SIGCHLD, abi.SIGURG, abi.SIGWINCH, abi.SIGCONT) // by default
	stopSignals   = sigset(abi.SIGSTOP, abi.SIGTSTP, abi.SIGTTIN, abi.SIGTTOU)
	coreSignals   = sigset(abi.SIGQUIT, abi.SIGILL, abi.SIGTRAP, abi.SIGABRT, abi.SIGBUS, abi.SIGFPE, abi.SIGSEGV, abi.SIGXCPU, abi.SIGXFSZ, abi.SIGSYS)
)

// ignored tells whether the action for sig is to do nothing. Locked.
func (s *signals) ignored(sig int) bool {
	switch s.act[sig].Handler {
	case abi.SIG_IGN:
		return true
	case abi.SIG_DFL:
		return ignoreSignals.Has(sig)
	}
	return false
}

// stopping returns those of set whose action is to stop the process. Locked.
func (s *signals) stopping(set abi.Sigset) abi.Sigset {
	set &= stopSignals
	for _, sig := range [...]int{abi.SIGSTOP, abi.SIGTSTP, abi.SIGTTIN, abi.SIGTTOU} {
		if s.act[sig].Handler != abi.SIG_DFL {
			set = set.Del(sig)
		}
	}
	return set
}

// signal sends signal sig to the process, as the kernel itself does (SIGALRM, SIGCHLD, ...).
func (p *Process) signal(sig int) {
	p.send(&abi.Siginfo{Signo: int32(sig), Code: abi.SI_KERNEL}, nil)
}

// signal sends signal sig to the thread, as the kernel itself does (SIGPIPE, SIGXFSZ).
func (t *Task) signal(sig int) {
	t.proc.send(&abi.Siginfo{Signo: int32(sig), Code: abi.SI_KERNEL}, t)
}

// send makes a signal pending for the thread to, or for the process if to is nil, and wakes a
// thread that takes it.
func (p *Process) send(info *abi.Siginfo, to *Task) abi.Errno {
	continued, errno := p.put(info, to)
	if continued {
		p.tellParent(abi.CLD_CONTINUED, abi.SIGCONT)
	}
	return errno
}

// post is send for callers that hold Kernel.mu. A parent is only woken by the news that its child goes
// on, not sent a signal.
func (p *Process) post(info *abi.Siginfo, to *Task) {
	if continued, _ := p.put(info, to); continued {
		if o := p.parent.Load(); o != nil {
			o.waits.wakeAll()
		}
	}
}

// put is what send and post have in common. continued: the process was stopped, and goes on.
func (p *Process) put(info *abi.Siginfo, to *Task) (continued bool, _ abi.Errno) {
	_, continued, errno := p.putFrom(info, to, nil, 0)
	return continued, errno
}

// sendTimer sends the signal of a timer, if that was not set since the given round; false: it is not pending.
func (p *Process) sendTimer(info *abi.Siginfo, timer *posixTimer, round uint64) bool {
	pending, continued, _ := p.putFrom(info, timer.to, timer, round)
	if continued {
		p.tellParent(abi.CLD_CONTINUED, abi.SIGCONT)
	}
	return pending
}

// dropTimer takes back what sendTimer has sent and nobody has taken.
func (p *Process) dropTimer(timer *posixTimer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sig.mu.Lock()
	defer p.sig.mu.Unlock()
	if timer.to != nil {
		timer.to.sigpend.drop(timer, &p.sig)
	} else {
		p.sig.pending.drop(timer, &p.sig)
	}
}

// putFrom is put for a timer, or for others if that is nil. It also tells whether the signal is pending.
func (p *Process) putFrom(info *abi.Siginfo, to *Task, timer *posixTimer, round uint64) (pending, continued bool, _ abi.Errno) {
	sig := int(info.Signo)
	if sig == abi.SIGKILL {
		p.kill(info)
		return false, false, 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exiting {
		return false, false, 0
	}
	if to != nil && p.tasks[to.tid] != to {
		return false, false, abi.ESRCH // it has ended since it was found
	}
	s := &p.sig
	s.mu.Lock()
	defer s.mu.Unlock()
	if timer != nil && !timer.current(round) {
		return false, false, 0
	}
	switch {
	case sig == abi.SIGCONT:
		p.flush(stopSignals)
		continued = p.proceed()
	case stopSignals.Has(sig):
		p.flush(sigset(abi.SIGCONT))
	}
	taker := p.taker(sig, to)
	if taker != nil && s.ignored(sig) && !taker.sigwait.Has(sig) {
		return false, continued, 0
	}
	q := &s.pending
	if to != nil {
		q = &to.sigpend
	}
	if timer != nil {
		q.put(pendingSignal{*info, timer}, s)
	} else if errno := q.add(info, s, p.limit(abi.RLIMIT_SIGPENDING)); errno != 0 {
		return false, continued, errno
	}
	s.polled.notify(abi.POLLIN)
	if taker != nil {
		taker.alert(attSignal)
	}
	return true, continued, 0
}

// flush removes pending signals of all threads. Both locks are held.
func (p *Process) flush(set abi.Sigset) {
	p.sig.pending.flush(set, &p.sig)
	for _, t := range p.tasks {
		t.sigpend.flush(set, &p.sig)
	}
}

// taker returns the thread that takes signal sig, sent to thread to or (nil) the process: one that
// waits for it, else one that does not block it; nil if there is none. Both locks are held.
func (p *Process) taker(sig int, to *Task) *Task {
	if to != nil {
		if !to.sigmask.Has(sig) || to.sigwait.Has(sig) {
			return to
		}
		return nil
	}
	first := p.tasks[p.pid]
	var best *Task
	for _, t := range p.tasks {
		switch {
		case t.sigwait.Has(sig):
			return t
		case t.sigmask.Has(sig):
		case best == nil || t == first:
			best = t
		}
	}
	return best
}

// due returns the signals that t has to take. The lock of signals is held.
func (t *Task) due() abi.Sigset {
	return (t.sigpend.set | t.proc.sig.pending.set) &^ t.sigmask
}

// setMask replaces the set of signals that t blocks. The lock of signals is held.
func (t *Task) setMask(set abi.Sigset) {
	t.sigmask = set &^ unmaskable
	if t.due() != 0 {
		t.attention.Or(attSignal)
	}
}

// maskDuring replaces the set of blocked signals until the call under way is over: a signal
// that ends it is handled under the new set, then the old one is back (sigsuspend, ppoll, pselect).
func (t *Task) maskDuring(set abi.Sigset) {
	s := &t.proc.sig
	s.mu.Lock()
	if !t.useOld {
		t.oldmask, t.useOld = t.sigmask, true
	}
	t.setMask(set)
	t.attention.Or(attSignal) // so that the mask is put back
	s.mu.Unlock()
}

// signalsOf forgets the signals of t, which has ended, and passes on those of the process that
// only t would have taken.
func (p *Process) signalsOf(t *Task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sig.mu.Lock()
	defer p.sig.mu.Unlock()
	t.sigpend.flush(^abi.Sigset(0), &p.sig)
	set := p.sig.pending.set
	for sig := 1; set != 0 && sig <= abi.SIGRTMAX; sig++ {
		if set.Has(sig) {
			if o := p.taker(sig, nil); o != nil {
				o.alert(attSignal)
			}
		}
	}
}

// errRestart is what a call returns in place of EINTR when Linux would begin it anew after a
// handler with SA_RESTART, or where there was no handler to run. It never reaches a guest.
const errRestart abi.Errno = 512

// interrupted looks at what the task's attention is needed for: 0 when there is nothing (any
// more) that must end a wait, else EINTR.
func (t *Task) interrupted() abi.Errno {
	for {
		a := t.attention.Load()
		switch {
		case a&attExit != 0:
			return abi.EINTR
		case a&attQuiet != 0:
			t.rest()
		case a&attStop != 0:
			t.stopped()
		case a&attSignal != 0:
			s := &t.proc.sig
			s.mu.Lock()
			due := t.due()
			waited := (t.sigpend.set | s.pending.set) & t.sigwait
			if due != 0 && due == s.stopping(due) && waited == 0 {
				// Being stopped and continued is no interruption.
				info, ok := t.sigpend.take(due, s)
				if !ok {
					info, _ = s.pending.take(due, s)
				}
				since := s.continued
				s.mu.Unlock()
				if t.proc.mayStop(info.Signo) {
					t.proc.stop(info.Signo, since)
				}
				continue
			}
			if due|waited == 0 && !t.useOld {
				t.calm(attSignal)
			}
			s.mu.Unlock()
			if due|waited != 0 {
				return abi.EINTR
			}
			if t.attention.Load()&^attSignal == 0 {
				return 0
			}
		default:
			return 0
		}
	}
}
