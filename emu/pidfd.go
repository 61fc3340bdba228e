package emu

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

// pidfd is a descriptor that stands for a process, or for a thread (pidfd_open(2), PIDFD_THREAD). It can be
// read when that has ended.
type pidfd struct {
	p      *Process
	thread *Task // nil: the process
}

// pidfdNode is the node of all of them.
type pidfdNode struct{ anonNode }

func (f *pidfd) read(*Task, *description, int64, int, vfs.Dest) (int, abi.Errno) {
	return 0, abi.EINVAL
}

func (f *pidfd) write(*Task, *description, int64, int, vfs.Source) (int, int64, abi.Errno) {
	return 0, 0, abi.EINVAL
}

func (f *pidfd) ready(*Task, *description) uint32 {
	gone, forgotten := f.p.ended.Load(), f.p.reaped.Load()
	if f.thread != nil {
		gone = f.thread.state.Load() == taskGone
		forgotten = gone && (forgotten || f.thread.tid != f.p.pid) // nobody waits for other threads than the first
	}
	switch {
	case forgotten:
		return abi.POLLIN | abi.POLLRDNORM | abi.POLLHUP
	case gone:
		return abi.POLLIN | abi.POLLRDNORM
	}
	return 0
}

func (f *pidfd) queue(*Task) *waitQueue { return &f.p.ends }

func (f *pidfd) ioctl(*Task, *description, uint32, uint64) (uint64, abi.Errno) {
	return 0, abi.ENOTTY
}

func (f *pidfd) release(*description) {}

// newPidfd makes a descriptor of p, or of a thread of p's.
func (t *Task) newPidfd(p *Process, thread *Task, flags uint32) (*description, abi.Errno) {
	n := &pidfdNode{}
	t.initNode(&n.anonNode, 0o600)
	return t.kernel.newDescription(t.kernel.ns.NewAnonymous(n, "anon_inode:[pidfd]", anonDev), &pidfd{p, thread},
		modeRead|modeWrite, abi.O_RDWR|flags)
}

// pidfd returns what descriptor fd stands for, and how it is open.
func (t *Task) pidfd(fd int32) (*pidfd, uint32, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return nil, 0, errno
	}
	defer d.unref()
	f, ok := d.file.(*pidfd)
	if !ok {
		return nil, 0, abi.EBADF
	}
	return f, d.flags.Load(), 0
}

// pidfdOpen answers pidfd_open (pidfd_open(2)).
func (t *Task) pidfdOpen(pid int32, flags uint32) (uint64, abi.Errno) {
	if flags&^(abi.PIDFD_NONBLOCK|abi.PIDFD_THREAD) != 0 || pid <= 0 {
		return 0, abi.EINVAL
	}
	if flags&abi.PIDFD_THREAD != 0 {
		o := t.kernel.task(pid)
		if o == nil {
			return 0, abi.ESRCH
		}
		d, errno := t.newPidfd(o.proc, o, flags)
		if errno != 0 {
			return 0, errno
		}
		return t.addFile(d, true)
	}
	p := t.kernel.process(pid)
	if p == nil {
		if t.kernel.task(pid) != nil {
			return 0, abi.EINVAL // a thread that is not the first
		}
		return 0, abi.ESRCH
	}
	d, errno := t.newPidfd(p, nil, flags)
	if errno != 0 {
		return 0, errno
	}
	return t.addFile(d, true)
}

// pidfdSignal answers pidfd_signal (pidfd_send_signal(2)).
func (t *Task) pidfdSignal(fd, sig int32, info abi.Addr, flags uint32) (uint64, abi.Errno) {
	const scopes = abi.PIDFD_SIGNAL_THREAD | abi.PIDFD_SIGNAL_THREAD_GROUP | abi.PIDFD_SIGNAL_PROCESS_GROUP
	if flags&^scopes != 0 || flags&(flags-1) != 0 {
		return 0, abi.EINVAL
	}
	f, _, errno := t.pidfd(fd)
	if errno != 0 {
		return 0, errno
	}
	if flags == 0 {
		flags = abi.PIDFD_SIGNAL_THREAD_GROUP
		if f.thread != nil {
			flags = abi.PIDFD_SIGNAL_THREAD
		}
	}
	i := abi.Siginfo{Signo: sig, Code: abi.SI_USER, PID: t.proc.pid, UID: t.proc.realUID()}
	if flags == abi.PIDFD_SIGNAL_THREAD {
		i.Code = abi.SI_TKILL
	}
	if info != 0 {
		if errno := t.getStruct(info, abi.SiginfoSize); errno != 0 {
			return 0, errno
		}
		if i.Decode(t.scratch[:]); i.Signo != sig {
			return 0, abi.EINVAL
		}
		if (f.p != t.proc || flags == abi.PIDFD_SIGNAL_PROCESS_GROUP) && !mayClaim(&i) {
			return 0, abi.EPERM
		}
	}
	switch flags {
	case abi.PIDFD_SIGNAL_PROCESS_GROUP:
		return t.signalGroup(f.p.pid, &i)
	case abi.PIDFD_SIGNAL_THREAD:
		o := f.thread
		if o == nil {
			o = f.p.task(f.p.pid)
		}
		if o == nil || o.state.Load() == taskGone {
			return 0, abi.ESRCH
		}
		return t.sendOwn(f.p, o, &i)
	}
	if f.p.reaped.Load() {
		return 0, abi.ESRCH
	}
	return t.sendOwn(f.p, nil, &i)
}

// pidfdGet answers pidfd_get (pidfd_getfd(2)).
func (t *Task) pidfdGet(fd, target int32, flags uint32) (uint64, abi.Errno) {
	if flags != 0 {
		return 0, abi.EINVAL
	}
	f, _, errno := t.pidfd(fd)
	if errno != 0 {
		return 0, errno
	}
	p := f.p
	switch {
	case p.mem() == nil:
		return 0, abi.ESRCH
	case p != t.proc && !t.mayInspect(p):
		return 0, abi.EPERM
	}
	d := p.files.get(target)
	if d == nil {
		return 0, abi.EBADF
	}
	return t.addFile(d, true)
}

// mayInspect tells whether the process may look into p (ptrace(2), "access mode checking").
func (t *Task) mayInspect(p *Process) bool {
	if t.proc.uid() == 0 {
		return true
	}
	mine := t.proc.fs()
	uid, gid := mine.UID, mine.GID
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ids.user == idSet{uid, uid, uid} && p.ids.group == idSet{gid, gid, gid} && p.ids.dumpable
}
