package abi

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type encoder interface{ Encode([]byte) }

// cStruct is a struct as C has it: its type, and for each member the value that the encoded bytes
// below must show there.
type cStruct struct {
	ctype   string
	size    int
	value   encoder
	members []member
}

type member struct {
	expr string
	want int64
}

var cStructs = []cStruct{
	{"struct stat", StatSize, &Stat{Dev: 1, Ino: 2, Nlink: 3, Mode: 4, UID: 5, GID: 6, Rdev: 7, Size: -8, Blksize: 9, Blocks: 10,
		Atime: Timespec{11, 12}, Mtime: Timespec{13, 14}, Ctime: Timespec{15, 16}},
		[]member{{"st_dev", 1}, {"st_ino", 2}, {"st_nlink", 3}, {"st_mode", 4}, {"st_uid", 5}, {"st_gid", 6}, {"st_rdev", 7},
			{"st_size", -8}, {"st_blksize", 9}, {"st_blocks", 10}, {"st_atim.tv_sec", 11}, {"st_atim.tv_nsec", 12},
			{"st_mtim.tv_sec", 13}, {"st_mtim.tv_nsec", 14}, {"st_ctim.tv_sec", 15}, {"st_ctim.tv_nsec", 16}}},
	{"struct statx", StatxSize, &Statx{Mask: 1, Blksize: 2, Attributes: 3, Nlink: 4, UID: 5, GID: 6, Mode: 7, Ino: 8, Size: 9, Blocks: 10,
		AttributesMask: 11, Atime: Timespec{-12, 13}, Btime: Timespec{14, 15}, Ctime: Timespec{16, 17}, Mtime: Timespec{18, 19},
		RdevMajor: 20, RdevMinor: 21, DevMajor: 22, DevMinor: 23, MountID: 24},
		[]member{{"stx_mask", 1}, {"stx_blksize", 2}, {"stx_attributes", 3}, {"stx_nlink", 4}, {"stx_uid", 5}, {"stx_gid", 6},
			{"stx_mode", 7}, {"stx_ino", 8}, {"stx_size", 9}, {"stx_blocks", 10}, {"stx_attributes_mask", 11}, {"stx_atime.tv_sec", -12},
			{"stx_atime.tv_nsec", 13}, {"stx_btime.tv_sec", 14}, {"stx_btime.tv_nsec", 15}, {"stx_ctime.tv_sec", 16},
			{"stx_ctime.tv_nsec", 17}, {"stx_mtime.tv_sec", 18}, {"stx_mtime.tv_nsec", 19}, {"stx_rdev_major", 20}, {"stx_rdev_minor", 21},
			{"stx_dev_major", 22}, {"stx_dev_minor", 23}, {"stx_mnt_id", 24}}},
	{"struct statfs", StatfsSize, &Statfs{Type: 1, Bsize: 2, Blocks: 3, Bfree: 4, Bavail: 5, Files: 6, Ffree: 7, Fsid: 0x900000008,
		Namelen: 10, Frsize: 11, Flags: 12},
		[]member{{"f_type", 1}, {"f_bsize", 2}, {"f_blocks", 3}, {"f_bfree", 4}, {"f_bavail", 5}, {"f_files", 6}, {"f_ffree", 7},
			{"f_fsid.__val[0]", 8}, {"f_fsid.__val[1]", 9}, {"f_namelen", 10}, {"f_frsize", 11}, {"f_flags", 12}}},
	{"struct timespec", TimespecSize, &Timespec{1, 2}, []member{{"tv_sec", 1}, {"tv_nsec", 2}}},
	{"struct timeval", TimevalSize, &Timeval{1, 2}, []member{{"tv_sec", 1}, {"tv_usec", 2}}},
	{"struct itimerspec", ItimerspecSize, &Itimerspec{Timespec{1, 2}, Timespec{3, 4}},
		[]member{{"it_interval.tv_sec", 1}, {"it_interval.tv_nsec", 2}, {"it_value.tv_sec", 3}, {"it_value.tv_nsec", 4}}},
	{"struct itimerval", ItimervalSize, &Itimerval{Timeval{1, 2}, Timeval{3, 4}},
		[]member{{"it_interval.tv_sec", 1}, {"it_interval.tv_usec", 2}, {"it_value.tv_sec", 3}, {"it_value.tv_usec", 4}}},
	{"struct flock", FlockSize, &Flock{Type: 1, Whence: 2, Start: -3, Len: 4, PID: 5},
		[]member{{"l_type", 1}, {"l_whence", 2}, {"l_start", -3}, {"l_len", 4}, {"l_pid", 5}}},
	{"struct iovec", IovecSize, &Iovec{1, 2}, []member{{"iov_base", 1}, {"iov_len", 2}}},
	{"struct pollfd", PollfdSize, &Pollfd{-1, 2, 3}, []member{{"fd", -1}, {"events", 2}, {"revents", 3}}},
	{"struct epoll_event", EpollEventSize, &EpollEvent{1 << 31, 2}, []member{{"events", 1 << 31}, {"data.u64", 2}}},
	{"struct sigevent", SigeventSize, &Sigevent{Value: 1 << 40, Signo: 2, Notify: SIGEV_THREAD_ID, ThreadID: 3},
		[]member{{"sigev_value.sival_ptr", 1 << 40}, {"sigev_signo", 2}, {"sigev_notify", SIGEV_THREAD_ID}, {"_sigev_un._tid", 3}}},
	{"struct signalfd_siginfo", SignalfdSiginfoSize, &SignalfdSiginfo{Signo: 1, Errno: 2, Code: 3, PID: 4, UID: 5, FD: 6, TimerID: 7, Band: 8,
		Overrun: 9, Trapno: 10, Status: 11, Int: 12, Ptr: 13, Utime: 14, Stime: 15, Addr: 16, AddrLSB: 17, Syscall: 18, CallAt: 19, Arch: 20},
		[]member{{"ssi_signo", 1}, {"ssi_errno", 2}, {"ssi_code", 3}, {"ssi_pid", 4}, {"ssi_uid", 5}, {"ssi_fd", 6}, {"ssi_tid", 7},
			{"ssi_band", 8}, {"ssi_overrun", 9}, {"ssi_trapno", 10}, {"ssi_status", 11}, {"ssi_int", 12}, {"ssi_ptr", 13}, {"ssi_utime", 14},
			{"ssi_stime", 15}, {"ssi_addr", 16}, {"ssi_addr_lsb", 17}, {"ssi_syscall", 18}, {"ssi_call_addr", 19}, {"ssi_arch", 20}}},
	{"struct winsize", WinsizeSize, &Winsize{1, 2, 3, 4}, []member{{"ws_row", 1}, {"ws_col", 2}, {"ws_xpixel", 3}, {"ws_ypixel", 4}}},
	{"struct sysinfo", SysinfoSize, &Sysinfo{Uptime: 1, Loads: [3]uint64{2, 3, 4}, Totalram: 5, Freeram: 6, Sharedram: 7, Bufferram: 8,
		Totalswap: 9, Freeswap: 10, Procs: 11, Totalhigh: 12, Freehigh: 13, Unit: 14},
		[]member{{"uptime", 1}, {"loads[0]", 2}, {"loads[2]", 4}, {"totalram", 5}, {"freeram", 6}, {"sharedram", 7}, {"bufferram", 8},
			{"totalswap", 9}, {"freeswap", 10}, {"procs", 11}, {"totalhigh", 12}, {"freehigh", 13}, {"mem_unit", 14}}},
	{"struct rlimit", RlimitSize, &Rlimit{1, 2}, []member{{"rlim_cur", 1}, {"rlim_max", 2}}},
	{"struct rusage", RusageSize, &Rusage{Utime: Timeval{1, 2}, Stime: Timeval{3, 4}, Maxrss: 5, Minflt: 6, Majflt: 7, Inblock: 8,
		Oublock: 9, Nvcsw: 10, Nivcsw: 11},
		[]member{{"ru_utime.tv_sec", 1}, {"ru_utime.tv_usec", 2}, {"ru_stime.tv_sec", 3}, {"ru_stime.tv_usec", 4}, {"ru_maxrss", 5},
			{"ru_minflt", 6}, {"ru_majflt", 7}, {"ru_inblock", 8}, {"ru_oublock", 9}, {"ru_nvcsw", 10}, {"ru_nivcsw", 11}}},
	{"struct tms", TmsSize, &Tms{1, 2, 3, 4}, []member{{"tms_utime", 1}, {"tms_stime", 2}, {"tms_cutime", 3}, {"tms_cstime", 4}}},
	{"stack_t", SigaltStackSize, &SigaltStack{1, 2, 3}, []member{{"ss_sp", 1}, {"ss_flags", 2}, {"ss_size", 3}}},
	{"siginfo_t", SiginfoSize, &Siginfo{Signo: SIGUSR1, Errno: 2, Code: SI_USER, PID: 3, UID: 4},
		[]member{{"si_signo", SIGUSR1}, {"si_errno", 2}, {"si_code", SI_USER}, {"si_pid", 3}, {"si_uid", 4}}},
	{"siginfo_t", SiginfoSize, &Siginfo{Signo: SIGUSR2, Code: SI_QUEUE, PID: 3, UID: 4, Value: 1 << 40},
		[]member{{"si_code", SI_QUEUE}, {"si_pid", 3}, {"si_uid", 4}, {"si_value.sival_ptr", 1 << 40}}},
	{"siginfo_t", SiginfoSize, &Siginfo{Signo: SIGALRM, Code: SI_TIMER, TimerID: 3, Overrun: 4, Value: 5},
		[]member{{"si_code", SI_TIMER}, {"si_timerid", 3}, {"si_overrun", 4}, {"si_value.sival_ptr", 5}}},
	{"siginfo_t", SiginfoSize, &Siginfo{Signo: SIGCHLD, Code: CLD_KILLED, PID: 3, UID: 4, Status: 9, Utime: 5, Stime: 6},
		[]member{{"si_code", CLD_KILLED}, {"si_pid", 3}, {"si_uid", 4}, {"si_status", 9}, {"si_utime", 5}, {"si_stime", 6}}},
	{"siginfo_t", SiginfoSize, &Siginfo{Signo: SIGSEGV, Code: SEGV_MAPERR, Addr: 0x1234},
		[]member{{"si_code", SEGV_MAPERR}, {"si_addr", 0x1234}}},
	{"siginfo_t", SiginfoSize, &Siginfo{Signo: SIGBUS, Code: BUS_MCEERR_AO, Addr: 0x1234, AddrLSB: 12},
		[]member{{"si_code", BUS_MCEERR_AO}, {"si_addr", 0x1234}, {"si_addr_lsb", 12}}},
	{"siginfo_t", SiginfoSize, &Siginfo{Signo: SIGIO, Code: 1, Band: 3, FD: 4}, []member{{"si_band", 3}, {"si_fd", 4}}},
	{"siginfo_t", SiginfoSize, &Siginfo{Signo: SIGSYS, Code: SYS_SECCOMP, Addr: 3, Syscall: 4, Arch: 5},
		[]member{{"si_call_addr", 3}, {"si_syscall", 4}, {"si_arch", 5}}},
	{"struct k_sigaction", SigactionSize, &Sigaction{Handler: 1, Flags: 2, Restorer: 3, Mask: 4},
		[]member{{"handler", 1}, {"flags", 2}, {"restorer", 3}, {"mask", 4}}},
	{"struct k_ucontext", UcontextSize, &Ucontext{Flags: 1, Link: 2, Stack: SigaltStack{3, 4, 5}, Mask: 6,
		Machine: Sigcontext{R8: 10, R15: 11, RDI: 12, RSI: 13, RBP: 14, RBX: 15, RDX: 16, RAX: 17, RCX: 18, RSP: 19, RIP: 20, RFLAGS: 21,
			CS: 22, GS: 23, FS: 24, SS: 25, Err: 26, Trapno: 27, Oldmask: 28, CR2: 29, FPState: 30}},
		[]member{{"uc_flags", 1}, {"uc_link", 2}, {"uc_stack.ss_sp", 3}, {"uc_stack.ss_size", 5}, {"uc_sigmask", 6},
			{"mc.gregs[REG_R8]", 10}, {"mc.gregs[REG_R15]", 11}, {"mc.gregs[REG_RDI]", 12}, {"mc.gregs[REG_RSI]", 13}, {"mc.gregs[REG_RBP]", 14},
			{"mc.gregs[REG_RBX]", 15}, {"mc.gregs[REG_RDX]", 16}, {"mc.gregs[REG_RAX]", 17}, {"mc.gregs[REG_RCX]", 18}, {"mc.gregs[REG_RSP]", 19},
			{"mc.gregs[REG_RIP]", 20}, {"mc.gregs[REG_EFL]", 21}, {"mc.gregs[REG_CSGSFS]", 22 | 23<<16 | 24<<32 | 25<<48},
			{"mc.gregs[REG_ERR]", 26}, {"mc.gregs[REG_TRAPNO]", 27}, {"mc.gregs[REG_OLDMASK]", 28}, {"mc.gregs[REG_CR2]", 29}, {"mc.fpregs", 30}}},
	{"struct clone_args", CloneArgsSize, &CloneArgs{Flags: 1, Pidfd: 2, ChildTID: 3, ParentTID: 4, ExitSignal: 5, Stack: 6, StackSize: 7,
		TLS: 8, SetTID: 9, SetTIDSize: 10, Cgroup: 11},
		[]member{{"flags", 1}, {"pidfd", 2}, {"child_tid", 3}, {"parent_tid", 4}, {"exit_signal", 5}, {"stack", 6}, {"stack_size", 7},
			{"tls", 8}, {"set_tid", 9}, {"set_tid_size", 10}, {"cgroup", 11}}},
	{"struct k_termios", TermiosSize, &Termios{Iflag: 1, Oflag: 2, Cflag: 3, Lflag: 4, Line: 5, Cc: [19]uint8{0: 6, 18: 7}},
		[]member{{"i", 1}, {"o", 2}, {"c", 3}, {"l", 4}, {"line", 5}, {"cc[0]", 6}, {"cc[18]", 7}}},
}

const cPrelude = `#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <ucontext.h>
#include <sys/time.h>
#include <time.h>
#include <dirent.h>
/* What the kernel has otherwise than C libraries. */
struct k_sigaction { void *handler; unsigned long flags; void *restorer; unsigned long mask; };
struct k_ucontext { unsigned long uc_flags; void *uc_link; stack_t uc_stack; mcontext_t mc; unsigned long uc_sigmask; };
struct k_termios { unsigned i, o, c, l; unsigned char line, cc[19]; };
int main(void) {
`

// TestLayouts has the C compiler read what the encoders write.
func TestLayouts(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("cc is not installed (Debian package gcc)")
	}
	var src, want strings.Builder
	var in bytes.Buffer
	src.WriteString(cPrelude)
	for i, s := range cStructs {
		// Bytes that the encoder does not write would show.
		b := bytes.Repeat([]byte{0xa5}, s.size+1)
		s.value.Encode(b)
		if b[s.size] != 0xa5 {
			t.Errorf("%s: encoded past its end", s.ctype)
		}
		in.Write(b[:s.size])
		fmt.Fprintf(&src, "{ static %s v; printf(\"%d %s %%zu\\n\", sizeof v); fread(&v, sizeof v, 1, stdin);\n", s.ctype, i, s.ctype)
		fmt.Fprintf(&want, "%d %s %d\n", i, s.ctype, s.size)
		for _, m := range s.members {
			fmt.Fprintf(&src, "printf(\"%s %%ld\\n\", (long)v.%s);\n", m.expr, m.expr)
			fmt.Fprintf(&want, "%s %d\n", m.expr, m.want)
		}
		src.WriteString("}\n")
	}
	src.WriteString("return 0; }\n")

	dir := t.TempDir()
	file, prog := filepath.Join(dir, "layout.c"), filepath.Join(dir, "layout")
	if err := os.WriteFile(file, []byte(src.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command(cc, "-w", "-o", prog, file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	run := exec.Command(prog)
	run.Stdin = &in
	got, err := run.Output()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Errorf("layouts (-ours +C's):\n%s", diff)
	}
}

// TestDecode: what has a decoder gets back what was encoded.
func TestDecode(t *testing.T) {
	type decoder interface{ Decode([]byte) }
	fresh := map[string]func() decoder{
		"struct stat": func() decoder { return new(Stat) }, "struct statx": func() decoder { return new(Statx) },
		"struct statfs": func() decoder { return new(Statfs) }, "struct timespec": func() decoder { return new(Timespec) },
		"struct timeval": func() decoder { return new(Timeval) }, "struct itimerspec": func() decoder { return new(Itimerspec) },
		"struct itimerval": func() decoder { return new(Itimerval) }, "struct flock": func() decoder { return new(Flock) },
		"struct iovec": func() decoder { return new(Iovec) }, "struct pollfd": func() decoder { return new(Pollfd) },
		"struct epoll_event": func() decoder { return new(EpollEvent) }, "struct sigevent": func() decoder { return new(Sigevent) },
		"struct winsize": func() decoder { return new(Winsize) }, "struct rlimit": func() decoder { return new(Rlimit) },
		"stack_t": func() decoder { return new(SigaltStack) }, "siginfo_t": func() decoder { return new(Siginfo) },
		"struct k_sigaction": func() decoder { return new(Sigaction) }, "struct k_ucontext": func() decoder { return new(Ucontext) },
		"struct clone_args": func() decoder { return new(CloneArgs) },
		"struct k_termios":  func() decoder { return new(Termios) },
	}
	for _, s := range cStructs {
		make := fresh[s.ctype]
		if make == nil {
			continue
		}
		b := bytes.Repeat([]byte{0xa5}, s.size)
		s.value.Encode(b)
		got := make()
		got.Decode(b)
		if diff := cmp.Diff(s.value, any(got)); diff != "" {
			t.Errorf("%s (-encoded +decoded):\n%s", s.ctype, diff)
		}
	}
}

func TestUtsname(t *testing.T) {
	b := bytes.Repeat([]byte{0xa5}, UtsnameSize)
	u := Utsname{Sysname: "Pinhole", Nodename: strings.Repeat("n", 100), Machine: "x86_64"}
	u.Encode(b)
	want := make([]byte, UtsnameSize)
	copy(want, "Pinhole")
	copy(want[65:], strings.Repeat("n", 64))
	copy(want[4*65:], "x86_64")
	if diff := cmp.Diff(want, b); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDirent(t *testing.T) {
	b := bytes.Repeat([]byte{0xa5}, 64)
	for _, name := range []string{"a", "abcd", "abcde", "twelve chars", strings.Repeat("x", 44)} {
		n := PutDirent(b, 1, 2, DT_REG, name)
		if n != DirentLen(len(name)) || n%8 != 0 || n < DirentHeader+len(name)+1 {
			t.Errorf("%q: length %d", name, n)
		}
		var d Dirent
		if got := d.Decode(b); got != n || d.Ino != 1 || d.Next != 2 || d.Type != DT_REG || string(d.Name) != name {
			t.Errorf("%q: decoded %d %+v", name, got, d)
		}
	}
	if n := PutDirent(b, 1, 2, DT_REG, strings.Repeat("x", 45)); n != 0 {
		t.Errorf("an entry of %d bytes in %d", n, len(b))
	}
}

func TestDevices(t *testing.T) {
	for _, d := range [][2]uint32{{1, 3}, {8, 1}, {0xfff, 0xff}, {0x12345, 0xabcdef}, {1<<32 - 1, 1<<32 - 1}} {
		dev := Makedev(d[0], d[1])
		if Major(dev) != d[0] || Minor(dev) != d[1] {
			t.Errorf("%v: %#x is %d, %d", d, dev, Major(dev), Minor(dev))
		}
	}
	if dev := Makedev(1, 3); dev != 0x103 {
		t.Errorf("the null device is %#x", dev)
	}
}

func TestTimes(t *testing.T) {
	for n, want := range map[int64]Timespec{0: {}, 1: {0, 1}, -1: {-1, 999999999}, 1500000000: {1, 5e8}, -1500000000: {-2, 5e8}} {
		if got := NsecToTimespec(n); got != want {
			t.Errorf("%d: %v, want %v", n, got, want)
		}
	}
	const most = 1<<63 - 1
	for ts, want := range map[Timespec]int64{{1, 2}: 1000000002, {most, 0}: most, {9223372036, 854775807}: most, {9223372036, 854775806}: most - 1, {9223372037, 0}: most} {
		if got := ts.Nanoseconds(); got != want {
			t.Errorf("%v: %d, want %d", ts, got, want)
		}
	}
	for ts, want := range map[Timespec]bool{{0, 0}: true, {0, 999999999}: true, {0, 1000000000}: false, {0, -1}: false, {-1, 0}: false} {
		if ts.Valid() != want {
			t.Errorf("%v: valid %v", ts, !want)
		}
	}
}

// TestNoAllocation: the encoders run on every stat and poll.
func TestNoAllocation(t *testing.T) {
	var b [StatxSize]byte
	s, u, ev := Stat{}, Ucontext{}, Siginfo{}
	if n := testing.AllocsPerRun(100, func() {
		s.Encode(b[:])
		s.Decode(b[:])
		ev.Encode(b[:])
		PutDirent(b[:], 1, 2, 3, "name")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	var c [UcontextSize]byte
	if n := testing.AllocsPerRun(100, func() { u.Encode(c[:]); u.Decode(c[:]) }); n != 0 {
		t.Errorf("%v allocations for a ucontext", n)
	}
}
