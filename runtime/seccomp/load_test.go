package seccomp

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// roleEnv makes the test binary play a process that locks itself.
const roleEnv = "PINHOLE_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		lockedProcess(role)
	}
	os.Exit(m.Run())
}

const provenThreads = 4

// lockedProcess loads the filter for good and ends with a status that says what it saw:
// 0 all well, 3 Load failed, 4 Prove failed.
func lockedProcess(role string) {
	// Idle host threads for Prove: the runtime keeps those that once slept at the same time.
	var started, release atomic.Int32
	for range 2 * provenThreads {
		go func() {
			started.Add(1)
			for release.Load() == 0 {
				ts := syscall.Timespec{Nsec: 1e6}
				syscall.Nanosleep(&ts, nil)
			}
		}()
	}
	for started.Load() < 2*provenThreads {
		runtime.Gosched()
	}
	release.Store(1)
	action := Trap
	if role == "kill" {
		action = Kill
	}
	if err := Load(action); err != nil {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, Mark|3, 0, 0)
	}
	if err := Prove(provenThreads); err != nil {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, Mark|4, 0, 0)
	}
	syscall.RawSyscall(syscall.SYS_EXIT_GROUP, Mark|0, 0, 0)
}

func child(role string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"="+role, "GODEBUG=asyncpreemptoff=1", "GOGC=off")
	return cmd
}

// TestProveUnlocked: without a lock the first probe goes through, and Prove says so.
func TestProveUnlocked(t *testing.T) {
	err := Prove(2)
	if err == nil || !strings.Contains(err.Error(), "getpid returned") {
		t.Fatalf("Prove in an unlocked process: %v", err)
	}
}

// TestLockedProcessEnds: a process that has no handler for the trap, and one under the
// killing filter, are ended by SIGSYS.
func TestLockedProcessEnds(t *testing.T) {
	cmd := child("kill")
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("ended with %v", err)
	}
	if ws := exit.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGSYS {
		t.Fatalf("ended with %v, want SIGSYS", err)
	}
}

// TestLoadAndProve locks a process under a tracer that stands in for its SIGSYS handler:
// each trapped call returns -ENOSYS. The tracer also reads the filter back from the kernel
// and compares it, and looks at the state of every thread.
func TestLoadAndProve(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := child("trap")
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	defer cmd.Process.Kill()
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil {
		t.Fatal(err)
	}
	const exitKill = 1 << 20 // PTRACE_O_EXITKILL
	if err := syscall.PtraceSetOptions(pid, syscall.PTRACE_O_TRACECLONE|exitKill); err != nil {
		t.Fatal(err)
	}
	if err := syscall.PtraceCont(pid, 0); err != nil {
		t.Fatal(err)
	}
	compared, trapped := false, 0
	for {
		tid, err := syscall.Wait4(-1, &ws, syscall.WALL, nil)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case (ws.Exited() || ws.Signaled()) && tid == pid:
			if !ws.Exited() || ws.ExitStatus() != 0 {
				t.Fatalf("the locked process ended with %#x after %d traps", ws, trapped)
			}
			if want := provenThreads * len(refused); trapped < want {
				t.Errorf("%d calls trapped, want at least %d", trapped, want)
			}
			return
		case !ws.Stopped():
			continue
		}
		deliver := 0
		switch ws.StopSignal() {
		case syscall.SIGSYS:
			if err := answer(tid); err == syscall.ESRCH {
				continue // the process ended meanwhile
			} else if err != nil {
				t.Fatal(err)
			}
			trapped++
			if !compared {
				compared = true
				everyThreadLocked(t, pid)
				compareLoaded(t, tid)
			}
		case syscall.SIGTRAP, syscall.SIGSTOP:
		default:
			deliver = int(ws.StopSignal())
		}
		syscall.PtraceCont(tid, deliver)
	}
}

// answer makes a trapped call of a stopped thread return -ENOSYS if it is one of the probes.
// The other calls are the stock runtime's, which is in the child: those that the lock admits
// with the mark are made again with it, the rest return 0.
func answer(tid int) error {
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	args := [6]uintptr{uintptr(regs.Rdi), uintptr(regs.Rsi), uintptr(regs.Rdx), uintptr(regs.R10), uintptr(regs.R8), uintptr(regs.R9)}
	const syscallLength = 2 // of the instruction, in bytes
	enosys := syscall.ENOSYS
	probed := slices.ContainsFunc(refused, func(p probe) bool { return uintptr(regs.Rax) == p.call && args == p.args })
	switch {
	case probed:
		regs.Rax = -uint64(enosys)
	case regs.Rax == syscall.SYS_READ || regs.Rax == syscall.SYS_WRITE:
		regs.Rdi |= Mark
		regs.Rip -= syscallLength
	case regs.Rax == syscall.SYS_MMAP:
		regs.R8 = uint64(uint32(regs.R8)) | Mark
		regs.Rip -= syscallLength
	case regs.Rax == sysFutex:
		regs.Rsi |= Mark
		regs.Rip -= syscallLength
	default:
		regs.Rax = 0
	}
	return syscall.PtraceSetRegs(tid, &regs)
}

// everyThreadLocked reads the state of each thread from the outside.
func everyThreadLocked(t *testing.T, pid int) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	if len(tasks) < provenThreads {
		t.Errorf("only %d threads to look at", len(tasks))
	}
	for _, task := range tasks {
		f, err := os.Open(fmt.Sprintf("/proc/%d/task/%s/status", pid, task.Name()))
		if err != nil {
			continue // the thread has ended
		}
		defer f.Close()
		got := map[string]string{}
		for s := bufio.NewScanner(f); s.Scan(); {
			if k, v, ok := strings.Cut(s.Text(), ":"); ok && (k == "NoNewPrivs" || k == "Seccomp") {
				got[k] = strings.TrimSpace(v)
			}
		}
		if diff := cmp.Diff(map[string]string{"NoNewPrivs": "1", "Seccomp": "2"}, got); diff != "" {
			t.Errorf("thread %s: %s", task.Name(), diff)
		}
	}
}

// compareLoaded reads the filter of a stopped thread back from the kernel and compares it
// with the program.
func compareLoaded(t *testing.T, tid int) {
	const getFilter = 0x420c // PTRACE_SECCOMP_GET_FILTER, ptrace(2)
	n, _, e := syscall.RawSyscall6(syscall.SYS_PTRACE, getFilter, uintptr(tid), 0, 0, 0, 0)
	if e != 0 {
		t.Logf("loaded filter not compared: the kernel does not give it (%v; it asks for CAP_SYS_ADMIN and CONFIG_CHECKPOINT_RESTORE)", e)
		return
	}
	loaded := make([]Instruction, n)
	if _, _, e := syscall.RawSyscall6(syscall.SYS_PTRACE, getFilter, uintptr(tid), 0, uintptr(unsafe.Pointer(&loaded[0])), 0, 0); e != 0 {
		t.Fatalf("read the loaded filter: %v", e)
	}
	if diff := cmp.Diff(Program(Trap), loaded); diff != "" {
		t.Errorf("the loaded filter is not the table's:\n%s", diff)
	}
	t.Logf("loaded filter compared: %d instructions", n)
}

func TestLoadResult(t *testing.T) {
	for _, c := range []struct {
		r    uintptr
		e    syscall.Errno
		want string
	}{
		{0, 0, ""},
		{4711, 0, "host thread 4711"},
		{^uintptr(0), syscall.EACCES, "permission denied"},
		{^uintptr(0), syscall.ENOSYS, "no seccomp filters"},
	} {
		err := loadResult(c.r, c.e)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("seccomp(2) returning %d, %v: %v, want %q", int(c.r), c.e, err, c.want)
		}
	}
}
