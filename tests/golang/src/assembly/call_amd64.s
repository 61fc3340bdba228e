#include "textflag.h"

#define ENTER \
	MOVQ	nr+0(FP), AX \
	SYSCALL

// func call(nr, a, b, c uintptr) (ret uintptr, kept bool)
TEXT ·call(SB),NOSPLIT,$0-41
	MOVQ	a+8(FP), DI
	MOVQ	b+16(FP), SI
	MOVQ	c+24(FP), DX
	MOVQ	$0x1111, BX
	MOVQ	$0x2222, R8
	MOVQ	$0x3333, R15
	MOVQ	BX, X5
	MOVQ	R8, X15
	STC
	ENTER
	JCC	lost
	MOVQ	AX, ret+32(FP)
	MOVQ	X5, CX
	MOVQ	X15, R11
	CMPQ	CX, BX
	JNE	lost
	CMPQ	R11, R8
	JNE	lost
	CMPQ	BX, $0x1111
	JNE	lost
	CMPQ	R15, $0x3333
	JNE	lost
	CMPQ	DX, c+24(FP)
	JNE	lost
	XORPS	X15, X15
	MOVB	$1, kept+40(FP)
	RET
lost:
	XORPS	X15, X15
	MOVB	$0, kept+40(FP)
	RET

// func spelt(nr uintptr) uintptr
TEXT ·spelt(SB),NOSPLIT|NOFRAME,$0-16
	MOVQ	nr+0(FP), AX
	BYTE	$0x0f; BYTE $0x05
	MOVQ	AX, ret+8(FP)
	RET

// func framed(nr uintptr, n int) uintptr
TEXT ·framed(SB),NOSPLIT,$24-24
	MOVQ	n+8(FP), BX
	MOVQ	$0, sum-8(SP)
more:
	MOVQ	nr+0(FP), AX; SYSCALL
	ADDQ	AX, sum-8(SP)
	DECQ	BX
	JNE	more
	MOVQ	sum-8(SP), AX
	MOVQ	AX, ret+16(FP)
	RET
