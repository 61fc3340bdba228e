package emu

import "pinhole/abi"

// What splice.go needs of a pipe.

// lockPipes takes the locks of two pipes, in the order in which the pipes were made: nobody else holds two.
func lockPipes(p, q *pipe) {
	if p.serial > q.serial {
		p, q = q, p
	}
	p.mu.Lock()
	q.mu.Lock()
}

// filled wakes those who wait for content, when n bytes have come.
func (p *pipe) filled(n int) {
	if n > 0 {
		p.forData.wakeOne()
		p.forAny.notify(abi.POLLIN | abi.POLLRDNORM)
	}
}

// emptied wakes those who wait for room, when some content has gone; roomy: the pipe has become writable.
func (p *pipe) emptied(roomy bool) {
	p.forRoom.wakeAll()
	if roomy {
		p.forAny.notify(abi.POLLOUT | abi.POLLWRNORM)
	}
}

// free returns how many bytes there is room for.
func (p *pipe) free() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cap - p.n
}

// offer puts as much of b into the pipe as there is room for; nothing if nobody reads it.
func (p *pipe) offer(b []byte) int {
	p.mu.Lock()
	n := 0
	if p.readers > 0 {
		n, _ = p.put(min(len(b), p.cap-p.n), &bytesSource{p: b}, false)
	}
	p.mu.Unlock()
	p.filled(n)
	return n
}

// await waits in q until ready, which is called with the pipe's lock held, returns anything but errWait.
// A wake of q may have been for one waiter only (wakeOne), so it is passed on at the end: this one may not take what it
// was for. It is not passed on by one that goes on waiting: what keeps that from the content, a hold or
// none being left, keeps all others from it, and two would wake each other for ever.
func (p *pipe) await(t *Task, q *waitQueue, ready func() abi.Errno) abi.Errno {
	look := func() abi.Errno {
		p.mu.Lock()
		defer p.mu.Unlock()
		return ready()
	}
	errno := look()
	if errno != errWait {
		return errno
	}
	w := &t.waiter
	w.task = t
	for woken := false; ; woken = true {
		q.add(w)
		if errno = look(); errno == errWait {
			if t.wait(forever) == 0 {
				continue
			}
			errno = errRestart
		}
		if !q.remove(w) || woken {
			q.wakeOne()
		}
		return errno
	}
}

// awaitContent waits until there is content that nobody else holds, or nobody who would write any.
func (p *pipe) awaitContent(t *Task, nonblock bool) abi.Errno {
	return p.await(t, &p.forData, func() abi.Errno { return p.content(nonblock) })
}

func (p *pipe) content(nonblock bool) abi.Errno {
	switch {
	case p.held:
		return errWait
	case p.n > 0 || p.writers == 0:
		return 0
	case nonblock:
		return abi.EAGAIN
	}
	return errWait
}

// awaitRoom waits until the pipe is one that poll calls writable: any packet has room then. EPIPE, and SIGPIPE, if
// nobody reads the pipe.
func (p *pipe) awaitRoom(t *Task, nonblock bool) abi.Errno {
	errno := p.await(t, &p.forRoom, func() abi.Errno {
		switch {
		case p.readers == 0:
			return abi.EPIPE
		case p.roomy():
			return 0
		case nonblock:
			return abi.EAGAIN
		}
		return errWait
	})
	if errno == abi.EPIPE {
		t.signal(abi.SIGPIPE)
	}
	return errno
}

// moveTo moves up to n bytes to q, or copies them (keep), as far as there is room; a packet, or the part of it
// that n covers, goes whole and is one there. The caller holds the locks of both.
func (p *pipe) moveTo(q *pipe, n int, keep bool) (done int) {
	n = min(n, p.n)
	for at := 0; done < n; {
		size, packed := p.packets.piece(at, n-done)
		room := q.cap - q.n
		if q.packets.count() >= q.cap/pageSize || packed && room < size || room == 0 {
			break
		}
		if !packed {
			size = min(size, room)
		}
		before := q.n
		q.put(size, &pipeSource{p, at}, true)
		if packed {
			q.packets.add(before, size)
		}
		if keep {
			at += size
		} else {
			p.drop(size)
		}
		done += size
	}
	if p.n == 0 {
		p.head = 0
	}
	return done
}

// pipeSource gives a pipe's content from an offset on. It is vfs.Source.
type pipeSource struct {
	p  *pipe
	at int
}

func (s *pipeSource) Get(b []byte) (int, abi.Errno) {
	done := 0
	for done < len(b) {
		n := copy(b[done:], s.p.run(s.at))
		s.at += n
		done += n
	}
	return done, 0
}

// pipeHold is a pipe as heldSource.
type pipeHold struct{ *pipe }

func (p pipeHold) hold(t *Task, _ int, nonblock bool) abi.Errno {
	return p.await(t, &p.forData, func() abi.Errno {
		errno := p.content(nonblock)
		p.held = p.held || errno == 0
		return errno
	})
}

func (p pipeHold) peek(b []byte) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, _ := (&pipeSource{p.pipe, 0}).Get(b[:min(len(b), p.n)])
	return n
}

func (p pipeHold) drop(n int) {
	if n == 0 {
		return
	}
	p.mu.Lock()
	full := !p.roomy()
	p.pipe.drop(n)
	full = full && p.roomy()
	p.mu.Unlock()
	p.emptied(full)
}

func (p pipeHold) letGo() {
	p.mu.Lock()
	p.held = false
	p.mu.Unlock()
	p.forData.wakeAll()
}
