package cc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// line is a command line as far as it matters here.
type line struct {
	args    []string // for the compiler: without our own options
	links   bool     // a program is linked
	output  string   // its name
	allow   bool     // --allow-syscall
	native  bool     // --native
	libs    bool     // libraries are linked that were not named
	version bool     // --version
	help    bool     // --help, and nothing else
}

// valued are the options that take the next argument as their value.
var valued = map[string]bool{
	"-o": true, "-x": true, "-I": true, "-D": true, "-U": true, "-L": true, "-l": true, "-include": true,
	"-imacros": true, "-isystem": true, "-iquote": true, "-idirafter": true, "-iprefix": true,
	"-iwithprefix": true, "-iwithprefixbefore": true, "-isysroot": true, "-imultilib": true, "-MF": true, "-MT": true,
	"-MQ": true, "-T": true, "-Xlinker": true, "-Xassembler": true, "-Xpreprocessor": true, "-u": true,
	"-z": true, "-e": true, "-aux-info": true, "--param": true, "-A": true, "-G": true, "-b": true, "-V": true,
	"-dumpbase": true, "-dumpbase-ext": true, "-dumpdir": true, "-wrapper": true, "-specs": true,
	"--output": true, "--entry": true, "--include": true,
}

// halting are the options with which nothing is linked.
var halting = map[string]bool{
	"-c": true, "-S": true, "-E": true, "-M": true, "-MM": true, "-fsyntax-only": true, "-###": true, "-r": true,
	"--compile": true, "--assemble": true, "--preprocess": true, "--dependencies": true,
	"--user-dependencies": true,
}

// refused are the options that cannot be had, with why.
var refused = map[string]string{
	"-shared":  "programs are static: the kernel loads no shared libraries; build a static one (configure --disable-shared)",
	"--shared": "programs are static: the kernel loads no shared libraries; build a static one (configure --disable-shared)",
	"-m32":     "only 64-bit programs run on Pinhole's kernel",
	"-mx32":    "only 64-bit programs run on Pinhole's kernel",
	"-pg":      "the C library has no profiler; use perf on the sandbox",
}

// parse reads a command line.
func parse(args []string) (*line, error) {
	l := &line{output: "a.out", libs: true}
	inputs, halted := false, false
	if len(args) == 0 {
		return nil, errors.New("no input files (pinhole cc --help)")
	}
	if len(args) == 1 && args[0] == "--help" {
		return &line{help: true}, nil
	}
	seen, err := expand(args, 0)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(seen); i++ {
		a := seen[i]
		switch {
		case refused[a] != "":
			return nil, fmt.Errorf("%s: %s", a, refused[a])
		case halting[a]:
			halted = true
		case a == "--allow-syscall":
			l.allow = true
		case a == "-nostdlib" || a == "-nodefaultlibs":
			l.libs = false
		case a == "--native":
			l.native = true
		case a == "--version":
			l.version, halted = true, true
		case strings.HasPrefix(a, "-print-"), strings.HasPrefix(a, "-dump"), strings.HasPrefix(a, "--print-"):
			halted = true
		case valued[a]:
			if i++; i < len(seen) {
				if a == "-o" || a == "--output" {
					l.output = seen[i]
				} else if a == "-l" {
					inputs = true
				}
			}
		case strings.HasPrefix(a, "-o"):
			l.output = a[2:]
		case strings.HasPrefix(a, "--output="):
			l.output = a[len("--output="):]
		case a == "-" || strings.HasPrefix(a, "-l") || !strings.HasPrefix(a, "-"):
			inputs = true
		}
	}
	for _, a := range args {
		if a != "--allow-syscall" && a != "--native" {
			l.args = append(l.args, a)
		}
	}
	l.links = inputs && !halted
	if base := filepath.Base(l.output); base == "conftest" || strings.HasPrefix(base, "conftest.") {
		l.native = true
	}
	l.native = l.native && l.links
	return l, nil
}

// expand puts the content of response files (@file) in the place of their names. As the compiler
// does, it leaves a name alone that is no file's.
func expand(args []string, depth int) ([]string, error) {
	var out []string
	for _, a := range args {
		if len(a) < 2 || a[0] != '@' {
			out = append(out, a)
			continue
		}
		text, err := os.ReadFile(a[1:])
		if err != nil {
			out = append(out, a)
			continue
		}
		if depth == 16 {
			return nil, fmt.Errorf("%s: response files name each other too deeply", a)
		}
		more, err := expand(split(string(text)), depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// split parts a response file into arguments: by white space, which quotes and a backslash keep.
func split(text string) []string {
	var out []string
	var arg strings.Builder
	in, quote := false, byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text):
			i++
			arg.WriteByte(text[i])
			in = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			arg.WriteByte(c)
		case c == '\'' || c == '"':
			quote, in = c, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f':
			if in {
				out = append(out, arg.String())
				arg.Reset()
				in = false
			}
		default:
			arg.WriteByte(c)
			in = true
		}
	}
	if in {
		out = append(out, arg.String())
	}
	return out
}
