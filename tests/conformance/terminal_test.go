package conformance

import (
	"bytes"
	"io"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"pinhole/tests/harness"
)

// TestTerminal runs the program about background processes on a pseudo terminal, natively as the leader of its
// session, and in a sandbox, which has a session of its own.
func TestTerminal(t *testing.T) {
	src := filepath.Join("terminal", "jobs.c")
	t.Run("native", func(t *testing.T) { onTerminal(t, harness.NativeCC(t, src)) })
	t.Run("pinhole", func(t *testing.T) {
		img := harness.Image(t, "32M", map[string]string{"/app": harness.GuestCC(t, src)})
		onTerminal(t, harness.Pinhole(t), "run", "--image", img, "/app")
	})
}

// onTerminal runs a command on a terminal of its own, at which somebody has typed a line, and wants it to succeed.
func onTerminal(t *testing.T, command ...string) {
	t.Helper()
	master, tty := harness.Terminal(t)
	if _, err := master.WriteString("typed\n"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	read := make(chan bool)
	go func() {
		defer close(read)
		io.Copy(&said, master) // until nobody has the other side open: EIO
	}()
	timer := time.AfterFunc(harness.Timeout, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	timer.Stop()
	tty.Close()
	<-read
	if err != nil {
		t.Errorf("%v\n%s", err, said.String())
	}
}
