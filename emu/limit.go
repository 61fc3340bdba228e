package emu

import (
	"sync/atomic"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// limit is one resource limit: soft and hard. Reading takes no lock; changes hold Process.mu.
type limit struct{ cur, max atomic.Uint64 }

// Size of the first thread's stack in bytes: it is mapped whole. stackSize is the soft limit at the start, and
// what it has without a limit.
const (
	stackSize  = 8 << 20
	stackLeast = 256 << 10
	stackMost  = 256 << 20
)

// setLimits gives a new process its limits: what Linux gives, where it does not depend on the
// machine.
func (p *Process) setLimits() {
	const none = abi.RLIM_INFINITY
	for i, l := range [abi.RLIM_NLIMITS]struct{ cur, max uint64 }{
		abi.RLIMIT_CPU:        {none, none},
		abi.RLIMIT_FSIZE:      {none, none},
		abi.RLIMIT_DATA:       {none, none},
		abi.RLIMIT_STACK:      {stackSize, none},
		abi.RLIMIT_CORE:       {0, 0},
		abi.RLIMIT_RSS:        {none, none},
		abi.RLIMIT_NPROC:      {uint64(p.kernel.maxThreads), uint64(p.kernel.maxThreads)},
		abi.RLIMIT_NOFILE:     {1024, 1 << 16},
		abi.RLIMIT_MEMLOCK:    {8 << 20, 8 << 20},
		abi.RLIMIT_AS:         {none, none},
		abi.RLIMIT_LOCKS:      {none, none},
		abi.RLIMIT_SIGPENDING: {maxQueued, maxQueued},
		abi.RLIMIT_MSGQUEUE:   {819200, 819200},
		abi.RLIMIT_NICE:       {0, 0},
		abi.RLIMIT_RTPRIO:     {0, 0},
		abi.RLIMIT_RTTIME:     {none, none},
	} {
		p.limits[i].cur.Store(l.cur)
		p.limits[i].max.Store(l.max)
	}
}

// limit returns the soft limit of a resource (RLIMIT_*); abi.RLIM_INFINITY: none.
func (p *Process) limit(resource int) uint64 { return p.limits[resource].cur.Load() }

// procLimit answers proc_limit (prlimit(2)).
func (t *Task) procLimit(pid int32, resource uint32, next, old abi.Addr) (uint64, abi.Errno) {
	var b [abi.RlimitSize]byte
	var want abi.Rlimit
	if next != 0 {
		if guest.CopyIn(b[:], next) < len(b) {
			return 0, abi.EFAULT
		}
		want.Decode(b[:])
	}
	p := t.other(pid)
	if p == nil {
		return 0, abi.ESRCH
	}
	if p != t.proc && !t.mayInspect(p) {
		return 0, abi.EPERM
	}
	if resource >= abi.RLIM_NLIMITS || next != 0 && want.Cur > want.Max {
		return 0, abi.EINVAL
	}
	l := &p.limits[resource]
	root := t.proc.uid() == 0
	p.mu.Lock()
	prev := abi.Rlimit{Cur: l.cur.Load(), Max: l.max.Load()}
	ok := want.Max <= prev.Max || root && resource != abi.RLIMIT_NOFILE && resource != abi.RLIMIT_NPROC
	if next != 0 && ok {
		l.cur.Store(want.Cur)
		l.max.Store(want.Max)
	}
	p.mu.Unlock()
	if next != 0 && !ok {
		return 0, abi.EPERM
	}
	if old != 0 {
		prev.Encode(b[:])
		if guest.CopyOut(old, b[:]) < len(b) {
			return 0, abi.EFAULT
		}
	}
	return 0, 0
}
