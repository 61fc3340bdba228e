/*
 * int __clone(int (*func)(void *), void *stack, int flags, void *arg, pid_t *ptid, void *tls, pid_t *ctid)
 *
 * thread_create takes the address at which the child starts, so that nothing of the parent's
 * stack is needed in the child: its own stack holds func and arg.
 */
#include <pinhole.h>

.hidden __ph_gate
.text
.global __clone
.hidden __clone
.type __clone,@function
__clone:
	and $-16, %rsi
	sub $16, %rsi
	mov %rdi, (%rsi)
	mov %rcx, 8(%rsi)
	mov %edx, %edi
	mov %r8, %rdx
	mov 8(%rsp), %r10
	mov %r9, %r8
	lea child(%rip), %r9
	mov $PH_THREAD_CREATE, %eax
	call *__ph_gate(%rip)
	ret
.size __clone,.-__clone

.type child,@function
child:
	.cfi_startproc
	.cfi_undefined rip
	xor %ebp, %ebp
	pop %rax
	pop %rdi
	call *%rax
	mov %eax, %edi
	mov $PH_THREAD_EXIT, %eax
	call *__ph_gate(%rip)
	hlt
	.cfi_endproc
.size child,.-child

.section .note.GNU-stack,"",@progbits
