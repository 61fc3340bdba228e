// The kernel's own system call instructions, called with numbers of the guest's choice:
// kerneljump CANARY. Where they lie can be read from the kernel's code.
#include "guest.h"

static long through(const void *site, long n, long a, long b, long c)
{
	// The instruction is entered by a jump with a return address on the stack, below
	// which whatever follows it may pop; what comes of that is the test's to see.
	__asm__ volatile ("lea 1f(%%rip), %%rcx\n\tpush %%rcx\n\tjmp *%[site]\n1:"
		: "+a"(n) : "D"(a), "S"(b), "d"(c), [site] "r"(site)
		: "rcx", "r8", "r9", "r10", "r11", "memory");
	return n;
}

static int guest(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	const unsigned char *code = (const unsigned char *)((ulong)gate & ~0xfffUL);
	// The gate's own page and those before it are code for certain; a few sites do.
	for (const unsigned char *p = code; p > code - (1 << 16); p--)
		if (p[0] == 0x0f && p[1] == 0x05) {
			out("site\n");
			tell("result", through(p, 85, (long)argv[1], 0644, 0)); // creat
		}
	out("done\n");
	show();
	return 0;
}
