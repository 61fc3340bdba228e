package launch

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// SealedExecutable returns a file in memory with the given content, opened read-only, that
// can be executed and never be changed. The caller closes it.
func SealedExecutable(name string, content []byte) (*os.File, error) {
	// A child forked while the writable descriptor is open would hold it until it executes
	// something, and executing a file that anybody has open for writing fails (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()

	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3, when every memfd was executable
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if errors.Is(err, unix.EACCES) {
		return nil, fmt.Errorf("make an executable file in memory: this host forbids them (sysctl vm.memfd_noexec): %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("make an executable file in memory: %w", err)
	}
	defer unix.Close(fd)
	for rest := content; len(rest) > 0; {
		n, err := unix.Write(fd, rest)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("fill an executable file in memory: %w", err)
		}
		rest = rest[max(n, 0):]
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE); err != nil {
		return nil, fmt.Errorf("seal an executable file in memory: %w", err)
	}
	ro, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open an executable file in memory for reading: %w", err)
	}
	return os.NewFile(uintptr(ro), name), nil
}
