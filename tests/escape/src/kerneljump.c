// The kernel's own system call instructions, called with numbers of the guest's choice:
// kerneljump CANARY WHICH.
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
	if (argc < 3)
		return 2;
	// The kernel is linked at a fixed address, and its code can be read.
	const unsigned char *from = (const unsigned char *)0x60001000, *to = gate;
	if (to < from)
		return 3;
	long which = number(argv[2]), seen = 0;
	for (const unsigned char *p = from; p < to; p++)
		if (p[0] == 0x0f && p[1] == 0x05 && seen++ == which) {
			out("site\n");
			tell("result", through(p, 85, (long)argv[1], 0644, 0)); // creat
			break;
		}
	out("done\n");
	show();
	return 0;
}
