// Package seccomp is the lock: the one system call filter that every sandbox runs under.
//
// [Table] is the whole policy as data. What no row admits is never executed by the host
// kernel: a call outside the table raises SIGSYS in the process ([Trap]) or ends it
// ([Kill]); a call by another architecture's entry (int 0x80, sysenter) the same; a call
// number of the x32 range, 0x40000000 and above, returns ENOSYS from the filter itself.
// ENOSYS rather than a trap for x32: the answer is the same, the handler would only repeat
// it, and the number can then never be mistaken for a native one by whoever decodes a trap.
//
// The filter looks at the architecture, the call number and the arguments, and at nothing
// else: not at the instruction pointer and at no secret, since a guest shares the address
// space and can jump to any instruction and read any secret in it.
//
// Two numbers pass by every filter on x86-64 hosts from Linux 6.14 on, uretprobe (335) and
// uprobe (336): the host's kernel uses them for its own probes and answers whoever calls them
// from elsewhere with SIGILL and ENXIO. Nothing is reached by them.
//
// The program is assembled from the table by package policy when the tree is generated
// (zfilter.go), so that the process behind the lock carries only the instructions.
package seccomp

//go:generate go run policy/generate.go

// The sandbox process's descriptors. It is started with exactly these; the ring is mapped
// and closed before the lock, and nothing opens another one after it.
const (
	Stdin       = 0
	Stdout      = 1
	Stderr      = 2
	ControlIn   = 3  // pipe: configuration from the supervisor
	ControlOut  = 4  // pipe: status to the supervisor
	DoorbellIn  = 5  // eventfd: the supervisor has answered block requests
	DoorbellOut = 6  // eventfd: there are new block requests
	Entropy     = 7  // /dev/urandom
	Image       = 8  // backing image, opened read-only
	RAM         = 9  // guest RAM memfd, sealed against resizing
	Ring        = 10 // block request ring memfd; closed before the lock

	// Descriptors is the number of descriptors that a sandbox process starts with.
	Descriptors = 11
)

// Row admits one call when all of its conditions hold. Rows of one call are alternatives.
type Row struct {
	Call string // Linux's name, x86-64
	If   []Cond // none: always
	Why  string
}

// Cond compares one argument's whole 64-bit register.
type Cond struct {
	Arg   int // 0 to 5
	Op    Op
	Value uint64
}

// Mark is in the upper half of one argument of every call that the table admits: of the
// descriptor, the futex operation or the exit status, of which the host's kernel looks at the
// lower half only. Of all registers that the host reads alike, exactly one spelling passes.
//
// It tells the kernel's calls from those that a program makes directly because it was not
// built for Pinhole. These trap, and the kernel answers them with the rest of the program's
// calls; otherwise such a program would read, map and exit past its kernel. The mark is no
// secret and keeps nobody from anything: a program that uses it gets what the row admits.
const Mark = 0x50480000 << 32

// Op is a comparison of unsigned 64-bit numbers.
type Op uint8

const (
	Equal   Op = iota // the argument is Value
	AtMost            // the argument is Value or less
	AtLeast           // the argument is Value or more
)

// Linux's values for x86-64 that the table is made of (linux/futex.h, asm-generic/mman.h).
// They stand here in numbers since the table is what a reader checks against the manual.
const (
	futexWait       = 0
	futexWake       = 1
	futexWaitBitset = 9
	futexWakeBitset = 10
	futexPrivate    = 0x80
	futexRealtime   = 0x100

	protAny = 0x7 // PROT_READ | PROT_WRITE | PROT_EXEC, and none of the other bits

	mapShared    = 0x01
	mapPrivate   = 0x02
	mapFixed     = 0x10
	mapAnonymous = 0x20
	mapNoReserve = 0x4000
	mapPopulate  = 0x8000

	noFile = 0xffffffff // descriptor -1
)

// Table is the policy: the calls in the order in which the filter tries them, the most
// frequent first.
var Table = []Row{
	futex(futexWait, "sleep until a word changes: the Go scheduler's idle threads, with a relative timeout its timers"),
	futex(futexWake, "wake a host thread of this process"),
	futex(futexWaitBitset, "as WAIT with an absolute timeout, which does not drift when a wait is resumed"),
	futex(futexWakeBitset, "counterpart of WAIT_BITSET"),
	futex(futexWait|futexRealtime, "as WAIT, timeout on the wall clock"),
	futex(futexWake|futexRealtime, "same four operations with the clock bit; the kernel refuses it for a wake"),
	futex(futexWaitBitset|futexRealtime, "as WAIT_BITSET, deadline on the wall clock"),
	futex(futexWakeBitset|futexRealtime, "same four operations with the clock bit; the kernel refuses it for a wake"),

	write(Stdout, "the guest's standard output: a pipe or a regular file"),
	write(Stderr, "the guest's standard error: a pipe or a regular file"),
	write(ControlOut, "status records to the supervisor"),
	write(DoorbellOut, "tells the supervisor of block requests"),

	read(Stdin, "the guest's standard input: a pipe or a regular file"),
	read(ControlIn, "configuration and the terminal's events from the supervisor"),
	read(DoorbellIn, "waits for answers to block requests"),
	read(Entropy, "random bytes"),

	anonymous(mapPrivate|mapAnonymous|mapFixed, "guest memory; the Go heap; discarding pages by mapping fresh ones over them"),
	anonymous(mapPrivate|mapAnonymous|mapFixed|mapNoReserve, "address space that holds nothing: unmapping and guard pages"),
	anonymous(mapPrivate|mapAnonymous|mapFixed|mapPopulate, "guest memory with its pages present, saving the faults"),
	anonymous(mapPrivate|mapAnonymous, "the Go runtime's own allocations, at an address of the host's choice"),

	file(Image, mapPrivate|mapFixed, "a file of the image in guest memory; written pages are copies, the image is never changed"),

	file(RAM, mapShared|mapFixed, "guest memory that outlives a change of protection; shared mappings of files through the buffer cache"),

	exit("exit", "a host thread ends"),
	exit("exit_group", "the sandbox ends"),
}

func futex(op uint64, why string) Row {
	return Row{"futex", []Cond{{1, Equal, Mark | op | futexPrivate}}, why}
}

func exit(call, why string) Row {
	return Row{call, []Cond{{0, AtLeast, Mark}, {0, AtMost, Mark | 0xff}}, why}
}

func read(fd uint64, why string) Row  { return Row{"read", []Cond{{0, Equal, Mark | fd}}, why} }
func write(fd uint64, why string) Row { return Row{"write", []Cond{{0, Equal, Mark | fd}}, why} }

func anonymous(flags uint64, why string) Row { return file(noFile, flags, why) }

func file(fd, flags uint64, why string) Row {
	return Row{"mmap", []Cond{{3, Equal, flags}, {4, Equal, Mark | fd}, {2, AtMost, protAny}}, why}
}
