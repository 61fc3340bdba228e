package emu

import "pinhole/abi"

// identity is who a process is, as credentials(7) has it, but for what file systems look at (the
// file system ids and groups), which Process.fsctx holds. Guarded by Process.mu.
type identity struct {
	user, group idSet
	pgid, sid   int32

	dumpable   bool
	noNewPrivs bool
	deathSig   int32
	slack      uint64
	nice       int32
}

// group returns the process group.
func (p *Process) group() int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ids.pgid
}

// maySignal tells whether p may send signal sig to o (kill(2)).
func (p *Process) maySignal(o *Process, sig int32) bool {
	if p == o || p.uid() == 0 {
		return true
	}
	if sig == abi.SIGCONT {
		_, mine := p.groupAndSession()
		if _, its := o.groupAndSession(); mine == its {
			return true
		}
	}
	p.mu.Lock()
	from := p.ids.user
	p.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range [2]uint32{from.effective, from.real} {
		if id == o.ids.user.real || id == o.ids.user.saved {
			return true
		}
	}
	return false
}

func (t *Task) procPid() (uint64, abi.Errno) { return uint64(t.proc.pid), 0 }

// procParent answers proc_parent (getppid(2)): 0 for the first process, whose parent is outside.
func (t *Task) procParent() (uint64, abi.Errno) {
	if o := t.proc.parent.Load(); o != nil {
		return uint64(o.pid), 0
	}
	return 0, 0
}

// other returns the process with number pid (0: the caller's), or nil.
func (t *Task) other(pid int32) *Process {
	if pid == 0 || pid == t.proc.pid {
		return t.proc
	}
	return t.kernel.process(pid)
}

// procGetpgid answers proc_getpgid (getpgid(2)).
func (t *Task) procGetpgid(pid int32) (uint64, abi.Errno) {
	p := t.other(pid)
	if p == nil {
		return 0, abi.ESRCH
	}
	return uint64(p.group()), 0
}

// procSetpgid answers proc_setpgid (setpgid(2)).
func (t *Task) procSetpgid(pid, pgid int32) (uint64, abi.Errno) {
	if pgid < 0 {
		return 0, abi.EINVAL
	}
	k := t.kernel
	k.mu.Lock()
	defer k.mu.Unlock()
	p := t.proc
	if pid != 0 && pid != p.pid {
		if p = k.procs[pid]; p == nil || p.parent.Load() != t.proc {
			return 0, abi.ESRCH
		}
	}
	if pgid == 0 {
		pgid = p.pid
	}
	_, session := t.proc.groupAndSession()
	p.mu.Lock()
	sid, executed := p.ids.sid, p.executed
	p.mu.Unlock()
	switch {
	case sid != session, sid == p.pid:
		return 0, abi.EPERM
	case p != t.proc && executed:
		return 0, abi.EACCES
	case pgid != p.pid && !k.groupIn(pgid, session):
		return 0, abi.EPERM
	}
	p.mu.Lock()
	p.ids.pgid = pgid
	p.mu.Unlock()
	return 0, 0
}

// groupIn tells whether a process group is one of a session's. k.mu is held.
func (k *Kernel) groupIn(pgid, sid int32) bool {
	for _, p := range k.procs {
		if g, s := p.groupAndSession(); g == pgid && s == sid {
			return true
		}
	}
	return false
}

// procGetsid answers proc_getsid (getsid(2)).
func (t *Task) procGetsid(pid int32) (uint64, abi.Errno) {
	p := t.other(pid)
	if p == nil {
		return 0, abi.ESRCH
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return uint64(p.ids.sid), 0
}

// procSetsid answers proc_setsid (setsid(2)).
func (t *Task) procSetsid() (uint64, abi.Errno) {
	p := t.proc
	if t.kernel.hasGroup(p.pid) {
		return 0, abi.EPERM
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ids.sid, p.ids.pgid = p.pid, p.pid
	return uint64(p.pid), 0
}

// procPriority answers proc_priority (getpriority(2), which gives 20 minus the nice value).
func (t *Task) procPriority(which, who int32) (uint64, abi.Errno) {
	p, errno := t.prioritised(which, who)
	if errno != 0 {
		return 0, errno
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return uint64(20 - p.ids.nice), 0
}

// procSetpriority answers proc_setpriority (setpriority(2)). The value is kept, and has no effect.
func (t *Task) procSetpriority(which, who, value int32) (uint64, abi.Errno) {
	p, errno := t.prioritised(which, who)
	if errno != 0 {
		return 0, errno
	}
	value = min(max(value, -20), 19)
	root := t.proc.uid() == 0
	p.mu.Lock()
	defer p.mu.Unlock()
	if value < p.ids.nice && !root {
		return 0, abi.EACCES
	}
	p.ids.nice = value
	return 0, 0
}

func (t *Task) prioritised(which, who int32) (*Process, abi.Errno) {
	switch which {
	case abi.PRIO_PROCESS:
		if p := t.other(who); p != nil {
			return p, 0
		}
		if o := t.kernel.task(who); o != nil {
			return o.proc, 0
		}
	case abi.PRIO_PGRP:
		if who == 0 || who == t.proc.group() {
			return t.proc, 0
		}
		for _, p := range t.kernel.processes() {
			if p.group() == who {
				return p, 0
			}
		}
	case abi.PRIO_USER:
		if who == 0 || uint32(who) == t.proc.uid() {
			return t.proc, 0
		}
		for _, p := range t.kernel.processes() {
			if p.realUID() == uint32(who) {
				return p, 0
			}
		}
	default:
		return nil, abi.EINVAL
	}
	return nil, abi.ESRCH
}
