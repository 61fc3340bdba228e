package emu

import (
	"math"
	"sync"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// posixTimer is a timer of timer_create(2). While its signal is pending it does not run: how often its time has
// come meanwhile is counted when the signal is taken.
//
// Lock order: timers.mu, then mu; and signals.mu, then mu. No signal is sent with mu held.
type posixTimer struct {
	proc  *Process
	id    int32
	event abi.Sigevent
	to    *Task // of SIGEV_THREAD_ID

	mu      sync.Mutex
	ivl     interval
	round   uint64 // counts how often it was set: what comes from an earlier round is void
	pending bool   // its signal is
	extra   uint64 // times that have come before the one that was told of, and since the last that was taken
	overrun int32  // of the signal that was taken last
}

// maxPosixTimers bounds the timers of a process (RLIMIT_SIGPENDING may be lower).
const maxPosixTimers = 4096

// timerCreate answers timer_create (timer_create(2)).
func (t *Task) timerCreate(clock int32, event, id abi.Addr) (uint64, abi.Errno) {
	n := &posixTimer{proc: t.proc, event: abi.Sigevent{Signo: abi.SIGALRM}}
	if event != 0 {
		if errno := t.getStruct(event, abi.SigeventSize); errno != 0 {
			return 0, errno
		}
		n.event.Decode(t.scratch[:])
	}
	if errno := t.timerClock(&n.ivl, clock); errno != 0 {
		return 0, errno
	}
	if errno := t.timerEvent(n); errno != 0 {
		return 0, errno
	}
	ts := &t.proc.timers
	ts.mu.Lock()
	if uint64(len(ts.posix)) >= min(t.proc.limit(abi.RLIMIT_SIGPENDING), maxPosixTimers) || ts.ended {
		ts.mu.Unlock()
		return 0, abi.EAGAIN
	}
	for ts.posix[ts.nextID] != nil || ts.nextID < 0 {
		ts.nextID = (ts.nextID + 1) & math.MaxInt32
	}
	n.id = ts.nextID
	ts.nextID = (ts.nextID + 1) & math.MaxInt32
	if event == 0 {
		n.event.Value = uint64(n.id)
	}
	if ts.posix == nil {
		ts.posix = make(map[int32]*posixTimer)
	}
	ts.posix[n.id] = n
	ts.mu.Unlock()
	if !guest.Store32(id, uint32(n.id)) {
		t.timerDelete(n.id)
		return 0, abi.EFAULT
	}
	return 0, 0
}

// timerClock makes an interval run by a clock. EINVAL: there is no such clock; EOPNOTSUPP: none that has timers.
func (t *Task) timerClock(i *interval, clock int32) abi.Errno {
	k := t.kernel
	switch clock {
	case abi.CLOCK_REALTIME, abi.CLOCK_MONOTONIC, abi.CLOCK_BOOTTIME, abi.CLOCK_TAI:
		i.wallClock(k, clock)
		return 0
	case abi.CLOCK_MONOTONIC_RAW, abi.CLOCK_REALTIME_COARSE, abi.CLOCK_MONOTONIC_COARSE,
		abi.CLOCK_REALTIME_ALARM, abi.CLOCK_BOOTTIME_ALARM: // the latter as on a machine without such a clock
		return abi.EOPNOTSUPP
	case abi.CLOCK_THREAD_CPUTIME_ID:
		clock = ^t.tid<<3 | 6 // the thread's, by its number
	}
	if clock > abi.CLOCK_PROCESS_CPUTIME_ID {
		return abi.EINVAL
	}
	clock = t.named(clock)
	if _, errno := t.clock(clock); errno != 0 {
		return errno
	}
	p := t.proc
	i.cpuClock(func() (int64, bool) {
		if clock == abi.CLOCK_PROCESS_CPUTIME_ID {
			return k.processTime(p), true
		}
		now, errno := k.clock(clock)
		return now, errno == 0
	})
	return 0
}

// timerEvent checks what a timer is to do when its time has come.
func (t *Task) timerEvent(n *posixTimer) abi.Errno {
	switch n.event.Notify {
	case abi.SIGEV_NONE:
		return 0
	case abi.SIGEV_SIGNAL, abi.SIGEV_THREAD:
	case abi.SIGEV_THREAD_ID:
		if n.to = t.proc.task(n.event.ThreadID); n.to == nil {
			return abi.EINVAL
		}
	default:
		return abi.EINVAL
	}
	if n.event.Signo < 1 || n.event.Signo > abi.SIGRTMAX {
		return abi.EINVAL
	}
	return 0
}

// posixTimer finds a timer of the process; nil: there is none.
func (p *Process) posixTimer(id int32) *posixTimer {
	p.timers.mu.Lock()
	defer p.timers.mu.Unlock()
	return p.timers.posix[id]
}

// timerSet answers timer_set (timer_settime(2)).
func (t *Task) timerSet(id int32, flags uint32, value, old abi.Addr) (uint64, abi.Errno) {
	if value == 0 {
		return 0, abi.EINVAL
	}
	s, errno := t.loadTimer(value)
	if errno != 0 {
		return 0, errno
	}
	n := t.proc.posixTimer(id)
	if n == nil {
		return 0, abi.EINVAL
	}
	n.lock()
	prev := n.spec()
	n.round++
	n.mu.Unlock()
	t.proc.dropTimer(n)
	n.lock()
	n.pending, n.extra, n.overrun = false, 0, 0
	n.ivl.set(s.Value.Nanoseconds(), s.Interval.Nanoseconds(), flags&abi.TIMER_ABSTIME != 0)
	came := !n.silent() && n.ivl.armed && n.ivl.left(0) == 0
	if !came {
		n.run()
	}
	n.mu.Unlock()
	if came {
		n.fire()
	}
	return 0, t.storeTimer(old, &prev)
}

// timerGet answers timer_get (timer_gettime(2)).
func (t *Task) timerGet(id int32, value abi.Addr) (uint64, abi.Errno) {
	n := t.proc.posixTimer(id)
	if n == nil {
		return 0, abi.EINVAL
	}
	n.lock()
	s := n.spec()
	n.mu.Unlock()
	s.Encode(t.scratch[:])
	return 0, t.putStruct(value, abi.ItimerspecSize)
}

// timerOverrun answers timer_overrun (timer_getoverrun(2)).
func (t *Task) timerOverrun(id int32) (uint64, abi.Errno) {
	n := t.proc.posixTimer(id)
	if n == nil {
		return 0, abi.EINVAL
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return uint64(n.overrun), 0
}

// timerDelete answers timer_delete (timer_delete(2)).
func (t *Task) timerDelete(id int32) (uint64, abi.Errno) {
	ts := &t.proc.timers
	ts.mu.Lock()
	n := ts.posix[id]
	delete(ts.posix, id)
	ts.mu.Unlock()
	if n == nil {
		return 0, abi.EINVAL
	}
	n.end()
	return 0, 0
}

// deletePosixTimers deletes all timers of timer_create(2): the process ends, or runs another program.
func (p *Process) deletePosixTimers() {
	p.timers.mu.Lock()
	all := p.timers.posix
	p.timers.posix = nil
	p.timers.mu.Unlock()
	for _, n := range all {
		n.end()
	}
}

func (n *posixTimer) end() {
	n.mu.Lock()
	n.round++
	n.ivl.stop()
	n.mu.Unlock()
	n.proc.dropTimer(n)
}

func (n *posixTimer) lock() { n.ivl.lock(&n.mu) }

// silent tells whether the timer sends nothing: it is only asked for what is left.
func (n *posixTimer) silent() bool { return n.event.Notify == abi.SIGEV_NONE }

// spec returns how the timer is set. The caller holds mu.
func (n *posixTimer) spec() abi.Itimerspec {
	least := int64(1)
	if n.silent() {
		n.ivl.due()
		least = 0
	} else if n.pending && n.ivl.period > 0 {
		n.extra += n.ivl.due()
	}
	return n.ivl.spec(least)
}

// run has the timer run. The caller holds mu.
func (n *posixTimer) run() {
	if !n.silent() {
		n.ivl.start(n.proc.kernel, n.fire)
	}
}

// fire is called when the timer's time may have come.
func (n *posixTimer) fire() {
	n.lock()
	if n.pending {
		n.mu.Unlock()
		return
	}
	count := n.ivl.due()
	if count == 0 {
		n.run()
		n.mu.Unlock()
		return
	}
	n.extra = count - 1
	n.pending = true
	round := n.round
	n.mu.Unlock()
	info := abi.Siginfo{Signo: n.event.Signo, Code: abi.SI_TIMER, TimerID: n.id, Value: n.event.Value}
	if !n.proc.sendTimer(&info, n, round) {
		n.dropped(round)
	}
}

// current tells whether a signal of a round is still to be sent.
func (n *posixTimer) current(round uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.round == round
}

// taken is told that the timer's signal was taken: it runs on, and the result is how often its time has
// come besides. signals.mu is held.
func (n *posixTimer) taken() int32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pending = false
	n.overrun = int32(min(n.extra+n.ivl.due(), math.MaxInt32))
	n.extra = 0
	n.run()
	return n.overrun
}

// dropped is told that the timer's signal was not sent, or not taken: it is ignored.
func (n *posixTimer) dropped(round uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.round == round {
		n.again()
	}
}

// flushed is told that the timer's signal has become one that is ignored. signals.mu is held.
func (n *posixTimer) flushed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.again()
}

// again has the timer run on after a signal that is ignored. The caller holds mu.
func (n *posixTimer) again() {
	n.pending, n.extra = false, 0
	if n.ivl.armed {
		n.ivl.pause()
		n.run()
	}
}
