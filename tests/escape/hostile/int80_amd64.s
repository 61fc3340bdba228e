#include "textflag.h"

// func enterInt80(n, a, b, c uint32) uint32
TEXT ·enterInt80(SB),NOSPLIT,$0-20
	MOVL	n+0(FP), AX
	MOVL	a+4(FP), BX
	MOVL	b+8(FP), CX
	MOVL	c+12(FP), DX
	INT	$0x80
	MOVL	AX, ret+16(FP)
	RET
