/*
 * Runs a program built for Pinhole on the host itself, without a sandbox: for programs that
 * a configure script builds and runs, and for tests of the C library. Such a program names
 * this one as its ELF interpreter. Linux maps both and starts this one, which offers the
 * program a gate that answers each call by the host's own, for as far as the ABI has it.
 *
 * It is no part of what runs in a sandbox, and the only thing in the sysroot with a syscall
 * instruction.
 */
#include <elf.h>
#include <pinhole.h>
#include "zcalls.h"

#define str(x) str2(x)
#define str2(x) #x

/*
 * The gate. Linux keeps all registers but rax, rcx and r11, and takes arguments where the
 * ABI has them, so most calls need a new number only.
 *
 * signal_return wants the stack pointer as it was before the CALL. thread_create's child starts
 * at the address in r9 or, if that is 0, where the call returns to.
 */
__asm__(
".text\n"
"gate:\n"
"	cmp $" str(PH_LINUX_BASE) ", %rax\n"
"	jae 2f\n"
"	cmp $" str(PH_THREAD_CREATE) ", %eax\n"
"	je 3f\n"
"	cmp $" str(PH_THREAD_SET_TLS) ", %eax\n"
"	je 5f\n"
"	cmp $" str(PH_SIGNAL_ACTION) ", %eax\n"
"	je 6f\n"
"	cmp $" str(PH_SIGNAL_RETURN) ", %eax\n"
"	je 7f\n"
"	cmp $" str(TOP) ", %rax\n"
"	jae 9f\n"
"	lea same(%rip), %r11\n"
"	movzwl (%r11,%rax,2), %eax\n"
"	sub $1, %eax\n"
"	jb 9f\n"
"1:	syscall\n"
"	ret\n"
"2:	sub $" str(PH_LINUX_BASE) ", %rax\n"
"	cmp $" str(LINUX_TOP) ", %rax\n"
"	jae 9f\n"
"	lea known(%rip), %r11\n"
"	cmpb $0, (%r11,%rax)\n"
"	jne 1b\n"
"9:	mov $-38, %rax\n" /* ENOSYS */
"	ret\n"
/* thread_create: what shares the memory alone, as in the sandbox */
"3:	test $0x100, %edi\n" /* CLONE_VM */
"	jz 9b\n"
"	test %r9, %r9\n"
"	jnz 4f\n"
"	mov (%rsp), %r9\n"
"4:	mov $56, %eax\n" /* clone */
"	syscall\n"
"	test %rax, %rax\n"
"	jz 4f\n"
"	ret\n"
"4:	jmp *%r9\n"
"5:	mov %rdi, %rsi\n"
"	mov $0x1002, %edi\n" /* ARCH_SET_FS */
"	mov $158, %eax\n"    /* arch_prctl */
"	syscall\n"
"	ret\n"
/*
 * signal_action: a waiting call that is begun anew after a handler is to be seen at the gate's entry.
 * Linux goes back to its syscall instruction. Thread cancellation looks at that, and so the handler of
 * its signal (33) is not entered before the frame is changed.
 */
"6:	mov $13, %eax\n" /* rt_sigaction */
"	cmp $33, %edi\n"
"	jne 1b\n"
"	test %rsi, %rsi\n"
"	jz 1b\n"
"	mov (%rsi), %r11\n"
"	mov %r11, handler(%rip)\n"
"	lea 8f(%rip), %r11\n"
"	mov %r11, (%rsi)\n"
"	jmp 1b\n"
"8:	lea 1b(%rip), %rax\n"
"	cmp %rax, 168(%rdx)\n" /* rip in ucontext */
"	jne 8f\n"
"	lea gate(%rip), %rax\n"
"	mov %rax, 168(%rdx)\n"
"	addq $" str(PH_LINUX_BASE) ", 144(%rdx)\n" /* rax: the number is Linux's */
"8:	jmp *handler(%rip)\n"
"7:	add $8, %rsp\n"
"	mov $15, %eax\n" /* rt_sigreturn */
"	syscall\n"
/*
 * The second gate takes Linux's numbers as they are. After vfork the child writes over the return
 * address, which is kept in rsi meanwhile: it has no arguments.
 */
"linux_gate:\n"
"	cmp $58, %eax\n" /* vfork */
"	je 1f\n"
"	syscall\n"
"	ret\n"
"1:	pop %rsi\n"
"	syscall\n"
"	jmp *%rsi\n"
);

unsigned long handler __attribute__((__visibility__("hidden"), __used__));
extern const char gate[] __attribute__((__visibility__("hidden")));
extern const char linux_gate[] __attribute__((__visibility__("hidden")));

static long write2(const char *s, unsigned long n)
{
	long r = 1;
	__asm__ volatile ("syscall" : "+a"(r) : "D"(2L), "S"(s), "d"(n) : "rcx", "r11", "memory");
	return r;
}

/* Words of stack that the program gets in addition: two pairs of the auxiliary vector. */
#define MORE 4

/*
 * Puts the program's first stack at *to, with the gate in the auxiliary vector, and returns the
 * program's entry. from is the stack as Linux made it, to lies MORE words below.
 */
__attribute__((__used__, __visibility__("hidden")))
unsigned long prepare(unsigned long *from, unsigned long *to, unsigned long own)
{
	unsigned long entry = 0;
	unsigned long n = *from + 3; /* argc, argv, 0, and the first of the environment */
	while (n--)
		*to++ = *from++;
	while (to[-1])
		*to++ = *from++;
	*to++ = AT_PINHOLE_GATE;
	*to++ = (unsigned long)gate;
	*to++ = AT_PINHOLE_LINUX_GATE;
	*to++ = (unsigned long)linux_gate;
	for (;; from += 2, to += 2) {
		to[0] = from[0];
		to[1] = from[1];
		if (from[0] == AT_BASE)
			to[1] = 0; /* this one's, and the program takes it for its own */
		if (from[0] == AT_ENTRY)
			entry = from[1];
		if (from[0] == AT_NULL)
			break;
	}
	if (!entry || entry == own) {
		static const char say[] = "pinhole-native: not to be started by itself: it is the interpreter of programs "
			"linked by pinhole cc --native\n";
		write2(say, sizeof say - 1);
		return 0;
	}
	return entry;
}

__asm__(
".text\n"
".global _start\n"
"_start:\n"
"	xor %ebp, %ebp\n"
"	mov %rsp, %rdi\n"
"	sub $32, %rsp\n" /* MORE words */
"	mov %rsp, %rsi\n"
"	mov %rsp, %rbx\n"
"	lea _start(%rip), %rdx\n"
"	call prepare\n"
"	test %rax, %rax\n"
"	jz 1f\n"
"	mov %rbx, %rsp\n"
"	xor %edx, %edx\n"
"	jmp *%rax\n"
"1:	mov $231, %eax\n" /* exit_group */
"	mov $2, %edi\n"
"	syscall\n"
);
