package host

import (
	"fmt"
	"strings"

	"github.com/hashicorp/go-multierror"

	"pinhole/shim/golang/overlay"
)

// changes is what changes.
var changes = overlay.Overlay{
	Changes: []overlay.Change{
		{File: "runtime/sys_linux_amd64.s", To: changeCalls},
		{File: "runtime/netpoll_epoll.go", To: changePoll},
		{File: "runtime/cgroup_linux.go", To: changeProcs},
		{File: "runtime/runtime1.go", To: changeDebug},
		{File: "runtime/proc.go", To: changeScheduler},
		{File: "syscall/zsyscall_linux_amd64.go", To: changeReadWrite},
	},
	// Package runtime/host declares the word of the lock, too, and sets it just before the lock,
	// and calls pinholeMonitor when the process may have more than one thread; package emu declares
	// the other function. The linker makes one of the two.
	Added: map[string]string{
		"runtime/pinhole_linux_amd64.go":      lockSource,
		"runtime/pinhole_idle_linux_amd64.go": idleSource,
		"runtime/pinhole_idle_linux_amd64.s":  idleAssembly,
	},
}

const lockSource = `package runtime

import _ "unsafe"

// pinholeLocked is set when the process has given up all calls but its few.
//
//go:linkname pinholeLocked pinhole/runtime/host.runtimeLocked
var pinholeLocked uint32

// pinholeMonitor starts the runtime's monitor.
//
//go:linkname pinholeMonitor pinhole/runtime/host.startMonitor
var pinholeMonitor func()

// pinholeApart counts the threads that never run Go code of anybody else and have done what threads
// do at their start: the monitor, and the thread that makes threads.
//
//go:linkname pinholeApart pinhole/runtime/host.threadsApart
var pinholeApart func() int

// pinholeReady is goready without waking a host thread that might take the goroutine over: it is
// next on this one's processor, which comes free when the caller parks, or is taken by the
// monitor thread if the caller stays in a guest.
//
//go:linkname pinholeReady pinhole/emu.readyHere
var pinholeReady func(gp *g)

// pinholeReadyAway is goready for a caller that goes on: the goroutine is left where another host thread takes
// it over at once. One that is next on this one's processor, others only take after a while, in case
// the caller parks.
//
//go:linkname pinholeReadyAway pinhole/emu.readyAway
var pinholeReadyAway func(gp *g)

func init() {
	pinholeReadyAway = func(gp *g) {
		systemstack(func() { ready(gp, 1, false) })
	}
	pinholeApart = func() int {
		lock(&sched.lock)
		n := sched.nmsys
		unlock(&sched.lock)
		return int(n)
	}
	pinholeReady = func(gp *g) {
		systemstack(func() {
			mp := acquirem()
			casgstatus(gp, _Gwaiting, _Grunnable)
			runqput(mp.p.ptr(), gp, true)
			releasem(mp)
		})
	}
}
`

// ifLocked begins a function that does something else, or nothing, behind the lock. The
// name is a linker symbol with the assembler's stand-ins for slash and dot.
func ifLocked(instead string) string {
	return "\tCMPL\tpinhole∕runtime∕host·runtimeLocked(SB), $0\n\tJEQ\tpinhole_open\n" +
		instead + "\tRET\npinhole_open:\n"
}

// mark puts seccomp.Mark, which the lock asks for, into a register that holds an int. It goes
// directly before the instruction that loads the call's number, and has AX to itself.
func mark(register string) string {
	return "\tMOVQ\t$0x5048000000000000, AX\n\tORQ\tAX, " + register + "\n"
}

// calls are the runtime's host calls that change, by function name. A function with a body
// gets that in place of its own; one with a guard gets it in front of its own; one with a
// mark gets that before its call.
var calls = []struct{ name, body, guard, mark string }{
	{name: "futex", mark: mark("SI")},
	{name: "sysMmap", mark: mark("R8")},
	{name: "read", mark: mark("DI")},
	{name: "write1", mark: mark("DI")},
	// Sleep on a word that nobody wakes: FUTEX_WAIT|PRIVATE with a time limit.
	{name: "usleep", body: `TEXT runtime·usleep(SB),NOSPLIT,$32
	MOVL	usec+0(FP), AX
	MOVL	$0, DX
	MOVL	$1000000, CX
	DIVL	CX
	MOVQ	AX, 0(SP)
	MOVL	$1000, AX
	MULL	DX
	MOVQ	AX, 8(SP)
	MOVQ	$0, 16(SP)
	LEAQ	16(SP), DI
	MOVL	$128, SI
	MOVL	$0, DX
	MOVQ	SP, R10
` + mark("SI") + `	MOVL	$202, AX
	SYSCALL
	RET
`},
	// Callers try something else soon after.
	{name: "osyield", guard: ifLocked("\tPAUSE\n")},
	// ENOSYS: the runtime then gives memory back by mapping over it.
	{name: "madvise", body: "TEXT runtime·madvise(SB),NOSPLIT,$0-28\n\tMOVL\t$-38, ret+24(FP)\n\tRET\n"},
	// Give up the memory, keep the address space: PROT_NONE, PRIVATE|ANON|FIXED over it.
	{name: "sysMunmap", body: `TEXT runtime·sysMunmap(SB),NOSPLIT,$0-16
	MOVQ	addr+0(FP), DI
	MOVQ	n+8(FP), SI
	MOVL	$0, DX
	MOVL	$0x32, R10
	MOVL	$-1, R8
	MOVL	$0, R9
` + mark("R8") + `	MOVL	$9, AX
	SYSCALL
	RET
`},
	// What a thread does to itself when it starts or dies, and how it dies by a signal: the
	// runtime goes on to exit when that fails.
	{name: "rtsigprocmask", guard: ifLocked("")},
	{name: "rt_sigaction", guard: ifLocked("\tMOVL\t$0, ret+32(FP)\n")},
	{name: "sigaltstack", guard: ifLocked("")},
	{name: "raise", guard: ifLocked("")},
	{name: "raiseproc", guard: ifLocked("")},
	{name: "tgkill", guard: ifLocked("")},
	{name: "exit", body: `TEXT runtime·exit(SB),NOSPLIT,$0-4
	MOVL	code+0(FP), DI
	ANDL	$0xff, DI
` + mark("DI") + `	MOVL	$231, AX
	SYSCALL
	RET
`},
	{name: "exitThread", body: `TEXT runtime·exitThread(SB),NOSPLIT,$0-8
	MOVQ	wait+0(FP), AX
	MOVL	$0, (AX)
	MOVL	$0, DI
` + mark("DI") + `	MOVL	$60, AX
	SYSCALL
	INT	$3
	JMP	0(PC)
`},
	// ENOSYS: the runtime reports that it cannot make a thread. The pool was too small.
	{name: "clone", guard: ifLocked("\tMOVL\t$-38, ret+40(FP)\n")},
}

// changeCalls replaces functions of the runtime that make a host call.
func changeCalls(old string) (string, error) {
	var errs *multierror.Error
	a := overlay.ParseAssembly(old)
	for _, c := range calls {
		f, err := a.Function(c.name)
		if err != nil {
			errs = multierror.Append(errs, err)
			continue
		}
		switch body, ok := marked(f.Body, c.mark); {
		case f.Calls() == 0:
			errs = multierror.Append(errs, fmt.Errorf("function %s makes no call", c.name))
		case c.body != "":
			f.Replace(c.body)
		case !ok:
			errs = multierror.Append(errs, fmt.Errorf("function %s does not load a call's number once", c.name))
		default:
			f.Body = c.guard + body
		}
	}
	return a.String(), errs.ErrorOrNil()
}

// marked puts mark before the one instruction of a body that loads the number of a call.
func marked(body, mark string) (string, bool) {
	if mark == "" {
		return body, true
	}
	const load = "\tMOVL\t$SYS_"
	if strings.Count(body, load) != 1 {
		return "", false
	}
	return strings.Replace(body, load, mark+load, 1), true
}

// changeReadWrite marks the reads and writes of package syscall: what prints by package os is
// to work behind the lock, too.
func changeReadWrite(old string) (string, error) {
	text := old
	for _, call := range []string{"SYS_READ", "SYS_WRITE"} {
		plain := "Syscall(" + call + ", uintptr(fd), "
		if !strings.Contains(text, plain) {
			return "", fmt.Errorf("found no place that makes %s", call)
		}
		text = strings.ReplaceAll(text, plain, "Syscall("+call+", 0x5048<<48|uintptr(fd), ")
	}
	return text, nil
}

// changePoll puts a futex word in the place of epoll: timers and netpollBreak work as before,
// no descriptor is ever polled.
func changePoll(old string) (string, error) {
	err := overlay.Signatures(old, []string{
		"func netpollinit()",
		"func netpollIsPollDescriptor(fd uintptr) bool",
		"func netpollopen(fd uintptr, pd *pollDesc) uintptr",
		"func netpollclose(fd uintptr) uintptr",
		"func netpollarm(pd *pollDesc, mode int)",
		"func netpollBreak()",
		"func netpoll(delay int64) (gList, int32)",
	})
	return `//go:build linux

package runtime

import (
	"internal/runtime/atomic"
	"unsafe"
)

// netpollWord is 1 when netpoll is to return.
var netpollWord atomic.Uint32

func netpollinit() {}

func netpollIsPollDescriptor(fd uintptr) bool { return false }

// EPERM: not pollable, as of a regular file.
func netpollopen(fd uintptr, pd *pollDesc) uintptr { return 1 }

func netpollclose(fd uintptr) uintptr { return 0 }

func netpollarm(pd *pollDesc, mode int) { throw("runtime: no descriptor is polled") }

func netpollBreak() {
	if netpollWord.Swap(1) == 0 {
		futexwakeup((*uint32)(noescape(unsafe.Pointer(&netpollWord))), 1)
	}
}

func netpoll(delay int64) (gList, int32) {
	if delay == 0 {
		return gList{}, 0
	}
	if netpollWord.Load() == 0 {
		futexsleep((*uint32)(noescape(unsafe.Pointer(&netpollWord))), 0, delay)
	}
	netpollWord.Store(0)
	return gList{}, 0
}
`, err
}

// changeProcs takes the reader of control groups out: it opens files and keeps one open.
func changeProcs(old string) (string, error) {
	err := overlay.Signatures(old, []string{
		"func defaultGOMAXPROCSInit()",
		"func defaultGOMAXPROCSUpdateGODEBUG()",
		"func defaultGOMAXPROCS(ncpu int32) int32",
		"func adjustCgroupGOMAXPROCS(procs int32, cpu cgroup.CPU) int32",
	})
	return `package runtime

func defaultGOMAXPROCSInit() {}

func defaultGOMAXPROCSUpdateGODEBUG() {}

// One, until package runtime/host sets the number: see pinholeMonitor.
func defaultGOMAXPROCS(ncpu int32) int32 { return 1 }
`, err
}

// changeScheduler makes both changes of proc.go.
func changeScheduler(old string) (string, error) {
	text, err := changeStart(old)
	if err != nil {
		return "", err
	}
	return changeIdle(text)
}

// changeStart keeps the runtime from starting its monitor thread by itself. With that and one processor
// the process has a single thread until package runtime/host makes more, so that what has to be done to
// every thread before then (credentials, Landlock) is done to one.
func changeStart(old string) (string, error) {
	const anchor = "\t\tsystemstack(func() {\n\t\t\tnewm(sysmon, nil, -1)\n\t\t})\n"
	if n := strings.Count(old, anchor); n != 1 {
		return "", fmt.Errorf("found %d places where the monitor is started, want 1", n)
	}
	body := strings.ReplaceAll(strings.TrimSuffix(anchor, "\n"), "\n\t", "\n\t\t")
	return strings.Replace(old, anchor, "\t\tpinholeMonitor = func() {\n\t"+body+"\n\t\t}\n", 1), nil
}

// changeDebug settles those of the runtime's GODEBUG settings that would make calls.
func changeDebug(old string) (string, error) {
	const anchor = "\tparsegodebug(godebug, nil)\n"
	if n := strings.Count(old, anchor); n != 1 {
		return "", fmt.Errorf("found %d places where GODEBUG is read at start, want 1", n)
	}
	settings := []struct {
		name  string
		value int
	}{
		{"asyncpreemptoff", 1},   // tgkill
		{"updatemaxprocs", 0},    // sched_getaffinity, now and then
		{"containermaxprocs", 0}, // control groups' files
		{"decoratemappings", 0},  // prctl
		{"madvdontneed", 1},      // memory given back reads as zero, as mapping over it makes it
		{"harddecommit", 0},
		{"disablethp", 0},
	}
	var b strings.Builder
	var errs *multierror.Error
	for _, s := range settings {
		if !strings.Contains(old, `{name: "`+s.name+`", value: &debug.`+s.name) {
			errs = multierror.Append(errs, fmt.Errorf("no setting %s", s.name))
		}
		fmt.Fprintf(&b, "\tdebug.%s = %d\n", s.name, s.value)
	}
	return strings.Replace(old, anchor, anchor+b.String(), 1), errs.ErrorOrNil()
}
