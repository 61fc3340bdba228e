package emu

import (
	"sync/atomic"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// mappedFile is the file behind a mapping, and behind what becomes of the mapping when it is cut.
type mappedFile struct {
	kernel   *Kernel
	space    *space
	desc     *description // what was mapped, a reference; nil: a program's file
	dentry   *vfs.Dentry  // a reference, for the name
	node     vfs.Node     // a reference, so that its blocks stay its own
	ino      uint64
	place    int         // among those of its inode; guarded by images.mu
	onImage  bool        // the file system may take content away: see Kernel.Revoke
	copies   atomic.Bool // content was copied for private mappings
	writable bool        // a shared mapping may be made writable
	shared   *sharedFile // of a shared mapping
	refs     int         // mappings, and calls that use it; guarded by space.mu

	// base is where the file's first byte would be, once placed says that it is known; moved tells that
	// parts of the mapping have gone to other places since. Guarded by space.mu.
	base          int64
	placed, moved bool
	inFrames      bool // the page that was shown last had a frame; guarded by space.mu

	// The last store that had to ask for its page claimed so many bytes, up to here in the file. Guarded by
	// space.mu.
	ahead, claimed int64
}

// mappable returns the file that fd is open on, to be mapped with prot, with one reference. Errors
// as of mmap(2).
func (t *Task) mappable(fd int32, prot uint8, shared bool) (*mappedFile, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return nil, errno
	}
	writable := d.mode&modeWrite != 0
	switch {
	case d.mode&modeRead == 0, shared && prot&abi.PROT_WRITE != 0 && !writable,
		shared && writable && vfs.NodeFlags(d.node)&abi.FS_APPEND_FL != 0:
		errno = abi.EACCES
	case d.kind() != abi.S_IFREG:
		errno = abi.ENODEV
	}
	if errno != 0 {
		d.unref()
		return nil, errno
	}
	f := t.proc.mem().newMappedFile(d.dentry, shared)
	f.desc = d // a mapping keeps a file open, as far as locks and errors go
	f.writable = writable
	if shared && writable && f.shared.frames == nil {
		f.shared.toRAM()
	}
	return f, 0
}

// newMappedFile returns a mappedFile of the file at d, for a shared mapping or a private one.
func (s *space) newMappedFile(d *vfs.Dentry, shared bool) *mappedFile {
	f := &mappedFile{kernel: s.k, space: s, dentry: d, node: d.Node(), refs: 1}
	d.Ref()
	f.node.Ref()
	f.ino = f.node.Ino()
	f.onImage = isOnImage(f.node)
	if shared {
		f.shared = s.k.shares.get(f.node, s.k)
	}
	s.k.images.add(f)
	return f
}

// isOnImage tells whether mappings of node may show the image or the cache of its file system.
func isOnImage(node vfs.Node) bool {
	if _, ok := node.(vfs.FrameMapper); ok {
		return true
	}
	_, ok := node.(vfs.Mapper)
	return ok
}

// release lets go of the file once nothing maps it. No lock is held, since this may write.
func (f *mappedFile) release() {
	f.kernel.images.remove(f)
	if f.shared != nil {
		f.kernel.shares.put(f.shared)
	}
	f.node.Unref()
	f.dentry.Unref()
	if f.desc != nil {
		f.desc.unref()
	}
}

// fileView is what of a file's content is to be shown in a mapping: found out before the space is
// locked, since a file system may call Kernel.Revoke, which locks it, with its own locks held.
type fileView struct {
	off     int64 // in the file, of a whole number of pages
	parts   []viewPart
	counter revokeCounter
	revokes uint64 // counter at the time
}

// viewPart is a run of pages of a fileView with one backing. What no part covers does not exist.
type viewPart struct {
	off, n    int64 // in the file
	back      Backing
	at        int64 // in the image or the RAM
	copied    bool  // the pages of the RAM are this view's own
	unclaimed bool  // not to be stored to: see vmaUnclaimed
}

// first is view for a new mapping. What lies in frames is not asked for before it is accessed: to be shown
// binds a frame.
func (f *mappedFile) first(off int64, n uint64) (*fileView, abi.Errno) {
	if f.shared == nil || f.shared.frames == nil {
		return f.view(off, n, false)
	}
	w := &fileView{off: off, counter: f.kernel.images.counter(f.ino)}
	w.revokes = w.counter.Load()
	return w, 0
}

// maxStale is how often a view that has become stale is made again at once.
const maxStale = 4

// view finds out how to show n bytes of f from off; with write set, so that they can be stored to
// by a shared mapping. What the view has may end early.
func (f *mappedFile) view(off int64, n uint64, write bool) (*fileView, abi.Errno) {
	w := &fileView{off: off, counter: f.kernel.images.counter(f.ino)}
	w.revokes = w.counter.Load()
	var a vfs.Attr
	if errno := f.node.Attr(&a); errno != 0 {
		return nil, errno
	}
	size := pageUp(a.Size)
	if off >= size {
		return w, 0
	}
	n = min(n, uint64(size-off))
	switch {
	case f.shared != nil && f.shared.frames != nil:
		return w, f.shared.fromFrames(w, f, int64(n), write)
	case f.shared == nil:
		f.kernel.beforeRead(f.node, off, int(n))
	case f.shared.inRAM():
		return w, f.shared.view(w, off, int64(n))
	}
	if errno := w.fromImage(f.node, off, int64(n)); errno != abi.EOPNOTSUPP {
		return w, errno
	}
	if f.shared != nil {
		f.shared.toRAM()
		return w, f.shared.view(w, off, int64(n))
	}
	return w, f.copied(w, off, int64(n))
}

// fromImage fills the view with where the content is on the device. EOPNOTSUPP: it is not there in
// whole pages.
func (w *fileView) fromImage(node vfs.Node, off, n int64) abi.Errno {
	m, ok := node.(vfs.Mapper)
	if !ok {
		return abi.EOPNOTSUPP
	}
	exts, errno := m.MapExtents(off, n)
	if errno != 0 {
		return errno
	}
	for _, e := range exts {
		lo, hi := max(e.Off, off), min(e.Off+e.Len, off+n)
		if lo >= hi {
			continue
		}
		p := viewPart{off: lo, n: hi - lo, back: BackAnon}
		if e.Home >= 0 {
			p.back, p.at = BackImage, e.Home+(lo-e.Off)
		}
		if p.off%pageSize != 0 || p.n%pageSize != 0 || p.at%pageSize != 0 {
			w.parts = nil
			return abi.EOPNOTSUPP
		}
		w.parts = append(w.parts, p)
	}
	return 0
}

// copied fills the view with a copy of the content in the RAM.
func (f *mappedFile) copied(w *fileView, off, n int64) abi.Errno {
	k := f.kernel
	if !f.copies.Swap(true) {
		k.images.copies.Add(1)
	}
	exts, ok := k.ram.allocAll(n, nil)
	if !ok {
		return abi.ENOMEM
	}
	for i, e := range exts {
		if errno := readInto(k.m.RAM()[e.off:e.off+e.n], f.node, off); errno != 0 {
			for _, e := range exts[i:] {
				k.ram.release(e)
			}
			w.drop(k)
			return errno
		}
		w.parts = append(w.parts, viewPart{off: off, n: e.n, back: BackRAM, at: e.off, copied: true})
		off += e.n
	}
	return 0
}

// backing returns what the page at off is shown from; BackNone: the view does not have it.
func (w *fileView) backing(off int64) Backing {
	for i := range w.parts {
		if p := &w.parts[i]; p.off <= off && off < p.off+p.n {
			return p.back
		}
	}
	return BackNone
}

// drop gives back what the view holds and no mapping has taken over.
func (w *fileView) drop(k *Kernel) {
	for _, p := range w.parts {
		if p.copied {
			k.ram.release(ramExtent{p.at, p.n})
		}
	}
	w.parts = nil
}

// stale tells whether content was taken away from the file since the view was made: it must be made
// again. The space that it goes to is locked: who takes content away from now on finds the mapping.
func (w *fileView) stale() bool { return w.revokes != w.counter.Load() }

// mapFile maps n bytes of f at a, with the content of view w, which it takes over. What of
// the file does not exist is mapped as well, and raises SIGBUS. Locked.
func (s *space) mapFile(a abi.Addr, n uint64, prot uint8, f *mappedFile, w *fileView) abi.Errno {
	v := vma{start: a, end: a + abi.Addr(n), prot: prot, file: f, fileOff: w.off}
	switch {
	case f.shared != nil:
		v.flags |= vmaShared
	case prot&abi.PROT_WRITE != 0:
		v.flags |= vmaWritten
	}
	base := int64(a) - w.off
	f.moved = f.moved || f.placed && f.base != base
	f.base, f.placed = base, true
	// Everything is mapped as what lies behind the file's end first: it takes away what was there,
	// and stays where there is no content.
	f.refs++
	if errno := s.replace(v, false); errno != 0 {
		f.refs--
		w.drop(s.k)
		return errno
	}
	if errno := s.show(v, w); errno != 0 {
		s.unmap(a, a+abi.Addr(n))
		return errno
	}
	return 0
}

// show puts the content of view w into v, a mapping or part of one. Locked.
func (s *space) show(v vma, w *fileView) abi.Errno {
	end := v.fileOff + int64(v.len())
	for i := range w.parts {
		part := &w.parts[i]
		lo, hi := max(part.off, v.fileOff), min(part.off+part.n, end)
		if lo >= hi {
			continue
		}
		p := v
		p.end = v.start + abi.Addr(hi-v.fileOff)
		p.advance(v.start + abi.Addr(lo-v.fileOff))
		p.back, p.off, p.origin = part.back, part.at+(lo-part.off), 0
		p.flags &^= vmaUnclaimed
		if part.unclaimed {
			p.flags |= vmaUnclaimed
		}
		extra := uint64(0)
		if part.copied && p.charge() == 0 {
			p.flags |= vmaWritten // cannot be had again by mapping it anew
			extra = p.len()
		}
		errno := abi.ENOMEM
		if s.room(3) && s.k.commit.take(extra) {
			if errno = s.host(&p, false); errno != 0 {
				s.k.commit.give(extra)
			}
		}
		if errno != 0 {
			w.drop(s.k)
			return errno
		}
		s.exchange(p)
		part.copied = false // the mapping's now
	}
	w.drop(s.k)
	return 0
}

// readInto fills p with the file's content from off; what lies behind its end is left alone.
func readInto(p []byte, node vfs.Node, off int64) abi.Errno {
	for len(p) > 0 {
		n, errno := node.Read(off, len(p), &bytesDest{p})
		if errno != 0 {
			return errno
		}
		if n == 0 {
			return 0
		}
		p = p[n:]
		off += int64(n)
	}
	return 0
}

// recopy makes w, which is private and may hold content of its own, show the file again: nothing for
// now, and what there is by the fault of the next access. Locked.
func (s *space) recopy(w vma) abi.Errno {
	old := w
	w.back, w.off, w.origin = BackNone, 0, 0
	if w.prot&abi.PROT_WRITE == 0 {
		w.flags &^= vmaWritten
	}
	if errno := s.host(&w, false); errno != 0 {
		return errno
	}
	s.k.commit.give(old.charge() - w.charge())
	s.exchange(w)
	if old.back == BackRAM {
		s.k.ram.release(ramExtent{old.off, int64(old.len())})
	}
	return 0
}
