package host

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"pinhole/tests/harness/overlay"
)

// TestLocked runs this package's tests behind the lock, in a binary such as pinhole-kernel: with the
// runtime overlay, linked high.
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
			args := []string{"-test.v", "-test.run", "^Test"}
			if testing.Short() {
				args = append(args, "-test.short")
			}
			cmd := exec.Command(bin, args...)
			cmd.Env = []string{envMode + "=" + mode, envGuest + "=" + guests.file}
			// Pipes of which nobody ever uses the other end.
			var in, out [3]*os.File
			for i := range in {
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				defer w.Close()
				in[i], out[i] = r, w
			}
			f, err := descriptors(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdin = in[0]
			cmd.ExtraFiles = []*os.File{in[1], out[1], in[2], out[2], f.entropy, f.image, f.ram}
			var text bytes.Buffer
			cmd.Stdout, cmd.Stderr = &text, &text
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if mode == "trap" {
				stopAndGo(cmd.Process)
			}
			err = cmd.Wait()
			if err != nil || !strings.HasSuffix(text.String(), "PASS\n") {
				t.Errorf("behind the lock: %v\n%s", err, text.String())
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
