package emu

import (
	"sync"

	"pinhole/abi"
)

// timers are a process's interval timers.
type timers struct {
	mu     sync.Mutex
	itimer [3]interval // of setitimer(2), by ITIMER_*
	posix  map[int32]*posixTimer
	nextID int32
	ended  bool // nothing is to be set any more
}

// itimerSignal is what each timer of setitimer(2) sends.
var itimerSignal = [3]int{abi.ITIMER_REAL: abi.SIGALRM, abi.ITIMER_VIRTUAL: abi.SIGVTALRM, abi.ITIMER_PROF: abi.SIGPROF}

// setItimer sets a timer of setitimer(2), and returns how it was.
func (p *Process) setItimer(which int32, value, period int64) (oldValue, oldPeriod int64) {
	ts := &p.timers
	i := p.lockItimer(which)
	defer ts.mu.Unlock()
	oldValue, oldPeriod = i.left(1000), i.period
	if !ts.ended {
		i.set(value, period, false)
		p.runItimer(which)
	}
	return oldValue, oldPeriod
}

// lockItimer returns a timer with timers.mu held.
func (p *Process) lockItimer(which int32) *interval {
	ts := &p.timers
	i := &ts.itimer[which]
	ts.mu.Lock()
	if i.now == nil {
		if which == abi.ITIMER_REAL {
			i.wallClock(p.kernel, abi.CLOCK_MONOTONIC)
		} else { // time in the guest and in the kernel on its behalf is not told apart
			i.cpuClock(func() (int64, bool) { return p.kernel.processTime(p), true })
		}
	}
	ts.mu.Unlock()
	i.lock(&ts.mu)
	return i
}

// runItimer has a timer run. The caller holds timers.mu.
func (p *Process) runItimer(which int32) {
	p.timers.itimer[which].start(p.kernel, func() { p.fireItimer(which) })
}

// fireItimer is called when a timer's time may have come.
func (p *Process) fireItimer(which int32) {
	ts := &p.timers
	i := p.lockItimer(which)
	n := i.due()
	if n > 0 && i.period > 0 {
		i.pause()
	}
	p.runItimer(which)
	ts.mu.Unlock()
	if n > 0 {
		p.signal(itimerSignal[which])
	}
}

// itimerSet answers itimer_set (setitimer(2)).
func (t *Task) itimerSet(which int32, value, old abi.Addr) (uint64, abi.Errno) {
	var v abi.Itimerval
	if value != 0 { // else, as on Linux, all zero
		if errno := t.getStruct(value, abi.ItimervalSize); errno != 0 {
			return 0, errno
		}
		v.Decode(t.scratch[:])
	}
	if !validTimeval(v.Value) || !validTimeval(v.Interval) || which < 0 || which > abi.ITIMER_PROF {
		return 0, abi.EINVAL
	}
	left, period := t.proc.setItimer(which, timevalNanos(v.Value), timevalNanos(v.Interval))
	if old == 0 {
		return 0, 0
	}
	return 0, t.storeItimer(old, left, period)
}

// itimerGet answers itimer_get (getitimer(2)).
func (t *Task) itimerGet(which int32, value abi.Addr) (uint64, abi.Errno) {
	if which < 0 || which > abi.ITIMER_PROF {
		return 0, abi.EINVAL
	}
	ts := &t.proc.timers
	i := t.proc.lockItimer(which)
	left, period := i.left(1000), i.period
	ts.mu.Unlock()
	return 0, t.storeItimer(value, left, period)
}

// itimerAlarm answers itimer_alarm (alarm(2)).
func (t *Task) itimerAlarm(seconds uint32) (uint64, abi.Errno) {
	left, _ := t.proc.setItimer(abi.ITIMER_REAL, int64(seconds)*1e9, 0)
	if left > 0 {
		return uint64(max((left+5e8)/1e9, 1)), 0
	}
	return 0, 0
}

func (t *Task) storeItimer(a abi.Addr, left, period int64) abi.Errno {
	v := abi.Itimerval{Value: abi.NsecToTimeval(left), Interval: abi.NsecToTimeval(period)}
	v.Encode(t.scratch[:])
	return t.putStruct(a, abi.ItimervalSize)
}

func validTimeval(v abi.Timeval) bool { return v.Sec >= 0 && uint64(v.Usec) < 1e6 }

func timevalNanos(v abi.Timeval) int64 {
	return abi.Timespec{Sec: v.Sec, Nsec: v.Usec * 1000}.Nanoseconds()
}

// endTimers stops all timers: the process has ended.
func (p *Process) endTimers() {
	ts := &p.timers
	ts.mu.Lock()
	ts.ended = true
	for which := range ts.itimer {
		ts.itimer[which].stop()
	}
	ts.mu.Unlock()
	p.deletePosixTimers()
}
