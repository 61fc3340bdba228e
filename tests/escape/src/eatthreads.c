// Threads until there are none.
#include "guest.h"

static void idle(void)
{
	unsigned word = 0;
	for (;;)
		call(PH_THREAD_FUTEX, (long)&word, 128, 0, 0, 0, 0);
}

static int guest(int argc, char **argv)
{
	long n = 0, r = 0;
	const long most = argc > 1 ? number(argv[1]) : 1000000;
	while (n < most && (r = thread(idle)) > 0)
		n++;
	tell("threads", n);
	tell("last", r);
	show();
	return 0;
}
