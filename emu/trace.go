package emu

import (
	"fmt"
	"io"
	"strconv"
	"sync"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// tracer writes a line for each call of a guest, in the manner of strace(1):
//
//	[2] path_open(AT_FDCWD, "/etc/motd", O_RDONLY|O_CLOEXEC, 0) = 3
//	[2] linux:socket(0x2, 0x1, 0, 0, 0, 0) = -1 ENOSYS (function not implemented), no such call here
//
// The number is the thread's. A call that was not made through the ABI has "linux:" before its
// name, one made by a trapped instruction "trap:".
type tracer struct {
	mu sync.Mutex
	w  io.Writer
}

func newTracer(w io.Writer) *tracer { return &tracer{w: w} }

// traceString is how much of a string or buffer is shown, in bytes.
const traceString = 64

// traceCall makes ABI call nr of t and writes a line about it.
func (t *Task) traceCall(nr uint64) int64 {
	if nr >= abi.LinuxBase {
		return t.traceLinux(nr - abi.LinuxBase)
	}
	c := abi.LookupCall(nr)
	line := t.traceBegin("")
	if c == nil {
		line = fmt.Appendf(line, "call %d(%#x, %#x, %#x, %#x, %#x, %#x)", nr,
			t.args[0], t.args[1], t.args[2], t.args[3], t.args[4], t.args[5])
	} else {
		line = traceArgs(append(line, c.Name...), nr, c, &t.args)
	}
	return t.traceEnd(line, nr, c, &t.args, t.dispatch(nr, &t.args), "")
}

// traceLinux makes Linux's call nr of t and writes a line about it.
func (t *Task) traceLinux(nr uint64) int64 {
	prefix := "linux:"
	if t.ctx.Why == guest.Syscall {
		prefix = "trap:"
	}
	line := t.traceBegin(prefix)
	name := abi.LinuxName(nr)
	if name == "" {
		name = strconv.FormatUint(nr, 10)
	}
	line = append(line, name...)
	var args [6]uint64
	call, ok := abi.FromLinux(nr, &t.args, &args)
	if !ok {
		line = fmt.Appendf(line, "(%#x, %#x, %#x, %#x, %#x, %#x)", t.args[0], t.args[1], t.args[2], t.args[3], t.args[4], t.args[5])
		return t.traceEnd(line, 0, nil, &t.args, t.dispatchLinux(nr, &t.args), ", no such call here")
	}
	c := abi.LookupCall(call)
	line = append(append(line, " = "...), c.Name...)
	line = traceArgs(line, call, c, &args)
	return t.traceEnd(line, call, c, &args, t.dispatchLinux(nr, &t.args), "")
}

// foreign writes a line about a call by a way that no program for x86-64 uses.
func (r *tracer) foreign(t *Task) {
	line := fmt.Appendf(t.traceBegin("trap:"), "call %d of another architecture", t.ctx.RAX)
	t.traceEnd(line, 0, nil, &t.args, -int64(abi.ENOSYS), "")
}

func (t *Task) traceBegin(prefix string) []byte {
	return append(fmt.Appendf(nil, "[%d] ", t.tid), prefix...)
}

// traceEnd adds the result ret of call nr to a line and writes it. The call may have ended the
// thread or replaced its registers; args are what it was given.
func (t *Task) traceEnd(line []byte, nr uint64, c *abi.Call, args *[6]uint64, ret int64, note string) int64 {
	r := t.kernel.tracer
	switch {
	case c != nil && c.Result == abi.TypeNever:
		line = append(line, " = ?"...)
	case ret == -int64(errRestart):
		line = append(line, " = ? (interrupted, to be made again)"...)
	case ret < 0 && ret >= -4095:
		e := abi.Errno(-ret)
		line = fmt.Appendf(line, " = -1 %s (%s)", e.String(), e.Error())
	case c != nil && c.Result == abi.TypeAddr || ret < 0 || ret > 1<<40:
		line = fmt.Appendf(line, " = %#x", uint64(ret))
	default:
		line = fmt.Appendf(line, " = %d", ret)
	}
	if nr == abi.CallFileRead && c != nil && ret > 0 {
		line = append(line, ' ')
		line = traceBytes(line, abi.Addr(args[1]), uint64(ret))
	}
	line = append(append(line, note...), '\n')
	r.mu.Lock()
	r.w.Write(line)
	r.mu.Unlock()
	return ret
}

// traceArgs adds the arguments of call nr, described by c, to line.
func traceArgs(line []byte, nr uint64, c *abi.Call, args *[6]uint64) []byte {
	line = append(line, '(')
	for i, a := range c.Args {
		if i > 0 {
			line = append(line, ", "...)
		}
		line = traceArg(line, nr, i, a, args)
	}
	return append(line, ')')
}

// traceArg adds argument i of call nr.
func traceArg(line []byte, nr uint64, i int, a abi.Arg, args *[6]uint64) []byte {
	v := args[i]
	if names := traceFlags[traceKey{nr, i}]; names != nil {
		return traceNames(line, names, v)
	}
	switch a.Type {
	case abi.TypePath:
		return tracePath(line, abi.Addr(v))
	case abi.TypeFD:
		if int32(v) == abi.AT_FDCWD {
			return append(line, "AT_FDCWD"...)
		}
		return strconv.AppendInt(line, int64(int32(v)), 10)
	case abi.TypeInt, abi.TypePID:
		return strconv.AppendInt(line, int64(int32(v)), 10)
	case abi.TypeUInt:
		return fmt.Appendf(line, "%#x", uint32(v))
	case abi.TypeOff, abi.TypeI64:
		return strconv.AppendInt(line, int64(v), 10)
	case abi.TypeSize:
		return strconv.AppendUint(line, v, 10)
	case abi.TypeAddr:
		if (nr == abi.CallFileWrite || nr == abi.CallFilePwrite) && i == 1 {
			return traceBytes(line, abi.Addr(v), args[2])
		}
		if v == 0 {
			return append(line, "NULL"...)
		}
	}
	return fmt.Appendf(line, "%#x", v)
}

// tracePath adds a string of the guest.
func tracePath(line []byte, a abi.Addr) []byte {
	if a == 0 {
		return append(line, "NULL"...)
	}
	var b [abi.PATH_MAX]byte
	n, ok := guest.CopyString(b[:], a)
	if !ok && n == 0 {
		return fmt.Appendf(line, "%#x", uint64(a))
	}
	line = strconv.AppendQuote(line, string(b[:n]))
	if !ok {
		line = append(line, "..."...)
	}
	return line
}

// traceBytes adds the beginning of n bytes of the guest.
func traceBytes(line []byte, a abi.Addr, n uint64) []byte {
	var b [traceString]byte
	got := guest.CopyIn(b[:min(n, traceString)], a)
	if got == 0 && n > 0 {
		return fmt.Appendf(line, "%#x", uint64(a))
	}
	line = strconv.AppendQuote(line, string(b[:got]))
	if uint64(got) < n {
		line = append(line, "..."...)
	}
	return line
}

// traceKey is an argument of a call.
type traceKey struct {
	nr  uint64
	arg int
}

// traceName is a constant with its name. A flag is shown if all its bits are set; one with a mask if
// the bits in the mask are as they are in it.
type traceName struct {
	bits uint64
	mask uint64 // 0: bits
	name string
}

var (
	traceProt = []traceName{{abi.PROT_READ, 0, "PROT_READ"}, {abi.PROT_WRITE, 0, "PROT_WRITE"}, {abi.PROT_EXEC, 0, "PROT_EXEC"}}

	traceFlags = map[traceKey][]traceName{
		{abi.CallMemMap, 2}:     traceProt,
		{abi.CallMemProtect, 2}: traceProt,
		{abi.CallMemMap, 3}: {
			{abi.MAP_SHARED, abi.MAP_TYPE, "MAP_SHARED"}, {abi.MAP_PRIVATE, abi.MAP_TYPE, "MAP_PRIVATE"},
			{abi.MAP_SHARED_VALIDATE, abi.MAP_TYPE, "MAP_SHARED_VALIDATE"}, {abi.MAP_FIXED, 0, "MAP_FIXED"},
			{abi.MAP_ANONYMOUS, 0, "MAP_ANONYMOUS"}, {abi.MAP_NORESERVE, 0, "MAP_NORESERVE"}, {abi.MAP_POPULATE, 0, "MAP_POPULATE"},
			{abi.MAP_STACK, 0, "MAP_STACK"}, {abi.MAP_FIXED_NOREPLACE, 0, "MAP_FIXED_NOREPLACE"},
		},
		{abi.CallPathOpen, 2}: {
			{abi.O_RDONLY, abi.O_ACCMODE, "O_RDONLY"}, {abi.O_WRONLY, abi.O_ACCMODE, "O_WRONLY"}, {abi.O_RDWR, abi.O_ACCMODE, "O_RDWR"},
			{abi.O_CREAT, 0, "O_CREAT"}, {abi.O_EXCL, 0, "O_EXCL"}, {abi.O_TRUNC, 0, "O_TRUNC"}, {abi.O_APPEND, 0, "O_APPEND"},
			{abi.O_NONBLOCK, 0, "O_NONBLOCK"}, {abi.O_DIRECTORY, 0, "O_DIRECTORY"}, {abi.O_NOFOLLOW, 0, "O_NOFOLLOW"},
			{abi.O_CLOEXEC, 0, "O_CLOEXEC"}, {abi.O_PATH, 0, "O_PATH"}, {abi.O_LARGEFILE, 0, "O_LARGEFILE"},
		},
		{abi.CallPathStat, 3}: {{abi.AT_SYMLINK_NOFOLLOW, 0, "AT_SYMLINK_NOFOLLOW"}, {abi.AT_EMPTY_PATH, 0, "AT_EMPTY_PATH"}},
		{abi.CallThreadCreate, 0}: {
			{abi.CLONE_VM, 0, "CLONE_VM"}, {abi.CLONE_FS, 0, "CLONE_FS"}, {abi.CLONE_FILES, 0, "CLONE_FILES"},
			{abi.CLONE_SIGHAND, 0, "CLONE_SIGHAND"}, {abi.CLONE_VFORK, 0, "CLONE_VFORK"}, {abi.CLONE_THREAD, 0, "CLONE_THREAD"},
			{abi.CLONE_SYSVSEM, 0, "CLONE_SYSVSEM"}, {abi.CLONE_SETTLS, 0, "CLONE_SETTLS"},
			{abi.CLONE_PARENT_SETTID, 0, "CLONE_PARENT_SETTID"}, {abi.CLONE_CHILD_SETTID, 0, "CLONE_CHILD_SETTID"},
			{abi.CLONE_CHILD_CLEARTID, 0, "CLONE_CHILD_CLEARTID"}, {abi.CLONE_DETACHED, 0, "CLONE_DETACHED"},
		},
		{abi.CallThreadFutex, 1}: {
			{abi.FUTEX_WAIT, 127, "FUTEX_WAIT"}, {abi.FUTEX_WAKE, 127, "FUTEX_WAKE"}, {abi.FUTEX_REQUEUE, 127, "FUTEX_REQUEUE"},
			{abi.FUTEX_CMP_REQUEUE, 127, "FUTEX_CMP_REQUEUE"}, {abi.FUTEX_WAKE_OP, 127, "FUTEX_WAKE_OP"},
			{abi.FUTEX_LOCK_PI, 127, "FUTEX_LOCK_PI"}, {abi.FUTEX_UNLOCK_PI, 127, "FUTEX_UNLOCK_PI"}, {abi.FUTEX_TRYLOCK_PI, 127, "FUTEX_TRYLOCK_PI"},
			{abi.FUTEX_WAIT_REQUEUE_PI, 127, "FUTEX_WAIT_REQUEUE_PI"}, {abi.FUTEX_CMP_REQUEUE_PI, 127, "FUTEX_CMP_REQUEUE_PI"},
			{abi.FUTEX_LOCK_PI2, 127, "FUTEX_LOCK_PI2"},
			{abi.FUTEX_WAIT_BITSET, 127, "FUTEX_WAIT_BITSET"}, {abi.FUTEX_WAKE_BITSET, 127, "FUTEX_WAKE_BITSET"},
			{abi.FUTEX_PRIVATE_FLAG, 0, "FUTEX_PRIVATE_FLAG"}, {abi.FUTEX_CLOCK_REALTIME, 0, "FUTEX_CLOCK_REALTIME"},
		},
	}
)

func init() {
	signals := make([]traceName, 0, len(signalNames))
	for sig := 1; sig < len(signalNames); sig++ {
		signals = append(signals, traceName{uint64(sig), ^uint64(0), signalNames[sig]})
	}
	traceFlags[traceKey{abi.CallSignalAction, 0}] = signals
	traceFlags[traceKey{abi.CallSignalKill, 1}] = signals
	traceFlags[traceKey{abi.CallSignalThread, 2}] = signals
}

// traceNames adds v as the names of its bits.
func traceNames(line []byte, names []traceName, v uint64) []byte {
	left, first := v, true
	for _, n := range names {
		mask := n.mask
		if mask == 0 {
			mask = n.bits
		}
		if v&mask != n.bits {
			continue
		}
		if !first {
			line = append(line, '|')
		}
		line, first = append(line, n.name...), false
		left &^= mask
	}
	if left != 0 || first {
		if !first {
			line = append(line, '|')
		}
		line = fmt.Appendf(line, "%#x", left)
	}
	return line
}
