package abi

// Timespec is a time or duration: seconds and nanoseconds 0..999999999 (clock_gettime(2)).
type Timespec struct {
	Sec  int64
	Nsec int64
}

// TimespecSize is the length of struct timespec.
const TimespecSize = 16

// Encode writes t to b.
func (t *Timespec) Encode(b []byte) {
	_ = b[TimespecSize-1]
	putI64(b, t.Sec)
	putI64(b[8:], t.Nsec)
}

// Decode reads t from b.
func (t *Timespec) Decode(b []byte) {
	_ = b[TimespecSize-1]
	t.Sec = getI64(b)
	t.Nsec = getI64(b[8:])
}

// Valid reports whether t is a time that Linux accepts where it asks for one: not negative,
// nanoseconds in range.
func (t Timespec) Valid() bool { return t.Sec >= 0 && uint64(t.Nsec) < 1e9 }

// Nanoseconds returns t in nanoseconds, or the largest int64 where it does not fit. t is Valid.
func (t Timespec) Nanoseconds() int64 {
	const max = 1<<63 - 1
	if t.Sec > (max-t.Nsec)/1e9 {
		return max
	}
	return t.Sec*1e9 + t.Nsec
}

// NsecToTimespec splits nanoseconds so that the nanoseconds part is not negative.
func NsecToTimespec(n int64) Timespec {
	t := Timespec{Sec: n / 1e9, Nsec: n % 1e9}
	if t.Nsec < 0 {
		t.Sec--
		t.Nsec += 1e9
	}
	return t
}

// Timeval is a time: seconds and microseconds 0..999999 (gettimeofday(2)).
type Timeval struct {
	Sec  int64
	Usec int64
}

// TimevalSize is the length of struct timeval.
const TimevalSize = 16

// Encode writes t to b.
func (t *Timeval) Encode(b []byte) {
	_ = b[TimevalSize-1]
	putI64(b, t.Sec)
	putI64(b[8:], t.Usec)
}

// Decode reads t from b.
func (t *Timeval) Decode(b []byte) {
	_ = b[TimevalSize-1]
	t.Sec = getI64(b)
	t.Usec = getI64(b[8:])
}

// NsecToTimeval splits nanoseconds so that the microseconds part is not negative.
func NsecToTimeval(n int64) Timeval {
	t := NsecToTimespec(n)
	return Timeval{Sec: t.Sec, Usec: t.Nsec / 1000}
}

// TimezoneSize is the length of struct timezone (gettimeofday(2)), which is always zero.
const TimezoneSize = 8

// Itimerspec is a timer's interval and next time (timerfd_settime(2)).
type Itimerspec struct {
	Interval Timespec
	Value    Timespec
}

// ItimerspecSize is the length of struct itimerspec.
const ItimerspecSize = 32

// Encode writes t to b.
func (t *Itimerspec) Encode(b []byte) {
	_ = b[ItimerspecSize-1]
	t.Interval.Encode(b)
	t.Value.Encode(b[16:])
}

// Decode reads t from b.
func (t *Itimerspec) Decode(b []byte) {
	_ = b[ItimerspecSize-1]
	t.Interval.Decode(b)
	t.Value.Decode(b[16:])
}

// Itimerval is a timer's interval and next time (setitimer(2)).
type Itimerval struct {
	Interval Timeval
	Value    Timeval
}

// ItimervalSize is the length of struct itimerval.
const ItimervalSize = 32

// Encode writes t to b.
func (t *Itimerval) Encode(b []byte) {
	_ = b[ItimervalSize-1]
	t.Interval.Encode(b)
	t.Value.Encode(b[16:])
}

// Decode reads t from b.
func (t *Itimerval) Decode(b []byte) {
	_ = b[ItimervalSize-1]
	t.Interval.Decode(b)
	t.Value.Decode(b[16:])
}

// CloneArgs is what clone3(2) is given.
type CloneArgs struct {
	Flags               uint64
	Pidfd               Addr
	ChildTID, ParentTID Addr
	ExitSignal          uint64
	Stack               Addr // its lowest address
	StackSize           uint64
	TLS                 Addr
	SetTID              Addr
	SetTIDSize          uint64
	Cgroup              uint64
}

// CloneArgsSize is the length of struct clone_args; CloneArgsSizeV0 that of its first version, which
// ends with TLS.
const (
	CloneArgsSize   = 88
	CloneArgsSizeV0 = 64
)

// Encode writes a to b.
func (a *CloneArgs) Encode(b []byte) {
	_ = b[CloneArgsSize-1]
	for i, v := range [...]uint64{a.Flags, uint64(a.Pidfd), uint64(a.ChildTID), uint64(a.ParentTID), a.ExitSignal,
		uint64(a.Stack), a.StackSize, uint64(a.TLS), uint64(a.SetTID), a.SetTIDSize, a.Cgroup} {
		le.PutUint64(b[8*i:], v)
	}
}

// Decode reads a from b.
func (a *CloneArgs) Decode(b []byte) {
	_ = b[CloneArgsSize-1]
	at := func(i int) uint64 { return le.Uint64(b[8*i:]) }
	*a = CloneArgs{Flags: at(0), Pidfd: Addr(at(1)), ChildTID: Addr(at(2)), ParentTID: Addr(at(3)), ExitSignal: at(4),
		Stack: Addr(at(5)), StackSize: at(6), TLS: Addr(at(7)), SetTID: Addr(at(8)), SetTIDSize: at(9), Cgroup: at(10)}
}

// Utsname is the answer of uname(2): six strings of at most 64 bytes.
type Utsname struct {
	Sysname, Nodename, Release, Version, Machine, Domainname string
}

// UtsnameSize is the length of struct utsname; UtsnameField that of each string with its NUL.
const (
	UtsnameSize  = 390
	UtsnameField = 65
)

// Encode writes u to b.
func (u *Utsname) Encode(b []byte) {
	_ = b[UtsnameSize-1]
	putName(b[0*UtsnameField:1*UtsnameField], u.Sysname)
	putName(b[1*UtsnameField:2*UtsnameField], u.Nodename)
	putName(b[2*UtsnameField:3*UtsnameField], u.Release)
	putName(b[3*UtsnameField:4*UtsnameField], u.Version)
	putName(b[4*UtsnameField:5*UtsnameField], u.Machine)
	putName(b[5*UtsnameField:6*UtsnameField], u.Domainname)
}

// Sysinfo is the answer of sysinfo(2). Memory is in units of Unit bytes.
type Sysinfo struct {
	Uptime    int64 // seconds
	Loads     [3]uint64
	Totalram  uint64
	Freeram   uint64
	Sharedram uint64
	Bufferram uint64
	Totalswap uint64
	Freeswap  uint64
	Procs     uint16
	Totalhigh uint64
	Freehigh  uint64
	Unit      uint32
}

// SysinfoSize is the length of struct sysinfo.
const SysinfoSize = 112

// Encode writes s to b.
func (s *Sysinfo) Encode(b []byte) {
	_ = b[SysinfoSize-1]
	putI64(b, s.Uptime)
	for i, l := range s.Loads {
		le.PutUint64(b[8+8*i:], l)
	}
	le.PutUint64(b[32:], s.Totalram)
	le.PutUint64(b[40:], s.Freeram)
	le.PutUint64(b[48:], s.Sharedram)
	le.PutUint64(b[56:], s.Bufferram)
	le.PutUint64(b[64:], s.Totalswap)
	le.PutUint64(b[72:], s.Freeswap)
	le.PutUint64(b[80:], uint64(s.Procs))
	le.PutUint64(b[88:], s.Totalhigh)
	le.PutUint64(b[96:], s.Freehigh)
	le.PutUint64(b[104:], uint64(s.Unit))
}

// Rlimit is a limit of getrlimit(2); RLIM_INFINITY is none.
type Rlimit struct {
	Cur uint64
	Max uint64
}

// RlimitSize is the length of struct rlimit.
const RlimitSize = 16

// Encode writes r to b.
func (r *Rlimit) Encode(b []byte) {
	_ = b[RlimitSize-1]
	le.PutUint64(b, r.Cur)
	le.PutUint64(b[8:], r.Max)
}

// Decode reads r from b.
func (r *Rlimit) Decode(b []byte) {
	_ = b[RlimitSize-1]
	r.Cur = le.Uint64(b)
	r.Max = le.Uint64(b[8:])
}

// Rusage is the answer of getrusage(2). The fields that Linux does not keep are left out; they
// are encoded as 0.
type Rusage struct {
	Utime, Stime   Timeval
	Maxrss         int64 // KiB
	Minflt, Majflt int64
	Inblock        int64
	Oublock        int64
	Nvcsw, Nivcsw  int64
}

// RusageSize is the length of struct rusage.
const RusageSize = 144

// Encode writes r to b.
func (r *Rusage) Encode(b []byte) {
	_ = b[RusageSize-1]
	clear(b[:RusageSize])
	r.Utime.Encode(b)
	r.Stime.Encode(b[16:])
	putI64(b[32:], r.Maxrss)
	putI64(b[64:], r.Minflt)
	putI64(b[72:], r.Majflt)
	putI64(b[88:], r.Inblock)
	putI64(b[96:], r.Oublock)
	putI64(b[128:], r.Nvcsw)
	putI64(b[136:], r.Nivcsw)
}

// Tms is the answer of times(2), in ticks of 10 ms (ClockTick).
type Tms struct {
	Utime, Stime, Cutime, Cstime int64
}

// TmsSize is the length of struct tms; ClockTick the number of its ticks in a second (AT_CLKTCK).
const (
	TmsSize   = 32
	ClockTick = 100
)

// Encode writes t to b.
func (t *Tms) Encode(b []byte) {
	_ = b[TmsSize-1]
	putI64(b, t.Utime)
	putI64(b[8:], t.Stime)
	putI64(b[16:], t.Cutime)
	putI64(b[24:], t.Cstime)
}

// SchedParamSize is the length of struct sched_param (sched_setparam(2)), one int32: the priority.
const SchedParamSize = 4

// RobustListHead is a thread's list of robust futexes (get_robust_list(2)).
type RobustListHead struct {
	Next    Addr  // first entry; the head's own address when the list is empty
	Offset  int64 // from an entry to its futex word
	Pending Addr  // entry being locked or unlocked, 0 for none
}

// RobustListHeadSize is the length of struct robust_list_head.
const RobustListHeadSize = 24

// Decode reads r from b.
func (r *RobustListHead) Decode(b []byte) {
	_ = b[RobustListHeadSize-1]
	r.Next = Addr(le.Uint64(b))
	r.Offset = getI64(b[8:])
	r.Pending = Addr(le.Uint64(b[16:]))
}
