package escape

import (
	"debug/elf"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pinhole/runtime/launch"
	"pinhole/tests/harness"
)

// TestWildWrite: a guest destroys the kernel in its own process. The sandbox ends in
// whatever way or goes on; the supervisor stays well, ends it when told, and the image is
// sound. What is said on standard error can be the dying kernel's, and anything.
func TestWildWrite(t *testing.T) {
	for _, c := range []struct {
		where     string
		kilobytes int
	}{{"c000000000", 64}, {"60001000", 64}, {"10000", 64}, {"7fff00000000", 64}, {"context", 4}, {"stack", 2}, {"heap", 2048}, {kernelData(t), 64}} {
		t.Run(c.where, func(t *testing.T) {
			s := start(t, "wildwrite", c.where, strconv.Itoa(c.kilobytes))
			s.until("writing")
			time.Sleep(200 * time.Millisecond)
			s.cmd.Process.Signal(syscall.SIGTERM) // if it is still there
			timer := time.AfterFunc(5*time.Second, func() { s.cmd.Process.Kill() })
			status := s.wait()
			if !timer.Stop() {
				t.Errorf("did not end by SIGTERM")
			}
			if status < 70 {
				t.Errorf("exit status %d\n%s", status, s.stderr.String())
			}
			t.Logf("exit status %d: %.300s", status, s.stderr.String())
		})
	}
}

// kernelData returns the address, in hex, of the kernel's variables.
func kernelData(t *testing.T) string {
	t.Helper()
	harness.Pinhole(t)
	f, err := elf.Open(filepath.Join(harness.Root(), "build", "bin", launch.Name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_W != 0 {
			return strconv.FormatUint(p.Vaddr&^4095, 16)
		}
	}
	t.Fatal("the kernel has no variables")
	return ""
}

// TestKernelJump uses the kernel's own system call instructions for a forbidden call. What
// the code behind the instruction then does with the guest's stack is the guest's problem; a
// sandbox that goes round in it for ever can be ended.
func TestKernelJump(t *testing.T) {
	for which := range 8 {
		s := start(t, "kerneljump", "@canary@/../made", strconv.Itoa(which))
		s.stdin.Close()
		if line, ok := s.next(); !ok || line != "site" {
			t.Errorf("no system call instruction %d: %q", which, line)
		}
		select {
		case <-s.lines:
		case <-time.After(2 * time.Second):
			s.cmd.Process.Signal(syscall.SIGTERM)
		}
		t.Logf("instruction %d: exit status %d: %.200s", which, s.wait(), s.stderr.String())
	}
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
