package guest

import (
	"fmt"
	"strings"

	"github.com/hashicorp/go-multierror"

	"pinhole/shim/golang/overlay"
)

// changes are the files that change in every release that is known.
func changes() *overlay.Overlay {
	return &overlay.Overlay{
		Changes: []overlay.Change{
			{File: "runtime/sys_linux_amd64.s", To: changeRuntime},
			{File: "runtime/time_linux_amd64.s", To: changeTime},
			{File: "runtime/rt0_linux_amd64.s", To: changeStart},
			{File: "syscall/asm_linux_amd64.s", To: changeSyscall},
		},
		Added: map[string]string{"runtime/pinhole_linux_amd64.s": startSource},
	}
}

// sites is how many SYSCALL instructions each function has.
type sites map[string]int

// In the runtime. A function that is not here, or has more or fewer, was not thought about.
var runtimeSites = sites{
	"exit": 1, "exitThread": 1, "open": 1, "closefd": 1, "write1": 1, "read": 1, "pipe2": 1, "usleep": 1,
	"gettid": 1, "raise": 3, "raiseproc": 2, "getpid": 1, "tgkill": 1, "setitimer": 1, "timer_create": 1,
	"timer_settime": 1, "timer_delete": 1, "mincore": 1, "nanotime1": 1, "rtsigprocmask": 1, "rt_sigaction": 1,
	"sigreturn__sigaction": 1, "sysMmap": 1, "sysMunmap": 1, "madvise": 1, "futex": 1, "clone": 3,
	"sigaltstack": 1, "settls": 1, "osyield": 1, "sched_getaffinity": 1, "access": 1, "connect": 1, "socket": 1,
	"sbrk0": 1,
}

// What stands in a SYSCALL's place.
const (
	// call is one instruction, since jumps across it count instructions. In a function with a frame
	// of size 0 it makes the assembler save the frame pointer, which moves SP and FP alike.
	call = "CALL\truntime·pinholeCall(SB)"
	// callInternal is for functions of the ABI in which X15 is zero. (R14, the goroutine, is kept.)
	callInternal = call + "\n\tXORPS\tX15, X15"
)

// through puts the gate in the place of all calls of a file that has exactly those of want.
func through(a *overlay.Assembly, want sites, instead string) error {
	var errs *multierror.Error
	found := map[string]bool{}
	for _, f := range a.Functions() {
		n := f.Calls()
		if n != want[f.Name] {
			errs = multierror.Append(errs, fmt.Errorf("function %s makes %d calls, want %d", f.Name, n, want[f.Name]))
		}
		if n > 0 {
			found[f.Name] = true
			f.ReplaceCalls(instead)
		}
	}
	for name := range want {
		if !found[name] {
			errs = multierror.Append(errs, fmt.Errorf("no function %s makes a call", name))
		}
	}
	return errs.ErrorOrNil()
}

// changeRuntime changes the runtime's own calls.
func changeRuntime(old string) (string, error) {
	a := overlay.ParseAssembly(old)
	errs := multierror.Append(nil, through(a, runtimeSites, call))
	change := func(name string, change func(f *overlay.Function) error) {
		f, err := a.Function(name)
		if err == nil {
			err = change(f)
		}
		errs = multierror.Append(errs, err)
	}
	// The kernel takes the frame from the stack pointer, so none may be added.
	change("sigreturn__sigaction", func(f *overlay.Function) error {
		return replaceOnce(&f.Head, ",NOSPLIT,", ",NOSPLIT|NOFRAME,")
	})
	// clone is without a frame already; what its child finds on its stack is not looked at.
	change("clone", func(f *overlay.Function) error {
		if !strings.Contains(f.Head, "NOFRAME") {
			return fmt.Errorf("function clone has a frame")
		}
		return nil
	})
	// When the word is zero the stack may be another's: nothing is pushed any more.
	change("exitThread", func(f *overlay.Function) error {
		return replaceOnce(&f.Body, "CALL\truntime·pinholeCall(SB)", "JMP\truntime·pinholeCall(SB)")
	})
	// A program may set its own FS base, in user mode.
	change("settls", func(f *overlay.Function) error {
		if !strings.Contains(f.Body, "$0x1002, DI") || !strings.Contains(f.Body, "ADDQ\t$8, DI") {
			return fmt.Errorf("function settls sets something else")
		}
		f.Replace("TEXT runtime·settls(SB),NOSPLIT|NOFRAME,$0\n\tADDQ\t$8, DI\n\tWRFSBASEQ\tDI\n\tRET\n")
		return nil
	})
	return a.String(), errs.ErrorOrNil()
}

// changeTime changes how the time is asked for where the vDSO does not tell it.
func changeTime(old string) (string, error) {
	a := overlay.ParseAssembly(old)
	err := through(a, sites{"now": 2}, callInternal)
	return a.String(), err
}

// changeSyscall changes package syscall. rawVforkSyscall keeps its return address in R12, since
// the child uses the stack; so does the gate, with its own.
func changeSyscall(old string) (string, error) {
	a := overlay.ParseAssembly(old)
	err := through(a, sites{"rawVforkSyscall": 1, "rawSyscallNoError": 1, "gettimeofday": 1}, call)
	return a.String(), err
}

// changeSyscall6 changes what all other calls of the standard library go through.
func changeSyscall6(old string) (string, error) {
	a := overlay.ParseAssembly(old)
	err := through(a, sites{"Syscall6": 1}, callInternal)
	return a.String(), err
}

// changeStart makes the program begin in pinholeStart.
func changeStart(old string) (string, error) {
	a := overlay.ParseAssembly(old)
	f, err := a.Function("_rt0_amd64_linux")
	if err == nil {
		err = replaceOnce(&f.Body, "JMP\t_rt0_amd64(SB)", "JMP\truntime·pinholeStart(SB)")
	}
	return a.String(), err
}

// replaceOnce replaces the one place of a text.
func replaceOnce(text *string, old, instead string) error {
	if n := strings.Count(*text, old); n != 1 {
		return fmt.Errorf("found %d times %q, want 1", n, strings.TrimSpace(old))
	}
	*text = strings.Replace(*text, old, instead, 1)
	return nil
}
