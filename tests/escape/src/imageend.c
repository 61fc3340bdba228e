// A private mapping of the image that reaches past its end, and a write there:
// imageend DESCRIPTOR FLAGS OFFSET.
#include "guest.h"

static int guest(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	char *at = map(1 << 16);
	long r = raw(9, (long)at, 1 << 16, 3, number(argv[2]), MARK | number(argv[1]), number(argv[3]));
	tell("mapped", r == (long)at);
	if (r != (long)at)
		return 3;
	for (int i = 0; i < 1 << 16; i += 512)
		((volatile char *)at)[i] = 'X';
	out("written\n");
	return 0;
}
