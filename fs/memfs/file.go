package memfs

import (
	"math"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// Read implements vfs.Node.
func (n *node) Read(off int64, count int, d vfs.Dest) (int, abi.Errno) {
	if n.isDir() {
		return 0, abi.EISDIR
	}
	if !n.isReg() || off < 0 || count < 0 {
		return 0, abi.EINVAL
	}
	n.mu.RLock()
	done, e := n.read(off, count, d)
	n.mu.RUnlock()
	if count > 0 { // at the end of the file, too, as Linux does
		n.accessed()
	}
	return done, e
}

// accessed brings the access time up to date if it is stale. The caller does not hold mu.
func (n *node) accessed() {
	n.mu.RLock()
	stale := n.atimeStale()
	n.mu.RUnlock()
	if stale {
		now := n.fs.Now()
		n.mu.Lock()
		n.atime = now
		n.mu.Unlock()
	}
}

// atimeStale tells whether a read should set the access time: as mount(8)'s relatime, if the file
// changed since the last time.
func (n *node) atimeStale() bool { return !after(n.atime, n.mtime) || !after(n.atime, n.ctime) }

func after(a, b vfs.Timespec) bool { return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec }

func (n *node) read(off int64, count int, d vfs.Dest) (int, abi.Errno) {
	if off >= n.size {
		return 0, 0
	}
	count = int(min(int64(count), n.size-off))
	done := 0
	for done < count {
		at := int(off % pageSize)
		var p []byte
		if pg := n.data.get(off / pageSize); pg != nil {
			p = pg[at:]
		} else {
			p = zeros[:n.hole(off, count-done)]
		}
		p = p[:min(len(p), count-done)]
		m, e := d.Put(p)
		done += m
		off += int64(m)
		if e != 0 {
			if done > 0 {
				e = 0
			}
			return done, e
		}
	}
	return done, 0
}

// hole returns how many bytes from off on, but at most a bufferful, are in no page.
func (n *node) hole(off int64, count int) int {
	count = min(count, len(zeros))
	next := n.data.next(off / pageSize)
	if next < 0 {
		return count
	}
	return int(min(int64(count), next*pageSize-off))
}

// Write implements vfs.Node.
func (n *node) Write(off int64, count int, s vfs.Source) (int, int64, abi.Errno) {
	if n.isDir() {
		return 0, 0, abi.EISDIR
	}
	if !n.isReg() || count < 0 || off < vfs.AtEnd {
		return 0, 0, abi.EINVAL
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if off == vfs.AtEnd {
		off = n.size
	}
	if count == 0 {
		return 0, off, 0
	}
	if off == math.MaxInt64 {
		return 0, off, abi.EFBIG
	}
	count = int(min(int64(count), math.MaxInt64-off))
	done, e := n.write(off, count, s)
	if done == 0 {
		return 0, off, e
	}
	off += int64(done)
	n.size = max(n.size, off)
	n.mtime = n.fs.Now()
	n.ctime = n.mtime
	return done, off, 0
}

func (n *node) write(off int64, count int, s vfs.Source) (done int, e abi.Errno) {
	for done < count {
		i, at := off/pageSize, int(off%pageSize)
		take := min(pageSize-at, count-done)
		pg := n.data.get(i)
		fresh := pg == nil
		if fresh {
			if pg, e = n.fs.newPage(take < pageSize); e != 0 {
				return done, e
			}
		}
		m, e := s.Get(pg[at : at+take])
		if fresh {
			if m == 0 {
				n.fs.freePages([]*page{pg})
				return done, e
			}
			if take == pageSize {
				clear(pg[m:])
			}
			n.data.put(i, pg)
		}
		done += m
		off += int64(m)
		if e != 0 {
			return done, e
		}
	}
	return done, 0
}

// pagesOf returns how many pages hold size bytes.
func pagesOf(size int64) int64 { return size/pageSize + (size%pageSize+pageSize-1)/pageSize }

// resize sets the size; beyond it every page is gone or zero.
func (n *node) resize(size int64) {
	if size < n.size {
		n.fs.freePages(n.data.cut(pagesOf(size)))
		if pg := n.data.get(size / pageSize); pg != nil {
			clear(pg[size%pageSize:])
		}
	}
	n.size = size
}

// Allocate implements vfs.Allocator: plain, KEEP_SIZE, PUNCH_HOLE and ZERO_RANGE.
func (n *node) Allocate(mode uint32, off, count int64) abi.Errno {
	const known = abi.FALLOC_FL_KEEP_SIZE | abi.FALLOC_FL_PUNCH_HOLE | abi.FALLOC_FL_ZERO_RANGE
	mode &^= vfs.AllocUnprivileged // nothing is reserved for anybody
	switch {
	case off < 0 || count <= 0:
		return abi.EINVAL
	case mode&^known != 0 || mode&abi.FALLOC_FL_PUNCH_HOLE != 0 && mode != abi.FALLOC_FL_PUNCH_HOLE|abi.FALLOC_FL_KEEP_SIZE:
		return abi.EOPNOTSUPP
	case n.isDir():
		return abi.EISDIR
	case !n.isReg():
		return abi.ENODEV
	case off > math.MaxInt64-count:
		return abi.EFBIG
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	end := off + count
	if mode&(abi.FALLOC_FL_PUNCH_HOLE|abi.FALLOC_FL_ZERO_RANGE) != 0 {
		n.punch(off, end)
	}
	if mode&abi.FALLOC_FL_PUNCH_HOLE == 0 {
		if e := n.fill(off/pageSize, (end-1)/pageSize); e != 0 {
			return e
		}
		if mode&abi.FALLOC_FL_KEEP_SIZE == 0 {
			n.size = max(n.size, end)
		}
	}
	n.mtime = n.fs.Now()
	n.ctime = n.mtime
	return 0
}

// punch makes the bytes from off to before end zero, and takes whole pages away.
func (n *node) punch(off, end int64) {
	first, last := pagesOf(off), end/pageSize // whole pages
	if pg := n.data.get(off / pageSize); pg != nil && off%pageSize != 0 {
		clear(pg[off%pageSize : min(pageSize, off%pageSize+end-off)])
	}
	if pg := n.data.get(last); pg != nil && end%pageSize != 0 && last >= first {
		clear(pg[:end%pageSize])
	}
	n.fs.freePages(n.data.remove(first, last))
}

// fill makes the pages from first to last exist, or none of them. ENOSPC.
func (n *node) fill(first, last int64) abi.Errno {
	free := max(n.fs.limit-n.fs.used.Load(), 0) / pageSize
	if last-first >= free+n.data.count {
		return abi.ENOSPC
	}
	var made []int64
	for i := first; i <= last; i++ {
		if n.data.get(i) != nil {
			continue
		}
		pg, e := n.fs.newPage(true)
		if e != 0 {
			for _, j := range made {
				n.fs.freePages(n.data.remove(j, j+1))
			}
			return e
		}
		n.data.put(i, pg)
		made = append(made, i)
	}
	return 0
}

// SeekData implements vfs.HoleSeeker.
func (n *node) SeekData(off int64) (int64, abi.Errno) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if off < 0 || off >= n.size {
		return 0, abi.ENXIO
	}
	next := n.data.next(off / pageSize)
	if next < 0 || next*pageSize >= n.size {
		return 0, abi.ENXIO
	}
	return max(off, next*pageSize), 0
}

// SeekHole implements vfs.HoleSeeker.
func (n *node) SeekHole(off int64) (int64, abi.Errno) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if off < 0 || off >= n.size {
		return 0, abi.ENXIO
	}
	i := off / pageSize
	for i*pageSize < n.size && n.data.get(i) != nil {
		i++
	}
	return min(max(off, i*pageSize), n.size), 0
}
