package host

import (
	"fmt"
	"math/bits"
	"syscall"
	"time"
	"unsafe"
)

// Linux clocks (linux/time.h).
const (
	clockRealtime         = 0
	clockMonotonic        = 1
	clockProcessCPUTime   = 2
	clockMonotonicRaw     = 4
	clockRealtimeCoarse   = 5
	clockMonotonicCoarse  = 6
	clockBoottime         = 7
	clockRealtimeAlarm    = 8
	clockBoottimeAlarm    = 9
	clockInternationalTAI = 11
)

// clocks holds how far the clocks that Go does not read are from those that it reads, in
// nanoseconds. They were measured before the lock: a later suspend of the host, a leap second, or
// the drift of the raw clock do not show.
type clocks struct {
	raw, boot, tai int64
	start          sample
}

// sample is the same moment by the processor's time stamp counter and by the clocks.
type sample struct {
	counter         uint64
	monotonic, real int64
}

// For the signal handler. Where the vDSO makes a call because the host's clock cannot be read from
// a program, the lock refuses that call, and the handler answers it from the time stamp counter: good
// to about one part in ten thousand, and at the price of a trap, but time goes on.
const counterClocks = clockBoottime + 1

var (
	counterStart uint64                // counter at calibration
	counterScale uint64                // nanoseconds a count, times 1<<32
	counterBase  [counterClocks]uint64 // by clock: its time at counterStart; 0: not answered
)

// Clock implements emu.Machine. Time comes from the vDSO, by way of the Go runtime. The process's
// processor time is exact to ticks of 10 ms; that of a thread is not known here: see guest.Context.Ticks.
func (m *Machine) Clock(id int) (int64, bool) {
	switch id {
	case clockRealtime, clockRealtimeCoarse, clockRealtimeAlarm:
		return time.Now().UnixNano(), true
	case clockMonotonic, clockMonotonicCoarse:
		return nanotime(), true
	case clockMonotonicRaw:
		return nanotime() + m.clocks.raw, true
	case clockBoottime, clockBoottimeAlarm:
		return nanotime() + m.clocks.boot, true
	case clockInternationalTAI:
		return time.Now().UnixNano() + m.clocks.tai, true
	case clockProcessCPUTime:
		return int64(cpuTime()), true
	}
	return 0, false
}

// measureClocks compares the clocks. Only before the lock.
func measureClocks() (c clocks, err error) {
	for _, p := range []struct {
		id, base int
		to       *int64
	}{
		{clockMonotonicRaw, clockMonotonic, &c.raw},
		{clockBoottime, clockMonotonic, &c.boot},
		{clockInternationalTAI, clockRealtime, &c.tai},
	} {
		base, err := hostClock(p.base)
		if err != nil {
			return c, err
		}
		other, err := hostClock(p.id)
		if err != nil {
			return c, err
		}
		*p.to = other - base
	}
	// The two were read one after the other; TAI is whole seconds from UTC.
	c.tai = int64(time.Duration(c.tai).Round(time.Second))
	c.start, err = takeSample()
	return c, err
}

// calibrate measures the time stamp counter over the time since measureClocks. Only before the lock.
func (c *clocks) calibrate() error {
	const least = int64(time.Millisecond)
	end, err := takeSample()
	for ; err == nil && end.monotonic-c.start.monotonic < least; end, err = takeSample() {
		time.Sleep(time.Duration(least - (end.monotonic - c.start.monotonic)))
	}
	if err != nil {
		return err
	}
	counts := end.counter - c.start.counter
	if counts == 0 || counts > 1<<62 {
		return nil // no counter to speak of
	}
	counterStart = end.counter
	high, low := bits.Mul64(uint64(end.monotonic-c.start.monotonic), 1<<32)
	if high >= counts {
		return nil
	}
	counterScale, _ = bits.Div64(high, low, counts)
	mono, real := uint64(end.monotonic), uint64(end.real)
	counterBase[clockRealtime], counterBase[clockRealtimeCoarse] = real, real
	counterBase[clockMonotonic], counterBase[clockMonotonicCoarse] = mono, mono
	counterBase[clockMonotonicRaw] = mono + uint64(c.raw)
	counterBase[clockBoottime] = mono + uint64(c.boot)
	return nil
}

func takeSample() (s sample, err error) {
	if s.monotonic, err = hostClock(clockMonotonic); err == nil {
		s.counter = readCounter()
		s.real, err = hostClock(clockRealtime)
	}
	return s, err
}

func hostClock(id int) (int64, error) {
	var ts syscall.Timespec
	if _, _, e := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(id), uintptr(unsafe.Pointer(&ts)), 0); e != 0 {
		return 0, fmt.Errorf("host: clock %d: clock_gettime: %w", id, e)
	}
	return ts.Nano(), nil
}

// readCounter reads the processor's time stamp counter.
func readCounter() uint64

//go:linkname nanotime runtime.nanotime
func nanotime() int64
