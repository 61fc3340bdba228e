package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
)

// memRemap answers mem_remap (mremap(2)), without MREMAP_DONTUNMAP and without the duplication of
// shared mappings by an old length of 0.
func (t *Task) memRemap(addr abi.Addr, old, new uint64, flags uint32, to abi.Addr) (uint64, abi.Errno) {
	old, new = pageUp(old), pageUp(new)
	if flags&^(abi.MREMAP_MAYMOVE|abi.MREMAP_FIXED) != 0 || addr%pageSize != 0 || new == 0 || old == 0 {
		return 0, abi.EINVAL
	}
	fixed := flags&abi.MREMAP_FIXED != 0
	s := t.proc.mem()
	if fixed && (flags&abi.MREMAP_MAYMOVE == 0 || to%pageSize != 0 || !s.inside(to, new)) {
		return 0, abi.EINVAL
	}
	if !s.inside(addr, old) {
		return 0, abi.EFAULT
	}
	hi := addr + abi.Addr(old)
	if fixed && to < hi && addr < to+abi.Addr(new) {
		return 0, abi.EINVAL
	}
	g, errno := s.growth(addr, old, new)
	if errno != 0 {
		return 0, errno
	}
	defer g.drop(s)
	s.lock()
	if !fixed {
		a, errno := s.resize(t, addr, old, new, g)
		if errno != abi.ENOMEM || flags&abi.MREMAP_MAYMOVE == 0 {
			s.unlock()
			return uint64(a), errno
		}
	}
	if s.shared(t.proc) {
		s.unlock()
		if errno := t.quiet(); errno != 0 {
			return 0, errno
		}
		defer t.unquiet()
		s.lock()
	}
	defer s.unlock()
	a, errno := s.relocate(t, addr, old, new, to, fixed, g)
	return uint64(a), errno
}

// resize changes the length of a mapping where it is. ENOMEM: it would have to move. Locked.
func (s *space) resize(t *Task, addr abi.Addr, old, new uint64, g *growth) (abi.Addr, abi.Errno) {
	end := addr + abi.Addr(old)
	f, ok := s.uniform(addr, end)
	switch {
	case !ok:
		return 0, abi.EFAULT
	case new < old:
		return addr, s.unmap(addr+abi.Addr(new), end)
	case new == old:
		return addr, 0
	case s.mapped+(new-old) > t.proc.limit(abi.RLIMIT_AS):
		return 0, abi.ENOMEM
	}
	return addr, s.growInPlace(f, end, new-old, g)
}

// relocate moves a mapping, and changes its length on the way. Locked; nobody else runs in the space.
func (s *space) relocate(t *Task, addr abi.Addr, old, new uint64, to abi.Addr, fixed bool, g *growth) (abi.Addr, abi.Errno) {
	end := addr + abi.Addr(old)
	f, ok := s.uniform(addr, end)
	if !ok {
		return 0, abi.EFAULT
	}
	if new > old && s.mapped+(new-old) > t.proc.limit(abi.RLIMIT_AS) {
		return 0, abi.ENOMEM
	}
	if new < old {
		if errno := s.unmap(addr+abi.Addr(new), end); errno != 0 {
			return 0, errno
		}
		old, end = new, addr+abi.Addr(new)
	}
	if fixed {
		if errno := s.unmap(to, to+abi.Addr(new)); errno != 0 {
			return 0, errno
		}
	} else {
		// A mapping that has grown once tends to grow again: with as much room again above it, it
		// can do so in place, without a copy.
		if to, ok = s.set.gap(s.lo, s.top, 2*new); !ok {
			if to, ok = s.find(0, new, false); !ok {
				return 0, abi.ENOMEM
			}
		}
	}
	if new > old {
		if errno := s.extend(f, end, to+abi.Addr(old), new-old, g); errno != 0 {
			return 0, errno
		}
	}
	if errno := s.moveTo(addr, end, to); errno != 0 {
		if new > old {
			s.unmap(to+abi.Addr(old), to+abi.Addr(new))
		}
		return 0, errno
	}
	return to, 0
}

// uniform returns the mapping at lo if all of [lo, hi) is mapped, and alike as far as a guest can
// tell: what Linux has as one mapping may be several here (some pages in the RAM, some not).
// Locked.
func (s *space) uniform(lo, hi abi.Addr) (vma, bool) {
	first := s.set.find(lo)
	if first == nil {
		return vma{}, false
	}
	f := *first
	f.advance(lo)
	for p := s.set.seek(lo); lo < hi; p = s.set.next(p) {
		v := s.set.at(p)
		if v == nil || v.start > lo || v.prot != f.prot || v.file != f.file || (v.flags^f.flags)&vmaShared != 0 {
			return vma{}, false
		}
		if f.file != nil && v.fileOff-int64(v.start) != f.fileOff-int64(f.start) {
			return vma{}, false
		}
		lo = v.end
	}
	return f, true
}

// growth is what a longer mapping of a file shows in its new part.
type growth struct {
	file *mappedFile // with a reference; nil: no file
	view *fileView
}

// growth looks at the file that is mapped at [addr, addr+old), if there is one and the mapping is
// to become longer.
func (s *space) growth(addr abi.Addr, old, new uint64) (*growth, abi.Errno) {
	g := &growth{}
	if new <= old {
		return g, 0
	}
	s.lock()
	v := s.set.find(addr)
	if v == nil || v.file == nil {
		s.unlock()
		return g, 0
	}
	g.file = v.file
	g.file.refs++
	off := v.fileOff + int64(addr-v.start) + int64(old)
	s.unlock()
	var errno abi.Errno
	if g.view, errno = g.file.first(off, new-old); errno != 0 {
		g.drop(s)
		return nil, errno
	}
	return g, 0
}

// drop lets go of what has not been mapped.
func (g *growth) drop(s *space) {
	if g.view != nil {
		g.view.drop(s.k)
	}
	if g.file != nil {
		s.lock()
		s.letGo(g.file)
		s.unlock()
	}
}

// growInPlace makes the mapping f, which ends at end, longer by n bytes, if nothing is in the
// way. Locked.
func (s *space) growInPlace(f vma, end abi.Addr, n uint64, g *growth) abi.Errno {
	if !s.inside(end, n) || !s.set.free(end, end+abi.Addr(n)) {
		return abi.ENOMEM
	}
	return s.extend(f, end, end, n, g)
}

// extend maps n bytes at at that go on where the mapping f, which ends at end, does. Locked.
func (s *space) extend(f vma, end, at abi.Addr, n uint64, g *growth) abi.Errno {
	if f.file == nil {
		return s.mapAnon(at, n, f.prot, f.flags&vmaShared, false)
	}
	if g.file != f.file || g.view.off != f.fileOff+int64(end-f.start) {
		return abi.EAGAIN // another thread has changed it since
	}
	if g.view.stale() {
		g.view.drop(s.k) // the accesses will see to it
	}
	return s.mapFile(at, n, f.prot, f.file, g.view)
}

// moveTo moves what is mapped at [lo, hi) to to, where nothing is, and leaves a hole. Pages
// that have not been written to are mapped anew, those in the RAM are shown in the new
// place, others are copied. On failure all is as before. Locked; nobody else runs in the space.
func (s *space) moveTo(lo, hi, to abi.Addr) abi.Errno {
	var parts []vma
	for p := s.set.seek(lo); ; p = s.set.next(p) {
		v := s.set.at(p)
		if v == nil || v.start >= hi {
			break
		}
		w := *v
		w.advance(max(lo, w.start))
		w.end = min(hi, w.end)
		parts = append(parts, w)
	}
	for i := range parts {
		w := &parts[i]
		n := w.len()
		dst := to + (w.start - lo)
		nw := *w
		nw.start, nw.end, nw.origin = dst, dst+abi.Addr(n), 0
		nw.flags &^= vmaWindow
		if nw.file != nil {
			nw.file.refs++
			nw.file.moved = true
		}
		if errno := s.replace(nw, false); errno != 0 {
			drop(&nw)
			s.unmove(parts[:i], lo, to)
			return errno
		}
		if w.settled() {
			if errno := s.copyContent(&nw, w.start); errno != 0 {
				s.unmove(parts[:i+1], lo, to)
				return errno
			}
		}
	}
	// The RAM pages go over to the new mappings: the old ones must not give them back.
	none := vma{start: lo, end: hi, back: BackNone}
	if errno := s.host(&none, false); errno != 0 {
		s.unmove(parts, lo, to)
		return errno
	}
	s.disown(lo, hi)
	s.forget(lo, hi)
	return 0
}

// unmove takes back what moveTo has mapped for parts. Locked.
func (s *space) unmove(parts []vma, lo, to abi.Addr) {
	for i := range parts {
		at := to + (parts[i].start - lo)
		end := at + abi.Addr(parts[i].len())
		s.disown(at, end)
		s.unmap(at, end)
	}
}

// disown makes the mappings in [lo, hi) not give back their pages of the RAM when they go, since
// other mappings show them. Locked.
func (s *space) disown(lo, hi abi.Addr) {
	s.set.cut(lo)
	s.set.cut(hi)
	for p := s.set.seek(lo); ; p = s.set.next(p) {
		v := s.set.at(p)
		if v == nil || v.start >= hi {
			return
		}
		if v.back == BackRAM && !v.sharesFile() {
			v.flags |= vmaBorrowed
		}
	}
}

// copyChunk is how much copyContent copies at a time: pages that are made present in one call.
const copyChunk = 64 << 10

// copyContent copies the pages at from to the fresh mapping w. Locked.
func (s *space) copyContent(w *vma, from abi.Addr) abi.Errno {
	buf := make([]byte, copyChunk)
	for off := uint64(0); off < w.len(); off += copyChunk {
		b := buf[:min(copyChunk, w.len()-off)]
		n, _ := guest.HeldCopyIn(b, from+abi.Addr(off))
		b = b[:n]
		if w.back == BackAnon && allZero(b) {
			continue
		}
		at := w.start + abi.Addr(off)
		if w.back == BackAnon && w.prot&abi.PROT_WRITE != 0 {
			// One call makes all pages present, at a fraction of what faults on each would cost.
			if errno := s.k.m.MapPopulated(at, pageUp(uint64(n)), uint32(w.prot)); errno != 0 {
				return errno
			}
		}
		if n, _ := guest.HeldCopyOut(at, b); n < len(b) {
			return abi.ENOMEM
		}
	}
	return 0
}

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if b[0]|b[1]|b[2]|b[3]|b[4]|b[5]|b[6]|b[7] != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
