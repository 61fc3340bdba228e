package supervisor

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

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

// settled is how long a sandbox has to run before the supervisor gives back the memory that only
// its start needed.
const settled = 300 * time.Millisecond

// trim gives back what the start of a sandbox left behind: garbage, and the pages of this program's
// own file. What of these is needed again is in the host's page cache.
func trim() {
	debug.FreeOSMemory()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(maps)) {
		// "00400000-00733000 r-xp 00000000 fe:00 1234    /path": see proc_pid_maps(5).
		f := strings.Fields(line)
		if len(f) < 6 || f[5] != self || f[1] != "r-xp" && f[1] != "r--p" {
			continue
		}
		lo, hi, _ := strings.Cut(f[0], "-")
		from, err1 := strconv.ParseUint(lo, 16, 64)
		to, err2 := strconv.ParseUint(hi, 16, 64)
		if err1 == nil && err2 == nil && from < to {
			// Never written, so the file still has them: nothing is lost.
			unix.Syscall(unix.SYS_MADVISE, uintptr(from), uintptr(to-from), unix.MADV_DONTNEED)
		}
	}
}
