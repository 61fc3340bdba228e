// Descriptors until there are none: files, pipes, duplicates.
#include "guest.h"

static int guest(int argc, char **argv)
{
	long n = 0, r;
	int pair[2];
	while (n < 10000000 && (r = call(PH_PATH_OPEN, -100, (long)"/", 0200000, 0, 0, 0)) >= 0)
		n++;
	tell("descriptors", n);
	tell("last", r);
	tell("pipe", call(PH_PIPE_CREATE, (long)pair, 0, 0, 0, 0, 0));
	tell("duplicate", call(PH_FD_DUP, 0, 0, 0, 0, 0, 0));
	show();
	return 0;
}
