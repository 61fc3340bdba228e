// exit and exit_group by the syscall instruction: rawexit NUMBER STATUS.
#include "guest.h"

static int guest(int argc, char **argv)
{
	out("ending\n");
	if (argc > 2)
		raw(number(argv[1]), number(argv[2]), 0, 0, 0, 0, 0);
	return 1;
}
