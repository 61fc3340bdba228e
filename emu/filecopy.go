package emu

import (
	"encoding/binary"
	"sync"

	"pinhole/abi"
)

// copyRoom is how much a copy between files has in memory at a time.
const copyRoom = 64 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copyRoom]byte) }}

// getOffset reads an offset from the guest.
func (t *Task) getOffset(a abi.Addr) (int64, abi.Errno) {
	errno := t.getStruct(a, 8)
	return int64(binary.LittleEndian.Uint64(t.scratch[:])), errno
}

// putOffset writes an offset to the guest.
func (t *Task) putOffset(a abi.Addr, off int64) abi.Errno {
	binary.LittleEndian.PutUint64(t.scratch[:], uint64(off))
	return t.putStruct(a, 8)
}

// position is where a copy reads or writes: at an offset in guest memory, or at a description's own.
type position struct {
	d    *description
	at   abi.Addr // 0: the description's own offset
	off  int64
	seek bool // there is an offset
}

func (t *Task) position(d *description, at abi.Addr) (position, abi.Errno) {
	p := position{d: d, at: at, seek: d.mode&modeSeek != 0}
	if at != 0 {
		var errno abi.Errno
		p.off, errno = t.getOffset(at)
		return p, errno
	}
	d.mu.Lock()
	p.off = d.pos
	d.mu.Unlock()
	return p, 0
}

// advance puts the offset back, n bytes further on.
func (t *Task) advance(p *position, n int64) abi.Errno {
	if p.at != 0 {
		return t.putOffset(p.at, p.off+n)
	}
	if p.seek && n > 0 {
		p.d.mu.Lock()
		p.d.pos = p.off + n
		p.d.mu.Unlock()
	}
	return 0
}

// fileCopy is copy_file_range(2).
func (t *Task) fileCopy(in int32, inOff abi.Addr, out int32, outOff abi.Addr, n uint64, flags uint32) (uint64, abi.Errno) {
	src, dst, errno := t.files(in, out)
	if errno != 0 {
		return 0, errno
	}
	defer src.unref()
	defer dst.unref()
	from, errno := t.position(src, inOff)
	if errno != 0 {
		return 0, errno
	}
	to, errno := t.position(dst, outOff)
	if errno != 0 {
		return 0, errno
	}
	if flags != 0 {
		return 0, abi.EINVAL
	}
	if errno := copyable(src, dst); errno != 0 {
		return 0, errno
	}
	// In this order, and without signs here, as Linux does it.
	if uint64(from.off)+n < n || uint64(to.off)+n < n {
		return 0, abi.EOVERFLOW
	}
	if errno := src.dentry.Attr(&t.attr); errno != 0 {
		return 0, errno
	}
	count := int64(0)
	if t.attr.Size > from.off {
		count = int64(min(n, uint64(t.attr.Size-from.off), maxCount))
	}
	if src.node == dst.node && from.off+count > to.off && to.off+count > from.off {
		return 0, abi.EINVAL
	}
	if from.off < 0 || to.off < 0 || int64(n) < 0 {
		return 0, abi.EINVAL
	}
	done, errno := t.transfer(&from, &to, count)
	if done == 0 && errno != 0 {
		return 0, errno
	}
	return uint64(done), t.putPositions(&from, &to, done)
}

// copyable checks the files of copy_file_range.
func copyable(src, dst *description) abi.Errno {
	ks, kd := src.kind(), dst.kind()
	switch {
	case ks == abi.S_IFDIR || kd == abi.S_IFDIR:
		return abi.EISDIR
	case ks != abi.S_IFREG || kd != abi.S_IFREG:
		return abi.EINVAL
	case src.mode&modeRead == 0 || dst.mode&modeWrite == 0 || dst.has(abi.O_APPEND):
		return abi.EBADF
	case src.dentry.FS() != dst.dentry.FS():
		return abi.EXDEV
	}
	return 0
}

func (t *Task) putPositions(from, to *position, n int64) abi.Errno {
	e1, e2 := t.advance(from, n), t.advance(to, n)
	if e1 != 0 {
		return e1
	}
	return e2
}

// transfer copies up to n bytes through kernel memory; it returns how many, and why no more.
func (t *Task) transfer(from, to *position, n int64) (int64, abi.Errno) {
	buf := copyBuffers.Get().(*[copyRoom]byte)
	defer copyBuffers.Put(buf)
	done := int64(0)
	for done < n {
		p := buf[:min(n-done, copyRoom)]
		got, errno := from.d.file.read(t, from.d, from.off+done, len(p), &bytesDest{p})
		if got == 0 {
			return done, errno
		}
		put := 0
		for put < got {
			m, errno := t.copyOut(to, done+int64(put), p[put:got])
			put += m
			if errno != 0 {
				return done + int64(put), errno
			}
		}
		done += int64(put)
		if errno != 0 {
			return done, errno
		}
		if t.attention.Load()&attInterrupt != 0 {
			return done, 0 // the guest goes on where this ended
		}
	}
	return done, 0
}

// copyOut writes p to the target of a copy, at bytes behind where that began.
func (t *Task) copyOut(to *position, at int64, p []byte) (int, abi.Errno) {
	src := &bytesSource{p: p, plain: t.proc.fs().UID != 0}
	if !to.seek {
		m, _, errno := to.d.file.write(t, to.d, 0, len(p), src)
		return m, errno
	}
	m, _, errno := t.writeSource(to.d, uint64(len(p)), to.off+at, 0, src)
	if m == 0 && errno == 0 {
		errno = abi.EIO // a write that does nothing would be tried for ever
	}
	return m, errno
}

// fileSend is sendfile(2).
func (t *Task) fileSend(out, in int32, offAddr abi.Addr, n uint64) (uint64, abi.Errno) {
	var off int64
	if offAddr != 0 {
		var errno abi.Errno
		if off, errno = t.getOffset(offAddr); errno != 0 {
			return 0, errno
		}
	}
	src, errno := t.file(in)
	if errno != 0 {
		return 0, errno
	}
	defer src.unref()
	if src.mode&modeRead == 0 {
		return 0, abi.EBADF
	}
	if offAddr != 0 && src.mode&modeSeek == 0 {
		return 0, abi.ESPIPE
	}
	if off < 0 || int64(n) < 0 {
		return 0, abi.EINVAL
	}
	dst, errno := t.file(out)
	if errno != 0 {
		return 0, errno
	}
	defer dst.unref()
	if dst.mode&modeWrite == 0 {
		return 0, abi.EBADF
	}
	// Content must come from something that has pages: not from a pipe, a stream, a directory.
	if src.mode&modeSeek == 0 || src.kind() == abi.S_IFDIR || dst.kind() == abi.S_IFDIR || dst.has(abi.O_APPEND) {
		return 0, abi.EINVAL
	}
	// As splice, which it is on Linux.
	_, null := src.file.(nullDevice)
	switch dst.file.(type) {
	case fullDevice, *eventFD:
		return 0, abi.EINVAL
	}
	if null {
		return 0, abi.EINVAL
	}
	from, errno := t.position(src, 0)
	if errno != 0 {
		return 0, errno
	}
	from.at = offAddr
	if offAddr != 0 {
		from.off = off
	}
	to, errno := t.position(dst, 0)
	if errno != 0 {
		return 0, errno
	}
	count := min(int64(n), maxCount)
	if from.off+count < 0 {
		return 0, abi.EOVERFLOW
	}
	done, errno := t.transfer(&from, &to, count)
	if done == 0 && errno != 0 {
		return 0, errno
	}
	return uint64(done), t.putPositions(&from, &to, done)
}
