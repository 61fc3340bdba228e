package emu

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

// fileStat is fstat(2).
func (t *Task) fileStat(fd int32, buf abi.Addr) (uint64, abi.Errno) {
	d, errno := t.fileOrPath(fd)
	if errno != 0 {
		return 0, errno
	}
	errno = d.dentry.Attr(&t.attr)
	d.unref()
	if errno != 0 {
		return 0, errno
	}
	return 0, t.putStat(buf)
}

// fileStatfs is fstatfs(2).
func (t *Task) fileStatfs(fd int32, buf abi.Addr) (uint64, abi.Errno) {
	d, errno := t.fileOrPath(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	return 0, t.statfs(d.dentry, buf)
}

// setOpen changes attributes of an open file.
func (t *Task) setOpen(d *description, s *vfs.SetAttr) abi.Errno {
	defer t.unlockFS()
	return d.dentry.SetAttr(t.lockFS(), s)
}

// fileChmod is fchmod(2).
func (t *Task) fileChmod(fd int32, mode uint32) (uint64, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	return 0, t.setOpen(d, &vfs.SetAttr{Mask: vfs.SetMode, Mode: mode & 0o7777})
}

// fileChown is fchown(2).
func (t *Task) fileChown(fd int32, uid, gid uint32) (uint64, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	return 0, t.setOpen(d, owners(uid, gid))
}

// fileTruncate is ftruncate(2).
func (t *Task) fileTruncate(fd int32, n int64) (uint64, abi.Errno) {
	if n < 0 {
		return 0, abi.EINVAL
	}
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	if d.kind() != abi.S_IFREG || d.mode&modeWrite == 0 {
		return 0, abi.EINVAL
	}
	if errno := t.mayGrow(d, uint64(n)); errno != 0 {
		return 0, errno
	}
	defer t.kernel.truncated()
	return 0, t.kernel.reshape(d.node, func(size int64) (lo, hi int64) { return min(size, n), 1 << 62 }, func() abi.Errno {
		return t.setOpen(d, &vfs.SetAttr{Mask: vfs.SetSize, Size: n})
	})
}

// mayGrow checks a new size against RLIMIT_FSIZE: EFBIG and SIGXFSZ if it is a larger one.
func (t *Task) mayGrow(d *description, size uint64) abi.Errno {
	if size <= t.proc.limit(abi.RLIMIT_FSIZE) {
		return 0
	}
	if errno := d.node.Attr(&t.attr); errno != 0 {
		return errno
	}
	if size <= uint64(t.attr.Size) {
		return 0
	}
	t.signal(abi.SIGXFSZ)
	return abi.EFBIG
}

// fileSync is fsync(2).
func (t *Task) fileSync(fd int32) (uint64, abi.Errno) { return t.sync(fd, false) }

// fileDatasync is fdatasync(2).
func (t *Task) fileDatasync(fd int32) (uint64, abi.Errno) { return t.sync(fd, true) }

func (t *Task) sync(fd int32, dataOnly bool) (uint64, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	if k := d.kind(); k != abi.S_IFREG && k != abi.S_IFDIR {
		return 0, abi.EINVAL
	}
	return 0, d.sync(dataOnly)
}

// fileSyncfs is syncfs(2).
func (t *Task) fileSyncfs(fd int32) (uint64, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	if fs := d.dentry.FS(); fs != nil {
		return 0, fs.Sync()
	}
	return 0, 0
}

// fileSyncRange is sync_file_range(2). What only asks for writing to begin is left to the file system,
// which does so by itself; what waits syncs all the data.
func (t *Task) fileSyncRange(fd int32, off, n int64, flags uint32) (uint64, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	const known = abi.SYNC_FILE_RANGE_WAIT_BEFORE | abi.SYNC_FILE_RANGE_WRITE | abi.SYNC_FILE_RANGE_WAIT_AFTER
	if flags&^known != 0 || off < 0 || off+n < off {
		return 0, abi.EINVAL
	}
	if k := d.kind(); k != abi.S_IFREG && k != abi.S_IFDIR {
		return 0, abi.ESPIPE
	}
	if flags&^abi.SYNC_FILE_RANGE_WRITE == 0 {
		return 0, 0
	}
	return 0, d.sync(true)
}

// fileAdvise is posix_fadvise(2): the advice is checked and not needed.
func (t *Task) fileAdvise(fd int32, off, n int64, advice int32) (uint64, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	if d.kind() == abi.S_IFIFO {
		return 0, abi.ESPIPE
	}
	if n < 0 || advice < abi.POSIX_FADV_NORMAL || advice > abi.POSIX_FADV_NOREUSE {
		return 0, abi.EINVAL
	}
	return 0, 0
}

// fileAllocate is fallocate(2).
func (t *Task) fileAllocate(fd, mode int32, off, n int64) (uint64, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	if off < 0 || n <= 0 {
		return 0, abi.EINVAL
	}
	if errno := allocateMode(uint32(mode)); errno != 0 {
		return 0, errno
	}
	if d.mode&modeWrite == 0 {
		return 0, abi.EBADF
	}
	switch d.kind() {
	case abi.S_IFREG:
	case abi.S_IFIFO:
		return 0, abi.ESPIPE
	case abi.S_IFDIR:
		return 0, abi.EISDIR
	default:
		return 0, abi.ENODEV
	}
	if off+n < 0 {
		return 0, abi.EFBIG
	}
	a, ok := d.node.(vfs.Allocator)
	if !ok {
		return 0, abi.EOPNOTSUPP
	}
	if mode&abi.FALLOC_FL_KEEP_SIZE == 0 {
		if errno := t.mayGrow(d, uint64(off+n)); errno != 0 {
			return 0, errno
		}
	}
	if errno := d.dentry.MayAllocate(uint32(mode)); errno != 0 {
		return 0, errno
	}
	how := uint32(mode)
	if t.proc.fs().UID != 0 {
		how |= vfs.AllocUnprivileged
	}
	return 0, t.kernel.reshape(d.node, func(int64) (lo, hi int64) { return off, off + n }, func() abi.Errno {
		return a.Allocate(how, off, n)
	})
}

// allocateMode checks which flags of fallocate go together.
func allocateMode(mode uint32) abi.Errno {
	const known = abi.FALLOC_FL_KEEP_SIZE | abi.FALLOC_FL_PUNCH_HOLE | abi.FALLOC_FL_COLLAPSE_RANGE |
		abi.FALLOC_FL_ZERO_RANGE | abi.FALLOC_FL_INSERT_RANGE | abi.FALLOC_FL_UNSHARE_RANGE
	switch op := mode &^ abi.FALLOC_FL_KEEP_SIZE; {
	case mode&^known != 0:
		return abi.EOPNOTSUPP
	case op&abi.FALLOC_FL_PUNCH_HOLE != 0 && mode != abi.FALLOC_FL_PUNCH_HOLE|abi.FALLOC_FL_KEEP_SIZE:
		return abi.EOPNOTSUPP
	case op&abi.FALLOC_FL_COLLAPSE_RANGE != 0 && mode != abi.FALLOC_FL_COLLAPSE_RANGE,
		op&abi.FALLOC_FL_INSERT_RANGE != 0 && mode != abi.FALLOC_FL_INSERT_RANGE:
		return abi.EINVAL
	case op&abi.FALLOC_FL_ZERO_RANGE != 0 && op != abi.FALLOC_FL_ZERO_RANGE:
		return abi.EOPNOTSUPP
	}
	return 0
}
