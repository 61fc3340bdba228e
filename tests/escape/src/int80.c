// Every i386 call number by int 0x80: int80 FROM TO.
#include "guest.h"

static int guest(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	for (long n = number(argv[1]); n < number(argv[2]); n++) {
		tell("call", n);
		tell("result", (int)int80(n, 0, 0, 0, 0));
	}
	show();
	return 0;
}
