package emu

import (
	"encoding/binary"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// pollEntry is one descriptor of a poll or select under way.
type pollEntry struct {
	waiter waiter
	d      *description // held; nil: none, or not open
	queue  *waitQueue   // of d.file; nil: what is ready never changes
	want   uint32       // events asked for, and those nobody has to ask for
	got    uint32       // events that hold
}

// alwaysReported are the events of poll(2) that need not be asked for.
const alwaysReported = abi.POLLERR | abi.POLLHUP

// keptPolls is how many entries a task keeps for its next call.
const keptPolls = 64

// pollEntries returns n entries for a call: all zero, and no others are in use.
func (t *Task) pollEntries(n int) []pollEntry {
	if n > cap(t.polls) {
		if n > keptPolls {
			return make([]pollEntry, n)
		}
		t.polls = make([]pollEntry, min(max(2*n, 4), keptPolls))
	}
	return t.polls[:n]
}

// watch fills in an entry for descriptor fd; false: it is not open.
func (t *Task) watch(e *pollEntry, fd int32, want uint32) bool {
	d, errno := t.file(fd)
	if errno != 0 {
		return false
	}
	e.d, e.queue, e.want = d, d.file.queue(t), want|alwaysReported
	e.waiter.task = t
	return true
}

// unwatch undoes watch for all entries, and leaves them zero.
func unwatch(entries []pollEntry) {
	for i := range entries {
		e := &entries[i]
		if e.d == nil {
			continue
		}
		if e.queue != nil {
			e.queue.remove(&e.waiter)
		}
		e.d.unref()
		*e = pollEntry{}
	}
}

// pollUntil waits until an event that is wanted holds, or the deadline has come, and leaves in
// the entries what holds. ready are those that need no waiting for. It returns how many entries
// have something, or EINTR.
func (t *Task) pollUntil(entries []pollEntry, ready int, deadline int64) (int, abi.Errno) {
	look := func(wait bool) int {
		n := ready
		for i := range entries {
			e := &entries[i]
			if e.d == nil {
				continue
			}
			if wait && e.queue != nil {
				// Before the look, so that what comes after it wakes the task.
				e.queue.add(&e.waiter)
			}
			if e.got = e.d.file.ready(t, e.d) & e.want; e.got != 0 {
				n++
				wait = false
			}
		}
		return n
	}
	if n := look(false); n > 0 {
		return n, 0
	}
	for {
		if n := look(true); n > 0 {
			return n, 0
		}
		switch t.wait(deadline) {
		case abi.ETIMEDOUT:
			return look(false), 0
		case abi.EINTR:
			if n := look(false); n > 0 {
				return n, 0
			}
			return 0, abi.EINTR
		}
	}
}

// deadlineIn returns the deadline that is n nanoseconds from now.
func (t *Task) deadlineIn(n int64) int64 {
	now := t.kernel.monotonic()
	if n > forever-now {
		return forever
	}
	return now + n
}

// pollMillis is poll(2).
func (t *Task) pollMillis(fds abi.Addr, n uint64, ms int32) (uint64, abi.Errno) {
	deadline := forever
	if ms >= 0 {
		deadline = t.deadlineIn(int64(ms) * 1e6)
	}
	return t.poll(fds, n, deadline)
}

// pollWait is ppoll(2). As the call of Linux, and unlike C libraries, it writes back what is left of
// the timeout.
func (t *Task) pollWait(fds abi.Addr, n uint64, timeout, mask abi.Addr, maskSize uint64) (uint64, abi.Errno) {
	deadline, errno := t.timeoutAt(timeout)
	if errno != 0 {
		return 0, errno
	}
	if mask != 0 {
		if errno := t.pollMask(mask, maskSize); errno != 0 {
			return 0, errno
		}
	}
	ready, errno := t.poll(fds, n, deadline)
	if mask != 0 && errno != abi.EINTR {
		t.restoreMask()
	}
	t.putLeft(timeout, deadline)
	return ready, errno
}

// timeoutAt reads a timeout, relative to now, from the guest; a null pointer is forever.
func (t *Task) timeoutAt(timeout abi.Addr) (int64, abi.Errno) {
	if timeout == 0 {
		return forever, 0
	}
	return t.deadlineAt(timeout, abi.CLOCK_MONOTONIC, false)
}

// putLeft writes what is left until the deadline to a timeout; that it cannot be written is no error.
func (t *Task) putLeft(timeout abi.Addr, deadline int64) {
	if timeout == 0 || deadline == forever {
		return
	}
	ts := abi.NsecToTimespec(max(deadline-t.kernel.monotonic(), 0))
	ts.Encode(t.scratch[:])
	t.putStruct(timeout, abi.TimespecSize)
}

// pollMask reads a signal mask from the guest and makes it the thread's until restoreMask, or, if
// the call ends with EINTR, until the handlers have run.
func (t *Task) pollMask(mask abi.Addr, size uint64) abi.Errno {
	if size != abi.SigsetSize {
		return abi.EINVAL
	}
	if errno := t.getStruct(mask, abi.SigsetSize); errno != 0 {
		return errno
	}
	t.maskDuring(abi.DecodeSigset(t.scratch[:]))
	return 0
}

// restoreMask puts the mask back that pollMask replaced: a signal that it blocks has not come
// through, unless it has ended the call.
func (t *Task) restoreMask() {
	s := &t.proc.sig
	s.mu.Lock()
	if t.useOld {
		t.useOld = false
		t.setMask(t.oldmask)
	}
	s.mu.Unlock()
}

// poll is what poll and ppoll have in common.
func (t *Task) poll(fds abi.Addr, n uint64, deadline int64) (uint64, abi.Errno) {
	n = uint64(uint32(n)) // an unsigned int in Linux
	if n > t.maxFD() {
		return 0, abi.EINVAL
	}
	entries := t.pollEntries(int(n))
	defer unwatch(entries)
	ready := 0
	errno := t.eachPollfd(fds, int(n), func(i int, b []byte) bool {
		fd := int32(binary.LittleEndian.Uint32(b))
		if fd >= 0 && !t.watch(&entries[i], fd, uint32(binary.LittleEndian.Uint16(b[4:]))) {
			ready++ // POLLNVAL
		}
		return false
	})
	if errno != 0 {
		return 0, errno
	}
	count, errno := t.pollUntil(entries, ready, deadline)
	if errno != 0 {
		return 0, errno
	}
	// Only revents is written: what else lies there may have been changed meanwhile.
	errno = t.eachPollfd(fds, int(n), func(i int, b []byte) bool {
		got := uint16(entries[i].got)
		if entries[i].d == nil && int32(binary.LittleEndian.Uint32(b)) >= 0 {
			got = abi.POLLNVAL
		}
		changed := binary.LittleEndian.Uint16(b[6:]) != got
		binary.LittleEndian.PutUint16(b[6:], got)
		return changed
	})
	return uint64(count), errno
}

// eachPollfd copies an array of pollfds from the guest, some at a time, calls f for each, and copies
// those back for which f says so. EFAULT.
func (t *Task) eachPollfd(fds abi.Addr, n int, f func(i int, b []byte) bool) abi.Errno {
	const chunk = len(t.scratch) / abi.PollfdSize
	for i := 0; i < n; i += chunk {
		m := min(chunk, n-i)
		at := fds + abi.Addr(i*abi.PollfdSize)
		if errno := t.getStruct(at, m*abi.PollfdSize); errno != 0 {
			return errno
		}
		for j := range m {
			b := t.scratch[j*abi.PollfdSize:][:abi.PollfdSize]
			if !f(i+j, b) {
				continue
			}
			if guest.CopyOut(at+abi.Addr(j*abi.PollfdSize+6), b[6:]) < 2 {
				return abi.EFAULT
			}
		}
	}
	return 0
}
