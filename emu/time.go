package emu

import (
	"math"
	"sync/atomic"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// monotonic returns CLOCK_MONOTONIC in nanoseconds: the clock of wait's deadlines.
func (k *Kernel) monotonic() int64 {
	now, _ := k.m.Clock(abi.CLOCK_MONOTONIC)
	return now
}

// clock reads a clock as a guest names it, in nanoseconds.
func (k *Kernel) clock(id int32) (int64, abi.Errno) {
	switch id {
	case abi.CLOCK_REALTIME_COARSE, abi.CLOCK_REALTIME_ALARM, abi.CLOCK_TAI:
		id = abi.CLOCK_REALTIME
	case abi.CLOCK_MONOTONIC_COARSE, abi.CLOCK_MONOTONIC_RAW:
		id = abi.CLOCK_MONOTONIC
	case abi.CLOCK_BOOTTIME_ALARM:
		id = abi.CLOCK_BOOTTIME
	}
	if id < 0 {
		return k.cpuClock(id)
	}
	now, ok := k.m.Clock(int(id))
	if !ok && id == abi.CLOCK_BOOTTIME {
		now, ok = k.m.Clock(abi.CLOCK_MONOTONIC)
	}
	if !ok {
		return 0, abi.EINVAL
	}
	return now, 0
}

// cpuClock reads a processor time clock that names its process or thread (clock_getcpuclockid(3)):
// its number is negated in the upper bits, bit 2 says thread, and the kind of time, in the lowest
// two, makes no difference here.
func (k *Kernel) cpuClock(id int32) (int64, abi.Errno) {
	n := ^(id >> 3)
	switch {
	case id&3 == 3:
		return 0, abi.EINVAL
	case id&4 != 0:
		if o := k.task(n); o != nil {
			o.proc.mu.Lock()
			defer o.proc.mu.Unlock()
			if o.proc.tasks[n] == o { // else it has ended since
				return o.cpuTime(), 0
			}
		}
	default:
		if p := k.process(n); p != nil {
			return k.processTime(p), 0
		}
	}
	return 0, abi.EINVAL
}

// processTime is how long a process has computed, in nanoseconds. The host counts for all of them
// together: the first process has what the ticks do not give to others, which is exact if there are none.
func (k *Kernel) processTime(p *Process) int64 {
	if p.ended.Load() {
		k.mu.Lock()
		defer k.mu.Unlock()
		return p.used
	}
	used := p.cpuTime()
	if p.parent.Load() != nil {
		return used
	}
	all, _ := k.m.Clock(abi.CLOCK_PROCESS_CPUTIME_ID)
	k.mu.Lock()
	all -= k.lateUsed
	for _, o := range k.procs {
		if o != p && !o.ended.Load() {
			all -= o.cpuTime()
		}
	}
	k.mu.Unlock()
	return max(all, used)
}

// cpuTime is how long the thread has computed, in nanoseconds, as far as ticks tell. It is the
// caller's thread, or the process's lock is held.
func (t *Task) cpuTime() int64 {
	const tick = 10e6
	return int64(atomic.LoadUint64(&t.ctx.Ticks)) * tick
}

// loadTime reads a struct timespec of the guest: EFAULT, or EINVAL if it is no time.
func loadTime(a abi.Addr) (abi.Timespec, abi.Errno) {
	var b [abi.TimespecSize]byte
	var ts abi.Timespec
	if guest.CopyIn(b[:], a) < len(b) {
		return ts, abi.EFAULT
	}
	ts.Decode(b[:])
	if !ts.Valid() {
		return ts, abi.EINVAL
	}
	return ts, 0
}

func storeTime(a abi.Addr, ns int64) abi.Errno {
	var b [abi.TimespecSize]byte
	ts := abi.NsecToTimespec(ns)
	ts.Encode(b[:])
	if guest.CopyOut(a, b[:]) < len(b) {
		return abi.EFAULT
	}
	return 0
}

// deadlineAt turns the guest's timespec at a into a deadline of wait: a time of the given clock
// if absolute, else a duration from now.
func (t *Task) deadlineAt(a abi.Addr, clock int32, absolute bool) (int64, abi.Errno) {
	ts, errno := loadTime(a)
	if errno != 0 {
		return 0, errno
	}
	return t.kernel.deadline(ts.Nanoseconds(), clock, absolute)
}

func (k *Kernel) deadline(ns int64, clock int32, absolute bool) (int64, abi.Errno) {
	now := k.monotonic()
	if absolute {
		if clock == abi.CLOCK_MONOTONIC {
			return ns, 0
		}
		there, errno := k.clock(clock)
		if errno != 0 {
			return 0, errno
		}
		if ns <= there {
			return now, 0
		}
		ns -= there
	}
	if ns > math.MaxInt64-1-now {
		return forever, 0
	}
	return now + ns, 0
}

// timeNow answers time_now (clock_gettime(2)).
func (t *Task) timeNow(clock int32, ts abi.Addr) (uint64, abi.Errno) {
	now, errno := t.clock(clock)
	if errno != 0 {
		return 0, errno
	}
	return 0, storeTime(ts, now)
}

// tickTime is the processor time that one of a context's ticks stands for.
const tickTime = 10_000_000

// clock reads a clock, the thread's own included: its processor time is counted in ticks.
func (t *Task) clock(id int32) (int64, abi.Errno) {
	switch id = t.named(id); id {
	case abi.CLOCK_THREAD_CPUTIME_ID:
		return int64(t.ctx.Ticks) * tickTime, 0
	case abi.CLOCK_PROCESS_CPUTIME_ID:
		return t.kernel.processTime(t.proc), 0
	}
	return t.kernel.clock(id)
}

// named returns the number of a clock in which the calling process or thread, if it is meant, has its number: 0
// stands for it in the clocks of processor time (see cpuClock).
func (t *Task) named(clock int32) int32 {
	if clock >= 0 || clock>>3 != ^0 {
		return clock
	}
	if clock&4 != 0 {
		return ^t.tid<<3 | clock&7
	}
	return ^t.proc.pid<<3 | clock&7
}

// timeSet answers time_set (clock_settime(2)): the clocks are the host's.
func (t *Task) timeSet(clock int32, ts abi.Addr) (uint64, abi.Errno) {
	if clock != abi.CLOCK_REALTIME {
		return 0, abi.EINVAL
	}
	if _, errno := loadTime(ts); errno != 0 {
		return 0, errno
	}
	return 0, abi.EPERM
}

// timeResolution answers time_resolution (clock_getres(2)).
func (t *Task) timeResolution(clock int32, ts abi.Addr) (uint64, abi.Errno) {
	if _, errno := t.clock(clock); errno != 0 {
		return 0, errno
	}
	if ts == 0 {
		return 0, 0
	}
	return 0, storeTime(ts, 1)
}

// timeSleep answers time_sleep (clock_nanosleep(2)).
func (t *Task) timeSleep(clock int32, flags uint32, req, rem abi.Addr) (uint64, abi.Errno) {
	switch clock {
	case abi.CLOCK_REALTIME, abi.CLOCK_MONOTONIC, abi.CLOCK_BOOTTIME, abi.CLOCK_TAI:
	case abi.CLOCK_PROCESS_CPUTIME_ID, abi.CLOCK_THREAD_CPUTIME_ID, abi.CLOCK_MONOTONIC_RAW, abi.CLOCK_REALTIME_COARSE,
		abi.CLOCK_MONOTONIC_COARSE, abi.CLOCK_REALTIME_ALARM, abi.CLOCK_BOOTTIME_ALARM:
		return 0, abi.EOPNOTSUPP
	default:
		return 0, abi.EINVAL
	}
	// Linux looks at no other flag.
	absolute := flags&abi.TIMER_ABSTIME != 0
	deadline, errno := t.deadlineAt(req, clock, absolute)
	if errno != 0 {
		return 0, errno
	}
	for {
		switch errno := t.wait(deadline); errno {
		case 0:
		case abi.ETIMEDOUT:
			return 0, 0
		default:
			if absolute {
				return 0, errRestartNoHandler
			}
			if rem != 0 {
				if e := storeTime(rem, max(0, deadline-t.kernel.monotonic())); e != 0 {
					return 0, e
				}
			}
			return 0, errno
		}
	}
}

// errRestartNoHandler stands where Linux begins a call anew only if no handler was run. Here, a
// wait is not interrupted unless there is one to run.
const errRestartNoHandler = abi.EINTR

// timeOfDay answers time_of_day (gettimeofday(2)).
func (t *Task) timeOfDay(tv, tz abi.Addr) (uint64, abi.Errno) {
	if tv != 0 {
		now, errno := t.kernel.clock(abi.CLOCK_REALTIME)
		if errno != 0 {
			return 0, errno
		}
		var b [abi.TimevalSize]byte
		v := abi.NsecToTimeval(now)
		v.Encode(b[:])
		if guest.CopyOut(tv, b[:]) < len(b) {
			return 0, abi.EFAULT
		}
	}
	if tz != 0 && guest.Zero(tz, abi.TimezoneSize) < abi.TimezoneSize {
		return 0, abi.EFAULT
	}
	return 0, 0
}

// timeSeconds answers time_seconds (time(2)).
func (t *Task) timeSeconds(a abi.Addr) (uint64, abi.Errno) {
	now, errno := t.kernel.clock(abi.CLOCK_REALTIME)
	if errno != 0 {
		return 0, errno
	}
	sec := uint64(now / 1e9)
	if a != 0 {
		var b [8]byte
		le.PutUint64(b[:], sec)
		if guest.CopyOut(a, b[:]) < len(b) {
			return 0, abi.EFAULT
		}
	}
	return sec, 0
}

// procTimes answers proc_times (times(2)).
func (t *Task) procTimes(buf abi.Addr) (uint64, abi.Errno) {
	const tick = 1e9 / abi.ClockTick
	now := t.kernel.monotonic() / tick
	if buf != 0 {
		var b [abi.TmsSize]byte
		tms := abi.Tms{Utime: t.kernel.processTime(t.proc) / tick, Cutime: t.proc.childTime() / tick}
		tms.Encode(b[:])
		if guest.CopyOut(buf, b[:]) < len(b) {
			return 0, abi.EFAULT
		}
	}
	return uint64(now), 0
}

// procUsage answers proc_usage (getrusage(2)). The host's accounting does not tell the guest's
// time from the kernel's on its behalf: all counts as the guest's.
func (t *Task) procUsage(who int32, buf abi.Addr) (uint64, abi.Errno) {
	var r abi.Rusage
	switch who {
	case abi.RUSAGE_SELF:
		r.Utime = abi.NsecToTimeval(t.kernel.processTime(t.proc))
	case abi.RUSAGE_THREAD:
		used, _ := t.clock(abi.CLOCK_THREAD_CPUTIME_ID)
		r.Utime = abi.NsecToTimeval(used)
	case abi.RUSAGE_CHILDREN:
		r.Utime = abi.NsecToTimeval(t.proc.childTime())
		t.kernel.mu.Lock()
		r.Maxrss = t.proc.childPeak
		t.kernel.mu.Unlock()
	default:
		return 0, abi.EINVAL
	}
	if who != abi.RUSAGE_CHILDREN {
		r.Maxrss = int64(t.proc.mem().size() >> 10)
	}
	var b [abi.RusageSize]byte
	r.Encode(b[:])
	if guest.CopyOut(buf, b[:]) < len(b) {
		return 0, abi.EFAULT
	}
	return 0, 0
}
