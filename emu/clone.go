package emu

import (
	"sync/atomic"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// cloneArgs is what clone(2) and clone3(2) are asked for.
type cloneArgs struct {
	flags      uint64   // without CSIGNAL
	exitSignal uint64   // of a process
	stack      abi.Addr // stack pointer; 0: the caller's, for a process
	ptid, ctid abi.Addr
	tls        abi.Addr
	pidfd      abi.Addr // CLONE_PIDFD: where the descriptor goes
	entry      abi.Addr // where it begins; 0: where the call returns to
}

const (
	// processFlags are what a clone may have to make a process. It shares the caller's memory, since
	// there is no way to copy it, and has its own of all else.
	processFlags = abi.CLONE_VM | abi.CLONE_VFORK | abi.CLONE_PARENT | abi.CLONE_PIDFD | abi.CLONE_SYSVSEM | abi.CLONE_SETTLS |
		abi.CLONE_PARENT_SETTID | abi.CLONE_CHILD_SETTID | abi.CLONE_CHILD_CLEARTID | abi.CLONE_DETACHED | abi.CLONE_PTRACE |
		abi.CLONE_UNTRACED | abi.CLONE_IO | abi.CLONE_CLEAR_SIGHAND

	namespaceFlags = abi.CLONE_NEWNS | abi.CLONE_NEWCGROUP | abi.CLONE_NEWUTS | abi.CLONE_NEWIPC | abi.CLONE_NEWUSER |
		abi.CLONE_NEWPID | abi.CLONE_NEWNET
)

// clone makes a thread, or a process with one.
func (t *Task) clone(a *cloneArgs) (uint64, abi.Errno) {
	f := a.flags
	has := func(flags uint64) bool { return f&flags == flags }
	switch {
	case has(abi.CLONE_NEWNS | abi.CLONE_FS), has(abi.CLONE_NEWUSER | abi.CLONE_FS),
		has(abi.CLONE_THREAD) && !has(abi.CLONE_SIGHAND),
		has(abi.CLONE_SIGHAND) && !has(abi.CLONE_VM),
		has(abi.CLONE_SIGHAND | abi.CLONE_CLEAR_SIGHAND),
		has(abi.CLONE_THREAD) && f&(abi.CLONE_NEWUSER|abi.CLONE_NEWPID) != 0,
		has(abi.CLONE_PIDFD) && f&(abi.CLONE_DETACHED|abi.CLONE_THREAD) != 0:
		return 0, abi.EINVAL
	case f&namespaceFlags != 0:
		return 0, abi.EPERM
	case f&threadFlags == threadFlags:
		return t.startThread(a)
	case f&abi.CLONE_VM == 0, f&^processFlags != 0:
		return 0, abi.ENOSYS
	}
	return t.startProcess(a)
}

// procClone answers proc_clone (clone3(2)).
func (t *Task) procClone(args abi.Addr, size uint64) (uint64, abi.Errno) {
	const known = abi.CloneArgsSize
	switch {
	case size > pageSize:
		return 0, abi.E2BIG
	case size < abi.CloneArgsSizeV0:
		return 0, abi.EINVAL
	}
	var b [pageSize]byte
	if guest.CopyIn(b[:size], args) < int(size) {
		return 0, abi.EFAULT
	}
	for _, more := range b[min(known, size):size] {
		if more != 0 {
			return 0, abi.E2BIG
		}
	}
	var v abi.CloneArgs
	v.Decode(b[:known])
	a := cloneArgs{flags: v.Flags, exitSignal: v.ExitSignal, ptid: v.ParentTID, ctid: v.ChildTID, tls: v.TLS, pidfd: v.Pidfd}
	switch {
	case v.Flags&(abi.CLONE_DETACHED|abi.CSIGNAL) != 0, v.Flags>>34 != 0,
		v.Flags&(abi.CLONE_THREAD|abi.CLONE_PARENT) != 0 && v.ExitSignal != 0,
		v.ExitSignal > abi.SIGRTMAX,
		(v.Stack == 0) != (v.StackSize == 0),
		(v.SetTID == 0) != (v.SetTIDSize == 0), v.SetTIDSize > 32:
		return 0, abi.EINVAL
	case v.SetTIDSize != 0: // to choose a number is a privilege that nobody has here
		return 0, abi.EPERM
	case v.Flags&abi.CLONE_INTO_CGROUP != 0:
		return 0, abi.EBADF
	}
	if v.Stack != 0 {
		if !inGuest(v.Stack, v.StackSize) {
			return 0, abi.EINVAL
		}
		a.stack = v.Stack + abi.Addr(v.StackSize)
	}
	return t.clone(&a)
}

// vforkWait is how a thread waits until the process that it has made leaves its memory.
type vforkWait struct {
	parent *Task
	done   atomic.Bool
}

// vforkDone is called when the process does not use its parent's memory any more.
func (p *Process) vforkDone() {
	if v := p.vfork.Swap(nil); v != nil {
		v.done.Store(true)
		v.parent.wake()
	}
}

// await returns once the process is done with the memory, or the thread has to end: no signal does
// anything before.
func (v *vforkWait) await() {
	t := v.parent
	t.block()
	for !v.done.Load() && t.attention.Load()&attExit == 0 {
		t.parker.park()
	}
	t.unblock()
}

// startProcess makes a process in the memory of the task's own.
func (t *Task) startProcess(a *cloneArgs) (uint64, abi.Errno) {
	p, k := t.proc, t.kernel
	if a.flags&abi.CLONE_PARENT != 0 && p.parent.Load() == nil || a.exitSignal > abi.SIGRTMAX {
		return 0, abi.EINVAL
	}
	if k.taskN.Add(1) > k.maxThreads {
		k.taskN.Add(-1)
		return 0, abi.EAGAIN
	}
	c := k.m.NewContext()
	if c == nil {
		k.taskN.Add(-1)
		return 0, abi.ENOMEM
	}
	n := &Task{ctx: c, kernel: k, sigmask: t.sigmask}
	copyContext(c, t.ctx)
	c.RAX = 0
	if a.stack != 0 {
		c.RSP = uint64(a.stack)
	}
	if a.entry != 0 {
		c.RIP = uint64(a.entry)
	}
	if a.flags&abi.CLONE_SETTLS != 0 {
		c.FSBase = uint64(a.tls)
	}
	if a.flags&abi.CLONE_CHILD_CLEARTID != 0 {
		n.clearTID = a.ctid
	}
	if a.flags&abi.CLONE_VFORK != 0 {
		n.altStack = t.altStack
	}
	q := p.copy(a.flags)
	n.proc = q
	var wait *vforkWait
	if a.flags&abi.CLONE_VFORK != 0 {
		wait = &vforkWait{parent: t}
		q.vfork.Store(wait)
	}
	pidfd, d, errno := t.reservePidfd(q, a)
	if errno == 0 {
		errno = k.register(n, t, a)
	}
	if errno != 0 {
		if d != nil {
			p.files.unreserve(pidfd)
			d.unref()
		}
		k.taskN.Add(-1)
		k.m.FreeContext(c)
		q.drop()
		return 0, errno
	}
	if d != nil {
		p.files.install(pidfd, d)
	}
	if a.flags&abi.CLONE_PARENT_SETTID != 0 {
		guest.Store32(a.ptid, uint32(q.pid))
	}
	if a.flags&abi.CLONE_CHILD_SETTID != 0 {
		guest.Store32(a.ctid, uint32(q.pid))
	}
	pid := q.pid
	k.launch(n, t)
	if wait != nil {
		wait.await()
	}
	return uint64(pid), 0
}

// reservePidfd makes the descriptor that CLONE_PIDFD asks for; it is still to be installed.
func (t *Task) reservePidfd(q *Process, a *cloneArgs) (fd int32, d *description, errno abi.Errno) {
	if a.flags&abi.CLONE_PIDFD == 0 {
		return 0, nil, 0
	}
	files := t.proc.files
	if fd, errno = files.reserve(0, t.maxFD(), true); errno != 0 {
		return 0, nil, errno
	}
	if d, errno = t.newPidfd(q, nil, 0); errno == 0 && !guest.Store32(a.pidfd, uint32(fd)) {
		d.unref()
		errno = abi.EFAULT
	}
	if errno != 0 {
		files.unreserve(fd)
		return 0, nil, errno
	}
	return fd, d, 0
}

// copy makes a process that is as p but for having no threads, and in p's memory.
func (p *Process) copy(flags uint64) *Process {
	k := p.kernel
	q := &Process{kernel: k, tasks: make(map[int32]*Task), files: p.files.clone()}
	cwd, root := p.directories()
	fs := *p.fs()
	// Another thread may have changed directory in between: these are held.
	fs.Cwd, fs.Root, fs.Owner = cwd, root, q
	q.fsctx.Store(&fs)
	for i := range p.limits {
		q.limits[i].cur.Store(p.limits[i].cur.Load())
		q.limits[i].max.Store(p.limits[i].max.Load())
	}
	q.shown.Store(p.shown.Load())
	p.mu.Lock()
	q.name, q.exe, q.bias, q.ids = p.name, p.exe, p.bias, p.ids
	if q.exe != nil {
		q.exe.Ref()
		k.running.add(q.exe.Node())
	}
	p.mu.Unlock()
	q.ids.deathSig = 0
	p.sig.mu.Lock()
	q.sig.act = p.sig.act
	p.sig.mu.Unlock()
	if flags&abi.CLONE_CLEAR_SIGHAND != 0 {
		q.sig.clearHandlers()
	}
	p.mem().enter(q)
	return q
}

// clearHandlers sets the actions of all signals that are handled to the default.
func (s *signals) clearHandlers() {
	for i := range s.act {
		if s.act[i].Handler != abi.SIG_IGN {
			s.act[i] = abi.Sigaction{}
		} else {
			s.act[i] = abi.Sigaction{Handler: abi.SIG_IGN}
		}
	}
}

// drop lets go of what copy has taken, for a process that never ran.
func (q *Process) drop() {
	q.files.closeAll()
	q.memory.Swap(nil).leave(q)
	q.setCwd(nil)
	q.setRoot(nil)
	if q.exe != nil {
		q.kernel.running.remove(q.exe.Node())
		q.exe.Unref()
	}
}

// register gives a process that t has made and its thread n their number and puts it among its kin.
func (k *Kernel) register(n, t *Task, a *cloneArgs) abi.Errno {
	p, q := t.proc, n.proc
	k.mu.Lock()
	defer k.mu.Unlock()
	p.mu.Lock()
	bad := p.exiting || k.ending || len(k.procs) >= int(k.maxThreads)
	n.name, n.nameLen, n.keepCaps = t.name, t.nameLen, t.keepCaps
	q.ids.pgid, q.ids.sid = p.ids.pgid, p.ids.sid // they may have changed since
	p.mu.Unlock()
	if bad {
		return abi.EAGAIN
	}
	q.pid = k.newID()
	n.tid = q.pid
	k.tasks[n.tid], k.procs[q.pid] = n, q
	k.alive++
	o := p
	q.exitSignal, q.maker = int32(a.exitSignal), t.tid
	if a.flags&abi.CLONE_PARENT != 0 {
		o = p.parent.Load()
		q.exitSignal, q.maker = p.exitSignal, p.maker
	}
	q.parent.Store(o)
	if o != nil {
		o.children = append(o.children, q)
		o.hadChildren.Store(true)
	}
	q.mu.Lock()
	q.adopt(n)
	q.mu.Unlock()
	return 0
}
