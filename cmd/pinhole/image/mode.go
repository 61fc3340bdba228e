package image

import (
	"fmt"
	"strconv"
	"strings"

	"pinhole/abi"
)

// modeChange is what chmod does to the mode of a file.
type modeChange func(mode uint32) uint32

// parseMode reads a mode in octal, or changes as of chmod(1): "u+x,go-w", "a=rX". Without who, all are meant:
// there is no umask here.
func parseMode(text string) (modeChange, error) {
	bad := fmt.Errorf("%q is not a mode; write 755, or u+x,go-w", text)
	if n, err := strconv.ParseUint(text, 8, 32); err == nil {
		if n > 0o7777 {
			return nil, bad
		}
		return func(uint32) uint32 { return uint32(n) }, nil
	}
	var all []modeChange
	for clause := range strings.SplitSeq(text, ",") {
		ops := strings.IndexAny(clause, "+-=")
		if ops < 0 {
			return nil, bad
		}
		who := uint32(0)
		for _, c := range clause[:ops] {
			bits, ok := map[rune]uint32{'u': 0o4700, 'g': 0o2070, 'o': 0o0007, 'a': 0o7777}[c]
			if !ok {
				return nil, bad
			}
			who |= bits
		}
		if ops == 0 {
			who = 0o7777
		}
		for rest := clause[ops:]; rest != ""; {
			op := rest[0]
			end := strings.IndexAny(rest[1:], "+-=")
			perms := rest[1:]
			rest = ""
			if end >= 0 {
				perms, rest = perms[:end], perms[end:]
			}
			c, err := modeClause(who, op, perms)
			if err != nil {
				return nil, bad
			}
			all = append(all, c)
		}
	}
	return func(mode uint32) uint32 {
		for _, c := range all {
			mode = c(mode)
		}
		return mode & 0o7777
	}, nil
}

// modeClause is one change: of the bits who by op.
func modeClause(who uint32, op byte, perms string) (modeChange, error) {
	var bits uint32
	x, copied := false, uint32(0)
	for _, c := range perms {
		switch c {
		case 'r':
			bits |= 0o444
		case 'w':
			bits |= 0o222
		case 'x':
			bits |= 0o111
		case 'X':
			x = true
		case 's':
			bits |= abi.S_ISUID | abi.S_ISGID
		case 't':
			bits |= abi.S_ISVTX
		case 'u', 'g', 'o':
			if len(perms) > 1 {
				return nil, fmt.Errorf("mode")
			}
			copied = map[rune]uint32{'u': 6, 'g': 3, 'o': 0}[c] + 1
		default:
			return nil, fmt.Errorf("mode")
		}
	}
	return func(mode uint32) uint32 {
		set := bits
		if x && (mode&0o111 != 0 || mode&abi.S_IFMT == abi.S_IFDIR) {
			set |= 0o111
		}
		if copied > 0 {
			set = mode >> (copied - 1) & 7 * 0o111
		}
		mask := who
		set &= mask
		switch op {
		case '+':
			return mode | set
		case '-':
			return mode &^ set
		}
		if mode&abi.S_IFMT == abi.S_IFDIR {
			// As chmod(1): = leaves these to a directory unless they are named.
			mask &^= (abi.S_ISUID | abi.S_ISGID) &^ set
		}
		return mode&^mask | set
	}, nil
}
