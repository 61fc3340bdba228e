package emu

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// fileShower is a file that has more to say in /proc/PID/fdinfo/N than all have.
type fileShower interface {
	// showFile appends lines to b.
	showFile(b []byte) []byte
}

// showDescriptor is /proc/PID/fdinfo/N (proc(5), and Documentation/filesystems/proc.rst of Linux).
func (p *Process) showDescriptor(fd int32) ([]byte, abi.Errno) {
	d := p.files.get(fd)
	if d == nil {
		return nil, abi.ENOENT
	}
	defer d.unref()
	flags := d.flags.Load()
	if p.files.closesOnExec(fd) {
		flags |= abi.O_CLOEXEC
	}
	b := fmt.Appendf(nil, "pos:\t%d\nflags:\t0%o\nmnt_id:\t%d\nino:\t%d\n", d.position(), flags,
		p.kernel.mountID(d.dentry.FS()), d.node.Ino())
	b = p.kernel.io.locks.show(b, d, p.files)
	if f, ok := d.file.(fileShower); ok {
		b = f.showFile(b)
	}
	return b, 0
}

// position returns the file offset as it is at the moment. It takes no lock, as Linux takes none: whoever reads what
// /proc tells of a descriptor may have it by that very descriptor, whose mu is held for as long as the read takes,
// and two may read what it tells of each other's. A word of 8 bytes is never seen half changed on amd64.
//
//go:norace
func (d *description) position() int64 { return d.pos }

// hostDevice is a device number as the inside of Linux has it, which is what fdinfo shows.
func hostDevice(dev uint64) uint64 {
	major, minor := dev>>8&0xfff|dev>>32&^0xfff, dev&0xff|dev>>12&^0xff
	return major<<20 | minor&(1<<20-1)
}

// show appends a line for each lock on d's file that belongs to d, or to the process whose descriptors
// files are.
func (t *lockTable) show(b []byte, d *description, files *fdTable) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.files[d.node]
	if f == nil {
		return b
	}
	var a vfs.Attr
	d.node.Attr(&a)
	n := 0
	line := func(kind string, write bool, pid int32, rng string) {
		access := "READ "
		if write {
			access = "WRITE"
		}
		n++
		major, minor := hostDevice(a.Dev)>>20, hostDevice(a.Dev)&(1<<20-1)
		b = fmt.Appendf(b, "lock:\t%d: %s ADVISORY  %s %d %02x:%02x:%d %s\n", n, kind, access, pid, major, minor, a.Ino, rng)
	}
	for _, l := range f.flocks {
		if l.d == d {
			line("FLOCK ", l.exclusive, l.pid, "0 EOF")
		}
	}
	for _, l := range f.records {
		kind := "POSIX "
		switch l.owner {
		case lockOwner(files):
		case lockOwner(d):
			kind = "OFDLCK"
		default:
			continue
		}
		rng := fmt.Sprintf("%d %d", l.start, l.end)
		if l.end == math.MaxInt64 {
			rng = fmt.Sprintf("%d EOF", l.start)
		}
		line(kind, l.write, l.pid, rng)
	}
	return b
}

// showFile implements fileShower.
func (e *epoll) showFile(b []byte) []byte {
	e.mu.Lock() // no description that is watched goes away meanwhile
	defer e.mu.Unlock()
	for _, w := range slices.SortedFunc(maps.Values(e.watches), func(v, w *watch) int { return cmp.Compare(v.key.fd, w.key.fd) }) {
		var a vfs.Attr
		w.key.d.node.Attr(&a)
		b = fmt.Appendf(b, "tfd: %8d events: %8x data: %16x  pos:%d ino:%x sdev:%x\n", w.key.fd, w.events.Load(), w.data,
			w.key.d.position(), a.Ino, hostDevice(a.Dev))
	}
	return b
}

// showFile implements fileShower.
func (f *eventFD) showFile(b []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	semaphore := 0
	if f.semaphore {
		semaphore = 1
	}
	return fmt.Appendf(b, "eventfd-count: %16x\neventfd-semaphore: %d\n", f.count, semaphore)
}

// showFile implements fileShower.
func (f *signalFD) showFile(b []byte) []byte {
	return fmt.Appendf(b, "sigmask:\t%016x\n", uint64(f.mask()))
}

// showFile implements fileShower.
func (f *timerFD) showFile(b []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.look()
	return fmt.Appendf(b, "clockid: %d\nticks: %d\nsettime flags: 0%o\nit_value: (%d, %d)\nit_interval: (%d, %d)\n",
		f.clock, f.ticks, f.flags, s.Value.Sec, s.Value.Nsec, s.Interval.Sec, s.Interval.Nsec)
}

// showFile implements fileShower.
func (f *pidfd) showFile(b []byte) []byte {
	pid := f.p.pid
	if f.p.reaped.Load() {
		pid = -1
	}
	return fmt.Appendf(b, "Pid:\t%d\nNSpid:\t%d\n", pid, pid)
}
