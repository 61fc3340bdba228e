// Call numbers of the x32 range, and numbers that are none.
#include "guest.h"

static int guest(int argc, char **argv)
{
	for (long n = 0; n < 1024; n++) {
		long r = raw(0x40000000 | n, 0, 0, 0, 0, 0, 0);
		if (r != -38)
			tell("x32", n), tell("result", r);
	}
	const long numbers[] = {1024, 4096, 0x3fffffff, 0x7fffffff, 0x80000000, 0xffffffff, -1, 0x100000000 | 39};
	for (ulong i = 0; i < sizeof numbers / sizeof *numbers; i++)
		tell("result", raw(numbers[i], 0, 0, 0, 0, 0, 0));
	show();
	return 0;
}
