package emu

import "pinhole/abi"

// fileReadv is readv(2).
func (t *Task) fileReadv(fd int32, iov abi.Addr, count int32) (uint64, abi.Errno) {
	return t.readVector(fd, iov, count, -1, 0)
}

// fileWritev is writev(2).
func (t *Task) fileWritev(fd int32, iov abi.Addr, count int32) (uint64, abi.Errno) {
	return t.writeVector(fd, iov, count, -1, 0)
}

// filePreadv is preadv(2). hi is the high half of the offset on 32-bit machines, here nothing.
func (t *Task) filePreadv(fd int32, iov abi.Addr, count int32, off, hi int64) (uint64, abi.Errno) {
	if off < 0 {
		return 0, abi.EINVAL
	}
	return t.readVector(fd, iov, count, off, 0)
}

// filePwritev is pwritev(2).
func (t *Task) filePwritev(fd int32, iov abi.Addr, count int32, off, hi int64) (uint64, abi.Errno) {
	if off < 0 {
		return 0, abi.EINVAL
	}
	return t.writeVector(fd, iov, count, off, 0)
}

// filePreadv2 is preadv2(2); offset -1 stands for the description's own.
func (t *Task) filePreadv2(fd int32, iov abi.Addr, count int32, off, hi int64, flags uint32) (uint64, abi.Errno) {
	if off < -1 {
		return 0, abi.EINVAL
	}
	return t.readVector(fd, iov, count, off, flags)
}

// filePwritev2 is pwritev2(2); offset -1 stands for the description's own.
func (t *Task) filePwritev2(fd int32, iov abi.Addr, count int32, off, hi int64, flags uint32) (uint64, abi.Errno) {
	if off < -1 {
		return 0, abi.EINVAL
	}
	return t.writeVector(fd, iov, count, off, flags)
}

// Flags of preadv2 and pwritev2 that are known. RWF_NOWAIT is not among them: the kernel
// cannot tell whether content is at hand.
const (
	rwfRead  = abi.RWF_HIPRI | abi.RWF_DSYNC | abi.RWF_SYNC
	rwfWrite = rwfRead | abi.RWF_APPEND
)

// vectorFile begins readVector and writeVector: it returns the description, with a reference, and how many bytes
// t.iov then stands for. unknown are flags that nobody knows. Without a description that is all: an error, or
// nothing to do.
func (t *Task) vectorFile(fd int32, iov abi.Addr, count int32, off int64, access mode, unknown uint32) (*description, uint64, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return nil, 0, errno
	}
	n := uint64(0)
	switch {
	case off >= 0 && d.mode&modeSeek == 0:
		errno = abi.ESPIPE
	case d.mode&access == 0:
		errno = abi.EBADF
	default:
		if n, errno = t.vector(iov, count); n > 0 && unknown != 0 {
			errno = abi.EOPNOTSUPP
		}
	}
	if n == 0 || errno != 0 {
		d.unref()
		return nil, 0, errno
	}
	return d, n, 0
}

// readVector reads at off, or at the description's offset if off is -1.
func (t *Task) readVector(fd int32, iov abi.Addr, count int32, off int64, flags uint32) (uint64, abi.Errno) {
	d, n, errno := t.vectorFile(fd, iov, count, off, modeRead, flags&^rwfRead)
	if d == nil {
		return 0, errno
	}
	defer d.unref()
	t.dst = guestDest{rest: t.iov}
	if off < 0 {
		return partial(t.read(d, n))
	}
	return partial(t.readAt(d, n, off))
}

// writeVector writes at off, or at the description's offset if off is -1.
func (t *Task) writeVector(fd int32, iov abi.Addr, count int32, off int64, flags uint32) (uint64, abi.Errno) {
	d, n, errno := t.vectorFile(fd, iov, count, off, modeWrite, flags&^rwfWrite)
	if d == nil {
		return 0, errno
	}
	defer d.unref()
	t.src = guestSource{rest: t.iov}
	if off < 0 {
		return partial(t.write(d, n, flags))
	}
	return partial(t.writeAt(d, n, off, flags))
}
