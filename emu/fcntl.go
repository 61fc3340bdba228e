package emu

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

// settableFlags are those that F_SETFL changes; it ignores all others.
const settableFlags = abi.O_APPEND | abi.O_NONBLOCK | abi.O_DIRECT | abi.O_NOATIME | abi.O_ASYNC

// fdControl is fcntl(2).
func (t *Task) fdControl(fd, cmd int32, arg uint64) (uint64, abi.Errno) {
	d, errno := t.fileOrPath(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	if d.mode&modePath != 0 {
		switch cmd {
		case abi.F_DUPFD, abi.F_DUPFD_CLOEXEC, abi.F_GETFD, abi.F_SETFD, abi.F_GETFL:
		default:
			return 0, abi.EBADF
		}
	}
	switch cmd {
	case abi.F_DUPFD, abi.F_DUPFD_CLOEXEC:
		lowest := uint64(uint32(arg))
		if lowest >= t.maxFD() {
			return 0, abi.EINVAL
		}
		d.refs.Add(1)
		to, errno := t.proc.files.add(d, int(lowest), t.maxFD(), cmd == abi.F_DUPFD_CLOEXEC)
		if errno != 0 {
			return 0, errno
		}
		return uint64(to), 0
	case abi.F_GETFD:
		if t.proc.files.closesOnExec(fd) {
			return abi.FD_CLOEXEC, 0
		}
		return 0, 0
	case abi.F_SETFD:
		return 0, t.proc.files.setFlag(fd, arg&abi.FD_CLOEXEC != 0)
	case abi.F_GETFL:
		return uint64(d.flags.Load()), 0
	case abi.F_SETFL:
		return 0, t.setFlags(d, uint32(arg))
	case abi.F_GETLK, abi.F_SETLK, abi.F_SETLKW, abi.F_OFD_GETLK, abi.F_OFD_SETLK, abi.F_OFD_SETLKW:
		return 0, t.recordLock(fd, d, cmd, abi.Addr(arg))
	case abi.F_GETPIPE_SZ, abi.F_SETPIPE_SZ:
		p, ok := d.file.(*pipeEnd)
		if !ok {
			return 0, abi.EBADF
		}
		if cmd == abi.F_GETPIPE_SZ {
			return uint64(p.pipe.capacity()), 0
		}
		return p.pipe.setCapacity(t.kernel, arg, t.proc.uid() == 0)
	case abi.F_GETOWN:
		return uint64(int64(d.owner.Load())), 0
	case abi.F_SETOWN:
		d.owner.Store(int32(arg))
		return 0, 0
	case abi.F_GETSIG:
		return uint64(d.sig.Load()), 0
	case abi.F_SETSIG:
		if arg > abi.SIGRTMAX {
			return 0, abi.EINVAL
		}
		d.sig.Store(int32(arg))
		return 0, 0
	case abi.F_GETLEASE:
		return abi.F_UNLCK, 0
	case abi.F_SETLEASE:
		return 0, t.setLease(d, arg)
	}
	// F_NOTIFY, seals and hints too: no file here has them.
	return 0, abi.EINVAL
}

// setFlags is F_SETFL.
func (t *Task) setFlags(d *description, arg uint32) abi.Errno {
	old := d.flags.Load()
	if arg&abi.O_NOATIME != 0 && old&abi.O_NOATIME == 0 {
		uid := t.proc.fs().UID
		if errno := d.dentry.Attr(&t.attr); errno != 0 {
			return errno
		}
		if uid != 0 && uid != t.attr.UID {
			return abi.EPERM
		}
	}
	if old&^arg&abi.O_APPEND != 0 && vfs.NodeFlags(d.node)&abi.FS_APPEND_FL != 0 {
		return abi.EPERM
	}
	if k := d.kind(); arg&abi.O_DIRECT != 0 && k != abi.S_IFREG && k != abi.S_IFIFO {
		return abi.EINVAL
	}
	for {
		if d.flags.CompareAndSwap(old, old&^settableFlags|arg&settableFlags) {
			return 0
		}
		old = d.flags.Load()
	}
}

// setLease is F_SETLEASE. Leases are never granted: they need somebody who breaks them.
func (t *Task) setLease(d *description, arg uint64) abi.Errno {
	if arg != abi.F_RDLCK && arg != abi.F_WRLCK && arg != abi.F_UNLCK || d.kind() != abi.S_IFREG {
		return abi.EINVAL
	}
	return abi.EAGAIN
}
