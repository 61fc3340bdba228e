package abi

// Sigset is the kernel's signal set: signal n is bit n-1.
type Sigset uint64

// SigsetSize is the length of the kernel's sigset_t, which calls take as masksize.
const SigsetSize = 8

// Has reports whether sig is in the set; sig is 1..64.
func (s Sigset) Has(sig int) bool { return s>>(uint(sig-1)&63)&1 != 0 }

// Add returns the set with sig in it.
func (s Sigset) Add(sig int) Sigset { return s | 1<<(uint(sig-1)&63) }

// Del returns the set without sig.
func (s Sigset) Del(sig int) Sigset { return s &^ (1 << (uint(sig-1) & 63)) }

// Encode writes s to b.
func (s Sigset) Encode(b []byte) { le.PutUint64(b, uint64(s)) }

// DecodeSigset reads a set from b.
func DecodeSigset(b []byte) Sigset { return Sigset(le.Uint64(b)) }

// Sigaction is the kernel's struct sigaction (rt_sigaction), which differs from the C
// libraries' in order and in the length of the mask.
type Sigaction struct {
	Handler  Addr // or SIG_DFL, SIG_IGN
	Flags    uint64
	Restorer Addr
	Mask     Sigset
}

// SigactionSize is the length of the kernel's struct sigaction.
const SigactionSize = 32

// Encode writes s to b.
func (s *Sigaction) Encode(b []byte) {
	_ = b[SigactionSize-1]
	le.PutUint64(b, uint64(s.Handler))
	le.PutUint64(b[8:], s.Flags)
	le.PutUint64(b[16:], uint64(s.Restorer))
	s.Mask.Encode(b[24:])
}

// Decode reads s from b.
func (s *Sigaction) Decode(b []byte) {
	_ = b[SigactionSize-1]
	s.Handler = Addr(le.Uint64(b))
	s.Flags = le.Uint64(b[8:])
	s.Restorer = Addr(le.Uint64(b[16:]))
	s.Mask = DecodeSigset(b[24:])
}

// SigaltStack is a stack_t (sigaltstack(2)).
type SigaltStack struct {
	SP    Addr
	Flags int32 // SS_*
	Size  uint64
}

// SigaltStackSize is the length of stack_t.
const SigaltStackSize = 24

// Encode writes s to b.
func (s *SigaltStack) Encode(b []byte) {
	_ = b[SigaltStackSize-1]
	le.PutUint64(b, uint64(s.SP))
	putI32(b[8:], s.Flags)
	le.PutUint32(b[12:], 0)
	le.PutUint64(b[16:], s.Size)
}

// Decode reads s from b.
func (s *SigaltStack) Decode(b []byte) {
	_ = b[SigaltStackSize-1]
	s.SP = Addr(le.Uint64(b))
	s.Flags = getI32(b[8:])
	s.Size = le.Uint64(b[16:])
}

// Siginfo is a siginfo_t (sigaction(2)): a header and one of several bodies, by kind of signal.
// Fields of other kinds are left zero; Encode picks the body by which the kernel would.
type Siginfo struct {
	Signo int32
	Errno int32
	Code  int32 // SI_*, or the reason particular to the signal

	PID   int32  // sender or child: kill, sigqueue, SIGCHLD
	UID   uint32 // of the same
	Value uint64 // sigqueue: the union sigval; SI_TIMER also

	Status       int32 // SIGCHLD: exit status or signal
	Utime, Stime int64 // SIGCHLD, in ticks

	Addr    Addr  // faults: the address; SIGSYS: the instruction after the call
	AddrLSB int16 // SIGBUS, machine checks: granularity
	TimerID int32 // SI_TIMER
	Overrun int32 // SI_TIMER
	Band    int64 // SIGIO
	FD      int32 // SIGIO
	Syscall int32 // SIGSYS: the call's number
	Arch    uint32
}

// SiginfoSize is the length of siginfo_t.
const SiginfoSize = 128

// siginfo's bodies, by the kind of signal and code as in Linux's siginfo_layout.
const (
	sigKill = iota
	sigQueue
	sigTimer
	sigChild
	sigFault
	sigPoll
	sigSys
)

func (s *Siginfo) body() int {
	if s.Code > SI_USER && s.Code < SI_KERNEL {
		switch s.Signo {
		case SIGILL, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP:
			return sigFault
		case SIGCHLD:
			return sigChild
		case SIGIO:
			return sigPoll
		case SIGSYS:
			return sigSys
		}
		return sigKill
	}
	switch s.Code {
	case SI_USER, SI_KERNEL, SI_TKILL:
		return sigKill
	case SI_TIMER:
		return sigTimer
	case SI_SIGIO:
		return sigPoll
	}
	return sigQueue
}

// Encode writes s to b.
func (s *Siginfo) Encode(b []byte) {
	_ = b[SiginfoSize-1]
	clear(b[:SiginfoSize])
	putI32(b, s.Signo)
	putI32(b[4:], s.Errno)
	putI32(b[8:], s.Code)
	switch s.body() {
	case sigKill:
		putI32(b[16:], s.PID)
		le.PutUint32(b[20:], s.UID)
	case sigQueue:
		putI32(b[16:], s.PID)
		le.PutUint32(b[20:], s.UID)
		le.PutUint64(b[24:], s.Value)
	case sigTimer:
		putI32(b[16:], s.TimerID)
		putI32(b[20:], s.Overrun)
		le.PutUint64(b[24:], s.Value)
	case sigChild:
		putI32(b[16:], s.PID)
		le.PutUint32(b[20:], s.UID)
		putI32(b[24:], s.Status)
		putI64(b[32:], s.Utime)
		putI64(b[40:], s.Stime)
	case sigFault:
		le.PutUint64(b[16:], uint64(s.Addr))
		le.PutUint16(b[24:], uint16(s.AddrLSB))
	case sigPoll:
		putI64(b[16:], s.Band)
		putI32(b[24:], s.FD)
	case sigSys:
		le.PutUint64(b[16:], uint64(s.Addr))
		putI32(b[24:], s.Syscall)
		le.PutUint32(b[28:], s.Arch)
	}
}

// Decode reads s from b; as a guest may pass one (rt_sigqueueinfo(2)), the body is that of its
// own signal number and code.
func (s *Siginfo) Decode(b []byte) {
	_ = b[SiginfoSize-1]
	*s = Siginfo{Signo: getI32(b), Errno: getI32(b[4:]), Code: getI32(b[8:])}
	switch s.body() {
	case sigKill:
		s.PID = getI32(b[16:])
		s.UID = le.Uint32(b[20:])
	case sigQueue:
		s.PID = getI32(b[16:])
		s.UID = le.Uint32(b[20:])
		s.Value = le.Uint64(b[24:])
	case sigTimer:
		s.TimerID = getI32(b[16:])
		s.Overrun = getI32(b[20:])
		s.Value = le.Uint64(b[24:])
	case sigChild:
		s.PID = getI32(b[16:])
		s.UID = le.Uint32(b[20:])
		s.Status = getI32(b[24:])
		s.Utime = getI64(b[32:])
		s.Stime = getI64(b[40:])
	case sigFault:
		s.Addr = Addr(le.Uint64(b[16:]))
		s.AddrLSB = int16(le.Uint16(b[24:]))
	case sigPoll:
		s.Band = getI64(b[16:])
		s.FD = getI32(b[24:])
	case sigSys:
		s.Addr = Addr(le.Uint64(b[16:]))
		s.Syscall = getI32(b[24:])
		s.Arch = le.Uint32(b[28:])
	}
}

// Sigcontext is the machine state of a signal frame (struct sigcontext of x86-64), without
// the floating-point state, to which FPState points.
type Sigcontext struct {
	R8, R9, R10, R11, R12, R13, R14, R15 uint64
	RDI, RSI, RBP, RBX, RDX, RAX, RCX    uint64
	RSP, RIP, RFLAGS                     uint64
	CS, GS, FS, SS                       uint16
	Err, Trapno, Oldmask, CR2            uint64
	FPState                              Addr
}

// SigcontextSize is the length of struct sigcontext.
const SigcontextSize = 256

// Encode writes s to b.
func (s *Sigcontext) Encode(b []byte) {
	_ = b[SigcontextSize-1]
	for i, v := range [...]uint64{s.R8, s.R9, s.R10, s.R11, s.R12, s.R13, s.R14, s.R15,
		s.RDI, s.RSI, s.RBP, s.RBX, s.RDX, s.RAX, s.RCX, s.RSP, s.RIP, s.RFLAGS} {
		le.PutUint64(b[8*i:], v)
	}
	le.PutUint16(b[144:], s.CS)
	le.PutUint16(b[146:], s.GS)
	le.PutUint16(b[148:], s.FS)
	le.PutUint16(b[150:], s.SS)
	le.PutUint64(b[152:], s.Err)
	le.PutUint64(b[160:], s.Trapno)
	le.PutUint64(b[168:], s.Oldmask)
	le.PutUint64(b[176:], s.CR2)
	le.PutUint64(b[184:], uint64(s.FPState))
	clear(b[192:SigcontextSize])
}

// Decode reads s from b.
func (s *Sigcontext) Decode(b []byte) {
	_ = b[SigcontextSize-1]
	for i, p := range [...]*uint64{&s.R8, &s.R9, &s.R10, &s.R11, &s.R12, &s.R13, &s.R14, &s.R15,
		&s.RDI, &s.RSI, &s.RBP, &s.RBX, &s.RDX, &s.RAX, &s.RCX, &s.RSP, &s.RIP, &s.RFLAGS} {
		*p = le.Uint64(b[8*i:])
	}
	s.CS = le.Uint16(b[144:])
	s.GS = le.Uint16(b[146:])
	s.FS = le.Uint16(b[148:])
	s.SS = le.Uint16(b[150:])
	s.Err = le.Uint64(b[152:])
	s.Trapno = le.Uint64(b[160:])
	s.Oldmask = le.Uint64(b[168:])
	s.CR2 = le.Uint64(b[176:])
	s.FPState = Addr(le.Uint64(b[184:]))
}

// Ucontext is the ucontext_t that the kernel puts on a signal handler's stack; the C
// libraries' is longer, but agrees up to the first 64 bits of the mask.
type Ucontext struct {
	Flags   uint64
	Link    Addr
	Stack   SigaltStack
	Machine Sigcontext
	Mask    Sigset
}

// UcontextSize is the length of the kernel's struct ucontext.
const UcontextSize = 304

// Encode writes u to b.
func (u *Ucontext) Encode(b []byte) {
	_ = b[UcontextSize-1]
	le.PutUint64(b, u.Flags)
	le.PutUint64(b[8:], uint64(u.Link))
	u.Stack.Encode(b[16:])
	u.Machine.Encode(b[40:])
	u.Mask.Encode(b[296:])
}

// Decode reads u from b.
func (u *Ucontext) Decode(b []byte) {
	_ = b[UcontextSize-1]
	u.Flags = le.Uint64(b)
	u.Link = Addr(le.Uint64(b[8:]))
	u.Stack.Decode(b[16:])
	u.Machine.Decode(b[40:])
	u.Mask = DecodeSigset(b[296:])
}
