package emu

import (
	"sync"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// timerFD is a timer that is read and polled (timerfd_create(2)). After the first time of a period nothing
// runs until somebody reads how often it has come, or asks for what is left.
type timerFD struct {
	anonFile
	kernel *Kernel
	clock  int32

	mu    sync.Mutex
	flags uint32 // of the last timerfd_set
	ivl   interval
	ticks uint64 // times that have come and were not read
	rests bool   // the time has come, and the timer is not running until somebody looks
	early bool   // it was seen that the time has come, but fire is still to tell

	// With TFD_TIMER_CANCEL_ON_SET, reading fails when the clock was set.
	cancel bool
	offset int64 // of the clock from CLOCK_MONOTONIC, when it was last looked at

	forTicks, forAny waitQueue // who waits to read, and who polls
}

// clockJump is how far a clock has to go from its way for it to have been set: reading two clocks one after
// the other is not exact.
const clockJump = 50_000_000

// timerfdCreate answers timerfd_create (timerfd_create(2)).
func (t *Task) timerfdCreate(clock int32, flags uint32) (uint64, abi.Errno) {
	if flags&^(abi.TFD_NONBLOCK|abi.TFD_CLOEXEC) != 0 {
		return 0, abi.EINVAL
	}
	switch clock {
	case abi.CLOCK_REALTIME, abi.CLOCK_MONOTONIC, abi.CLOCK_BOOTTIME:
	case abi.CLOCK_REALTIME_ALARM, abi.CLOCK_BOOTTIME_ALARM: // which have nothing to wake here
		if t.proc.uid() != 0 {
			return 0, abi.EPERM
		}
	default:
		return 0, abi.EINVAL
	}
	f := &timerFD{kernel: t.kernel, clock: clock}
	f.ivl.wallClock(t.kernel, clock)
	return t.openAnon(anonTimerFD, f, flags)
}

// timerFile finds the timer that fd is open on. The caller gives the reference back.
func (t *Task) timerFile(fd int32) (*timerFD, *description, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return nil, nil, errno
	}
	f, ok := d.file.(*timerFD)
	if !ok {
		d.unref()
		return nil, nil, abi.EINVAL
	}
	return f, d, 0
}

// timerfdSet answers timerfd_set (timerfd_settime(2)).
func (t *Task) timerfdSet(fd int32, flags uint32, value, old abi.Addr) (uint64, abi.Errno) {
	s, errno := t.loadTimer(value)
	if errno != 0 {
		return 0, errno
	}
	if flags&^(abi.TFD_TIMER_ABSTIME|abi.TFD_TIMER_CANCEL_ON_SET) != 0 {
		return 0, abi.EINVAL
	}
	f, d, errno := t.timerFile(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	absolute := flags&abi.TFD_TIMER_ABSTIME != 0
	f.mu.Lock()
	prev := f.look()
	f.cancel = absolute && flags&abi.TFD_TIMER_CANCEL_ON_SET != 0 &&
		(f.clock == abi.CLOCK_REALTIME || f.clock == abi.CLOCK_REALTIME_ALARM)
	f.offset = f.clockOffset()
	f.ticks, f.rests, f.early, f.flags = 0, false, false, flags
	f.ivl.set(s.Value.Nanoseconds(), s.Interval.Nanoseconds(), absolute)
	came := f.run()
	f.mu.Unlock()
	if came {
		f.tell()
	}
	return 0, t.storeTimer(old, &prev)
}

// timerfdGet answers timerfd_get (timerfd_gettime(2)).
func (t *Task) timerfdGet(fd int32, value abi.Addr) (uint64, abi.Errno) {
	f, d, errno := t.timerFile(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	f.mu.Lock()
	s := f.look()
	f.mu.Unlock()
	s.Encode(t.scratch[:])
	return 0, t.putStruct(value, abi.ItimerspecSize)
}

// run counts a time that has come, or has the timer run until it does; true: it has come, and tell
// is to be called without the lock. The caller holds mu.
func (f *timerFD) run() bool {
	if n := f.ivl.due(); n > 0 {
		f.ticks += n
		f.rests = f.ivl.armed
		return true
	}
	f.ivl.start(f.kernel, f.fire)
	return false
}

// fire is called when the timer's time may have come.
func (f *timerFD) fire() {
	f.mu.Lock()
	came := f.early || !f.rests && f.run() || f.canceled()
	f.early = false
	f.mu.Unlock()
	if came {
		f.tell()
	}
}

// see counts a time that has come, though fire may not have been called yet. The caller holds mu.
func (f *timerFD) see() {
	if f.rests {
		return // goOn counts
	}
	if n := f.ivl.due(); n > 0 {
		f.ticks += n
		f.rests, f.early = f.ivl.armed, true
	}
}

func (f *timerFD) tell() {
	f.forTicks.wakeAll()
	f.forAny.notify(abi.POLLIN)
}

// look has a periodic timer run again after its time has come, and returns how it is set. The caller holds mu.
func (f *timerFD) look() abi.Itimerspec {
	f.see()
	if f.rests {
		f.goOn()
	}
	return f.ivl.spec(0)
}

// goOn counts what has come since the timer came to rest, and has it run again. The caller holds mu.
func (f *timerFD) goOn() {
	f.rests = false
	f.ticks += f.ivl.due()
	if f.early {
		f.early = false
		f.tell()
	}
	f.ivl.start(f.kernel, f.fire)
}

// clockOffset returns how far the clock is from CLOCK_MONOTONIC.
func (f *timerFD) clockOffset() int64 {
	now, _ := f.ivl.now()
	return now - f.kernel.monotonic()
}

// canceled tells whether the clock was set and the timer is one that wants to know. The caller holds mu.
func (f *timerFD) canceled() bool {
	if !f.cancel {
		return false
	}
	jump := f.clockOffset() - f.offset
	return jump > clockJump || jump < -clockJump
}

// take returns how often the time has come since the last time; 0: not yet. ECANCELED: the clock was set.
func (f *timerFD) take() (uint64, abi.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.canceled() {
		f.offset = f.clockOffset()
		if f.rests {
			f.goOn()
		}
		f.ticks = 0
		return 0, abi.ECANCELED
	}
	f.see()
	if f.ticks == 0 {
		return 0, 0
	}
	if f.rests {
		f.goOn()
	}
	n := f.ticks
	f.ticks = 0
	return n, 0
}

// read implements openFile.
func (f *timerFD) read(t *Task, d *description, _ int64, n int, dst vfs.Dest) (int, abi.Errno) {
	if n < 8 {
		return 0, abi.EINVAL
	}
	w := &t.waiter
	w.task = t
	defer f.forTicks.remove(w)
	for {
		nonblock := d.has(abi.O_NONBLOCK)
		if !nonblock {
			f.forTicks.add(w)
		}
		ticks, errno := f.take()
		switch {
		case errno != 0:
			return 0, errno
		case ticks > 0:
			var b [8]byte
			le.PutUint64(b[:], ticks)
			return dst.Put(b[:])
		case nonblock:
			return 0, abi.EAGAIN
		}
		if t.wait(forever) != 0 {
			return 0, errRestart
		}
	}
}

func (f *timerFD) ready(*Task, *description) uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.see()
	if f.ticks > 0 || f.canceled() {
		return abi.POLLIN
	}
	return 0
}

func (f *timerFD) queue(*Task) *waitQueue { return &f.forAny }

func (f *timerFD) release(*description) {
	f.mu.Lock()
	f.ivl.stop()
	f.mu.Unlock()
}
