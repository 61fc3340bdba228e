package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
)

// A C library maps the stack of a thread without access, makes all but a guard at its lower end
// accessible, and unmaps it when the thread has been joined. With that, and a fault on each page
// that the thread uses, the host would take longer than all the rest of making a thread. So of
// such a mapping only the top, the window, has memory from the start; the rest, marked lazy, gets
// it when it is first touched, as few threads do. And a window that is unmapped stays as it is at
// the host, to be zeroed and used again for the next stack that comes to lie in the same place.
// Until then it can be accessed, though nothing is mapped there: the one difference that a program
// could see.

const (
	windowSize = 16 << 10
	lazyMin    = 64 << 10 // mappings from this size on
	lazyMax    = 64 << 20
	maxWindows = 64
)

// window is the top of an unmapped stack.
type window struct {
	stack span // the mapping that it was the top of, with its guard
}

func (w *window) span() span { return span{w.stack.hi - windowSize, w.stack.hi} }

// isStack tells whether making [lo, hi) accessible is what makes a thread's stack of the mapping v.
func (v *vma) isStack(lo, hi abi.Addr, prot uint8) bool {
	return prot == abi.PROT_READ|abi.PROT_WRITE && v.prot == 0 && v.back == BackNone && v.flags == 0 && v.file == nil &&
		lo > v.start && hi == v.end && hi-lo >= lazyMin && hi-lo <= lazyMax
}

// openStack makes [lo, hi), the upper part of v, a stack with a window. Locked.
func (s *space) openStack(v *vma, lo, hi abi.Addr) abi.Errno {
	if !s.room(3) || !s.k.commit.take(uint64(hi-lo)) {
		return abi.ENOMEM
	}
	at := hi - windowSize
	if i := s.findWindow(at); i >= 0 && guest.HeldZero(at, windowSize) == windowSize {
		s.windows = append(s.windows[:i], s.windows[i+1:]...)
	} else {
		s.dropWindows(at, hi)
		if errno := s.k.m.MapPopulated(at, windowSize, abi.PROT_READ|abi.PROT_WRITE); errno != 0 {
			s.k.commit.give(uint64(hi - lo))
			return errno
		}
	}
	rest := vma{start: lo, end: at, prot: abi.PROT_READ | abi.PROT_WRITE, flags: vmaWritten | vmaLazy, back: BackNone}
	top := vma{start: at, end: hi, prot: rest.prot, flags: vmaWritten | vmaWindow, back: BackAnon}
	s.scratch = s.set.take(lo, hi, s.scratch[:0])
	clear(s.scratch)
	s.set.put(rest)
	s.set.put(top)
	return 0
}

// findWindow returns the index of the window at at, or -1.
func (s *space) findWindow(at abi.Addr) int {
	for i := len(s.windows) - 1; i >= 0; i-- {
		if s.windows[i].span().lo == at {
			return i
		}
	}
	return -1
}

// closeStack unmaps [lo, hi) if it is a stack, and keeps its window. False: it is something else.
// Locked.
func (s *space) closeStack(lo, hi abi.Addr) bool {
	if hi-lo < lazyMin || len(s.windows) == maxWindows {
		return false
	}
	top := s.set.find(hi - 1)
	if top == nil || top.flags&vmaWindow == 0 || top.end != hi || top.len() != windowSize {
		return false
	}
	if v := s.set.at(s.set.seek(lo)); v.start < lo {
		return false
	}
	if at := hi - windowSize; !s.set.empty(lo, at) && !s.keep(lo, at) {
		return false
	}
	s.windows = append(s.windows, window{span{lo, hi}})
	s.forget(lo, hi)
	return true
}

// dropWindows makes the windows that have bytes in [lo, hi) inaccessible, and forgets them. Locked.
func (s *space) dropWindows(lo, hi abi.Addr) {
	for i := 0; i < len(s.windows); {
		w := s.windows[i].span()
		if w.lo >= hi || lo >= w.hi {
			i++
			continue
		}
		s.k.m.Map(w.lo, windowSize, abi.PROT_NONE, BackNone, 0) // at worst, it remains
		s.windows = append(s.windows[:i], s.windows[i+1:]...)
	}
}

// reserves tells whether v, inaccessible, comes to lie where a stack was whose window is kept.
// Locked.
func (s *space) reserves(v *vma) bool {
	for i := range s.windows {
		if s.windows[i].stack == (span{v.start, v.end}) {
			return true
		}
	}
	return false
}

// give gives the lazy mapping that a lies in its memory, and tells whether it was one. Locked.
func (s *space) give(a abi.Addr) bool {
	v := s.set.find(a)
	if v == nil || v.flags&vmaLazy == 0 || v.prot == 0 {
		return false
	}
	w := *v
	w.flags &^= vmaLazy
	w.back, w.origin = BackAnon, 0
	if s.host(&w, false) != 0 {
		return false
	}
	s.exchange(w)
	return true
}
