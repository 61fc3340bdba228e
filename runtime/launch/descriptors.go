package launch

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/go-multierror"
	"golang.org/x/sys/unix"

	"pinhole/runtime/seccomp"
)

// descriptorRule says what one of the sandbox's descriptors may be. Whatever is not stated
// is refused: a terminal (whose input can be pushed), a directory, a device, a socket (an
// AF_UNIX one can carry descriptors in).
type descriptorRule struct {
	name   string
	types  []uint32 // S_IFMT values; 0 is an anonymous inode such as an eventfd
	access []int    // O_ACCMODE values
	device uint64   // of a character device: the only one
	seals  int      // of a memfd: the seals it must have
}

var (
	streamTypes = []uint32{unix.S_IFIFO, unix.S_IFREG}
	readable    = []int{unix.O_RDONLY, unix.O_RDWR}
	writable    = []int{unix.O_WRONLY, unix.O_RDWR}
)

const sizeSealed = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW

var descriptorRules = [seccomp.Descriptors]descriptorRule{
	seccomp.Stdin:       {name: "standard input", types: streamTypes, access: readable},
	seccomp.Stdout:      {name: "standard output", types: streamTypes, access: writable},
	seccomp.Stderr:      {name: "standard error", types: streamTypes, access: writable},
	seccomp.ControlIn:   {name: "control in", types: []uint32{unix.S_IFIFO}, access: readable},
	seccomp.ControlOut:  {name: "control out", types: []uint32{unix.S_IFIFO}, access: writable},
	seccomp.DoorbellIn:  {name: "doorbell in", types: []uint32{0}, access: readable},
	seccomp.DoorbellOut: {name: "doorbell out", types: []uint32{0}, access: writable},
	seccomp.Entropy:     {name: "entropy", types: []uint32{unix.S_IFCHR}, access: []int{unix.O_RDONLY}, device: unix.Mkdev(1, 9)},
	seccomp.Image:       {name: "image", types: []uint32{unix.S_IFREG}, access: []int{unix.O_RDONLY}},
	seccomp.RAM:         {name: "guest memory", types: []uint32{unix.S_IFREG}, access: []int{unix.O_RDWR}, seals: sizeSealed},
	seccomp.Ring:        {name: "block ring", types: []uint32{unix.S_IFREG}, access: []int{unix.O_RDWR}, seals: sizeSealed},
}

// CheckDescriptor says why the open descriptor fd may not be handed to a sandbox as its
// descriptor number as, or nil.
func CheckDescriptor(as, fd int) error {
	rule := &descriptorRules[as]
	refuse := func(what string) error {
		return fmt.Errorf("descriptor %d (%s): %s", as, rule.name, what)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return refuse(err.Error())
	}
	if !slices.Contains(rule.types, st.Mode&unix.S_IFMT) {
		return refuse("is " + typeName(st.Mode))
	}
	if rule.device != 0 && st.Rdev != rule.device {
		return refuse(fmt.Sprintf("is device %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return refuse(err.Error())
	}
	if flags&unix.O_PATH != 0 || !slices.Contains(rule.access, flags&unix.O_ACCMODE) {
		return refuse("is opened for other access than it should be")
	}
	if rule.seals != 0 {
		seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
		if err != nil || seals&rule.seals != rule.seals {
			return refuse("is not a memfd sealed against resizing")
		}
	}
	return nil
}

func checkDescriptors(fd func(i int) int) error {
	var errs *multierror.Error
	for i := range descriptorRules {
		if err := CheckDescriptor(i, fd(i)); err != nil {
			errs = multierror.Append(errs, err)
		}
	}
	return errs.ErrorOrNil()
}

// closeOthers closes every descriptor that the sandbox should not have.
func closeOthers() error {
	err := unix.CloseRange(seccomp.Descriptors, ^uint(0), 0)
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.9
		var lim unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
			return fmt.Errorf("close inherited descriptors: %w", err)
		}
		for fd := seccomp.Descriptors; uint64(fd) < lim.Max && fd < 1<<20; fd++ {
			unix.Close(fd)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("close inherited descriptors: %w", err)
	}
	return nil
}

func typeName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFCHR:
		return "a terminal or another character device"
	case unix.S_IFBLK:
		return "a block device"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFIFO:
		return "a pipe"
	case unix.S_IFREG:
		return "a regular file"
	case 0:
		return "an eventfd or the like"
	}
	return fmt.Sprintf("of unknown type %#o", mode)
}
