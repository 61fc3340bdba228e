package emu

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

// mappable returns the file that fd is open on, to be mapped with prot. Errors as of mmap(2).
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
	d.dentry.Ref()
	d.node.Ref()
	return &mappedFile{dentry: d.dentry, node: d.node, writable: writable}, 0
}

// mapFile maps n bytes of f from offset off at a. Each mapping that comes of it counts in f.refs; what of the
// file does not exist is mapped as well, and raises SIGBUS. Locked.
func (s *space) mapFile(a abi.Addr, n uint64, prot uint8, flags vmaFlags, f *mappedFile, off int64) abi.Errno {
	if flags&vmaShared != 0 && f.writable {
		return abi.ENODEV // shared with writers: not offered yet
	}
	var attr vfs.Attr
	if errno := f.node.Attr(&attr); errno != 0 {
		return errno
	}
	w := vma{start: a, end: a + abi.Addr(n), prot: prot, flags: flags, file: f, fileOff: off}
	if flags&vmaShared == 0 && prot&abi.PROT_WRITE != 0 {
		w.flags |= vmaWritten
	}
	// Everything is mapped as what lies behind the file's end first: it takes away what was there,
	// and stays where there is no more content.
	f.refs++
	if errno := s.replace(w, false); errno != 0 {
		f.refs--
		return errno
	}
	size := pageUp(attr.Size)
	if off >= size {
		return 0
	}
	w.end = min(w.end, a+abi.Addr(size-off))
	errno := s.showFile(w)
	if errno != 0 {
		s.unmap(a, a+abi.Addr(n))
	}
	return errno
}

// showFile puts the content of its file into w, a part of a mapping that shows none. Locked.
func (s *space) showFile(w vma) abi.Errno {
	m, ok := w.file.node.(vfs.Mapper)
	if !ok {
		return s.copyFile(w)
	}
	exts, errno := m.MapExtents(w.fileOff, int64(w.len()))
	switch errno {
	case 0:
	case abi.EOPNOTSUPP, abi.EINVAL:
		return s.copyFile(w) // blocks smaller than pages, content kept in the inode, ...
	default:
		return errno
	}
	for _, e := range exts {
		p := w
		lo, hi := max(e.Off, w.fileOff), min(e.Off+pageUp(e.Len), w.fileOff+int64(w.len()))
		if lo >= hi || lo%pageSize != 0 {
			continue
		}
		p.end = p.start + abi.Addr(hi-p.fileOff)
		p.advance(p.start + abi.Addr(lo-p.fileOff))
		p.back = BackAnon
		if e.Home >= 0 {
			p.back, p.off = BackImage, e.Home+(lo-e.Off)
			if p.off%pageSize != 0 {
				return s.copyFile(w)
			}
		}
		if !s.room(3) {
			return abi.ENOMEM
		}
		if errno := s.host(&p, false); errno != 0 {
			return errno
		}
		s.exchange(p)
	}
	return 0
}

// copyFile puts a copy of the file's content into w. Locked.
func (s *space) copyFile(w vma) abi.Errno {
	exts, ok := s.k.ram.allocAll(int64(w.len()), nil)
	if !ok {
		return abi.ENOMEM
	}
	for i, e := range exts {
		p := w
		p.end = p.start + abi.Addr(e.n)
		p.back, p.off = BackRAM, e.off
		errno := readInto(s.k.m.RAM()[e.off:e.off+e.n], p.file.node, p.fileOff)
		extra := p.len() - p.charge()
		p.flags |= vmaWritten
		switch {
		case errno != 0:
		case !s.room(3) || !s.k.commit.take(extra):
			errno = abi.ENOMEM
		default:
			if errno = s.host(&p, false); errno != 0 {
				s.k.commit.give(extra)
			}
		}
		if errno != 0 {
			s.releaseAll(exts[i:])
			return errno
		}
		p.flags &^= vmaShared // a copy is the mapping's own
		s.exchange(p)
		if p.end < w.end {
			w.advance(p.end)
		}
	}
	return 0
}

// reload makes w, which is private and holds a copy of a file's content in the RAM, as it was
// when it was mapped. Locked.
func (s *space) reload(w vma) abi.Errno {
	mem := s.k.m.RAM()[w.off : w.off+int64(w.len())]
	s.k.m.DiscardRAM(w.off, int64(w.len()))
	return readInto(mem, w.file.node, w.fileOff)
}

// memDest is a vfs.Dest over the kernel's own memory.
type memDest struct{ p []byte }

func (d *memDest) Put(p []byte) (int, abi.Errno) {
	n := copy(d.p, p)
	d.p = d.p[n:]
	if n < len(p) {
		return n, abi.EFAULT
	}
	return n, 0
}

// readInto fills p with the file's content from off; what lies behind its end is left alone.
func readInto(p []byte, node vfs.Node, off int64) abi.Errno {
	for len(p) > 0 {
		n, errno := node.Read(off, len(p), &memDest{p})
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

// sync writes what shared mappings of files in [lo, hi) have changed to the files.
func (s *space) sync(lo, hi abi.Addr, wait bool) abi.Errno {
	s.lock()
	defer s.unlock()
	if !s.whole(lo, hi) {
		return abi.ENOMEM
	}
	return 0
}
