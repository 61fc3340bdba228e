package emu

import (
	"sync"
	"sync/atomic"

	"pinhole/abi"
)

// areas divides the address space of guests among the processes of the sandbox: each space has a part
// of Machine.Area, and one at a time the low area. The first process has half of all; what the others
// get is small against what is free, so that there is room for many of them.
type areas struct {
	lo, hi       abi.Addr
	lowLo, lowHi abi.Addr
	unit         uint64                  // parts are multiples of it, from lo on
	spaces       []atomic.Pointer[space] // by unit: whose it is; readable without mu

	mu   sync.Mutex
	free []areaRun // ascending, never adjacent
	low  *space    // whose the low area is
}

// areaRun is a run of units.
type areaRun struct{ at, n int }

const (
	areaUnits = 4096 // units of the whole area
	areaShare = 32   // a process gets at most this part of the largest free run,
	areaMost  = 32   // and at most as many units
)

func newAreas(m Machine) *areas {
	a := &areas{}
	a.lo, a.hi = m.Area()
	a.lowLo, a.lowHi = m.LowArea()
	a.unit = max(pageDown(uint64(a.hi-a.lo)/areaUnits), pageSize)
	n := int(uint64(a.hi-a.lo) / a.unit)
	a.spaces = make([]atomic.Pointer[space], n)
	a.free = []areaRun{{0, n}}
	return a
}

// give gives s a part of the area; false: there is none left.
func (a *areas) give(s *space) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	all, largest := len(a.spaces), 0
	for _, r := range a.free {
		largest = max(largest, r.n)
	}
	n := all / 2
	if largest < all {
		n = 1
		for 2*n <= min(largest/areaShare, areaMost) {
			n *= 2
		}
	}
	for ; n > 0; n /= 2 {
		if at, ok := a.take(n); ok {
			s.lo, s.hi = a.lo+abi.Addr(uint64(at)*a.unit), a.lo+abi.Addr(uint64(at+n)*a.unit)
			s.top = s.hi
			for i := at; i < at+n; i++ {
				a.spaces[i].Store(s)
			}
			return true
		}
	}
	return false
}

// take takes n units in the lowest place that is a multiple of n. Locked.
func (a *areas) take(n int) (at int, ok bool) {
	for i, r := range a.free {
		at = (r.at + n - 1) / n * n
		if at+n > r.at+r.n {
			continue
		}
		var rest []areaRun
		if at > r.at {
			rest = append(rest, areaRun{r.at, at - r.at})
		}
		if end := at + n; end < r.at+r.n {
			rest = append(rest, areaRun{end, r.at + r.n - end})
		}
		a.free = append(a.free[:i:i], append(rest, a.free[i+1:]...)...)
		return at, true
	}
	return 0, false
}

// takeBack takes back what s, which is empty, has.
func (a *areas) takeBack(s *space) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := areaRun{int(uint64(s.lo-a.lo) / a.unit), int(uint64(s.hi-s.lo) / a.unit)}
	for i := r.at; i < r.at+r.n; i++ {
		a.spaces[i].Store(nil)
	}
	i := 0
	for i < len(a.free) && a.free[i].at < r.at {
		i++
	}
	if i < len(a.free) && r.at+r.n == a.free[i].at {
		r.n += a.free[i].n
		a.free = append(a.free[:i], a.free[i+1:]...)
	}
	if i > 0 && a.free[i-1].at+a.free[i-1].n == r.at {
		a.free[i-1].n += r.n
		return
	}
	a.free = append(a.free[:i:i], append([]areaRun{r}, a.free[i:]...)...)
}

// isLow tells whether [at, at+n) is in the low area.
func (a *areas) isLow(at abi.Addr, n uint64) bool {
	return at >= a.lowLo && at <= a.lowHi && n <= uint64(a.lowHi-at)
}

// giveLow gives s the low area, unless it is another's or there is none; it tells whether s has it.
func (a *areas) giveLow(s *space) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.low == nil && a.lowLo < a.lowHi {
		a.low = s
		s.hasLow.Store(true)
	}
	return a.low == s
}

// dropLow takes the low area back from s, if s, which is empty, has it.
func (a *areas) dropLow(s *space) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.low == s {
		a.low = nil
		s.hasLow.Store(false)
	}
}

// of returns the space that an address belongs to, or nil.
func (a *areas) of(at abi.Addr) *space {
	if at >= a.lo && at < a.hi {
		if i := uint64(at-a.lo) / a.unit; i < uint64(len(a.spaces)) {
			return a.spaces[i].Load()
		}
		return nil
	}
	if at >= a.lowLo && at < a.lowHi {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.low
	}
	return nil
}

// all returns all spaces.
func (a *areas) all() (list []*space) {
	var last *space
	for i := range a.spaces {
		if s := a.spaces[i].Load(); s != nil && s != last {
			list = append(list, s)
			last = s
		}
	}
	return list
}
