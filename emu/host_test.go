package emu_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"pinhole/abi"
	"pinhole/emu"
	"pinhole/fs/memfs"
	"pinhole/fs/vfs"
	"pinhole/runtime/host"
	"pinhole/tests/harness"
)

// The tests of this file run guests, on the real machine but without its lock: each in a process
// of its own, which is this test binary again. The program is on a file system in memory.
const (
	envProgram = "PINHOLE_EMU_PROGRAM" // the guest to run, in place of the tests
	envTrace   = "PINHOLE_EMU_TRACE"   // not empty: with a trace
	envSlots   = "PINHOLE_EMU_THREADS" // number of host threads
)

func TestMain(m *testing.M) {
	if program := os.Getenv(envProgram); program != "" {
		status, err := runProgram(program, os.Args[1:])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(status)
	}
	os.Exit(m.Run())
}

// runProgram is the life of a process that runs a guest.
func runProgram(program string, args []string) (int, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return 125, err
	}
	const ramBytes, cacheBytes = 64 << 20, 1 << 20
	fd, err := unix.MemfdCreate("ram", unix.MFD_CLOEXEC)
	if err != nil {
		return 125, err
	}
	if err := unix.Ftruncate(fd, ramBytes); err != nil {
		return 125, err
	}
	ram, err := syscall.Mmap(fd, 0, ramBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return 125, err
	}
	entropy, err := os.Open("/dev/urandom")
	if err != nil {
		return 125, err
	}
	cfg := host.Config{RAMFD: fd, RAM: ram, CacheBytes: cacheBytes, EntropyFD: int(entropy.Fd()), MemoryLimit: 512 << 20}
	fmt.Sscan(os.Getenv(envSlots), &cfg.HostThreads)
	m, err := host.New(cfg)
	if err != nil {
		return 125, err
	}
	ns := vfs.NewNamespace(memfs.New(64 << 20))
	c := &vfs.Context{}
	for _, dir := range []string{"/tmp", "/bin"} {
		if e := ns.Mkdir(c, nil, dir, 0o777); e != 0 {
			return 125, fmt.Errorf("%s: %w", dir, e)
		}
	}
	for name, data := range map[string][]byte{"/bin/prog": content, "/bin/script": []byte("#! /bin/prog\tscript \n")} {
		d, _, e := ns.Open(c, nil, name, abi.O_CREAT|abi.O_WRONLY, 0o755)
		if e != 0 {
			return 125, fmt.Errorf("%s: %w", name, e)
		}
		if _, _, e := d.Node().Write(0, len(data), &bytesSource{data}); e != 0 {
			return 125, fmt.Errorf("%s: %w", name, e)
		}
		d.Unref()
	}
	conf := emu.Config{
		Machine: m, Namespace: ns,
		Report: func(text string) { fmt.Fprint(os.Stderr, text) },
		Fatal: func(trace string) {
			fmt.Fprintln(os.Stderr, trace)
			os.Exit(70)
		},
	}
	if os.Getenv(envTrace) != "" {
		conf.Trace = os.Stderr
	}
	k := emu.New(conf)
	name := "/bin/prog"
	if len(args) > 0 && args[0] == "script" {
		name = "/bin/script"
	}
	if err := k.Start(name, append([]string{name}, args...), []string{"HOME=/tmp"}, "/tmp"); err != nil {
		return 126, err
	}
	return k.Wait(), nil
}

type bytesSource struct{ p []byte }

func (s *bytesSource) Get(p []byte) (int, abi.Errno) {
	n := copy(p, s.p)
	s.p = s.p[n:]
	return n, 0
}

// result is how a guest ended.
type result struct {
	status         int
	stdout, stderr string
}

// runGuest runs a compiled guest in a process of its own.
func runGuest(t *testing.T, program string, env []string, args ...string) result {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(append(os.Environ(), envProgram+"="+program, "GODEBUG=asyncpreemptoff=1"), env...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		t.Fatal(err)
	}
	return result{harness.ExitStatus(cmd.ProcessState), out.String(), errs.String()}
}

func TestGuestHello(t *testing.T) {
	hello := harness.GuestCC(t, "testdata/hello.c")
	r := runGuest(t, hello, nil, "a", "b c")
	if r.status != 3 || r.stdout != "/bin/prog a b c\n" {
		t.Errorf("%+v", r)
	}
}

// TestGuestKernel runs testdata/kernel.c, which says what each case is about.
func TestGuestKernel(t *testing.T) {
	kernel := harness.GuestCC(t, "testdata/kernel.c")
	for _, c := range []struct {
		name   string
		status int
		stdout string
		stderr string // part of it
	}{
		{"exit", 7, "", ""},
		{"killed", 128 + 9, "", ""},
		{"leader", 5, "still here\n", ""},
		{"segv", 128 + 11, "", "SIGSEGV (read of address 0x1234, where nothing is mapped)"},
		{"segv", 128 + 11, "", "at test_segv+"},
		{"overflow", 128 + 11, "", "the stack is used up"},
		{"abort", 128 + 6, "", "ended by SIGABRT"},
		{"term", 128 + 15, "", ""},
		{"moved", 0, "0 lost\n", ""},
		{"context", 0, "4711 12 1.5\n", ""},
		{"compute", 0, "0 wrong, interrupted\n", ""},
		{"restart", 0, "1 0 1;-1 4 2;\n", ""},
		{"crowd", 0, "0 left\n", ""},
		{"slices", 0, "all\n", ""},
		{"robust", 0, "1 0\n", ""},
		{"ids", 0, "2 0 2 2 2\n-1 Function not implemented\n", ""},
		{"script", 0, "/bin/prog;script;/bin/script;script;/tmp\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := runGuest(t, kernel, nil, c.name)
			if r.status != c.status || r.stdout != c.stdout || !strings.Contains(r.stderr, c.stderr) {
				t.Errorf("status %d, output %q, want %d, %q and %q in\n%s", r.status, r.stdout, c.status, c.stdout, c.stderr, r.stderr)
			}
		})
	}
}

func TestGuestTrace(t *testing.T) {
	hello := harness.GuestCC(t, "testdata/hello.c")
	r := runGuest(t, hello, []string{envTrace + "=1"})
	for _, want := range []string{
		"[2] fd_ioctl(1, 0x5413, 0x", " = -1 ENOTTY (",
		"[2] file_writev(1, 0x", ", 2) = 10\n",
		"[2] proc_exit(1) = ?\n",
	} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("%q is not in\n%s", want, r.stderr)
		}
	}
}

func TestStartErrors(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name    string
		content string
		want    string
	}{
		{"text", "just text\n", "neither an ELF program nor a script"},
		{"empty", "", "neither an ELF program nor a script"},
		{"arm", "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x03\x00\xb7\x00" + strings.Repeat("\x00", 44), "another kind of machine"},
		{"short", "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x03\x00\x3e\x00" + strings.Repeat("\x00", 44), "damaged"},
		{"no interpreter", "#!\n", "no interpreter"},
		{"lost interpreter", "#!/no/such\n", "not found"},
		{"recursive", "#!/bin/prog\n", "too many scripts"},
	} {
		file := dir + "/" + strings.ReplaceAll(c.name, " ", "-")
		if err := os.WriteFile(file, []byte(c.content), 0o755); err != nil {
			t.Fatal(err)
		}
		r := runGuest(t, file, nil)
		if r.status != 126 || !strings.Contains(r.stderr, c.want) || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: status %d, %q; want %q", c.name, r.status, r.stderr, c.want)
		}
	}
	// A program of the host's, with the host's dynamic linker.
	if r := runGuest(t, "/bin/true", nil); r.status != 126 || !strings.Contains(r.stderr, "linked dynamically") {
		t.Errorf("dynamically linked: %+v", r)
	}
}
