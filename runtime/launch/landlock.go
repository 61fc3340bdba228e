package launch

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// landlockRuleset is struct landlock_ruleset_attr as far as this package knows it. A host
// that knows less accepts the rest as long as it is zero.
type landlockRuleset struct {
	files  uint64 // kinds of access to files that a rule must allow
	net    uint64 // kinds of access to ports
	scoped uint64 // what does not reach out of the sandbox
}

// landlockRights has, for each version of Landlock's interface from 1 on, everything that it
// can take away (landlock(7), linux/landlock.h). A later version takes away no less.
var landlockRights = [...]landlockRuleset{
	1: {files: 1<<13 - 1},
	2: {files: 1<<14 - 1},                                  // move and link between directories
	3: {files: 1<<15 - 1},                                  // truncate
	4: {files: 1<<15 - 1, net: 1<<2 - 1},                   // bind and connect TCP
	5: {files: 1<<16 - 1, net: 1<<2 - 1},                   // ioctl on devices
	6: {files: 1<<16 - 1, net: 1<<2 - 1, scoped: 1<<2 - 1}, // abstract sockets, signals
}

// landlock takes from every thread of the process all rights that Landlock knows: it can
// open no file or directory from then on. It reports false where the host has no Landlock.
func landlock() (bool, error) {
	version, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch e {
	case 0:
	case unix.ENOSYS, unix.EOPNOTSUPP, unix.EPERM: // not built in; off at boot; forbidden by a container's filter
		return false, nil
	default:
		return false, fmt.Errorf("ask for Landlock's version: %w", e)
	}
	attr := landlockRights[min(int(version), len(landlockRights)-1)]
	fd, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if e != 0 {
		return false, fmt.Errorf("make a Landlock rule set: %w", e)
	}
	defer unix.Close(int(fd))
	// The set has no rule, so nothing is allowed. It binds single threads.
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); e != 0 {
		return false, fmt.Errorf("apply a Landlock rule set: %w", e)
	}
	return true, nil
}
