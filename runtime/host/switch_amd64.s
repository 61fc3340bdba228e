#include "textflag.h"
#include "go_asm.h"
#include "funcdata.h"

// The way into a guest and back. GS base points to the host thread's block (thread.go) for good;
// its field ctx is nonzero while the thread is a guest's. Signal handlers judge an
// interruption by it and, for the few instructions on either side of the switch, by the
// order of the routines here: [enterBegin, enterEnd) and [gateBegin, gateEnd).
//
// In the kernel, FS base is the Go runtime's, and the control bits of MXCSR and of the x87
// control word have their default values.

#define MXCSR_DEFAULT 0x1f80
#define MXCSR_CONTROL 0xffc0	// all but the sticky exception flags
#define FCW_DEFAULT 0x37f

// Flags that a program may set for itself: CF PF AF ZF SF TF DF OF AC ID.
#define RFLAGS_OWN 0x240dd5
#define RFLAGS_SET 0x202

TEXT ·enterBegin(SB),NOSPLIT|NOFRAME,$0-0
	RET

// func switchTo(c *guest.Context) (ready bool)
//
// It returns when the guest enters the kernel: through a gate below, or through the signal
// handler. False, without having run the guest: the host thread has no block yet.
TEXT ·switchTo(SB),NOSPLIT|NOFRAME,$0-9
	MOVQ	c+0(FP), AX
	RDGSBASEQ	CX
	TESTQ	CX, CX
	JZ	stranger
	CMPL	·runtimeLocked(SB), $0
	JEQ	suspicious
known:
	MOVB	$1, ready+8(FP)
	LEAQ	·detached(SB), DX
	MOVQ	DX, const_cHostPC(AX)
	JMP	·toGuest(SB)
suspicious:
	// As long as threads may still be made, one may carry its parent's GS base.
	RDFSBASEQ	DX
	CMPQ	DX, const_tHostFS(CX)
	JEQ	known
stranger:
	MOVB	$0, ready+8(FP)
	RET

// func runAttached(c *guest.Context, step func() bool) (how uint8)
//
// It runs the guest, and step each time that the guest has entered the kernel, until step
// returns false. The loop is here and not in Go so that calls and returns pair up as the
// processor's return-address predictor expects: guest calls gate, gate calls step, step
// returns, gate returns to guest. The result is one of the run constants.
TEXT ·runAttached(SB),NOSPLIT|NOFRAME,$0-17
	MOVQ	c+0(FP), AX
	RDGSBASEQ	CX
	TESTQ	CX, CX
	JZ	stranger
	CMPL	·runtimeLocked(SB), $0
	JEQ	suspicious
known:
	LEAQ	·attached(SB), DX
	MOVQ	DX, const_cHostPC(AX)
	JMP	·toGuest(SB)
suspicious:
	RDFSBASEQ	DX
	CMPQ	DX, const_tHostFS(CX)
	JEQ	known
stranger:
	MOVB	$const_runStranger, how+16(FP)
	RET

// toGuest runs the guest in AX on the host thread with the block CX. SP is what it was when
// switchTo or runAttached was called; HostPC is where the guest's next entry goes on, with SP so again.
TEXT ·toGuest(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	SP, const_cHostSP(AX)
	MOVQ	BP, const_cHostBP(AX)
	CMPL	const_cFull(AX), $0
	JNE	full
	MOVL	const_cMXCSR(AX), DX
	STMXCSR	const_tScratch(CX)
	CMPL	DX, const_tScratch(CX)
	JNE	mxcsr
mxcsrDone:
	CMPL	const_cFCW(AX), $FCW_DEFAULT
	JNE	fcw
fcwDone:
	MOVQ	AX, const_tCtx(CX)
	MOVQ	const_cFSBase(AX), DX
	WRFSBASEQ	DX
	MOVQ	const_cRIP(AX), R11
	MOVQ	const_cRSP(AX), SP
	MOVQ	const_cRBX(AX), BX
	MOVQ	const_cRDX(AX), DX
	MOVQ	const_cRSI(AX), SI
	MOVQ	const_cRDI(AX), DI
	MOVQ	const_cRBP(AX), BP
	MOVQ	const_cR8(AX), R8
	MOVQ	const_cR9(AX), R9
	MOVQ	const_cR10(AX), R10
	MOVQ	const_cR12(AX), R12
	MOVQ	const_cR13(AX), R13
	MOVQ	const_cR14(AX), R14
	MOVQ	const_cR15(AX), R15
	XORL	CX, CX
	MOVQ	const_cRAX(AX), AX
	// The gate was CALLed: a RET is what the processor expects. A new thread, or a guest
	// whose RIP was changed, has another word there.
	CMPQ	R11, -8(SP)
	JNE	elsewhere
	LEAQ	-8(SP), SP
	RET
elsewhere:
	JMP	R11

mxcsr:
	LDMXCSR	const_cMXCSR(AX)
	JMP	mxcsrDone
fcw:
	FLDCW	const_cFCW(AX)
	JMP	fcwDone

full:
	// NT, which a guest may have left behind, makes IRETQ fault.
	PUSHQ	$RFLAGS_SET
	POPFQ
	MOVQ	AX, R8
	MOVQ	AX, const_tCtx(CX)
	MOVQ	const_cFSBase(AX), DX
	WRFSBASEQ	DX
	MOVQ	const_cXSave(AX), CX
	MOVL	$-1, AX
	MOVL	$-1, DX
	XRSTOR64	(CX)
	MOVQ	const_cRFLAGS(R8), AX
	ANDL	$RFLAGS_OWN, AX
	ORL	$RFLAGS_SET, AX
	PUSHQ	$0x2b
	PUSHQ	const_cRSP(R8)
	PUSHQ	AX
	PUSHQ	$0x33
	PUSHQ	const_cRIP(R8)
	MOVQ	const_cRAX(R8), AX
	MOVQ	const_cRBX(R8), BX
	MOVQ	const_cRCX(R8), CX
	MOVQ	const_cRDX(R8), DX
	MOVQ	const_cRSI(R8), SI
	MOVQ	const_cRDI(R8), DI
	MOVQ	const_cRBP(R8), BP
	MOVQ	const_cR9(R8), R9
	MOVQ	const_cR10(R8), R10
	MOVQ	const_cR11(R8), R11
	MOVQ	const_cR12(R8), R12
	MOVQ	const_cR13(R8), R13
	MOVQ	const_cR14(R8), R14
	MOVQ	const_cR15(R8), R15
	MOVQ	const_cR8(R8), R8
	IRETQ

TEXT ·enterEnd(SB),NOSPLIT|NOFRAME,$0-0
	RET

// The guest has entered the kernel and was run by switchTo, which returns now.
TEXT ·detached(SB),NOSPLIT|NOFRAME,$0-0
	// Not RET: the processor would predict a return to the guest.
	POPQ	CX
	JMP	CX

// func attached(c *guest.Context, step func() bool) (how uint8)
//
// The guest has entered the kernel and was run by runAttached, whose frame, arguments and
// result these are.
TEXT ·attached(SB),NOSPLIT|NOFRAME,$0-17
	NO_LOCAL_POINTERS
	PUSHQ	BP
	MOVQ	SP, BP
	MOVQ	(TLS), R14
	XORPS	X15, X15
	MOVQ	step+8(FP), DX
	MOVQ	(DX), CX
	CALL	CX
	POPQ	BP
	TESTB	AX, AX
	JEQ	enough
	MOVQ	c+0(FP), AX
	CMPL	const_cFull(AX), $0
	JNE	again
	// The stack may have moved meanwhile, and the goroutine to another thread.
	JMP	·runAttached(SB)
enough:
	MOVB	$const_runDone, how+16(FP)
	RET
again:
	MOVB	$const_runAgain, how+16(FP)
	RET

TEXT ·gateBegin(SB),NOSPLIT|NOFRAME,$0-0
	RET

// The gate: a guest CALLs it with an ABI number in RAX and arguments in RDI RSI RDX R10 R8
// R9. It returns out of switchTo.
TEXT ·gate(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	const_tCtx(GS), R11
	MOVQ	AX, const_cRAX(R11)
	MOVQ	BX, const_cRBX(R11)
	MOVQ	DX, const_cRDX(R11)
	MOVQ	SI, const_cRSI(R11)
	MOVQ	DI, const_cRDI(R11)
	MOVQ	BP, const_cRBP(R11)
	MOVQ	R8, const_cR8(R11)
	MOVQ	R9, const_cR9(R11)
	MOVQ	R10, const_cR10(R11)
	MOVQ	R12, const_cR12(R11)
	MOVQ	R13, const_cR13(R11)
	MOVQ	R14, const_cR14(R11)
	MOVQ	R15, const_cR15(R11)
	STMXCSR	const_cMXCSR(R11)
	FSTCW	const_cFCW(R11)
	MOVQ	0(SP), CX
	LEAQ	8(SP), DX
	MOVQ	CX, const_cRIP(R11)
	MOVQ	DX, const_cRSP(R11)
	MOVL	$const_whyCall, const_cWhy(R11)
	MOVL	$0, const_cFull(R11)
	RDFSBASEQ	CX
	MOVQ	CX, const_cFSBase(R11)
	CLD
	MOVL	const_cMXCSR(R11), AX
	ANDL	$MXCSR_CONTROL, AX
	CMPL	AX, $MXCSR_DEFAULT
	JNE	control
	CMPW	const_cFCW(R11), $FCW_DEFAULT
	JNE	control
leave:
	MOVQ	const_tHostFS(GS), CX
	WRFSBASEQ	CX
	MOVQ	const_cHostSP(R11), SP
	MOVQ	const_cHostBP(R11), BP
	MOVQ	$0, const_tCtx(GS)
	MOVQ	const_cHostPC(R11), CX
	JMP	CX
control:
	CALL	·defaultControl(SB)
	JMP	leave

// The second gate, for a rewritten syscall instruction: RAX is Linux's number; all
// registers but RCX and R11 survive, the flags and the vector state too.
TEXT ·linuxGate(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	const_tCtx(GS), R11
	MOVQ	AX, const_cRAX(R11)
	MOVQ	BX, const_cRBX(R11)
	MOVQ	DX, const_cRDX(R11)
	MOVQ	SI, const_cRSI(R11)
	MOVQ	DI, const_cRDI(R11)
	MOVQ	BP, const_cRBP(R11)
	MOVQ	R8, const_cR8(R11)
	MOVQ	R9, const_cR9(R11)
	MOVQ	R10, const_cR10(R11)
	MOVQ	R12, const_cR12(R11)
	MOVQ	R13, const_cR13(R11)
	MOVQ	R14, const_cR14(R11)
	MOVQ	R15, const_cR15(R11)
	PUSHFQ
	POPQ	CX
	MOVQ	CX, const_cRFLAGS(R11)
	MOVQ	CX, const_cR11(R11)
	MOVQ	0(SP), CX
	LEAQ	8(SP), DX
	MOVQ	CX, const_cRIP(R11)
	MOVQ	CX, const_cRCX(R11)
	MOVQ	DX, const_cRSP(R11)
	MOVL	$const_whyLinux, const_cWhy(R11)
	MOVL	$1, const_cFull(R11)
	RDFSBASEQ	CX
	MOVQ	CX, const_cFSBase(R11)
	STMXCSR	const_cMXCSR(R11)
	FSTCW	const_cFCW(R11)
	MOVQ	const_cXSave(R11), CX
	MOVL	·xsaveMask+0(SB), AX
	MOVL	·xsaveMask+4(SB), DX
	XSAVE64	(CX)
	CLD
	LDMXCSR	·mxcsrDefault(SB)
	BYTE	$0xdb; BYTE $0xe3	// FNINIT: the stack may be full, and the next guest another
	CMPL	·haveAVX(SB), $0
	JEQ	noAVX
	VZEROUPPER
noAVX:
	MOVQ	const_tHostFS(GS), CX
	WRFSBASEQ	CX
	MOVQ	const_cHostSP(R11), SP
	MOVQ	const_cHostBP(R11), BP
	MOVQ	$0, const_tCtx(GS)
	MOVQ	const_cHostPC(R11), CX
	JMP	CX

// defaultControl sets MXCSR and the x87 control word to their defaults. On a guest's stack.
TEXT ·defaultControl(SB),NOSPLIT|NOFRAME,$0-0
	LDMXCSR	·mxcsrDefault(SB)
	FLDCW	·fcwDefault(SB)
	RET

TEXT ·gateEnd(SB),NOSPLIT|NOFRAME,$0-0
	RET

// func setThread(t *thread)
//
// Makes t the block of this host thread.
TEXT ·setThread(SB),NOSPLIT|NOFRAME,$0-8
	MOVQ	t+0(FP), AX
	RDFSBASEQ	CX
	MOVQ	CX, const_tHostFS(AX)
	WRGSBASEQ	AX
	RET

// func cpuid(leaf, sub uint32) (a, b, c, d uint32)
TEXT ·cpuid(SB),NOSPLIT,$0-24
	MOVL	leaf+0(FP), AX
	MOVL	sub+4(FP), CX
	CPUID
	MOVL	AX, a+8(FP)
	MOVL	BX, b+12(FP)
	MOVL	CX, c+16(FP)
	MOVL	DX, d+20(FP)
	RET

// func xgetbv() uint64
TEXT ·xgetbv(SB),NOSPLIT,$0-8
	XORL	CX, CX
	XGETBV
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, ret+0(FP)
	RET

// func readCounter() uint64
TEXT ·readCounter(SB),NOSPLIT,$0-8
	LFENCE
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, ret+0(FP)
	RET

// func addresses(e *entries)
TEXT ·addresses(SB),NOSPLIT,$0-8
	MOVQ	e+0(FP), DI
	LEAQ	·enterBegin(SB), AX
	MOVQ	AX, entries_enterBegin(DI)
	LEAQ	·switchTo(SB), AX
	MOVQ	AX, entries_switchTo(DI)
	LEAQ	·enterEnd(SB), AX
	MOVQ	AX, entries_enterEnd(DI)
	LEAQ	·gateBegin(SB), AX
	MOVQ	AX, entries_gateBegin(DI)
	LEAQ	·gate(SB), AX
	MOVQ	AX, entries_gate(DI)
	LEAQ	·linuxGate(SB), AX
	MOVQ	AX, entries_linuxGate(DI)
	LEAQ	·defaultControl(SB), AX
	MOVQ	AX, entries_defaultControl(DI)
	LEAQ	·gateEnd(SB), AX
	MOVQ	AX, entries_gateEnd(DI)
	LEAQ	·handlerBegin(SB), AX
	MOVQ	AX, entries_handlerBegin(DI)
	LEAQ	·handler(SB), AX
	MOVQ	AX, entries_handler(DI)
	LEAQ	·handlerEnd(SB), AX
	MOVQ	AX, entries_handlerEnd(DI)
	RET
