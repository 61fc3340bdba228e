package spec

import (
	"strconv"
	"strings"
)

// LinuxCall is a row of a table of Linux's calls.
type LinuxCall struct {
	Number int
	Name   string
	Legacy bool // newer architectures do without it
}

// ParseLinux reads a table of Linux's calls: a number, a name, and perhaps "legacy" on each line,
// numbers ascending, "#" for comments.
func ParseLinux(name string, text []byte) ([]LinuxCall, error) {
	var out []LinuxCall
	seen := map[string]bool{}
	for i, l := range strings.Split(string(text), "\n") {
		fail := func(msg string) error { return &Error{File: name, Pos: Pos{i + 1, 1}, Msg: msg} }
		f := strings.Fields(l)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) < 2 || len(f) > 3 || len(f) == 3 && f[2] != "legacy" {
			return nil, fail(`expected "NUMBER NAME [legacy]"`)
		}
		n, err := strconv.ParseUint(f[0], 10, 16)
		if err != nil {
			return nil, fail("bad number " + strconv.Quote(f[0]))
		}
		if len(out) > 0 && int(n) <= out[len(out)-1].Number {
			return nil, fail("numbers must ascend")
		}
		if seen[f[1]] {
			return nil, fail("name " + f[1] + " is there twice")
		}
		seen[f[1]] = true
		out = append(out, LinuxCall{Number: int(n), Name: f[1], Legacy: len(f) == 3})
	}
	return out, nil
}
