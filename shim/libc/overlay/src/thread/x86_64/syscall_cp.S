/*
 * long __syscall_cp_asm(volatile int *cancel, long n, long a, long b, long c, long d, long e, long f)
 *
 * A call that is a cancellation point. A cancellation that comes between __cp_begin and __cp_end
 * finds the call not yet made, and may act; see pthread_cancel.c for one that finds it waiting.
 */
.hidden __ph_gate
.hidden __cancel
.global __cp_begin
.hidden __cp_begin
.global __cp_end
.hidden __cp_end
.global __cp_cancel
.hidden __cp_cancel

.text
.global __syscall_cp_asm
.hidden __syscall_cp_asm
.type __syscall_cp_asm,@function
__syscall_cp_asm:
__cp_begin:
	mov (%rdi), %eax
	test %eax, %eax
	jnz __cp_cancel
	mov %rsi, %rax
	mov %rdx, %rdi
	mov %rcx, %rsi
	mov %r8, %rdx
	mov %r9, %r10
	mov 8(%rsp), %r8
	mov 16(%rsp), %r9
	call *__ph_gate(%rip)
__cp_end:
	ret
__cp_cancel:
	jmp __cancel
.size __syscall_cp_asm,.-__syscall_cp_asm

.section .note.GNU-stack,"",@progbits
