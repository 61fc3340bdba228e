package emu

import "pinhole/abi"

// What a mapping shows is in part found only when it is accessed: memory of a lazy mapping, content
// of a file that has grown, was written or whose page had to make room, and the right to store to a
// page of a file.

// supplied is what came of an access that the host did not allow.
type supplied uint8

const (
	absent  supplied = iota // nothing is mapped, or not for such an access: SIGSEGV, EFAULT
	lost                    // the file has nothing there, or no room, or cannot be read: SIGBUS, EFAULT
	present                 // it is allowed: somebody else has seen to it since
	given                   // it is allowed now, or will be tried again
)

const (
	// around is how much of a file one fault shows at once, where it costs nothing besides.
	around = 64 * pageSize
	// maxAhead is how much one store claims at most, if pages before it were claimed, too.
	maxAhead = 64 * pageSize
)

// lacks tells whether an access has to ask the file behind v first.
func (v *vma) lacks(write bool) bool {
	return v.file != nil && (v.back == BackNone || write && v.flags&vmaUnclaimed != 0)
}

// supply sees to an access to a that the host has refused.
func (s *space) supply(a abi.Addr, write bool) supplied {
	a = pageDown(a)
	s.lock()
	v := s.set.find(a)
	switch {
	case v == nil || v.prot == 0 || write && v.prot&abi.PROT_WRITE == 0:
		s.unlock()
		return absent
	case v.flags&vmaLazy != 0:
		ok := s.give(a)
		s.unlock()
		if !ok {
			return absent
		}
		return given
	case !v.lacks(write):
		s.unlock()
		return present
	}
	f, delta := v.file, v.fileOff-int64(v.start)
	lo, hi := s.batch(v, a, write)
	least, most := v.start, v.end
	f.refs++
	s.unlock()

	if write && f.shared != nil && f.shared.frames != nil {
		from, to := f.shared.claimedAround(int64(lo)+delta, int64(hi)+delta, int64(least)+delta, int64(most)+delta)
		lo, hi = abi.Addr(from-delta), abi.Addr(to-delta)
	}
	got := given
	for tries := 0; tries < maxStale; tries++ {
		w, errno := f.view(int64(lo)+delta, uint64(hi-lo), write)
		if errno != 0 && hi-lo > pageSize {
			lo, hi = a, a+pageSize
			w, errno = f.view(int64(lo)+delta, uint64(hi-lo), write)
		}
		s.lock()
		if errno != 0 {
			got = lost
			break
		}
		var again bool
		if got, again = s.supplyView(f, w, a, lo, hi, write); !again {
			break
		}
		// Fewer pages at a time, lest each try costs others their frames.
		lo, hi = a, a+pageSize
		if tries < maxStale-1 {
			s.unlock()
		}
	}
	s.letGo(f)
	s.unlock()
	return got
}

// supplyView shows what w, a view of f's pages at [lo, hi), has for an access to a. again: w was stale.
// Locked.
func (s *space) supplyView(f *mappedFile, w *fileView, a, lo, hi abi.Addr, write bool) (got supplied, again bool) {
	delta := w.off - int64(lo)
	framed := f.shared != nil && f.shared.frames != nil
	if !s.room(len(w.parts) + 3) {
		s.fold()
	}
	v := s.set.find(a)
	same := v != nil && v.file == f && v.fileOff-int64(v.start) == delta
	switch {
	case !same || !v.lacks(write) || w.stale():
		s.unframeView(f, w) // what has frames now may not go on to be shown from elsewhere
		w.drop(s.k)
		return given, same && v.lacks(write) // else the access sees what is there now
	case w.backing(int64(a)+delta) == BackNone:
		w.drop(s.k)
		return lost, false
	}
	p := *v
	p.end = min(hi, v.end)
	p.advance(max(lo, v.start))
	f.inFrames = f.shared != nil && w.backing(int64(a)+delta) == BackRAM
	errno := s.show(p, w)
	if framed && (errno != 0 || p.start > lo || p.end < hi) {
		s.unframe(f, w.off, w.off+int64(hi-lo)) // likewise
	}
	if errno != 0 {
		return lost, false
	}
	return given, false
}

// batch returns what is to be asked of the file behind v for an access to a. Locked.
func (s *space) batch(v *vma, a abi.Addr, write bool) (lo, hi abi.Addr) {
	off := v.fileOff + int64(a-v.start)
	switch {
	case !v.file.onImage:
		return a, a + pageSize // has to be copied
	case write && v.flags&vmaShared != 0:
		// Each page that is claimed costs a frame: only he who goes through the file gets several, and more
		// the longer he does.
		f := v.file
		if u := s.set.find(a - 1); !s.follows(v, a) || u.flags&vmaUnclaimed != 0 {
			f.ahead = pageSize
		} else if f.claimed == off {
			f.ahead = min(max(4*pageSize, 2*f.ahead), maxAhead)
		} else {
			f.ahead = 4 * pageSize
		}
		hi = min(v.end, a+abi.Addr(f.ahead))
		f.claimed = off + int64(hi-a)
		return a, hi
	}
	if v.file.inFrames && !s.follows(v, a) {
		return a, a + pageSize // likely the next has one, too, and to show frames that nobody looks at binds them
	}
	lo = a - min(a-v.start, abi.Addr(off%around))
	return lo, min(v.end, a+abi.Addr(around-off%around))
}

// follows tells whether the page before a is in v's file, as a is, and shown from a frame. Locked.
func (s *space) follows(v *vma, a abi.Addr) bool {
	u := s.set.find(a - 1)
	return u != nil && u.file == v.file && u.back == BackRAM && u.fileOff-int64(u.start) == v.fileOff-int64(v.start)
}

// mend sees to an access of the kernel to a guest's memory that the host has refused. It tells whether
// the access is to be tried again.
func (k *Kernel) mend(a abi.Addr, write bool) bool {
	s := k.areas.of(a)
	if s == nil {
		return false
	}
	got := s.supply(a, write)
	return got == present || got == given
}
