#include "textflag.h"
#include "go_asm.h"

// Host signals. The kernel of the host puts a frame on the alternate stack of the thread and comes here;
// we go back in user mode, by XRSTOR and IRETQ, or out of switchTo into the kernel.

// ucontext of x86-64 Linux (asm/ucontext.h, asm/sigcontext.h).
#define U_ALT 16
#define U_R8 40
#define U_R9 48
#define U_R10 56
#define U_R11 64
#define U_R12 72
#define U_R13 80
#define U_R14 88
#define U_R15 96
#define U_RDI 104
#define U_RSI 112
#define U_RBP 120
#define U_RBX 128
#define U_RDX 136
#define U_RAX 144
#define U_RCX 152
#define U_RSP 160
#define U_RIP 168
#define U_FLAGS 176
#define U_CS 184
#define U_ERR 192
#define U_TRAPNO 200
#define U_FP 224

// fpstate: the legacy area, in its software bytes (asm/sigcontext.h, struct _fpx_sw_bytes) what
// follows; the XSAVE header.
#define FP_FCW 0
#define FP_MXCSR 24
#define FP_MAGIC 464
#define FP_EXTENDED 468
#define FP_SIZE 480
#define FP_HEADER 512
#define MAGIC1 0x46505853

// siginfo.
#define I_CODE 8
#define I_ADDR 16
#define I_SYSCALL 24
#define I_ARCH 28
#define ARCH_X86_64 0xc000003e
#define SYS_SECCOMP 1

#define CS_64 0x33
#define FLAG_TF 0x100
#define FLAG_NT 0x4000
#define FLAG_AC 0x40000

#define SYS_RESTART_SYSCALL 219
#define SYS_CLOCK_GETTIME 228
#define SIGTRAP 5
#define SIGBUS 7
#define SIGSEGV 11
#define SIGSYS 31
#define FAULTS 0x800009b0	// bits of SIGILL SIGTRAP SIGBUS SIGFPE SIGSEGV SIGSYS

TEXT ·handlerBegin(SB),NOSPLIT|NOFRAME,$0-0
	RET

// The handler of all signals: DI number, SI siginfo, DX ucontext, as the C ABI has it. All
// registers are free, since what they held is in the frame.
//
//	R12 number, R13 siginfo, BX ucontext, R14 the thread's block or 0, R15 its guest context or 0.
TEXT ·handler(SB),NOSPLIT|NOFRAME|TOPFRAME,$0-0
	ANDQ	$~15, SP
	// Whatever flags a guest left: NT makes IRETQ fault, AC any access.
	PUSHQ	$0x202
	POPFQ
	MOVL	DI, R12
	MOVQ	SI, R13
	MOVQ	DX, BX
	XORL	R15, R15
	RDGSBASEQ	R14
	TESTQ	R14, R14
	JZ	kernel
	// A thread just made has its parent's GS base, but not its alternate stack.
	MOVQ	U_ALT(BX), AX
	CMPQ	AX, const_tAlt(R14)
	JNE	otherStack
ownStack:
	CMPL	R12, $const_tickSignal
	JNE	notTick
	INCQ	const_tTicks(R14)
notTick:
	MOVQ	const_tCtx(R14), R15
	TESTQ	R15, R15
	JZ	kernel

	// The thread is a guest's: where is it?
	MOVWLZX	U_CS(BX), AX
	CMPL	AX, $CS_64
	JNE	guest
	MOVQ	U_RIP(BX), CX
	LEAQ	·handlerBegin(SB), AX
	LEAQ	·handlerEnd(SB), DX
	CMPQ	CX, AX
	JB	notHandler
	CMPQ	CX, DX
	JB	inHandler
notHandler:
	LEAQ	·enterBegin(SB), AX
	LEAQ	·enterEnd(SB), DX
	CMPQ	CX, AX
	JB	notEnter
	CMPQ	CX, DX
	JB	inEnter
notEnter:
	LEAQ	·gateBegin(SB), AX
	LEAQ	·gateEnd(SB), DX
	CMPQ	CX, AX
	JB	guest
	CMPQ	CX, DX
	JB	inGate

guest:
	MOVL	$FAULTS, AX
	BTQ	R12, AX
	JCS	take
	CMPL	R12, $const_tickSignal
	JNE	async
	INCQ	const_cTicks(R15)
	JMP	take

	// Underway between the two: faults are the guest's, whose registers are in the frame (at
	// a gate) or in the context still (before it runs). A tick came at a bad moment.
inGate:
	MOVL	$FAULTS, AX
	BTQ	R12, AX
	JCS	take
	JMP	tickOrAsync
inEnter:
	MOVL	$FAULTS, AX
	BTQ	R12, AX
	JCC	tickOrAsync
	CMPL	const_cFull(R15), $0
	JNE	why
	MOVQ	$0x202, const_cRFLAGS(R15)
	JMP	takeFP
inHandler:
	MOVL	$FAULTS, AX
	BTQ	R12, AX
	JCS	fatal
tickOrAsync:
	CMPL	R12, $const_tickSignal
	JEQ	resume
	JMP	async

take:
	MOVQ	U_R8(BX), AX
	MOVQ	AX, const_cR8(R15)
	MOVQ	U_R9(BX), AX
	MOVQ	AX, const_cR9(R15)
	MOVQ	U_R10(BX), AX
	MOVQ	AX, const_cR10(R15)
	MOVQ	U_R11(BX), AX
	MOVQ	AX, const_cR11(R15)
	MOVQ	U_R12(BX), AX
	MOVQ	AX, const_cR12(R15)
	MOVQ	U_R13(BX), AX
	MOVQ	AX, const_cR13(R15)
	MOVQ	U_R14(BX), AX
	MOVQ	AX, const_cR14(R15)
	MOVQ	U_R15(BX), AX
	MOVQ	AX, const_cR15(R15)
	MOVQ	U_RDI(BX), AX
	MOVQ	AX, const_cRDI(R15)
	MOVQ	U_RSI(BX), AX
	MOVQ	AX, const_cRSI(R15)
	MOVQ	U_RBP(BX), AX
	MOVQ	AX, const_cRBP(R15)
	MOVQ	U_RBX(BX), AX
	MOVQ	AX, const_cRBX(R15)
	MOVQ	U_RDX(BX), AX
	MOVQ	AX, const_cRDX(R15)
	MOVQ	U_RAX(BX), AX
	MOVQ	AX, const_cRAX(R15)
	MOVQ	U_RCX(BX), AX
	MOVQ	AX, const_cRCX(R15)
	MOVQ	U_RSP(BX), AX
	MOVQ	AX, const_cRSP(R15)
	MOVQ	U_RIP(BX), AX
	MOVQ	AX, const_cRIP(R15)
	MOVQ	U_FLAGS(BX), AX
	MOVQ	AX, const_cRFLAGS(R15)
	RDFSBASEQ	AX
	MOVQ	AX, const_cFSBase(R15)
takeFP:
	MOVQ	U_FP(BX), SI
	MOVQ	const_cXSave(R15), DI
	MOVWLZX	FP_FCW(SI), AX
	MOVL	AX, const_cFCW(R15)
	MOVL	FP_MXCSR(SI), AX
	MOVL	AX, const_cMXCSR(R15)
	MOVL	$FP_HEADER, CX
	CMPL	FP_MAGIC(SI), $MAGIC1
	JNE	legacy
	MOVL	FP_EXTENDED(SI), CX
	MOVQ	const_cXSaveSize(R15), AX
	ADDQ	$4, AX
	CMPQ	CX, AX
	JLS	2(PC)
	MOVQ	AX, CX
	REP; MOVSB
	JMP	copied
legacy:
	// x87 and SSE alone: everything else is in its initial state.
	REP; MOVSB
	MOVQ	$3, 0(DI)
	MOVQ	$0, 8(DI)
copied:
	MOVL	$1, const_cFull(R15)
why:
	CMPL	R12, $const_tickSignal
	JEQ	tick
	CMPL	R12, $SIGSYS
	JNE	fault
	MOVWLZX	U_CS(BX), AX
	CMPL	AX, $CS_64
	JNE	fault	// sysenter: the way back is lost
	CMPL	I_CODE(R13), $SYS_SECCOMP
	JNE	fault
	MOVQ	I_ADDR(R13), AX
	MOVQ	AX, const_cCallAddr(R15)
	MOVL	$const_whyForeign, AX
	CMPL	I_ARCH(R13), $ARCH_X86_64
	JNE	because
	CMPL	I_SYSCALL(R13), $0x40000000
	JCC	because	// x32
	MOVL	$const_whySyscall, AX
	JMP	because
tick:
	MOVL	$const_whyTick, AX
	JMP	because
fault:
	MOVL	R12, const_cSigno(R15)
	MOVL	I_CODE(R13), AX
	MOVL	AX, const_cCode(R15)
	MOVQ	I_ADDR(R13), AX
	MOVQ	AX, const_cFaultAddr(R15)
	MOVQ	U_TRAPNO(BX), AX
	MOVQ	AX, const_cTrapno(R15)
	MOVQ	U_ERR(BX), AX
	MOVQ	AX, const_cErr(R15)
	MOVL	$const_whyFault, AX
because:
	MOVL	AX, const_cWhy(R15)
	// Out of switchTo. The host's kernel gave the handler default MXCSR and x87 control.
	MOVQ	const_tHostFS(R14), AX
	WRFSBASEQ	AX
	MOVQ	const_cHostSP(R15), SP
	MOVQ	const_cHostBP(R15), BP
	MOVQ	$0, const_tCtx(R14)
	MOVQ	const_cHostPC(R15), CX
	JMP	CX

otherStack:
	CMPQ	const_tAlt(R14), $0
	JNE	stranger
	MOVQ	AX, const_tAlt(R14)
	JMP	ownStack
stranger:
	XORL	R14, R14
kernel:
	CMPL	R12, $const_tickSignal
	JEQ	resume
	CMPL	I_CODE(R13), $0
	JLE	chain	// sent by somebody
	CMPL	R12, $SIGSYS
	JEQ	call
	CMPL	R12, $SIGTRAP
	JEQ	trap
	CMPL	R12, $SIGBUS
	JEQ	bus
	CMPL	R12, $SIGSEGV
	JNE	chain
copies:
	MOVQ	U_RIP(BX), CX
	LEAQ	·fixups(SB), DX
	CMPQ	CX, 0(DX)
	JCS	chain
	CMPQ	CX, 8(DX)
	JCS	mend
	ADDQ	$24, DX
	CMPQ	CX, 0(DX)
	JCS	chain
	CMPQ	CX, 8(DX)
	JCC	chain
mend:
	MOVQ	16(DX), AX
	MOVQ	AX, U_RIP(BX)
	MOVQ	I_ADDR(R13), AX
	MOVQ	AX, U_RAX(BX)
	JMP	resume
bus:
	// A guest may come through the gate with alignment checks on.
	MOVQ	U_FLAGS(BX), AX
	TESTL	$FLAG_AC, AX
	JZ	copies
	ANDQ	$~FLAG_AC, AX
	MOVQ	AX, U_FLAGS(BX)
	JMP	resume
trap:
	// As well as with single steps on.
	MOVQ	U_FLAGS(BX), AX
	TESTL	$FLAG_TF, AX
	JZ	chain
	ANDQ	$~FLAG_TF, AX
	MOVQ	AX, U_FLAGS(BX)
	JMP	resume
call:
	MOVL	I_SYSCALL(R13), AX
	CMPL	AX, $SYS_RESTART_SYSCALL
	JEQ	restart
	CMPL	AX, $SYS_CLOCK_GETTIME
	JNE	refused
	// The vDSO does not read this host's clock itself: see clock.go.
	MOVQ	U_RDI(BX), CX
	CMPQ	CX, $const_counterClocks
	JCC	refused
	LEAQ	·counterBase(SB), DX
	MOVQ	(DX)(CX*8), R8
	TESTQ	R8, R8
	JZ	refused
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	SUBQ	·counterStart(SB), AX
	MULQ	·counterScale(SB)	// nanoseconds << 32
	SHRQ	$32, AX
	SHLQ	$32, DX
	ORQ	DX, AX
	ADDQ	R8, AX
	XORL	DX, DX
	MOVQ	$1000000000, CX
	DIVQ	CX
	MOVQ	U_RSI(BX), CX
	MOVQ	AX, 0(CX)
	MOVQ	DX, 8(CX)
	MOVQ	$0, U_RAX(BX)
	JMP	resume
restart:
	// The host's kernel makes this call by itself to resume a timed wait after a stop (SIGSTOP, a
	// frozen control group). The wait ends early instead, which all who wait are prepared for.
	MOVQ	$-4, U_RAX(BX)	// EINTR
	JMP	resume
refused:
	// The lock refused a call of our own: a bug, but one to survive.
	CMPL	·strictCalls(SB), $0
	JNE	chain
	CMPL	·runtimeLocked(SB), $0
	JEQ	chain
	MOVL	I_SYSCALL(R13), AX
	MOVL	AX, ·refusedCall(SB)
	LOCK
	INCQ	·refusedCalls(SB)
	MOVQ	$-38, U_RAX(BX)
	JMP	resume

	// The Go runtime's own handler, with its own FS base. It may change the frame.
async:
chain:
	LEAQ	·chained(SB), AX
	MOVQ	(AX)(R12*8), AX
	CMPQ	AX, $1
	JLS	nobody
	RDFSBASEQ	CX
	PUSHQ	CX
	PUSHQ	CX
	TESTQ	R14, R14
	JZ	2(PC)
	MOVQ	const_tHostFS(R14), CX
	WRFSBASEQ	CX
	MOVQ	R12, DI
	MOVQ	R13, SI
	MOVQ	BX, DX
	CALL	AX
	POPQ	CX
	POPQ	CX
	WRFSBASEQ	CX
	MOVL	$FAULTS, AX
	BTQ	R12, AX
	JCS	resume
	CMPL	·runtimeLocked(SB), $0
	JNE	resume
	// Before the lock, these signals come with all others masked: only a call undoes that.
	LEAQ	-8(BX), SP	// the frame begins with the return address, then the ucontext
	RET
nobody:
	MOVL	$FAULTS, AX
	BTQ	R12, AX
	JCS	fatal

	// Back to what was interrupted.
resume:
	MOVQ	U_FP(BX), SI
	TESTQ	SI, SI
	JZ	noFP
	MOVL	$-1, AX
	MOVL	$-1, DX
	XRSTOR64	(SI)
noFP:
	PUSHQ	$0x2b
	PUSHQ	U_RSP(BX)
	MOVQ	U_FLAGS(BX), AX
	ANDQ	$~FLAG_NT, AX
	PUSHQ	AX
	PUSHQ	$CS_64
	PUSHQ	U_RIP(BX)
	MOVQ	U_R8(BX), R8
	MOVQ	U_R9(BX), R9
	MOVQ	U_R10(BX), R10
	MOVQ	U_R11(BX), R11
	MOVQ	U_R12(BX), R12
	MOVQ	U_R13(BX), R13
	MOVQ	U_R14(BX), R14
	MOVQ	U_R15(BX), R15
	MOVQ	U_RDI(BX), DI
	MOVQ	U_RSI(BX), SI
	MOVQ	U_RBP(BX), BP
	MOVQ	U_RDX(BX), DX
	MOVQ	U_RAX(BX), AX
	MOVQ	U_RCX(BX), CX
	MOVQ	U_RBX(BX), BX
	IRETQ

	// A fault in here, or one that nobody handles.
fatal:
	MOVQ	$0x5048000000000002, DI	// marked as the lock asks for (seccomp.Mark)
	LEAQ	·fatalText(SB), SI
	MOVL	$const_fatalLen, DX
	MOVL	$1, AX
	SYSCALL
	MOVQ	$0x5048000000000046, DI	// 70
	MOVL	$231, AX
	SYSCALL
	INT	$3

TEXT ·handlerEnd(SB),NOSPLIT|NOFRAME,$0-0
	RET
