package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
)

// knownActionFlags are those of sigaction(2) that are kept. Others are not in what the next call says was
// there: by that a program finds out what a kernel knows.
const knownActionFlags = abi.SA_NOCLDSTOP | abi.SA_NOCLDWAIT | abi.SA_SIGINFO | abi.SA_ONSTACK | abi.SA_RESTART |
	abi.SA_NODEFER | abi.SA_RESETHAND | abi.SA_EXPOSE_TAGBITS | abi.SA_RESTORER

// signalAction answers signal_action (rt_sigaction(2)).
func (t *Task) signalAction(sig int32, act, old abi.Addr, masksize uint64) (uint64, abi.Errno) {
	if masksize != abi.SigsetSize {
		return 0, abi.EINVAL
	}
	var b [abi.SigactionSize]byte
	var next abi.Sigaction
	if act != 0 {
		if guest.CopyIn(b[:], act) < len(b) {
			return 0, abi.EFAULT
		}
		next.Decode(b[:])
		next.Mask &^= unmaskable
		next.Flags &= knownActionFlags
	}
	if sig < 1 || sig > abi.SIGRTMAX || act != 0 && unmaskable.Has(int(sig)) {
		return 0, abi.EINVAL
	}
	p := t.proc
	p.mu.Lock()
	p.sig.mu.Lock()
	prev := p.sig.act[sig]
	if act != 0 {
		p.sig.act[sig] = next
		if p.sig.ignored(int(sig)) {
			p.flush(sigset(int(sig)))
		}
	}
	p.sig.mu.Unlock()
	p.mu.Unlock()
	if old != 0 {
		prev.Encode(b[:])
		if guest.CopyOut(old, b[:]) < len(b) {
			return 0, abi.EFAULT
		}
	}
	return 0, 0
}

// loadSet reads a signal set from the guest.
func loadSet(a abi.Addr) (abi.Sigset, abi.Errno) {
	v, ok := guest.Load64(a)
	if !ok {
		var b [abi.SigsetSize]byte // perhaps only not aligned
		if guest.CopyIn(b[:], a) < len(b) {
			return 0, abi.EFAULT
		}
		return abi.DecodeSigset(b[:]), 0
	}
	return abi.Sigset(v), 0
}

// storeSet writes a signal set to the guest.
func storeSet(a abi.Addr, s abi.Sigset) abi.Errno {
	var b [abi.SigsetSize]byte
	s.Encode(b[:])
	if guest.CopyOut(a, b[:]) < len(b) {
		return abi.EFAULT
	}
	return 0
}

// signalMask answers signal_mask (rt_sigprocmask(2)).
func (t *Task) signalMask(how int32, set, old abi.Addr, masksize uint64) (uint64, abi.Errno) {
	if masksize != abi.SigsetSize {
		return 0, abi.EINVAL
	}
	prev := t.sigmask
	if set != 0 {
		s, errno := loadSet(set)
		if errno != 0 {
			return 0, errno
		}
		switch how {
		case abi.SIG_BLOCK:
			s |= prev
		case abi.SIG_UNBLOCK:
			s = prev &^ s
		case abi.SIG_SETMASK:
		default:
			return 0, abi.EINVAL
		}
		if s &^= unmaskable; s != prev {
			t.proc.sig.mu.Lock()
			t.setMask(s)
			t.proc.sig.mu.Unlock()
		}
	}
	if old != 0 {
		return 0, storeSet(old, prev)
	}
	return 0, 0
}

// signalPending answers signal_pending (rt_sigpending(2)).
func (t *Task) signalPending(set abi.Addr, masksize uint64) (uint64, abi.Errno) {
	if masksize > abi.SigsetSize {
		return 0, abi.EINVAL
	}
	s := &t.proc.sig
	s.mu.Lock()
	pending := (t.sigpend.set | s.pending.set) & t.sigmask
	s.mu.Unlock()
	var b [abi.SigsetSize]byte
	pending.Encode(b[:])
	if guest.CopyOut(set, b[:masksize]) < int(masksize) {
		return 0, abi.EFAULT
	}
	return 0, 0
}

// signalSuspend answers signal_suspend (rt_sigsuspend(2)).
func (t *Task) signalSuspend(set abi.Addr, masksize uint64) (uint64, abi.Errno) {
	if masksize != abi.SigsetSize {
		return 0, abi.EINVAL
	}
	mask, errno := loadSet(set)
	if errno != 0 {
		return 0, errno
	}
	t.maskDuring(mask)
	for {
		if errno := t.wait(forever); errno != 0 {
			return 0, abi.EINTR
		}
	}
}

// signalWait answers signal_wait (rt_sigtimedwait(2)).
func (t *Task) signalWait(set, info, timeout abi.Addr, masksize uint64) (uint64, abi.Errno) {
	if masksize != abi.SigsetSize {
		return 0, abi.EINVAL
	}
	want, errno := loadSet(set)
	if errno != 0 {
		return 0, errno
	}
	want &^= unmaskable
	deadline := forever
	if timeout != 0 {
		if deadline, errno = t.deadlineAt(timeout, abi.CLOCK_MONOTONIC, false); errno != 0 {
			return 0, errno
		}
	}
	s := &t.proc.sig
	defer func() {
		s.mu.Lock()
		t.sigwait = 0
		s.mu.Unlock()
	}()
	for {
		s.mu.Lock()
		t.sigwait = want
		got, ok := t.sigpend.take(want, s)
		if !ok {
			got, ok = s.pending.take(want, s)
		}
		s.mu.Unlock()
		if ok {
			if info != 0 {
				var b [abi.SiginfoSize]byte
				got.Encode(b[:])
				if guest.CopyOut(info, b[:]) < len(b) {
					return 0, abi.EFAULT
				}
			}
			return uint64(got.Signo), 0
		}
		if errno != 0 {
			if errno == abi.ETIMEDOUT {
				errno = abi.EAGAIN
			}
			return 0, errno
		}
		errno = t.wait(deadline)
	}
}

// signalStack answers signal_stack (sigaltstack(2)).
func (t *Task) signalStack(next, old abi.Addr) (uint64, abi.Errno) {
	var b [abi.SigaltStackSize]byte
	var s abi.SigaltStack
	if next != 0 {
		if guest.CopyIn(b[:], next) < len(b) {
			return 0, abi.EFAULT
		}
		s.Decode(b[:])
	}
	prev := t.altStackNow(t.ctx.RSP)
	if next != 0 {
		if errno := t.setAltStack(s); errno != 0 {
			return 0, errno
		}
	}
	if old != 0 {
		prev.Encode(b[:])
		if guest.CopyOut(old, b[:]) < len(b) {
			return 0, abi.EFAULT
		}
	}
	return 0, 0
}

// setAltStack sets the alternate signal stack.
func (t *Task) setAltStack(s abi.SigaltStack) abi.Errno {
	if t.onAltStack(t.ctx.RSP) {
		return abi.EPERM
	}
	switch uint32(s.Flags) &^ abi.SS_AUTODISARM {
	case abi.SS_DISABLE:
		s = abi.SigaltStack{Flags: abi.SS_DISABLE}
	case 0, abi.SS_ONSTACK:
		if s.Size < abi.MINSIGSTKSZ {
			return abi.ENOMEM
		}
		s.Flags &^= abi.SS_ONSTACK
	default:
		return abi.EINVAL
	}
	t.altStack = s
	return 0
}

// altStackNow returns the alternate stack as sigaltstack shows it to code that runs at sp.
func (t *Task) altStackNow(sp uint64) abi.SigaltStack {
	s := t.altStack
	switch {
	case s.Size == 0:
		s.Flags = abi.SS_DISABLE
	case t.onAltStack(sp):
		s.Flags |= abi.SS_ONSTACK
	}
	return s
}

// onAltStack tells whether sp is on the alternate stack. One that is disarmed while in use never is.
func (t *Task) onAltStack(sp uint64) bool {
	s := &t.altStack
	if uint32(s.Flags)&abi.SS_AUTODISARM != 0 {
		return false
	}
	return s.Size != 0 && sp > uint64(s.SP) && sp-uint64(s.SP) <= s.Size
}

// validSignal tells whether there is a signal of that number; 0 is none, and valid. Linux looks at this once it has
// found whom to send it to.
func validSignal(sig int32) bool { return sig >= 0 && sig <= abi.SIGRTMAX }

// signalGroup sends a signal to all processes of a group.
func (t *Task) signalGroup(group int32, info *abi.Siginfo) (uint64, abi.Errno) {
	errno := abi.ESRCH
	for _, p := range t.kernel.processes() {
		switch {
		case p.group() != group:
		case !validSignal(info.Signo):
			return 0, abi.EINVAL
		case !t.proc.maySignal(p, info.Signo):
			if errno != 0 {
				errno = abi.EPERM
			}
		default:
			errno = 0
			if info.Signo != 0 {
				p.send(info, nil)
			}
		}
	}
	return 0, errno
}

// signalKill answers signal_kill (kill(2)).
func (t *Task) signalKill(pid, sig int32) (uint64, abi.Errno) {
	info := abi.Siginfo{Signo: sig, Code: abi.SI_USER, PID: t.proc.pid, UID: t.proc.uid()}
	found, sent, errno := false, false, abi.Errno(0)
	for _, p := range t.kernel.processes() {
		switch {
		case pid > 0 && p.pid != pid:
			continue
		case pid == 0 && p.group() != t.proc.group():
			continue
		case pid == -1 && p == t.proc:
			continue
		case pid < -1 && p.group() != -pid:
			continue
		}
		if found = true; !validSignal(sig) {
			return 0, abi.EINVAL
		}
		if !t.proc.maySignal(p, sig) {
			errno = abi.EPERM
			continue
		}
		sent = true
		if sig != 0 {
			p.send(&info, nil)
		}
	}
	switch {
	case sent:
		return 0, 0
	case found:
		return 0, errno
	}
	return 0, abi.ESRCH
}

// signalThread answers signal_thread (tgkill(2); with pid -1 tkill(2)).
func (t *Task) signalThread(pid, tid, sig int32) (uint64, abi.Errno) {
	if tid <= 0 || pid == 0 || pid < -1 {
		return 0, abi.EINVAL
	}
	o := t
	if tid != t.tid {
		if o = t.kernel.task(tid); o == nil {
			return 0, abi.ESRCH
		}
	}
	if pid != -1 && o.proc.pid != pid {
		return 0, abi.ESRCH
	}
	if !validSignal(sig) {
		return 0, abi.EINVAL
	}
	if !t.proc.maySignal(o.proc, sig) {
		return 0, abi.EPERM
	}
	if sig == 0 {
		return 0, 0
	}
	info := abi.Siginfo{Signo: sig, Code: abi.SI_TKILL, PID: t.proc.pid, UID: t.proc.uid()}
	return 0, o.proc.send(&info, o)
}

// signalQueue answers signal_queue (rt_sigqueueinfo(2)).
func (t *Task) signalQueue(pid, sig int32, at abi.Addr) (uint64, abi.Errno) {
	info, errno := t.ownInfo(sig, at)
	if errno != 0 {
		return 0, errno
	}
	if pid != t.tid && !mayClaim(&info) {
		return 0, abi.EPERM
	}
	p := t.kernel.process(pid)
	if p == nil {
		return 0, abi.ESRCH
	}
	return t.sendOwn(p, nil, &info)
}

// signalThreadQueue answers signal_thread_queue (rt_tgsigqueueinfo(2)).
func (t *Task) signalThreadQueue(pid, tid, sig int32, at abi.Addr) (uint64, abi.Errno) {
	info, errno := t.ownInfo(sig, at)
	if errno != 0 {
		return 0, errno
	}
	if pid <= 0 || tid <= 0 {
		return 0, abi.EINVAL
	}
	if tid != t.tid && !mayClaim(&info) {
		return 0, abi.EPERM
	}
	o := t.kernel.task(tid)
	if o == nil || o.proc.pid != pid {
		return 0, abi.ESRCH
	}
	return t.sendOwn(o.proc, o, &info)
}

// ownInfo reads a siginfo_t of the guest's for signal sig.
func (t *Task) ownInfo(sig int32, at abi.Addr) (info abi.Siginfo, _ abi.Errno) {
	if errno := t.getStruct(at, abi.SiginfoSize); errno != 0 {
		return info, errno
	}
	le.PutUint32(t.scratch[:], uint32(sig))
	info.Decode(t.scratch[:])
	return info, 0
}

// mayClaim tells whether a siginfo_t may be sent to another thread: it is not one that the kernel would send. As
// on Linux the number that a signal is for is compared with the calling thread's, so the other threads of a
// process are others here, too, but a process is its first thread.
func mayClaim(info *abi.Siginfo) bool { return info.Code < 0 && info.Code != abi.SI_TKILL }

func (t *Task) sendOwn(p *Process, to *Task, info *abi.Siginfo) (uint64, abi.Errno) {
	if !validSignal(info.Signo) {
		return 0, abi.EINVAL
	}
	if !t.proc.maySignal(p, info.Signo) {
		return 0, abi.EPERM
	}
	if info.Signo == 0 {
		return 0, 0
	}
	return 0, p.send(info, to)
}
