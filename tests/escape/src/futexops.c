// futex by the syscall instruction with every operation outside of the four.
#include "guest.h"

static int guest(int argc, char **argv)
{
	unsigned word[2] = {0, 0};
	const ulong timeout[2] = {0, 1};
	long refused = 0, other = 0;
	for (long op = 0; op < 4096; op++) {
		long low = op & ~0x100;
		if (low == 128 || low == 129 || low == 137 || low == 138)
			continue;
		// The word differs from the value: a wait would return EAGAIN at once.
		for (int marked = 0; marked < 2; marked++) {
			long r = raw(202, (long)word, marked ? MARK | op : op, 1, (long)timeout, (long)(word + 1), -1);
			if (r == -38 || r == -22)
				refused++;
			else
				other++;
		}
	}
	tell("refused", refused);
	tell("answered", other);
	show();
	return 0;
}
