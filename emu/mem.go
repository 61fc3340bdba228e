package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
)

// protBits are those that a protection may have. PROT_SEM changes nothing on this machine;
// PROT_GROWSDOWN and PROT_GROWSUP are refused, since no mapping grows by itself.
const protBits = abi.PROT_READ | abi.PROT_WRITE | abi.PROT_EXEC

// pageRange checks a page-aligned start and a length, and returns the end; false on overflow.
func pageRange(addr abi.Addr, n uint64) (hi abi.Addr, errno abi.Errno) {
	if addr%pageSize != 0 {
		return 0, abi.EINVAL
	}
	len := pageUp(n)
	if len < n || addr+abi.Addr(len) < addr {
		return 0, abi.ENOMEM
	}
	return addr + abi.Addr(len), 0
}

// memMap answers mem_map (mmap(2)).
func (t *Task) memMap(addr abi.Addr, n uint64, prot, flags uint32, fd int32, off int64) (uint64, abi.Errno) {
	len := pageUp(n)
	if n == 0 || off&(pageSize-1) != 0 {
		return 0, abi.EINVAL
	}
	if len == 0 {
		return 0, abi.ENOMEM
	}
	if flags&abi.MAP_HUGETLB != 0 {
		return 0, abi.ENOMEM // as a Linux without reserved huge pages
	}
	shared := false
	switch flags & abi.MAP_TYPE {
	case abi.MAP_PRIVATE:
	case abi.MAP_SHARED:
		shared = true
	case abi.MAP_SHARED_VALIDATE:
		shared = true
		if flags&abi.MAP_SYNC != 0 {
			return 0, abi.EOPNOTSUPP
		}
	default:
		return 0, abi.EINVAL
	}
	fixed := flags&(abi.MAP_FIXED|abi.MAP_FIXED_NOREPLACE) != 0
	if fixed && addr%pageSize != 0 {
		return 0, abi.EINVAL
	}
	p := uint8(prot & protBits)
	var f *mappedFile
	if flags&abi.MAP_ANONYMOUS == 0 {
		if off < 0 || off+int64(len) < off {
			return 0, abi.EOVERFLOW
		}
		var errno abi.Errno
		if f, errno = t.mappable(fd, p, shared); errno != 0 {
			return 0, errno
		}
	}
	if f == nil {
		s := t.proc.mem()
		s.lock()
		defer s.unlock()
		a, errno := s.place(t, addr, len, flags)
		if errno == 0 {
			var vf vmaFlags
			if shared {
				vf |= vmaShared
			}
			errno = s.mapAnon(a, len, p, vf, flags&(abi.MAP_POPULATE|abi.MAP_LOCKED) != 0)
		}
		return uint64(a), errno
	}
	a, errno := t.proc.mem().mmapFile(t, addr, len, p, flags, f, off)
	return uint64(a), errno
}

// place finds where n bytes are to be mapped. Locked.
func (s *space) place(t *Task, addr abi.Addr, n uint64, flags uint32) (abi.Addr, abi.Errno) {
	if flags&(abi.MAP_FIXED|abi.MAP_FIXED_NOREPLACE) != 0 && !s.inside(addr, n) {
		if s.k.areas.isLow(addr, n) {
			s.k.areas.giveLow(s)
		} else {
			s.k.areas.extend(s, addr, n)
		}
	}
	switch {
	case flags&abi.MAP_FIXED_NOREPLACE != 0:
		if !s.inside(addr, n) {
			return 0, abi.ENOMEM
		}
		if !s.set.free(addr, addr+abi.Addr(n)) {
			return 0, abi.EEXIST
		}
	case flags&abi.MAP_FIXED != 0:
		if !s.inside(addr, n) {
			return 0, abi.ENOMEM
		}
	default:
		var ok bool
		if addr, ok = s.find(addr, n, flags&abi.MAP_32BIT != 0); !ok {
			return 0, abi.ENOMEM
		}
	}
	if s.mapped+n > t.proc.limit(abi.RLIMIT_AS) {
		return 0, abi.ENOMEM
	}
	return addr, 0
}

// mmapFile maps n bytes of f from off, and takes over the reference to f.
func (s *space) mmapFile(t *Task, addr abi.Addr, n uint64, prot uint8, flags uint32, f *mappedFile, off int64) (abi.Addr, abi.Errno) {
	for tries := 0; ; tries++ {
		w, errno := f.first(off, n)
		s.lock()
		if errno == 0 && w.stale() {
			w.drop(s.k)
			if tries < maxStale {
				s.unlock()
				continue
			}
			// Somebody changes the file all the time: the accesses will see to it.
		}
		var a abi.Addr
		if errno == 0 {
			if a, errno = s.place(t, addr, n, flags); errno == 0 {
				errno = s.mapFile(a, n, prot, f, w)
			} else {
				w.drop(s.k)
			}
		}
		s.letGo(f)
		s.unlock()
		return a, errno
	}
}

// letGo gives back the reference to f that a call held. Locked.
func (s *space) letGo(f *mappedFile) {
	if f.refs--; f.refs == 0 {
		s.dead = append(s.dead, f)
	}
}

// memUnmap answers mem_unmap (munmap(2)).
func (t *Task) memUnmap(addr abi.Addr, n uint64) (uint64, abi.Errno) {
	hi, errno := pageRange(addr, n)
	s := t.proc.mem()
	if errno != 0 || n == 0 || !s.inside(addr, uint64(hi-addr)) {
		return 0, abi.EINVAL
	}
	s.lock()
	defer s.unlock()
	return 0, s.unmap(addr, hi)
}

// memProtect answers mem_protect (mprotect(2)).
func (t *Task) memProtect(addr abi.Addr, n uint64, prot uint32) (uint64, abi.Errno) {
	hi, errno := pageRange(addr, n)
	if errno != 0 || prot&^(protBits|abi.PROT_SEM) != 0 {
		if errno == 0 {
			errno = abi.EINVAL
		}
		return 0, errno
	}
	s, p := t.proc.mem(), uint8(prot&protBits)
	s.lock()
	if s.moves(addr, hi, p) && s.shared(t.proc) {
		// Threads that run on could write to a page after it was copied.
		s.unlock()
		if errno := t.quiet(); errno != 0 {
			return 0, errno
		}
		defer t.unquiet()
		s.lock()
	}
	defer s.unlock()
	return 0, s.protect(addr, hi, p)
}

// freeAtOnce is how many bytes of one MADV_FREE are given back to the host.
const freeAtOnce = 1 << 20

// memAdvise answers mem_advise (madvise(2)).
func (t *Task) memAdvise(addr abi.Addr, n uint64, advice int32) (uint64, abi.Errno) {
	hi, errno := pageRange(addr, n)
	if errno != 0 {
		return 0, abi.EINVAL
	}
	s := t.proc.mem()
	switch advice {
	case abi.MADV_FREE:
		// The pages may stay until memory runs short. Allocators free like this what they will soon
		// use again: to take little pieces away only costs them faults.
		if n < freeAtOnce {
			s.lock()
			defer s.unlock()
			if !s.whole(addr, hi) {
				return 0, abi.ENOMEM
			}
			return 0, 0
		}
		fallthrough
	case abi.MADV_DONTNEED, abi.MADV_DONTNEED_LOCKED:
		s.lock()
		defer s.unlock()
		return 0, s.discard(addr, hi)
	case abi.MADV_NORMAL, abi.MADV_RANDOM, abi.MADV_SEQUENTIAL, abi.MADV_WILLNEED, abi.MADV_DONTFORK, abi.MADV_DOFORK,
		abi.MADV_MERGEABLE, abi.MADV_UNMERGEABLE, abi.MADV_HUGEPAGE, abi.MADV_NOHUGEPAGE, abi.MADV_DONTDUMP,
		abi.MADV_DODUMP, abi.MADV_COLD, abi.MADV_PAGEOUT, abi.MADV_COLLAPSE:
		s.lock()
		defer s.unlock()
		if !s.whole(addr, hi) {
			return 0, abi.ENOMEM
		}
		return 0, 0
	case abi.MADV_POPULATE_READ, abi.MADV_POPULATE_WRITE:
		return 0, s.touch(addr, hi, advice == abi.MADV_POPULATE_WRITE)
	case abi.MADV_HWPOISON, abi.MADV_SOFT_OFFLINE:
		return 0, abi.EPERM
	}
	return 0, abi.EINVAL
}

// touch makes the pages of [lo, hi) present.
func (s *space) touch(lo, hi abi.Addr, write bool) abi.Errno {
	s.lock()
	whole := s.whole(lo, hi)
	s.unlock()
	if !whole {
		return abi.ENOMEM
	}
	for a := lo; a < hi; a += pageSize {
		v, ok := guest.Load32(a)
		if ok && write {
			_, ok = guest.CompareAndSwap32(a, v, v)
		}
		if !ok {
			return abi.EFAULT
		}
	}
	return 0
}

// memBreak answers mem_break (brk(2), as the kernel has it: the result is the break in any case).
func (t *Task) memBreak(addr abi.Addr) (uint64, abi.Errno) {
	s := t.proc.mem()
	s.lock()
	defer s.unlock()
	if addr < s.heap || s.heap == 0 {
		return uint64(s.brk), 0
	}
	lo, hi := pageUp(s.brk), pageUp(addr)
	switch {
	case hi < addr || uint64(addr-s.heap) > t.proc.limit(abi.RLIMIT_DATA):
		return uint64(s.brk), 0
	case hi > lo:
		n := uint64(hi - lo)
		if !s.inside(lo, n) || !s.set.free(lo, hi) || s.mapped+n > t.proc.limit(abi.RLIMIT_AS) {
			return uint64(s.brk), 0
		}
		if s.mapAnon(lo, n, abi.PROT_READ|abi.PROT_WRITE, vmaHeap, false) != 0 {
			return uint64(s.brk), 0
		}
	case hi < lo:
		if s.unmap(hi, lo) != 0 {
			return uint64(s.brk), 0
		}
	}
	s.brk = addr
	return uint64(addr), 0
}

// memLock answers mem_lock (mlock(2)): the pages are made present; whether the host keeps them
// there is its own affair.
func (t *Task) memLock(addr abi.Addr, n uint64) (uint64, abi.Errno) {
	lo := pageDown(addr)
	hi, errno := pageRange(lo, n+uint64(addr-lo))
	if errno != 0 {
		return 0, abi.EINVAL
	}
	if uint64(hi-lo) > t.proc.limit(abi.RLIMIT_MEMLOCK) {
		return 0, abi.ENOMEM
	}
	if errno := t.proc.mem().touch(lo, hi, false); errno != 0 {
		return 0, abi.ENOMEM
	}
	return 0, 0
}

// memUnlock answers mem_unlock (munlock(2)).
func (t *Task) memUnlock(addr abi.Addr, n uint64) (uint64, abi.Errno) {
	lo := pageDown(addr)
	hi, errno := pageRange(lo, n+uint64(addr-lo))
	if errno != 0 {
		return 0, abi.EINVAL
	}
	s := t.proc.mem()
	s.lock()
	defer s.unlock()
	if !s.whole(lo, hi) {
		return 0, abi.ENOMEM
	}
	return 0, 0
}

// memIncore answers mem_incore (mincore(2)): all that is mapped is taken for present.
func (t *Task) memIncore(addr abi.Addr, n uint64, vec abi.Addr) (uint64, abi.Errno) {
	hi, errno := pageRange(addr, n)
	if errno != 0 {
		return 0, errno
	}
	s := t.proc.mem()
	s.lock()
	whole := s.whole(addr, hi)
	s.unlock()
	if !whole {
		return 0, abi.ENOMEM
	}
	var ones [512]byte
	for i := range ones {
		ones[i] = 1
	}
	for left := uint64(hi-addr) / pageSize; left > 0; {
		b := ones[:min(left, uint64(len(ones)))]
		if guest.CopyOut(vec, b) < len(b) {
			return 0, abi.EFAULT
		}
		vec += abi.Addr(len(b))
		left -= uint64(len(b))
	}
	return 0, 0
}
