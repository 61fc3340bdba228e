#include "textflag.h"

// Every instruction that may fault on a guest's address lies between ·fastBegin and ·slowEnd.
// No routine here moves SP, and all leave their arguments on the stack alone, so a handler
// mends a fault by nothing but a new RIP (see Fixups):
//
//   [fastBegin, slowBegin)  continue at moveSlow: the copy is done again from its start, by
//                           bytes, which finds the exact byte that cannot be reached;
//   [slowBegin, slowEnd)    continue at giveUp, with the fault's address in AX: CX holds how
//                           many bytes (or tries) were left, never 0 at a fault.
//
// All share one shape: three words of arguments, then the results left and fault.

// func fastBegin()
TEXT ·fastBegin(SB),NOSPLIT|NOFRAME,$0-0
	RET

// move copies CX bytes from SI to DI. 1 to 256 bytes go by loads that overlap in the middle,
// up to 1023 by a loop of 64, more by REP MOVSB, which is the fastest there.
TEXT ·move(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ	8(SP), DI
	MOVQ	16(SP), SI
	MOVQ	24(SP), CX
	CMPQ	CX, $16
	JBE	upto16
	CMPQ	CX, $32
	JBE	upto32
	CMPQ	CX, $64
	JBE	upto64
	CMPQ	CX, $1024
	JAE	string
	MOVOU	-64(SI)(CX*1), X4
	MOVOU	-48(SI)(CX*1), X5
	MOVOU	-32(SI)(CX*1), X6
	MOVOU	-16(SI)(CX*1), X7
	LEAQ	-64(DI)(CX*1), DX
block:
	MOVOU	(SI), X0
	MOVOU	16(SI), X1
	MOVOU	32(SI), X2
	MOVOU	48(SI), X3
	MOVOU	X0, (DI)
	MOVOU	X1, 16(DI)
	MOVOU	X2, 32(DI)
	MOVOU	X3, 48(DI)
	ADDQ	$64, SI
	ADDQ	$64, DI
	CMPQ	DI, DX
	JB	block
	MOVOU	X4, (DX)
	MOVOU	X5, 16(DX)
	MOVOU	X6, 32(DX)
	MOVOU	X7, 48(DX)
	MOVQ	$0, 32(SP)
	RET
string:
	CLD
	REP; MOVSB
	MOVQ	$0, 32(SP)
	RET
upto64:
	MOVOU	(SI), X0
	MOVOU	16(SI), X1
	MOVOU	-32(SI)(CX*1), X2
	MOVOU	-16(SI)(CX*1), X3
	MOVOU	X0, (DI)
	MOVOU	X1, 16(DI)
	MOVOU	X2, -32(DI)(CX*1)
	MOVOU	X3, -16(DI)(CX*1)
	MOVQ	$0, 32(SP)
	RET
upto32:
	MOVOU	(SI), X0
	MOVOU	-16(SI)(CX*1), X1
	MOVOU	X0, (DI)
	MOVOU	X1, -16(DI)(CX*1)
	MOVQ	$0, 32(SP)
	RET
upto16:
	CMPQ	CX, $8
	JB	upto7
	MOVQ	(SI), AX
	MOVQ	-8(SI)(CX*1), DX
	MOVQ	AX, (DI)
	MOVQ	DX, -8(DI)(CX*1)
	MOVQ	$0, 32(SP)
	RET
upto7:
	CMPQ	CX, $4
	JB	upto3
	MOVL	(SI), AX
	MOVL	-4(SI)(CX*1), DX
	MOVL	AX, (DI)
	MOVL	DX, -4(DI)(CX*1)
	MOVQ	$0, 32(SP)
	RET
upto3:
	TESTQ	CX, CX
	JZ	done
	MOVBLZX	(SI), AX
	MOVBLZX	-1(SI)(CX*1), R8
	SHRQ	$1, CX
	MOVBLZX	(SI)(CX*1), DX
	MOVB	AX, (DI)
	MOVB	DX, (DI)(CX*1)
	MOVQ	24(SP), CX
	MOVB	R8, -1(DI)(CX*1)
done:
	MOVQ	$0, 32(SP)
	RET

// func copyIn(dst unsafe.Pointer, src, n uintptr) (left, fault uintptr)
TEXT ·copyIn(SB),NOSPLIT|NOFRAME,$0-40
	JMP	·move(SB)

// func copyOut(dst uintptr, src unsafe.Pointer, n uintptr) (left, fault uintptr)
TEXT ·copyOut(SB),NOSPLIT|NOFRAME,$0-40
	JMP	·move(SB)

// func copyHost(dst, src unsafe.Pointer, n uintptr) (left, fault uintptr)
TEXT ·copyHost(SB),NOSPLIT|NOFRAME,$0-40
	JMP	·move(SB)

// func slowBegin()
TEXT ·slowBegin(SB),NOSPLIT|NOFRAME,$0-0
	RET

TEXT ·moveSlow(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ	8(SP), DI
	MOVQ	16(SP), SI
	MOVQ	24(SP), CX
	CLD
	REP; MOVSB
	MOVQ	$0, 32(SP)
	RET

// func zero(dst, _, n uintptr) (left, fault uintptr)
TEXT ·zero(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ	dst+0(FP), DI
	MOVQ	n+16(FP), CX
	XORL	AX, AX
	CLD
	REP; STOSB
	MOVQ	CX, left+24(FP)
	RET

// func copyString(dst unsafe.Pointer, src, n uintptr) (left, nul uintptr)
//
// Copies bytes up to a NUL; nul is 1 when it met one. Sixteen bytes
// at a time are read only where they lie in one page, so that nothing behind the NUL faults.
TEXT ·copyString(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ	dst+0(FP), DI
	MOVQ	src+8(FP), SI
	MOVQ	n+16(FP), CX
	PXOR	X1, X1
wide:
	CMPQ	CX, $16
	JB	narrow
	MOVL	SI, AX
	ANDL	$4095, AX
	CMPL	AX, $4080
	JA	narrow
	MOVOU	(SI), X0
	MOVO	X0, X2
	PCMPEQB	X1, X2
	PMOVMSKB X2, AX
	MOVOU	X0, (DI)
	TESTL	AX, AX
	JNZ	nulWide
	ADDQ	$16, SI
	ADDQ	$16, DI
	SUBQ	$16, CX
	JMP	wide
nulWide:
	BSFL	AX, AX
	SUBQ	AX, CX
	JMP	nul
narrow:
	TESTQ	CX, CX
	JZ	full
	MOVBLZX	(SI), AX
	TESTL	AX, AX
	JZ	nul
	MOVB	AX, (DI)
	INCQ	SI
	INCQ	DI
	DECQ	CX
	TESTL	$15, SI
	JZ	wide
	JMP	narrow
nul:
	MOVQ	CX, left+24(FP)
	MOVQ	$1, nul+32(FP)
	RET
full:
	MOVQ	CX, left+24(FP)
	MOVQ	$0, nul+32(FP)
	RET

// func load32(src, _, _ uintptr) (left, val uintptr)
TEXT ·load32(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ	src+0(FP), SI
	MOVL	$1, CX
	MOVL	(SI), AX
	MOVQ	$0, left+24(FP)
	MOVQ	AX, val+32(FP)
	RET

// func load64(src, _, _ uintptr) (left, val uintptr)
TEXT ·load64(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ	src+0(FP), SI
	MOVL	$1, CX
	MOVQ	(SI), AX
	MOVQ	$0, left+24(FP)
	MOVQ	AX, val+32(FP)
	RET

// func store32(dst, val, _ uintptr) (left, fault uintptr)
TEXT ·store32(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ	dst+0(FP), DI
	MOVQ	val+8(FP), AX
	MOVL	$1, CX
	XCHGL	AX, (DI)
	MOVQ	$0, left+24(FP)
	RET

// func store64(dst, val, _ uintptr) (left, fault uintptr)
TEXT ·store64(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ	dst+0(FP), DI
	MOVQ	val+8(FP), AX
	MOVL	$1, CX
	MOVQ	AX, (DI)
	MOVQ	$0, left+24(FP)
	RET

// func cas32(dst, old, new uintptr) (left, prev uintptr)
TEXT ·cas32(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ	dst+0(FP), DI
	MOVQ	old+8(FP), AX
	MOVQ	new+16(FP), DX
	MOVL	$1, CX
	LOCK
	CMPXCHGL	DX, (DI)
	MOVL	AX, AX
	MOVQ	$0, left+24(FP)
	MOVQ	AX, prev+32(FP)
	RET

// func slowEnd()
TEXT ·slowEnd(SB),NOSPLIT|NOFRAME,$0-0
	RET

TEXT ·giveUp(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ	CX, 32(SP)
	MOVQ	AX, 40(SP)
	RET

// func addresses(a *[routines]uintptr)
//
// The addresses of all routines, in the order of this file.
TEXT ·addresses(SB),NOSPLIT|NOFRAME,$0-8
	MOVQ	a+0(FP), DI
	LEAQ	·fastBegin(SB), AX
	MOVQ	AX, 0(DI)
	LEAQ	·move(SB), AX
	MOVQ	AX, 8(DI)
	LEAQ	·copyIn(SB), AX
	MOVQ	AX, 16(DI)
	LEAQ	·copyOut(SB), AX
	MOVQ	AX, 24(DI)
	LEAQ	·copyHost(SB), AX
	MOVQ	AX, 32(DI)
	LEAQ	·slowBegin(SB), AX
	MOVQ	AX, 40(DI)
	LEAQ	·moveSlow(SB), AX
	MOVQ	AX, 48(DI)
	LEAQ	·zero(SB), AX
	MOVQ	AX, 56(DI)
	LEAQ	·copyString(SB), AX
	MOVQ	AX, 64(DI)
	LEAQ	·load32(SB), AX
	MOVQ	AX, 72(DI)
	LEAQ	·load64(SB), AX
	MOVQ	AX, 80(DI)
	LEAQ	·store32(SB), AX
	MOVQ	AX, 88(DI)
	LEAQ	·store64(SB), AX
	MOVQ	AX, 96(DI)
	LEAQ	·cas32(SB), AX
	MOVQ	AX, 104(DI)
	LEAQ	·slowEnd(SB), AX
	MOVQ	AX, 112(DI)
	LEAQ	·giveUp(SB), AX
	MOVQ	AX, 120(DI)
	RET
