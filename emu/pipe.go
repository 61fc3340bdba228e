package emu

import (
	"sync"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

const (
	pipeCapacity    = 64 << 10 // of a new pipe
	pipeSmall       = 8 << 10  // of a new pipe when there are too many
	pipeMaxCapacity = 1 << 20  // that F_SETPIPE_SZ gives (Linux's fs.pipe-max-size)
	pipeAllMax      = 64 << 20 // of all pipes together, before new ones are small and none grows; at twice that there are no new ones
	pipeFirst       = 4 << 10  // first allocation of a buffer; it doubles as content needs it
)

// pipe is a bounded queue of bytes between descriptions that write and descriptions that read:
// what pipe(2) makes, and what stands behind a FIFO.
type pipe struct {
	mu   sync.Mutex
	buf  []byte // a ring; its length is a power of two
	head int    // index of the first byte
	n    int    // bytes in it
	cap  int    // n never exceeds it

	packets packetList // which of the content came in packets (O_DIRECT)

	serial uint64 // of the pipes, in the order in which they were made
	held   bool   // somebody takes the content (see heldSource): other readers wait

	// Descriptions that read and that write; each wants the other kind to exist. The opened
	// ones count all there have ever been, for FIFOs.
	readers, writers             int
	readersOpened, writersOpened uint64

	// Waiters: who wants to read or to write, who waits in poll for anything, and who has
	// opened a FIFO and waits for the other side.
	forData, forRoom, forAny, forPeer waitQueue
}

// chargePipe counts capacity against what all pipes may have together.
func (k *Kernel) chargePipe(n int) { k.io.pipeBytes.Add(int64(n)) }

// newPipe returns a pipe that nobody has open, or nil: there are too many.
func (k *Kernel) newPipe() *pipe {
	p := &pipe{cap: pipeCapacity, serial: k.io.lastPipe.Add(1)}
	switch all := k.io.pipeBytes.Load(); {
	case all+pipeSmall > 2*pipeAllMax:
		return nil
	case all+pipeCapacity > pipeAllMax:
		p.cap = pipeSmall
	}
	k.chargePipe(p.cap)
	return p
}

// discard is called when nobody has the pipe open any more.
func (p *pipe) discard(k *Kernel) {
	k.chargePipe(-p.cap)
}

func (p *pipe) capacity() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cap
}

// setCapacity is F_SETPIPE_SZ: the next power of two from a page on.
func (p *pipe) setCapacity(k *Kernel, want uint64, root bool) (uint64, abi.Errno) {
	size := uint64(uint32(want))
	if size > 1<<31 {
		return 0, abi.EINVAL
	}
	n := pipeFirst
	for uint64(n) < size {
		n *= 2
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > p.cap && (n > pipeMaxCapacity || k.io.pipeBytes.Load()+int64(n-p.cap) > pipeAllMax) {
		return 0, abi.EPERM
	}
	if n < p.n || n/pageSize < p.packets.count() {
		return 0, abi.EBUSY
	}
	k.chargePipe(n - p.cap)
	p.cap = n
	if len(p.buf) > n {
		p.resize(n)
	}
	p.forRoom.wakeAll()
	p.forAny.notify(abi.POLLOUT | abi.POLLWRNORM)
	return uint64(n), 0
}

// resize gives the content a buffer of n bytes, n at least what is in it. The caller holds mu.
func (p *pipe) resize(n int) {
	buf := make([]byte, n)
	for at := 0; at < p.n; {
		at += copy(buf[at:], p.run(at))
	}
	p.buf, p.head = buf, 0
}

// run returns the content from offset at as far as it lies in one piece.
func (p *pipe) run(at int) []byte {
	from := (p.head + at) & (len(p.buf) - 1)
	return p.buf[from:min(len(p.buf), from+p.n-at)]
}

// room returns free space of at most n bytes behind the content, as far as it lies in one piece.
func (p *pipe) room(n int) []byte {
	if p.n+n > len(p.buf) {
		size := max(len(p.buf), pipeFirst)
		for size < p.n+n {
			size *= 2
		}
		if size > len(p.buf) {
			p.resize(size)
		}
	}
	from := (p.head + p.n) & (len(p.buf) - 1)
	return p.buf[from:min(len(p.buf), from+n)]
}

// take moves at most n bytes to dst, in pieces: one that dst does not take whole stays in the
// pipe. The caller holds mu.
func (p *pipe) take(n int, dst vfs.Dest) (int, abi.Errno) {
	done := 0
	n, lost := p.packets.limit(n)
	for done < n && p.n > 0 {
		piece := p.run(0)
		piece = piece[:min(len(piece), n-done, abi.PIPE_BUF)]
		if _, errno := dst.Put(piece); errno != 0 {
			return done, errno
		}
		p.drop(len(piece))
		done += len(piece)
	}
	if lost > 0 && done == n {
		p.drop(lost)
	}
	if p.n == 0 {
		p.head = 0 // the next message lies where this one was, in the cache
	}
	return done, 0
}

// drop takes n bytes off the content's beginning. The caller holds mu.
func (p *pipe) drop(n int) {
	p.head = (p.head + n) & (len(p.buf) - 1)
	p.n -= n
	p.packets.drop(n)
}

// put moves n bytes from src, for which there is room. The caller holds mu. whole: what an error cuts
// short does not go into the pipe at all.
func (p *pipe) put(n int, src vfs.Source, whole bool) (int, abi.Errno) {
	done, before := 0, p.n
	for done < n {
		m, errno := src.Get(p.room(n - done))
		p.n += m
		done += m
		if errno != 0 {
			if whole {
				p.n = before
				done = 0
			}
			return done, errno
		}
	}
	return done, 0
}

// read is read(2) on a pipe.
func (p *pipe) read(t *Task, d *description, n int, dst vfs.Dest) (int, abi.Errno) {
	if n == 0 {
		return 0, 0
	}
	if done, errno := p.tryRead(d, n, dst); errno != errWait {
		return done, errno
	}
	w := &t.waiter
	w.task = t
	for woken := false; ; woken = true {
		p.forData.add(w)
		done, errno := p.tryRead(d, n, dst)
		if errno == errWait {
			if t.wait(forever) == 0 {
				continue
			}
			errno = errRestart
		}
		if !p.forData.remove(w) {
			woken = true
		}
		if woken && p.forData.count.Load() > 0 && p.ready(modeRead, 0) != 0 {
			p.forData.wakeOne() // the wake was for one reader, and there is something left
		}
		return done, errno
	}
}

// errWait says that a call has to wait. It never reaches a guest.
const errWait abi.Errno = 513

// tryRead reads what there is; errWait when nothing is and somebody may still write.
func (p *pipe) tryRead(d *description, n int, dst vfs.Dest) (int, abi.Errno) {
	p.mu.Lock()
	if p.held {
		p.mu.Unlock()
		return 0, errWait
	}
	if p.n == 0 {
		open := p.writers > 0
		p.mu.Unlock()
		switch {
		case !open:
			return 0, 0
		case d.has(abi.O_NONBLOCK):
			return 0, abi.EAGAIN
		}
		return 0, errWait
	}
	full := !p.roomy()
	done, errno := p.take(n, dst)
	full = full && p.roomy()
	p.mu.Unlock()
	if done > 0 {
		p.forRoom.wakeAll()
		if full {
			p.forAny.notify(abi.POLLOUT | abi.POLLWRNORM)
		}
	}
	return done, errno
}

// write is write(2) on a pipe: up to PIPE_BUF bytes go in together.
func (p *pipe) write(t *Task, d *description, n int, src vfs.Source) (int, abi.Errno) {
	if n == 0 {
		return 0, 0
	}
	done, errno := p.tryWrite(d, n, n, src)
	if errno == errWait {
		w := &t.waiter
		w.task = t
		for errno == errWait {
			p.forRoom.add(w)
			var m int
			m, errno = p.tryWrite(d, n-done, n, src)
			done += m
			if errno == errWait && t.wait(forever) != 0 {
				errno = errRestart
			}
		}
		p.forRoom.remove(w)
	}
	if errno == abi.EPIPE {
		t.signal(abi.SIGPIPE)
	}
	return done, errno
}

// tryWrite writes what there is room for of the left bytes of a write of n; errWait if something
// remains and somebody may still read.
func (p *pipe) tryWrite(d *description, left, n int, src vfs.Source) (int, abi.Errno) {
	p.mu.Lock()
	if p.readers == 0 {
		p.mu.Unlock()
		return 0, abi.EPIPE
	}
	room := p.cap - p.n
	atomic := n <= abi.PIPE_BUF
	done, errno := 0, abi.Errno(0)
	switch {
	case d.has(abi.O_DIRECT):
		done, errno = p.putPackets(left, src)
	case room > 0 && (room >= left || !atomic):
		done, errno = p.put(min(room, left), src, atomic)
	}
	p.mu.Unlock()
	if done > 0 {
		p.forData.wakeOne()
		p.forAny.notify(abi.POLLIN | abi.POLLRDNORM)
	}
	if errno == 0 && done < left {
		if d.has(abi.O_NONBLOCK) {
			return done, abi.EAGAIN
		}
		return done, errWait
	}
	return done, errno
}

// roomy tells whether a write of up to PIPE_BUF bytes would not have to wait. The caller holds mu.
func (p *pipe) roomy() bool { return p.cap-p.n >= abi.PIPE_BUF && p.packets.count() < p.cap/pageSize }

// ready returns the POLL* events for a description that was opened for m. A reader that has not
// seen any writer yet (seen: those before it) has not been hung up on.
func (p *pipe) ready(m mode, seen uint64) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var events uint32
	if m&modeRead != 0 {
		if p.n > 0 {
			events |= abi.POLLIN | abi.POLLRDNORM
		}
		if p.writers == 0 && p.writersOpened != seen {
			events |= abi.POLLHUP
		}
	}
	if m&modeWrite != 0 {
		if p.roomy() {
			events |= abi.POLLOUT | abi.POLLWRNORM
		}
		if p.readers == 0 {
			events |= abi.POLLERR
		}
	}
	return events
}

// attach counts a description that is opened for m.
func (p *pipe) attach(m mode) {
	if m&modeRead != 0 {
		p.readers++
		p.readersOpened++
	}
	if m&modeWrite != 0 {
		p.writers++
		p.writersOpened++
	}
}

// detach is the end of a description that was opened for m.
func (p *pipe) detach(m mode) {
	p.mu.Lock()
	if m&modeRead != 0 {
		p.readers--
	}
	if m&modeWrite != 0 {
		p.writers--
	}
	if p.readers == 0 && p.writers == 0 {
		p.buf, p.head, p.n, p.packets = nil, 0, 0, packetList{}
	}
	alone := (p.readers == 0) != (p.writers == 0)
	p.mu.Unlock()
	if alone {
		p.forData.wakeAll()
		p.forRoom.wakeAll()
		p.forAny.wakeAll()
	}
}
