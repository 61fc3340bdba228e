package escape

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/shim/nosyscall"
	"pinhole/tests/harness"
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
