package golang

import (
	"slices"
	"strings"
)

// switches are the flags of go build, run, test and install that take no value (go help build,
// testflag). All others do, behind "=" or as the next argument.
var switches = strings.Fields(`a n v x race msan asan work linkshared modcacherw trimpath cover json i c
	failfast short benchmem fullpath artifacts help h`)

// argument is a flag of the go command's, as it was given.
type argument struct {
	name  string // without dashes
	value string
	given bool     // there is a value
	words []string // as it stands on the command line
}

// split takes the arguments of a go command apart: flags, and what follows the last of them. As go does,
// it takes flags of go test also behind packages.
func split(command string, args []string) (flags []argument, rest []string) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		name, ok := strings.CutPrefix(a, "-")
		name = strings.TrimPrefix(name, "-")
		switch {
		case a == "--" || name == "args":
			return flags, append(rest, args[i:]...)
		case !ok || name == "":
			if command != "test" {
				return flags, append(rest, args[i:]...)
			}
			rest = append(rest, a)
			continue
		}
		f := argument{name: name, words: args[i : i+1]}
		if n, v, ok := strings.Cut(name, "="); ok {
			f.name, f.value, f.given = n, v, true
		} else if !slices.Contains(switches, strings.TrimPrefix(name, "test.")) && i+1 < len(args) {
			f.value, f.given, f.words = args[i+1], true, args[i:i+2]
			i++
		}
		flags = append(flags, f)
	}
	return flags, rest
}

// on tells whether a switch is switched on.
func (f argument) on() bool { return !f.given || f.value == "true" || f.value == "1" || f.value == "t" }

// fields takes a list apart as the go command does in -toolexec, -exec and GOFLAGS: at spaces, unless they
// are in single or double quotes, which begin and end a field. An unended quote is not ok.
func fields(s string) (list []string, ok bool) {
	for {
		s = strings.TrimLeft(s, " \t\r\n")
		if s == "" {
			return list, true
		}
		if q := s[0]; q == '"' || q == '\'' {
			f, after, ok := strings.Cut(s[1:], string(q))
			if !ok {
				return nil, false
			}
			list, s = append(list, f), after
			continue
		}
		f, n := s, len(s)
		if i := strings.IndexAny(s, " \t\r\n"); i >= 0 {
			f, n = s[:i], i
		}
		list, s = append(list, f), s[n:]
	}
}

// quote makes a field of s. A string with both quotes cannot be one.
func quote(s string) (string, bool) {
	switch {
	case s != "" && !strings.ContainsAny(s, " \t\r\n'\""):
		return s, true
	case !strings.Contains(s, "'"):
		return "'" + s + "'", true
	case !strings.Contains(s, `"`):
		return `"` + s + `"`, true
	}
	return "", false
}
