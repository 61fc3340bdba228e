package crash

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// op is one operation of a workload. In text it is a word and its arguments, separated by
// spaces; a script is operations separated by semicolons. Paths begin at the root of the file
// system, without a slash; "." is the root. @NAME is an open file.
//
//	creat PATH              mkdir PATH              mkfifo PATH            mknod PATH
//	symlink TARGET PATH     link PATH NEW           unlink PATH            rmdir PATH
//	rename PATH NEW [noreplace|exchange]            truncate PATH SIZE
//	write PATH OFF LEN      append PATH LEN         mmap PATH OFF LEN      (stores through a mapping)
//	falloc PATH OFF LEN [keep]      punch PATH OFF LEN      zero PATH OFF LEN [keep]
//	setxattr PATH NAME LEN  rmxattr PATH NAME       chmod PATH MODE        chown PATH UID GID
//	utimes PATH SECONDS     open PATH @H            tmpfile DIR @H         close @H
//	fsync PATH              fdatasync PATH          sync
//
// Numbers may end in k or m. A path may be a handle wherever it names an existing file.
type op struct {
	name string
	path string // of what is there
	to   string // of what is made, or a handle, or the name of an attribute
	off  int64  // offset, size, mode, owner or seconds
	n    int64  // length or group
	flag string
}

// shapes says which fields the arguments of an operation fill: p path, t to, o off, m off in
// octal, n, f flag (may be missing).
var shapes = map[string]string{
	"creat": "t", "mkdir": "t", "mkfifo": "t", "mknod": "t",
	"symlink": "pt", "link": "pt", "unlink": "p", "rmdir": "p",
	"rename": "ptf", "truncate": "po",
	"write": "pon", "append": "pn", "mmap": "pon",
	"falloc": "ponf", "punch": "pon", "zero": "ponf",
	"setxattr": "ptn", "rmxattr": "pt", "chmod": "pm", "chown": "pon",
	"utimes": "po", "open": "pt", "tmpfile": "pt", "close": "p",
	"fsync": "p", "fdatasync": "p", "sync": "",
}

func (o op) String() string {
	out := []string{o.name}
	for _, c := range shapes[o.name] {
		switch c {
		case 'p':
			out = append(out, o.path)
		case 't':
			out = append(out, o.to)
		case 'o':
			out = append(out, number(o.off))
		case 'm':
			out = append(out, strconv.FormatInt(o.off, 8))
		case 'n':
			out = append(out, number(o.n))
		case 'f':
			if o.flag != "" {
				out = append(out, o.flag)
			}
		}
	}
	return strings.Join(out, " ")
}

func number(n int64) string {
	switch {
	case n != 0 && n%(1<<20) == 0:
		return strconv.FormatInt(n>>20, 10) + "m"
	case n != 0 && n%1024 == 0:
		return strconv.FormatInt(n>>10, 10) + "k"
	}
	return strconv.FormatInt(n, 10)
}

func parseNumber(s string, base int) (int64, error) {
	shift := 0
	if t, ok := strings.CutSuffix(s, "k"); ok {
		s, shift = t, 10
	} else if t, ok := strings.CutSuffix(s, "m"); ok {
		s, shift = t, 20
	}
	n, err := strconv.ParseInt(s, base, 64)
	return n << shift, err
}

// parseScript reads operations. Mistakes are the test's own, and end it.
func parseScript(text string) []op {
	var out []op
	for part := range strings.SplitSeq(text, ";") {
		words := strings.Fields(part)
		if len(words) == 0 {
			continue
		}
		o := op{name: words[0]}
		shape, ok := shapes[o.name]
		args := words[1:]
		if !ok || len(args) > len(shape) || len(args) < len(strings.TrimSuffix(shape, "f")) {
			panic(fmt.Sprintf("operation %q: no such thing, or wrong arguments", part))
		}
		for i, a := range args {
			var err error
			switch shape[i] {
			case 'p':
				o.path = a
			case 't':
				o.to = a
			case 'o':
				o.off, err = parseNumber(a, 10)
			case 'm':
				o.off, err = parseNumber(a, 8)
			case 'n':
				o.n, err = parseNumber(a, 10)
			case 'f':
				o.flag = a
			}
			if err != nil {
				panic(fmt.Sprintf("operation %q: %v", part, err))
			}
		}
		out = append(out, o)
	}
	return out
}

func scriptText(ops []op) string {
	var out []string
	for _, o := range ops {
		out = append(out, o.String())
	}
	return strings.Join(out, "; ")
}

// persists tells whether an operation makes others durable.
func (o op) persists() bool { return slices.Contains([]string{"fsync", "fdatasync", "sync"}, o.name) }
