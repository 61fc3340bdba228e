package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
)

// procControl answers proc_control (prctl(2)): what a process may say of itself. What would take away
// what it does not have (speculation controls) succeeds or tells so.
func (t *Task) procControl(op int32, a, b, c, d uint64) (uint64, abi.Errno) {
	p := t.proc
	switch op {
	case abi.PR_SET_NAME:
		var name [16]byte
		n, ok := guest.CopyString(name[:], abi.Addr(a))
		if !ok && n < len(name) {
			return 0, abi.EFAULT
		}
		t.setName(string(name[:min(n, len(name)-1)]))
		return 0, 0
	case abi.PR_GET_NAME:
		var name [16]byte
		copy(name[:], t.threadName())
		if guest.CopyOut(abi.Addr(a), name[:]) < len(name) {
			return 0, abi.EFAULT
		}
		return 0, 0
	case abi.PR_GET_TID_ADDRESS:
		if !guest.Store64(abi.Addr(a), uint64(t.clearTID)) {
			return 0, abi.EFAULT
		}
		return 0, 0
	case abi.PR_GET_KEEPCAPS, abi.PR_SET_KEEPCAPS, abi.PR_GET_SECUREBITS, abi.PR_SET_SECUREBITS, abi.PR_CAPBSET_READ,
		abi.PR_CAPBSET_DROP, abi.PR_CAP_AMBIENT:
		return t.controlCaps(op, a, b, c, d)
	case abi.PR_GET_PDEATHSIG:
		p.mu.Lock()
		sig := p.ids.deathSig
		p.mu.Unlock()
		if !guest.Store32(abi.Addr(a), uint32(sig)) {
			return 0, abi.EFAULT
		}
		return 0, 0
	}
	k := t.kernel
	switch op {
	case abi.PR_SET_CHILD_SUBREAPER:
		k.mu.Lock()
		p.subreaper = a != 0
		k.mu.Unlock()
		return 0, 0
	case abi.PR_GET_CHILD_SUBREAPER:
		k.mu.Lock()
		v := bit(p.subreaper)
		k.mu.Unlock()
		if !guest.Store32(abi.Addr(a), uint32(v)) {
			return 0, abi.EFAULT
		}
		return 0, 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	i := &p.ids
	switch op {
	case abi.PR_SET_PDEATHSIG:
		if a > abi.SIGRTMAX {
			return 0, abi.EINVAL
		}
		i.deathSig = int32(a)
	case abi.PR_GET_DUMPABLE:
		return bit(i.dumpable), 0
	case abi.PR_SET_DUMPABLE:
		if a > 1 {
			return 0, abi.EINVAL
		}
		i.dumpable = a == 1
	case abi.PR_SET_NO_NEW_PRIVS:
		if a != 1 || b|c|d != 0 {
			return 0, abi.EINVAL
		}
		i.noNewPrivs = true
	case abi.PR_GET_NO_NEW_PRIVS:
		return bit(i.noNewPrivs), 0
	case abi.PR_GET_TIMING, abi.PR_GET_THP_DISABLE, abi.PR_GET_SECCOMP:
		return 0, 0
	case abi.PR_SET_TIMING, abi.PR_SET_THP_DISABLE, abi.PR_SET_VMA, abi.PR_SET_PTRACER:
		return 0, 0
	case abi.PR_GET_TIMERSLACK:
		return i.slack, 0
	case abi.PR_SET_TIMERSLACK:
		if i.slack = a; a == 0 {
			i.slack = defaultSlack
		}
	default:
		return 0, abi.EINVAL
	}
	return 0, 0
}

// defaultSlack is the timer slack of a new process in nanoseconds. It is kept and has no effect.
const defaultSlack = 50000

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// setName sets the thread's name, of at most 15 bytes.
func (t *Task) setName(name string) {
	t.proc.mu.Lock()
	t.nameLen = copy(t.name[:len(t.name)-1], name)
	t.proc.mu.Unlock()
}

// threadName returns the thread's name, as prctl and /proc/self/comm have it.
func (t *Task) threadName() string {
	t.proc.mu.Lock()
	defer t.proc.mu.Unlock()
	return string(t.name[:t.nameLen])
}
