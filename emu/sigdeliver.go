package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
)

// deliver takes one pending signal of the task and acts on it; with none left it puts back a mask
// that was replaced for the call. It tells whether a handler was begun. restart is as for attend.
func (t *Task) deliver(restart uint64) bool {
	s := &t.proc.sig
	s.mu.Lock()
	t.calm(attSignal)
	set := ^t.sigmask
	info, ok := t.sigpend.take(set, s)
	if !ok {
		info, ok = s.pending.take(set, s)
	}
	if !ok {
		if t.useOld {
			t.useOld = false
			t.setMask(t.oldmask)
		}
		s.mu.Unlock()
		return false
	}
	// There may be more.
	t.attention.Or(attSignal)
	sig := int(info.Signo)
	act := s.act[sig]
	if act.Handler == abi.SIG_IGN || act.Handler == abi.SIG_DFL {
		ignored, since := s.ignored(sig), s.continued
		s.mu.Unlock()
		if !ignored {
			t.defaultAction(&info, since)
		}
		return false
	}
	if act.Flags&abi.SA_RESETHAND != 0 {
		s.act[sig].Handler = abi.SIG_DFL
	}
	s.mu.Unlock()
	if restart != 0 && (act.Flags&abi.SA_RESTART != 0 || t.restartAlways) {
		t.redo(restart - 1)
	}
	return t.handle(&info, &act)
}

// handle begins the handler of act.
func (t *Task) handle(info *abi.Siginfo, act *abi.Sigaction) bool {
	s := &t.proc.sig
	s.mu.Lock()
	old := t.sigmask
	if t.useOld {
		old, t.useOld = t.oldmask, false
	}
	mask := t.sigmask | act.Mask
	if act.Flags&abi.SA_NODEFER == 0 {
		mask = mask.Add(int(info.Signo))
	}
	t.setMask(mask)
	s.mu.Unlock()
	if !t.pushFrame(info, act, old) {
		t.force(&abi.Siginfo{Signo: abi.SIGSEGV, Code: abi.SI_KERNEL})
		return false
	}
	return true
}

// defaultAction does what a signal does to a process that has no handler for it. since is as for stop.
func (t *Task) defaultAction(info *abi.Siginfo, since uint64) {
	if stopSignals.Has(int(info.Signo)) {
		if t.proc.mayStop(info.Signo) {
			t.proc.stop(info.Signo, since)
		}
		return
	}
	t.die(info)
}

// die ends the process by a signal of this thread.
func (t *Task) die(info *abi.Siginfo) {
	if t.proc.exit(killed(info.Signo)) {
		// What becomes of the others is their parents' affair.
		if t.proc.parent.Load() == nil && coreSignals.Has(int(info.Signo)) && t.kernel.conf.Report != nil {
			t.kernel.conf.Report(t.deathReport(info))
		}
	}
}

// redo makes the guest, when it goes on, make its call again: by the gate's own entry with the
// return address on the stack where it was, or by the syscall instruction.
func (t *Task) redo(nr uint64) {
	c := t.ctx
	var gate uint64
	switch c.Why {
	case guest.Call:
		gate = t.kernel.m.GateAddr()
	case guest.LinuxCall:
		gate = t.kernel.m.LinuxGateAddr()
	case guest.Syscall:
		complete(c)
		c.RAX = nr
		c.RIP -= syscallLen
		return
	default:
		return
	}
	if !guest.Store64(abi.Addr(c.RSP-8), c.RIP) {
		return // no stack to go back with: EINTR
	}
	complete(c)
	c.RAX = nr
	c.RSP -= 8
	c.RIP = gate
}

// syscallLen is the length of the syscall instruction.
const syscallLen = 2

// faultPoint is where a fault happened, to tell one that comes again.
type faultPoint struct{ rip, addr uint64 }

// fault turns a processor exception of the guest into the signal that Linux makes of it.
func (t *Task) fault() {
	c := t.ctx
	info := abi.Siginfo{Signo: c.Signo, Code: c.Code, Addr: abi.Addr(c.FaultAddr)}
	if c.Signo == abi.SIGSEGV && c.Code != abi.SI_KERNEL {
		if !t.segv(&info) {
			return
		}
	}
	t.force(&info)
}

// pageFaultTrap is the processor's exception number of a page fault; the bits are those of its
// error code.
const (
	pageFaultTrap = 14
	pfWrite       = 1 << 1
	pfFetch       = 1 << 4
)

// segv finds out what a page fault means in the guest's address space, where the host has reserved
// everything: nothing mapped, not allowed, or a file that ends before. False: nothing any more.
func (t *Task) segv(info *abi.Siginfo) bool {
	c := t.ctx
	s := t.proc.mem()
	s.lock()
	v := s.set.find(info.Addr)
	var prot uint8
	if v != nil {
		prot = v.prot
	}
	s.unlock()
	if v == nil {
		info.Code = abi.SEGV_MAPERR
		return true
	}
	need := uint8(abi.PROT_READ)
	switch {
	case c.Err&pfFetch != 0:
		need = abi.PROT_EXEC
	case c.Err&pfWrite != 0:
		need = abi.PROT_WRITE
	case prot&(abi.PROT_WRITE|abi.PROT_EXEC) != 0:
		need = 0 // what can be written or executed can be read here
	}
	if prot&need != need || prot == 0 {
		info.Code = abi.SEGV_ACCERR
		return true
	}
	switch s.supply(info.Addr, need == abi.PROT_WRITE) {
	case given:
		return false
	case lost:
		info.Signo, info.Code = abi.SIGBUS, abi.BUS_ADRERR
		return true
	}
	// The access is allowed: another thread has changed the mapping since. If it fails again,
	// there is more to it.
	at := faultPoint{c.RIP, c.FaultAddr}
	if t.lastFault == at {
		t.lastFault = faultPoint{}
		info.Code = abi.SEGV_ACCERR
		return true
	}
	t.lastFault = at
	return false
}

// force makes the task take a signal that it cannot put off: if it is blocked or ignored, the
// process ends.
func (t *Task) force(info *abi.Siginfo) {
	s := &t.proc.sig
	sig := int(info.Signo)
	s.mu.Lock()
	act := s.act[sig]
	blocked := t.sigmask.Has(sig)
	if act.Flags&abi.SA_RESETHAND != 0 && act.Handler > abi.SIG_IGN {
		s.act[sig].Handler = abi.SIG_DFL
	}
	s.mu.Unlock()
	if blocked || act.Handler == abi.SIG_IGN || act.Handler == abi.SIG_DFL {
		t.die(info)
		return
	}
	if t.forcing {
		// Not even the frame of the handler for the fault can be written.
		t.die(info)
		return
	}
	t.forcing = true
	t.handle(info, &act)
	t.forcing = false
}
