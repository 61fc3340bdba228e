package emu

import (
	"sync/atomic"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// signalFD takes signals of a set by reading (signalfd(2)): those of whoever reads or polls it.
type signalFD struct {
	anonFile
	set atomic.Uint64 // abi.Sigset
}

func (f *signalFD) mask() abi.Sigset { return abi.Sigset(f.set.Load()) }

// signalfdCreate answers signalfd_create (signalfd4(2)).
func (t *Task) signalfdCreate(fd int32, set abi.Addr, masksize uint64, flags uint32) (uint64, abi.Errno) {
	if masksize != abi.SigsetSize {
		return 0, abi.EINVAL
	}
	mask, errno := loadSet(set)
	if errno != 0 {
		return 0, errno
	}
	if flags&^(abi.SFD_NONBLOCK|abi.SFD_CLOEXEC) != 0 {
		return 0, abi.EINVAL
	}
	mask &^= unmaskable
	if fd == -1 {
		f := &signalFD{}
		f.set.Store(uint64(mask))
		return t.openAnon(anonSignalFD, f, flags)
	}
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	f, ok := d.file.(*signalFD)
	if !ok {
		return 0, abi.EINVAL
	}
	f.set.Store(uint64(mask))
	t.proc.sig.polled.wakeAll()
	return uint64(fd), 0
}

// take takes the next signal of the set that is pending for t.
func (f *signalFD) take(t *Task) (abi.Siginfo, bool) {
	s := &t.proc.sig
	s.mu.Lock()
	defer s.mu.Unlock()
	info, ok := t.sigpend.take(f.mask(), s)
	if !ok {
		info, ok = s.pending.take(f.mask(), s)
	}
	return info, ok
}

// read implements openFile: as many signals as there are and as there is room for, at least one. What was
// taken is lost if it cannot be stored, as on Linux.
func (f *signalFD) read(t *Task, d *description, _ int64, n int, dst vfs.Dest) (int, abi.Errno) {
	const size = abi.SignalfdSiginfoSize
	if n < size {
		return 0, abi.EINVAL
	}
	q, w := &t.proc.sig.polled, &t.waiter
	w.task = t
	defer q.remove(w)
	var b [size]byte
	for done := 0; ; {
		wait := done == 0 && !d.has(abi.O_NONBLOCK)
		if wait {
			q.add(w)
		}
		info, ok := f.take(t)
		if ok {
			s := info.SignalfdSiginfo()
			s.Encode(b[:])
			m, errno := dst.Put(b[:])
			if errno != 0 {
				return done, errno
			}
			if done += m; n-done < size {
				return done, 0
			}
			continue
		}
		switch {
		case done > 0:
			return done, 0
		case !wait:
			return 0, abi.EAGAIN
		}
		if t.wait(forever) != 0 {
			return 0, errRestart
		}
	}
}

func (f *signalFD) ready(t *Task, _ *description) uint32 {
	s := &t.proc.sig
	s.mu.Lock()
	pending := (t.sigpend.set | s.pending.set) & f.mask()
	s.mu.Unlock()
	if pending != 0 {
		return abi.POLLIN
	}
	return 0
}

func (f *signalFD) queue(t *Task) *waitQueue { return &t.proc.sig.polled }
