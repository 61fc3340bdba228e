package vfs

import "pinhole/abi"

// Memory is a [Dest] and [Source] over a byte slice: content goes to, or comes from, its front,
// and it becomes shorter by that. Past its end is EFAULT.
type Memory []byte

// Put implements Dest.
func (m *Memory) Put(p []byte) (int, abi.Errno) {
	n := copy(*m, p)
	*m = (*m)[n:]
	if n < len(p) {
		return n, abi.EFAULT
	}
	return n, 0
}

// Get implements Source.
func (m *Memory) Get(p []byte) (int, abi.Errno) {
	n := copy(p, *m)
	*m = (*m)[n:]
	if n < len(p) {
		return n, abi.EFAULT
	}
	return n, 0
}
