package launch

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"pinhole/runtime/seccomp"
)

// Enclosure is what the process inside must know of its own launch. All fields have a fixed
// size, so that encoding/binary can carry it in the configuration.
type Enclosure struct {
	Started Layers // the layers that Start has put in place
	Require Layers // layers whose absence is an error
	Limits  Limits
}

// Enclose finishes the second layer from within the sandbox process, which must have been
// made by [Start]. It is to be called first thing, before the process has made threads of
// its own or read anything that is not the supervisor's: it acts on each of the threads that
// the Go runtime has by then, and later ones inherit from these. It returns all layers that
// are in force, those of Start included. ResourceLimits are [Seal]'s.
//
// On an error the process must end.
func Enclose(e Enclosure) (Layers, error) {
	in := e.Started
	if err := closeOthers(); err != nil {
		return in, err
	}
	if err := checkDescriptors(func(i int) int { return i }); err != nil {
		return in, err
	}
	name := [16]byte{}
	copy(name[:], Name)
	if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name)), 0, 0, 0); err != nil {
		return in, fmt.Errorf("name the process: %w", err)
	}

	// Start has set no_new_privs before there was a second thread; this only checks it.
	if on, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err != nil || on != 1 {
		return in, fmt.Errorf("no_new_privs is not set (%d, %v)", on, err)
	}
	in |= NoNewPrivileges

	switch err := emptyRoot(in&MountNamespace != 0); {
	case err == nil:
		in |= EmptyRoot
	case !forbidden(err):
		return in, err
	}
	switch ok, err := landlock(); {
	case err != nil:
		return in, err
	case ok:
		in |= Landlock
	}
	if err := dropCapabilities(); err != nil {
		return in, err
	}
	in |= NoCapabilities
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return in, fmt.Errorf("make the process undumpable: %w", err)
	}
	in |= Undumpable

	if missing := e.Require &^ (in | ResourceLimits); missing != 0 {
		return in, &MissingError{missing}
	}
	return in, nil
}

// emptyRoot takes the host's file tree away from the process. With a mount namespace of its
// own the process gets a new, empty file system as its only mount, and a deleted directory
// in it as root directory: nothing can be made there, and a process whose root is not the
// root of its mount namespace can make no user namespace in which it would have capabilities
// again (user_namespaces(7)). Where that is forbidden it is confined to the directory of
// /proc that lists its own descriptors.
func emptyRoot(mounts bool) error {
	if mounts {
		if err := emptyMounts(); !forbidden(err) {
			return err
		}
	}
	if err := unix.Chroot("/proc/self/fdinfo"); err != nil {
		return fmt.Errorf("confine the process to a directory without files: %w", err)
	}
	return unix.Chdir("/")
}

func emptyMounts() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"keep mounts from spreading to the host", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"mount an empty file system", func() error { return unix.Mount("none", "/", "tmpfs", flags, "size=4k,nr_inodes=4,mode=755") }},
		// The root directory is still the one below the new mount. Its ".." is itself, but
		// seen with what is mounted on it.
		{"enter the empty file system", func() error { return unix.Chdir("/..") }},
		{"make a directory in it", func() error { return unix.Mkdir("empty", 0o500) }},
		{"make it the only mount", pivotHere},
		{"make the directory the root", func() error { return unix.Chroot("empty") }},
		{"delete the directory", func() error { return unix.Rmdir("empty") }}, // from outside: "." is its parent
		{"make the empty file system read-only", func() error {
			return unix.Mount("none", ".", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|flags, "")
		}},
		{"enter the directory", func() error { return unix.Chdir("/") }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("empty root directory: %s: %w", step.what, err)
		}
	}
	return nil
}

// pivotHere makes the mount at the working directory the root of the mount namespace and
// takes all others out of it.
func pivotHere() error {
	switch err := unix.PivotRoot(".", "."); err {
	case nil:
		return unix.Unmount(".", unix.MNT_DETACH)
	case unix.EINVAL:
		return nil // an initial RAM disk cannot be replaced (pivot_root(2)): its mounts stay, out of reach
	default:
		return err
	}
}

// dropCapabilities empties the capability sets of every thread. The ambient set follows the
// permitted one. The bounding set stays: it limits what executing a file can give, and with
// no_new_privs that is nothing.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0); e != 0 {
		return fmt.Errorf("drop all capabilities: %w", e)
	}
	return nil
}

// forbidden tells a host's refusal from a fault: no right, no such feature, none left.
func forbidden(err error) bool {
	if err == nil {
		return false
	}
	for _, e := range []error{unix.EPERM, unix.EACCES, unix.ENOSYS, unix.EINVAL, unix.ENOSPC, unix.EUSERS, unix.ENOENT, unix.ENODEV, unix.EROFS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Limits bounds what the process can take from the host even if nobody stops it.
type Limits struct {
	AddressSpace uint64 // bytes of address space, whether used or not; 0: no limit
	Data         uint64 // bytes of private writable mappings; 0: no limit
	CPUSeconds   uint64 // processor time after which the process is killed; 0: no limit
}

// LimitsFor returns the limits for a sandbox whose guests may have memory bytes. What guests
// map is counted by the kernel inside; this bounds what a kernel that was taken over can get,
// and leaves an honest one room for its own heap.
func LimitsFor(memory int64) Limits {
	const heap = 1 << 30
	return Limits{Data: uint64(memory) + heap}
}

// Seal sets the resource limits. It is to be called when the process has all its threads and
// mappings, just before the lock: it can open no descriptor and start no thread afterwards.
func Seal(l Limits) error {
	fileSize := uint64(0)
	for _, fd := range []int{seccomp.Stdout, seccomp.Stderr} {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return fmt.Errorf("look at descriptor %d: %w", fd, err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			fileSize = unix.RLIM_INFINITY // output goes to a file: its size is the caller's business
		}
	}
	orNone := func(v uint64) uint64 {
		if v == 0 {
			return unix.RLIM_INFINITY
		}
		return v
	}
	for _, r := range []struct {
		name     string
		resource int
		value    uint64
	}{
		{"address space", unix.RLIMIT_AS, orNone(l.AddressSpace)},
		{"data", unix.RLIMIT_DATA, orNone(l.Data)},
		{"processor time", unix.RLIMIT_CPU, orNone(l.CPUSeconds)},
		{"file size", unix.RLIMIT_FSIZE, fileSize},
		{"descriptors", unix.RLIMIT_NOFILE, 0}, // those that are open stay usable
		{"tasks", unix.RLIMIT_NPROC, 0},
		{"core dump", unix.RLIMIT_CORE, 0},
		{"locked memory", unix.RLIMIT_MEMLOCK, 0},
		{"message queues", unix.RLIMIT_MSGQUEUE, 0},
		{"niceness", unix.RLIMIT_NICE, 0},
		{"real-time priority", unix.RLIMIT_RTPRIO, 0},
	} {
		var old unix.Rlimit
		if err := unix.Getrlimit(r.resource, &old); err != nil {
			return fmt.Errorf("read the limit on %s: %w", r.name, err)
		}
		v := min(r.value, old.Max) // a lower limit of the host's own stands
		if err := unix.Setrlimit(r.resource, &unix.Rlimit{Cur: v, Max: v}); err != nil {
			return fmt.Errorf("limit %s to %d: %w", r.name, v, err)
		}
	}
	return nil
}
