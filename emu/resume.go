package emu

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

// Content of a file is copied from and to the guest with the locks of the file held. The guest's memory
// may show a file itself, the same one even, and what is not there of that has to be asked for with no
// lock held. So the copy stops there (see guestDest.held), and what it stopped at goes by way of
// the kernel's own memory, at most resumeRoom at a time: this makes progress even if the page that
// the copy stopped at is taken away each time the file is written.

const resumeRoom = copyRoom

// resumeRead goes on with a read of n bytes at off after the first done, at which the guest's memory has
// stopped it.
func (t *Task) resumeRead(d *description, off int64, done, n int) (int, abi.Errno) {
	buf := copyBuffers.Get().(*[copyRoom]byte)
	defer copyBuffers.Put(buf)
	for {
		p := buf[:min(n-done, resumeRoom)]
		got, errno := d.node.Read(off+int64(done), len(p), &bytesDest{p})
		t.dst.held, t.dst.stopped = false, false
		put, bad := t.dst.Put(p[:got])
		done += put
		if bad != 0 || got < len(p) || done == n {
			if bad != 0 {
				errno = bad
			}
			return done, errno
		}
		t.dst.held = true
		got, errno = d.node.Read(off+int64(done), n-done, &t.dst)
		done += got
		if !t.dst.stopped {
			return done, errno
		}
	}
}

// resumeWrite goes on with a write of n bytes at off, or at the end of the file, after the first done,
// behind which end is. It returns what Write does.
func (t *Task) resumeWrite(d *description, off, end int64, done, n int) (int, int64, abi.Errno) {
	buf := copyBuffers.Get().(*[copyRoom]byte)
	defer copyBuffers.Put(buf)
	at := func() int64 {
		if off == vfs.AtEnd {
			return vfs.AtEnd
		}
		return off + int64(done)
	}
	for {
		p := buf[:min(n-done, resumeRoom)]
		t.src.held, t.src.stopped = false, false
		got, bad := t.src.Get(p)
		if got == 0 {
			return done, end, bad
		}
		put, e, errno := d.node.Write(at(), got, &bytesSource{p: p[:got], plain: t.src.plain})
		if put > 0 {
			done, end = done+put, e
		}
		if put < got || bad != 0 || done == n {
			if errno == 0 {
				errno = bad
			}
			return done, end, errno
		}
		t.src.held = true
		put, e, errno = d.node.Write(at(), n-done, &t.src)
		if put > 0 {
			done, end = done+put, e
		}
		if !t.src.stopped {
			return done, end, errno
		}
	}
}
