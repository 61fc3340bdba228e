package emu

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"pinhole/abi"
)

// maxDescriptors bounds RLIMIT_NOFILE, and with it what a table can make the kernel allocate
// (Linux's fs.nr_open).
const maxDescriptors = 1 << 16

// fdTable is a process's table of descriptors.
//
// Looking a descriptor up takes no lock: the slot is read, the description's count of users is
// raised unless it is zero already, and the slot is read again, since the description may have
// been closed and used again for something else in between. Everything else holds mu.
type fdTable struct {
	slots atomic.Pointer[[]fdSlot] // grows by being replaced; written with mu held

	mu      sync.Mutex
	used    []uint64 // bit set: descriptor taken, perhaps by an open that is still under way
	cloexec []uint64 // bit set: closed by exec
	low     int      // no descriptor below it is free

	// locked is set once a record lock was taken through this table: until then close need not
	// look for any.
	locked atomic.Bool
}

type fdSlot = atomic.Pointer[description]

const fdTableStart = 64

func newFdTable() *fdTable {
	f := &fdTable{}
	f.resize(fdTableStart)
	return f
}

// resize makes room for n descriptors, a multiple of 64 that is not below the present size.
func (f *fdTable) resize(n int) {
	next := make([]fdSlot, n)
	if old := f.slots.Load(); old != nil {
		for i := range *old {
			next[i].Store((*old)[i].Load())
		}
	}
	used, cloexec := make([]uint64, n/64), make([]uint64, n/64)
	copy(used, f.used)
	copy(cloexec, f.cloexec)
	f.used, f.cloexec = used, cloexec
	f.slots.Store(&next)
}

// grow makes room for descriptor fd.
func (f *fdTable) grow(fd int) {
	n := len(*f.slots.Load())
	for n <= fd {
		n *= 2
	}
	if n > len(*f.slots.Load()) {
		f.resize(n)
	}
}

func (f *fdTable) isUsed(fd int) bool { return f.used[fd/64]>>(fd%64)&1 != 0 }

func (f *fdTable) setUsed(fd int, cloexec bool) {
	f.used[fd/64] |= 1 << (fd % 64)
	f.setCloexec(fd, cloexec)
}

func (f *fdTable) setCloexec(fd int, on bool) {
	if on {
		f.cloexec[fd/64] |= 1 << (fd % 64)
	} else {
		f.cloexec[fd/64] &^= 1 << (fd % 64)
	}
}

// clear frees fd. The caller holds mu.
func (f *fdTable) clear(fd int) {
	f.used[fd/64] &^= 1 << (fd % 64)
	f.cloexec[fd/64] &^= 1 << (fd % 64)
	f.low = min(f.low, fd)
}

// get returns what fd is open on, with a reference, or nil.
func (f *fdTable) get(fd int32) *description {
	for {
		slots := *f.slots.Load()
		if uint(fd) >= uint(len(slots)) {
			return nil
		}
		d := slots[fd].Load()
		if d == nil {
			return nil
		}
		if d.tryRef() {
			// In the table of this moment: the one at hand may have been replaced by a larger.
			if (*f.slots.Load())[fd].Load() == d {
				return d
			}
			d.unref()
		}
		// It was closed in between; perhaps the slot holds another one by now.
	}
}

// free returns the lowest free descriptor from lowest on, which may lie behind the table. The caller
// holds mu, or is the only thread that changes the table.
func (f *fdTable) free(lowest int) int {
	from := max(lowest, f.low)
	for w := from / 64; w < len(f.used); w++ {
		free := ^f.used[w]
		if w == from/64 {
			free &= ^uint64(0) << (from % 64)
		}
		if free != 0 {
			return w*64 + bits.TrailingZeros64(free)
		}
	}
	return max(len(f.used)*64, from)
}

// reserveLocked marks the lowest free descriptor from lowest on and below limit as used. The caller holds mu.
func (f *fdTable) reserveLocked(lowest int, limit uint64, cloexec bool) (int32, abi.Errno) {
	fd := f.free(lowest)
	if uint64(fd) >= min(limit, maxDescriptors) {
		return -1, abi.EMFILE
	}
	f.grow(fd)
	f.setUsed(fd, cloexec)
	if lowest <= f.low {
		f.low = fd + 1
	}
	return int32(fd), 0
}

// reserve takes the lowest free descriptor from lowest on and below limit, for install or
// unreserve.
func (f *fdTable) reserve(lowest int, limit uint64, cloexec bool) (int32, abi.Errno) {
	f.mu.Lock()
	fd, errno := f.reserveLocked(lowest, limit, cloexec)
	f.mu.Unlock()
	return fd, errno
}

// install opens a reserved descriptor on d, whose reference it takes.
func (f *fdTable) install(fd int32, d *description) {
	f.mu.Lock()
	(*f.slots.Load())[fd].Store(d)
	f.mu.Unlock()
}

// unreserve gives a reserved descriptor back.
func (f *fdTable) unreserve(fd int32) {
	f.mu.Lock()
	f.clear(int(fd))
	f.mu.Unlock()
}

// add opens the lowest free descriptor on d, whose reference it takes, also when it fails.
func (f *fdTable) add(d *description, lowest int, limit uint64, cloexec bool) (int32, abi.Errno) {
	f.mu.Lock()
	fd, errno := f.reserveLocked(lowest, limit, cloexec)
	if errno == 0 {
		(*f.slots.Load())[fd].Store(d)
	}
	f.mu.Unlock()
	if errno != 0 {
		d.unref()
	}
	return fd, errno
}

// take frees fd and returns what it was open on, or nil. The caller holds mu.
func (f *fdTable) take(fd int) *description {
	slots := *f.slots.Load()
	if uint(fd) >= uint(len(slots)) {
		return nil
	}
	d := slots[fd].Load()
	if d != nil {
		slots[fd].Store(nil)
		f.clear(fd)
	}
	return d
}

// close closes fd.
func (f *fdTable) close(fd int32) abi.Errno {
	f.mu.Lock()
	d := f.take(int(fd))
	f.mu.Unlock()
	if d == nil {
		return abi.EBADF
	}
	f.closed(d)
	return 0
}

// closed does what follows when d has lost a descriptor of this table: the process's record
// locks on the file go, unless it was opened with O_PATH, and so does the descriptor's reference.
func (f *fdTable) closed(d *description) {
	if f.locked.Load() && d.mode&modePath == 0 {
		d.kernel.io.locks.releaseProcess(d, f)
	}
	d.unref()
}

// dupTo opens descriptor to on d, whose reference it takes, in place of what is there.
func (f *fdTable) dupTo(d *description, to int32, cloexec bool) abi.Errno {
	f.mu.Lock()
	f.grow(int(to))
	slot := &(*f.slots.Load())[to]
	old := slot.Load()
	if old == nil && f.isUsed(int(to)) { // an open is about to install there
		f.mu.Unlock()
		d.unref()
		return abi.EBUSY
	}
	slot.Store(d)
	f.setUsed(int(to), cloexec)
	f.mu.Unlock()
	if old != nil {
		f.closed(old)
	}
	return 0
}

// clone returns a table with the same descriptors, for a new process.
func (f *fdTable) clone() *fdTable {
	f.mu.Lock()
	defer f.mu.Unlock()
	slots := *f.slots.Load()
	c := &fdTable{}
	c.resize(len(slots))
	for i := range slots {
		// Those that an open has only reserved stay free in the clone.
		if d := slots[i].Load(); d != nil {
			d.refs.Add(1)
			(*c.slots.Load())[i].Store(d)
			c.setUsed(i, f.cloexec[i/64]>>(i%64)&1 != 0)
		}
	}
	return c
}

// closeOnExec closes the descriptors that are marked so.
func (f *fdTable) closeOnExec() {
	f.closeWhere(0, maxDescriptors-1, func(fd int) bool { return f.cloexec[fd/64]>>(fd%64)&1 != 0 })
}

// closeAll closes every descriptor: the process has ended.
func (f *fdTable) closeAll() {
	f.closeWhere(0, maxDescriptors-1, nil)
}

// closeWhere closes the descriptors from first to last for which sel, called with mu held, says so.
func (f *fdTable) closeWhere(first, last int, sel func(fd int) bool) {
	for fd := first; ; fd++ {
		f.mu.Lock()
		var d *description
		for n := len(*f.slots.Load()); fd < n && fd <= last; fd++ {
			if sel != nil && !sel(fd) {
				continue
			}
			if d = f.take(fd); d != nil {
				break
			}
		}
		f.mu.Unlock()
		if d == nil {
			return
		}
		f.closed(d)
	}
}

// closesOnExec tells whether an open descriptor has FD_CLOEXEC.
func (f *fdTable) closesOnExec(fd int32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int(fd) < len(f.used)*64 && f.cloexec[fd/64]>>(fd%64)&1 != 0
}

// setFlag sets or clears FD_CLOEXEC. EBADF if the descriptor was closed meanwhile.
func (f *fdTable) setFlag(fd int32, on bool) abi.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.isUsed(int(fd)) {
		return abi.EBADF
	}
	f.setCloexec(int(fd), on)
	return 0
}

// list returns the open descriptors from first on, at most n.
func (f *fdTable) list(first int32, n int) []int32 {
	var fds []int32
	slots := *f.slots.Load()
	for fd := max(int(first), 0); fd < len(slots) && len(fds) < n; fd++ {
		if slots[fd].Load() != nil {
			fds = append(fds, int32(fd))
		}
	}
	return fds
}
