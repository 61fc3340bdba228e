package emu

import "pinhole/abi"

// memSync answers mem_sync (msync(2)).
func (t *Task) memSync(addr abi.Addr, n uint64, flags uint32) (uint64, abi.Errno) {
	hi, errno := pageRange(addr, n)
	if flags&^(abi.MS_ASYNC|abi.MS_INVALIDATE|abi.MS_SYNC) != 0 || flags&(abi.MS_ASYNC|abi.MS_SYNC) == abi.MS_ASYNC|abi.MS_SYNC {
		return 0, abi.EINVAL
	}
	if errno != 0 {
		return 0, errno
	}
	return 0, t.proc.mem().sync(addr, hi, flags&abi.MS_SYNC != 0)
}

// sync writes what shared mappings of files in [lo, hi) have changed to the files; with wait set
// also from there to stable storage.
func (s *space) sync(lo, hi abi.Addr, wait bool) abi.Errno {
	s.lock()
	whole := s.whole(lo, hi)
	var found []vma
	for p := s.set.seek(lo); ; p = s.set.next(p) {
		v := s.set.at(p)
		if v == nil || v.start >= hi {
			break
		}
		if v.sharesFile() {
			w := *v
			w.advance(max(w.start, lo))
			w.end = min(w.end, hi)
			w.file.refs++
			found = append(found, w)
		}
	}
	s.unlock()
	var first abi.Errno
	for i, v := range found {
		// All that is to be synced was stored before the call: once is enough for one open file.
		if f := v.file; i == 0 || f.shared.frames == nil || f.desc == nil || f.desc != found[i-1].file.desc {
			errno := f.sync(v.fileOff, v.fileOff+int64(v.len()), wait)
			if first == 0 {
				first = errno
			}
		}
		s.lock()
		s.letGo(v.file)
		s.unlock()
	}
	if !whole {
		return abi.ENOMEM
	}
	return first
}

// sync is sync for the bytes [lo, hi) of one file.
func (f *mappedFile) sync(lo, hi int64, wait bool) abi.Errno {
	if f.shared.frames == nil {
		if errno := f.shared.sync(lo, hi); errno != 0 {
			return errno
		}
	}
	if !wait {
		return 0
	}
	if f.desc != nil {
		return f.desc.sync(true)
	}
	return f.node.Sync(true)
}
