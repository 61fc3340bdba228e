package emu

import (
	"sort"
	"sync"
)

// ramPool hands out pages of the guest RAM memfd: those behind the buffer cache's. Free pages are
// zero.
type ramPool struct {
	m    Machine
	mu   sync.Mutex
	free []ramExtent // ascending, never adjacent
	left int64       // bytes in free
}

// ramExtent is a run of bytes of the RAM, a multiple of pageSize.
type ramExtent struct{ off, n int64 }

func newRAMPool(m Machine) *ramPool {
	p := &ramPool{m: m}
	lo, hi := pageUp(m.CacheBytes()), pageDown(int64(len(m.RAM())))
	if lo < hi {
		p.free = []ramExtent{{lo, hi - lo}}
		p.left = hi - lo
	}
	return p
}

// alloc returns a run of at most n bytes: all of n in the lowest place where it fits, else the
// longest run there is. false when nothing is free.
func (p *ramPool) alloc(n int64) (ramExtent, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	best := -1
	for i := range p.free {
		if p.free[i].n >= n {
			best = i
			break
		}
		if best < 0 || p.free[i].n > p.free[best].n {
			best = i
		}
	}
	if best < 0 {
		return ramExtent{}, false
	}
	f := &p.free[best]
	e := ramExtent{f.off, min(n, f.n)}
	f.off += e.n
	f.n -= e.n
	if f.n == 0 {
		p.free = append(p.free[:best], p.free[best+1:]...)
	}
	p.left -= e.n
	return e, true
}

// allocAll returns runs of n bytes in all, or none.
func (p *ramPool) allocAll(n int64, out []ramExtent) ([]ramExtent, bool) {
	first := len(out)
	for n > 0 {
		e, ok := p.alloc(n)
		if !ok {
			for _, e := range out[first:] {
				p.giveBack(e)
			}
			return out[:first], false
		}
		out = append(out, e)
		n -= e.n
	}
	return out, true
}

// release zeroes e, which nobody maps any more, and makes it free.
func (p *ramPool) release(e ramExtent) {
	p.m.DiscardRAM(e.off, e.n)
	p.giveBack(e)
}

// giveBack makes e, which is zero, free.
func (p *ramPool) giveBack(e ramExtent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left += e.n
	i := sort.Search(len(p.free), func(i int) bool { return p.free[i].off > e.off })
	joinsAbove := i < len(p.free) && e.off+e.n == p.free[i].off
	if i > 0 && p.free[i-1].off+p.free[i-1].n == e.off {
		p.free[i-1].n += e.n
		if joinsAbove {
			p.free[i-1].n += p.free[i].n
			p.free = append(p.free[:i], p.free[i+1:]...)
		}
		return
	}
	if joinsAbove {
		p.free[i].off = e.off
		p.free[i].n += e.n
		return
	}
	p.free = append(p.free, ramExtent{})
	copy(p.free[i+1:], p.free[i:])
	p.free[i] = e
}
