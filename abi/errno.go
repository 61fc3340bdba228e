// Package abi is Pinhole's system call ABI: numbers, types, layouts and errors, generated
// from pinhole.abi.
package abi

import (
	"io/fs"
	"strconv"
)

// Addr is an address in a guest's memory. It is never turned into a Go pointer: package
// emu/guest copies from and to it.
type Addr uint64

// Errno is an error as a guest sees it: a Linux error number, 0 for success.
// As an error it is never 0: a function that returns error turns 0 into nil.
type Errno uint16

// MaxErrno is the largest number that a call can return negated (Linux's MAX_ERRNO); results
// from -MaxErrno to -1 are errors, everything else is a value.
const MaxErrno = 4095

// String returns the number's name as C spells it ("ENOENT").
func (e Errno) String() string {
	if e == 0 {
		return "OK"
	}
	if int(e) < len(errnos) && errnos[e].name != "" {
		return errnos[e].name
	}
	return "errno " + strconv.Itoa(int(e))
}

// Error returns the number's text ("no such file or directory").
func (e Errno) Error() string {
	if e == 0 {
		return "success"
	}
	if int(e) < len(errnos) && errnos[e].text != "" {
		return errnos[e].text
	}
	return "unknown error " + strconv.Itoa(int(e))
}

// Is makes errors.Is know the portable errors of io/fs.
func (e Errno) Is(target error) bool {
	switch target {
	case fs.ErrPermission:
		return e == EACCES || e == EPERM
	case fs.ErrExist:
		return e == EEXIST || e == ENOTEMPTY
	case fs.ErrNotExist:
		return e == ENOENT
	case fs.ErrInvalid:
		return e == EINVAL
	}
	return false
}

// Result is what the call puts in the guest's result register: the value, or the error negated.
func Result(v uint64, e Errno) int64 {
	if e != 0 {
		return -int64(e)
	}
	return int64(v)
}

// Split takes a result apart again. A result outside the range of errors is a value.
func Split(r int64) (uint64, Errno) {
	if r < 0 && r >= -MaxErrno {
		return 0, Errno(-r)
	}
	return uint64(r), 0
}
