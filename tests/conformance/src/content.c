// How content lies on the disk, and how it gets there: fallocate(2), SEEK_DATA and SEEK_HOLE, O_DIRECT,
// O_SYNC and its like, sync_file_range(2), copy_file_range(2), sendfile(2), posix_fadvise(2).
#include "check.h"
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define PAGE 4096
static char b[1 << 20] __attribute__((aligned(4096))), c[1 << 20] __attribute__((aligned(4096)));

// pwritev2(2), which not every C library has.
static ssize_t pwritev2_(int fd, const struct iovec *v, int n, off_t off, int flags)
{
	return syscall(SYS_pwritev2, fd, v, n, off, 0, flags);
}

#ifndef RWF_DSYNC
#define RWF_DSYNC 2
#define RWF_SYNC 4
#define RWF_APPEND 16
#endif

static void fill(char *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (seed = seed * 1103515245 + 12345) >> 16 | 1;
}

static int zero(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return 0;
	return 1;
}

static void allocations(void)
{
	struct stat st;
	int fd = open("alloc", O_CREAT | O_RDWR, 0600);
	CHECK(fallocate(fd, 0, 0, 10 * PAGE) == 0 && fstat(fd, &st) == 0 && st.st_size == 10 * PAGE && st.st_blocks >= 80);
	CHECK(pread(fd, c, 10 * PAGE, 0) == 10 * PAGE && zero(c, 10 * PAGE));
	CHECK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 10 * PAGE, 10 * PAGE) == 0 && fstat(fd, &st) == 0 && st.st_size == 10 * PAGE && st.st_blocks >= 160);
	fill(b, 10 * PAGE, 1);
	CHECK(pwrite(fd, b, 10 * PAGE, 0) == 10 * PAGE);
	CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE + 100, 3 * PAGE) == 0);
	CHECK(pread(fd, c, 10 * PAGE, 0) == 10 * PAGE && !memcmp(c, b, PAGE + 100) && zero(c + PAGE + 100, 3 * PAGE) &&
	      !memcmp(c + 4 * PAGE + 100, b + 4 * PAGE + 100, 6 * PAGE - 100));
	CHECK(fsync(fd) == 0 && pread(fd, c, 10 * PAGE, 0) == 10 * PAGE && zero(c + PAGE + 100, 3 * PAGE) && !memcmp(c, b, PAGE + 100));
	CHECK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 9 * PAGE + 1, 2 * PAGE) == 0 && fstat(fd, &st) == 0 && st.st_size == 11 * PAGE + 1);
	CHECK(pread(fd, c, 3 * PAGE, 8 * PAGE) == 3 * PAGE && !memcmp(c, b + 8 * PAGE, PAGE + 1) && zero(c + PAGE + 1, 2 * PAGE - 1));
	CHECK(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, 20 * PAGE) == 0 && fstat(fd, &st) == 0 && st.st_size == 11 * PAGE + 1);
	CHECK(pread(fd, c, 11 * PAGE, 0) == 11 * PAGE && zero(c, 11 * PAGE));
	FAILS(EINVAL, fallocate(fd, 0, -1, 10));
	FAILS(EINVAL, fallocate(fd, 0, 0, 0));
	FAILS(EOPNOTSUPP, fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, PAGE));
	FAILS(EOPNOTSUPP, fallocate(fd, 1 << 20, 0, PAGE));
	FAILS(EFBIG, fallocate(fd, 0, 0x7fffffffffffffff, 10));
	int ro = open("alloc", O_RDONLY), dir = open(".", O_RDONLY), p[2];
	FAILS(EBADF, fallocate(ro, 0, 0, 10));
	FAILS(EBADF, fallocate(dir, 0, 0, 10));
	CHECK(pipe(p) == 0);
	FAILS(ESPIPE, fallocate(p[1], 0, 0, 10));
	CHECK(posix_fallocate(fd, 30 * PAGE, PAGE) == 0 && fstat(fd, &st) == 0 && st.st_size == 31 * PAGE);
	FAILS(ENOSPC, fallocate(fd, 0, 0, (off_t)1 << 41));
	CHECK(ftruncate(fd, 0) == 0 && fstat(fd, &st) == 0 && st.st_blocks == 0);
	close(fd), close(ro), close(dir), close(p[0]), close(p[1]);
}

static void seeks(void)
{
	int fd = open("seek", O_CREAT | O_RDWR, 0600);
	FAILS(ENXIO, lseek(fd, 0, SEEK_DATA));
	CHECK(ftruncate(fd, 256 * 1024) == 0);
	FAILS(ENXIO, lseek(fd, 0, SEEK_DATA));
	CHECK(lseek(fd, 5, SEEK_HOLE) == 5);
	fill(b, 16 * 1024, 2);
	CHECK(pwrite(fd, b, 16 * 1024, 64 * 1024) == 16 * 1024);
	for (int round = 0; round < 2; round++) {
		CHECK(lseek(fd, 0, SEEK_DATA) == 64 * 1024);
		CHECK(lseek(fd, 0, SEEK_HOLE) == 0);
		CHECK(lseek(fd, 70 * 1024, SEEK_DATA) == 70 * 1024);
		CHECK(lseek(fd, 70 * 1024, SEEK_HOLE) == 80 * 1024);
		FAILS(ENXIO, lseek(fd, 80 * 1024, SEEK_DATA));
		CHECK(lseek(fd, 200 * 1024, SEEK_HOLE) == 200 * 1024);
		FAILS(ENXIO, lseek(fd, 256 * 1024, SEEK_HOLE));
		FAILS(ENXIO, lseek(fd, -1, SEEK_DATA));
		CHECK(fsync(fd) == 0);
	}
	CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 68 * 1024, 4 * 1024) == 0);
	CHECK(lseek(fd, 64 * 1024, SEEK_HOLE) == 68 * 1024 && lseek(fd, 68 * 1024, SEEK_DATA) == 72 * 1024);
	CHECK(fallocate(fd, 0, 128 * 1024, 16 * 1024) == 0); // room without content is a hole
	FAILS(ENXIO, lseek(fd, 80 * 1024, SEEK_DATA));
	CHECK(ftruncate(fd, 78 * 1024) == 0 && lseek(fd, 72 * 1024, SEEK_HOLE) == 78 * 1024);
	close(fd);
}

static void direct(void)
{
	int fd = open("direct", O_CREAT | O_RDWR | O_DIRECT, 0600), buffered = open("direct", O_RDWR);
	CHECK(fd >= 0 && fcntl(fd, F_GETFL) & O_DIRECT);
	fill(b, 16 * PAGE, 3);
	CHECK(pwrite(fd, b, 8 * PAGE, 0) == 8 * PAGE);
	CHECK(pread(buffered, c, 8 * PAGE, 0) == 8 * PAGE && !memcmp(b, c, 8 * PAGE));
	CHECK(pwrite(buffered, b + 100, 500, 3 * PAGE + 7) == 500);
	CHECK(pread(fd, c, 8 * PAGE, 0) == 8 * PAGE && !memcmp(c + 3 * PAGE + 7, b + 100, 500));
	FAILS(EINVAL, pread(fd, c, 100, 0));
	FAILS(EINVAL, pread(fd, c, PAGE, 100));
	FAILS(EINVAL, pread(fd, c + 1, PAGE, 0));
	FAILS(EINVAL, pwrite(fd, b, PAGE + 1, 0));
	FAILS(EINVAL, pwrite(fd, b + 4, PAGE, 0));
	CHECK(pwrite(fd, b, 512, 512) == 512 && pread(fd, c, 1024, 0) == 1024 && !memcmp(c + 512, b, 512));
	struct iovec v[2] = {{c, 512}, {c + PAGE, PAGE}};
	CHECK(preadv(fd, v, 2, 0) == 512 + PAGE);
	v[0].iov_len = 100;
	FAILS(EINVAL, preadv(fd, v, 2, 0));
	CHECK(pwrite(buffered, "tail", 4, 8 * PAGE) == 4);
	CHECK(pread(fd, c, PAGE, 8 * PAGE) == 4 && !memcmp(c, "tail", 4));
	CHECK(pread(fd, c, PAGE, 9 * PAGE) == 0);
	CHECK(fcntl(buffered, F_SETFL, O_DIRECT) == 0);
	FAILS(EINVAL, pread(buffered, c, 100, 0));
	CHECK(fcntl(buffered, F_SETFL, 0) == 0 && pread(buffered, c, 100, 0) == 100);
	CHECK(fdatasync(fd) == 0);
	close(fd), close(buffered);
}

static void syncs(void)
{
	int fd = open("sync", O_CREAT | O_RDWR | O_SYNC, 0600);
	CHECK(write(fd, b, 10000) == 10000 && (fcntl(fd, F_GETFL) & O_SYNC) == O_SYNC);
	int ds = open("sync", O_RDWR | O_DSYNC | O_APPEND);
	CHECK(write(ds, b, 10000) == 10000 && lseek(ds, 0, SEEK_CUR) == 20000 && (fcntl(ds, F_GETFL) & O_SYNC) == O_DSYNC);
	int plain = open("sync", O_RDWR);
	struct iovec v = {b, 100};
	CHECK(pwritev2_(plain, &v, 1, 5, RWF_DSYNC) == 100 && pwritev2_(plain, &v, 1, 5, RWF_SYNC) == 100);
	CHECK(pwritev2_(plain, &v, 1, 0, RWF_APPEND) == 100 && lseek(plain, 0, SEEK_END) == 20100);
	FAILS(EOPNOTSUPP, pwritev2_(plain, &v, 1, 0, 0x8000));
	CHECK(fsync(plain) == 0 && fdatasync(plain) == 0 && syncfs(plain) == 0);
	sync();
	CHECK(sync_file_range(plain, 0, 0, SYNC_FILE_RANGE_WRITE) == 0);
	CHECK(sync_file_range(plain, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) == 0);
	FAILS(EINVAL, sync_file_range(plain, 0, 0, 64));
	FAILS(EINVAL, sync_file_range(plain, -1, 0, 0));
	int dir = open(".", O_RDONLY), p[2];
	CHECK(fsync(dir) == 0 && pipe(p) == 0);
	FAILS(EINVAL, fsync(p[0]));
	FAILS(ESPIPE, sync_file_range(p[0], 0, 0, 0));
	FAILS(EBADF, fsync(99));
	CHECK(posix_fadvise(plain, 0, 0, POSIX_FADV_SEQUENTIAL) == 0 && posix_fadvise(plain, 0, 100, POSIX_FADV_DONTNEED) == 0);
	CHECK(posix_fadvise(plain, 0, 0, 77) == EINVAL && posix_fadvise(p[0], 0, 0, 0) == ESPIPE);
	CHECK(readahead(plain, 0, 4096) == 0);
	close(fd), close(ds), close(plain), close(dir), close(p[0]), close(p[1]);
}

static void copies(void)
{
	int from = open("from", O_CREAT | O_RDWR, 0600), to = open("to", O_CREAT | O_RDWR, 0600);
	fill(b, 300000, 5);
	CHECK(write(from, b, 300000) == 300000);
	off_t in = 1000, out = 5;
	ssize_t n, done = 0;
	while (done < 200000 && (n = copy_file_range(from, &in, to, &out, 200000 - done, 0)) > 0)
		done += n;
	CHECK(done == 200000 && in == 201000 && out == 200005);
	CHECK(pread(to, c, 300000, 0) == 200005 && zero(c, 5) && !memcmp(c + 5, b + 1000, 200000));
	in = 300000;
	CHECK(copy_file_range(from, &in, to, 0, 10, 0) == 0);
	in = 0, out = 50;
	FAILS(EINVAL, copy_file_range(from, &in, from, &out, 100, 0));
	FAILS(EINVAL, copy_file_range(from, 0, to, 0, 10, 1));
	CHECK(lseek(from, 0, SEEK_SET) == 0 && lseek(to, 0, SEEK_SET) == 0 && ftruncate(to, 0) == 0);
	for (done = 0; done < 300000 && (n = sendfile(to, from, 0, 300000)) > 0;)
		done += n;
	CHECK(done == 300000 && pread(to, c, 300000, 0) == 300000 && !memcmp(b, c, 300000));
	FAILS(EOPNOTSUPP, ioctl(to, FICLONE, from));
	close(from), close(to);
}

int main(void)
{
	allocations();
	seeks();
	direct();
	syncs();
	copies();
	return check_done();
}
