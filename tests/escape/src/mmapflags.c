// mmap by the syscall instruction with every flag outside of the lock's sets, on every
// descriptor that the lock lets through.
#include "guest.h"

static int guest(int argc, char **argv)
{
	const long descriptors[] = {-1, 8, 9, 0, 3, 10, 11};
	const long sets[] = {0x01, 0x02, 0x11, 0x12, 0x21, 0x22, 0x32, 0x4032, 0x8032};
	char *at = map(64 << 12);
	for (ulong d = 0; d < sizeof descriptors / sizeof *descriptors; d++)
		for (ulong s = 0; s < sizeof sets / sizeof *sets; s++)
			for (int bit = 0; bit < 32; bit++) {
				// With the mark it is the host that the call is for, without it the kernel.
				const long flags = sets[s] ^ 1L << bit;
				raw(9, (long)at, 4096, 7, flags, MARK | (unsigned)descriptors[d], 0);
				long r = raw(9, (long)at, 4096, 7, flags, descriptors[d], 0);
				if (!(r < 0 && r > -4096) && r != (long)at)
					raw(11, r, 4096, 0, 0, 0, 0);
			}
	out("done\n");
	show();
	return 0;
}
