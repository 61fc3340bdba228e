package emu

import "pinhole/abi"

// job is what job control knows of a process. Guarded by Process.mu.
type job struct {
	stopSig  int32 // the signal that has stopped it; 0: it runs
	stopNews bool  // that it has stopped was not waited for yet
	contNews bool  // that it was continued was not waited for yet
}

// stop makes all threads of the process wait until it is continued. since is signals.continued of
// the time when the signal was taken: if the process was continued in between, it goes on.
func (p *Process) stop(sig int32, since uint64) {
	p.mu.Lock()
	p.sig.mu.Lock()
	late := p.sig.continued != since
	p.sig.mu.Unlock()
	if late || p.exiting {
		p.mu.Unlock()
		return
	}
	news := p.stopSig == 0
	if news {
		p.stopSig, p.stopNews, p.contNews = sig, true, false
	}
	for _, t := range p.tasks {
		t.alert(attStop)
	}
	p.mu.Unlock()
	if news {
		p.tellParent(abi.CLD_STOPPED, sig)
	}
}

// proceed lets a stopped process go on, and tells whether it was stopped. Both locks are held.
func (p *Process) proceed() bool {
	p.sig.continued++
	was := p.stopSig != 0
	if was {
		p.stopSig, p.stopNews, p.contNews = 0, false, true
	}
	for _, t := range p.tasks {
		t.calm(attStop)
		t.wake()
	}
	return was
}

// tellParent tells the process's parent that it was stopped or continued.
func (p *Process) tellParent(code, sig int32) {
	k := p.kernel
	k.mu.Lock()
	defer k.mu.Unlock()
	o := p.parent.Load()
	if o == nil || p.ended.Load() {
		return
	}
	if act := o.sig.action(abi.SIGCHLD); act.Handler != abi.SIG_IGN && act.Flags&abi.SA_NOCLDSTOP == 0 {
		o.post(p.childInfo(abi.SIGCHLD, code, sig), nil)
	}
	o.waits.wakeAll()
}

// groupAndSession returns both numbers.
func (p *Process) groupAndSession() (pgid, sid int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ids.pgid, p.ids.sid
}

// orphaned tells whether process group pgid is orphaned: no member, besides but, has a parent in another
// group of its session. The parent of the first process is outside, and taken for one. k.mu is held.
func (k *Kernel) orphaned(pgid int32, but *Process) bool {
	for _, p := range k.procs {
		group, session := p.groupAndSession()
		if group != pgid || p == but || p.ended.Load() {
			continue
		}
		o := p.parent.Load()
		if o == nil {
			return false
		}
		if g, s := o.groupAndSession(); g != group && s == session {
			return false
		}
	}
	return true
}

// jobsOrphaned continues a process group that becomes orphaned with stopped members, after a signal to
// hang up: the group of p, whose parent was o, by the end of but, or by p's coming to another
// parent. k.mu is held.
func (k *Kernel) jobsOrphaned(p, o, but *Process) {
	if o == nil {
		return
	}
	group, session := p.groupAndSession()
	if g, s := o.groupAndSession(); g == group || s != session || !k.orphaned(group, but) {
		return
	}
	var members []*Process
	stopped := false
	for _, q := range k.procs {
		if q.ended.Load() || q.group() != group {
			continue
		}
		members = append(members, q)
		q.mu.Lock()
		stopped = stopped || q.stopSig != 0
		q.mu.Unlock()
	}
	if !stopped {
		return
	}
	for _, sig := range [...]int32{abi.SIGHUP, abi.SIGCONT} {
		for _, q := range members {
			q.post(&abi.Siginfo{Signo: sig, Code: abi.SI_KERNEL}, nil)
		}
	}
}

// mayStop tells whether a signal from the terminal may stop the process: not if nobody is there to
// continue it.
func (p *Process) mayStop(sig int32) bool {
	if sig == abi.SIGSTOP {
		return true
	}
	k := p.kernel
	pgid := p.group()
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.orphaned(pgid, nil)
}
