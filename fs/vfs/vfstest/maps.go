package vfstest

import (
	"sync"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/fs/vfs"
)

// Maps stands for the shared mappings of a kernel: it remembers where pages of files are, until it is
// told by Revoke that they are not there any more, and reads and stores there.
type Maps struct {
	// RAM has the frames: the arena that the file system was mounted with.
	RAM []byte
	// Device shows what is at home.
	Device blockdev.Mapped

	mu    sync.Mutex
	pages map[uint64]map[int64]mappedPage // by inode and offset
	gone  uint64                          // revocations
}

type mappedPage struct {
	p     []byte // nil for a hole
	write bool
}

const mapPage = 4096

// Revoke is for the option of the same name of the file system.
func (m *Maps) Revoke(ino uint64, off, n int64, _ vfs.RevokeReason) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone++
	end := off + n
	if end < off {
		end = 1<<63 - 1
	}
	for at := range m.pages[ino] {
		if at+mapPage > off && at < end {
			delete(m.pages[ino], at)
		}
	}
}

// page returns a page of the file, mapping it if it is not, as a fault does. The page is nil for a
// hole, and when off lies behind the end of the file, which ok tells.
func (m *Maps) page(n vfs.FrameMapper, off int64, write bool) (p []byte, ok bool, _ abi.Errno) {
	for {
		m.mu.Lock()
		pg, have := m.pages[n.Ino()][off]
		seen := m.gone
		m.mu.Unlock()
		if have && (pg.write || !write) {
			return pg.p, true, 0
		}
		count := int64(4 * mapPage)
		if write {
			count = mapPage // what is claimed counts as content
		}
		list, e := n.MapFrames(off, count, write)
		if e != 0 {
			return nil, false, e
		}
		if len(list) == 0 {
			return nil, false, 0
		}
		m.mu.Lock()
		if m.gone != seen { // what was said may be wrong by now
			m.mu.Unlock()
			continue
		}
		if m.pages == nil {
			m.pages = make(map[uint64]map[int64]mappedPage)
		}
		if m.pages[n.Ino()] == nil {
			m.pages[n.Ino()] = make(map[int64]mappedPage)
		}
		for _, f := range list {
			for k := int64(0); k < f.Len; k += mapPage {
				pg := mappedPage{write: write}
				switch {
				case f.RAM >= 0:
					pg.p = m.RAM[f.RAM+k:][:mapPage]
				case f.Home >= 0:
					pg.p = m.Device.Bytes(f.Home+k, mapPage)
				}
				m.pages[n.Ino()][f.Off+k] = pg
			}
		}
		m.mu.Unlock()
	}
}

// access calls f for the parts of [off, off+n) that lie in pages, up to the page with the end of the
// file.
func (m *Maps) access(n vfs.FrameMapper, off, count int64, write bool, f func(at int64, p []byte)) abi.Errno {
	for end := off + count; off < end; {
		in := off % mapPage
		p, ok, e := m.page(n, off-in, write)
		if e != 0 || !ok {
			return e
		}
		part := min(mapPage-in, end-off)
		if p == nil {
			p = zeroPage[:]
		}
		f(off, p[in:in+part])
		off += part
	}
	return 0
}

var zeroPage [mapPage]byte

// end takes all mappings of a file away.
func (m *Maps) end(n vfs.FrameMapper) {
	m.mu.Lock()
	_, any := m.pages[n.Ino()]
	delete(m.pages, n.Ino())
	m.mu.Unlock()
	if any {
		n.UnmapFrames(0, 1<<62)
	}
}

// mapper is a File that can be read and changed through a mapping. A store behind the end of the
// file does nothing, or is a SIGBUS.
type mapper interface {
	Load(p []byte, off int64) (int, abi.Errno)
	Store(p []byte, off int64) abi.Errno
}

// load reads through a mapping, or without one if f has none.
func load(f File, p []byte, off int64) (int, abi.Errno) {
	if m, ok := f.(mapper); ok {
		return m.Load(p, off)
	}
	return f.Pread(p, off)
}

// store changes what is in the file, and leaves its size alone.
func store(f File, p []byte, off int64) abi.Errno {
	var a vfs.Attr
	if e := f.Stat(&a); e != 0 {
		return e
	}
	p = p[:max(min(int64(len(p)), a.Size-off), 0)]
	if m, ok := f.(mapper); ok {
		return m.Store(p, off)
	}
	if len(p) == 0 {
		return 0
	}
	_, e := f.Pwrite(p, off)
	return e
}

// mappedFile is an nsFile on a file system with frames.
type mappedFile struct {
	*nsFile
	n    vfs.FrameMapper
	maps *Maps
}

// Load implements mapper.
func (f mappedFile) Load(p []byte, off int64) (int, abi.Errno) {
	var a vfs.Attr
	if e := f.Stat(&a); e != 0 {
		return 0, e
	}
	p = p[:max(min(int64(len(p)), a.Size-off), 0)]
	got := 0
	e := f.maps.access(f.n, off, int64(len(p)), false, func(at int64, page []byte) { got += copy(p[at-off:], page) })
	return got, e
}

// Store implements mapper.
func (f mappedFile) Store(p []byte, off int64) abi.Errno {
	return f.maps.access(f.n, off, int64(len(p)), true, func(at int64, page []byte) { copy(page, p[at-off:]) })
}

// Close ends the mappings.
func (f mappedFile) Close() {
	f.maps.end(f.n)
	f.nsFile.Close()
}
