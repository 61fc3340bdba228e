package emu

import (
	"strings"

	"pinhole/abi"
	"pinhole/emu/guest"
)

const (
	argMax    = 128 << 10 // bytes of one argument with its NUL (MAX_ARG_STRLEN)
	argsLeast = 128 << 10 // bytes that arguments and environment may have in any case (ARG_MAX),
	argsMost  = 6 << 20   // and at most, whatever the limit of the stack
)

// argList reads a list of strings from the guest, which ends with a null pointer; its own address may be 0.
// left is how many bytes all strings may have, and is lowered. E2BIG, EFAULT.
func argList(list abi.Addr, left *int) (args []string, _ abi.Errno) {
	if list == 0 {
		return nil, 0
	}
	var chunk [4096]byte
	var b [512]byte
	for {
		got := guest.CopyIn(b[:], list) / 8
		if got == 0 {
			return nil, abi.EFAULT
		}
		for i := range got {
			a := abi.Addr(le.Uint64(b[8*i:]))
			if a == 0 {
				return args, 0
			}
			if *left -= 8; *left < 0 {
				return nil, abi.E2BIG
			}
			s, errno := argString(a, chunk[:], left)
			if errno != 0 {
				return nil, errno
			}
			args = append(args, s)
		}
		list += abi.Addr(8 * got)
	}
}

// argString reads one string of such a list by way of chunk.
func argString(a abi.Addr, chunk []byte, left *int) (string, abi.Errno) {
	var long strings.Builder
	for {
		n, ok := guest.CopyString(chunk, a)
		if !ok && n < len(chunk) {
			return "", abi.EFAULT
		}
		size := long.Len() + n
		if ok {
			size++
		}
		if size > argMax || size > *left {
			return "", abi.E2BIG
		}
		if ok {
			*left -= size
			if long.Len() == 0 {
				return string(chunk[:n]), 0
			}
			long.Write(chunk[:n])
			return long.String(), 0
		}
		long.Write(chunk[:n])
		a += abi.Addr(n)
	}
}

// argsRoom is how many bytes the arguments and the environment of a program may have, pointers included.
func (p *Process) argsRoom() int {
	return int(max(min(p.limit(abi.RLIMIT_STACK)/4, argsMost), argsLeast))
}
