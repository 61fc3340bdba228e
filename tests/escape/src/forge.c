// The supervisor's pipes and bells, which the lock lets a guest reach: rubbish, at length.
#include "guest.h"

static int guest(int argc, char **argv)
{
	unsigned char b[4096];
	ulong seed = argc > 1 ? number(argv[1]) : 1;
	const ulong one[1] = {1};
	for (int round = 0; round < 64; round++) {
		for (ulong i = 0; i < sizeof b; i++) {
			seed = seed * 6364136223846793005UL + 1442695040888963407UL;
			b[i] = seed >> 56;
		}
		raw(1, MARK | 6, (long)one, 8, 0, 0, 0);
		raw(1, MARK | 4, (long)b, sizeof b, 0, 0, 0);
	}
	out("forged\n");
	return 0;
}
