package escape

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pinhole/runtime/launch"
	"pinhole/shim/nosyscall"
	"pinhole/tests/harness"
	"pinhole/tests/harness/hostcalls"
)

// TestKernelSites: where the sandbox's own kernel can enter the host's is known, instruction by instruction.
// A new place, by a new version of Go or a package that brings its own, has to be thought about: what it
// calls before the lock, and that it is not needed after.
func TestKernelSites(t *testing.T) {
	known := map[string]int{
		// Behind the lock, with the mark that it asks for.
		"runtime.futex": 1, "runtime.usleep": 1, // sleep and wake
		"runtime.sysMmap": 1, "runtime.sysMunmap": 1, // the heap
		"runtime.read": 1, "runtime.write1": 1, // what the runtime prints when it crashes
		"runtime.exit": 1, "runtime.exitThread": 1,
		"internal/runtime/syscall/linux.Syscall6": 1, // whatever package host passes
		"pinhole/runtime/host.handler":            2, // its last words, and exit_group

		// At the start; behind the lock they return before they get there, or are not called.
		"runtime.clone":   3, // of which two in the child: gettid, exit
		"runtime.osyield": 1, "runtime.mincore": 1,
		"runtime.rt_sigaction": 1, "runtime.rtsigprocmask": 1, "runtime.sigaltstack": 1, "runtime.sigreturn__sigaction": 1,
		"runtime.raise": 3, "runtime.raiseproc": 2, "runtime.tgkill": 1, "runtime.getpid": 1, "runtime.gettid": 1,
		"runtime.timer_create": 1, "runtime.timer_delete": 1, "runtime.timer_settime": 1, // profiles of processor time
		"runtime.open": 1, "runtime.closefd": 1, "runtime.sched_getaffinity": 1, "runtime.settls": 1,
		"syscall.rawSyscallNoError": 1, "syscall.rawVforkSyscall": 1,

		// Where the vDSO does not have the clock: the handler answers these by the processor's counter.
		"runtime.nanotime1": 1, "time.now": 2,
	}
	kernel := filepath.Join(filepath.Dir(harness.Pinhole(t)), "pinhole-kernel")
	sites, err := nosyscall.GoProgram(kernel)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, s := range sites {
		if s.Instruction != "syscall" {
			t.Errorf("%v", s)
		}
		found[s.Function]++
	}
	if d := cmp.Diff(known, found); d != "" {
		t.Errorf("instructions that enter a host kernel (-known +found):\n%s", d)
	}
}

// TestKernelCalls watches the kernel from outside while programs keep it busy: after its lock it makes the calls
// of the lock's table, and no other reaches the host's kernel.
func TestKernelCalls(t *testing.T) {
	for _, program := range []string{"threads", "mapthreads", "events", "spawn", "files"} {
		t.Run(program, func(t *testing.T) {
			pinhole := harness.Pinhole(t)
			guest := harness.GuestCC(t, filepath.Join(harness.Root(), "tests", "conformance", "src", program+".c"))
			image := harness.Image(t, "64M", map[string]string{"/app": guest})
			list := filepath.Join(t.TempDir(), "calls")
			line := append(hostcalls.Command(t, list), pinhole, "run", "--image", image, "--cwd", "/", "/app")
			cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
			var said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &said, &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			threads := lockedThreads(t, cmd.Process.Pid)
			// Its calls take a tenth of a millisecond: what has to do with time may fail.
			if err := cmd.Wait(); err != nil {
				t.Logf("%v\n%s", err, said.String())
			}
			f, err := os.Open(list)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			seen, err := hostcalls.Judge(f, threads)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d threads, calls behind the lock: %v", len(threads), seen.Admitted)
			for _, line := range seen.Stray[:min(len(seen.Stray), 10)] {
				t.Errorf("not in the lock's table: %s", line)
			}
			for _, call := range []string{"futex", "mmap", "read", "write", "exit_group"} {
				if seen.Admitted[call] == 0 {
					t.Errorf("no %s after the lock", call)
				}
			}
			// The filter has something to refuse only when the kernel proves to itself that it does.
			probes := map[string]int{"getpid": 1, "close": 1, "read": 1, "write": 2, "mmap": 1, "futex": 1}
			if d := cmp.Diff(probes, seen.Refused); d != "" {
				t.Errorf("calls that the lock refused, besides its proof's (-want +got):\n%s", d)
			}
		})
	}
}

// lockedThreads waits until the sandbox process two generations below one has its lock, and returns its threads:
// from then on there are no others.
func lockedThreads(t *testing.T, top int) map[int]bool {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(200 * time.Microsecond) {
		for _, supervisor := range childrenOf(top) {
			for _, pid := range childrenOf(supervisor) {
				if comm(pid) != launch.Name || status(fmt.Sprintf("/proc/%d/status", pid))["Seccomp"] != "2" {
					continue
				}
				entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
				if err != nil || len(entries) == 0 {
					continue
				}
				threads := map[int]bool{}
				for _, e := range entries {
					tid, _ := strconv.Atoi(e.Name())
					threads[tid] = true
				}
				return threads
			}
		}
	}
	t.Fatal("no sandbox process")
	return nil
}
