/*
 * Where a signal's handler returns to, with the stack pointer at the frame's ucontext. The word that
 * the CALL overwrites held this address and has done its work.
 *
 * Unwinders that know Linux's trampoline by its bytes do not know this one; they find all registers
 * by its call frame information, as the offsets in ucontext of uc_mcontext.gregs. A byte
 * before the label belongs to it, since unwinders look up a return address less one.
 */
#include <pinhole.h>

#define GREGS 40
#define GREG(n) (GREGS + 8 * (n))

/* DW_CFA_expression reg: DW_OP_breg7 (rsp) off, as a two-byte SLEB128 */
#define SAVED(reg, n) \
	.cfi_escape 0x10, reg, 3, 0x77, ((GREG(n)) & 0x7f) | 0x80, ((GREG(n)) >> 7) & 0x7f

.hidden __ph_gate
.text
	.cfi_startproc
	.cfi_signal_frame
	/* The CFA is the interrupted stack pointer: DW_CFA_def_cfa_expression: breg7 off; deref */
	.cfi_escape 0x0f, 4, 0x77, (GREG(15) & 0x7f) | 0x80, (GREG(15) >> 7) & 0x7f, 0x06
	SAVED(8, 0)
	SAVED(9, 1)
	SAVED(10, 2)
	SAVED(11, 3)
	SAVED(12, 4)
	SAVED(13, 5)
	SAVED(14, 6)
	SAVED(15, 7)
	SAVED(5, 8)
	SAVED(4, 9)
	SAVED(6, 10)
	SAVED(3, 11)
	SAVED(1, 12)
	SAVED(0, 13)
	SAVED(2, 14)
	SAVED(7, 15)
	SAVED(16, 16)
	nop
.global __restore_rt
.hidden __restore_rt
.type __restore_rt,@function
__restore_rt:
	mov $PH_SIGNAL_RETURN, %eax
	call *__ph_gate(%rip)
	hlt
	.cfi_endproc
.size __restore_rt,.-__restore_rt

.section .note.GNU-stack,"",@progbits
