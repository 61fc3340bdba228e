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
	for name, data := range map[string][]byte{"/bin/prog": content, "/bin/script": []byte("#!/bin/prog script arg\n")} {
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
