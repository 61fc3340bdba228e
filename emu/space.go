package emu

import (
	"sync"
	"sync/atomic"

	"pinhole/abi"
)

// Limits on the number of a process's mappings. Between any two that have something behind them
// may lie empty space, which is one more mapping of the host's, whose own limit is 65530 (and some
// of them are the kernel's).
const (
	maxMappings = 65530
	maxHosted   = 30000
)

// space is the address space of a process: what is mapped where. A process that was made by another is in the
// other's until it executes a program. Everything in it that is not mapped is BackNone at the host. Methods whose
// comment ends in "Locked" want mu held.
type space struct {
	k      *Kernel
	users  spaceUsers
	lo, hi abi.Addr // where mappings go
	top    abi.Addr // mappings without a place of their own are put below, as high as they fit

	hasLow  atomic.Bool // has the low area as well: see areas
	annexes int         // units that it has besides [lo, hi); guarded by areas.mu

	mu     sync.Mutex
	set    vmaSet
	mapped uint64 // bytes, accessible or not

	heap, brk abi.Addr // the break's start and present place
	kept      []span   // empty space that is a mapping of its own at the host: see keep
	windows   []window // tops of stacks that were unmapped: see lazy.go
	scratch   []vma
	extents   []ramExtent
	dead      []*mappedFile // without mappings, to be let go of once mu is free
}

// newSpace returns an empty space with a part of the address space that nobody else has, or nil: all
// of it is in use. The process that it is for enters it.
func (k *Kernel) newSpace() *space {
	s := &space{k: k}
	if !k.areas.give(s) {
		return nil
	}
	return s
}

// lock and unlock guard the space. What was taken away under the lock is let go of after it,
// since the last reference to a file may cost writes.
func (s *space) lock() { s.mu.Lock() }

func (s *space) unlock() {
	dead := s.dead
	s.dead = nil
	s.mu.Unlock()
	for _, f := range dead {
		f.release()
	}
}

// commitment counts what guests of the sandbox were promised against Machine.MemoryLimit.
type commitment struct {
	used  atomic.Int64
	limit int64
}

func (c *commitment) take(n uint64) bool {
	if n == 0 {
		return true
	}
	if n > uint64(c.limit) || c.used.Add(int64(n)) > c.limit {
		if n <= uint64(c.limit) {
			c.used.Add(-int64(n))
		}
		return false
	}
	return true
}

func (c *commitment) give(n uint64) { c.used.Add(-int64(n)) }

// charge is how much memory v may come to use that nobody else pays for.
func (v *vma) charge() uint64 {
	if v.flags&vmaWritten != 0 {
		return v.len()
	}
	return 0
}

// inside tells whether [a, a+n) is address space of the process.
func (s *space) inside(a abi.Addr, n uint64) bool {
	return a >= s.lo && a <= s.hi && n <= uint64(s.hi-a) || s.hasLow.Load() && s.k.areas.isLow(a, n) || s.k.areas.has(s, a, n)
}

// find returns a place for n bytes: the hint if it is free, else the highest place below top.
// Locked.
func (s *space) find(hint abi.Addr, n uint64, low bool) (abi.Addr, bool) {
	if hint = pageDown(hint); hint != 0 && (s.inside(hint, n) || s.k.areas.extend(s, hint, n)) && s.set.free(hint, hint+abi.Addr(n)) {
		return hint, true
	}
	if low {
		if !s.k.areas.giveLow(s) {
			return 0, false
		}
		return s.set.gap(s.k.areas.lowLo, s.k.areas.lowHi, n)
	}
	if a, ok := s.set.gap(s.lo, s.top, n); ok {
		return a, true
	}
	return s.set.gap(s.lo, s.hi, n)
}

// room tells whether n more hosted mappings are admitted. Locked.
func (s *space) room(n int) bool {
	return s.set.hosted+n <= maxHosted && s.set.n+n <= maxMappings
}

// host makes the host show v. A piece of empty space onto empty space needs no call.
func (s *space) host(v *vma, populate bool) abi.Errno {
	prot := uint32(v.prot)
	if v.flags&vmaUnclaimed != 0 {
		prot &^= abi.PROT_WRITE
	}
	switch {
	case v.back == BackNone && s.set.empty(v.start, v.end) && s.reserves(v):
		return 0
	case len(s.windows) > 0:
		s.dropWindows(v.start, v.end)
	}
	switch {
	case v.back == BackNone:
		if s.set.empty(v.start, v.end) {
			return 0
		}
		return s.k.m.Map(v.start, v.len(), abi.PROT_NONE, BackNone, 0)
	case v.back == BackAnon && populate:
		return s.k.m.MapPopulated(v.start, v.len(), prot)
	}
	return s.k.m.Map(v.start, v.len(), prot, v.back, v.off)
}

// empty tells whether the host has nothing in [lo, hi).
func (s *vmaSet) empty(lo, hi abi.Addr) bool {
	if len(s.runs) == 0 {
		return true
	}
	for p := s.seek(lo); ; p = s.next(p) {
		v := s.at(p)
		if v == nil || v.start >= hi {
			return true
		}
		if v.back != BackNone {
			return false
		}
	}
}

// replace puts v where it says, in place of whatever is there. v.origin is 0 and v.file, if any,
// counts this mapping already. On failure nothing has changed. Locked.
func (s *space) replace(v vma, populate bool) abi.Errno {
	if !s.room(3) || !s.k.commit.take(v.charge()) {
		return abi.ENOMEM
	}
	if errno := s.host(&v, populate); errno != 0 {
		s.k.commit.give(v.charge())
		return errno
	}
	s.forget(v.start, v.end)
	s.mapped += v.len()
	s.set.put(v)
	return 0
}

// forget takes [lo, hi) out of the books, after the host shows something else there. Locked.
func (s *space) forget(lo, hi abi.Addr) {
	s.scratch = s.set.take(lo, hi, s.scratch[:0])
	for i := range s.scratch {
		s.gone(&s.scratch[i])
	}
	clear(s.scratch)
}

// gone lets go of what v, which is not mapped any more, held. Locked.
func (s *space) gone(v *vma) {
	s.mapped -= v.len()
	s.k.commit.give(v.charge())
	if v.back == BackRAM && v.flags&vmaBorrowed == 0 && !v.sharesFile() {
		s.k.ram.release(ramExtent{v.off, int64(v.len())})
	}
	if v.file != nil {
		if v.file.refs--; v.file.refs == 0 {
			s.dead = append(s.dead, v.file)
		}
	}
}

// unmap makes [lo, hi) empty. Locked.
func (s *space) unmap(lo, hi abi.Addr) abi.Errno {
	if s.closeStack(lo, hi) {
		return 0
	}
	if s.keep(lo, hi) {
		s.forget(lo, hi)
		return 0
	}
	if v := s.set.find(lo); v != nil && v.start < lo && v.end > hi && !s.room(1) {
		return abi.ENOMEM // a hole makes two of one
	}
	none := vma{start: lo, end: hi, back: BackNone}
	if errno := s.host(&none, false); errno != 0 {
		return errno
	}
	s.forget(lo, hi)
	return 0
}

// span is a range of addresses.
type span struct{ lo, hi abi.Addr }

const (
	maxKept     = 32
	maxKeptSize = 4 << 20
)

// keep makes [lo, hi) empty if one mapping with something behind it lies in it, and nothing
// reaches out of it. What takes most of the time of unmapping and mapping again, at the host, is
// to join the range with the empty space around it and to cut it out again. So it stays a mapping
// of its own there, inaccessible, for the next that comes to lie in the same place: a thread's
// stack, a buffer of malloc. False: nothing has changed. Locked.
func (s *space) keep(lo, hi abi.Addr) bool {
	var only *vma
	for p := s.set.seek(lo); ; p = s.set.next(p) {
		v := s.set.at(p)
		if v == nil || v.start >= hi {
			break
		}
		if v.start < lo || v.end > hi || v.back != BackNone && only != nil {
			return false
		}
		if v.back != BackNone {
			only = v
		}
	}
	if only == nil || only.len() > maxKeptSize {
		return false
	}
	r := span{only.start, only.end}
	if s.k.m.Map(r.lo, only.len(), abi.PROT_NONE, BackAnon, 0) != 0 {
		return false
	}
	for i, k := range s.kept {
		if k.lo < r.hi && r.lo < k.hi {
			// Mostly the range itself, as it was kept the last time.
			if k.lo < r.lo || k.hi > r.hi {
				s.join(k)
			}
			s.kept[i] = r
			return true
		}
	}
	if len(s.kept) == maxKept {
		s.join(s.kept[0])
		copy(s.kept, s.kept[1:])
		s.kept = s.kept[:maxKept-1]
	}
	s.kept = append(s.kept, r)
	return true
}

// join makes what is empty of a range that was kept one with the empty space around it. Locked.
func (s *space) join(k span) {
	for lo := k.lo; lo < k.hi; {
		v := s.set.at(s.set.seek(lo))
		hi := k.hi
		if v != nil && v.start < k.hi {
			hi = max(v.start, lo)
		}
		if lo < hi {
			s.k.m.Map(lo, uint64(hi-lo), abi.PROT_NONE, BackNone, 0) // at worst, it remains
		}
		if v == nil || v.start >= k.hi {
			return
		}
		lo = v.end
	}
}

// mapAnon maps zero pages at [a, a+n). Locked.
func (s *space) mapAnon(a abi.Addr, n uint64, prot uint8, flags vmaFlags, populate bool) abi.Errno {
	v := vma{start: a, end: a + abi.Addr(n), prot: prot, flags: flags, back: BackAnon}
	if prot == 0 {
		v.back = BackNone
	}
	if prot&abi.PROT_WRITE != 0 {
		v.flags |= vmaWritten
	}
	return s.replace(v, populate && prot != 0)
}

// whole tells whether all of [lo, hi) is mapped. Locked.
func (s *space) whole(lo, hi abi.Addr) bool {
	for p := s.set.seek(lo); lo < hi; p = s.set.next(p) {
		v := s.set.at(p)
		if v == nil || v.start > lo {
			return false
		}
		lo = v.end
	}
	return true
}

// size returns how much is mapped, in bytes.
func (s *space) size() uint64 {
	s.lock()
	defer s.unlock()
	return s.mapped
}

// release empties the space and, if nobody is to use it any more, gives its addresses back.
func (s *space) release() {
	if s.clear() {
		s.k.areas.takeBack(s, false)
	}
}

// clear empties the space. False: the host has not taken everything away, so that the addresses can
// never be used for anything else.
func (s *space) clear() (all bool) {
	s.lock()
	defer s.unlock()
	all = true
	for s.set.n > 0 {
		lo := s.set.runs[0].v[0].start
		last := s.set.runs[len(s.set.runs)-1].v
		hi := last[len(last)-1].end
		hi = min(hi, s.k.areas.end(s, lo)) // in between may be the kernel, or others
		if s.unmap(lo, hi) != 0 {
			s.forget(lo, hi) // the host has none to give: what is left there is nobody's
			all = false
		}
	}
	s.dropWindows(0, guestEnd)
	for _, k := range s.kept {
		s.join(k)
	}
	s.kept = nil
	s.heap, s.brk, s.top = 0, 0, s.hi
	if all {
		s.k.areas.takeBack(s, true)
	}
	return all
}
