package abi

// Constants of processes, threads, clocks and the auxiliary vector, as on Linux x86-64.

// Operations of futex(2), and the flags that go with them.
const (
	FUTEX_WAIT            = 0
	FUTEX_WAKE            = 1
	FUTEX_FD              = 2
	FUTEX_REQUEUE         = 3
	FUTEX_CMP_REQUEUE     = 4
	FUTEX_WAKE_OP         = 5
	FUTEX_LOCK_PI         = 6
	FUTEX_UNLOCK_PI       = 7
	FUTEX_TRYLOCK_PI      = 8
	FUTEX_WAIT_BITSET     = 9
	FUTEX_WAKE_BITSET     = 10
	FUTEX_WAIT_REQUEUE_PI = 11
	FUTEX_CMP_REQUEUE_PI  = 12
	FUTEX_LOCK_PI2        = 13
	FUTEX_PRIVATE_FLAG    = 128
	FUTEX_CLOCK_REALTIME  = 256
	FUTEX_CMD_MASK        = ^384
)

// Bits of a robust or priority-inheriting futex word, and the set that matches every bit set.
const (
	FUTEX_WAITERS          = 0x80000000
	FUTEX_OWNER_DIED       = 0x40000000
	FUTEX_TID_MASK         = 0x3fffffff
	FUTEX_BITSET_MATCH_ANY = 0xffffffff
)

// The operation word of FUTEX_WAKE_OP: operation in bits 28-30, shift flag in 31, comparison in
// 24-27.
const (
	FUTEX_OP_SET         = 0
	FUTEX_OP_ADD         = 1
	FUTEX_OP_OR          = 2
	FUTEX_OP_ANDN        = 3
	FUTEX_OP_XOR         = 4
	FUTEX_OP_OPARG_SHIFT = 8
	FUTEX_OP_CMP_EQ      = 0
	FUTEX_OP_CMP_NE      = 1
	FUTEX_OP_CMP_LT      = 2
	FUTEX_OP_CMP_LE      = 3
	FUTEX_OP_CMP_GT      = 4
	FUTEX_OP_CMP_GE      = 5
)

// Flags of clone(2).
const (
	CSIGNAL              = 0xff
	CLONE_VM             = 0x100
	CLONE_FS             = 0x200
	CLONE_FILES          = 0x400
	CLONE_SIGHAND        = 0x800
	CLONE_PIDFD          = 0x1000
	CLONE_PTRACE         = 0x2000
	CLONE_VFORK          = 0x4000
	CLONE_PARENT         = 0x8000
	CLONE_THREAD         = 0x10000
	CLONE_NEWNS          = 0x20000
	CLONE_SYSVSEM        = 0x40000
	CLONE_SETTLS         = 0x80000
	CLONE_PARENT_SETTID  = 0x100000
	CLONE_CHILD_CLEARTID = 0x200000
	CLONE_DETACHED       = 0x400000
	CLONE_UNTRACED       = 0x800000
	CLONE_CHILD_SETTID   = 0x1000000
	CLONE_NEWCGROUP      = 0x2000000
	CLONE_NEWUTS         = 0x4000000
	CLONE_NEWIPC         = 0x8000000
	CLONE_NEWUSER        = 0x10000000
	CLONE_NEWPID         = 0x20000000
	CLONE_NEWNET         = 0x40000000
	CLONE_IO             = 0x80000000
	CLONE_CLEAR_SIGHAND  = 0x100000000
	CLONE_INTO_CGROUP    = 0x200000000
	CLONE_NEWTIME        = 0x80
)

// Clocks of clock_gettime(2).
const (
	CLOCK_REALTIME           = 0
	CLOCK_MONOTONIC          = 1
	CLOCK_PROCESS_CPUTIME_ID = 2
	CLOCK_THREAD_CPUTIME_ID  = 3
	CLOCK_MONOTONIC_RAW      = 4
	CLOCK_REALTIME_COARSE    = 5
	CLOCK_MONOTONIC_COARSE   = 6
	CLOCK_BOOTTIME           = 7
	CLOCK_REALTIME_ALARM     = 8
	CLOCK_BOOTTIME_ALARM     = 9
	CLOCK_TAI                = 11
)

// The flag of clock_nanosleep(2) for an absolute time.
const (
	TIMER_ABSTIME = 1
)

// Resources of getrlimit(2), and the value for no limit.
const (
	RLIMIT_CPU        = 0
	RLIMIT_FSIZE      = 1
	RLIMIT_DATA       = 2
	RLIMIT_STACK      = 3
	RLIMIT_CORE       = 4
	RLIMIT_RSS        = 5
	RLIMIT_NPROC      = 6
	RLIMIT_NOFILE     = 7
	RLIMIT_MEMLOCK    = 8
	RLIMIT_AS         = 9
	RLIMIT_LOCKS      = 10
	RLIMIT_SIGPENDING = 11
	RLIMIT_MSGQUEUE   = 12
	RLIMIT_NICE       = 13
	RLIMIT_RTPRIO     = 14
	RLIMIT_RTTIME     = 15
	RLIM_NLIMITS      = 16
	RLIM_INFINITY     = 0xffffffffffffffff
)

// Subjects of getrusage(2).
const (
	RUSAGE_SELF     = 0
	RUSAGE_CHILDREN = -1
	RUSAGE_THREAD   = 1
)

// Subjects of getpriority(2).
const (
	PRIO_PROCESS = 0
	PRIO_PGRP    = 1
	PRIO_USER    = 2
)

// Operations of prctl(2).
const (
	PR_SET_PDEATHSIG        = 1
	PR_GET_PDEATHSIG        = 2
	PR_GET_DUMPABLE         = 3
	PR_SET_DUMPABLE         = 4
	PR_GET_KEEPCAPS         = 7
	PR_SET_KEEPCAPS         = 8
	PR_GET_TIMING           = 13
	PR_SET_TIMING           = 14
	PR_SET_NAME             = 15
	PR_GET_NAME             = 16
	PR_GET_SECCOMP          = 21
	PR_SET_SECCOMP          = 22
	PR_CAPBSET_READ         = 23
	PR_CAPBSET_DROP         = 24
	PR_GET_TSC              = 25
	PR_SET_TSC              = 26
	PR_GET_SECUREBITS       = 27
	PR_SET_SECUREBITS       = 28
	PR_SET_TIMERSLACK       = 29
	PR_GET_TIMERSLACK       = 30
	PR_SET_MM               = 35
	PR_SET_CHILD_SUBREAPER  = 36
	PR_GET_CHILD_SUBREAPER  = 37
	PR_SET_NO_NEW_PRIVS     = 38
	PR_GET_NO_NEW_PRIVS     = 39
	PR_GET_TID_ADDRESS      = 40
	PR_SET_THP_DISABLE      = 41
	PR_GET_THP_DISABLE      = 42
	PR_CAP_AMBIENT          = 47
	PR_GET_SPECULATION_CTRL = 52
	PR_SET_SPECULATION_CTRL = 53
	PR_SET_VMA              = 1398164801
	PR_SET_VMA_ANON_NAME    = 0
	PR_SET_PTRACER          = 1499557217

	PR_CAP_AMBIENT_IS_SET    = 1
	PR_CAP_AMBIENT_RAISE     = 2
	PR_CAP_AMBIENT_LOWER     = 3
	PR_CAP_AMBIENT_CLEAR_ALL = 4

	SECBIT_KEEP_CAPS = 16
)

// Versions of capget(2)'s structs, of which the first has sets of 32 bits and the others of 64, and the last
// capability that there is (capabilities(7)).
const (
	LINUX_CAPABILITY_VERSION_1 = 0x19980330
	LINUX_CAPABILITY_VERSION_2 = 0x20071026
	LINUX_CAPABILITY_VERSION_3 = 0x20080522
	CAP_LAST_CAP               = 40
)

// Operations of arch_prctl(2) on x86-64.
const (
	ARCH_SET_GS = 0x1001
	ARCH_SET_FS = 0x1002
	ARCH_GET_FS = 0x1003
	ARCH_GET_GS = 0x1004
)

// Scheduling policies of sched_setscheduler(2).
const (
	SCHED_OTHER         = 0
	SCHED_FIFO          = 1
	SCHED_RR            = 2
	SCHED_BATCH         = 3
	SCHED_IDLE          = 5
	SCHED_DEADLINE      = 6
	SCHED_RESET_ON_FORK = 1073741824
)

// Commands of membarrier(2), and its flag.
const (
	MEMBARRIER_CMD_QUERY                                = 0
	MEMBARRIER_CMD_GLOBAL                               = 1
	MEMBARRIER_CMD_GLOBAL_EXPEDITED                     = 2
	MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED            = 4
	MEMBARRIER_CMD_PRIVATE_EXPEDITED                    = 8
	MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED           = 16
	MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE          = 32
	MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE = 64
	MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ               = 128
	MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ      = 256
	MEMBARRIER_CMD_FLAG_CPU                             = 1
)

// Flags of getrandom(2).
const (
	GRND_NONBLOCK = 1
	GRND_RANDOM   = 2
	GRND_INSECURE = 4
)

// Options of wait4(2) and waitid(2), and the kinds of waitid. C has the last three options with two
// underscores before their names.
const (
	WNOHANG    = 1
	WUNTRACED  = 2
	WSTOPPED   = 2
	WEXITED    = 4
	WCONTINUED = 8
	WNOWAIT    = 16777216
	P_ALL      = 0
	P_PID      = 1
	P_PGID     = 2
	P_PIDFD    = 3
	WNOTHREAD  = 0x20000000
	WALL       = 0x40000000
	WCLONE     = 0x80000000
)

// Keys of the auxiliary vector (getauxval(3)). The two of Pinhole's own hold the addresses of the
// gates; they lie far outside Linux's range.
const (
	AT_NULL               = 0
	AT_IGNORE             = 1
	AT_EXECFD             = 2
	AT_PHDR               = 3
	AT_PHENT              = 4
	AT_PHNUM              = 5
	AT_PAGESZ             = 6
	AT_BASE               = 7
	AT_FLAGS              = 8
	AT_ENTRY              = 9
	AT_NOTELF             = 10
	AT_UID                = 11
	AT_EUID               = 12
	AT_GID                = 13
	AT_EGID               = 14
	AT_PLATFORM           = 15
	AT_HWCAP              = 16
	AT_CLKTCK             = 17
	AT_SECURE             = 23
	AT_BASE_PLATFORM      = 24
	AT_RANDOM             = 25
	AT_HWCAP2             = 26
	AT_RSEQ_FEATURE_SIZE  = 27
	AT_RSEQ_ALIGN         = 28
	AT_EXECFN             = 31
	AT_SYSINFO_EHDR       = 33
	AT_MINSIGSTKSZ        = 51
	AT_PINHOLE_GATE       = 0x50480001
	AT_PINHOLE_LINUX_GATE = 0x50480002
)

// Flags of pidfd_open(2), and of pidfd_send_signal(2).
const (
	PIDFD_NONBLOCK = 0x800
	PIDFD_THREAD   = 0x80 // a thread, not a process

	PIDFD_SIGNAL_THREAD        = 1
	PIDFD_SIGNAL_THREAD_GROUP  = 2
	PIDFD_SIGNAL_PROCESS_GROUP = 4
)
