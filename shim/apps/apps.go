// Package apps builds well-known C programs from Debian's source packages, as they are: once for
// Pinhole by "pinhole cc", and once for the host with the same flags, to compare with. They are
// the real input of demos, tests and benchmarks.
package apps

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-multierror"

	"pinhole/shim/debsrc"
	"pinhole/shim/lockfile"
)

// Options say where and how to build.
type Options struct {
	Work    string   // folder for downloads
	Out     string   // folder for the programs, and for objects below it
	CC      []string // the compiler's command
	Sysroot string   // where the compiler's C library is; "": the machine's
	Jobs    int      // at once; 0 is one a processor
	// Progress, if not nil, is told what is being done; total is 0 where it is not known.
	Progress func(what string, done, total int)
}

// Pinhole returns the options for programs that run in a sandbox. pinhole is the path of the
// executable; work and out are folders.
func Pinhole(work, out, pinhole, sysroot string) Options {
	return Options{Work: work, Out: out, CC: []string{pinhole, "cc"}, Sysroot: sysroot}
}

// Native returns the options for the same programs on the host.
func Native(work, out string) Options { return Options{Work: work, Out: out, CC: []string{"gcc"}} }

// app is a package to build.
type app struct {
	name     string // of the source package
	programs []string
	build    func(*job) error
}

// apps are all of them. Adding one means adding a function that builds it.
var apps = []app{
	{"sqlite3", []string{"sqlite3", "speedtest1"}, sqlite},
	{"lua5.4", []string{"lua"}, lua},
	{"zlib", []string{"zlib-minigzip", "zlib-example", "zlib-example64", "zlib-infcover"}, zlib},
	{"hello", []string{"hello"}, hello},
}

// Programs returns the names of the programs that Build makes.
func Programs() []string {
	var out []string
	for _, a := range apps {
		out = append(out, a.programs...)
	}
	return out
}

// Build makes the programs. One that was made from the same things is left as it is.
func Build(ctx context.Context, o Options) error {
	if o.Jobs == 0 {
		o.Jobs = runtime.NumCPU()
	}
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	paths := []*string{&o.Work, &o.Out}
	if o.Sysroot != "" {
		o.CC = slices.Clone(o.CC)
		paths = append(paths, &o.Sysroot, &o.CC[0])
	}
	for _, p := range paths {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	unlock, err := lockfile.Lock(filepath.Join(o.Out, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	fetch := &debsrc.Fetcher{Dir: filepath.Join(o.Work, "debsrc"), Progress: func(what string) { o.Progress(what, 0, 0) }}
	var errs *multierror.Error
	for i, a := range apps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := o.one(ctx, fetch, a, i); err != nil {
			errs = multierror.Append(errs, fmt.Errorf("building %s: %w", a.name, err))
		}
	}
	return errs.ErrorOrNil()
}

func (o *Options) one(ctx context.Context, fetch *debsrc.Fetcher, a app, nth int) error {
	src, version, err := fetch.Fetch(ctx, a.name)
	if err != nil {
		return err
	}
	stamp, err := o.stamp(ctx, a, version)
	if err != nil {
		return err
	}
	j := &job{Options: o, ctx: ctx, src: src, dir: filepath.Join(o.Out, "objects", a.name)}
	stampFile := filepath.Join(j.dir, "stamp")
	if old, err := os.ReadFile(stampFile); err == nil && string(old) == stamp && o.present(a.programs) {
		return nil
	}
	o.Progress("building "+a.name+" "+version, nth, len(apps))
	if err := os.RemoveAll(j.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(j.dir, 0o755); err != nil {
		return err
	}
	if err := a.build(j); err != nil {
		return err
	}
	return os.WriteFile(stampFile, []byte(stamp), 0o644)
}

func (o *Options) present(programs []string) bool {
	for _, p := range programs {
		if _, err := os.Stat(filepath.Join(o.Out, p)); err != nil {
			return false
		}
	}
	return true
}

// revision is changed with the functions that build, when they would make something else.
const revision = "2"

// stamp returns a text that differs whenever a program would.
func (o *Options) stamp(ctx context.Context, a app, version string) (string, error) {
	h := sha256.New()
	cmd := exec.CommandContext(ctx, o.CC[0], append(o.CC[1:len(o.CC):len(o.CC)], "--version")...)
	cmd.Env = o.env()
	cc, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", strings.Join(o.CC, " "), err)
	}
	h.Write(cc)
	if o.Sysroot != "" {
		text, err := os.ReadFile(filepath.Join(o.Sysroot, "lib", "pinhole.stamp"))
		if err != nil {
			return "", err
		}
		h.Write(text)
	}
	return fmt.Sprintf("%s %s %s %s\n", revision, a.name, version, hex.EncodeToString(h.Sum(nil))), nil
}

// env returns the environment of compilers and makefiles.
func (o *Options) env() []string {
	env := append(os.Environ(), "LC_ALL=C")
	if o.Sysroot != "" {
		env = append(env, "PINHOLE_SYSROOT="+o.Sysroot)
	}
	return env
}

// job is one package being built.
type job struct {
	*Options
	ctx context.Context
	src string // the package's source: only to be read
	dir string // an empty folder for objects
}

// out returns the path of a program to make.
func (j *job) out(program string) string { return filepath.Join(j.Out, program) }

// run runs a command in a folder; an error carries the end of what it said.
func (j *job) run(dir string, env []string, args ...string) error {
	cmd := exec.CommandContext(j.ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(j.env(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		out = bytes.TrimSpace(out)
		if len(out) > 2000 {
			out = out[len(out)-2000:]
		}
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// compile compiles sources, several at once, and returns the objects.
func (j *job) compile(flags []string, sources ...string) ([]string, error) {
	objects := make([]string, len(sources))
	errs := make([]error, len(sources))
	slots := make(chan struct{}, j.Jobs)
	var wg sync.WaitGroup
	for i, s := range sources {
		objects[i] = filepath.Join(j.dir, strings.TrimSuffix(filepath.Base(s), ".c")+".o")
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			args := append(j.CC[:len(j.CC):len(j.CC)], flags...)
			errs[i] = j.run(j.dir, nil, append(args, "-c", "-o", objects[i], s)...)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// link makes a program of objects. A running program of the name is not disturbed.
func (j *job) link(program string, objects []string, libs ...string) error {
	made := filepath.Join(j.dir, program)
	args := append(j.CC[:len(j.CC):len(j.CC)], "-o", made)
	if err := j.run(j.dir, nil, append(append(args, objects...), libs...)...); err != nil {
		return err
	}
	return os.Rename(made, j.out(program))
}
