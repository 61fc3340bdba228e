// Processor time, on as many threads as given, without ever making a call.
#include "guest.h"

static void spin(void)
{
	for (;;)
		__asm__ volatile ("" : : : "memory");
}

static int guest(int argc, char **argv)
{
	for (long n = argc > 1 ? number(argv[1]) : 1; n > 1; n--)
		thread(spin);
	out("spinning\n");
	spin();
	return 0;
}
