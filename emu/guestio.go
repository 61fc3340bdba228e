package emu

import (
	"unsafe"

	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/fs/vfs"
)

// maxCount is how much one read or write moves at most (Linux's MAX_RW_COUNT).
const maxCount = 0x7ffff000

// guestEnd is behind the last address that a guest of Linux x86-64 can have: what lies beyond
// is EFAULT before anything else is looked at.
const guestEnd = 1<<47 - 4096

// taskIO is what file calls keep from one call to the next, so that the common ones do not
// allocate. It belongs to the task's goroutine.
type taskIO struct {
	dst     guestDest
	src     guestSource
	iov     []abi.Iovec
	attr    vfs.Attr
	scratch [256]byte      // for structs on their way from or to the guest
	paths   *[2]pathBuffer // made by the first call with a path
	waiter  waiter         // of a call that waits for one thing
	polls   []pollEntry
	list    listing
	record  [abi.DirentHeader + abi.NAME_MAX + 8]byte
	emit    func(*vfs.DirEntry) bool // emitEntry, made once

	fsCounted bool // see lockFS
}

type pathBuffer [abi.PATH_MAX]byte

// inGuest tells whether [a, a+n) can be guest memory at all.
func inGuest(a abi.Addr, n uint64) bool {
	return uint64(a) <= guestEnd && n <= guestEnd-uint64(a)
}

// guestDest writes a file's content to guest memory, piece by piece. It is vfs.Dest.
type guestDest struct {
	addr abi.Addr
	left uint64      // room at addr
	rest []abi.Iovec // what follows

	// held says that locks of a file are held while Put is called. Memory that is not there at the
	// moment but could be had, by way of a file perhaps, then only makes it stop.
	held, stopped bool
}

// Put implements vfs.Dest: EFAULT where the guest's memory ends, EIO where p's does.
func (g *guestDest) Put(p []byte) (int, abi.Errno) {
	done := 0
	for done < len(p) {
		if g.left == 0 {
			if len(g.rest) == 0 {
				return done, abi.EFAULT
			}
			g.addr, g.left, g.rest = g.rest[0].Base, g.rest[0].Len, g.rest[1:]
			continue
		}
		b := p[done : done+int(min(uint64(len(p)-done), g.left))]
		n, stopped := guest.HeldCopyOut(g.addr, b)
		if stopped == guest.Guest {
			if g.held {
				g.stopped = true
			} else {
				n, stopped = guest.TryCopyOut(g.addr, b)
			}
		}
		g.addr += abi.Addr(n)
		g.left -= uint64(n)
		done += n
		if stopped != guest.Neither {
			return done, copyError(stopped)
		}
	}
	return done, 0
}

// guestSource reads what is to be written from guest memory. It is vfs.Source.
type guestSource struct {
	addr abi.Addr
	left uint64
	rest []abi.Iovec

	held, stopped bool // as of guestDest
	plain         bool // not on behalf of a privileged process
}

// Unprivileged implements vfs.Unprivileged.
func (g *guestSource) Unprivileged() bool { return g.plain }

// Get implements vfs.Source: EFAULT where the guest's memory ends, EIO where p's does.
func (g *guestSource) Get(p []byte) (int, abi.Errno) {
	done := 0
	for done < len(p) {
		if g.left == 0 {
			if len(g.rest) == 0 {
				return done, abi.EFAULT
			}
			g.addr, g.left, g.rest = g.rest[0].Base, g.rest[0].Len, g.rest[1:]
			continue
		}
		b := p[done : done+int(min(uint64(len(p)-done), g.left))]
		n, stopped := guest.HeldCopyIn(b, g.addr)
		if stopped == guest.Guest {
			if g.held {
				g.stopped = true
			} else {
				n, stopped = guest.TryCopyIn(b, g.addr)
			}
		}
		g.addr += abi.Addr(n)
		g.left -= uint64(n)
		done += n
		if stopped != guest.Neither {
			return done, copyError(stopped)
		}
	}
	return done, 0
}

func copyError(stopped guest.Side) abi.Errno {
	if stopped == guest.Kernel {
		return abi.EIO
	}
	return abi.EFAULT
}

// path copies the path at a from the guest. The string is only valid until the task's next call
// of path: it lies in a buffer that is used again. EFAULT, ENAMETOOLONG.
func (t *Task) path(a abi.Addr) (string, abi.Errno) { return t.pathIn(0, a) }

// secondPath is path for calls that have two.
func (t *Task) secondPath(a abi.Addr) (string, abi.Errno) { return t.pathIn(1, a) }

func (t *Task) pathIn(i int, a abi.Addr) (string, abi.Errno) {
	if t.paths == nil {
		t.paths = new([2]pathBuffer)
	}
	b := t.paths[i][:]
	n, ok := guest.CopyString(b, a)
	if !ok {
		if n == len(b) {
			return "", abi.ENAMETOOLONG
		}
		return "", abi.EFAULT
	}
	return unsafe.String(&b[0], n), 0
}

// stringBytes returns the bytes of s, which must not be written.
func stringBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// somePath is path for calls to which an empty one is ENOENT.
func (t *Task) somePath(a abi.Addr) (string, abi.Errno) {
	s, errno := t.path(a)
	if errno == 0 && s == "" {
		return "", abi.ENOENT
	}
	return s, errno
}

// putStruct writes the first n bytes of scratch to the guest.
func (t *Task) putStruct(a abi.Addr, n int) abi.Errno {
	if guest.CopyOut(a, t.scratch[:n]) < n {
		return abi.EFAULT
	}
	return 0
}

// getStruct reads n bytes from the guest to the front of scratch.
func (t *Task) getStruct(a abi.Addr, n int) abi.Errno {
	if guest.CopyIn(t.scratch[:n], a) < n {
		return abi.EFAULT
	}
	return 0
}

// vector copies an iovec array from the guest to t.iov, cut so that the total is at most
// maxCount, and returns the total. EINVAL, EFAULT.
func (t *Task) vector(a abi.Addr, count int32) (uint64, abi.Errno) {
	if count < 0 || count > abi.IOV_MAX {
		return 0, abi.EINVAL
	}
	t.iov = t.iov[:0]
	if cap(t.iov) < int(count) {
		t.iov = make([]abi.Iovec, 0, max(int(count), 16))
	}
	total := uint64(0)
	const chunk = len(t.scratch) / abi.IovecSize
	for i := 0; i < int(count); i += chunk {
		n := min(chunk, int(count)-i)
		if errno := t.getStruct(a+abi.Addr(i*abi.IovecSize), n*abi.IovecSize); errno != 0 {
			return 0, errno
		}
		for j := range n {
			var v abi.Iovec
			v.Decode(t.scratch[j*abi.IovecSize:])
			if int64(v.Len) < 0 {
				return 0, abi.EINVAL
			}
			if !inGuest(v.Base, v.Len) {
				return 0, abi.EFAULT
			}
			v.Len = min(v.Len, maxCount-total)
			total += v.Len
			t.iov = append(t.iov, v)
		}
	}
	return total, 0
}

// bytesDest collects content in kernel memory. It is vfs.Dest.
type bytesDest struct{ p []byte }

func (b *bytesDest) Put(p []byte) (int, abi.Errno) {
	n := guest.CopyHost(b.p[:min(len(p), len(b.p))], p)
	b.p = b.p[n:]
	if n < len(p) {
		return n, abi.EIO
	}
	return n, 0
}

// bytesSource gives content from kernel memory. It is vfs.Source.
type bytesSource struct {
	p     []byte
	plain bool // not on behalf of a privileged process
}

// Unprivileged implements vfs.Unprivileged.
func (b *bytesSource) Unprivileged() bool { return b.plain }

func (b *bytesSource) Get(p []byte) (int, abi.Errno) {
	n := copy(p, b.p)
	b.p = b.p[n:]
	if n < len(p) {
		return n, abi.EIO
	}
	return n, 0
}
