package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/fs/vfs"
)

// pidfd is a descriptor that stands for a process (pidfd_open(2)). It can be read when the process has
// ended.
type pidfd struct{ p *Process }

// pidfdNode is the node of all of them.
type pidfdNode struct{ anonNode }

func (f *pidfd) read(*Task, *description, int64, int, vfs.Dest) (int, abi.Errno) {
	return 0, abi.EINVAL
}

func (f *pidfd) write(*Task, *description, int64, int, vfs.Source) (int, int64, abi.Errno) {
	return 0, 0, abi.EINVAL
}

func (f *pidfd) ready(*Task, *description) uint32 {
	switch {
	case f.p.reaped.Load():
		return abi.POLLIN | abi.POLLRDNORM | abi.POLLHUP
	case f.p.ended.Load():
		return abi.POLLIN | abi.POLLRDNORM
	}
	return 0
}

func (f *pidfd) queue(*Task) *waitQueue { return &f.p.ends }

func (f *pidfd) ioctl(*Task, *description, uint32, uint64) (uint64, abi.Errno) {
	return 0, abi.ENOTTY
}

func (f *pidfd) release(*description) {}

// newPidfd makes a descriptor of p.
func (t *Task) newPidfd(p *Process, flags uint32) (*description, abi.Errno) {
	n := &pidfdNode{}
	t.initNode(&n.anonNode, 0o600)
	return t.kernel.newDescription(t.kernel.ns.NewAnonymous(n, "anon_inode:[pidfd]", anonDev), &pidfd{p},
		modeRead|modeWrite, abi.O_RDWR|flags)
}

// pidfd returns the process that descriptor fd stands for, and how it is open.
func (t *Task) pidfd(fd int32) (*Process, uint32, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return nil, 0, errno
	}
	defer d.unref()
	f, ok := d.file.(*pidfd)
	if !ok {
		return nil, 0, abi.EBADF
	}
	return f.p, d.flags.Load(), 0
}

// pidfdOpen answers pidfd_open (pidfd_open(2)).
func (t *Task) pidfdOpen(pid int32, flags uint32) (uint64, abi.Errno) {
	if flags&^abi.PIDFD_NONBLOCK != 0 || pid <= 0 {
		return 0, abi.EINVAL
	}
	p := t.kernel.process(pid)
	if p == nil {
		if t.kernel.task(pid) != nil {
			return 0, abi.EINVAL // a thread that is not the first
		}
		return 0, abi.ESRCH
	}
	d, errno := t.newPidfd(p, flags)
	if errno != 0 {
		return 0, errno
	}
	return t.addFile(d, true)
}

// pidfdSignal answers pidfd_signal (pidfd_send_signal(2)).
func (t *Task) pidfdSignal(fd, sig int32, info abi.Addr, flags uint32) (uint64, abi.Errno) {
	if flags != 0 {
		return 0, abi.EINVAL
	}
	p, _, errno := t.pidfd(fd)
	if errno != 0 {
		return 0, errno
	}
	i := abi.Siginfo{Signo: sig, Code: abi.SI_USER, PID: t.proc.pid, UID: t.proc.realUID()}
	if info != 0 {
		var b [abi.SiginfoSize]byte
		if guest.CopyIn(b[:], info) < len(b) {
			return 0, abi.EFAULT
		}
		i.Decode(b[:])
		if i.Signo != sig {
			return 0, abi.EINVAL
		}
		if p != t.proc && (i.Code >= 0 || i.Code == abi.SI_TKILL) {
			return 0, abi.EPERM // only the kernel says so
		}
	}
	if sig < 0 || sig > abi.SIGRTMAX {
		return 0, abi.EINVAL
	}
	if p.reaped.Load() {
		return 0, abi.ESRCH
	}
	if !t.proc.maySignal(p, sig) {
		return 0, abi.EPERM
	}
	if sig == 0 {
		return 0, 0
	}
	return 0, p.send(&i, nil)
}

// pidfdGet answers pidfd_get (pidfd_getfd(2)).
func (t *Task) pidfdGet(fd, target int32, flags uint32) (uint64, abi.Errno) {
	if flags != 0 {
		return 0, abi.EINVAL
	}
	p, _, errno := t.pidfd(fd)
	switch {
	case errno != 0:
		return 0, errno
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
