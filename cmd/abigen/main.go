// Abigen makes from abi/pinhole.abi everything that follows from it: constants and tables in Go,
// the kernel's dispatch, the C header, the C library's table of calls, and the reference page.
//
// It is run by "go generate ./abi", from any folder of the module.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"pinhole/abi/spec"
)

func main() {
	check := flag.Bool("check", false, "write nothing; fail if a generated file is not up to date")
	partial := flag.Bool("partial", false, "answer calls whose handler is not in package emu yet by ENOSYS, and list them")
	flag.Parse()
	root, err := moduleRoot()
	if err == nil {
		err = run(root, *check, *partial)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "abigen:", err)
		os.Exit(1)
	}
}

// moduleRoot returns the nearest folder upwards that holds go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod in this folder or above: run it inside the module")
		}
		dir = up
	}
}

// input is what the files are made from.
type input struct {
	*spec.File
	linux   []spec.LinuxCall
	mapping map[string][]mapped // by Linux name, in order of the text
	missing map[string]bool     // calls to leave out of the dispatch, for -partial
}

// mapped is a mapping together with the call that it belongs to.
type mapped struct {
	call *spec.Call
	spec.Mapping
}

// outputs are the generated files, by path from the module's root.
var outputs = []struct {
	path string
	make func(*input) ([]byte, error)
}{
	{"abi/zcalls.go", goCalls},
	{"abi/zlinux.go", goLinux},
	{"abi/reference.md", reference},
	{"emu/zdispatch.go", goDispatch},
	{"shim/include/pinhole.h", cHeader},
	{"shim/libc/overlay/arch/x86_64/bits/syscall.h.in", muslCalls},
	{"shim/libc/native/zcalls.h", nativeCalls},
}

func run(root string, check, partial bool) error {
	in, err := load(root)
	if err != nil {
		return err
	}
	if partial {
		if in.missing, err = missingHandlers(filepath.Join(root, "emu"), in.File); err != nil {
			return err
		}
		for _, c := range in.Calls {
			if in.missing[c.Name] {
				fmt.Println("no handler:", handler(c.Name))
			}
		}
	}
	for _, o := range outputs {
		made, err := o.make(in)
		if err != nil {
			return fmt.Errorf("%s: %w", o.path, err)
		}
		path := filepath.Join(root, filepath.FromSlash(o.path))
		old, err := os.ReadFile(path)
		if err == nil && bytes.Equal(old, made) {
			continue
		}
		if check {
			return fmt.Errorf("%s is not up to date: run go generate ./abi", o.path)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, made, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func load(root string) (*input, error) {
	text, err := os.ReadFile(filepath.Join(root, "abi", "pinhole.abi"))
	if err != nil {
		return nil, err
	}
	in := &input{mapping: map[string][]mapped{}}
	if in.File, err = spec.Parse("abi/pinhole.abi", text); err != nil {
		return nil, err
	}
	if text, err = os.ReadFile(filepath.Join(root, "abi", "linux", "amd64.tbl")); err != nil {
		return nil, err
	}
	if in.linux, err = spec.ParseLinux("abi/linux/amd64.tbl", text); err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, l := range in.linux {
		known[l.Name] = true
	}
	for i := range in.Calls {
		c := &in.Calls[i]
		for _, m := range c.Linux {
			if !known[m.Linux] {
				return nil, &spec.Error{File: "abi/pinhole.abi", Pos: m.Pos, Msg: "Linux has no call " + m.Linux}
			}
			in.mapping[m.Linux] = append(in.mapping[m.Linux], mapped{c, m})
		}
	}
	return in, nil
}
