/*
 * The program's first instructions. The stack holds argc, argv, 0, the environment, 0, and the
 * auxiliary vector, where AT_PINHOLE_GATE (0x50480001) has the gate's address. It is stored before
 * any C runs, which may make calls. On a kernel without the entry the program can do nothing,
 * not even say so: it stops at an illegal instruction.
 */
__asm__(
".text\n"
".global " START "\n"
".type " START ",@function\n"
".hidden __ph_gate\n"
START ":\n"
"	xor %ebp, %ebp\n"
"	mov %rsp, %rdi\n"
"	mov (%rdi), %rax\n"
"	lea 16(%rdi,%rax,8), %rdx\n"
"1:	add $8, %rdx\n"
"	cmpq $0, -8(%rdx)\n"
"	jne 1b\n"
"2:	mov (%rdx), %rax\n"
"	cmp $0x50480001, %rax\n"
"	je 3f\n"
"	add $16, %rdx\n"
"	test %rax, %rax\n"
"	jnz 2b\n"
"	ud2\n"
"3:	mov 8(%rdx), %rax\n"
"	mov %rax, __ph_gate(%rip)\n"
".weak _DYNAMIC\n"
".hidden _DYNAMIC\n"
"	lea _DYNAMIC(%rip), %rsi\n"
"	and $-16, %rsp\n"
"	call " START "_c\n"
"	hlt\n"
);
