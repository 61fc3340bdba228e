package seccomp

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"github.com/hashicorp/go-multierror"
)

// probe is a call with arguments for which the host kernel, unlocked, would return anything
// but ENOSYS, and which would change nothing.
type probe struct {
	name string
	call uintptr
	args [6]uintptr
}

const sysFutex = 202

// refused has one probe of a call that no row names and one beside each kind of row.
var refused = []probe{
	{"getpid", syscall.SYS_GETPID, [6]uintptr{}},
	{"close", syscall.SYS_CLOSE, [6]uintptr{1 << 20}},
	{"read of the image", syscall.SYS_READ, [6]uintptr{Mark | Image}},
	{"write to standard input", syscall.SYS_WRITE, [6]uintptr{Mark | Stdin}},
	{"write without the mark", syscall.SYS_WRITE, [6]uintptr{Stdout}},
	{"shared anonymous mmap", syscall.SYS_MMAP, [6]uintptr{0, 0, 0, mapShared | mapAnonymous, Mark | noFile}},
	{"futex requeue", sysFutex, [6]uintptr{0, Mark | 3 | futexPrivate}},
}

// Prove shows from inside that the lock holds: on each of n host threads at once it makes
// calls that the filter must refuse, and one that it must admit. It is to be called after
// [Load] with [Trap], by a process whose SIGSYS handler answers a trapped call of the
// process's own with -ENOSYS. Without such a handler the process ends at the first probe.
//
// n must not exceed the host threads that are idle or running Go code: after the lock the Go
// runtime cannot make another, and ends the process when it has to. That threads beyond
// these are locked follows from the result of Load, which locks all or fails.
func Prove(n int) error {
	var (
		mu   sync.Mutex
		errs *multierror.Error
		all  sync.WaitGroup
		here sync.WaitGroup
	)
	all.Add(n)
	here.Add(n)
	for range n {
		go func() {
			defer all.Done()
			runtime.LockOSThread() // one goroutine a thread while all of them wait for each other
			defer runtime.UnlockOSThread()
			err := proveThread()
			here.Done()
			here.Wait()
			if err != nil {
				mu.Lock()
				errs = multierror.Append(errs, err)
				mu.Unlock()
			}
		}()
	}
	all.Wait()
	return errs.ErrorOrNil()
}

// proveThread makes the probes on the calling thread.
func proveThread() error {
	for _, p := range refused {
		a := &p.args
		r, _, e := syscall.RawSyscall6(p.call, a[0], a[1], a[2], a[3], a[4], a[5])
		if e != syscall.ENOSYS {
			return fmt.Errorf("the system call filter does not hold: %s returned %d (%v) instead of being refused", p.name, int(r), e)
		}
	}
	var word uint32
	if _, _, e := syscall.RawSyscall6(sysFutex, uintptr(unsafe.Pointer(&word)), Mark|futexWake|futexPrivate, 1, 0, 0, 0); e != 0 {
		return errors.New("the system call filter refuses a call of its table: futex wake: " + e.Error())
	}
	return nil
}
