/*
 * pid_t vfork(void)
 *
 * The child goes on in the caller's function, on the caller's stack, and writes over what lies
 * below. So the return address is kept in a register, as the second gate keeps them.
 */
.hidden __ph_linux_gate
.hidden __syscall_ret
.text
.global vfork
.type vfork,@function
vfork:
	pop %rdx
	mov $58, %eax
	call *__ph_linux_gate(%rip)
	push %rdx
	mov %rax, %rdi
	jmp __syscall_ret
.size vfork,.-vfork

.section .note.GNU-stack,"",@progbits
