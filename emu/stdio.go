package emu

import (
	"strconv"
	"sync"
	"time"

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

// input reads the host's standard input. The host call blocks and cannot be interrupted, so a
// goroutine of its own makes it, only when somebody wants something, and never for more than was
// asked for: what the guest does not read is left to others who have the stream.
type input struct {
	k     *Kernel
	queue waitQueue // woken when content or the end has come

	mu      sync.Mutex
	wanted  sync.Cond // want > 0; its lock is mu
	running bool      // the goroutine has been started
	want    int       // bytes to ask for; 0: nobody wants any
	buf     []byte
	content []byte // what has come and was not read yet, in buf
	end     bool   // the end has come, and nobody has been told yet
	held    bool   // somebody takes the content (see heldSource): other readers wait
	errno   abi.Errno
}

// inputMax is how much is asked for at once.
const inputMax = 64 << 10

// ask sees to it that content comes. The caller holds mu and has found none.
func (in *input) ask(n int) {
	if !in.running {
		in.running = true
		in.wanted.L = &in.mu
		go in.pump()
	}
	if in.want == 0 {
		in.want = min(n, inputMax)
		in.wanted.Signal()
	}
}

func (in *input) pump() {
	in.mu.Lock()
	for {
		for in.want == 0 {
			in.wanted.Wait()
		}
		if len(in.buf) < in.want {
			in.buf = make([]byte, in.want)
		}
		p := in.buf[:in.want]
		in.mu.Unlock()
		n, errno := in.k.m.HostRead(0, p)
		if errno == abi.EINTR || errno == abi.EAGAIN {
			// The host's own affair; a stream that somebody made non-blocking is looked at now and then.
			if errno == abi.EAGAIN {
				time.Sleep(retryPause)
			}
			in.mu.Lock()
			continue
		}
		in.mu.Lock()
		in.content, in.want = p[:max(n, 0)], 0
		in.errno = errno
		in.end = n <= 0 && errno == 0
		in.mu.Unlock()
		in.queue.wakeAll()
		in.mu.Lock()
	}
}

// retryPause is how long to wait before a non-blocking stream of the host is tried again.
const retryPause = 2 * time.Millisecond

// tryRead reads what has come. errWait: nothing has, and it was asked for.
func (in *input) tryRead(n int, dst vfs.Dest, nonblock bool) (int, abi.Errno) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.held:
		return 0, errWait
	case len(in.content) > 0:
		done, errno := dst.Put(in.content[:min(n, len(in.content))])
		in.content = in.content[done:]
		return done, errno
	case in.errno != 0:
		errno := in.errno
		in.errno = 0
		return 0, errno
	case in.end:
		in.end = false
		return 0, 0
	}
	in.ask(n)
	if nonblock {
		return 0, abi.EAGAIN
	}
	return 0, errWait
}

// hold implements heldSource. An error of the host is told once, and so is the end.
func (in *input) hold(t *Task, n int, nonblock bool) abi.Errno {
	w := &t.waiter
	w.task = t
	for {
		in.queue.add(w)
		errno := in.tryHold(n, nonblock)
		if errno == errWait {
			if t.wait(forever) == 0 {
				continue
			}
			errno = errRestart
		}
		in.queue.remove(w)
		return errno
	}
}

func (in *input) tryHold(n int, nonblock bool) abi.Errno {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.held:
		return errWait
	case len(in.content) == 0 && in.errno != 0:
		errno := in.errno
		in.errno = 0
		return errno
	case len(in.content) > 0 || in.end:
		in.end = in.end && len(in.content) > 0
		in.held = true
		return 0
	}
	in.ask(n)
	if nonblock {
		return abi.EAGAIN
	}
	return errWait
}

// peek implements heldSource.
func (in *input) peek(p []byte) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return copy(p, in.content)
}

// drop implements heldSource.
func (in *input) drop(n int) {
	in.mu.Lock()
	in.content = in.content[n:]
	in.mu.Unlock()
}

// letGo implements heldSource.
func (in *input) letGo() {
	in.mu.Lock()
	in.held = false
	in.mu.Unlock()
	in.queue.wakeAll()
}

func (in *input) read(t *Task, d *description, n int, dst vfs.Dest) (int, abi.Errno) {
	if n == 0 {
		return 0, 0
	}
	w := &t.waiter
	w.task = t
	for {
		in.queue.add(w)
		done, errno := in.tryRead(n, dst, d.has(abi.O_NONBLOCK))
		if errno == errWait {
			if t.wait(forever) == 0 {
				continue
			}
			errno = errRestart
		}
		in.queue.remove(w)
		return done, errno
	}
}

// ready tells whether a read would not wait; if it would, it sees to it that content comes.
func (in *input) ready() uint32 {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case len(in.content) > 0:
		return abi.POLLIN | abi.POLLRDNORM
	case in.errno != 0:
		return abi.POLLIN | abi.POLLRDNORM | abi.POLLERR
	case in.end:
		return abi.POLLIN | abi.POLLRDNORM | abi.POLLHUP
	}
	in.ask(abi.PIPE_BUF)
	return 0
}

func (in *input) buffered() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.content) == 0 {
		in.ask(abi.PIPE_BUF)
	}
	return len(in.content)
}

// output writes to the host's standard output or error. One task at a time does, and keeps what others
// write from getting in between.
type output struct {
	k     *Kernel
	host  int
	queue waitQueue // who waits for busy to end

	mu   sync.Mutex
	busy bool
	buf  []byte // of the task that is busy
}

// outputMax is how much is written with one host call.
const outputMax = 64 << 10

// acquire makes the task the one that writes.
func (o *output) acquire(t *Task) abi.Errno {
	w := &t.waiter
	w.task = t
	for {
		o.queue.add(w)
		o.mu.Lock()
		free := !o.busy
		if free {
			o.busy = true
		}
		o.mu.Unlock()
		if free {
			o.queue.remove(w)
			return 0
		}
		if t.wait(forever) != 0 {
			if !o.queue.remove(w) {
				o.queue.wakeOne()
			}
			return errRestart
		}
	}
}

func (o *output) release() {
	o.mu.Lock()
	o.busy = false
	o.mu.Unlock()
	o.queue.wakeOne()
}

func (o *output) write(t *Task, d *description, n int, src vfs.Source) (int, abi.Errno) {
	if n == 0 {
		return 0, 0
	}
	if errno := o.acquire(t); errno != 0 {
		return 0, errno
	}
	defer o.release()
	done := 0
	for done < n {
		size := min(n-done, outputMax)
		if len(o.buf) < size {
			o.buf = make([]byte, max(size, 4<<10))
		}
		got, errno := src.Get(o.buf[:size])
		m, e := o.put(t, d, o.buf[:got])
		done += m
		if e == abi.EPIPE {
			t.signal(abi.SIGPIPE)
		}
		if e != 0 {
			errno = e
		}
		if errno != 0 {
			return done, errno
		}
	}
	return done, 0
}

// put writes p to the host.
func (o *output) put(t *Task, d *description, p []byte) (int, abi.Errno) {
	done := 0
	for done < len(p) {
		var n int
		var errno abi.Errno
		t.outside(func() { n, errno = o.k.m.HostWrite(o.host, p[done:]) })
		done += max(n, 0)
		switch errno {
		case 0:
		case abi.EINTR:
			if t.attention.Load()&attInterrupt != 0 && t.interrupted() != 0 {
				return done, errRestart
			}
		case abi.EAGAIN: // somebody made the stream non-blocking
			if d.has(abi.O_NONBLOCK) {
				return done, abi.EAGAIN
			}
			if t.wait(t.deadlineIn(int64(retryPause))) == abi.EINTR {
				return done, errRestart
			}
		default:
			return done, errno
		}
	}
	return done, 0
}
