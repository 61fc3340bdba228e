package abi

// EpollEvent is one event of epoll_ctl(2) and epoll_wait(2). On x86-64 it is packed.
type EpollEvent struct {
	Events uint32
	Data   uint64
}

// EpollEventSize is the length of struct epoll_event.
const EpollEventSize = 12

// Encode writes e to b.
func (e *EpollEvent) Encode(b []byte) {
	_ = b[EpollEventSize-1]
	le.PutUint32(b, e.Events)
	le.PutUint64(b[4:], e.Data)
}

// Decode reads e from b.
func (e *EpollEvent) Decode(b []byte) {
	_ = b[EpollEventSize-1]
	e.Events = le.Uint32(b)
	e.Data = le.Uint64(b[4:])
}

// Sigevent says how to tell of the end of a timer (sigevent(7)).
type Sigevent struct {
	Value    uint64 // the union sigval
	Signo    int32
	Notify   int32 // SIGEV_*
	ThreadID int32 // of SIGEV_THREAD_ID
}

// SigeventSize is the length of struct sigevent.
const SigeventSize = 64

// Encode writes s to b.
func (s *Sigevent) Encode(b []byte) {
	_ = b[SigeventSize-1]
	le.PutUint64(b, s.Value)
	putI32(b[8:], s.Signo)
	putI32(b[12:], s.Notify)
	putI32(b[16:], s.ThreadID)
	clear(b[20:SigeventSize])
}

// Decode reads s from b.
func (s *Sigevent) Decode(b []byte) {
	_ = b[SigeventSize-1]
	s.Value = le.Uint64(b)
	s.Signo = getI32(b[8:])
	s.Notify = getI32(b[12:])
	s.ThreadID = getI32(b[16:])
}

// SignalfdSiginfo is what a read of signalfd(2) gives of one signal.
type SignalfdSiginfo struct {
	Signo   uint32
	Errno   int32
	Code    int32
	PID     uint32
	UID     uint32
	FD      int32
	TimerID uint32
	Band    uint32
	Overrun uint32
	Trapno  uint32
	Status  int32
	Int     int32
	Ptr     uint64
	Utime   uint64
	Stime   uint64
	Addr    uint64
	AddrLSB uint16
	Syscall int32
	CallAt  uint64 // address behind the instruction
	Arch    uint32
}

// SignalfdSiginfoSize is the length of struct signalfd_siginfo.
const SignalfdSiginfoSize = 128

// Encode writes s to b.
func (s *SignalfdSiginfo) Encode(b []byte) {
	_ = b[SignalfdSiginfoSize-1]
	clear(b[:SignalfdSiginfoSize])
	le.PutUint32(b, s.Signo)
	putI32(b[4:], s.Errno)
	putI32(b[8:], s.Code)
	le.PutUint32(b[12:], s.PID)
	le.PutUint32(b[16:], s.UID)
	putI32(b[20:], s.FD)
	le.PutUint32(b[24:], s.TimerID)
	le.PutUint32(b[28:], s.Band)
	le.PutUint32(b[32:], s.Overrun)
	le.PutUint32(b[36:], s.Trapno)
	putI32(b[40:], s.Status)
	putI32(b[44:], s.Int)
	le.PutUint64(b[48:], s.Ptr)
	le.PutUint64(b[56:], s.Utime)
	le.PutUint64(b[64:], s.Stime)
	le.PutUint64(b[72:], s.Addr)
	le.PutUint16(b[80:], s.AddrLSB)
	putI32(b[84:], s.Syscall)
	le.PutUint64(b[88:], s.CallAt)
	le.PutUint32(b[96:], s.Arch)
}

// SignalfdSiginfo returns what a read of signalfd(2) gives of s: the fields that its kind has.
func (s *Siginfo) SignalfdSiginfo() SignalfdSiginfo {
	f := SignalfdSiginfo{Signo: uint32(s.Signo), Errno: s.Errno, Code: s.Code}
	switch s.body() {
	case sigKill:
		f.PID, f.UID = uint32(s.PID), s.UID
	case sigQueue:
		f.PID, f.UID, f.Ptr, f.Int = uint32(s.PID), s.UID, s.Value, int32(s.Value)
	case sigTimer:
		f.TimerID, f.Overrun, f.Ptr, f.Int = uint32(s.TimerID), uint32(s.Overrun), s.Value, int32(s.Value)
	case sigChild:
		f.PID, f.UID, f.Status = uint32(s.PID), s.UID, s.Status
		f.Utime, f.Stime = uint64(s.Utime), uint64(s.Stime)
	case sigFault:
		f.Addr, f.AddrLSB = uint64(s.Addr), uint16(s.AddrLSB)
	case sigPoll:
		f.Band, f.FD = uint32(s.Band), s.FD
	case sigSys:
		f.CallAt, f.Syscall, f.Arch = uint64(s.Addr), s.Syscall, s.Arch
	}
	return f
}
