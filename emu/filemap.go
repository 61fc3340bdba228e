package emu

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

// mappedFile is the file behind a mapping, and behind what becomes of the mapping when it is cut.
type mappedFile struct {
	kernel   *Kernel
	dentry   *vfs.Dentry // a reference, for the name
	node     vfs.Node    // a reference, so that its blocks stay its own
	writable bool        // a shared mapping may be made writable
	shared   *sharedFile // of a shared mapping
	refs     int         // mappings, and calls that use it; guarded by space.mu
}

// mappable returns the file that fd is open on, to be mapped with prot, with one reference. Errors
// as of mmap(2).
func (t *Task) mappable(fd int32, prot uint8, shared bool) (*mappedFile, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return nil, errno
	}
	defer d.unref()
	writable := d.mode&modeWrite != 0
	switch {
	case d.mode&modeRead == 0:
		return nil, abi.EACCES
	case shared && prot&abi.PROT_WRITE != 0 && !writable:
		return nil, abi.EACCES
	case d.kind() != abi.S_IFREG:
		return nil, abi.ENODEV
	}
	f := t.kernel.mapped(d.dentry)
	f.writable = writable
	if shared {
		f.shared = t.kernel.shares.get(f.node, t.kernel)
		if writable {
			f.shared.toRAM()
		}
	}
	return f, 0
}

// mapped returns a mappedFile of the file at d.
func (k *Kernel) mapped(d *vfs.Dentry) *mappedFile {
	f := &mappedFile{kernel: k, dentry: d, node: d.Node(), refs: 1}
	d.Ref()
	f.node.Ref()
	return f
}

// release lets go of the file once nothing maps it. No lock is held, since this may write.
func (f *mappedFile) release() {
	if f.shared != nil {
		f.kernel.shares.put(f.shared)
	}
	f.node.Unref()
	f.dentry.Unref()
}

// fileView is what of a file's content is to be shown in a mapping: found out before the space is
// locked, since a file system may call Kernel.Revoke, which locks it, with its own locks held.
type fileView struct {
	off     int64 // in the file, of a whole number of pages
	size    int64 // of the file at the time, in whole pages
	parts   []viewPart
	revokes uint64 // Kernel.revokes at the time
}

// viewPart is a run of pages of a fileView with one backing. What no part covers is a hole.
type viewPart struct {
	off, n int64 // in the file
	back   Backing
	at     int64 // in the image or the RAM
	copied bool  // the pages of the RAM are this view's own
}

// view finds out how to show n bytes of f from off.
func (f *mappedFile) view(off int64, n uint64) (*fileView, abi.Errno) {
	w := &fileView{off: off, revokes: f.kernel.revokes.Load()}
	var a vfs.Attr
	if errno := f.node.Attr(&a); errno != 0 {
		return nil, errno
	}
	w.size = pageUp(a.Size)
	if off >= w.size {
		return w, 0
	}
	n = min(n, uint64(w.size-off))
	if f.shared == nil {
		f.kernel.beforeRead(f.node, off, int(n))
	}
	if f.shared != nil && f.shared.inRAM() {
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

// drop gives back what the view holds and no mapping has taken over.
func (w *fileView) drop(k *Kernel) {
	for _, p := range w.parts {
		if p.copied {
			k.ram.release(ramExtent{p.at, p.n})
		}
	}
	w.parts = nil
}

// stale tells whether blocks were taken away from files since the view was made: it must be made
// again. The space that it goes to is locked: who takes blocks away from now on finds the mapping.
func (w *fileView) stale(k *Kernel) bool { return w.revokes != k.revokes.Load() }

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

// show puts the content of view w into v, a mapping or part of one that shows none. Locked.
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

// refill looks again at the file behind the mapping at a, where it showed nothing: the file may
// have grown since. It tells whether there is something to see now.
func (s *space) refill(a abi.Addr) bool {
	a = pageDown(a)
	s.lock()
	v := s.set.find(a)
	if v == nil || v.file == nil || v.back != BackNone {
		s.unlock()
		return v != nil && v.file != nil
	}
	f, off := v.file, v.fileOff+int64(a-v.start)
	f.refs++
	s.unlock()

	w, errno := f.view(off, pageSize)
	s.lock()
	defer s.unlock()
	defer s.letGo(f)
	if errno != 0 {
		return false
	}
	v = s.set.find(a)
	if v == nil || v.file != f || v.back != BackNone || v.fileOff+int64(a-v.start) != off || w.stale(s.k) || len(w.parts) == 0 {
		w.drop(s.k)
		return v != nil && len(w.parts) != 0
	}
	p := *v
	p.advance(a)
	p.end = a + pageSize
	return s.show(p, w) == 0
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

// recopy makes w, which is private and holds a copy of a file's content, show the file again: nothing
// for now, and what there is by the fault of the next access. Locked.
func (s *space) recopy(w vma) abi.Errno {
	old := ramExtent{w.off, int64(w.len())}
	w.back, w.off, w.origin = BackNone, 0, 0
	if w.prot&abi.PROT_WRITE == 0 {
		w.flags &^= vmaWritten
	}
	if errno := s.host(&w, false); errno != 0 {
		return errno
	}
	s.k.commit.give(uint64(old.n) - w.charge())
	s.exchange(w)
	s.k.ram.release(old)
	return 0
}

// Revoke takes away what mappings show of the pages [off, off+n) of the file with number ino on the
// image, before their blocks are given to something else. Accesses raise SIGBUS, unless the file has
// content there again. It is safe to call with locks of the file system held.
func (k *Kernel) Revoke(ino uint64, off, n int64, why vfs.RevokeReason) {
	k.revokes.Add(1)
	for _, p := range k.processes() {
		p.mem.hide(pageUp(off), off+n, func(v *vma) bool { return v.back == BackImage && v.file.node.Ino() == ino })
	}
}

// hide takes away what is shown of the pages of a file in [lo, hi), by those mappings of which
// shows it holds. What is still there comes back by the fault of the next access.
func (s *space) hide(lo, hi int64, shows func(*vma) bool) {
	s.lock()
	defer s.unlock()
	for _, w := range s.shown(lo, hi, shows) {
		w.back, w.off, w.origin = BackNone, 0, 0
		if s.host(&w, false) != 0 {
			panic("emu: the host refuses to take a mapping away") // better than to show another file's content
		}
		s.exchange(w)
	}
}

// shown returns the parts of mappings of files that lie in [lo, hi) of their file and for which
// which holds. Locked.
func (s *space) shown(lo, hi int64, which func(*vma) bool) []vma {
	var found []vma
	for p := s.set.seek(0); ; p = s.set.next(p) {
		v := s.set.at(p)
		if v == nil {
			return found
		}
		if v.file == nil || v.fileOff >= hi || v.fileOff+int64(v.len()) <= lo || !which(v) {
			continue
		}
		w := *v
		if hi-w.fileOff < int64(w.len()) {
			w.end = w.start + abi.Addr(pageUp(hi)-w.fileOff)
		}
		if lo > w.fileOff {
			w.advance(w.start + abi.Addr(lo-w.fileOff))
		}
		found = append(found, w)
	}
}
