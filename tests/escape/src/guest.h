// What the hostile guests share: a start without any library, the gate, and the ways into
// the host's kernel that a guest should not have.
#ifndef GUEST_H
#define GUEST_H

#include "pinhole.h"

typedef unsigned long ulong;

static const void *gate;
static const ulong *auxv;

static inline long call(long n, long a, long b, long c, long d, long e, long f)
{
	return ph_call6(gate, n, a, b, c, d, e, f);
}

// The instruction that the lock is for.
static inline long raw(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile ("syscall"
		: "+a"(n)
		: "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		: "rcx", "r11", "memory");
	return n;
}

// In the upper half of an argument of each call that the lock admits (seccomp.Mark): a guest
// that knows it gets what the lock admits to the kernel.
#define MARK (0x5048L << 48)

// The 32-bit entry, with the call numbers of i386.
static inline long int80(long n, long a, long b, long c, long d)
{
	__asm__ volatile ("int $0x80" : "+a"(n) : "b"(a), "c"(b), "d"(c), "S"(d) : "r8", "r9", "r10", "r11", "memory");
	return n;
}

static ulong length(const char *s)
{
	ulong n = 0;
	while (s[n])
		n++;
	return n;
}

static int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static void out(const char *s) { call(PH_FILE_WRITE, 1, (long)s, length(s), 0, 0, 0); }

static void out_number(long v)
{
	char b[24], *p = b + sizeof b;
	ulong u = v < 0 ? -(ulong)v : (ulong)v;
	*--p = 0;
	do
		*--p = '0' + u % 10;
	while (u /= 10);
	if (v < 0)
		*--p = '-';
	out(p);
}

// One line: a name and a number.
static void tell(const char *what, long v)
{
	out(what);
	out(" ");
	out_number(v);
	out("\n");
}

static long number(const char *s)
{
	long v = 0;
	while (*s >= '0' && *s <= '9')
		v = v * 10 + *s++ - '0';
	return v;
}

static void end(int status)
{
	for (;;)
		call(PH_PROC_EXIT, status, 0, 0, 0, 0, 0);
}

// Says that it is ready and waits for a line, while the test looks at the process from
// outside.
static void show(void)
{
	char c;
	out("ready\n");
	while (call(PH_FILE_READ, 0, (long)&c, 1, 0, 0, 0) == 1 && c != '\n');
}

// Anonymous guest memory.
static char *map(ulong n)
{
	long r = call(PH_MEM_MAP, 0, n, 3, 0x22, -1, 0);
	return r < 0 && r > -4096 ? 0 : (char *)r;
}

// A thread on a stack of its own; 0 where there is none. It must not return.
static long thread(void (*entry)(void))
{
	char *stack = map(16384);
	if (!stack)
		return -12;
	const long flags = 0x00010f00; // VM FS FILES SIGHAND THREAD
	return call(PH_THREAD_CREATE, flags, (long)stack + 16384 - 64, 0, 0, 0, (long)entry);
}

static int guest(int argc, char **argv);

__attribute__((noreturn, used)) static void start(const ulong *stack)
{
	auxv = ph_auxv(stack);
	gate = (const void *)ph_auxval(auxv, AT_PINHOLE_GATE);
	end(guest((int)stack[0], (char **)(stack + 1)));
	__builtin_unreachable();
}

__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall start\n\thlt\n");

#endif
