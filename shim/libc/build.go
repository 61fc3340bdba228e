// Package libc builds the C library with which programs run on Pinhole's kernel: musl, from
// Debian's source package, behind an entry layer of our own in which no instruction enters a
// host kernel. The layer is the folder overlay: files in front of the upstream ones of the same
// place, and a few edits made by program. Nothing of upstream is part of this repository.
package libc

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"

	"pinhole/shim/debsrc"
	"pinhole/shim/include"
	"pinhole/shim/lockfile"
	"pinhole/shim/nosyscall"
)

//go:embed all:overlay
var overlay embed.FS

//go:embed all:native
var native embed.FS

// Options say where and how to build.
type Options struct {
	Work    string // folder for downloads and objects
	Sysroot string // folder to make
	CC      string // C compiler; "" is gcc
	Jobs    int    // at once; 0 is one a processor
	// Progress, if not nil, is told what is being done and how far it is; total is 0 where that
	// is not known.
	Progress func(what string, done, total int)
}

// superseded are the upstream files that the layer takes the place of or does without: the assembly
// with syscall instructions, and that for which the layer has something quicker. Where the layer
// has none of the same name, upstream's portable C does the work.
var superseded = []string{
	"src/process/x86_64/vfork.s",
	"src/signal/x86_64/restore.s",
	"src/string/x86_64/memcpy.s",
	"src/string/x86_64/memmove.s",
	"src/string/x86_64/memset.s",
	"src/thread/x86_64/__set_thread_area.s",
	"src/thread/x86_64/__unmapself.s",
	"src/thread/x86_64/clone.s",
	"src/thread/x86_64/syscall_cp.s",
}

// cflags are the flags for the library: no red zone, since a CALL of the gate pushes; position
// independent, since programs are.
const cflags = "-O2 -fPIE -mno-red-zone -g0"

// stampFile is a file of the sysroot that says from what it was made.
const stampFile = "lib/pinhole.stamp"

// Build makes the sysroot: include and lib with headers, libc.a and its empty companions, entry
// files, kernel headers for programs, and the compiler's specs. A sysroot that was made
// from the same things is left as it is; a build that fails leaves the one before.
func Build(ctx context.Context, o Options) error {
	if o.CC == "" {
		o.CC = "gcc"
	}
	if o.Jobs == 0 {
		o.Jobs = runtime.NumCPU()
	}
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("C library: this machine is %s; only amd64 is supported", runtime.GOARCH)
	}
	if err := tools(o.CC); err != nil {
		return err
	}
	b := builder{Options: o}
	if err := b.build(ctx); err != nil {
		return fmt.Errorf("C library: %w", err)
	}
	return nil
}

// tools reports every missing tool at once, with the package that has it.
func tools(cc string) error {
	var missing, packages []string
	for _, t := range []struct{ tool, pkg string }{
		{cc, "gcc"}, {"ar", "binutils"}, {"objdump", "binutils"}, {"make", "make"},
		{"dpkg-source", "dpkg-dev"}, {"apt-get", "apt"},
	} {
		if _, err := exec.LookPath(t.tool); err != nil {
			missing = append(missing, t.tool)
			packages = append(packages, t.pkg)
		}
	}
	if _, err := os.Stat(filepath.Join(kernelHeaders, "linux", "futex.h")); err != nil {
		missing = append(missing, "the kernel's headers for programs")
		packages = append(packages, "linux-libc-dev")
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("C library: missing %s: apt-get install %s",
		strings.Join(missing, ", "), strings.Join(packages, " "))
}

type builder struct {
	Options
	src   string // the source, with the layer in front
	stamp string
}

func (b *builder) build(ctx context.Context) error {
	var err error
	for _, p := range []*string{&b.Work, &b.Sysroot} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	unlock, err := lockfile.Lock(filepath.Join(b.Work, "libc.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	fetch := debsrc.Fetcher{Dir: filepath.Join(b.Work, "debsrc"), Progress: func(what string) { b.Progress(what, 0, 0) }}
	upstream, version, err := fetch.Fetch(ctx, "musl")
	if err != nil {
		return err
	}
	if b.stamp, err = b.makeStamp(version); err != nil {
		return err
	}
	if old, err := os.ReadFile(filepath.Join(b.Sysroot, stampFile)); err == nil && string(old) == b.stamp {
		return nil
	}
	dir := filepath.Join(b.Work, "libc")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b.src = filepath.Join(dir, "musl")
	b.Progress("preparing the source of the C library", 0, 0)
	if err := b.prepare(upstream); err != nil {
		return err
	}
	staged := filepath.Join(dir, "sysroot")
	if err := b.compile(ctx, staged); err != nil {
		return err
	}
	if err := b.furnish(ctx, staged); err != nil {
		return err
	}
	b.Progress("looking for system call instructions in the C library", 0, 0)
	found, err := nosyscall.Archive(ctx, filepath.Join(staged, "lib", "libc.a"))
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return fmt.Errorf("libc.a enters the host kernel by itself:\n%s", nosyscall.List(found))
	}
	if err := os.WriteFile(filepath.Join(staged, stampFile), []byte(b.stamp), 0o644); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.Sysroot), 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(b.Sysroot); err != nil {
		return err
	}
	if err := os.Rename(staged, b.Sysroot); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// makeStamp returns a text that differs whenever the sysroot would.
func (b *builder) makeStamp(version string) (string, error) {
	cc, err := exec.Command(b.CC, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", b.CC, err)
	}
	h := sha256.New()
	io.WriteString(h, cflags)
	h.Write(cc)
	io.WriteString(h, specs)
	io.WriteString(h, pkgconfig)
	h.Write(include.Pinhole)
	fmt.Fprintf(h, "%q\n", edits)
	for _, files := range []fs.FS{overlay, native} {
		err = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := fs.ReadFile(files, name)
			fmt.Fprintf(h, "%s %d\n", name, len(text))
			h.Write(text)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("musl %s\n%s\n", version, hex.EncodeToString(h.Sum(nil))), nil
}

// edit is a change to an upstream file that is too small to put a file in front of it. The old
// text has to be there, once.
type edit struct{ name, old, new string }

var edits = []edit{
	// A directory is read in the pieces that glibc uses, and not in so many that the kernel
	// sorts each of its blocks several times.
	{"src/dirent/__dirent.h", "buf[2048]", "buf[32768]"},
	// The allocator's mappings come from a cache of ours.
	{"src/malloc/mallocng/glue.h", "#define mmap __mmap\n", "#include \"../../pinhole/heap.h\"\n#define mmap __ph_heap_map\n#define munmap __ph_heap_unmap\n"},
}

func (e edit) apply(src string) error {
	path := filepath.Join(src, e.name)
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("this version of musl is laid out differently: %w", err)
	}
	if n := bytes.Count(text, []byte(e.old)); n != 1 {
		return fmt.Errorf("this version of musl is different: %s has %q %d times, want once", e.name, e.old, n)
	}
	return os.WriteFile(path, bytes.Replace(text, []byte(e.old), []byte(e.new), 1), 0o644)
}

// prepare copies the upstream source, edits it and puts the layer in front.
func (b *builder) prepare(upstream string) error {
	if err := os.CopyFS(b.src, os.DirFS(upstream)); err != nil {
		return err
	}
	for _, name := range superseded {
		if err := os.Remove(filepath.Join(b.src, name)); err != nil {
			return fmt.Errorf("this version of musl is laid out differently: %w", err)
		}
	}
	for _, e := range edits {
		if err := e.apply(b.src); err != nil {
			return err
		}
	}
	layer, err := fs.Sub(overlay, "overlay")
	if err != nil {
		return err
	}
	err = fs.WalkDir(layer, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(layer, name)
		if err != nil {
			return err
		}
		path := filepath.Join(b.src, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, text, 0o644)
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.src, "arch", "x86_64", "pinhole.h"), include.Pinhole, 0o644)
}

// compile builds the library and installs it in the folder staged.
func (b *builder) compile(ctx context.Context, staged string) error {
	b.Progress("configuring the C library", 0, 0)
	_, err := b.run(ctx, nil, "./configure", "--prefix="+staged, "--disable-shared", "--enable-wrapper=no",
		"CC="+b.CC, "CFLAGS="+cflags)
	if err != nil {
		return err
	}
	plan, err := b.run(ctx, nil, "make", "-n")
	if err != nil {
		return err
	}
	total := bytes.Count(plan, []byte(" -c -o "))
	done := 0
	line := func(l string) {
		if strings.Contains(l, " -c -o ") {
			done++
			b.Progress("compiling the C library", min(done, total), total)
		}
	}
	if _, err := b.run(ctx, line, "make", fmt.Sprintf("-j%d", b.Jobs)); err != nil {
		return err
	}
	b.Progress("installing the C library", 0, 0)
	_, err = b.run(ctx, nil, "make", "install")
	return err
}

// run runs a command in the source folder and returns its standard output; line gets each line.
func (b *builder) run(ctx context.Context, line func(string), name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = b.src
	cmd.Env = cleanEnv()
	var out, said bytes.Buffer
	cmd.Stderr = &said
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := bufio.NewScanner(pipe)
	s.Buffer(nil, 1<<22)
	for s.Scan() {
		out.Write(s.Bytes())
		out.WriteByte('\n')
		if line != nil {
			line(s.Text())
		}
	}
	err = errors.Join(s.Err(), cmd.Wait())
	if err != nil {
		t := bytes.TrimSpace(said.Bytes())
		if len(t) > 2000 {
			t = t[len(t)-2000:]
		}
		return nil, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, t)
	}
	return out.Bytes(), nil
}

// cleanEnv is the environment without what would change how the library is built.
func cleanEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		switch name, _, _ := strings.Cut(e, "="); name {
		case "CFLAGS", "CPPFLAGS", "LDFLAGS", "LIBCC", "CROSS_COMPILE", "MAKEFLAGS", "MFLAGS",
			"C_INCLUDE_PATH", "CPATH", "LIBRARY_PATH", "GCC_SPECS", "COMPILER_PATH":
		default:
			env = append(env, e)
		}
	}
	sort.Strings(env)
	return append(env, "LC_ALL=C")
}
