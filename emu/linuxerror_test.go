package emu

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"pinhole/abi"
)

// none is a number that no process, thread or descriptor has.
const none = 1<<22 - 2

// TestLinuxFutexArguments passes to each operation every combination of good and bad arguments that does not wait.
func TestLinuxFutexArguments(t *testing.T) {
	asLinux(t, func(b *box) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		p, q := b.buf(16), b.buf(16)
		type argument struct {
			name string
			v    any
		}
		words := []argument{{"word", p}, {"wild", wild{}}, {"far", uint64(1) << 63}}
		times := []argument{{"null", 0}, {"now", b.words(0, 0)}, {"invalid", b.words(0, 1e9)}, {"negative", b.words(^uint64(0), 0)}, {"wild", wild{}}}
		for op := range 16 {
			waits := op == abi.FUTEX_WAIT || op == abi.FUTEX_WAIT_BITSET || op == abi.FUTEX_WAIT_REQUEUE_PI
			timed := waits || op == abi.FUTEX_LOCK_PI || op == abi.FUTEX_LOCK_PI2
			for _, flags := range []int{abi.FUTEX_PRIVATE_FLAG, abi.FUTEX_PRIVATE_FLAG | abi.FUTEX_CLOCK_REALTIME} {
				if flags&abi.FUTEX_CLOCK_REALTIME != 0 && (op == abi.FUTEX_WAIT || op == abi.FUTEX_LOCK_PI) {
					continue // which newer kernels refuse
				}
				for _, word := range words {
					for _, word2 := range []argument{words[0], {"other", q}} {
						for _, time := range times {
							if !timed && time.name != "null" {
								continue
							}
							for _, val := range []int{0, 1, -1} {
								if waits && val == 0 && time.name == "null" {
									continue // would wait
								}
								for _, val3 := range []uint64{0, 1, 0xf << 24, 0xf << 28} {
									clear(p)
									clear(q)
									b.do(fmt.Sprintf("%d|%#x %s %d %s %s %#x", op, flags, word.name, val, time.name, word2.name, val3),
										unix.SYS_FUTEX, word.v, op|flags, val, time.v, word2.v, val3)
									b.show("words", [2]bool{binary.LittleEndian.Uint32(p) != 0, binary.LittleEndian.Uint32(q) != 0})
								}
							}
						}
					}
				}
			}
		}
		b.do("robust size", unix.SYS_SET_ROBUST_LIST, 0, 23)
		b.do("robust of none", unix.SYS_GET_ROBUST_LIST, none, p, q)
		b.do("robust to nowhere", unix.SYS_GET_ROBUST_LIST, 0, wild{}, q)
	})
}

func TestLinuxSignalArguments(t *testing.T) {
	asLinux(t, func(b *box) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		pid, tid := int(b.raw(unix.SYS_GETPID)), int(b.raw(unix.SYS_GETTID))
		info := func(signo, code int32) []byte {
			p := b.buf(abi.SiginfoSize)
			(&abi.Siginfo{Signo: signo, Code: code}).Encode(p)
			return p
		}
		fd := b.fd("pidfd", unix.SYS_PIDFD_OPEN, pid, 0)
		file := b.creat("file", "")
		for _, sig := range []int{0, -1, 65, 1 << 20} {
			for _, id := range []struct {
				name string
				v    int
			}{{"self", pid}, {"none", none}, {"no group", -none}, {"least", -1 << 31}} {
				b.do(fmt.Sprintf("kill %s %d", id.name, sig), unix.SYS_KILL, id.v, sig)
			}
			for _, group := range []int{pid, none, 0, -2} {
				for _, thread := range []int{tid, none, 0, -1} {
					name := fmt.Sprintf("%v %v %d", group == pid, thread == tid, sig)
					b.do("tgkill "+name, unix.SYS_TGKILL, group, thread, sig)
					for _, i := range []any{info(int32(sig), 0), info(0, -1), info(5, -6), wild{}, 0} {
						b.do("tgsigqueue "+name, unix.SYS_RT_TGSIGQUEUEINFO, group, thread, sig, i)
					}
				}
			}
			for _, thread := range []int{tid, none, 0, -1} {
				b.do(fmt.Sprintf("tkill %v %d", thread == tid, sig), unix.SYS_TKILL, thread, sig)
			}
			for _, id := range []int{pid, none, 0, -1} {
				for n, i := range []any{info(0, -1), wild{}, 0, info(int32(sig), 0), info(5, -6)} {
					if id == pid && n > 2 {
						continue // depends on whether this is the first thread
					}
					b.do(fmt.Sprintf("sigqueue %v %d", id == pid, sig), unix.SYS_RT_SIGQUEUEINFO, id, sig, i)
				}
			}
			for _, to := range []int{fd, file, -1} {
				for _, flags := range []int{0, 1, 2, 4, 3, 8} {
					for _, i := range []any{info(int32(sig), -1), info(77, -1), wild{}, 0} {
						if flags == 4 && sig == 0 {
							continue // whether there are others in the group depends
						}
						b.do(fmt.Sprintf("pidfd_send_signal %v %d %d", to == fd, flags, sig), unix.SYS_PIDFD_SEND_SIGNAL, to, sig, i, flags)
					}
				}
			}
		}
		act := b.buf(abi.SigactionSize)
		for _, sig := range []int{0, -1, 9, 19, 65} {
			for _, size := range []int{8, 4, 16, 0} {
				for _, new := range []any{act, wild{}, 0} {
					b.do(fmt.Sprintf("sigaction %d %d", sig, size), unix.SYS_RT_SIGACTION, sig, new, 0, size)
					b.do("to nowhere", unix.SYS_RT_SIGACTION, sig, new, wild{}, size)
				}
			}
		}
		for _, size := range []int{8, 4, 16, 0, -1} {
			b.do("sigpending", unix.SYS_RT_SIGPENDING, wild{}, size)
			for _, set := range []any{wild{}, 0, b.words(0)} {
				for _, how := range []int{0, 1, 3, -1} {
					b.do(fmt.Sprintf("sigprocmask %d %d", how, size), unix.SYS_RT_SIGPROCMASK, how, set, 0, size)
				}
				for _, time := range []any{b.words(0, 0), b.words(0, 1e9), b.words(^uint64(0), 0), wild{}} {
					b.do(fmt.Sprint("sigtimedwait ", size), unix.SYS_RT_SIGTIMEDWAIT, set, 0, time, size)
				}
				if size != 8 {
					b.do("sigsuspend", unix.SYS_RT_SIGSUSPEND, set, size)
				}
			}
		}
		stack := func(flags, size int) []byte { return b.words(uint64(addressOf(act)), uint64(flags), uint64(size)) }
		for _, flags := range []int{3, 4, -1, 1 << 30} {
			b.do("sigaltstack flags", unix.SYS_SIGALTSTACK, stack(flags, 1<<16), 0)
		}
		b.do("sigaltstack size", unix.SYS_SIGALTSTACK, stack(0, 100), 0)
		b.do("sigaltstack wild", unix.SYS_SIGALTSTACK, wild{}, wild{})
		b.do("sigaltstack to nowhere", unix.SYS_SIGALTSTACK, 0, wild{})
	})
}

func TestLinuxProcessArguments(t *testing.T) {
	asLinux(t, func(b *box) {
		pid := int(b.raw(unix.SYS_GETPID))
		p := b.buf(256)
		fd := b.fd("pidfd", unix.SYS_PIDFD_OPEN, pid, 0)
		file := b.creat("file", "")
		for _, id := range []int{none, 0, -1, -none, -1 << 31} {
			for _, options := range []int{1, 3, 0x11, 4, 0x40000001, 0x80000001, 0x20000001} {
				b.do(fmt.Sprintf("wait4 %d %#x", id, options), unix.SYS_WAIT4, id, wild{}, options, wild{})
			}
			for _, kind := range []int{0, 1, 2, 4, -1} {
				for _, options := range []int{5, 1, 0, 0x8000005, 0x1000005, 3, 9} {
					b.do(fmt.Sprintf("waitid %d %d %#x", kind, id, options), unix.SYS_WAITID, kind, id, p, options, 0)
				}
			}
		}
		for _, to := range []int{fd, file, -1} {
			b.do("waitid of a descriptor", unix.SYS_WAITID, 3, to, p, 5, 0)
			b.do("pidfd_getfd", unix.SYS_PIDFD_GETFD, to, -1, 0)
			b.do("pidfd_getfd flags", unix.SYS_PIDFD_GETFD, to, file, 1)
		}
		for _, id := range []int{none, 0, -1} {
			for _, flags := range []int{0, 1, unix.O_NONBLOCK, 1 << 20} {
				b.fd(fmt.Sprintf("pidfd_open %d %#x", id, flags), unix.SYS_PIDFD_OPEN, id, flags)
			}
			b.do("getpgid", unix.SYS_GETPGID, -id-2)
			b.do("getsid", unix.SYS_GETSID, -id-2)
			b.do("setpgid", unix.SYS_SETPGID, none, id)
			b.do("setpgid -1", unix.SYS_SETPGID, 0, -1)
			for _, which := range []int{3, -1} {
				b.do("getpriority", unix.SYS_GETPRIORITY, which, id)
				b.do("setpriority", unix.SYS_SETPRIORITY, which, id, 0)
			}
			for _, resource := range []int{-1, 0, 15, 16} {
				b.do("prlimit", unix.SYS_PRLIMIT64, none, resource, 0, 0)
				b.do("prlimit from nowhere", unix.SYS_PRLIMIT64, none, resource, wild{}, 0)
				b.do("prlimit of self from nowhere", unix.SYS_PRLIMIT64, 0, resource, wild{}, 0)
				b.do("prlimit to nowhere", unix.SYS_PRLIMIT64, 0, resource, 0, wild{})
				b.do("prlimit upside down", unix.SYS_PRLIMIT64, 0, resource, b.words(2, 1), 0)
			}
		}
		for _, size := range []int{0, 63, 64, 88, 96, 4096, 4097} {
			b.do("clone3 from nowhere", unix.SYS_CLONE3, wild{}, size)
			a := b.buf(4096)
			binary.LittleEndian.PutUint64(a, 1<<40)
			b.do(fmt.Sprint("clone3 flags ", size), unix.SYS_CLONE3, a, size)
			binary.LittleEndian.PutUint64(a, abi.CLONE_THREAD)
			b.do("clone3 thread", unix.SYS_CLONE3, a, size)
			binary.LittleEndian.PutUint64(a, abi.CLONE_SIGHAND)
			b.do("clone3 handlers", unix.SYS_CLONE3, a, size)
			binary.LittleEndian.PutUint64(a, 0)
			binary.LittleEndian.PutUint64(a[32:], 65)
			b.do("clone3 signal", unix.SYS_CLONE3, a, size)
			binary.LittleEndian.PutUint64(a[32:], 0)
			binary.LittleEndian.PutUint64(a[40:], 4096)
			b.do("clone3 stack without size", unix.SYS_CLONE3, a, size)
		}
		for _, flags := range []uint64{abi.CLONE_THREAD, abi.CLONE_SIGHAND, abi.CLONE_THREAD | abi.CLONE_VM, abi.CLONE_NEWNS | abi.CLONE_FS} {
			b.do(fmt.Sprintf("clone %#x", flags), unix.SYS_CLONE, flags, 0, 0, 0, 0)
		}
		b.do("execve", unix.SYS_EXECVE, wild{}, wild{}, wild{})
		b.do("execve of a file", unix.SYS_EXECVE, "file", 0, 0)
		b.do("execve at", unix.SYS_EXECVEAT, file, "", 0, 0, 0)
		b.do("execve at empty", unix.SYS_EXECVEAT, file, "", 0, 0, unix.AT_EMPTY_PATH)
		b.do("execve fd", unix.SYS_EXECVEAT, -1, "x", 0, 0, 0)
		b.do("getgroups", unix.SYS_GETGROUPS, -1, p)
		b.do("setgroups", unix.SYS_SETGROUPS, 65537, p)
		b.do("setgroups -1", unix.SYS_SETGROUPS, -1, p)
		b.do("setgroups from nowhere", unix.SYS_SETGROUPS, 1, wild{})
		b.do("getresuid", unix.SYS_GETRESUID, wild{}, p, p)
		b.do("setuid -1", unix.SYS_SETUID, -1)
		b.do("setgid -1", unix.SYS_SETGID, -1)
	})
}

func TestLinuxTimeArguments(t *testing.T) {
	asLinux(t, func(b *box) {
		p := b.buf(64)
		ok, invalid, negative := b.words(0, 0), b.words(0, 1e9), b.words(^uint64(0), 0)
		for clock := -8; clock < 12; clock++ {
			if clock == 10 || clock == 8 || clock == 9 || clock == -1 || clock == -5 {
				continue // alarms, of which not every machine has any, and clocks that descriptors stand for
			}
			name := fmt.Sprint(" ", clock)
			b.do("getres to nowhere"+name, unix.SYS_CLOCK_GETRES, clock, wild{})
			b.do("gettime to nowhere"+name, unix.SYS_CLOCK_GETTIME, clock, wild{})
			b.do("gettime"+name, unix.SYS_CLOCK_GETTIME, clock, p)
			if clock > 0 {
				b.do("settime from nowhere"+name, unix.SYS_CLOCK_SETTIME, clock, wild{})
				b.do("settime invalid"+name, unix.SYS_CLOCK_SETTIME, clock, invalid)
			}
			for i, v := range []any{ok, invalid, negative, wild{}, 0} {
				for _, flags := range []int{0, 1, 2, -1} {
					if clock < 0 || clock == unix.CLOCK_PROCESS_CPUTIME_ID {
						continue // by processor time one sleeps only on Linux
					}
					b.do(fmt.Sprintf("nanosleep%s %d %d", name, flags, i), unix.SYS_CLOCK_NANOSLEEP, clock, flags, v, wild{})
				}
			}
			event := func(signo, notify, tid int) []byte {
				return b.words(0, uint64(signo)|uint64(notify)<<32, uint64(tid), 0, 0, 0, 0, 0)
			}
			for i, v := range []any{event(10, 7, 0), event(0, 0, 0), event(65, 0, 0), event(10, 4, none), event(10, 3, 0), wild{}} {
				b.do(fmt.Sprintf("timer_create%s %d", name, i), unix.SYS_TIMER_CREATE, clock, v, wild{})
			}
			b.do("timerfd_create"+name, unix.SYS_TIMERFD_CREATE, clock, 1)
		}
		// A period that ends after the end of time: it has come once, and never comes again.
		for _, clock := range []int{unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC} {
			for _, period := range []uint64{8e9, 9223372036} {
				fd := b.fd("timerfd", unix.SYS_TIMERFD_CREATE, clock, unix.TFD_NONBLOCK)
				b.do("set", unix.SYS_TIMERFD_SETTIME, fd, unix.TFD_TIMER_ABSTIME, b.words(period, 0, 1.7e9*uint64(1-clock), 1), 0)
				for range 3 {
					b.number("came", fd)
				}
			}
		}
		for i, v := range []any{invalid, negative, wild{}, 0} {
			b.do(fmt.Sprint("nanosleep ", i), unix.SYS_NANOSLEEP, v, wild{})
		}
		for which := -1; which < 4; which++ {
			b.do("getitimer", unix.SYS_GETITIMER, which, wild{})
			b.do("setitimer", unix.SYS_SETITIMER, which, b.words(0, 1e6, 0, 0), 0)
			b.do("setitimer", unix.SYS_SETITIMER, which, b.words(^uint64(0), 0, 0, 0), 0)
			b.do("setitimer", unix.SYS_SETITIMER, which, wild{}, 0)
			b.do("setitimer to nowhere", unix.SYS_SETITIMER, which, b.words(0, 0, 0, 0), wild{})
		}
		for _, v := range []any{b.words(0, 0, 0, 0), b.words(0, 1e9, 0, 0), wild{}, 0} {
			b.do("timer_settime", unix.SYS_TIMER_SETTIME, none, 0, v, 0)
		}
		b.do("timer_gettime", unix.SYS_TIMER_GETTIME, none, wild{})
		b.do("timer_getoverrun", unix.SYS_TIMER_GETOVERRUN, none)
		b.do("timer_delete", unix.SYS_TIMER_DELETE, none)
		b.do("times", unix.SYS_TIMES, wild{})
		b.do("getrusage", unix.SYS_GETRUSAGE, 2, wild{})
		b.do("getrusage", unix.SYS_GETRUSAGE, 0, wild{})
		b.do("gettimeofday", unix.SYS_GETTIMEOFDAY, wild{}, 0)
	})
}

// TestLinuxTransferTargets has what cannot be spliced to as the target of calls that copy.
func TestLinuxTransferTargets(t *testing.T) {
	asLinux(t, func(b *box) {
		file := b.creat("file", "12345678901234567890")
		p := b.buf(8)
		targets := map[string]int{
			"eventfd": b.fd("eventfd", unix.SYS_EVENTFD2, 0, unix.EFD_NONBLOCK),
			"timerfd": b.fd("timerfd", unix.SYS_TIMERFD_CREATE, 1, unix.TFD_NONBLOCK),
			"epoll":   b.queue(),
			"null":    b.fd("null", unix.SYS_OPENAT, at, "/dev/null", unix.O_RDWR),
			"zero":    b.fd("zero", unix.SYS_OPENAT, at, "/dev/zero", unix.O_RDWR),
			"full":    b.fd("full", unix.SYS_OPENAT, at, "/dev/full", unix.O_RDWR),
		}
		_, targets["pipe"] = b.pipe(unix.O_NONBLOCK)
		for _, name := range []string{"eventfd", "timerfd", "epoll", "null", "zero", "full", "pipe"} {
			fd := targets[name]
			for _, n := range []int{7, 8, 9, 20} {
				b.raw(unix.SYS_LSEEK, file, 0, 0)
				b.do(fmt.Sprint("sendfile to ", name, " ", n), unix.SYS_SENDFILE, fd, file, 0, n)
				b.do("sendfile from", unix.SYS_SENDFILE, file, fd, 0, n)
				b.do("copy to", unix.SYS_COPY_FILE_RANGE, file, 0, fd, 0, n, 0)
				b.do("position", unix.SYS_LSEEK, file, 0, 1)
			}
		}
		b.do("count", unix.SYS_READ, targets["eventfd"], p, 8)
	})
}
