package supervisor

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is the sandbox process.
type process struct {
	p       *os.Process
	missing []string // layers of protection that the host does not offer
}

// start starts kernel with the given descriptors, in this order from 0 on.
func start(kernel *os.File, files []*os.File, _ bool) (*process, error) {
	// The child's descriptors are put in place before it executes: the program's must lie above them.
	fd, err := unix.FcntlInt(kernel.Fd(), unix.F_DUPFD_CLOEXEC, 64)
	if err != nil {
		return nil, fmt.Errorf("starting the sandbox: %w", err)
	}
	defer unix.Close(fd)
	p, err := os.StartProcess(fmt.Sprintf("/proc/self/fd/%d", fd), []string{"pinhole-kernel"}, &os.ProcAttr{
		Env:   []string{},
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return nil, fmt.Errorf("starting the sandbox: %w", err)
	}
	return &process{p: p}, nil
}

// wait returns how the process ended.
func (p *process) wait() unix.WaitStatus {
	s, err := p.p.Wait()
	if err != nil {
		return 0
	}
	return unix.WaitStatus(s.Sys().(syscall.WaitStatus))
}

func (p *process) kill() { p.p.Kill() }
