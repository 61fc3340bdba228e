package emu

import (
	"sync"
	"sync/atomic"

	"pinhole/abi"
)

// areas divides the address space of guests among the processes of the sandbox: each space has a part
// of Machine.Area, and one at a time the low area. What the first process gets is large, what the others
// get is small against what is free, so that there is room for many of them. A mapping that is asked for
// somewhere else gets that place, too, if it is nobody's: run-times choose at random where their heaps are to
// grow, and try many places if they do not get the first.
//
// Lock order: space.mu, areas.mu.
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
	areaUnits = 4096          // units of the whole area
	areaFirst = areaUnits / 8 // of the first process
	areaShare = 32            // another gets at most this part of the largest free run,
	areaMost  = 8             // and at most as many units

	annexMost  = 64      // units that a process can have besides its part
	annexLeast = 1 << 20 // bytes of a mapping that gets another unit
)

func newAreas(m Machine) *areas {
	a := &areas{}
	a.lo, a.hi = m.Area()
	a.lowLo, a.lowHi = m.LowArea()
	a.unit = max(pageDown(uint64(a.hi-a.lo)/areaUnits), pageSize)
	n := int(uint64(a.hi-a.lo) / a.unit)
	a.hi = a.lo + abi.Addr(uint64(n)*a.unit)
	a.spaces = make([]atomic.Pointer[space], n)
	a.free = []areaRun{{0, n}}
	return a
}

// give gives s a part of the area; false: there is none left.
func (a *areas) give(s *space) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	largest := 0
	for _, r := range a.free {
		largest = max(largest, r.n)
	}
	n := min(areaFirst, largest)
	if largest < len(a.spaces) {
		n = 1
		for 2*n <= min(largest/areaShare, areaMost) {
			n *= 2
		}
	}
	for ; n > 0; n /= 2 {
		if at, ok := a.take(n); ok {
			s.lo, s.hi = a.lo+abi.Addr(uint64(at)*a.unit), a.lo+abi.Addr(uint64(at+n)*a.unit)
			s.top = s.hi
			a.own(areaRun{at, n}, s)
			return true
		}
	}
	return false
}

// own notes whose a run is; nil: nobody's.
func (a *areas) own(r areaRun, s *space) {
	for i := r.at; i < r.at+r.n; i++ {
		a.spaces[i].Store(s)
	}
}

// take takes n units in the lowest place that is a multiple of n. Locked.
func (a *areas) take(n int) (at int, ok bool) {
	for i, r := range a.free {
		if at = (r.at + n - 1) / n * n; at+n <= r.at+r.n {
			a.cut(i, areaRun{at, n})
			return at, true
		}
	}
	return 0, false
}

// cut takes r, which lies in a.free[i], out of it. Locked.
func (a *areas) cut(i int, r areaRun) {
	f := a.free[i]
	var rest []areaRun
	if r.at > f.at {
		rest = append(rest, areaRun{f.at, r.at - f.at})
	}
	if end := r.at + r.n; end < f.at+f.n {
		rest = append(rest, areaRun{end, f.at + f.n - end})
	}
	a.free = append(a.free[:i:i], append(rest, a.free[i+1:]...)...)
}

// extend gives s, which is locked, all of [at, at+n) in addition to what it has, if nobody else has it. It tells
// whether s has all of it then.
func (a *areas) extend(s *space, at abi.Addr, n uint64) bool {
	if n < annexLeast || at < a.lo || at >= a.hi || n > uint64(a.hi-at) {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	first, last := a.unitOf(at), a.unitOf(at+abi.Addr(n)-1)
	if last-first >= annexMost {
		return false
	}
	more := 0
	for i := first; i <= last; i++ {
		switch a.spaces[i].Load() {
		case nil:
			more++
		case s:
		default:
			return false
		}
	}
	if s.annexes+more > annexMost {
		return false
	}
	s.annexes += more
	for i := first; i <= last; i++ {
		if a.spaces[i].Load() == s {
			continue
		}
		for j, f := range a.free {
			if i >= f.at && i < f.at+f.n {
				a.cut(j, areaRun{i, 1})
				break
			}
		}
		a.spaces[i].Store(s)
	}
	return true
}

func (a *areas) unitOf(at abi.Addr) int {
	return int(uint64(at-a.lo) / a.unit)
}

// has tells whether all of [at, at+n) is s's.
func (a *areas) has(s *space, at abi.Addr, n uint64) bool {
	if at < a.lo || at >= a.hi || n > uint64(a.hi-at) {
		return false
	}
	for i, last := a.unitOf(at), a.unitOf(at+abi.Addr(max(n, 1))-1); i <= last; i++ {
		if a.spaces[i].Load() != s {
			return false
		}
	}
	return true
}

// end returns how far what s has around at goes on without a break.
func (a *areas) end(s *space, at abi.Addr) abi.Addr {
	if at < a.lo {
		return a.lowHi
	}
	i := a.unitOf(at)
	for i < len(a.spaces) && a.spaces[i].Load() == s {
		i++
	}
	return a.lo + abi.Addr(uint64(i)*a.unit)
}

// takeBack takes back what s, which is empty, has; with keep set all but its part.
func (a *areas) takeBack(s *space, keep bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	part := areaRun{a.unitOf(s.lo), int(uint64(s.hi-s.lo) / a.unit)}
	if !keep {
		a.giveBack(part)
	}
	for i := 0; i < len(a.spaces) && s.annexes > 0; i++ {
		if a.spaces[i].Load() == s && (i < part.at || i >= part.at+part.n) {
			a.giveBack(areaRun{i, 1})
			s.annexes--
		}
	}
	if a.low == s {
		a.low = nil
		s.hasLow.Store(false)
	}
}

// giveBack makes r free. Locked.
func (a *areas) giveBack(r areaRun) {
	a.own(r, nil)
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

// of returns the space that an address belongs to, or nil.
func (a *areas) of(at abi.Addr) *space {
	if at >= a.lo && at < a.hi {
		return a.spaces[a.unitOf(at)].Load()
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
	for i := range a.spaces {
		if s := a.spaces[i].Load(); s != nil && a.unitOf(s.lo) == i {
			list = append(list, s)
		}
	}
	return list
}
