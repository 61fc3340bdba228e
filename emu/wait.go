package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
)

// waitFor says which children a thread waits for, and for what about them.
type waitFor struct {
	kind    int32 // abi.P_ALL, P_PID, P_PGID
	id      int32
	options uint32
}

// waitOptions are those that wait4 and waitid have in common. Whether a thread has made the child itself
// (__WNOTHREAD) makes no difference here.
const waitOptions = abi.WNOHANG | abi.WUNTRACED | abi.WCONTINUED | abi.WNOTHREAD | abi.WALL | abi.WCLONE

// waited is what there was to tell of a child.
type waited struct {
	pid    int32
	uid    uint32
	code   int32 // CLD_*
	status int32 // exit status or signal
	raw    waitStatus
	used   int64 // processor time, of its children included
	peak   int64
}

// procWait answers proc_wait (wait4(2)).
func (t *Task) procWait(pid int32, status abi.Addr, options int32, usage abi.Addr) (uint64, abi.Errno) {
	if uint32(options)&^waitOptions != 0 {
		return 0, abi.EINVAL
	}
	w := waitFor{options: uint32(options) | abi.WEXITED}
	switch {
	case pid == -1<<31:
		return 0, abi.ESRCH
	case pid < -1:
		w.kind, w.id = abi.P_PGID, -pid
	case pid == 0:
		w.kind, w.id = abi.P_PGID, t.proc.group()
	case pid > 0:
		w.kind, w.id = abi.P_PID, pid
	}
	got, errno := t.waitChild(&w)
	if errno != 0 || got.pid == 0 {
		return 0, errno
	}
	if status != 0 {
		var b [4]byte
		le.PutUint32(b[:], uint32(got.wstatus()))
		if guest.CopyOut(status, b[:]) < len(b) {
			return 0, abi.EFAULT
		}
	}
	if usage != 0 {
		if errno := got.putUsage(usage); errno != 0 {
			return 0, errno
		}
	}
	return uint64(got.pid), 0
}

// wstatus is what happened as wait4 tells it.
func (w *waited) wstatus() int32 {
	switch w.code {
	case abi.CLD_STOPPED:
		return w.status<<8 | 0x7f
	case abi.CLD_CONTINUED:
		return 0xffff
	}
	return int32(w.raw)
}

func (w *waited) putUsage(a abi.Addr) abi.Errno {
	r := abi.Rusage{Utime: abi.NsecToTimeval(w.used), Maxrss: w.peak}
	var b [abi.RusageSize]byte
	r.Encode(b[:])
	if guest.CopyOut(a, b[:]) < len(b) {
		return abi.EFAULT
	}
	return 0
}

// procWaitId answers proc_wait_id (waitid(2), with the fifth argument of the system call).
func (t *Task) procWaitId(kind, id int32, info abi.Addr, options int32, usage abi.Addr) (uint64, abi.Errno) {
	got, errno := t.waitID(kind, id, uint32(options))
	if errno == errRestart {
		return 0, errno
	}
	if errno == 0 && got.pid != 0 && usage != 0 {
		if errno := got.putUsage(usage); errno != 0 {
			return 0, errno
		}
	}
	if info != 0 {
		// As Linux: these fields and no others, and also if there is nothing to tell.
		var b [abi.SiginfoSize]byte
		if got.pid != 0 {
			i := abi.Siginfo{Signo: abi.SIGCHLD, Code: got.code, PID: got.pid, UID: got.uid, Status: got.status}
			i.Encode(b[:])
		}
		if guest.CopyOut(info, b[:12]) < 12 || guest.CopyOut(info+16, b[16:28]) < 12 {
			return 0, abi.EFAULT
		}
	}
	return 0, errno
}

func (t *Task) waitID(kind, id int32, options uint32) (waited, abi.Errno) {
	const what = abi.WEXITED | abi.WSTOPPED | abi.WCONTINUED
	if options&^(waitOptions|what|abi.WNOWAIT) != 0 || options&what == 0 {
		return waited{}, abi.EINVAL
	}
	w := waitFor{kind, id, options}
	nonblock := false
	switch kind {
	case abi.P_ALL:
	case abi.P_PID:
		if id <= 0 {
			return waited{}, abi.EINVAL
		}
	case abi.P_PGID:
		if id < 0 {
			return waited{}, abi.EINVAL
		}
		if id == 0 {
			w.id = t.proc.group()
		}
	case abi.P_PIDFD:
		if id < 0 {
			return waited{}, abi.EINVAL
		}
		f, flags, errno := t.pidfd(id)
		if errno != 0 {
			return waited{}, errno
		}
		w.kind, w.id = abi.P_PID, f.p.pid
		if f.thread != nil {
			w.id = f.thread.tid
		}
		if nonblock = flags&abi.O_NONBLOCK != 0; nonblock {
			w.options |= abi.WNOHANG
		}
	default:
		return waited{}, abi.EINVAL
	}
	got, errno := t.waitChild(&w)
	if errno == 0 && got.pid == 0 && nonblock && options&abi.WNOHANG == 0 {
		errno = abi.EAGAIN
	}
	return got, errno
}

// waitChild waits until there is something to tell of a child, and takes it unless the options say
// otherwise. Nothing (pid 0) only with WNOHANG. ECHILD, errRestart.
func (t *Task) waitChild(w *waitFor) (waited, abi.Errno) {
	p := t.proc
	q := &t.waiter
	q.task = t
	for {
		if w.options&abi.WNOHANG == 0 {
			p.waits.add(q) // before the look, so that no news is lost
		}
		got, errno := p.lookChild(w)
		if got.pid != 0 || errno != 0 || w.options&abi.WNOHANG != 0 {
			p.waits.remove(q)
			return got, errno
		}
		if errno := t.wait(forever); errno != 0 {
			p.waits.remove(q)
			return waited{}, errRestart
		}
	}
}

// lookChild returns what there is to tell of the first child of those that w wants. ECHILD: there is none.
func (p *Process) lookChild(w *waitFor) (waited, abi.Errno) {
	k := p.kernel
	k.mu.Lock()
	defer k.mu.Unlock()
	any := false
	for _, c := range p.children {
		if !w.wants(c) {
			continue
		}
		any = true
		if got, ok := p.news(c, w); ok {
			return got, 0
		}
	}
	if !any {
		return waited{}, abi.ECHILD
	}
	return waited{}, 0
}

// wants tells whether a child is one of those to wait for. k.mu is held.
func (w *waitFor) wants(c *Process) bool {
	if w.options&abi.WALL == 0 && (c.exitSignal != abi.SIGCHLD) != (w.options&abi.WCLONE != 0) {
		return false
	}
	switch w.kind {
	case abi.P_PID:
		return c.pid == w.id
	case abi.P_PGID:
		return c.group() == w.id
	}
	return true
}

// news returns what there is to tell of c, and forgets it unless w says otherwise. k.mu is held.
func (p *Process) news(c *Process, w *waitFor) (waited, bool) {
	keep := w.options&abi.WNOWAIT != 0
	if c.ended.Load() {
		if w.options&abi.WEXITED == 0 {
			return waited{}, false
		}
		got := waited{pid: c.pid, uid: c.realUID(), raw: c.status, used: c.used + c.childUsed, peak: max(c.peak, c.childPeak)}
		got.code, got.status = c.status.code()
		if !keep {
			p.childUsed += got.used
			p.childPeak = max(p.childPeak, got.peak)
			p.kernel.reap(c)
		}
		return got, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	got := waited{pid: c.pid, uid: c.ids.user.real}
	switch {
	case c.stopNews && w.options&abi.WSTOPPED != 0:
		got.code, got.status = abi.CLD_STOPPED, c.stopSig
		c.stopNews = c.stopNews && keep
	case c.contNews && w.options&abi.WCONTINUED != 0:
		got.code, got.status = abi.CLD_CONTINUED, abi.SIGCONT
		c.contNews = c.contNews && keep
	default:
		return waited{}, false
	}
	return got, true
}
