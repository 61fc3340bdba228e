package emu

import (
	"sync"
	"sync/atomic"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// images are the mapped files by inode number: what Kernel.Revoke has to look at.
type images struct {
	mu     sync.Mutex
	files  map[uint64]*viewers
	copies atomic.Int32  // files of which content was copied
	looks  atomic.Uint64 // how often a mapped file was looked at for what it shows
	// counters has the number of revocations so far, by a hash of the inode's number.
	counters [64]atomic.Uint64
}

// viewers are the mapped files with one inode number: by mappings of their own, and by shared ones. Each
// knows its place in its list, since a program may map a file many thousand times.
type viewers struct {
	private, shared []*mappedFile
}

// list returns the list that f belongs to.
func (v *viewers) list(f *mappedFile) *[]*mappedFile {
	if f.shared != nil {
		return &v.shared
	}
	return &v.private
}

// revokeCounter counts the revocations of a file, and of some others.
type revokeCounter = *atomic.Uint64

func (m *images) counter(ino uint64) revokeCounter { return &m.counters[ino%uint64(len(m.counters))] }

func (m *images) add(f *mappedFile) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil {
		m.files = make(map[uint64]*viewers)
	}
	v := m.files[f.ino]
	if v == nil {
		v = &viewers{}
		m.files[f.ino] = v
	}
	list := v.list(f)
	f.place = len(*list)
	*list = append(*list, f)
}

func (m *images) remove(f *mappedFile) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f.copies.Load() {
		m.copies.Add(-1)
	}
	v := m.files[f.ino]
	list := v.list(f)
	last := len(*list) - 1
	moved := (*list)[last]
	moved.place = f.place
	(*list)[f.place] = moved
	(*list)[last] = nil
	*list = (*list)[:last]
	if len(v.private)+len(v.shared) == 0 {
		delete(m.files, f.ino)
	}
}

// of appends to out the mapped files with number ino; without shared set, only those that are not mapped
// shared. One of another file system may be among them: nothing is lost if what it shows has to be asked for
// again.
func (m *images) of(ino uint64, shared bool, out []*mappedFile) []*mappedFile {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.files[ino]
	if v == nil {
		return out
	}
	out = append(out, v.private...)
	if shared {
		out = append(out, v.shared...)
	}
	m.looks.Add(uint64(len(out)))
	return out
}

// copied returns the files of which content was copied.
func (m *images) copied() (list []*mappedFile) {
	if m.copies.Load() == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.files {
		for _, f := range v.private {
			if f.copies.Load() {
				list = append(list, f)
			}
		}
	}
	return list
}

// cutCopies makes private mappings that have copies of content follow files that have become shorter,
// whichever it was: what lay behind the new end is gone, as what was stored to it.
func (k *Kernel) cutCopies() {
	for _, f := range k.images.copied() {
		f.space.cutCopies(f)
	}
}

func (s *space) cutCopies(f *mappedFile) {
	s.lock()
	if f.refs == 0 {
		s.unlock()
		return
	}
	f.refs++
	s.unlock()
	var a vfs.Attr
	errno := f.node.Attr(&a)
	s.lock()
	defer s.unlock()
	defer s.letGo(f)
	if errno != 0 {
		return
	}
	for _, w := range s.shown(f, pageUp(a.Size), 1<<62, func(v *vma) bool { return v.back == BackRAM && !v.sharesFile() }) {
		s.recopy(w) // at worst, it remains
	}
}

// Revoke takes away what mappings show of the bytes [off, off+n) of the file with number ino on the
// image: see vfs.RevokeReason. It is safe to call with locks of the file system held, since it calls
// nothing of it; a mapping that is being made meanwhile looks again.
func (k *Kernel) Revoke(ino uint64, off, n int64, why vfs.RevokeReason) {
	k.images.counter(ino).Add(1)
	hi := int64(1) << 62
	if n < hi-off {
		hi = pageUp(off + n)
	}
	var few [8]*mappedFile
	for _, f := range k.images.of(ino, true, few[:0]) {
		f.space.hide(f, pageDown(off), hi, why)
	}
}

// framed takes the bytes [lo, hi) of f away from those who show them from the image, since they have
// frames, as the mapping m was told: unless all is set, m sees to itself. Views that are made meanwhile
// become stale; it returns how many revocations that is. f.mu is held.
//
// To look at all mappings is much work where there are many. Which pages shared ones may show from the
// image is known, since they learn it from fromFrames, and so under the same lock; mostly there are none.
func (i *images) framed(f *sharedFile, m *mappedFile, lo, hi int64, all bool) uint64 {
	var few [8]*mappedFile
	list := i.of(m.ino, f.device.take(lo, hi), few[:0])
	if len(list) == 0 {
		return 0
	}
	i.counter(m.ino).Add(1)
	for _, o := range list {
		s := o.space
		s.lock()
		if o != m || o.moved || all {
			s.unframe(o, lo, hi)
		}
		s.unlock()
	}
	return 1
}

// unframe takes away what is shown of f's bytes [lo, hi) from the image. Locked.
func (s *space) unframe(f *mappedFile, lo, hi int64) {
	s.take(s.shown(f, lo, hi, func(v *vma) bool { return v.back != BackRAM && v.showsFile(vfs.RevokeChanged) }))
}

// unframeView is unframe for what the view has in frames, where it cannot be shown. The view's other pages
// stay as they are. Locked.
func (s *space) unframeView(f *mappedFile, w *fileView) {
	if f.shared == nil || f.shared.frames == nil {
		return
	}
	for _, p := range w.parts {
		if p.back == BackRAM {
			s.unframe(f, p.off, p.off+p.n)
		}
	}
}

// hide takes away what is shown of f's bytes [lo, hi). What is still there comes back by the fault of
// the next access.
func (s *space) hide(f *mappedFile, lo, hi int64, why vfs.RevokeReason) {
	s.lock()
	defer s.unlock()
	s.take(s.shown(f, lo, hi, func(v *vma) bool { return v.showsFile(why) }))
}

// take makes the pieces of mappings in list show nothing. Locked.
func (s *space) take(list []vma) {
	for _, w := range list {
		w.back, w.off, w.origin = BackNone, 0, 0
		w.flags &^= vmaUnclaimed
		if s.host(&w, false) != 0 {
			panic("emu: the host refuses to take a mapping away") // better than to show another file's content
		}
		s.exchange(w)
	}
}

// showsFile tells whether v shows what the file system takes away for that reason. Pages of private
// mappings that may have been stored to cannot be told from those that were not: they go with the
// blocks, and stay as they are when content merely changes.
func (v *vma) showsFile(why vfs.RevokeReason) bool {
	switch {
	case v.back == BackNone:
		return false
	case v.sharesFile():
		return true
	case v.back == BackRAM:
		return false // a copy of its own
	case v.flags&vmaWritten == 0:
		return true
	}
	return v.back == BackImage && why == vfs.RevokeFreed
}

// shown returns the parts of mappings of f that lie in [lo, hi) of the file and for which which
// holds. Locked.
func (s *space) shown(f *mappedFile, lo, hi int64, which func(*vma) bool) []vma {
	p := vmaPos{}
	if !f.moved {
		p = s.set.seek(abi.Addr(max(f.base+lo, 0)))
	}
	var found []vma
	for v := s.set.at(p); v != nil; v = s.set.at(p) {
		p = s.set.next(p)
		if !f.moved && int64(v.start)-f.base >= hi {
			break
		}
		if v.file != f || v.fileOff >= hi || v.fileOff+int64(v.len()) <= lo || !which(v) {
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
	return found
}

// fold takes away all that mappings show of frames: the host has few mappings left. It all comes back by
// the faults of the next accesses. Locked.
func (s *space) fold() {
	var run []vma // pieces of one mapping in a row
	flush := func() {
		if len(run) == 0 {
			return
		}
		all := run[0]
		all.end = run[len(run)-1].end
		all.back = BackNone
		if s.host(&all, false) == 0 {
			for _, w := range run {
				w.back, w.off, w.origin = BackNone, 0, 0
				w.flags &^= vmaUnclaimed
				s.exchange(w)
			}
		}
		run = run[:0]
	}
	var pieces []vma
	for p := s.set.seek(0); ; p = s.set.next(p) {
		v := s.set.at(p)
		if v == nil {
			break
		}
		if v.sharesFile() && v.file.shared.frames != nil && v.back != BackNone {
			pieces = append(pieces, *v)
		}
	}
	for _, w := range pieces {
		if n := len(run); n > 0 && (run[n-1].end != w.start || run[n-1].file != w.file) {
			flush()
		}
		run = append(run, w)
	}
	flush()
}
