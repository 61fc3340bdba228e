package supervisor

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// sealedMemory makes a memfd of n zero bytes whose size nobody can change any more, so that
// a mapping of it never faults for want of a page behind its end.
func sealedMemory(name string, n int64) (int, error) {
	fd, err := unix.MemfdCreate("pinhole-"+name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // before Linux 6.3: no such flag
		fd, err = unix.MemfdCreate("pinhole-"+name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return -1, fmt.Errorf("making shared memory (memfd_create): %w", err)
	}
	if err := unix.Ftruncate(fd, n); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("making %d bytes of shared memory: %w", n, err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("sealing shared memory: %w", err)
	}
	return fd, nil
}
