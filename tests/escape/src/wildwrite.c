// The kernel shares the address space: a guest that writes over it destroys its own
// sandbox, and nothing else. wildwrite FROM MEGABYTES, in pages from address FROM (hex).
#include "guest.h"

static ulong hex(const char *s)
{
	ulong v = 0;
	for (; *s; s++)
		v = v << 4 | (*s <= '9' ? *s - '0' : *s - 'a' + 10);
	return v;
}

static int guest(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	ulong at = hex(argv[1]), end = at + ((ulong)number(argv[2]) << 20);
	out("writing\n");
	for (; at < end; at += 8)
		*(volatile ulong *)at = 0x4141414141414141;
	out("written\n");
	return 0;
}
