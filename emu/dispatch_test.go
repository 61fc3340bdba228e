package emu

import (
	"testing"

	"pinhole/abi"
)

// TestDispatch: numbers reach their handlers by all three ways, unknown ones nobody.
func TestDispatch(t *testing.T) {
	w := newIOWorld(t, Config{})
	pid := int64(w.proc.pid)
	const getpid = 39
	for _, c := range []struct {
		nr   uint64
		args [6]uint64
		want int64
	}{
		{nr: abi.CallProcPid, want: pid},
		{nr: abi.LinuxBase + getpid, want: pid},
		{nr: abi.CallFdClose, args: [6]uint64{1<<32 - 1}, want: -int64(abi.EBADF)},
		{nr: abi.CallTop, want: -int64(abi.ENOSYS)},
		{nr: 5, want: -int64(abi.ENOSYS)},
		{nr: abi.LinuxBase + 175, want: -int64(abi.ENOSYS)},  // init_module
		{nr: abi.LinuxBase + 1000, want: -int64(abi.ENOSYS)}, // no call of Linux's
		{nr: 2*abi.LinuxBase + getpid, want: -int64(abi.ENOSYS)},
		{nr: 1<<64 - 1, want: -int64(abi.ENOSYS)},
	} {
		if got := w.dispatch(c.nr, &c.args); got != c.want {
			t.Errorf("call %#x: %d, want %d", c.nr, got, c.want)
		}
	}
	if got := w.dispatchLinux(getpid, new([6]uint64)); got != pid {
		t.Errorf("getpid by Linux's number: %d, want %d", got, pid)
	}
	// 32-bit arguments are the lower halves of their registers.
	if got := w.dispatch(abi.CallFdDup, &[6]uint64{0xdead0000_00000001}); got < 0 {
		t.Errorf("a descriptor with a dirty upper half: %d", got)
	}
}

// TestDispatchAllocates nothing: it is on the way of every call.
func TestDispatchAllocates(t *testing.T) {
	w := newIOWorld(t, Config{})
	args := new([6]uint64)
	for _, nr := range []uint64{abi.CallProcPid, abi.CallTop, abi.LinuxBase + 39, abi.LinuxBase + 1000} {
		if n := testing.AllocsPerRun(100, func() { w.dispatch(nr, args) }); n != 0 {
			t.Errorf("call %#x allocates %v times", nr, n)
		}
	}
}

func BenchmarkDispatch(b *testing.B) {
	w := newIOWorld(b, Config{})
	args := new([6]uint64)
	b.Run("abi", func(b *testing.B) {
		for b.Loop() {
			w.dispatch(abi.CallProcPid, args)
		}
	})
	b.Run("linux", func(b *testing.B) {
		for b.Loop() {
			w.dispatchLinux(39, args)
		}
	})
}
