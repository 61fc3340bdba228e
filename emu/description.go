package emu

import (
	"sync"
	"sync/atomic"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// maxDescriptions bounds the open files of all processes together (Linux's fs.file-max).
const maxDescriptions = 1 << 17

// mode says what may be done with a description, for as long as it exists.
type mode uint8

const (
	modeRead  mode = 1 << iota // opened for reading
	modeWrite                  // opened for writing
	modeSeek                   // has an offset: seek, pread, pwrite; its reads and writes exclude each other
	modePath                   // opened with O_PATH: only a place in the tree
)

// description is an open file description, as open(2) calls it: what descriptors refer to, and
// what they share after dup and fork.
//
// Lock order: description.mu before every lock of the file below it.
type description struct {
	refs   atomic.Int64 // descriptors, and calls under way
	mode   mode
	kernel *Kernel
	file   openFile
	dentry *vfs.Dentry // where it was opened; held
	node   vfs.Node    // the dentry's, alive as long as that

	// flags are those of open(2) that F_GETFL shows: access mode, O_APPEND, O_NONBLOCK, ...
	flags atomic.Uint32

	mu  sync.Mutex // guards pos, and is held for as long as a read or write at it takes
	pos int64

	errMu sync.Mutex // guards seen
	seen  uint32     // errors of writing behind that were told: see vfs.ErrorSampler

	watchMu sync.Mutex            // guards the list of watches; see epoll for the order of locks
	watches atomic.Pointer[watch] // event queues that watch it, each holding no reference

	flocked atomic.Bool // flock(2) or an open file description lock was used on it
	// F_SETOWN and F_SETSIG are remembered, but SIGIO is never sent.
	owner, sig atomic.Int32
}

// openFile is what one kind of file does for the calls. Offsets mean something only to kinds that
// are modeSeek. n is at most maxCount. Whether the description was opened for the access has
// been checked. A result may be partial together with an error: the caller lets the guest see
// the part, if there is any, else the error.
type openFile interface {
	read(t *Task, d *description, off int64, n int, dst vfs.Dest) (int, abi.Errno)
	// write also returns the offset behind what it wrote.
	write(t *Task, d *description, off int64, n int, src vfs.Source) (int, int64, abi.Errno)

	// ready returns the POLL* events that hold now, as t sees it; queue is notified of each new
	// one (see waitQueue). A nil queue says that they never change.
	ready(t *Task, d *description) uint32
	queue(t *Task) *waitQueue

	// ioctl does requests that are not the same for all files; ENOTTY for those it does not know.
	ioctl(t *Task, d *description, cmd uint32, arg uint64) (uint64, abi.Errno)

	// release is called once, when the last reference to d is gone.
	release(d *description)
}

// newDescription returns a description with one reference. It takes over the reference to dentry,
// also when it fails: ENFILE.
func (k *Kernel) newDescription(dentry *vfs.Dentry, file openFile, m mode, flags uint32) (*description, abi.Errno) {
	if k.io.open.Add(1) > maxDescriptions {
		k.io.open.Add(-1)
		dentry.Unref()
		return nil, abi.ENFILE
	}
	d := descriptions.Get().(*description)
	d.mode, d.kernel, d.file, d.dentry, d.node = m, k, file, dentry, dentry.Node()
	d.pos = 0
	d.flags.Store(flags)
	d.refs.Store(1) // from here on somebody with an old pointer may take a reference, for a moment
	return d, 0
}

// descriptions are those that nobody has open: they are used again, which is much cheaper than
// to have them collected. See fdTable.get for those who still look at one.
var descriptions = sync.Pool{New: func() any { return new(description) }}

// tryRef takes a reference unless there is none left.
func (d *description) tryRef() bool {
	for {
		n := d.refs.Load()
		if n == 0 {
			return false
		}
		if d.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// unref gives a reference back.
func (d *description) unref() {
	if d.refs.Add(-1) == 0 {
		d.destroy()
	}
}

func (d *description) destroy() {
	if d.watches.Load() != nil {
		d.unwatch()
	}
	if d.flocked.Load() {
		d.kernel.io.locks.releaseDescription(d)
		d.flocked.Store(false)
	}
	if d.owner.Load()|d.sig.Load() != 0 {
		d.owner.Store(0)
		d.sig.Store(0)
	}
	d.file.release(d)
	d.dentry.Unref()
	d.kernel.io.open.Add(-1)
	d.file, d.dentry, d.node = nil, nil, nil
	descriptions.Put(d)
}

func (d *description) has(flag uint32) bool { return d.flags.Load()&flag != 0 }

// kind returns the S_IFMT bits of what is open.
func (d *description) kind() uint32 { return d.node.Mode() & abi.S_IFMT }

// accessMode translates O_ACCMODE to what a description allows.
func accessMode(flags uint32) mode {
	switch flags & abi.O_ACCMODE {
	case abi.O_RDONLY:
		return modeRead
	case abi.O_WRONLY:
		return modeWrite
	case abi.O_RDWR:
		return modeRead | modeWrite
	}
	return 0
}

// pathFile is a description opened with O_PATH. No call reaches it.
type pathFile struct{}

func (pathFile) read(*Task, *description, int64, int, vfs.Dest) (int, abi.Errno) {
	return 0, abi.EBADF
}

func (pathFile) write(*Task, *description, int64, int, vfs.Source) (int, int64, abi.Errno) {
	return 0, 0, abi.EBADF
}

func (pathFile) ready(*Task, *description) uint32 { return 0 }
func (pathFile) queue(*Task) *waitQueue           { return nil }

func (pathFile) ioctl(*Task, *description, uint32, uint64) (uint64, abi.Errno) {
	return 0, abi.EBADF
}

func (pathFile) release(*description) {}
