package emu

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

// alwaysReady are the events of files on which nothing ever waits.
const alwaysReady = abi.POLLIN | abi.POLLOUT | abi.POLLRDNORM | abi.POLLWRNORM

// regularFile is open content: a regular file of some file system.
type regularFile struct{}

func (regularFile) read(t *Task, d *description, off int64, n int, dst vfs.Dest) (int, abi.Errno) {
	if t.kernel.shares.n.Load() != 0 {
		t.kernel.beforeRead(d.node, off, n)
	}
	if d.has(abi.O_DIRECT) && !aligned(d, off, n, dst) {
		return 0, abi.EINVAL
	}
	t.dst.held = true
	done, errno := d.node.Read(off, n, dst)
	if t.dst.stopped {
		return t.resumeRead(d, off, done, n)
	}
	return done, errno
}

func (regularFile) write(t *Task, d *description, off int64, n int, src vfs.Source) (int, int64, abi.Errno) {
	if d.has(abi.O_DIRECT) && !aligned(d, off, n, src) {
		return 0, off, abi.EINVAL
	}
	t.src.held, t.src.plain = true, t.proc.fs().UID != 0
	done, end, errno := d.node.Write(off, n, src)
	if t.src.stopped {
		done, end, errno = t.resumeWrite(d, off, end, done, n)
	}
	if t.kernel.shares.n.Load() != 0 {
		t.kernel.afterWrite(d.node, end, done)
	}
	return done, end, errno
}

func (regularFile) ready(*Task, *description) uint32 { return alwaysReady }
func (regularFile) queue(*Task) *waitQueue           { return nil }

func (regularFile) ioctl(t *Task, d *description, cmd uint32, arg uint64) (uint64, abi.Errno) {
	if cmd != abi.FIONREAD {
		return 0, t.contentIoctl(d, cmd, abi.Addr(arg))
	}
	if errno := d.node.Attr(&t.attr); errno != 0 {
		return 0, errno
	}
	d.mu.Lock()
	left := t.attr.Size - d.pos
	d.mu.Unlock()
	return 0, t.putInt(abi.Addr(arg), int32(left))
}

func (regularFile) release(*description) {}

// directory is an open directory: something to walk from, to list, and to sync.
type directory struct{}

func (directory) read(*Task, *description, int64, int, vfs.Dest) (int, abi.Errno) {
	return 0, abi.EISDIR
}

func (directory) write(*Task, *description, int64, int, vfs.Source) (int, int64, abi.Errno) {
	return 0, 0, abi.EISDIR
}

func (directory) ready(*Task, *description) uint32 { return alwaysReady }
func (directory) queue(*Task) *waitQueue           { return nil }

func (directory) ioctl(t *Task, d *description, cmd uint32, arg uint64) (uint64, abi.Errno) {
	return 0, t.contentIoctl(d, cmd, abi.Addr(arg))
}

func (directory) release(*description) {}
