// Memory until there is none: eatmemory MAP|RAM|BREAK.
#include "guest.h"

static int guest(int argc, char **argv)
{
	const ulong step = 4 << 20;
	ulong got = 0;
	long last = 0;
	char *brk = (char *)call(PH_MEM_BREAK, 0, 0, 0, 0, 0, 0);
	for (; got < 64UL << 30; got += step) {
		char *p;
		if (argc > 1 && same(argv[1], "break")) {
			char *to = brk + got + step;
			p = (char *)call(PH_MEM_BREAK, (long)to, 0, 0, 0, 0, 0) == to ? to - step : 0;
		} else {
			long flags = argc > 1 && same(argv[1], "shared") ? 0x21 : 0x22;
			last = call(PH_MEM_MAP, 0, step, 3, flags, -1, 0);
			p = last < 0 && last > -4096 ? 0 : (char *)last;
		}
		if (!p)
			break;
		for (ulong i = 0; i < step; i += 4096)
			((volatile char *)p)[i] = 1;
	}
	tell("megabytes", got >> 20);
	tell("last", last);
	show();
	return 0;
}
