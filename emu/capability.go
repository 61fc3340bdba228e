package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
)

// A sandbox has no capabilities(7): all sets of a thread are empty, and so is the bounding set. What they allow
// on Linux, the effective user 0 may do as far as it exists here.

// capHeader reads the header of capget(2) and capset(2): the thread's number, and how long a set's data are. It
// writes the version that is known if it is given another.
func capHeader(header abi.Addr) (tid int32, size int, errno abi.Errno) {
	version, ok := guest.Load32(header)
	if !ok {
		return 0, 0, abi.EFAULT
	}
	switch version {
	case abi.LINUX_CAPABILITY_VERSION_1:
		size = 3 * 4 // effective, permitted, inheritable
	case abi.LINUX_CAPABILITY_VERSION_2, abi.LINUX_CAPABILITY_VERSION_3:
		size = 2 * 3 * 4
	default:
		if !guest.Store32(header, abi.LINUX_CAPABILITY_VERSION_3) {
			return 0, 0, abi.EFAULT
		}
		return 0, 0, abi.EINVAL
	}
	id, ok := guest.Load32(header + 4)
	if !ok {
		return 0, 0, abi.EFAULT
	}
	return int32(id), size, 0
}

// credCapabilities answers cred_capabilities (capget(2)).
func (t *Task) credCapabilities(header, data abi.Addr) (uint64, abi.Errno) {
	tid, size, errno := capHeader(header)
	switch {
	case data == 0 && (errno == 0 || errno == abi.EINVAL):
		return 0, 0 // to ask for the version
	case errno != 0:
		return 0, errno
	case tid < 0:
		return 0, abi.EINVAL
	case tid != 0 && t.kernel.task(tid) == nil:
		return 0, abi.ESRCH
	case guest.Zero(data, uint64(size)) < uint64(size):
		return 0, abi.EFAULT
	}
	return 0, 0
}

// credSetCapabilities answers cred_set_capabilities (capset(2)).
func (t *Task) credSetCapabilities(header, data abi.Addr) (uint64, abi.Errno) {
	tid, size, errno := capHeader(header)
	if errno != 0 {
		return 0, errno
	}
	if tid != 0 && tid != t.tid {
		return 0, abi.EPERM
	}
	var sets [2 * 3 * 4]byte
	if guest.CopyIn(sets[:size], data) < size {
		return 0, abi.EFAULT
	}
	for i := 0; i < size; i += 4 {
		bits := le.Uint32(sets[i:])
		if i >= 3*4 {
			bits &= 1<<(abi.CAP_LAST_CAP+1-32) - 1 // Linux ignores those that are not
		}
		if bits != 0 {
			return 0, abi.EPERM
		}
	}
	return 0, 0
}

// controlCaps answers the operations of prctl(2) that are about capabilities. What takes some away that are
// not there succeeds, for those who may.
func (t *Task) controlCaps(op int32, a, b, c, d uint64) (uint64, abi.Errno) {
	switch op {
	case abi.PR_GET_KEEPCAPS:
		return bit(t.keepCaps), 0
	case abi.PR_SET_KEEPCAPS:
		if a > 1 {
			return 0, abi.EINVAL
		}
		t.keepCaps = a == 1
	case abi.PR_GET_SECUREBITS:
		return bit(t.keepCaps) * abi.SECBIT_KEEP_CAPS, 0
	case abi.PR_SET_SECUREBITS:
		return 0, abi.EPERM
	case abi.PR_CAPBSET_READ:
		if a > abi.CAP_LAST_CAP {
			return 0, abi.EINVAL
		}
	case abi.PR_CAPBSET_DROP:
		if t.proc.uid() != 0 {
			return 0, abi.EPERM
		}
		if a > abi.CAP_LAST_CAP {
			return 0, abi.EINVAL
		}
	case abi.PR_CAP_AMBIENT:
		switch {
		case a == abi.PR_CAP_AMBIENT_CLEAR_ALL && b|c|d == 0:
		case c|d != 0 || b > abi.CAP_LAST_CAP || a == 0 || a > abi.PR_CAP_AMBIENT_LOWER:
			return 0, abi.EINVAL
		case a == abi.PR_CAP_AMBIENT_RAISE:
			return 0, abi.EPERM
		}
	}
	return 0, 0
}
