// Files of the host, by every path that might lead there: hostfiles CANARY.
#include "guest.h"

static long open_both(const char *path)
{
	long r = call(PH_PATH_OPEN, -100, (long)path, 0, 0, 0, 0);
	return r >= 0 ? r : raw(257, -100, (long)path, 0, 0, 0, 0);
}

static void join(char *to, const char *a, const char *b)
{
	while (*a)
		*to++ = *a++;
	while ((*to++ = *b++));
}

static int guest(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	const char *prefix[] = {"", "/..", "/../../../../../../..", "/proc/1/root", "/proc/self/root", "/proc/self/cwd/../..",
		"/proc/self/fd/0/..", "/proc/self/fd/8", "/dev/fd/8", "/proc/2/root", "/proc/self/task/1/root"};
	char path[8192];
	for (ulong i = 0; i < sizeof prefix / sizeof *prefix; i++) {
		join(path, prefix[i], argv[1]);
		long r = open_both(path);
		if (r >= 0)
			out("opened "), out(path), out("\n");
	}
	// Devices that a guest may make, but that lead nowhere.
	const long device[] = {0x800, 0xfe00, 0x101, 0x104, 0x700, 0xa00 | 237};
	for (ulong i = 0; i < sizeof device / sizeof *device; i++) {
		call(PH_PATH_MKNOD, -100, (long)"/device", 0060600, device[i], 0, 0);
		if (call(PH_PATH_OPEN, -100, (long)"/device", 2, 0, 0, 0) >= 0)
			tell("opened block device", device[i]);
		call(PH_PATH_UNLINK, -100, (long)"/device", 0, 0, 0, 0);
		call(PH_PATH_MKNOD, -100, (long)"/device", 0020600, device[i], 0, 0);
		call(PH_PATH_UNLINK, -100, (long)"/device", 0, 0, 0, 0);
	}
	out("done\n");
	show();
	return 0;
}
