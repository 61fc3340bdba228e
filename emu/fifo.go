package emu

import (
	"sync"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// fifoTable finds the pipe behind each FIFO of a file system that somebody has open, or is
// about to open. A FIFO is known by its node, of which there is one object for as long as
// anybody holds it: who is in the table does.
type fifoTable struct {
	mu    sync.Mutex
	pipes map[vfs.Node]*fifo
}

type fifo struct {
	pipe  *pipe
	users int
}

// get returns the pipe of a FIFO for one more user; nil: there are too many pipes.
func (f *fifoTable) get(k *Kernel, node vfs.Node) *pipe {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.pipes[node]
	if e == nil {
		if f.pipes == nil {
			f.pipes = make(map[vfs.Node]*fifo)
		}
		p := k.newPipe()
		if p == nil {
			return nil
		}
		e = &fifo{pipe: p}
		f.pipes[node] = e
	}
	e.users++
	return e.pipe
}

// put is the end of a user.
func (f *fifoTable) put(k *Kernel, node vfs.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.pipes[node]
	if e.users--; e.users == 0 {
		delete(f.pipes, node)
		e.pipe.discard(k)
	}
}

// openFIFO opens a FIFO of a file system. It takes over the reference to dentry.
func (t *Task) openFIFO(dentry *vfs.Dentry, m mode, flags uint32) (*description, abi.Errno) {
	p := t.kernel.io.fifos.get(t.kernel, dentry.Node())
	if p == nil {
		dentry.Unref()
		return nil, abi.ENFILE
	}
	return t.openPipe(p, nil, dentry, m, flags)
}

// openPipe opens a pipe as fifo(7) says: a reader waits for a writer and a writer for a reader,
// unless the flags have O_NONBLOCK: then a writer without readers fails with ENXIO. node is that of a
// pipe made by pipe(2), nil for one of fifoTable. It takes over the reference to dentry.
func (t *Task) openPipe(p *pipe, node *pipeNode, dentry *vfs.Dentry, m mode, flags uint32) (*description, abi.Errno) {
	end := &pipeEnd{pipe: p, node: node}
	errno := p.open(t, end, m, flags&abi.O_NONBLOCK != 0)
	if errno != 0 {
		if node == nil {
			t.kernel.io.fifos.put(t.kernel, dentry.Node())
		}
		dentry.Unref()
		return nil, errno
	}
	held := dentry.Node() // the dentry may go with a failure
	d, errno := t.kernel.newDescription(dentry, end, m, flags)
	if errno != 0 {
		p.detach(m)
		if node == nil {
			t.kernel.io.fifos.put(t.kernel, held)
		}
	}
	return d, errno
}

// open attaches a description for m, and waits for the other side where it has to.
func (p *pipe) open(t *Task, end *pipeEnd, m mode, nonblock bool) abi.Errno {
	p.mu.Lock()
	var opened *uint64 // of the other side: open returns when it changes
	switch m {
	case modeRead:
		if p.writers == 0 {
			if nonblock {
				end.seen = p.writersOpened
			} else {
				opened = &p.writersOpened
			}
		}
	case modeWrite:
		if p.readers == 0 {
			if nonblock {
				p.mu.Unlock()
				return abi.ENXIO
			}
			opened = &p.readersOpened
		}
	case modeRead | modeWrite:
	default:
		p.mu.Unlock()
		return abi.EINVAL
	}
	var before uint64
	if opened != nil {
		before = *opened
	}
	p.attach(m)
	p.mu.Unlock()
	p.forPeer.wakeAll()
	// That one side is there again is no event, but what was hung up on is not any more.
	p.forAny.notifyAll(abi.POLLIN | abi.POLLRDNORM | abi.POLLHUP)
	if opened == nil {
		return 0
	}

	w := &t.waiter
	w.task = t
	for {
		p.forPeer.add(w)
		p.mu.Lock()
		came := *opened != before
		p.mu.Unlock()
		if came {
			p.forPeer.remove(w)
			return 0
		}
		if t.wait(forever) != 0 {
			p.forPeer.remove(w)
			p.detach(m)
			return errRestart
		}
	}
}
