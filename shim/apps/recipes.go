package apps

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// sqlite builds SQLite's shell and its speed test. The amalgamation that both are made of comes out of the
// package's own makefile, on the host.
func sqlite(j *job) error {
	tcl, err := exec.LookPath("tclsh")
	if err != nil {
		return errors.New("tclsh is not installed, which SQLite's makefile needs: apt-get install tcl")
	}
	host := []string{"CC=gcc", "CFLAGS=-O1"}
	configure := []string{filepath.Join(j.src, "configure"), "--disable-tcl", "--disable-readline", "--disable-load-extension"}
	if err := j.run(j.dir, host, configure...); err != nil {
		return err
	}
	if err := j.run(j.dir, nil, "make", "TCLSH_CMD="+tcl, "sqlite3.c", "shell.c"); err != nil {
		return err
	}
	flags := []string{"-O2", "-DSQLITE_THREADSAFE=1", "-DSQLITE_OMIT_LOAD_EXTENSION", "-DSQLITE_ENABLE_FTS5",
		"-DSQLITE_ENABLE_RTREE", "-DSQLITE_ENABLE_MATH_FUNCTIONS", "-DHAVE_USLEEP=1", "-I" + j.dir}
	objects, err := j.compile(flags, "sqlite3.c", "shell.c", filepath.Join(j.src, "test", "speedtest1.c"))
	if err != nil {
		return err
	}
	libs := []string{"-lm", "-lpthread"}
	if err := j.link("sqlite3", objects[:2], libs...); err != nil {
		return err
	}
	return j.link("speedtest1", []string{objects[0], objects[2]}, libs...)
}

// lua builds the Lua interpreter.
func lua(j *job) error {
	sources, err := filepath.Glob(filepath.Join(j.src, "src", "*.c"))
	if err != nil {
		return err
	}
	kept := sources[:0]
	for _, s := range sources {
		if filepath.Base(s) != "luac.c" { // the compiler, with a main of its own
			kept = append(kept, s)
		}
	}
	// Debian's patch has the interpreter look for modules by the machine's name.
	machine := []byte("#define DEB_HOST_MULTIARCH \"x86_64\"\n")
	if err := os.WriteFile(filepath.Join(j.dir, "lua5.4-deb-multiarch.h"), machine, 0o644); err != nil {
		return err
	}
	objects, err := j.compile([]string{"-O2", "-DLUA_COMPAT_5_3", "-DLUA_USE_POSIX", "-I" + j.dir}, kept...)
	if err != nil {
		return err
	}
	return j.link("lua", objects, "-lm")
}

// zlib builds the library's own test programs.
func zlib(j *job) error {
	sources, err := filepath.Glob(filepath.Join(j.src, "*.c"))
	if err != nil {
		return err
	}
	flags := []string{"-O2", "-D_LARGEFILE64_SOURCE=1", "-DHAVE_HIDDEN", "-DHAVE_UNISTD_H", "-I" + j.src}
	library, err := j.compile(flags, sources...)
	if err != nil {
		return err
	}
	for _, p := range []struct {
		source, program string
		flags           []string
	}{
		{"minigzip", "zlib-minigzip", nil},
		{"example", "zlib-example", nil},
		{"example", "zlib-example64", []string{"-D_FILE_OFFSET_BITS=64"}},
		{"infcover", "zlib-infcover", nil},
	} {
		object, err := j.compile(append(p.flags, flags...), filepath.Join(j.src, "test", p.source+".c"))
		if err != nil {
			return err
		}
		if err := j.link(p.program, append(object, library...)); err != nil {
			return err
		}
	}
	return nil
}

// hello builds GNU hello as anybody would: configure and make, with CC alone set.
func hello(j *job) error {
	env := []string{"CC=" + strings.Join(j.CC, " ")}
	if err := j.run(j.dir, env, filepath.Join(j.src, "configure"), "--disable-nls"); err != nil {
		return err
	}
	if err := j.run(j.dir, nil, "make", "-j"+strconv.Itoa(j.Jobs)); err != nil {
		return err
	}
	return os.Rename(filepath.Join(j.dir, "hello"), j.out("hello"))
}
