package emu

import "pinhole/abi"

// file returns the description that fd is open on, with a reference. One opened with
// O_PATH is as good as none.
func (t *Task) file(fd int32) (*description, abi.Errno) {
	d := t.proc.files.get(fd)
	if d == nil {
		return nil, abi.EBADF
	}
	if d.mode&modePath != 0 {
		d.unref()
		return nil, abi.EBADF
	}
	return d, 0
}

// files is file for two descriptors, of which the first is looked at first.
func (t *Task) files(a, b int32) (*description, *description, abi.Errno) {
	d, errno := t.file(a)
	if errno != 0 {
		return nil, nil, errno
	}
	e, errno := t.file(b)
	if errno != 0 {
		d.unref()
		return nil, nil, errno
	}
	return d, e, 0
}

// borrow is file for the calls that have to be quick: where the thread is the only one of its
// process, nobody can close the descriptor meanwhile, and counted is false: there is no reference
// to give back.
func (t *Task) borrow(fd int32) (d *description, counted bool, _ abi.Errno) {
	if t.proc.live.Load() > 1 {
		d, errno := t.file(fd)
		return d, true, errno
	}
	slots := *t.proc.files.slots.Load()
	if uint(fd) >= uint(len(slots)) {
		return nil, false, abi.EBADF
	}
	if d = slots[fd].Load(); d == nil || d.mode&modePath != 0 {
		return nil, false, abi.EBADF
	}
	return d, false, 0
}

// fileOrPath is file that finds those opened with O_PATH too.
func (t *Task) fileOrPath(fd int32) (*description, abi.Errno) {
	d := t.proc.files.get(fd)
	if d == nil {
		return nil, abi.EBADF
	}
	return d, 0
}

// maxFD returns the number of descriptors that the process may have (RLIMIT_NOFILE).
func (t *Task) maxFD() uint64 { return min(t.proc.limit(abi.RLIMIT_NOFILE), maxDescriptors) }

// addFile opens the lowest free descriptor on d, whose reference it takes.
func (t *Task) addFile(d *description, cloexec bool) (uint64, abi.Errno) {
	fd, errno := t.proc.files.add(d, 0, t.maxFD(), cloexec)
	if errno != 0 {
		return 0, errno
	}
	return uint64(fd), 0
}

// fdClose is close(2).
func (t *Task) fdClose(fd int32) (uint64, abi.Errno) {
	return 0, t.proc.files.close(fd)
}

// fdDup is dup(2).
func (t *Task) fdDup(fd int32) (uint64, abi.Errno) {
	d, errno := t.fileOrPath(fd)
	if errno != 0 {
		return 0, errno
	}
	return t.addFile(d, false)
}

// fdDup2 is dup2(2).
func (t *Task) fdDup2(fd, to int32) (uint64, abi.Errno) {
	if fd == to {
		d, errno := t.fileOrPath(fd)
		if errno != 0 {
			return 0, errno
		}
		d.unref()
		return uint64(to), 0
	}
	return t.dupTo(fd, to, false)
}

// fdDupTo is dup3(2).
func (t *Task) fdDupTo(fd, to int32, flags uint32) (uint64, abi.Errno) {
	if flags&^abi.O_CLOEXEC != 0 || fd == to {
		return 0, abi.EINVAL
	}
	return t.dupTo(fd, to, flags&abi.O_CLOEXEC != 0)
}

func (t *Task) dupTo(fd, to int32, cloexec bool) (uint64, abi.Errno) {
	if to < 0 || uint64(to) >= t.maxFD() {
		return 0, abi.EBADF
	}
	d, errno := t.fileOrPath(fd)
	if errno != 0 {
		return 0, errno
	}
	if errno := t.proc.files.dupTo(d, to, cloexec); errno != 0 {
		return 0, errno
	}
	return uint64(to), 0
}

// fdCloseRange is close_range(2). Threads of a process always share their descriptors, so
// CLOSE_RANGE_UNSHARE has something to do, and is refused, only where there are several.
func (t *Task) fdCloseRange(first, last, flags uint32) (uint64, abi.Errno) {
	if flags&^(abi.CLOSE_RANGE_UNSHARE|abi.CLOSE_RANGE_CLOEXEC) != 0 || first > last {
		return 0, abi.EINVAL
	}
	if flags&abi.CLOSE_RANGE_UNSHARE != 0 && t.proc.live.Load() > 1 {
		return 0, abi.EINVAL
	}
	if first >= maxDescriptors {
		return 0, 0
	}
	last = min(last, maxDescriptors-1)
	f := t.proc.files
	if flags&abi.CLOSE_RANGE_CLOEXEC == 0 {
		f.closeWhere(int(first), int(last), nil)
		return 0, 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for fd := int(first); fd <= int(last) && fd < len(f.used)*64; fd++ {
		if f.isUsed(fd) {
			f.setCloexec(fd, true)
		}
	}
	return 0, 0
}
