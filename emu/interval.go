package emu

import (
	"math"
	"runtime/debug"
	"sync"
	"time"

	"pinhole/abi"
)

// interval is what timers of all kinds are made of: a time of some clock that is to come, and a
// period after which it comes again. Its owner's lock guards it.
//
// Go's timers run by CLOCK_MONOTONIC. A time of another clock is looked at again in between: one that may be
// set by the host every second, processor time every tick.
type interval struct {
	kernel *Kernel // nil: not a clock of the kernel, but processor time of a thread or process
	clock  int32
	cpu    func() (int64, bool) // reads that time, with none of the owner's locks held
	sample int64                // what cpu said last
	gone   bool                 // cpu has found that there is no such thread or process any more
	now    func() (int64, bool) // the clock, in nanoseconds; false: it is gone (a thread's that has ended)
	pace   pace
	armed  bool
	next   int64 // time of the clock, if armed
	period int64 // 0: once
	timer  *time.Timer
}

// pace is how a clock runs in comparison with CLOCK_MONOTONIC.
type pace uint8

const (
	paceSame pace = iota // as fast, and never set
	paceSet              // as fast, but may be set
	paceCPU              // processor time: stands still, or runs as fast as there are processors
)

// leastPause is how long, in nanoseconds, a timer that sends signals waits for its next time at least.
const leastPause = 50_000

// set arms the interval, or with value 0 disarms it. An absolute value is a time of the clock.
func (i *interval) set(value, period int64, absolute bool) {
	i.stop()
	if i.kernel != nil {
		i.follow(absolute)
	}
	i.armed, i.period = value != 0, period
	if value == 0 {
		return
	}
	i.next = value
	if !absolute {
		now, _ := i.now()
		i.next = now + min(value, math.MaxInt64-now)
	}
}

// stop keeps the timer from firing.
func (i *interval) stop() {
	i.armed = false
	if i.timer != nil {
		i.timer.Stop()
	}
}

// start makes f be called when the time has come, or earlier: f looks at due.
func (i *interval) start(k *Kernel, f func()) {
	if !i.armed {
		return
	}
	now, ok := i.now()
	if !ok {
		return
	}
	d := i.next - now
	switch i.pace {
	case paceSet:
		d = min(d, int64(time.Second))
	case paceCPU:
		d = max(d/int64(max(k.m.CPUs(), 1)), tickTime)
	}
	d = max(d, 0)
	if i.timer != nil {
		i.timer.Reset(time.Duration(d))
		return
	}
	i.timer = time.AfterFunc(time.Duration(d), func() {
		defer func() {
			if r := recover(); r != nil {
				k.bug(r, debug.Stack())
			}
		}()
		f()
	})
}

// due returns how often the time has come since it was last asked for, and sets the next one.
func (i *interval) due() uint64 {
	if !i.armed {
		return 0
	}
	now, ok := i.now()
	if !ok || now < i.next {
		return 0
	}
	if i.period == 0 {
		i.armed = false
		return 1
	}
	n := (now-i.next)/i.period + 1
	i.next += (n - 1) * i.period // not later than now
	i.next += min(i.period, math.MaxInt64-i.next)
	return uint64(n)
}

// pause puts off a next time that is very near, for those that nobody's reading slows down.
func (i *interval) pause() {
	if now, ok := i.now(); ok && i.armed && i.period > 0 && i.pace != paceCPU && i.next-now < leastPause && i.period < leastPause {
		i.next += (leastPause/i.period + 1) * i.period
	}
}

// left returns how long it is until the time comes: 0 if the interval is not armed, else at least least.
func (i *interval) left(least int64) int64 {
	if !i.armed {
		return 0
	}
	now, _ := i.now()
	return max(i.next-now, least)
}

// spec returns the interval as timer calls show it.
func (i *interval) spec(least int64) abi.Itimerspec {
	return abi.Itimerspec{Interval: abi.NsecToTimespec(i.period), Value: abi.NsecToTimespec(i.left(least))}
}

// wallClock makes the interval one of a clock of the kernel, which exists.
func (i *interval) wallClock(k *Kernel, clock int32) {
	i.kernel, i.clock = k, clock
	i.follow(true)
}

// cpuClock makes the interval one of processor time, which lock reads.
func (i *interval) cpuClock(read func() (int64, bool)) {
	i.pace, i.cpu = paceCPU, read
	i.now = func() (int64, bool) { return i.sample, !i.gone }
}

// lock takes the owner's lock, and before it, where the interval is one of processor time, reads that: who
// reads it takes locks that are held when others take the owner's.
func (i *interval) lock(mu *sync.Mutex) {
	if i.cpu == nil {
		mu.Lock()
		return
	}
	now, ok := i.cpu()
	mu.Lock()
	i.sample, i.gone = max(i.sample, now), !ok
}

// follow makes the interval go by its clock; if it is not to end at a certain time of it, then by one that
// is not set.
func (i *interval) follow(absolute bool) {
	clock := i.clock
	i.pace = paceSame
	switch clock {
	case abi.CLOCK_REALTIME, abi.CLOCK_REALTIME_ALARM, abi.CLOCK_TAI:
		if !absolute {
			clock = abi.CLOCK_MONOTONIC
		} else {
			i.pace = paceSet
		}
	}
	i.now = func() (int64, bool) {
		now, errno := i.kernel.clock(clock)
		return now, errno == 0
	}
}

// loadTimer reads a struct itimerspec of the guest: EFAULT, or EINVAL if its times are none.
func (t *Task) loadTimer(a abi.Addr) (s abi.Itimerspec, _ abi.Errno) {
	if errno := t.getStruct(a, abi.ItimerspecSize); errno != 0 {
		return s, errno
	}
	s.Decode(t.scratch[:])
	if !s.Value.Valid() || !s.Interval.Valid() {
		return s, abi.EINVAL
	}
	return s, 0
}

// storeTimer writes a struct itimerspec to the guest, unless the address is 0.
func (t *Task) storeTimer(a abi.Addr, s *abi.Itimerspec) abi.Errno {
	if a == 0 {
		return 0
	}
	s.Encode(t.scratch[:])
	return t.putStruct(a, abi.ItimerspecSize)
}
