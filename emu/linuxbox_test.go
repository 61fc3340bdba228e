package emu

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"pinhole/abi"
)

// TestLinux tests are scripts that make raw Linux calls, once natively and once in a kernel of ours, and what
// came of each is compared: Linux itself says what is right. They run in an empty directory.

// box is where a script runs.
type box struct {
	t    testing.TB
	call func(nr uintptr, a *[6]uint64) int64
	mem  *testMemory
	log  []string
	open []int
}

// wild is an argument: an address that cannot be accessed.
type wild struct{}

// raw makes a call and returns its result.
func (b *box) raw(nr uintptr, args ...any) int64 {
	b.t.Helper()
	var a [6]uint64
	for i, arg := range args {
		switch v := arg.(type) {
		case int:
			a[i] = uint64(v)
		case int64:
			a[i] = uint64(v)
		case uint64:
			a[i] = v
		case string:
			a[i] = uint64(b.mem.str(v))
		case []byte:
			a[i] = uint64(addressOf(v))
		case wild:
			a[i] = uint64(b.mem.bad())
		default:
			b.t.Fatalf("argument %d is a %T", i, arg)
		}
	}
	return b.call(nr, &a)
}

func result(r int64) string {
	if v, errno := abi.Split(r); errno != 0 {
		return errno.String()
	} else {
		return fmt.Sprint(int64(v))
	}
}

// do makes a call and logs its result.
func (b *box) do(what string, nr uintptr, args ...any) int64 {
	b.t.Helper()
	r := b.raw(nr, args...)
	b.log = append(b.log, what+": "+result(r))
	return r
}

// fd makes a call that returns a new descriptor, whose number is not logged.
func (b *box) fd(what string, nr uintptr, args ...any) int {
	b.t.Helper()
	r := b.raw(nr, args...)
	if r >= 0 {
		b.open = append(b.open, int(r))
		b.log = append(b.log, what+": descriptor")
	} else {
		b.log = append(b.log, what+": "+result(r))
	}
	return int(r)
}

// creat opens a file with content and logs nothing.
func (b *box) creat(name, content string) int {
	b.t.Helper()
	fd := b.raw(unix.SYS_OPENAT, unix.AT_FDCWD, name, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC, 0o644)
	if fd < 0 {
		b.t.Fatalf("creat %s: %s", name, result(fd))
	}
	b.open = append(b.open, int(fd))
	b.raw(unix.SYS_WRITE, fd, b.str(content), len(content))
	b.raw(unix.SYS_LSEEK, fd, 0, 0)
	return int(fd)
}

// pipe makes a pipe and logs nothing.
func (b *box) pipe(flags int) (r, w int) {
	b.t.Helper()
	p := b.buf(8)
	if e := b.raw(unix.SYS_PIPE2, p, flags); e != 0 {
		b.t.Fatal(result(e))
	}
	r, w = int(binary.LittleEndian.Uint32(p)), int(binary.LittleEndian.Uint32(p[4:]))
	b.open = append(b.open, r, w)
	return r, w
}

func (b *box) buf(n int) []byte { p, _ := b.mem.alloc(n); return p }

func (b *box) str(s string) []byte {
	p := b.buf(len(s))
	copy(p, s)
	return p
}

func (b *box) words(v ...uint64) []byte {
	p := b.buf(8 * len(v))
	for i, w := range v {
		binary.LittleEndian.PutUint64(p[8*i:], w)
	}
	return p
}

// iov makes an iovec array of bases, each a []byte, an int or wild, and lengths in turn.
func (b *box) iov(v ...any) []byte {
	p := b.buf(8 * len(v))
	for i, e := range v {
		x := uint64(0)
		switch e := e.(type) {
		case int:
			x = uint64(e)
		case []byte:
			x = uint64(addressOf(e))
		case wild:
			x = uint64(b.mem.bad())
		}
		binary.LittleEndian.PutUint64(p[8*i:], x)
	}
	return p
}

// show logs a value.
func (b *box) show(what string, v any) { b.log = append(b.log, fmt.Sprintf("%s = %v", what, v)) }

// end closes what the script has opened.
func (b *box) end() {
	for _, fd := range b.open {
		b.raw(unix.SYS_CLOSE, fd)
	}
}

func nativeCall(nr uintptr, a *[6]uint64) int64 {
	for {
		r, _, e := unix.Syscall6(nr, uintptr(a[0]), uintptr(a[1]), uintptr(a[2]), uintptr(a[3]), uintptr(a[4]), uintptr(a[5]))
		switch e {
		case 0:
			return int64(r)
		case unix.EINTR: // by a signal of Go's own
		default:
			return -int64(e)
		}
	}
}

// asLinux runs a script natively and in a kernel of ours, and compares.
func asLinux(t *testing.T, script func(b *box)) {
	t.Helper()
	t.Chdir(t.TempDir())
	native := &box{t: t, call: nativeCall, mem: newTestMemory(t)}
	script(native)
	native.end()

	w := newIOWorld(t, Config{})
	w.ok(w.pathMkdir(abi.AT_FDCWD, w.mem.str("/empty"), 0o755))
	w.ok(w.procChdir(w.mem.str("/empty")))
	ours := &box{t: t, mem: w.mem, call: func(nr uintptr, a *[6]uint64) int64 {
		r := w.dispatchLinux(uint64(nr), a)
		// The signal of a broken pipe ends no later call, as it does not in a program of Go's.
		w.proc.sig.mu.Lock()
		w.sigpend.flush(sigset(abi.SIGPIPE), &w.proc.sig)
		w.proc.sig.mu.Unlock()
		w.calm(attSignal)
		return r
	}}
	script(ours)
	ours.end()
	if d := cmp.Diff(native.log, ours.log); d != "" {
		t.Errorf("Linux (-) and Pinhole (+) differ:\n%s", d)
	}
	if n := w.kernel.io.open.Load(); n != 3 {
		t.Errorf("%d descriptions are left open, want 3", n)
	}
	if testing.Verbose() {
		t.Log("\n" + strings.Join(native.log, "\n"))
	}
}

const at = unix.AT_FDCWD
