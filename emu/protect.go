package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
)

// settled tells whether the pages of v can be shown in another way only by moving their content:
// the host cannot change a protection, and mapping anew loses what was written.
func (v *vma) settled() bool {
	return v.flags&vmaWritten != 0 && (v.back == BackAnon || v.back == BackImage)
}

// moves tells whether protect would have to move pages of [lo, hi). Locked.
func (s *space) moves(lo, hi abi.Addr, prot uint8) bool {
	for p := s.set.seek(lo); ; p = s.set.next(p) {
		v := s.set.at(p)
		if v == nil || v.start >= hi {
			return false
		}
		if v.prot != prot && v.settled() {
			return true
		}
	}
}

// protect gives [lo, hi) another protection and keeps its content. As Linux does, it stops with
// ENOMEM at the first hole, with what comes before changed. Locked; where moves says so, nobody
// else may be running in the space.
func (s *space) protect(lo, hi abi.Addr, prot uint8) abi.Errno {
	for at := lo; at < hi; {
		v := s.set.find(at)
		if v == nil {
			return abi.ENOMEM
		}
		end := min(v.end, hi)
		if v.prot != prot {
			if errno := s.protectPart(v, at, end, prot); errno != 0 {
				return errno
			}
		}
		at = end
	}
	return 0
}

// protectPart changes [lo, hi), which lies in v. Locked.
func (s *space) protectPart(v *vma, lo, hi abi.Addr, prot uint8) abi.Errno {
	if v.sharesFile() && !v.file.writable && prot&abi.PROT_WRITE != 0 {
		return abi.EACCES
	}
	if !s.room(3) {
		return abi.ENOMEM
	}
	if v.isStack(lo, hi, prot) {
		return s.openStack(v, lo, hi)
	}
	w := *v
	w.advance(lo)
	w.end = hi
	w.flags &^= vmaLazy | vmaWindow
	if w.settled() {
		return s.moveToRAM(w, prot)
	}
	w.prot = prot
	if prot&abi.PROT_WRITE != 0 && !w.sharesFile() {
		w.flags |= vmaWritten
	}
	if w.file == nil && w.back != BackRAM {
		w.back = BackAnon
		if prot == 0 {
			w.back = BackNone
		}
	}
	w.origin = 0
	extra := w.charge() - chargeIn(v, lo, hi)
	if !s.k.commit.take(extra) {
		return abi.ENOMEM
	}
	if errno := s.host(&w, false); errno != 0 {
		s.k.commit.give(extra)
		return errno
	}
	s.exchange(w)
	return 0
}

func chargeIn(v *vma, lo, hi abi.Addr) uint64 {
	if v.charge() == 0 {
		return 0
	}
	return uint64(hi - lo)
}

// exchange puts w in the place of the mapping that it was made from, and which it holds all the
// resources of. Locked.
func (s *space) exchange(w vma) {
	s.scratch = s.set.take(w.start, w.end, s.scratch[:0])
	clear(s.scratch)
	s.set.put(w)
}

// moveToRAM moves the pages of w, a part of a mapping, into the RAM, where they can be shown
// with any protection from then on, and shows them with prot. Locked; nobody else runs in the space.
func (s *space) moveToRAM(w vma, prot uint8) abi.Errno {
	var ok bool
	if s.extents, ok = s.k.ram.allocAll(int64(w.len()), s.extents[:0]); !ok {
		return abi.ENOMEM
	}
	exts := s.extents
	for i, e := range exts {
		p := w
		p.end = p.start + abi.Addr(e.n)
		p.back, p.off, p.prot, p.origin = BackRAM, e.off, prot, 0
		copyPages(s.k.m.RAM()[e.off:e.off+e.n], p.start)
		if !s.room(3) {
			s.releaseAll(exts[i:])
			return abi.ENOMEM
		}
		if errno := s.host(&p, false); errno != 0 {
			s.releaseAll(exts[i:])
			return errno
		}
		s.exchange(p)
		if p.end < w.end {
			w.advance(p.end)
		}
	}
	return 0
}

func (s *space) releaseAll(exts []ramExtent) {
	for _, e := range exts {
		s.k.ram.release(e)
	}
}

// copyPages copies a guest's pages to dst, which is zero, and leaves out those that hold only
// zeros, so that pages which nobody has touched cost no memory.
func copyPages(dst []byte, src abi.Addr) {
	var page [pageSize]byte
	for off := 0; off < len(dst); off += pageSize {
		n, _ := guest.HeldCopyIn(page[:], src+abi.Addr(off))
		if n > 0 && page != ([pageSize]byte{}) {
			copy(dst[off:off+n], page[:n])
		}
	}
}

// discard makes the pages of [lo, hi) what a fresh mapping would show. Holes are passed over and
// reported by ENOMEM. Locked.
func (s *space) discard(lo, hi abi.Addr) (errno abi.Errno) {
	for at := lo; at < hi; {
		v := s.set.at(s.set.seek(at))
		if v == nil || v.start >= hi {
			return abi.ENOMEM
		}
		if v.start > at {
			errno = abi.ENOMEM
			at = v.start
		}
		end := min(v.end, hi)
		if v.flags&(vmaWritten|vmaShared) == vmaWritten {
			if e := s.discardPart(v, at, end); e != 0 {
				return e
			}
		}
		at = end
	}
	return errno
}

// discardPart makes [lo, hi) fresh, a part of v, which is private. Locked.
func (s *space) discardPart(v *vma, lo, hi abi.Addr) abi.Errno {
	if !s.room(3) {
		return abi.ENOMEM
	}
	w := *v
	w.advance(lo)
	w.end = hi
	if w.file != nil {
		return s.recopy(w)
	}
	old := ramExtent{w.off, int64(w.len())}
	wasRAM := w.back == BackRAM
	if wasRAM {
		w.back, w.off = BackAnon, 0
		if w.prot == 0 {
			w.back = BackNone
		}
		w.origin = 0
	}
	if w.prot&abi.PROT_WRITE == 0 {
		w.flags &^= vmaWritten
		w.origin = 0
	}
	if errno := s.host(&w, false); errno != 0 {
		return errno
	}
	s.k.commit.give(uint64(hi-lo) - w.charge())
	s.exchange(w)
	if wasRAM {
		s.k.ram.release(old)
	}
	return 0
}
