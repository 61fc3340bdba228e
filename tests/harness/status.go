package harness

import (
	"os"
	"syscall"
)

// ExitStatus is a shell's view of how a process ended: its exit status, or 128+N for signal N.
func ExitStatus(s *os.ProcessState) int {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}
