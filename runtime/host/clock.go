package host

import (
	"fmt"
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
type clocks struct{ raw, boot, tai int64 }

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
	return c, nil
}

func hostClock(id int) (int64, error) {
	var ts syscall.Timespec
	if _, _, e := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(id), uintptr(unsafe.Pointer(&ts)), 0); e != 0 {
		return 0, fmt.Errorf("host: clock %d: clock_gettime: %w", id, e)
	}
	return ts.Nano(), nil
}

//go:linkname nanotime runtime.nanotime
func nanotime() int64
