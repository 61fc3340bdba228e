package escape

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pinhole/runtime/seccomp"
	"pinhole/tests/harness"
)

// numbers reads lines "NAME NUMBER" and returns the numbers of one name.
func numbers(lines []string, name string) []int {
	var out []int
	for _, line := range lines {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.Atoi(v)
			if err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

// TestEveryCall makes every call number from 0 to 1023 by the syscall instruction, with
// arguments that would make files and processes. A call that ends or stops the guest does so
// by its emulated meaning (pause, a signal to itself); the rest of the numbers follow
// in a new sandbox.
func TestEveryCall(t *testing.T) {
	const last = 1024
	var ended []string
	for from := 0; from < last; {
		s := start(t, "calls", strconv.Itoa(from), strconv.Itoa(last), "@canary@/../made")
		at, how := everyCall(s)
		if at == last {
			break
		}
		if how == "status 70" || how == "status 125" {
			t.Errorf("call %d: %s\n%s", at, how, s.stderr.String())
		}
		ended = append(ended, fmt.Sprintf("%d: %s", at, how))
		from = max(at, from) + 1
	}
	t.Logf("ended or stopped the guest: %v", ended)
}

// everyCall follows a guest that makes calls to its end, and returns the last call and what
// came of it.
func everyCall(s *sandbox) (at int, how string) {
	const quiet = 5 * time.Second // without a line: the guest waits
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return at, fmt.Sprintf("status %d", s.wait())
			}
			if n := append(numbers([]string{line}, "call"), numbers([]string{line}, "done")...); n != nil {
				at = n[0]
			}
			if line == "ready" {
				s.inspect()
				return at, fmt.Sprintf("status %d", s.end())
			}
		case <-time.After(quiet):
			// Its descriptors may be closed, and the signal blocked: the program's own business.
			s.inspect()
			s.cmd.Process.Signal(syscall.SIGTERM)
			timer := time.AfterFunc(quiet, func() { syscall.Kill(s.process(), syscall.SIGKILL) })
			defer timer.Stop()
			return at, fmt.Sprintf("waits, status %d", s.wait())
		}
	}
}

// TestRawExit: a program's own exit is answered by its kernel. One with the mark of the
// kernel's exits is admitted: it takes the thread or the process away under the kernel, and
// ends nothing but the sandbox, at the latest with the supervisor.
func TestRawExit(t *testing.T) {
	for _, number := range []string{"60", "231"} {
		s := start(t, "rawexit", number, "3")
		if status := s.wait(); status != 3 {
			t.Errorf("call %s: exit status %d\n%s", number, status, s.stderr.String())
		}
	}
	marked := strconv.Itoa(seccomp.Mark | 3)
	s := start(t, "rawexit", "231", marked)
	if status := s.wait(); status != 70 || !strings.Contains(s.stderr.String(), "without a word") {
		t.Errorf("marked exit_group: exit status %d\n%s", status, s.stderr.String())
	}
	s = start(t, "rawexit", "60", marked)
	s.until("ending")
	pid := s.process()
	s.cmd.Process.Kill()
	s.cmd.Wait()
	s.gone(pid)
	s.after()
}

// TestInt80 makes every call number of i386: none is answered with anything but ENOSYS.
func TestInt80(t *testing.T) {
	s := start(t, "int80", "0", "512")
	out := s.ready()
	results := numbers(out, "result")
	if len(results) != 512 {
		t.Errorf("%d results", len(results))
	}
	for i, r := range results {
		if r != -int(syscall.ENOSYS) {
			t.Errorf("call %d returned %d", i, r)
		}
	}
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func TestX32(t *testing.T) {
	s := start(t, "x32")
	out := s.ready()
	for i, r := range numbers(out, "result") {
		if r != -int(syscall.ENOSYS) {
			t.Errorf("result %d is %d: %v", i, r, out)
		}
	}
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestSysenter: its way back is a 32-bit one, which a 64-bit program does not survive; it
// may also be answered with ENOSYS.
func TestSysenter(t *testing.T) {
	s := start(t, "sysenter")
	out := s.until("entering")
	if status := s.wait(); status != 0 && status < 128 {
		t.Errorf("exit status %d, output %v\n%s", status, out, s.stderr.String())
	}
}

func TestMmapFlags(t *testing.T) {
	s := start(t, "mmapflags")
	s.ready()
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func TestFutexOperations(t *testing.T) {
	s := start(t, "futexops")
	out := s.ready()
	t.Log(out)
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestDescriptors: no number that the lock does not name can be read or written; the guest's
// own descriptors of such a number are the kernel's, and it has opened none.
func TestDescriptors(t *testing.T) {
	s := start(t, "descriptors")
	// A number whose lower half is 1 is answered as Linux does: it is the guest's own output.
	if diff := cmp.Diff([]string{"escaped", "escaped", "done"}, s.ready()); diff != "" {
		t.Error(diff)
	}
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestImageEnd maps the image and the guest memory beyond their ends and writes there: the
// guest ends by SIGBUS, and the image is as it was.
func TestImageEnd(t *testing.T) {
	const private, fixed, shared = 2, 16, 1
	for _, c := range []struct {
		name       string
		descriptor int
		flags      int
		offset     int64
		want       []int
	}{
		{"image, private", 8, private | fixed, 32<<20 - 4096, []int{128 + int(syscall.SIGBUS)}},
		{"image, shared", 8, shared | fixed, 0, []int{3}},
		{"image, far beyond", 8, private | fixed, 1 << 40, []int{128 + int(syscall.SIGBUS)}},
		{"memory, beyond", 9, shared | fixed, 1 << 40, []int{128 + int(syscall.SIGBUS)}},
		{"memory, private", 9, private | fixed, 0, []int{3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, "imageend", strconv.Itoa(c.descriptor), strconv.Itoa(c.flags), strconv.FormatInt(c.offset, 10))
			before, err := os.ReadFile(s.image)
			if err != nil {
				t.Fatal(err)
			}
			if status := s.wait(); !slices.Contains(c.want, status) {
				t.Errorf("exit status %d, want one of %v\n%s", status, c.want, s.stderr.String())
			}
			after, err := os.ReadFile(s.image)
			if err != nil {
				t.Fatal(err)
			}
			if len(before) != len(after) {
				t.Errorf("the image has grown from %d to %d bytes", len(before), len(after))
			}
			if strings.Contains(string(after), strings.Repeat("X", 64)) {
				t.Error("the image has what the guest wrote")
			}
		})
	}
}

func TestHostFiles(t *testing.T) {
	s := start(t, "hostfiles", "@canary@")
	for _, line := range s.ready() {
		if line != "done" {
			t.Errorf("%s", line)
		}
	}
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestSecrets looks for the host's environment, arguments and paths in all of the sandbox
// process's memory, and in what the program is born with.
func TestSecrets(t *testing.T) {
	s := start(t, "secrets", "argument")
	out := s.ready()
	host, _ := os.Hostname()
	for _, line := range out {
		if strings.Contains(line, secret) || strings.Contains(line, s.dir) || host != "" && line == "uname "+host {
			t.Errorf("the program knows of the host: %s", line)
		}
	}
	if os.Geteuid() == 0 {
		for _, text := range []string{secret, s.dir, "HOST_SECRET", harness.Root()} {
			if s.memoryHas(text) {
				t.Errorf("the sandbox process's memory has %q", text)
			}
		}
		if !s.memoryHas("secrets") {
			t.Error("the search does not find what is there")
		}
	}
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestSupervisor: no call reaches a process of the host.
func TestSupervisor(t *testing.T) {
	s := start(t, "supervisor", strconv.Itoa(os.Getpid()))
	for _, line := range s.ready() {
		if line == "done" {
			continue
		}
		if f := strings.Fields(line); !strings.HasPrefix(f[len(f)-1], "-") {
			t.Errorf("succeeded: %s", line)
		}
	}
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestSupervisorKilled: the sandbox ends with its supervisor, computing or not.
func TestSupervisorKilled(t *testing.T) {
	s := start(t, "eatcpu", "4")
	s.until("spinning")
	pid := s.process()
	s.cmd.Process.Kill()
	s.cmd.Wait()
	s.gone(pid)
}
