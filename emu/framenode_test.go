package emu

import (
	"sync"

	"golang.org/x/sys/unix"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// frameNode is a file with a cache whose frames can be mapped: the first megabyte of the RAM. Page i is
// at home in page i of memMachine's image, unless it is a hole.
type frameNode struct {
	vfs.Node // nil: the rest is not asked for
	w        *memWorld

	mu      sync.Mutex // held while content is copied, as a file system does
	size    int64
	hole    map[int64]bool
	frames  map[int64]int64 // by page: place in the RAM
	pinned  map[int64]bool
	claimed map[int64]bool
	next    int64
	refs    int
	room    int       // pages that holes may become
	fail    abi.Errno // of MapFrames
	asked   int       // calls of MapFrames
	stops   int       // of copies
}

func (w *memWorld) newFrameNode(size int64) *frameNode {
	return &frameNode{w: w, size: size, hole: map[int64]bool{}, frames: map[int64]int64{},
		pinned: map[int64]bool{}, claimed: map[int64]bool{}, room: 1 << 20}
}

// openNode opens the node and returns its descriptor.
func (w *memWorld) openNode(n vfs.Node, m mode) int32 {
	w.Helper()
	n.Ref()
	d, errno := w.kernel.newContent(w.kernel.ns.NewAnonymous(n, "file", 1), regularFile{}, m|modeSeek, 0)
	if errno != 0 {
		w.Fatal(errno)
	}
	return int32(w.ok(w.addFile(d, false)))
}

func (n *frameNode) Ref()         { n.mu.Lock(); n.refs++; n.mu.Unlock() }
func (n *frameNode) Unref()       { n.mu.Lock(); n.refs--; n.mu.Unlock() }
func (n *frameNode) Ino() uint64  { return 99 }
func (n *frameNode) Mode() uint32 { return abi.S_IFREG | 0o644 }

func (n *frameNode) Attr(a *vfs.Attr) abi.Errno {
	n.mu.Lock()
	defer n.mu.Unlock()
	*a = vfs.Attr{Ino: 99, Mode: n.Mode(), Size: n.size}
	return 0
}

func (n *frameNode) image(page int64) []byte {
	b := make([]byte, pageSize)
	if _, err := unix.Pread(n.w.machine.imageFD, b, page*pageSize); err != nil {
		n.w.Fatal(err)
	}
	return b
}

// frame returns the frame of a page, made if need be. n.mu is held.
func (n *frameNode) frame(page int64) []byte {
	at, ok := n.frames[page]
	if !ok {
		at = n.next % (1 << 20)
		n.next += pageSize
		n.frames[page] = at
		f := n.w.machine.ram[at : at+pageSize]
		if n.hole[page] {
			clear(f)
		} else {
			copy(f, n.image(page))
		}
		if end := n.size - page*pageSize; end < pageSize {
			clear(f[max(end, 0):])
		}
	}
	return n.w.machine.ram[at : at+pageSize]
}

func (n *frameNode) MapFrames(off, count int64, write bool) ([]vfs.Frame, abi.Errno) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	if n.fail != 0 {
		return nil, n.fail
	}
	var list []vfs.Frame
	for page := off / pageSize; page*pageSize < min(off+count, n.size); page++ {
		f := vfs.Frame{Off: page * pageSize, Len: pageSize, RAM: -1, Home: -1}
		if write && n.hole[page] && !n.claimed[page] {
			if n.room == 0 {
				return nil, abi.ENOSPC
			}
			n.room--
		}
		_, has := n.frames[page]
		switch {
		case write || has || (page+1)*pageSize > n.size:
			n.frame(page)
			f.RAM = n.frames[page]
			n.pinned[page] = true
			n.claimed[page] = n.claimed[page] || write
		case !n.hole[page]:
			f.Home = page * pageSize
		}
		list = append(list, f)
	}
	return list, 0
}

func (n *frameNode) UnmapFrames(off, count int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.pinned)
	clear(n.claimed)
}

func (n *frameNode) MapExtents(off, count int64) ([]vfs.Extent, abi.Errno) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.writeback()
	var list []vfs.Extent
	for at := off; at < off+count; at += pageSize {
		e := vfs.Extent{Off: at, Len: pageSize, Home: at}
		if n.hole[at/pageSize] {
			e.Home = -1
		}
		list = append(list, e)
	}
	return list, 0
}

// writeback writes all frames home. n.mu is held.
func (n *frameNode) writeback() {
	for page := range n.frames {
		b := append([]byte(nil), n.frame(page)...)
		if n.hole[page] && allZero(b) {
			continue
		}
		delete(n.hole, page)
		if _, err := unix.Pwrite(n.w.machine.imageFD, b, page*pageSize); err != nil {
			n.w.Fatal(err)
		}
	}
}

// evict takes all frames back.
func (n *frameNode) evict() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.w.kernel.Revoke(99, 0, 1<<40, vfs.RevokeChanged)
	n.writeback()
	clear(n.frames)
	clear(n.pinned)
	clear(n.claimed)
}

func (n *frameNode) Sync(bool) abi.Errno {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.writeback()
	return 0
}

func (n *frameNode) Read(off int64, count int, d vfs.Dest) (done int, errno abi.Errno) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for done < count && off+int64(done) < n.size {
		at := off + int64(done)
		page, in := at/pageSize, at%pageSize
		b := make([]byte, pageSize)
		switch _, ok := n.frames[page]; {
		case ok:
			b = n.frame(page)
		case !n.hole[page]:
			b = n.image(page)
		}
		k, e := d.Put(b[in:min(pageSize, in+int64(count-done), in+n.size-at)])
		if done += k; e != 0 {
			n.stops++
			return done, e
		}
	}
	return done, 0
}

func (n *frameNode) Write(off int64, count int, s vfs.Source) (done int, end int64, errno abi.Errno) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if off == vfs.AtEnd {
		off = n.size
	}
	for done < count {
		at := off + int64(done)
		page, in := at/pageSize, at%pageSize
		if !n.pinned[page] {
			// The worst of file systems: each try takes the page away from who shows it.
			n.w.kernel.Revoke(99, page*pageSize, pageSize, vfs.RevokeChanged)
		}
		k, e := s.Get(n.frame(page)[in:min(pageSize, in+int64(count-done))])
		done += k
		n.size = max(n.size, at+int64(k))
		if e != 0 {
			n.stops++
			break
		}
	}
	if done == 0 && count > 0 {
		return 0, off, abi.EFAULT
	}
	return done, off + int64(done), 0
}

// truncate makes the file shorter or longer.
func (n *frameNode) truncate(size int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	old := n.size
	n.size = size
	if size >= old {
		return
	}
	n.w.kernel.Revoke(99, size, old-size, vfs.RevokeFreed)
	for page := size / pageSize; page*pageSize < old; page++ {
		if page*pageSize >= size {
			delete(n.frames, page)
			n.hole[page] = true
		} else {
			clear(n.frame(page)[size%pageSize:])
		}
		delete(n.pinned, page)
		delete(n.claimed, page)
	}
}

// punch makes pages holes.
func (n *frameNode) punch(from, to int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.w.kernel.Revoke(99, from*pageSize, (to-from)*pageSize, vfs.RevokeFreed)
	for page := from; page < to; page++ {
		delete(n.frames, page)
		delete(n.pinned, page)
		delete(n.claimed, page)
		n.hole[page] = true
	}
}
