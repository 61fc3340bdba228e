package emu

import (
	"slices"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// beforeRead makes the file's bytes [off, off+n) what its shared mappings show.
func (k *Kernel) beforeRead(node vfs.Node, off int64, n int) {
	if f := k.shares.find(node); f != nil && off >= 0 {
		f.sync(off, off+int64(n))
	}
}

// afterWrite makes shared mappings show what was written to the file: the n bytes before end, or
// what it has lost or got by a change of its size.
func (k *Kernel) afterWrite(node vfs.Node, end int64, n int) {
	f := k.shares.find(node)
	if f == nil || n <= 0 {
		return
	}
	lo, hi := end-int64(n), end
	if f.inRAM() {
		f.refresh(lo, hi)
	} else {
		k.reshow(f, lo, hi)
	}
}

// reshape does a change of a file's size or holes, and makes shared mappings that have copies follow it
// in the range that it concerns, which depends on the file's size.
func (k *Kernel) reshape(node vfs.Node, concerns func(size int64) (lo, hi int64), do func() abi.Errno) abi.Errno {
	f := k.shares.find(node)
	if f == nil {
		return do()
	}
	var a vfs.Attr
	if errno := node.Attr(&a); errno != 0 {
		return errno
	}
	if errno := f.sync(0, 1<<62); errno != 0 {
		return errno
	}
	errno := do()
	f.refresh(concerns(a.Size))
	return errno
}

// truncated makes shared mappings follow a file that has become shorter, whichever it was: what
// lay behind its new end is zero if it grows again.
func (k *Kernel) truncated() {
	k.cutCopies()
	s := &k.shares
	if s.n.Load() == 0 {
		return
	}
	s.mu.Lock()
	files := make([]*sharedFile, 0, len(s.files))
	for _, f := range s.files {
		if f.frames == nil {
			f.users++
			files = append(files, f)
		}
	}
	s.mu.Unlock()
	for _, f := range files {
		var a vfs.Attr
		if f.node.Attr(&a) == 0 {
			f.refresh(a.Size, 1<<62)
			for _, m := range k.areas.all() {
				m.hideShared(f, pageUp(a.Size))
			}
		}
		s.put(f)
	}
}

// reshow maps the pages of the file's bytes [lo, hi) anew, wherever they are mapped from the image.
func (k *Kernel) reshow(f *sharedFile, lo, hi int64) {
	lo, hi = pageDown(lo), pageUp(hi)
	for _, m := range k.areas.all() {
		m.reshow(f, lo, hi)
	}
}

// hideShared takes away what is shown of f's bytes from lo on.
func (s *space) hideShared(f *sharedFile, lo int64) {
	s.lock()
	defer s.unlock()
	for _, m := range s.sharing(f) {
		s.take(s.shown(m, lo, 1<<62, func(v *vma) bool { return v.back != BackNone }))
	}
}

// sharing returns the mappedFiles of f in the space. Locked.
func (s *space) sharing(f *sharedFile) []*mappedFile {
	return slices.DeleteFunc(s.k.images.of(f.node.Ino(), true, nil), func(m *mappedFile) bool {
		return m.shared != f || m.space != s || m.refs == 0
	})
}

func (s *space) reshow(f *sharedFile, lo, hi int64) {
	s.lock()
	var found []vma
	for _, m := range s.sharing(f) {
		found = append(found, s.shown(m, lo, hi, func(v *vma) bool { return v.back != BackRAM })...)
	}
	for i := range found {
		found[i].file.refs++
	}
	s.unlock()
	for _, v := range found {
		w, errno := v.file.view(v.fileOff, v.len(), false)
		s.lock()
		// Unless it was unmapped or remapped meanwhile; what cannot be shown now is looked for by
		// the fault of its next access.
		if now := s.set.find(v.start); now != nil && now.file == v.file && now.end >= v.end &&
			now.fileOff+int64(v.start-now.start) == v.fileOff {
			none := *now
			none.advance(v.start)
			none.end = v.end
			none.back, none.off, none.origin = BackNone, 0, 0
			if errno != 0 || w.stale() {
				if s.host(&none, false) == 0 {
					s.exchange(none)
				}
			} else {
				s.exchange(none)
				if s.show(none, w) == 0 {
					w = nil
				}
			}
		}
		if w != nil {
			w.drop(s.k)
		}
		s.letGo(v.file)
		s.unlock()
	}
}
