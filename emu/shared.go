package emu

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// A shared mapping of a file shows what reads of the file show, and stores to it are what reads
// and other mappings see. Where the file system can show its cache (vfs.FrameMapper), mappings,
// reads and writes meet there. Elsewhere pages of the image serve as long as nobody may write
// through a mapping; once somebody may, the file's mapped pages get copies in the RAM, which all
// mappings show from then on; reads and writes of the file go by way of keeping the two alike: see
// beforeRead and afterWrite.

// shares are the files with shared mappings.
type shares struct {
	n     atomic.Int32 // files without frames, readable without the lock
	mu    sync.Mutex
	files map[vfs.Node]*sharedFile
}

// sharedFile is a file with shared mappings.
//
// Lock order: shares.mu, mu, then the locks of the node; or mu, shares.mu without more in it. No space
// is locked with mu held.
type sharedFile struct {
	k      *Kernel
	node   vfs.Node        // held by the mappings
	frames vfs.FrameMapper // the node, if it can; then mu only makes its calls one after the other
	users  int             // mappedFiles; guarded by shares.mu

	mu     sync.Mutex
	ram    bool // pages have copies
	pages  map[int64]sharedPage
	device pageSet // pages that mappings may show from the image, where there are frames

	// Pages that were claimed for stores, since that many revocations.
	claimed pageSet
	revokes uint64
}

// sharedPage is the copy of a page.
type sharedPage struct {
	at  int64  // in the RAM
	sum uint64 // of the content that the file has: if the copy's differs, it was stored to
}

var pageSeed = maphash.MakeSeed()

// get returns the shared file of node for another mapping.
func (s *shares) get(node vfs.Node, k *Kernel) *sharedFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[node]
	if f == nil {
		if s.files == nil {
			s.files = make(map[vfs.Node]*sharedFile)
		}
		f = &sharedFile{k: k, node: node}
		if f.frames, _ = node.(vfs.FrameMapper); f.frames == nil {
			s.n.Add(1)
		}
		s.files[node] = f
	}
	f.users++
	return f
}

// put takes back get. The last one writes what is left to be written, or leaves it to the file system.
// The node is still held.
func (s *shares) put(f *sharedFile) {
	s.mu.Lock()
	f.users--
	last := f.users == 0
	s.mu.Unlock()
	if !last {
		return
	}
	if f.frames == nil {
		f.sync(0, 1<<62)
	}
	// Nobody may map the file anew by another sharedFile before this one is done with it.
	f.mu.Lock()
	defer f.mu.Unlock()
	s.mu.Lock()
	if f.users > 0 || s.files[f.node] != f {
		s.mu.Unlock()
		return // somebody maps it again, or has been here already
	}
	if f.frames == nil {
		delete(s.files, f.node)
		s.n.Add(-1)
	}
	s.mu.Unlock()
	if f.frames == nil {
		for _, p := range f.pages {
			f.k.ram.release(ramExtent{p.at, pageSize})
			f.k.commit.give(pageSize)
		}
		f.pages = nil
		return
	}
	f.frames.UnmapFrames(0, 1<<62)
	f.device.clear()
	f.claimed.clear()
	s.mu.Lock()
	if f.users == 0 {
		delete(s.files, f.node)
	}
	s.mu.Unlock()
}

// find returns the shared file of node if it has copies, or may come to have some; else nil.
func (s *shares) find(node vfs.Node) *sharedFile {
	if s.n.Load() == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.files[node]; f != nil && f.frames == nil {
		return f
	}
	return nil
}

// inRAM tells whether the file's mapped pages have copies.
func (f *sharedFile) inRAM() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ram
}

// toRAM makes the mapped pages have copies from now on. What was mapped before is shown anew.
func (f *sharedFile) toRAM() {
	f.mu.Lock()
	was := f.ram
	f.ram = true
	f.mu.Unlock()
	if !was {
		f.k.reshow(f, 0, 1<<62)
	}
}

// maxParts bounds the pieces of a view of frames; the rest of a mapping is shown as it is accessed.
const maxParts = 256

// fromFrames fills w with where the file system has n bytes from off: see vfs.FrameMapper.
// What shows pages from the image that have frames now has to ask again.
func (f *sharedFile) fromFrames(w *fileView, m *mappedFile, n int64, write bool) abi.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	off := w.off
	if write {
		f.stillClaimed()
		defer func() { f.claimed.add(w.off, off) }()
	}
	for end := off + n; off < end && len(w.parts) < maxParts; {
		list, errno := f.frames.MapFrames(off, end-off, write)
		if errno != 0 {
			// Some pages may have got frames all the same.
			w.revokes += f.k.images.framed(f, m, off, end, true)
			if len(w.parts) > 0 {
				return 0
			}
			return errno
		}
		if len(list) == 0 {
			return 0
		}
		for _, e := range list {
			p := viewPart{off: e.Off, n: e.Len, back: BackAnon, unclaimed: !write}
			switch {
			case e.RAM >= 0:
				p.back, p.at = BackRAM, e.RAM
			case e.Home >= 0:
				p.back, p.at = BackImage, e.Home
			}
			if p.off != off || p.n <= 0 || (p.n|p.at)%pageSize != 0 || write && p.back != BackRAM {
				return abi.EIO // it breaks its contract
			}
			w.parts = append(w.parts, p)
			off += p.n
			if p.back == BackRAM {
				w.revokes += f.k.images.framed(f, m, p.off, off, false)
			} else {
				f.device.add(p.off, off)
			}
		}
	}
	return 0
}

// claimedAround extends the bytes [lo, hi) of the file by those next to them, inside [least, most), that
// were claimed for stores before: to claim them once more, for another mapping, costs nothing.
func (f *sharedFile) claimedAround(lo, hi, least, most int64) (int64, int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stillClaimed()
	from, to := f.claimed.around(lo, hi)
	return max(from, min(least, lo)), min(to, max(most, hi))
}

// stillClaimed forgets what was claimed if something was taken away since. f.mu is held.
func (f *sharedFile) stillClaimed() {
	if n := f.k.images.counter(f.node.Ino()).Load(); n != f.revokes {
		f.claimed.clear()
		f.revokes = n
	}
}

// page returns the content of a copy.
func (f *sharedFile) page(p sharedPage) []byte {
	return f.k.m.RAM()[p.at : p.at+pageSize]
}

// view fills w with the copies of n bytes from off, which are made where there are none.
func (f *sharedFile) view(w *fileView, off, n int64) abi.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pages == nil {
		f.pages = make(map[int64]sharedPage)
	}
	for end := off + n; off < end; {
		run := int64(0) // pages in a row without a copy
		for off+run*pageSize < end {
			if _, ok := f.pages[off/pageSize+run]; ok {
				break
			}
			run++
		}
		if run > 0 {
			if errno := f.load(off, run); errno != 0 {
				return errno
			}
		}
		p := f.pages[off/pageSize]
		if k := len(w.parts); k > 0 && w.parts[k-1].at+w.parts[k-1].n == p.at {
			w.parts[k-1].n += pageSize
		} else {
			w.parts = append(w.parts, viewPart{off: off, n: pageSize, back: BackRAM, at: p.at})
		}
		off += pageSize
	}
	return 0
}

// load makes copies of pages from off on. f.mu is held.
func (f *sharedFile) load(off, pages int64) abi.Errno {
	k, n := f.k, pages*pageSize
	if !k.commit.take(uint64(n)) {
		return abi.ENOMEM
	}
	exts, ok := k.ram.allocAll(n, nil)
	if !ok {
		k.commit.give(uint64(n))
		return abi.ENOMEM
	}
	at := off
	for _, e := range exts {
		if errno := readInto(k.m.RAM()[e.off:e.off+e.n], f.node, at); errno != 0 {
			for _, e := range exts {
				k.ram.release(e)
			}
			k.commit.give(uint64(n))
			return errno
		}
		at += e.n
	}
	for _, e := range exts {
		for o := e.off; o < e.off+e.n; o += pageSize {
			p := sharedPage{at: o}
			p.sum = maphash.Bytes(pageSeed, f.page(p))
			f.pages[off/pageSize] = p
			off += pageSize
		}
	}
	return 0
}

// sync writes to the file what was stored to the copies of its bytes [lo, hi). What lies behind
// its end is not written. The first error is returned, the rest is tried all the same.
func (f *sharedFile) sync(lo, hi int64) (first abi.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pages) == 0 {
		return 0
	}
	var a vfs.Attr
	if errno := f.node.Attr(&a); errno != 0 {
		return errno
	}
	var buf [pageSize]byte
	for _, i := range f.indices(lo, hi) {
		p := f.pages[i]
		copy(buf[:], f.page(p)) // it may be stored to meanwhile
		sum := maphash.Bytes(pageSeed, buf[:])
		off := i * pageSize
		if sum == p.sum || off >= a.Size {
			continue
		}
		b := buf[:min(pageSize, a.Size-off)]
		n, _, errno := f.node.Write(off, len(b), &bytesSource{p: b})
		if errno == 0 && n < len(b) {
			errno = abi.EIO
		}
		if errno != 0 {
			if first == 0 {
				first = errno
			}
			continue
		}
		p.sum = sum
		f.pages[i] = p
	}
	return first
}

// indices returns the pages that have copies and bytes in [lo, hi), in order. f.mu is held.
func (f *sharedFile) indices(lo, hi int64) []int64 {
	var list []int64
	lo, hi = lo/pageSize, (hi-1)/pageSize
	if hi-lo < int64(len(f.pages)) {
		for i := lo; i <= hi; i++ {
			if _, ok := f.pages[i]; ok {
				list = append(list, i)
			}
		}
		return list
	}
	for i := range f.pages {
		if i >= lo && i <= hi {
			list = append(list, i)
		}
	}
	slices.Sort(list)
	return list
}

// refresh takes over into the copies what was written to the bytes [lo, hi) of the file.
func (f *sharedFile) refresh(lo, hi int64) abi.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	var buf [pageSize]byte
	for _, i := range f.indices(lo, hi) {
		off := i * pageSize
		clear(buf[:])
		if errno := readInto(buf[:], f.node, off); errno != 0 {
			return errno
		}
		p := f.pages[i]
		from, to := max(lo, off)-off, min(hi, off+pageSize)-off
		copy(f.page(p)[from:to], buf[from:to])
		p.sum = maphash.Bytes(pageSeed, buf[:])
		f.pages[i] = p
	}
	return 0
}
