package host

import (
	"fmt"
	"syscall"
	"unsafe"

	"pinhole/abi"
	"pinhole/runtime/seccomp"
)

// HostRead implements emu.Machine.
func (m *Machine) HostRead(fd int, p []byte) (int, abi.Errno) {
	return transfer(syscall.SYS_READ, fd, p)
}

// HostWrite implements emu.Machine.
func (m *Machine) HostWrite(fd int, p []byte) (int, abi.Errno) {
	return transfer(syscall.SYS_WRITE, fd, p)
}

// transfer does a read or write; EINTR is never shown. SIGPIPE is ignored behind the lock, so
// a reader that went away is EPIPE.
func transfer(call uintptr, fd int, p []byte) (int, abi.Errno) {
	for {
		n, _, e := syscall.Syscall(call, seccomp.Mark|uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch e {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, abi.Errno(e)
		}
	}
}

// Entropy implements emu.Machine.
func (m *Machine) Entropy(p []byte) error {
	for len(p) > 0 {
		n, e := transfer(syscall.SYS_READ, m.entropyFD, p[:min(len(p), 1<<16)])
		if e != 0 {
			return fmt.Errorf("host: entropy: read of descriptor %d: %w", m.entropyFD, syscall.Errno(e))
		}
		if n == 0 {
			return fmt.Errorf("host: entropy: descriptor %d is at its end: it is no entropy source", m.entropyFD)
		}
		p = p[n:]
	}
	return nil
}
