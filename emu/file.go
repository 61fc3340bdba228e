package emu

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

// fileRead is read(2).
func (t *Task) fileRead(fd int32, buf abi.Addr, n uint64) (uint64, abi.Errno) {
	d, counted, errno := t.borrow(fd)
	if errno != 0 {
		return 0, errno
	}
	done := 0
	if errno = t.readInto(d, buf, n); errno == 0 {
		done, errno = t.read(d, n)
	}
	if counted {
		d.unref()
	}
	return partial(done, errno)
}

// filePread is pread(2).
func (t *Task) filePread(fd int32, buf abi.Addr, n uint64, off int64) (uint64, abi.Errno) {
	if off < 0 {
		return 0, abi.EINVAL
	}
	d, counted, errno := t.borrow(fd)
	if errno != 0 {
		return 0, errno
	}
	done := 0
	if d.mode&modeSeek == 0 {
		errno = abi.ESPIPE
	} else if errno = t.readInto(d, buf, n); errno == 0 {
		done, errno = t.readAt(d, n, off)
	}
	if counted {
		d.unref()
	}
	return partial(done, errno)
}

// fileWrite is write(2).
func (t *Task) fileWrite(fd int32, buf abi.Addr, n uint64) (uint64, abi.Errno) {
	d, counted, errno := t.borrow(fd)
	if errno != 0 {
		return 0, errno
	}
	done := 0
	if errno = t.writeFrom(d, buf, n); errno == 0 {
		done, errno = t.write(d, n, 0)
	}
	if counted {
		d.unref()
	}
	return partial(done, errno)
}

// filePwrite is pwrite(2).
func (t *Task) filePwrite(fd int32, buf abi.Addr, n uint64, off int64) (uint64, abi.Errno) {
	if off < 0 {
		return 0, abi.EINVAL
	}
	d, counted, errno := t.borrow(fd)
	if errno != 0 {
		return 0, errno
	}
	done := 0
	if d.mode&modeSeek == 0 {
		errno = abi.ESPIPE
	} else if errno = t.writeFrom(d, buf, n); errno == 0 {
		done, errno = t.writeAt(d, n, off, 0)
	}
	if counted {
		d.unref()
	}
	return partial(done, errno)
}

// partial lets a guest see what was done before an error, if anything was.
func partial(done int, errno abi.Errno) (uint64, abi.Errno) {
	if done > 0 {
		return uint64(done), 0
	}
	return 0, errno
}

// readInto checks that d may be read, and makes the buffer the task's destination.
func (t *Task) readInto(d *description, buf abi.Addr, n uint64) abi.Errno {
	if d.mode&modeRead == 0 {
		return abi.EBADF
	}
	if !inGuest(buf, n) {
		return abi.EFAULT
	}
	t.dst = guestDest{addr: buf, left: n}
	return 0
}

// writeFrom checks that d may be written, and makes the buffer the task's source.
func (t *Task) writeFrom(d *description, buf abi.Addr, n uint64) abi.Errno {
	if d.mode&modeWrite == 0 {
		return abi.EBADF
	}
	if !inGuest(buf, n) {
		return abi.EFAULT
	}
	t.src = guestSource{addr: buf, left: n}
	return 0
}

// read reads n bytes at the description's offset to the task's destination.
func (t *Task) read(d *description, n uint64) (int, abi.Errno) {
	if d.mode&modeSeek == 0 {
		return d.file.read(t, d, 0, int(min(n, maxCount)), &t.dst)
	}
	d.mu.Lock()
	done, errno := t.readAt(d, n, d.pos)
	d.pos += int64(done)
	d.mu.Unlock()
	return done, errno
}

func (t *Task) readAt(d *description, n uint64, off int64) (int, abi.Errno) {
	if off+int64(n) < 0 {
		return 0, abi.EINVAL
	}
	return d.file.read(t, d, off, int(min(n, maxCount)), &t.dst)
}

// write writes n bytes from the task's source at the description's offset. flags are those of
// pwritev2(2).
func (t *Task) write(d *description, n uint64, flags uint32) (int, abi.Errno) {
	if d.mode&modeSeek == 0 {
		done, _, errno := d.file.write(t, d, 0, int(min(n, maxCount)), &t.src)
		return done, errno
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	done, end, errno := t.writeSource(d, n, d.pos, flags, &t.src)
	if done > 0 {
		d.pos = end
	}
	return done, errno
}

func (t *Task) writeAt(d *description, n uint64, off int64, flags uint32) (int, abi.Errno) {
	done, _, errno := t.writeSource(d, n, off, flags, &t.src)
	return done, errno
}

// writeSource writes n bytes from src at off, or at the end of the file if it is opened or written
// for appending, within the limit of the file's size.
func (t *Task) writeSource(d *description, n uint64, off int64, flags uint32, src vfs.Source) (int, int64, abi.Errno) {
	if off+int64(n) < 0 {
		return 0, 0, abi.EINVAL
	}
	n = min(n, maxCount)
	status := d.flags.Load()
	if (status|appendFlag(flags))&abi.O_APPEND != 0 && d.kind() == abi.S_IFREG {
		off = vfs.AtEnd
	}
	if n > 0 && d.kind() == abi.S_IFREG {
		if limit := t.proc.limit(abi.RLIMIT_FSIZE); limit != abi.RLIM_INFINITY {
			var errno abi.Errno
			if n, errno = t.withinFileSize(d, off, n, limit); errno != 0 {
				return 0, 0, errno
			}
		}
	}
	if n > 0 && d.node.Mode()&(abi.S_ISUID|abi.S_ISGID) != 0 {
		errno := d.dentry.DropPrivileges(t.lockFS())
		t.unlockFS()
		if errno != 0 {
			return 0, 0, errno
		}
	}
	done, end, errno := d.file.write(t, d, off, int(n), src)
	if done > 0 && (status|syncFlags(flags))&abi.O_DSYNC != 0 && d.kind() == abi.S_IFREG {
		dataOnly := (status|syncFlags(flags))&abi.O_SYNC != abi.O_SYNC
		if e := d.sync(dataOnly); e != 0 {
			return 0, end, e
		}
	}
	return done, end, errno
}

func appendFlag(rwf uint32) uint32 {
	if rwf&abi.RWF_APPEND != 0 {
		return abi.O_APPEND
	}
	return 0
}

func syncFlags(rwf uint32) uint32 {
	switch {
	case rwf&abi.RWF_SYNC != 0:
		return abi.O_SYNC
	case rwf&abi.RWF_DSYNC != 0:
		return abi.O_DSYNC
	}
	return 0
}

// withinFileSize cuts a write of n bytes at off to RLIMIT_FSIZE; EFBIG, and SIGXFSZ, when
// nothing is left of it.
func (t *Task) withinFileSize(d *description, off int64, n, limit uint64) (uint64, abi.Errno) {
	at := off
	if off == vfs.AtEnd {
		if errno := d.node.Attr(&t.attr); errno != 0 {
			return 0, errno
		}
		at = t.attr.Size
	}
	if uint64(at) >= limit {
		t.signal(abi.SIGXFSZ)
		return 0, abi.EFBIG
	}
	return min(n, limit-uint64(at)), 0
}

// fileSeek is lseek(2).
func (t *Task) fileSeek(fd int32, off int64, whence int32) (uint64, abi.Errno) {
	d, counted, errno := t.borrow(fd)
	if errno != 0 {
		return 0, errno
	}
	if counted {
		defer d.unref()
	}
	if whence < abi.SEEK_SET || whence > abi.SEEK_HOLE {
		return 0, abi.EINVAL
	}
	if d.mode&modeSeek == 0 {
		if d.kind() == 0 { // an anonFile
			return 0, 0
		}
		return 0, abi.ESPIPE
	}
	if d.kind() == abi.S_IFCHR { // seeking in /dev/null and its like does nothing, always
		return 0, 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	pos, errno := t.seekTo(d, off, whence)
	if errno != 0 {
		return 0, errno
	}
	d.pos = pos
	return uint64(pos), 0
}

// seekTo works out where lseek leads. The caller holds d.mu.
func (t *Task) seekTo(d *description, off int64, whence int32) (int64, abi.Errno) {
	size := func() (int64, abi.Errno) {
		errno := d.node.Attr(&t.attr)
		return t.attr.Size, errno
	}
	dir := d.kind() == abi.S_IFDIR
	base := int64(0)
	switch whence {
	case abi.SEEK_CUR:
		base = d.pos
	case abi.SEEK_END:
		if dir { // offsets of directories are cookies
			return 0, abi.EINVAL
		}
		end, errno := size()
		if errno != 0 {
			return 0, errno
		}
		base = end
	case abi.SEEK_DATA, abi.SEEK_HOLE:
		if dir {
			return 0, abi.EINVAL
		}
		end, errno := size()
		if errno != 0 {
			return 0, errno
		}
		if off < 0 || off >= end {
			return 0, abi.ENXIO
		}
		if h, ok := d.node.(vfs.HoleSeeker); ok {
			if whence == abi.SEEK_DATA {
				return h.SeekData(off)
			}
			return h.SeekHole(off)
		}
		if whence == abi.SEEK_DATA {
			return off, 0
		}
		return end, 0
	}
	pos := base + off
	if pos < 0 { // or too large
		return 0, abi.EINVAL
	}
	return pos, 0
}
