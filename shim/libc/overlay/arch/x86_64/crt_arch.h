/*
 * The program's first instructions. The stack holds argc, argv, 0, the environment, 0, and the
 * auxiliary vector, where AT_PINHOLE_GATE (0x50480001) and AT_PINHOLE_LINUX_GATE (0x50480002) have the
 * gates' addresses. They are stored before any C runs, which may make calls. On a kernel without
 * the first the program can do nothing, not even say so: it stops at an illegal instruction.
 */
__asm__(
".text\n"
".global " START "\n"
".type " START ",@function\n"
".hidden __ph_gate\n"
".hidden __ph_linux_gate\n"
START ":\n"
"	xor %ebp, %ebp\n"
"	mov %rsp, %rdi\n"
"	mov (%rdi), %rax\n"
"	lea 16(%rdi,%rax,8), %rdx\n"
"1:	add $8, %rdx\n"
"	cmpq $0, -8(%rdx)\n"
"	jne 1b\n"
"2:	mov (%rdx), %rax\n"
"	mov 8(%rdx), %rcx\n"
"	add $16, %rdx\n"
"	cmp $0x50480001, %rax\n"
"	jne 3f\n"
"	mov %rcx, __ph_gate(%rip)\n"
"3:	cmp $0x50480002, %rax\n"
"	jne 4f\n"
"	mov %rcx, __ph_linux_gate(%rip)\n"
"4:	test %rax, %rax\n"
"	jnz 2b\n"
"	cmpq $0, __ph_gate(%rip)\n"
"	jne 5f\n"
"	ud2\n"
"5:\n"
".weak _DYNAMIC\n"
".hidden _DYNAMIC\n"
"	lea _DYNAMIC(%rip), %rsi\n"
"	and $-16, %rsp\n"
"	call " START "_c\n"
"	hlt\n"
);
