// Files: calls on names, on cached content, and on stable storage. Runs in the current
// directory, in a fresh folder of its own (a reused ext4 directory slows creation down).
#include "../../bench.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

static char top[64];
static int fd;
static char buf[1 << 20];

static void fresh(void)
{
	snprintf(top, sizeof top, "bench-%d-XXXXXX", (int)getpid());
	if (!mkdtemp(top) || chdir(top))
		die("fresh folder");
	if (mkdir("a", 0755) || mkdir("a/b", 0755))
		die("mkdir");
	int f = open("a/b/file", O_CREAT | O_WRONLY, 0644);
	if (f < 0 || write(f, buf, 65536) != 65536 || close(f))
		die("a/b/file");
}

static void open_big(void)
{
	fresh();
	fd = open("big", O_CREAT | O_RDWR, 0644);
	for (int i = 0; i < 4; i++)
		if (write(fd, buf, sizeof buf) != sizeof buf)
			die("big");
}

static void gone(void)
{
	if (fd > 0)
		close(fd);
	fd = 0;
	if (chdir(".."))
		die("chdir");
}

// Cached in the processor too: what the call costs besides the memory it moves.
static void pread4k_run(long n)
{
	for (long i = 0; i < n; i++)
		if (pread(fd, buf, 4096, (i & 15) * 4096) != 4096)
			die("pread");
}

// Cached in memory: 4 MiB, which no first or second level cache holds.
static void pread4k_4m_run(long n)
{
	for (long i = 0; i < n; i++)
		if (pread(fd, buf, 4096, (i & 1023) * 4096) != 4096)
			die("pread");
}

static void pwrite4k_run(long n)
{
	for (long i = 0; i < n; i++)
		if (pwrite(fd, buf, 4096, (i & 1023) * 4096) != 4096)
			die("pwrite");
}

static void pread1_run(long n)
{
	for (long i = 0; i < n; i++)
		if (pread(fd, buf, 1, i & 65535) != 1)
			die("pread");
}

static void read64k_run(long n)
{
	for (long i = 0; i < n; i++)
		if (pread(fd, buf, 65536, (i & 63) * 65536) != 65536)
			die("pread");
}

static void read1m_run(long n)
{
	for (long i = 0; i < n; i++)
		if (pread(fd, buf, 1 << 20, (i & 3) << 20) != 1 << 20)
			die("pread");
}

// The sequential write goes round a file of 64 MiB: first extends, then overwrites.
static void write64k_run(long n)
{
	for (long i = 0; i < n; i++)
		if (pwrite(fd, buf, 65536, (i & 1023) * 65536) != 65536)
			die("pwrite");
}

static void openclose_run(long n)
{
	while (n--) {
		int f = open("a/b/file", O_RDONLY);
		if (f < 0)
			die("open");
		close(f);
	}
}

static void stat_run(long n)
{
	struct stat st;
	while (n--)
		if (stat("a/b/file", &st))
			die("stat");
}

static void fstat_run(long n)
{
	struct stat st;
	while (n--)
		if (fstat(fd, &st))
			die("fstat");
}

static void missing_run(long n)
{
	struct stat st;
	while (n--)
		if (!stat("a/b/none", &st))
			die("stat");
}

static void create_run(long n)
{
	char name[32];
	for (long i = 0; i < n; i++) {
		snprintf(name, sizeof name, "a/f%ld", i & 127);
		int f = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);
		if (f < 0)
			die("create");
		close(f);
		if (unlink(name))
			die("unlink");
	}
}

static void mkdir_run(long n)
{
	while (n--)
		if (mkdir("a/d", 0755) || rmdir("a/d"))
			die("mkdir");
}

static void rename_run(long n)
{
	for (long i = 0; i < n; i++)
		if (rename(i & 1 ? "a/g" : "a/b/file", i & 1 ? "a/b/file" : "a/g"))
			die("rename");
	if (n & 1)
		rename("a/g", "a/b/file");
}

static void readdir_before(void)
{
	char name[32];
	fresh();
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "a/e%d", i);
		close(open(name, O_CREAT | O_WRONLY, 0644));
	}
}

static void readdir_run(long n)
{
	while (n--) {
		DIR *d = opendir("a");
		while (readdir(d))
			;
		closedir(d);
	}
}

static void fsync_run(long n)
{
	for (long i = 0; i < n; i++)
		if (pwrite(fd, buf, 4096, (i & 1023) * 4096) != 4096 || fsync(fd))
			die("fsync");
}

static const struct bench all[] = {
	{"pread_4k", 50000, pread4k_run, open_big, gone},
	{"pread_4k_of_4m", 50000, pread4k_4m_run, open_big, gone},
	{"pread_1", 100000, pread1_run, open_big, gone},
	{"read_64k", 5000, read64k_run, open_big, gone},
	{"read_1m", 200, read1m_run, open_big, gone},
	{"pwrite_4k", 20000, pwrite4k_run, open_big, gone},
	{"write_64k", 1024, write64k_run, open_big, gone},
	{"open_close", 20000, openclose_run, fresh, gone},
	{"stat", 50000, stat_run, fresh, gone},
	{"fstat", 50000, fstat_run, open_big, gone},
	{"stat_missing", 50000, missing_run, fresh, gone},
	{"create_unlink", 1000, create_run, fresh, gone},
	{"mkdir_rmdir", 500, mkdir_run, fresh, gone},
	{"rename", 2000, rename_run, fresh, gone},
	{"readdir_1000", 20, readdir_run, readdir_before, gone},
	{"fsync_4k", 50, fsync_run, open_big, gone},
	{0},
};

int main(int argc, char **argv) { return bench_main(all, argc, argv); }
