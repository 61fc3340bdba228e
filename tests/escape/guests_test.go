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
// by its emulated meaning (exit, pause, a signal to itself); the rest of the numbers follow in
// a new sandbox.
func TestEveryCall(t *testing.T) {
	const last = 1024
	var ended []string
	for from := 0; from < last; {
		s := start(t, "calls", strconv.Itoa(from), strconv.Itoa(last), "@canary@/../made")
		at, stopped := from, false
	lines:
		for {
			select {
			case line, ok := <-s.lines:
				if !ok {
					break lines
				}
				if line == "ready" {
					s.inspect()
					s.stdin.Write([]byte("\n"))
				}
				if n := numbers([]string{line}, "call"); n != nil {
					at = n[0]
				}
				if n := numbers([]string{line}, "done"); n != nil {
					at = n[0]
				}
			case <-time.After(2 * time.Second):
				// The guest waits for something: it is the call's meaning, or standard input.
				s.inspect()
				stopped = true
				s.cmd.Process.Signal(syscall.SIGTERM)
				break lines
			}
		}
		status := s.wait()
		if at == last {
			if status != 0 {
				t.Errorf("the last guest ended with status %d\n%s", status, s.stderr.String())
			}
			break
		}
		how := fmt.Sprintf("call %d: status %d", at, status)
		if stopped {
			how = fmt.Sprintf("call %d: waits", at)
		} else if status == 70 || status == 125 {
			t.Errorf("%s\n%s", how, s.stderr.String())
		}
		ended = append(ended, how)
		from = at + 1
	}
	t.Logf("ended or stopped the guest: %v", ended)
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
	for _, line := range s.ready() {
		if line != "done" {
			t.Errorf("%s", line)
		}
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

// TestEatMemory: memory ends with ENOMEM, or the sandbox ends; the host gives no more than
// it was to have.
func TestEatMemory(t *testing.T) {
	const limit = 64 // megabytes
	for _, kind := range []string{"map", "shared", "break"} {
		t.Run(kind, func(t *testing.T) {
			s := startWith(t, []string{"--memory", fmt.Sprintf("%dM", limit)}, "eatmemory", kind)
			out := s.ready()
			if got := numbers(out, "megabytes"); len(got) != 1 || got[0] > limit {
				t.Errorf("a program that may have %d MB has %v", limit, got)
			}
			rss := status(fmt.Sprintf("/proc/%d/status", s.process()))
			kb, _ := strconv.Atoi(strings.Fields(rss["VmHWM"] + " 0")[0])
			if kb > (limit+96)<<10 {
				t.Errorf("the sandbox process has had %d kB of memory", kb)
			}
			if status := s.end(); status != 0 {
				t.Errorf("exit status %d\n%s", status, s.stderr.String())
			}
		})
	}
}

// TestEatThreads: guest threads cost the host no tasks, and end with EAGAIN or ENOMEM.
func TestEatThreads(t *testing.T) {
	s := startWith(t, []string{"--memory", "128M"}, "eatthreads", "50000")
	out := s.ready()
	n, last := numbers(out, "threads"), numbers(out, "last")
	if len(n) != 1 || n[0] < 100 {
		t.Errorf("threads: %v", out)
	}
	if len(last) == 1 && last[0] < 0 && last[0] != -int(syscall.EAGAIN) && last[0] != -int(syscall.ENOMEM) {
		t.Errorf("ended with errno %d", -last[0])
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", s.process()))
	if err != nil || len(tasks) > 100 {
		t.Errorf("%d host threads, %v", len(tasks), err)
	}
	t.Logf("%v guest threads on %d host threads", n, len(tasks))
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d\n%s", status, s.stderr.String())
	}
}

func TestEatDescriptors(t *testing.T) {
	s := start(t, "eatdescriptors")
	out := s.ready()
	if last := numbers(out, "last"); len(last) != 1 || last[0] != -int(syscall.EMFILE) {
		t.Errorf("%v", out)
	}
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestEatCPU: a guest that computes on more threads than there are processors, without ever
// calling, can be ended by a signal to the supervisor at once.
func TestEatCPU(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		s := start(t, "eatcpu", "8")
		s.until("spinning")
		time.Sleep(50 * time.Millisecond)
		s.inspect()
		s.cmd.Process.Signal(sig)
		if status := s.wait(); status != 128+int(sig) {
			t.Errorf("%v: exit status %d\n%s", sig, status, s.stderr.String())
		}
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

// TestWildWrite: a guest destroys the kernel in its own process. The sandbox ends in
// whatever way, the supervisor says so in a line, and the image is sound.
func TestWildWrite(t *testing.T) {
	for _, where := range []string{"c000000000", "60001000", "10000", "7fff00000000"} {
		t.Run(where, func(t *testing.T) {
			s := start(t, "wildwrite", where, "64")
			s.until("writing")
			status := s.wait()
			if status < 70 {
				t.Errorf("exit status %d\n%s", status, s.stderr.String())
			}
			if n := strings.Count(s.stderr.String(), "\n"); n > 200 {
				t.Errorf("%d lines of messages", n)
			}
			t.Logf("exit status %d: %.300s", status, s.stderr.String())
		})
	}
}

// TestKernelJump uses the kernel's own system call instructions for a forbidden call.
func TestKernelJump(t *testing.T) {
	s := start(t, "kerneljump", "@canary@/../made")
	status := s.wait()
	t.Logf("exit status %d: %.300s", status, s.stderr.String())
}

// TestForge: what a guest puts into the supervisor's pipes is believed by nobody. The sandbox
// ends; the supervisor reports it and stays well.
func TestForge(t *testing.T) {
	for seed := range 4 {
		s := start(t, "forge", strconv.Itoa(seed+1))
		status := s.wait()
		if strings.Contains(s.stderr.String(), "panic:") || strings.Contains(s.stderr.String(), "goroutine ") {
			t.Errorf("seed %d: the supervisor has crashed\n%s", seed, s.stderr.String())
		}
		t.Logf("exit status %d: %.300s", status, s.stderr.String())
	}
}
