// Trees of many files, as programs that unpack, build, back up and clean up meet them. Each case
// counts per file. Runs in the current directory, in a fresh folder of its own.
#include "../../bench.h"
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#define FILES 5000
#define PER_FOLDER 50

static char top[64];
static char *archive; // a tar in memory
static size_t archived;
static char block[1 << 16];

// The archive has FILES files of 0 to 16 KiB (6 KiB on average, as in source trees) in folders of
// PER_FOLDER, as "tar --format=ustar" writes them.
static void octal(char *p, int width, unsigned long v) { snprintf(p, width, "%0*lo", width - 1, v); }

static void entry(const char *name, char type, unsigned mode, size_t size)
{
	char *h = archive + archived;
	memset(h, 0, 512);
	strcpy(h, name);
	octal(h + 100, 8, mode);
	octal(h + 108, 8, 0);
	octal(h + 116, 8, 0);
	octal(h + 124, 12, size);
	octal(h + 136, 12, 1700000000 + archived % 1000000);
	h[156] = type;
	memcpy(h + 257, "ustar\00000", 8);
	memset(h + 148, ' ', 8);
	unsigned sum = 0;
	for (int i = 0; i < 512; i++)
		sum += (unsigned char)h[i];
	snprintf(h + 148, 8, "%06o", sum);
	archived += 512;
	for (size_t i = 0; i < size; i++)
		archive[archived + i] = (char)(i * 7 + archived);
	archived += (size + 511) & ~511ul;
}

static void pack(void)
{
	if (archive)
		return;
	archive = calloc(1, FILES * (16384 + 1024) + (1 << 20));
	if (!archive)
		die("calloc");
	unsigned long seed = 1;
	char name[64];
	for (int i = 0; i < FILES; i++) {
		if (i % PER_FOLDER == 0) {
			snprintf(name, sizeof name, "src/d%d/", i / PER_FOLDER);
			if (i == 0)
				entry("src/", '5', 0755, 0);
			entry(name, '5', 0755, 0);
		}
		seed = seed * 6364136223846793005ul + 1442695040888963407ul;
		unsigned long r = seed >> 40 & 127;
		snprintf(name, sizeof name, "src/d%d/file%d.c", i / PER_FOLDER, i);
		entry(name, '0', 0644, r * r); // many small ones, few large ones
	}
}

// unpack does what tar does: for each file open, write, times, mode, close; for folders, at the end.
static void unpack(void)
{
	for (size_t at = 0; at < archived;) {
		char *h = archive + at;
		size_t size = strtoul(h + 124, 0, 8);
		mode_t mode = strtoul(h + 100, 0, 8);
		struct timespec t[2] = {{0, UTIME_NOW}, {strtol(h + 136, 0, 8), 0}};
		at += 512;
		if (h[156] == '5') {
			if (mkdir(h, mode))
				die(h);
			continue;
		}
		int f = openat(AT_FDCWD, h, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode & 0700);
		if (f < 0)
			die(h);
		for (size_t done = 0; done < size;) {
			size_t k = size - done < 10240 ? size - done : 10240; // tar's record
			if (write(f, archive + at + done, k) != (ssize_t)k)
				die(h);
			done += k;
		}
		if (futimens(f, t) || fchown(f, 0, 0) || fchmod(f, mode) || close(f))
			die(h);
		at += (size + 511) & ~511ul;
	}
}

static int rm(const char *p, const struct stat *st, int type, struct FTW *w)
{
	(void)st;
	(void)w;
	if (type == FTW_DP ? rmdir(p) : unlink(p))
		die(p);
	return 0;
}

static void fresh(void)
{
	pack();
	snprintf(top, sizeof top, "tree-%d-XXXXXX", (int)getpid());
	if (!mkdtemp(top) || chdir(top))
		die("fresh folder");
}

static void unpacked(void)
{
	fresh();
	unpack();
}

static void removed(void)
{
	if (chdir("..") || nftw(top, rm, 16, FTW_DEPTH | FTW_PHYS))
		die("nftw");
}

static long copies;

static void untar(long n)
{
	if (n < FILES)
		return; // the warm-up
	char name[32];
	snprintf(name, sizeof name, "c%ld", copies++);
	if (mkdir(name, 0755) || chdir(name))
		die(name);
	unpack();
	if (chdir(".."))
		die("chdir");
}

static void untar_sync(long n)
{
	untar(n);
	if (n >= FILES)
		sync();
}

static int seen(const char *p, const struct stat *st, int type, struct FTW *w)
{
	(void)p;
	(void)st;
	(void)type;
	(void)w;
	return 0;
}

static void walk(long n)
{
	(void)n;
	if (nftw("src", seen, 16, FTW_PHYS))
		die("nftw");
}

static int slurp(const char *p, const struct stat *st, int type, struct FTW *w)
{
	(void)st;
	(void)w;
	if (type != FTW_F)
		return 0;
	int f = open(p, O_RDONLY);
	if (f < 0)
		die(p);
	while (read(f, block, sizeof block) > 0)
		;
	close(f);
	return 0;
}

static void grep(long n)
{
	(void)n;
	if (nftw("src", slurp, 16, FTW_PHYS))
		die("nftw");
}

static void untar_rm(long n)
{
	if (n < FILES)
		return;
	untar(n);
	char name[32];
	snprintf(name, sizeof name, "c%ld", copies - 1);
	if (nftw(name, rm, 16, FTW_DEPTH | FTW_PHYS))
		die("nftw");
}

// One folder of 10,000 names: made, looked at, removed.
static void many(long n)
{
	char name[32];
	struct stat st;
	for (long i = 0; i < n; i++) {
		snprintf(name, sizeof name, "name-%ld", i);
		int f = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);
		if (f < 0)
			die(name);
		close(f);
	}
	for (long i = 0; i < n; i++) {
		snprintf(name, sizeof name, "name-%ld", i);
		if (stat(name, &st))
			die(name);
	}
	DIR *d = opendir(".");
	while (readdir(d))
		;
	closedir(d);
	for (long i = 0; i < n; i++) {
		snprintf(name, sizeof name, "name-%ld", i);
		if (unlink(name))
			die(name);
	}
}

static const struct bench all[] = {
	{"untar_5000", FILES, untar, fresh, removed, 3},
	{"untar_5000_sync", FILES, untar_sync, fresh, removed, 3},
	{"untar_rm_5000", FILES, untar_rm, fresh, removed, 3},
	{"walk_5000", FILES, walk, unpacked, removed, 5},
	{"read_all_5000", FILES, grep, unpacked, removed, 5},
	{"folder_10000", 10000, many, fresh, removed, 3},
	{0},
};

int main(int argc, char **argv) { return bench_main(all, argc, argv); }
