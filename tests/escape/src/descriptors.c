// read and write by the syscall instruction on every descriptor number that the lock does
// not name.
#include "guest.h"

static int guest(int argc, char **argv)
{
	char b[16] = "escaped\n";
	for (long fd = 0; fd < 1100; fd++) {
		if (!(fd == 0 || fd == 3 || fd == 5 || fd == 7)) {
			long r = raw(0, fd, (long)b, 0, 0, 0, 0) | raw(0, MARK | fd, (long)b, 0, 0, 0, 0);
			if (r > 0)
				tell("read", fd), tell("result", r);
		}
		if (!(fd == 1 || fd == 2 || fd == 4 || fd == 6)) {
			long r = raw(1, fd, (long)b, 8, 0, 0, 0) | raw(1, MARK | fd, (long)b, 8, 0, 0, 0);
			if (r > 0)
				tell("wrote", fd), tell("result", r);
		}
	}
	const long odd[] = {-1, -2, 1L << 32, 1L << 32 | 1, 1L << 63 | 1, 0x7fffffff, 0xffffffff};
	for (ulong i = 0; i < sizeof odd / sizeof *odd; i++) {
		long r = raw(1, odd[i], (long)b, 8, 0, 0, 0);
		if (r > 0 && (int)odd[i] != 1)
			tell("wrote", odd[i]), tell("result", r);
	}
	out("done\n");
	show();
	return 0;
}
