package emu

import (
	"slices"

	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/fs/vfs"
)

// identity is who a process is, as credentials(7) has it, but for what file systems look at (the
// effective ids and groups), which Process.fsctx holds. Guarded by Process.mu.
type identity struct {
	ruid, suid uint32
	rgid, sgid uint32
	pgid, sid  int32

	dumpable   bool
	noNewPrivs bool
	deathSig   int32
	slack      uint64
	nice       int32
}

// uid returns the effective user id.
func (p *Process) uid() uint32 { return p.fs().UID }

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
	from := [2]uint32{p.uid(), p.ids.ruid}
	p.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range from {
		if id == o.ids.ruid || id == o.ids.suid {
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

func (t *Task) procUid() (uint64, abi.Errno) {
	t.proc.mu.Lock()
	defer t.proc.mu.Unlock()
	return uint64(t.proc.ids.ruid), 0
}

func (t *Task) procGid() (uint64, abi.Errno) {
	t.proc.mu.Lock()
	defer t.proc.mu.Unlock()
	return uint64(t.proc.ids.rgid), 0
}

func (t *Task) procEuid() (uint64, abi.Errno) { return uint64(t.proc.fs().UID), 0 }
func (t *Task) procEgid() (uint64, abi.Errno) { return uint64(t.proc.fs().GID), 0 }

// maxGroups is the most supplementary groups a process has (NGROUPS_MAX).
const maxGroups = 65536

// procGroups answers proc_groups (getgroups(2)).
func (t *Task) procGroups(n int32, list abi.Addr) (uint64, abi.Errno) {
	groups := t.proc.fs().Groups
	if n < 0 || n != 0 && int(n) < len(groups) {
		return 0, abi.EINVAL
	}
	if n == 0 {
		return uint64(len(groups)), 0
	}
	b := make([]byte, 4*len(groups))
	for i, g := range groups {
		le.PutUint32(b[4*i:], g)
	}
	if guest.CopyOut(list, b) < len(b) {
		return 0, abi.EFAULT
	}
	return uint64(len(groups)), 0
}

// procSetgroups answers proc_setgroups (setgroups(2)).
func (t *Task) procSetgroups(n uint64, list abi.Addr) (uint64, abi.Errno) {
	if t.proc.uid() != 0 {
		return 0, abi.EPERM
	}
	if n > maxGroups {
		return 0, abi.EINVAL
	}
	b := make([]byte, 4*n)
	if guest.CopyIn(b, list) < len(b) {
		return 0, abi.EFAULT
	}
	groups := make([]uint32, n)
	for i := range groups {
		groups[i] = le.Uint32(b[4*i:])
	}
	return 0, t.proc.changeFS(func(c *vfs.Context) abi.Errno {
		c.Groups = groups
		return 0
	})
}

// unchanged as an id leaves it as it is.
const unchanged = ^uint32(0)

// setIDs changes real, effective and saved id as setresuid(2) and setresgid(2) do: root to
// anything, others to one of the three they have.
func setIDs(root bool, ids [3]*uint32, want [3]uint32) abi.Errno {
	have := [3]uint32{*ids[0], *ids[1], *ids[2]}
	for _, w := range want {
		if w != unchanged && !root && !slices.Contains(have[:], w) {
			return abi.EPERM
		}
	}
	for i, w := range want {
		if w != unchanged {
			*ids[i] = w
		}
	}
	return 0
}

// procSetresuid answers proc_setresuid (setresuid(2)).
func (t *Task) procSetresuid(r, e, s uint32) (uint64, abi.Errno) {
	p := t.proc
	return 0, p.changeFS(func(c *vfs.Context) abi.Errno {
		p.mu.Lock()
		defer p.mu.Unlock()
		return setIDs(c.UID == 0, [3]*uint32{&p.ids.ruid, &c.UID, &p.ids.suid}, [3]uint32{r, e, s})
	})
}

// procSetresgid answers proc_setresgid (setresgid(2)).
func (t *Task) procSetresgid(r, e, s uint32) (uint64, abi.Errno) {
	p := t.proc
	return 0, p.changeFS(func(c *vfs.Context) abi.Errno {
		p.mu.Lock()
		defer p.mu.Unlock()
		return setIDs(c.UID == 0, [3]*uint32{&p.ids.rgid, &c.GID, &p.ids.sgid}, [3]uint32{r, e, s})
	})
}

func (t *Task) procGetresuid(r, e, s abi.Addr) (uint64, abi.Errno) {
	t.proc.mu.Lock()
	real, saved := t.proc.ids.ruid, t.proc.ids.suid
	t.proc.mu.Unlock()
	return 0, storeIDs([3]abi.Addr{r, e, s}, [3]uint32{real, t.proc.fs().UID, saved})
}

func (t *Task) procGetresgid(r, e, s abi.Addr) (uint64, abi.Errno) {
	t.proc.mu.Lock()
	real, saved := t.proc.ids.rgid, t.proc.ids.sgid
	t.proc.mu.Unlock()
	return 0, storeIDs([3]abi.Addr{r, e, s}, [3]uint32{real, t.proc.fs().GID, saved})
}

func storeIDs(to [3]abi.Addr, ids [3]uint32) abi.Errno {
	for i, a := range to {
		if !guest.Store32(a, ids[i]) {
			return abi.EFAULT
		}
	}
	return 0
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
	p.mu.Lock()
	defer p.mu.Unlock()
	if value < p.ids.nice && t.proc.uid() != 0 {
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
