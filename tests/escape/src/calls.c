// Every call number by the syscall instruction, with arguments that on a host would make
// files, processes, mappings: calls FROM TO CANARY. One line for each, before and after, so
// that a call that ends or stops the program is known by name.
#include "guest.h"

static int guest(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	long from = number(argv[1]), to = number(argv[2]);
	long path = (long)argv[3];
	char *page = map(4096);
	const long p = (long)page;
	const long sets[][6] = {
		{0, 0, 0, 0, 0, 0},
		{path, 0102, 0644, 0, 0, 0},           // open, creat, mkdir, unlink, chmod, truncate
		{-100, path, 0102, 0644, 0, 0},        // openat and its like
		{path, path, path, path, path, path},  // rename, link, symlink, mount
		{-100, path, -100, path, 0, 0},        // renameat, linkat
		{1, 9, 1, p, 4096, 0},                 // kill and its like
		{p, 4096, 7, 0x22, -1, 0},             // memory
		{-1, -1, -1, -1, -1, -1},
	};
	for (long n = from; n < to; n++) {
		if (n == 60 || n == 231)
			continue; // see rawexit.c
		tell("call", n);
		for (ulong i = 0; i < sizeof sets / sizeof *sets; i++) {
			const long *a = sets[i];
			if (n == 9 && i == 6)
				continue; // admitted as it is
			tell("result", raw(n, a[0], a[1], a[2], a[3], a[4], a[5]));
		}
	}
	tell("done", to);
	show();
	return 0;
}
