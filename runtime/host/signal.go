package host

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"pinhole/emu/guest"
)

// tickSignal is what the processor-time timers of the host threads send. Go makes no use of it.
const tickSignal = int(syscall.SIGVTALRM)

// Variables that the handler uses. All but the counters are written before the first guest runs.
var (
	fixups  [2]guest.Fixup // where a fault in the guest copies goes on
	chained [65]uintptr    // by signal: the handler before ours, which is the Go runtime's

	// runtimeLocked is 1 behind the lock. The runtime overlay knows the word by this name.
	runtimeLocked uint32

	// startMonitor starts the Go runtime's monitor thread, which the runtime overlay leaves to us; nil
	// without the overlay. The overlay knows it by this name.
	startMonitor func()

	// threadsApart counts those threads that are not for guests and have come up; nil without
	// the overlay.
	threadsApart func() int
	strictCalls  uint32     // a refused call of our own is fatal
	checkThreads uint32 = 1 // there may be threads that have not been adopted

	refusedCalls uint64 // calls of our own that the lock refused
	refusedCall  uint32 // number of the last one

	mxcsrDefault uint32 = 0x1f80
	fcwDefault   uint16 = 0x37f
)

const (
	fatalMessage = "pinhole: kernel bug: fault inside the signal handler\n"
	fatalLen     = len(fatalMessage)
)

var fatalText = [fatalLen]byte([]byte(fatalMessage))

// sigaction is the kernel's struct sigaction of x86-64.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

const (
	saSiginfo  = 0x4
	saRestorer = 0x04000000
	saOnstack  = 0x08000000
	saRestart  = 0x10000000
	saNodefer  = 0x40000000
)

// faultSignals are those that a guest raises by what it does.
var faultSignals = [...]syscall.Signal{
	syscall.SIGILL, syscall.SIGTRAP, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGSEGV, syscall.SIGSYS,
}

func isFault(sig int) bool {
	for _, s := range faultSignals {
		if int(s) == sig {
			return true
		}
	}
	return false
}

func getAction(sig int) (a sigaction, err error) {
	return a, setOrGet(sig, nil, &a)
}

func setAction(sig int, a sigaction) error {
	return setOrGet(sig, &a, nil)
}

func setOrGet(sig int, new, old *sigaction) error {
	_, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(new)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	if e != 0 {
		return fmt.Errorf("host: signal %d: rt_sigaction: %w", sig, e)
	}
	return nil
}

// installHandlers puts our handler in front of every one that the Go runtime has. Even
// those signals that mean nothing to us may come while a guest has the thread, whose FS base
// the runtime's handler would take for its own.
func installHandlers(handler uintptr) error {
	segv, err := getAction(int(syscall.SIGSEGV))
	if err != nil {
		return err
	}
	if segv.handler <= 1 || segv.flags&saRestorer == 0 {
		return fmt.Errorf("host: the Go runtime has no SIGSEGV handler: it cannot be in front of it")
	}
	for sig := 1; sig < len(chained); sig++ {
		if sig == int(syscall.SIGKILL) || sig == int(syscall.SIGSTOP) {
			continue
		}
		old, err := getAction(sig)
		if err != nil {
			return err
		}
		if old.handler > 1 {
			chained[sig] = old.handler
		}
		a := sigaction{handler: handler, flags: saSiginfo | saOnstack | saRestart | saRestorer, restorer: segv.restorer}
		switch {
		case isFault(sig) || sig == tickSignal:
			a.flags |= saNodefer // nothing unmasks after us
		case old.handler > 1:
			a.mask = ^uint64(0)
		default:
			continue
		}
		if err := setAction(sig, a); err != nil {
			return err
		}
	}
	return nil
}

// sealSignals gives the signals that have no meaning behind the lock an action that needs no
// call: the runtime's handlers would return by rt_sigreturn.
func sealSignals() error {
	for sig := 1; sig < len(chained); sig++ {
		if isFault(sig) || sig == tickSignal || sig == int(syscall.SIGKILL) || sig == int(syscall.SIGSTOP) {
			continue
		}
		a := sigaction{handler: 1} // ignore
		switch syscall.Signal(sig) {
		case syscall.SIGTERM, syscall.SIGABRT, syscall.SIGXCPU:
			a.handler = 0 // die
		}
		if err := setAction(sig, a); err != nil {
			return err
		}
	}
	return nil
}

// SetStrict makes a host call of the kernel's own that the lock refuses a fatal error with a trace,
// from now on. Otherwise it is answered with ENOSYS and counted.
func SetStrict(on bool) {
	v := uint32(0)
	if on {
		v = 1
	}
	atomic.StoreUint32(&strictCalls, v)
}

// RefusedCalls returns how many host calls of the kernel's own the lock has refused, and the
// number of the last: none, unless there is a bug.
func RefusedCalls() (n uint64, last uint32) {
	return atomic.LoadUint64(&refusedCalls), atomic.LoadUint32(&refusedCall)
}
