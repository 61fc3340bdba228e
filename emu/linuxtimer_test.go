package emu

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pinhole/abi"
)

// times is a struct itimerspec, or with microseconds a struct itimerval.
func (b *box) times(period, value time.Duration) []byte {
	return b.words(uint64(period/1e9), uint64(period%1e9), uint64(value/1e9), uint64(value%1e9))
}

// showTimes logs a struct itimerspec, with what is left to half a second.
func (b *box) showTimes(p []byte) {
	w := func(i int) time.Duration { return time.Duration(binary.LittleEndian.Uint64(p[8*i:])) }
	b.show("period", w(0)*1e9+w(1))
	b.show("left", (w(2)*1e9+w(3)+5e8-1)/5e8)
}

func (b *box) number(what string, fd int) {
	p := b.buf(8)
	b.do(what, unix.SYS_READ, fd, p, 8)
	b.show("number", binary.LittleEndian.Uint64(p))
}

func TestLinuxTimerfd(t *testing.T) {
	asLinux(t, func(b *box) {
		for clock := -1; clock < 13; clock++ {
			if clock == 10 {
				continue
			}
			b.fd(fmt.Sprint("clock ", clock), unix.SYS_TIMERFD_CREATE, clock, 0)
		}
		b.fd("flags", unix.SYS_TIMERFD_CREATE, 1, 1)
		b.fd("flags and clock", unix.SYS_TIMERFD_CREATE, 2, 1)
		fd := b.fd("timerfd", unix.SYS_TIMERFD_CREATE, 1, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
		b.do("F_GETFL", unix.SYS_FCNTL, fd, unix.F_GETFL)
		r, _ := b.pipe(0)
		p := b.buf(64)
		for _, c := range []struct {
			name  string
			fd    int
			flags int
			value any
		}{
			{"pipe", r, 0, b.times(0, 0)}, {"closed", 9999, 0, b.times(0, 0)}, {"flags", fd, 4, b.times(0, 0)}, {"wild", fd, 0, wild{}},
			{"null", fd, 0, 0}, {"wild and closed", 9999, 0, wild{}}, {"flags and closed", 9999, 4, b.times(0, 0)},
			{"large nsec", fd, 0, b.words(0, 0, 0, 1e9)}, {"negative", fd, 0, b.words(0, 0, ^uint64(0), 0)},
			{"period", fd, 0, b.words(0, 1e9, 1, 0)}, {"invalid and closed", 9999, 0, b.words(0, 1e9, 1, 0)},
			{"far", fd, 0, b.words(1<<62, 0, 1<<62, 0)},
		} {
			b.do("set "+c.name, unix.SYS_TIMERFD_SETTIME, c.fd, c.flags, c.value, 0)
			b.do("get "+c.name, unix.SYS_TIMERFD_GETTIME, c.fd, p)
		}
		b.do("get wild", unix.SYS_TIMERFD_GETTIME, fd, wild{})
		b.do("set, old wild", unix.SYS_TIMERFD_SETTIME, fd, 0, b.times(0, 0), wild{})
		b.do("write", unix.SYS_WRITE, fd, p, 8)
		b.do("short", unix.SYS_READ, fd, p, 7)
		b.number("not set", fd)

		q := b.queue()
		b.ctl("add", q, ctlAdd, fd, unix.EPOLLIN|unix.EPOLLET, 1)
		old := b.buf(32)
		set := func(what string, flags int, period, value time.Duration) {
			clear(old)
			b.do("set "+what, unix.SYS_TIMERFD_SETTIME, fd, flags, b.times(period, value), old)
			b.showTimes(old)
			clear(old)
			b.do("get", unix.SYS_TIMERFD_GETTIME, fd, old)
			b.showTimes(old)
		}
		set("once", 0, 0, 20*time.Second)
		b.events("quiet", q, 1)
		set("periodic", 0, 30*time.Second, 1e9)
		b.number("not yet", fd)
		set("past", unix.TFD_TIMER_ABSTIME, 0, 1)
		time.Sleep(2 * time.Millisecond)
		b.events("came", q, 1)
		b.events("again", q, 1)
		b.number("once", fd)
		b.number("nothing more", fd)
		set("soon", 0, 0, 5*time.Millisecond)
		b.do("wait", unix.SYS_EPOLL_WAIT, q, p, 1, 2000)
		set("stopped", 0, 0, 0)
		b.number("what has come is gone", fd)
		b.do("past, far apart", unix.SYS_TIMERFD_SETTIME, fd, unix.TFD_TIMER_ABSTIME, b.times(1<<60, 1), 0)
		time.Sleep(2 * time.Millisecond)
		b.number("periods", fd)
		b.do("stop", unix.SYS_TIMERFD_SETTIME, fd, 0, b.times(0, 0), 0)
		set("short period", 0, 10*time.Millisecond, time.Nanosecond)
		time.Sleep(35 * time.Millisecond)
		b.events("one edge", q, 1)
		b.events("one edge", q, 1)
		clear(p)
		b.do("periods", unix.SYS_READ, fd, p, 8)
		b.show("some", binary.LittleEndian.Uint64(p) >= 4)
		set("long", 0, 0, time.Hour)
		b.do("cancel on set", unix.SYS_TIMERFD_SETTIME, fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, b.words(0, 0, 1<<40, 0), 0)
		b.number("the clock was not set", fd)
		real := b.fd("real", unix.SYS_TIMERFD_CREATE, 0, unix.TFD_NONBLOCK)
		b.do("set real", unix.SYS_TIMERFD_SETTIME, real, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, b.words(0, 0, 1000000000, 0), 0)
		time.Sleep(2 * time.Millisecond)
		b.number("real", real)
		b.number("real", real)
	})
}

// TestTimerfdClockSet steps the clock, which only a test's host can do.
func TestTimerfdClockSet(t *testing.T) {
	m := &steppedMachine{}
	w := newIOWorld(t, Config{Machine: &m.ioMachine})
	w.kernel.m = m
	fd := int32(w.ok(w.timerfdCreate(abi.CLOCK_REALTIME, abi.TFD_NONBLOCK)))
	plain := int32(w.ok(w.timerfdCreate(abi.CLOCK_REALTIME, abi.TFD_NONBLOCK)))
	at, _ := w.kernel.clock(abi.CLOCK_REALTIME)
	p, a := w.mem.alloc(32)
	spec := abi.Itimerspec{Value: abi.NsecToTimespec(at + 3600e9)}
	spec.Encode(p)
	w.ok(w.timerfdSet(fd, abi.TFD_TIMER_ABSTIME|abi.TFD_TIMER_CANCEL_ON_SET, a, 0))
	w.ok(w.timerfdSet(plain, abi.TFD_TIMER_ABSTIME, a, 0))
	_, buf := w.mem.alloc(8)
	w.fails(abi.EAGAIN)(w.fileRead(fd, buf, 8))
	m.step.Store(10e9)
	_, pa := w.pollfds(abi.Pollfd{FD: fd, Events: abi.POLLIN})
	w.ok(w.pollMillis(pa, 1, -1))
	w.fails(abi.ECANCELED)(w.fileRead(fd, buf, 8))
	w.fails(abi.EAGAIN)(w.fileRead(fd, buf, 8))
	w.fails(abi.EAGAIN)(w.fileRead(plain, buf, 8))
	m.step.Store(3601e9) // now it is over
	_, pa = w.pollfds(abi.Pollfd{FD: plain, Events: abi.POLLIN})
	if n := w.ok(w.pollMillis(pa, 1, 10000)); n != 1 {
		t.Error("the time that the clock was set past does not come")
	}
	w.ok(w.fileRead(plain, buf, 8))
	w.ok(w.fdClose(fd))
	w.ok(w.fdClose(plain))
}

// TestLinuxSignalfd: signals are sent to the one thread that blocks them.
func TestLinuxSignalfd(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	asLinux(t, func(b *box) {
		const rt = 40
		set := b.words(1<<(abi.SIGUSR1-1) | 1<<(abi.SIGUSR2-1) | 1<<(rt-1) | 1<<(abi.SIGKILL-1))
		old := b.buf(8)
		b.do("block", unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, set, old, 8)
		defer b.do("mask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, old, 0, 8)
		b.fd("size", unix.SYS_SIGNALFD4, -1, set, 4, 0)
		b.fd("flags", unix.SYS_SIGNALFD4, -1, set, 8, 1)
		b.fd("wild", unix.SYS_SIGNALFD4, -1, wild{}, 8, 0)
		b.fd("closed", unix.SYS_SIGNALFD4, 9999, set, 8, 0)
		r, _ := b.pipe(0)
		b.fd("pipe", unix.SYS_SIGNALFD4, r, set, 8, 0)
		fd := b.fd("signalfd", unix.SYS_SIGNALFD4, -1, set, 8, unix.SFD_NONBLOCK|unix.SFD_CLOEXEC)
		b.do("F_GETFL", unix.SYS_FCNTL, fd, unix.F_GETFL)
		q := b.queue()
		b.ctl("add", q, ctlAdd, fd, unix.EPOLLIN|unix.EPOLLET, 1)
		pid, tid := b.raw(unix.SYS_GETPID), b.raw(unix.SYS_GETTID)
		send := func(sig int) { b.do("send", unix.SYS_TGKILL, pid, tid, sig) }
		queue := func(sig int, value uint64) {
			info := b.buf(abi.SiginfoSize)
			(&abi.Siginfo{Signo: 1, Errno: 3, Code: abi.SI_QUEUE, PID: 4, UID: 5, Value: value}).Encode(info)
			b.do("queue", unix.SYS_RT_TGSIGQUEUEINFO, pid, tid, sig, info)
		}
		p := b.buf(4 * abi.SignalfdSiginfoSize)
		read := func(n int) {
			clear(p)
			b.do("read", unix.SYS_READ, fd, p, n)
			for i := range 4 {
				s := p[i*abi.SignalfdSiginfoSize:]
				if int64(binary.LittleEndian.Uint32(s[12:])) == pid {
					binary.LittleEndian.PutUint32(s[12:], 1)
				}
				b.show("info", fmt.Sprintf("%x", s[:104]))
			}
		}
		read(512)
		read(127)
		send(abi.SIGUSR1)
		send(abi.SIGUSR1)
		b.events("came", q, 1)
		b.events("once", q, 1)
		queue(rt, 1)
		queue(rt, 1<<40)
		queue(abi.SIGUSR2, 3)
		queue(abi.SIGUSR2, 4)
		b.events("more", q, 1)
		read(256)
		read(511)
		read(512)
		b.events("none", q, 1)
		send(abi.SIGUSR2)
		b.show("change the set", b.raw(unix.SYS_SIGNALFD4, fd, b.words(1<<(abi.SIGUSR1-1)), 8, 0) == int64(fd))
		b.events("not in the set", q, 1)
		read(512)
		b.show("change the set", b.raw(unix.SYS_SIGNALFD4, fd, set, 8, 0) == int64(fd))
		b.events("in the set", q, 1)
		b.do("read wild", unix.SYS_READ, fd, wild{}, 128)
		read(512)
		b.do("write", unix.SYS_WRITE, fd, p, 128)
	})
}

// TestLinuxPosixTimers: the timers send to the one thread that blocks the signal.
func TestLinuxPosixTimers(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	asLinux(t, func(b *box) {
		const rt = 41
		set := b.words(1 << (rt - 1))
		old := b.buf(8)
		b.do("block", unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, set, old, 8)
		defer b.do("mask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, old, 0, 8)
		tid := b.raw(unix.SYS_GETTID)
		event := func(notify, sig int, tid int64) []byte {
			p := b.buf(abi.SigeventSize)
			(&abi.Sigevent{Value: 7 << 40, Signo: int32(sig), Notify: int32(notify), ThreadID: int32(tid)}).Encode(p)
			return p
		}
		id := b.buf(4)
		create := func(what string, clock int, event any) int {
			if b.do("create "+what, unix.SYS_TIMER_CREATE, clock, event, id) != 0 {
				return -1
			}
			return int(binary.LittleEndian.Uint32(id))
		}
		clear := func(id int) { b.do("delete", unix.SYS_TIMER_DELETE, id) }
		for clock := -1; clock < 13; clock++ {
			if n := create(fmt.Sprint("clock ", clock), clock, event(abi.SIGEV_NONE, 0, 0)); n >= 0 && clock != 10 {
				clear(n)
			}
		}
		for _, c := range []struct {
			notify, sig int
			tid         int64
		}{{0, 0, 0}, {0, 65, 0}, {0, 64, 0}, {2, 1, 0}, {3, 1, 0}, {4, 1, 0}, {4, 1, 1}, {4, 1, tid}, {4, 0, tid}, {5, 1, tid}, {1, 99, 0}} {
			if n := create(fmt.Sprint(c.notify, c.sig), 1, event(c.notify, c.sig, c.tid)); n >= 0 {
				clear(n)
			}
		}
		create("wild event", 1, wild{})
		create("wild event and clock", 99, wild{})
		b.do("wild id", unix.SYS_TIMER_CREATE, 1, event(1, 0, 0), wild{})
		n := create("to the thread", 1, event(abi.SIGEV_THREAD_ID, rt, tid))
		p := b.buf(128)
		for _, c := range []struct {
			name  string
			id    int
			value any
		}{
			{"no timer", 12345, b.times(0, 0)}, {"null", n, 0}, {"wild", n, wild{}}, {"null and no timer", 12345, 0},
			{"large nsec", n, b.words(0, 0, 0, 1e9)}, {"negative", n, b.words(0, 0, ^uint64(0), 0)},
		} {
			b.do("set "+c.name, unix.SYS_TIMER_SETTIME, c.id, 0, c.value, 0)
		}
		b.do("get wild", unix.SYS_TIMER_GETTIME, n, wild{})
		b.do("get none", unix.SYS_TIMER_GETTIME, 12345, p)
		b.do("overrun none", unix.SYS_TIMER_GETOVERRUN, 12345)
		b.do("delete none", unix.SYS_TIMER_DELETE, 12345)
		set1 := func(what string, flags int, period, value time.Duration) {
			q := b.buf(32)
			b.do("set "+what, unix.SYS_TIMER_SETTIME, n, flags, b.times(period, value), q)
			b.showTimes(q)
			q = b.buf(32)
			b.do("get", unix.SYS_TIMER_GETTIME, n, q)
			b.showTimes(q)
		}
		wait := func(what string, d time.Duration) {
			q := b.buf(128)
			b.do(what, unix.SYS_RT_SIGTIMEDWAIT, set, q, b.words(0, uint64(d)), 8)
			var s abi.Siginfo
			s.Decode(q)
			b.show("code", s.Code)
			b.show("value", s.Value)
			b.show("overrun", s.Overrun >= 3)
			b.show("right overrun", int64(s.Overrun) == b.raw(unix.SYS_TIMER_GETOVERRUN, n))
		}
		set1("long", 0, 0, 100*time.Second)
		set1("periodic", 0, 200*time.Second, 100*time.Second)
		set1("soon", 0, 0, time.Millisecond)
		wait("came", 900*time.Millisecond)
		wait("once", time.Millisecond)
		set1("past", unix.TIMER_ABSTIME, 0, 1)
		wait("came", 900*time.Millisecond)
		set1("short", 0, 10*time.Millisecond, time.Millisecond)
		time.Sleep(50 * time.Millisecond)
		wait("overran", 900*time.Millisecond)
		set1("past", unix.TIMER_ABSTIME, 0, 1)
		time.Sleep(2 * time.Millisecond)
		set1("stopped with a signal pending", 0, 0, 0)
		wait("taken back", time.Millisecond)
		set1("past", unix.TIMER_ABSTIME, 0, 1)
		time.Sleep(2 * time.Millisecond)
		clear(n)
		wait("deleted", time.Millisecond)
	})
}
