package emu

import (
	"encoding/binary"
	"strconv"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// pipeEnd is a description's side of a pipe.
type pipeEnd struct {
	pipe *pipe
	node *pipeNode // of pipe(2); nil for a FIFO of a file system
	seen uint64    // writers that had been there before a FIFO was opened for reading
}

func (e *pipeEnd) read(t *Task, d *description, _ int64, n int, dst vfs.Dest) (int, abi.Errno) {
	return e.pipe.read(t, d, n, dst)
}

func (e *pipeEnd) write(t *Task, d *description, _ int64, n int, src vfs.Source) (int, int64, abi.Errno) {
	done, errno := e.pipe.write(t, d, n, src)
	return done, 0, errno
}

func (e *pipeEnd) ready(_ *Task, d *description) uint32 { return e.pipe.ready(d.mode, e.seen) }
func (e *pipeEnd) queue(*Task) *waitQueue               { return &e.pipe.forAny }

func (e *pipeEnd) ioctl(t *Task, d *description, cmd uint32, arg uint64) (uint64, abi.Errno) {
	if cmd != abi.FIONREAD {
		return 0, abi.ENOTTY
	}
	e.pipe.mu.Lock()
	n := e.pipe.n
	e.pipe.mu.Unlock()
	return 0, t.putInt(abi.Addr(arg), int32(n))
}

func (e *pipeEnd) release(d *description) {
	e.pipe.detach(d.mode)
	if e.node == nil {
		d.kernel.io.fifos.put(d.kernel, d.node)
	}
}

// pipeNode is what fstat tells of a pipe made by pipe(2), and what a link of /proc/PID/fd leads to.
type pipeNode struct {
	anonNode
	pipe *pipe
}

func (p *pipeNode) reopen(t *Task, dentry *vfs.Dentry, m mode, flags uint32) (*description, abi.Errno) {
	return t.openPipe(p.pipe, p, dentry, m, flags)
}

// pipeCreate is pipe2(2).
func (t *Task) pipeCreate(fds abi.Addr, flags uint32) (uint64, abi.Errno) {
	if flags&^(abi.O_CLOEXEC|abi.O_NONBLOCK|abi.O_DIRECT) != 0 {
		return 0, abi.EINVAL
	}
	files, limit, cloexec := t.proc.files, t.maxFD(), flags&abi.O_CLOEXEC != 0
	r, errno := files.reserve(0, limit, cloexec)
	if errno != 0 {
		return 0, errno
	}
	w, errno := files.reserve(0, limit, cloexec)
	if errno != 0 {
		files.unreserve(r)
		return 0, errno
	}
	reader, writer, errno := t.newPipeEnds(flags & (abi.O_NONBLOCK | abi.O_DIRECT))
	if errno != 0 {
		files.unreserve(r)
		files.unreserve(w)
		return 0, errno
	}
	binary.LittleEndian.PutUint32(t.scratch[:], uint32(r))
	binary.LittleEndian.PutUint32(t.scratch[4:], uint32(w))
	if errno := t.putStruct(fds, 8); errno != 0 {
		files.unreserve(r)
		files.unreserve(w)
		reader.unref()
		writer.unref()
		return 0, errno
	}
	files.install(r, reader)
	files.install(w, writer)
	return 0, 0
}

// newPipeEnds makes a pipe and the descriptions of its two ends. O_DIRECT is the writing end's alone.
func (t *Task) newPipeEnds(flags uint32) (r, w *description, _ abi.Errno) {
	k := t.kernel
	p := k.newPipe()
	if p == nil {
		return nil, nil, abi.ENFILE
	}
	node := &pipeNode{pipe: p}
	t.initNode(&node.anonNode, abi.S_IFIFO|0o600)
	node.freed = func() { p.discard(k) }
	dentry := k.ns.NewAnonymous(node, "pipe:["+strconv.FormatUint(node.ino, 10)+"]", anonDev)
	dentry.Ref()
	p.attach(modeRead | modeWrite)
	end := &pipeEnd{pipe: p, node: node}
	r, errno := k.newDescription(dentry, end, modeRead, abi.O_RDONLY|flags&^abi.O_DIRECT)
	if errno != 0 {
		dentry.Unref()
		return nil, nil, errno
	}
	w, errno = k.newDescription(dentry, end, modeWrite, abi.O_WRONLY|flags)
	if errno != 0 {
		r.unref()
		return nil, nil, errno
	}
	return r, w, 0
}
