// Content of files: sequential and random, cached, mapped, on stable storage, and in bulk. Runs in
// the current directory, in a fresh folder of its own.
#include "../../bench.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define FILE_BYTES (64l << 20)
#define BULK_BYTES (512l << 20)

static char top[64];
static int fd;
static char *map;
static char buf[1 << 20];
static long created; // files f0, f1, ...
static unsigned long seed = 88172645463325252ul;

// xorshift64: the same places on both sides.
static unsigned long any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static void folder(void)
{
	snprintf(top, sizeof top, "data-%d-XXXXXX", (int)getpid());
	if (!mkdtemp(top) || chdir(top))
		die("fresh folder");
	for (unsigned long i = 0; i < sizeof buf; i += 8)
		memcpy(buf + i, &(unsigned long){any()}, 8);
}

static void empty(void)
{
	folder();
	if ((fd = open("data", O_CREAT | O_RDWR, 0644)) < 0)
		die("data");
}

// What is measured is cached content, on either side: it has been written back before.
static void full(void)
{
	empty();
	for (long at = 0; at < FILE_BYTES; at += sizeof buf)
		if (write(fd, buf, sizeof buf) != sizeof buf)
			die("write");
	if (fsync(fd))
		die("fsync");
}

static void mapped(void)
{
	full();
	map = mmap(0, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		die("mmap");
}

static void gone(void)
{
	if (map && munmap(map, FILE_BYTES))
		die("munmap");
	map = 0;
	close(fd);
	if (unlink("data"))
		die("unlink");
	for (char name[32]; created > 0;) {
		snprintf(name, sizeof name, "f%ld", --created);
		if (unlink(name))
			die(name);
	}
	if (chdir("..") || rmdir(top))
		die("folder");
}

static off_t place(long i, long size, int random)
{
	return (random ? (long)(any() >> 1) : i) % (FILE_BYTES / size) * size;
}

static void reads(long n, long size, int random)
{
	for (long i = 0; i < n; i++)
		if (pread(fd, buf, size, place(i, size, random)) != size)
			die("pread");
}

static void writes(long n, long size, int random)
{
	for (long i = 0; i < n; i++)
		if (pwrite(fd, buf, size, place(i, size, random)) != size)
			die("pwrite");
}

static void seq_read_4k(long n) { reads(n, 4096, 0); }
static void seq_read_1m(long n) { reads(n, 1 << 20, 0); }
static void rand_read_4k(long n) { reads(n, 4096, 1); }
static void rand_read_1m(long n) { reads(n, 1 << 20, 1); }
static void seq_write_4k(long n) { writes(n, 4096, 0); }
static void seq_write_1m(long n) { writes(n, 1 << 20, 0); }
static void rand_write_4k(long n) { writes(n, 4096, 1); }
static void rand_write_1m(long n) { writes(n, 1 << 20, 1); }

// A file of 64 MiB written anew in pieces of 64 KiB, as the program sees it: creation and
// removal are not counted per piece but are in the time.
static void new_64k(long n)
{
	if (ftruncate(fd, 0) || lseek(fd, 0, SEEK_SET))
		die("ftruncate");
	while (n--)
		if (write(fd, buf, 65536) != 65536)
			die("write");
}

// 512 MiB in pieces of 1 MiB until they are on stable storage: what the device sustains.
static void bulk(long n)
{
	if (ftruncate(fd, 0) || lseek(fd, 0, SEEK_SET))
		die("ftruncate");
	if (n < BULK_BYTES >> 20)
		return; // the warm-up
	while (n--)
		if (write(fd, buf, 1 << 20) != 1 << 20)
			die("write");
	if (fsync(fd))
		die("fsync");
}

static void overwrite_fsync(long n)
{
	while (n--)
		if (pwrite(fd, buf, 4096, any() % (FILE_BYTES >> 12) << 12) != 4096 || fsync(fd))
			die("fsync");
}

static void overwrite_fdatasync(long n)
{
	while (n--)
		if (pwrite(fd, buf, 4096, any() % (FILE_BYTES >> 12) << 12) != 4096 || fdatasync(fd))
			die("fdatasync");
}

static void append_fsync(long n)
{
	while (n--)
		if (write(fd, buf, 4096) != 4096 || fsync(fd))
			die("fsync");
}

// A small record as a log writer appends it: the last block is written again and again.
static void append_fdatasync_100(long n)
{
	while (n--)
		if (write(fd, buf, 100) != 100 || fdatasync(fd))
			die("fdatasync");
}

static void create_fsync(long n)
{
	char name[32];
	while (n--) {
		snprintf(name, sizeof name, "f%ld", created++);
		int f = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);
		if (f < 0 || write(f, buf, 4096) != 4096 || fsync(f) || close(f))
			die(name);
	}
}

static void mmap_load_4k(long n)
{
	unsigned long sum = 0;
	while (n--) {
		char *p = map + any() % (FILE_BYTES >> 12) * 4096;
		for (int i = 0; i < 4096; i += 64)
			sum += *(volatile long *)(p + i);
	}
}

static void mmap_store_4k(long n)
{
	while (n--)
		memcpy(map + any() % (FILE_BYTES >> 12) * 4096, buf, 4096);
}

// A store to each page of a fresh mapping: what the first touch costs.
static void mmap_first_store(long n)
{
	if (munmap(map, FILE_BYTES))
		die("munmap");
	map = mmap(0, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		die("mmap");
	for (long i = 0; i < n; i++)
		map[i % (FILE_BYTES >> 12) << 12]++;
}

static const struct bench all[] = {
	{"seq_read_4k", 16384, seq_read_4k, full, gone},
	{"seq_read_1m", 64, seq_read_1m, full, gone},
	{"rand_read_4k", 16384, rand_read_4k, full, gone},
	{"rand_read_1m", 64, rand_read_1m, full, gone},
	{"seq_write_4k", 16384, seq_write_4k, full, gone},
	{"seq_write_1m", 64, seq_write_1m, full, gone},
	{"rand_write_4k", 16384, rand_write_4k, full, gone},
	{"rand_write_1m", 64, rand_write_1m, full, gone},
	{"new_file_64k", 1024, new_64k, empty, gone, 9},
	{"sustained_1m", BULK_BYTES >> 20, bulk, empty, gone, 3},
	{"overwrite_fsync", 50, overwrite_fsync, full, gone, 11},
	{"overwrite_fdatasync", 50, overwrite_fdatasync, full, gone, 11},
	{"append_fsync", 50, append_fsync, empty, gone, 11},
	{"append_fdatasync_100", 50, append_fdatasync_100, empty, gone, 11},
	{"create_fsync", 50, create_fsync, empty, gone, 11},
	{"mmap_load_4k", 16384, mmap_load_4k, mapped, gone},
	{"mmap_store_4k", 16384, mmap_store_4k, mapped, gone},
	{"mmap_first_store", 16384, mmap_first_store, mapped, gone, 5},
	{0},
};

int main(int argc, char **argv) { return bench_main(all, argc, argv); }
