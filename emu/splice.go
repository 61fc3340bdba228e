package emu

import "pinhole/abi"

// Content that splice(2), tee(2) and vmsplice(2) move is copied: a pipe holds bytes, not references to
// pages. So SPLICE_F_MOVE and SPLICE_F_GIFT change nothing, and what a program writes to memory after
// vmsplice, or to a file after splice, does not show in the pipe, where on Linux it may. Room is counted in
// bytes, as everywhere in pipe, where on Linux each piece takes a page of the pipe; what waits for room waits
// for a page of it.
//
// No lock is held while a call waits or while a file is read or written. Whoever takes content off a pipe
// (or a stream of the host) to write it elsewhere holds the source (heldSource) until it is known how much
// was taken there; other readers wait for that, as on Linux for the pipe's lock. While it holds a source a
// call never waits for another or for room in a pipe of the kernel's.

const spliceFlags = abi.SPLICE_F_MOVE | abi.SPLICE_F_NONBLOCK | abi.SPLICE_F_MORE | abi.SPLICE_F_GIFT

// heldSource is a queue of bytes that one task can keep to itself for some time.
type heldSource interface {
	// hold waits until there is content, or none to come, and keeps others from taking it until letGo.
	// n is how much is wanted. EAGAIN, errRestart, the host's errors; then nothing is held.
	hold(t *Task, n int, nonblock bool) abi.Errno
	// peek copies what there is from the beginning; directly after hold, 0 is the end.
	peek(p []byte) int
	// drop takes n bytes, which peek has shown, off.
	drop(n int)
	letGo()
}

// pipeOf returns the pipe of the kernel that d is an end of, or nil.
func (d *description) pipeOf() *pipe {
	if e, ok := d.file.(*pipeEnd); ok {
		return e.pipe
	}
	return nil
}

// isPipe tells whether d is what a guest takes for a pipe: one of the kernel's, or a stream of the host.
func (d *description) isPipe() bool {
	if s, ok := d.file.(*stream); ok {
		return !s.terminal
	}
	return d.pipeOf() != nil
}

// held returns d as a source to hold, or nil: it is a file that is read at an offset, or none to read like this.
func (d *description) held() heldSource {
	switch f := d.file.(type) {
	case *pipeEnd:
		return pipeHold{f.pipe}
	case *stream:
		if in := f.from(); in != nil {
			return in
		}
	}
	return nil
}

// pipeSplice is splice(2).
func (t *Task) pipeSplice(in int32, inOff abi.Addr, out int32, outOff abi.Addr, n uint64, flags uint32) (uint64, abi.Errno) {
	if n == 0 {
		return 0, 0
	}
	if flags&^spliceFlags != 0 {
		return 0, abi.EINVAL
	}
	src, dst, errno := t.files(in, out)
	if errno != 0 {
		return 0, errno
	}
	defer src.unref()
	defer dst.unref()
	if src.isPipe() && inOff != 0 || dst.isPipe() && outOff != 0 {
		return 0, abi.ESPIPE
	}
	from, errno := t.position(src, inOff)
	if errno != 0 {
		return 0, errno
	}
	to, errno := t.position(dst, outOff)
	if errno != 0 {
		return 0, errno
	}
	if errno := spliceable(&from, &to, n); errno != 0 {
		return 0, errno
	}
	nonblock := flags&abi.SPLICE_F_NONBLOCK != 0 || src.isPipe() && src.has(abi.O_NONBLOCK) || dst.isPipe() && dst.has(abi.O_NONBLOCK)
	done, errno := t.splice(&from, &to, int(min(n, maxCount)), nonblock)
	if done == 0 && errno != 0 {
		return 0, errno
	}
	moved := [2]int64{int64(done), int64(done)}
	for i, d := range []*description{src, dst} {
		if d.kind() == abi.S_IFCHR { // devices have no place to be at
			moved[i] = 0
		}
	}
	// As Linux: the target's first.
	if errno := t.advance(&to, moved[1]); errno != 0 {
		return 0, errno
	}
	return uint64(done), t.advance(&from, moved[0])
}

// spliceable checks what splice is to move between, in Linux's order.
func spliceable(from, to *position, n uint64) abi.Errno {
	src, dst := from.d, to.d
	if src.mode&modeRead == 0 || dst.mode&modeWrite == 0 {
		return abi.EBADF
	}
	switch {
	case src.isPipe() && dst.isPipe():
		if p := src.pipeOf(); p != nil && p == dst.pipeOf() {
			return abi.EINVAL
		}
		return 0
	case src.isPipe():
		if dst.has(abi.O_APPEND) {
			return abi.EINVAL
		}
		if errno := dst.spliceable(); errno != 0 {
			return errno
		}
		return to.spliceable(n)
	case dst.isPipe():
		return from.spliceable(n) // what src is, is looked at when there is room
	}
	return abi.EINVAL
}

// spliceable checks the place of n bytes on the side that is not a pipe.
func (p *position) spliceable(n uint64) abi.Errno {
	if p.at != 0 && !p.seek || p.off < 0 || int64(n) < 0 || p.off+int64(n) < 0 {
		return abi.EINVAL
	}
	return 0
}

// spliceable checks that d, which is no pipe, has content as files have it, or a terminal.
func (d *description) spliceable() abi.Errno {
	if _, terminal := d.file.(*stream); d.kind() == abi.S_IFDIR || d.mode&modeSeek == 0 && !terminal {
		return abi.EINVAL
	}
	return 0
}

// splice moves content in the way that the two sides ask for.
func (t *Task) splice(from, to *position, n int, nonblock bool) (int, abi.Errno) {
	t.dst, t.src = guestDest{}, guestSource{}
	p, q, held := from.d.pipeOf(), to.d.pipeOf(), from.d.held()
	switch {
	case p != nil && q != nil:
		return t.pipeToPipe(p, q, n, nonblock, false)
	case held != nil:
		if s, ok := from.d.file.(*stream); ok && s.terminal {
			if errno := t.mayUseTerminal(abi.SIGTTIN); errno != 0 {
				return 0, errno
			}
		}
		if q != nil {
			return t.heldToPipe(held, q, n, nonblock, false)
		}
		if _, full := to.d.file.(fullDevice); full {
			return 0, abi.EINVAL
		}
		return t.heldToFile(held, to, n, nonblock, false)
	}
	if q != nil {
		return t.fileToPipe(from, q, n, nonblock)
	}
	if errno := from.d.spliceSource(); errno != 0 {
		return 0, errno
	}
	done, errno := t.transfer(from, to, int64(min(n, pipeCapacity)))
	return int(done), errno
}

// spliceSource checks that d, which is no pipe, can be read into one.
func (d *description) spliceSource() abi.Errno {
	if _, null := d.file.(nullDevice); null {
		return abi.EINVAL
	}
	return d.spliceable()
}

// pipeTee is tee(2).
func (t *Task) pipeTee(in, out int32, n uint64, flags uint32) (uint64, abi.Errno) {
	if flags&^spliceFlags != 0 {
		return 0, abi.EINVAL
	}
	if n == 0 {
		return 0, 0
	}
	src, dst, errno := t.files(in, out)
	if errno != 0 {
		return 0, errno
	}
	defer src.unref()
	defer dst.unref()
	if src.mode&modeRead == 0 || dst.mode&modeWrite == 0 {
		return 0, abi.EBADF
	}
	p, q := src.pipeOf(), dst.pipeOf()
	if !src.isPipe() || !dst.isPipe() || p != nil && p == q {
		return 0, abi.EINVAL
	}
	nonblock := flags&abi.SPLICE_F_NONBLOCK != 0 || src.has(abi.O_NONBLOCK) || dst.has(abi.O_NONBLOCK)
	count := int(min(n, maxCount))
	switch held := src.held(); {
	case p != nil && q != nil:
		return partial(t.pipeToPipe(p, q, count, nonblock, true))
	case q != nil:
		return partial(t.heldToPipe(held, q, count, nonblock, true))
	default:
		to, _ := t.position(dst, 0)
		return partial(t.heldToFile(held, &to, count, nonblock, true))
	}
}

// pipeMemory is vmsplice(2).
func (t *Task) pipeMemory(fd int32, iov abi.Addr, count int32, flags uint32) (uint64, abi.Errno) {
	if flags&^spliceFlags != 0 {
		return 0, abi.EINVAL
	}
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	if d.mode&(modeRead|modeWrite) == 0 {
		return 0, abi.EBADF
	}
	total, errno := t.vector(iov, count)
	if errno != 0 || total == 0 {
		return 0, errno
	}
	if !d.isPipe() {
		return 0, abi.EBADF
	}
	// O_NONBLOCK of the description has no say here, as on Linux.
	n, nonblock := int(total), flags&abi.SPLICE_F_NONBLOCK != 0
	if d.mode&modeWrite == 0 {
		t.dst = guestDest{rest: t.iov}
		return partial(t.heldToMemory(d.held(), n, nonblock))
	}
	t.src = guestSource{rest: t.iov}
	if q := d.pipeOf(); q != nil {
		return partial(t.memoryToPipe(q, n, nonblock))
	}
	done, _, errno := d.file.write(t, d, 0, n, &t.src)
	return partial(done, errno)
}

// memoryToPipe puts what there is room for from the task's source into q.
func (t *Task) memoryToPipe(q *pipe, n int, nonblock bool) (int, abi.Errno) {
	for {
		if errno := q.awaitRoom(t, nonblock); errno != 0 {
			return 0, errno
		}
		q.mu.Lock()
		done, errno := 0, abi.Errno(0)
		if q.readers > 0 {
			done, errno = q.put(min(n, q.cap-q.n), &t.src, false)
		}
		q.mu.Unlock()
		q.filled(done)
		if done > 0 || errno != 0 {
			return done, errno
		}
	}
}

// heldToMemory moves what there is to the task's destination, in pieces: one that does not fit whole into
// memory that is there stays in the pipe.
func (t *Task) heldToMemory(src heldSource, n int, nonblock bool) (done int, errno abi.Errno) {
	if errno := src.hold(t, n, nonblock); errno != 0 {
		return 0, errno
	}
	defer src.letGo()
	buf := copyBuffers.Get().(*[copyRoom]byte)
	defer copyBuffers.Put(buf)
	for done < n {
		got := src.peek(buf[:min(n-done, abi.PIPE_BUF)])
		if got == 0 {
			break
		}
		if _, errno := t.dst.Put(buf[:got]); errno != 0 {
			return done, errno
		}
		src.drop(got)
		done += got
	}
	return done, 0
}

// heldToFile moves what there is to a file, a device or a stream of the host: keep leaves it in the source too.
func (t *Task) heldToFile(src heldSource, to *position, n int, nonblock, keep bool) (done int, errno abi.Errno) {
	if errno := src.hold(t, n, nonblock); errno != 0 {
		return 0, errno
	}
	defer src.letGo()
	buf := copyBuffers.Get().(*[copyRoom]byte)
	defer copyBuffers.Put(buf)
	for done < n {
		got := src.peek(buf[:min(n-done, copyRoom)])
		for put := 0; put < got; {
			m, errno := t.copyOut(to, int64(done), buf[put:got])
			put += m
			done += m
			if !keep {
				src.drop(m)
			}
			if errno != 0 {
				return done, errno
			}
		}
		if got == 0 || keep {
			break
		}
		if t.attention.Load()&attInterrupt != 0 {
			return done, 0 // the guest goes on where this ended
		}
	}
	return done, 0
}

// heldToPipe moves from a stream of the host to a pipe: keep leaves the content in the stream too.
func (t *Task) heldToPipe(src heldSource, q *pipe, n int, nonblock, keep bool) (int, abi.Errno) {
	buf := copyBuffers.Get().(*[copyRoom]byte)
	defer copyBuffers.Put(buf)
	for {
		if errno := q.awaitRoom(t, nonblock); errno != 0 {
			return 0, errno
		}
		if errno := src.hold(t, n, nonblock); errno != 0 {
			return 0, errno
		}
		got := src.peek(buf[:min(n, copyRoom)])
		put := q.offer(buf[:got])
		if !keep {
			src.drop(put)
		}
		src.letGo()
		if put > 0 || got == 0 {
			return put, 0
		}
	}
}

// fileToPipe reads at most as much as the pipe has room for.
func (t *Task) fileToPipe(from *position, q *pipe, n int, nonblock bool) (done int, errno abi.Errno) {
	buf := copyBuffers.Get().(*[copyRoom]byte)
	defer copyBuffers.Put(buf)
	for {
		if errno := q.awaitRoom(t, nonblock); errno != 0 {
			return 0, errno
		}
		if errno := from.d.spliceSource(); errno != 0 {
			return 0, errno
		}
		for limit := min(n, q.free()); done < limit; {
			p := buf[:min(limit-done, copyRoom)]
			got, errno := from.d.file.read(t, from.d, from.off+int64(done), len(p), &bytesDest{p})
			put := q.offer(p[:got])
			done += put
			if put < got {
				break // others were faster; what they left no room for is read again another time
			}
			if errno != 0 || got < len(p) || t.attention.Load()&attInterrupt != 0 {
				return done, errno
			}
		}
		if done > 0 {
			return done, 0
		}
	}
}

// pipeToPipe moves content between pipes of the kernel, or copies it (keep). Packets stay packets.
func (t *Task) pipeToPipe(p, q *pipe, n int, nonblock, keep bool) (int, abi.Errno) {
	for {
		if errno := p.awaitContent(t, nonblock); errno != 0 {
			return 0, errno
		}
		if errno := q.awaitRoom(t, nonblock); errno != 0 {
			return 0, errno
		}
		lockPipes(p, q)
		done, over := 0, false
		full := !p.roomy()
		switch {
		case q.readers == 0, p.held: // looked at again above
		case p.n == 0:
			over = p.writers == 0
		default:
			done = p.moveTo(q, n, keep)
		}
		full = full && p.roomy()
		q.mu.Unlock()
		p.mu.Unlock()
		q.filled(done)
		if done > 0 && !keep {
			p.emptied(full)
		}
		if done > 0 || over {
			return done, 0
		}
	}
}
