// The kernel shares the address space: a guest that writes over it destroys its own
// sandbox, and nothing else. wildwrite WHERE KILOBYTES; WHERE is an address in hex or one of
// context, stack, heap.
#include "guest.h"

static ulong hex(const char *s)
{
	ulong v = 0;
	for (; *s; s++)
		v = v << 4 | (*s <= '9' ? *s - '0' : *s - 'a' + 10);
	return v;
}

// What the gate finds of the kernel: the thread's context, and in it the kernel's stack.
static ulong context(void)
{
	ulong v;
	__asm__ volatile ("mov %%gs:0, %0" : "=r"(v));
	return v;
}

static int guest(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	ulong at = hex(argv[1]), bytes = (ulong)number(argv[2]) << 10;
	if (same(argv[1], "context"))
		at = context() & ~4095UL;
	else if (same(argv[1], "stack"))
		at = ((ulong *)context())[1] & ~2047UL;
	else if (same(argv[1], "heap"))
		at = ((ulong *)context())[1] & ~0x1fffffUL;
	out("writing\n");
	for (ulong p = at; p < at + bytes; p += 8)
		*(volatile ulong *)p = 0x4141414141414141;
	out("written\n");
	for (;;)
		call(PH_THREAD_YIELD, 0, 0, 0, 0, 0, 0);
}
