package host

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pinhole/tests/harness/hostcalls"
	"pinhole/tests/harness/overlay"
)

// TestLocked runs this package's tests behind the lock, in a binary such as pinhole-kernel: with the
// runtime overlay, linked high. The last time the calls that it makes are written down by strace: that the
// lock holds nothing back is one thing, that what passes is what its table says is another.
func TestLocked(t *testing.T) {
	if mode != "" {
		t.Skip("is behind the lock")
	}
	if guests.file == "" {
		t.Skip("no gcc to compile the guests with")
	}
	bin := overlay.TestBinary(t)
	for _, mode := range []string{"trap", "kill"} {
		t.Run(mode, func(t *testing.T) {
			args := []string{bin, "-test.v", "-test.timeout=0", "-test.run", "^Test"}
			if testing.Short() {
				args = append(args, "-test.short")
			}
			cmd, said := lockedCommand(t, mode, args)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if mode == "trap" {
				stopAndGo(cmd.Process)
			}
			passed(t, cmd, said)
		})
	}
	t.Run("traced", func(t *testing.T) {
		list := filepath.Join(t.TempDir(), "calls")
		cmd, said := lockedCommand(t, "kill", append(hostcalls.Command(t, list),
			bin, "-test.v", "-test.short", "-test.timeout=0", "-test.run", "^TestBusy$"))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		passed(t, cmd, said)
		f, err := os.Open(list)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		seen, err := hostcalls.Judge(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Log("calls behind the lock: ", seen.Admitted)
		for _, line := range seen.Stray[:min(len(seen.Stray), 10)] {
			t.Errorf("not in the lock's table: %s", line)
		}
		for _, call := range []string{"futex", "mmap", "write", "exit_group"} {
			if seen.Admitted[call] == 0 {
				t.Errorf("no %s after the lock", call)
			}
		}
	})
}

// lockedCommand is a command that runs the tests behind the lock, with descriptors as a sandbox has them.
func lockedCommand(t *testing.T, mode string, args []string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = []string{envMode + "=" + mode, envGuest + "=" + guests.file, envLong + "=" + os.Getenv(envLong)}
	// Pipes of which nobody ever uses the other end.
	var in, out [3]*os.File
	for i := range in {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close(); w.Close() })
		in[i], out[i] = r, w
	}
	f, err := descriptors(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = in[0]
	cmd.ExtraFiles = []*os.File{in[1], out[1], in[2], out[2], f.entropy, f.image, f.ram}
	said := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = said, said
	return cmd, said
}

// passed waits for the end of the tests behind the lock.
func passed(t *testing.T, cmd *exec.Cmd, said *bytes.Buffer) {
	t.Helper()
	err := cmd.Wait()
	if err != nil || !strings.HasSuffix(said.String(), "PASS\n") {
		t.Errorf("behind the lock: %v\n%s", err, said)
	}
	for line := range strings.Lines(said.String()) {
		if _, rounds, ok := strings.Cut(line, "rounds in "); ok {
			t.Log(strings.TrimSpace(rounds))
		}
	}
}

// TestBusyBites: when a part of the overlay is left out, TestBusy's end shows it.
func TestBusyBites(t *testing.T) {
	switch {
	case mode != "":
		t.Skip("is behind the lock")
	case guests.file == "":
		t.Skip("no gcc to compile the guests with")
	case os.Getenv(envLong) == "":
		t.Skip("builds Go's library several times: needs PINHOLE_LONG=1")
	}
	const assembly = "runtime/sys_linux_amd64.s"
	for name, edit := range map[string]overlay.Edit{
		"osyield":    {File: assembly, Old: "runtime·osyield(SB),NOSPLIT,$0\n\tCMPL\tpinhole∕runtime∕host·runtimeLocked(SB), $0", New: "runtime·osyield(SB),NOSPLIT,$0\n\tCMPL\tAX, AX"},
		"usleep":     {File: assembly, Old: "\tMOVQ\tSP, R10\n\tMOVQ\t$0x5048000000000000, AX\n", New: "\tMOVQ\tSP, R10\n\tMOVQ\t$0, AX\n"},
		"madvise":    {File: assembly, Old: "NOSPLIT,$0-28\n\tMOVL\t$-38, ret+24(FP)", New: "NOSPLIT,$0-28\n\tMOVQ\taddr+0(FP), DI\n\tMOVQ\tn+8(FP), SI\n\tMOVL\tflags+16(FP), DX\n\tMOVL\t$28, AX\n\tSYSCALL\n\tMOVL\tAX, ret+24(FP)"},
		"munmap":     {File: assembly, Old: "\tMOVL\t$0x32, R10\n\tMOVL\t$-1, R8\n", New: "\tMOVL\t$0x132, R10\n\tMOVL\t$-1, R8\n"},
		"preemption": {File: "runtime/runtime1.go", Old: "\tdebug.asyncpreemptoff = 1\n\tdebug.updatemaxprocs", New: "\tdebug.updatemaxprocs"},
	} {
		t.Run(name, func(t *testing.T) {
			bin := overlay.TestBinary(t, edit)
			cmd, said := lockedCommand(t, "kill", []string{bin, "-test.v", "-test.short", "-test.timeout=0", "-test.run", "^TestBusy$"})
			cmd.Env = append(cmd.Env, envLong+"=") // the last one counts
			err := cmd.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGSYS {
				t.Errorf("ended with %v, want SIGSYS\n%s", err, said)
			}
		})
	}
}

// stopAndGo stops the process now and then until it ends. To resume a wait with a time limit
// after a stop the host's kernel makes a call that is not the lock's: restart_syscall.
func stopAndGo(p *os.Process) {
	go func() {
		for {
			time.Sleep(5 * time.Millisecond)
			if p.Signal(syscall.SIGSTOP) != nil {
				return
			}
			time.Sleep(time.Millisecond)
			p.Signal(syscall.SIGCONT)
		}
	}()
}
