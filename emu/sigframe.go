package emu

import (
	"encoding/binary"
	"sync"
	"unsafe"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// The frame of a signal handler is Linux's struct rt_sigframe: from the stack pointer up
//
//	0    return address: the restorer
//	8    struct ucontext
//	312  siginfo_t
//	440  padding, then at a multiple of 64 the XSAVE area, and a closing magic number
//
// A handler, an unwinder or a debugger that knows Linux finds everything where it is used to.
const (
	frameContext = 8
	frameInfo    = frameContext + abi.UcontextSize
	frameSize    = frameInfo + abi.SiginfoSize

	redZone = 128 // below the stack pointer, a function's own

	// What the kernel keeps in the part of the XSAVE area that the processor leaves to software.
	xsaveSoftware = 464
	xsaveHeader   = 512
	xsaveMagic2   = 0x46505845

	ucXState        = 1 // uc_flags: there is an XSAVE area
	ucSegment       = 2 // ss is saved,
	ucStrictSegment = 4 // and restored as it is

	userCS = 0x33
	userSS = 0x2b

	mxcsrDefault = 0x1f80
	fcwDefault   = 0x37f
	mxcsrMask    = 0xffff

	// flagsUser are the flags that user code may change: CF PF AF ZF SF TF DF OF NT AC ID.
	// flagsFixed are always set: IF and the reserved bit.
	flagsUser  = 0x244dd5 &^ 0x4000
	flagsFixed = 0x202
)

// xsaveArea returns the XSAVE area of a context, which lies outside of Go's heap.
func xsaveArea(c *guest.Context) []byte {
	if c.XSaveSize == 0 {
		return nil
	}
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&c.XSave)), c.XSaveSize)
}

// initXSave makes x the state of a thread that has not used the vector unit, but for the control
// words. What the header does not claim to be in the area has its initial value.
func initXSave(x []byte, fcw, mxcsr uint32) {
	if len(x) == 0 {
		return
	}
	clear(x[:xsaveSoftware])
	clear(x[xsaveHeader : xsaveHeader+64])
	binary.LittleEndian.PutUint16(x, uint16(fcw))
	binary.LittleEndian.PutUint32(x[24:], mxcsr)
	binary.LittleEndian.PutUint32(x[28:], mxcsrMask)
	x[xsaveHeader] = 3 // x87 and SSE are in the area
}

var le = binary.LittleEndian

// complete makes a context that came in by a call Full: all registers have values, those that a
// function call may clobber any.
func complete(c *guest.Context) {
	if c.Full != 0 {
		return
	}
	c.RCX, c.R11, c.RFLAGS = 0, 0, flagsFixed
	initXSave(xsaveArea(c), c.FCW, c.MXCSR)
	c.Full = 1
}

var frames = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// pushFrame makes the guest go on in the handler of act, with its present state in a frame from which
// signal_return takes it back. old is the set of blocked signals to go back to. False: the stack
// cannot be written.
func (t *Task) pushFrame(info *abi.Siginfo, act *abi.Sigaction, old abi.Sigset) bool {
	c := t.ctx
	complete(c)
	x := xsaveArea(c)

	sp := c.RSP
	alt := act.Flags&abi.SA_ONSTACK != 0 && t.altStack.Size != 0 && !t.onAltStack(sp)
	if alt {
		sp = uint64(t.altStack.SP) + t.altStack.Size
	} else {
		sp -= redZone
	}
	fp := (sp - uint64(len(x)) - 4) &^ 63
	frame := (fp-frameSize)&^15 - 8
	if frame > c.RSP && !alt || alt && frame < uint64(t.altStack.SP) || t.onAltStack(c.RSP) && frame < uint64(t.altStack.SP) {
		return false
	}

	buf := frames.Get().(*[]byte)
	defer frames.Put(buf)
	n := int(fp-frame) + len(x) + 4
	if cap(*buf) < n {
		*buf = make([]byte, n)
	}
	b := (*buf)[:n]
	clear(b[:fp-frame])

	u := abi.Ucontext{
		Flags: ucXState | ucSegment | ucStrictSegment,
		Stack: t.altStackNow(c.RSP),
		Mask:  old,
		Machine: abi.Sigcontext{
			R8: c.R8, R9: c.R9, R10: c.R10, R11: c.R11, R12: c.R12, R13: c.R13, R14: c.R14, R15: c.R15,
			RDI: c.RDI, RSI: c.RSI, RBP: c.RBP, RBX: c.RBX, RDX: c.RDX, RAX: c.RAX, RCX: c.RCX,
			RSP: c.RSP, RIP: c.RIP, RFLAGS: c.RFLAGS, CS: userCS, SS: userSS,
			Oldmask: uint64(old), FPState: abi.Addr(fp),
		},
	}
	if c.Why == guest.Fault {
		u.Machine.Err, u.Machine.Trapno, u.Machine.CR2 = c.Err, c.Trapno, c.FaultAddr
	}
	le.PutUint64(b, uint64(act.Restorer))
	u.Encode(b[frameContext:])
	info.Encode(b[frameInfo:])
	f := b[fp-frame:]
	copy(f, x)
	le.PutUint32(f[len(x):], xsaveMagic2)
	if guest.CopyOut(abi.Addr(frame), b) < n {
		return false
	}

	if uint32(t.altStack.Flags)&abi.SS_AUTODISARM != 0 && alt {
		t.altStack = abi.SigaltStack{Flags: abi.SS_DISABLE}
	}
	c.RIP, c.RSP, c.RFLAGS = uint64(act.Handler), frame, flagsFixed
	c.RDI, c.RSI, c.RDX = uint64(info.Signo), frame+frameInfo, frame+frameContext
	c.RAX = 0
	c.FCW, c.MXCSR = fcwDefault, mxcsrDefault
	initXSave(x, fcwDefault, mxcsrDefault)
	t.frames++
	return true
}

// signalReturn answers signal_return (rt_sigreturn(2)): the stack pointer is where a handler's return
// leaves it, at the ucontext of its frame. The value that it gives back is what RAX held.
func (t *Task) signalReturn() (uint64, abi.Errno) {
	c := t.ctx
	var b [abi.UcontextSize]byte
	var u abi.Ucontext
	if guest.CopyIn(b[:], abi.Addr(c.RSP)) < len(b) {
		t.badFrame()
		return 0, 0
	}
	u.Decode(b[:])
	m := &u.Machine
	if !canonical(m.RIP) || !canonical(m.RSP) {
		t.badFrame()
		return 0, 0
	}
	if !t.restoreXSave(m.FPState) {
		t.badFrame()
		return 0, 0
	}
	c.R8, c.R9, c.R10, c.R11, c.R12, c.R13, c.R14, c.R15 = m.R8, m.R9, m.R10, m.R11, m.R12, m.R13, m.R14, m.R15
	c.RDI, c.RSI, c.RBP, c.RBX, c.RDX, c.RCX = m.RDI, m.RSI, m.RBP, m.RBX, m.RDX, m.RCX
	c.RSP, c.RIP, c.RFLAGS = m.RSP, m.RIP, m.RFLAGS&flagsUser|flagsFixed
	c.Full = 1
	t.setAltStack(u.Stack) // as Linux: an unfit one is let be
	s := &t.proc.sig
	s.mu.Lock()
	t.setMask(u.Mask)
	s.mu.Unlock()
	t.returned = int64(m.RAX) == -int64(errRestart)
	return m.RAX, 0
}

// canonical tells whether the processor takes a for an address of user code.
func canonical(a uint64) bool { return a < 1<<47 }

// restoreXSave takes the vector state from a frame. Whatever the guest has made of it, the
// processor must be able to load it: its header and MXCSR are checked.
func (t *Task) restoreXSave(fp abi.Addr) bool {
	c := t.ctx
	x := xsaveArea(c)
	if fp == 0 {
		initXSave(x, fcwDefault, mxcsrDefault)
		c.FCW, c.MXCSR = fcwDefault, mxcsrDefault
		return true
	}
	// The frame's own software bytes must say that it has all that the area holds, else only the
	// part that every processor has is taken.
	n := len(x)
	var software [xsaveHeader - xsaveSoftware]byte
	if guest.CopyIn(software[:], fp+xsaveSoftware) < len(software) {
		return false
	}
	if string(software[:]) != string(x[xsaveSoftware:xsaveHeader]) {
		n = xsaveSoftware
	}
	copy(software[:], x[xsaveSoftware:]) // these stay what they are, even if the guest is changing its own
	got := guest.CopyIn(x[:n], fp)
	copy(x[xsaveSoftware:xsaveHeader], software[:])
	if got < n {
		initXSave(x, fcwDefault, mxcsrDefault)
		return false
	}
	header := x[xsaveHeader : xsaveHeader+64]
	if n < len(x) {
		clear(header)
		header[0] = 3
	} else {
		le.PutUint64(header, le.Uint64(header)&le.Uint64(software[8:]))
		clear(header[8:])
	}
	mxcsr := le.Uint32(x[24:]) & mxcsrMask
	le.PutUint32(x[24:], mxcsr)
	c.MXCSR, c.FCW = mxcsr, uint32(le.Uint16(x))
	return true
}

// badFrame ends a signal_return that has no frame to return to with SIGSEGV.
func (t *Task) badFrame() {
	t.force(&abi.Siginfo{Signo: abi.SIGSEGV, Code: abi.SI_KERNEL})
}
