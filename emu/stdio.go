package emu

import (
	"strconv"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// stream is one of the host's streams that the sandbox was born with: 0 to read from, 1 and 2 to
// write to. A guest sees a pipe, or a terminal where the supervisor relays one.
type stream struct {
	anonNode
	kernel   *Kernel
	host     int
	terminal bool
	input    *input  // of stream 0
	output   *output // of streams 1 and 2
}

// newStream makes stream host of the kernel.
func (k *Kernel) newStream(host int) *stream {
	s := &stream{kernel: k, host: host, terminal: k.conf.Terminal[host]}
	mode := uint32(abi.S_IFIFO | 0o600)
	if s.terminal {
		mode = abi.S_IFCHR | 0o620
	}
	k.initNode(&s.anonNode, mode, 0, 0)
	if s.terminal {
		s.attr.Rdev = abi.Makedev(136, 0)
	}
	if host == 0 {
		s.input = &input{k: k}
	} else {
		s.output = &output{k: k, host: host}
	}
	return s
}

// newStdio returns a table with the host's streams as descriptors 0, 1 and 2. It is called once,
// for the first process.
func (k *Kernel) newStdio() *fdTable {
	f := newFdTable()
	for host := range 3 {
		s := k.newStream(host)
		name := "pipe:[" + strconv.FormatUint(s.ino, 10) + "]"
		if s.terminal {
			name = "/dev/pts/0"
		}
		m, flags := modeRead, uint32(abi.O_RDONLY)
		if host > 0 {
			m, flags = modeWrite, abi.O_WRONLY
		}
		if s.terminal {
			m, flags = modeRead|modeWrite, abi.O_RDWR
		}
		k.io.streams[host] = s
		d, errno := k.newDescription(k.ns.NewAnonymous(s, name, anonDev), s, m, flags)
		if errno != 0 {
			panic("emu: no room for the standard streams")
		}
		f.add(d, host, maxDescriptors, false)
	}
	return f
}

func (s *stream) read(t *Task, d *description, _ int64, n int, dst vfs.Dest) (int, abi.Errno) {
	in := s.from()
	if in == nil {
		return 0, abi.EIO
	}
	if s.terminal {
		if errno := t.mayUseTerminal(abi.SIGTTIN); errno != 0 {
			return 0, errno
		}
	}
	return in.read(t, d, n, dst)
}

func (s *stream) write(t *Task, d *description, _ int64, n int, src vfs.Source) (int, int64, abi.Errno) {
	out := s.to()
	if out == nil {
		return 0, 0, abi.EIO
	}
	if s.terminal && s.kernel.io.terminal.stopsWriters() {
		if errno := t.mayUseTerminal(abi.SIGTTOU); errno != 0 {
			return 0, 0, errno
		}
	}
	done, errno := out.write(t, d, n, src)
	return done, 0, errno
}

// from and to return where content comes from and goes to; nil: nowhere. A terminal is the same
// from all sides, as far as there are others that lead to it.
func (s *stream) from() *input {
	if in := s.kernel.io.streams[0]; s.input == nil && s.terminal && in.terminal {
		return in.input
	}
	return s.input
}

func (s *stream) to() *output {
	if s.output == nil && s.terminal {
		for _, out := range s.kernel.io.streams[1:] {
			if out.terminal {
				return out.output
			}
		}
	}
	return s.output
}

func (s *stream) ready(_ *Task, d *description) uint32 {
	var events uint32
	if in := s.from(); in != nil && d.mode&modeRead != 0 {
		events = in.ready()
	}
	if d.mode&modeWrite != 0 {
		events |= abi.POLLOUT | abi.POLLWRNORM
	}
	return events
}

func (s *stream) queue(*Task) *waitQueue {
	if in := s.from(); in != nil {
		return &in.queue
	}
	return nil
}

func (s *stream) release(*description) {}

func (s *stream) ioctl(t *Task, d *description, cmd uint32, arg uint64) (uint64, abi.Errno) {
	if in := s.from(); cmd == abi.FIONREAD && in != nil {
		return 0, t.putInt(abi.Addr(arg), int32(in.buffered()))
	}
	if s.terminal {
		return t.terminalIoctl(cmd, abi.Addr(arg))
	}
	return 0, abi.ENOTTY
}

func (s *stream) reopen(t *Task, dentry *vfs.Dentry, m mode, flags uint32) (*description, abi.Errno) {
	if !s.terminal && (m&modeRead != 0 && s.input == nil || m&modeWrite != 0 && s.output == nil) {
		dentry.Unref()
		return nil, abi.EACCES
	}
	return t.kernel.newDescription(dentry, s, m, flags)
}
