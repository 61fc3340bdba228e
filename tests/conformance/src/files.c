// Descriptors and regular files: open(2), read(2), write(2), lseek(2), pread(2), readv(2),
// dup(2), fcntl(2), ftruncate(2), fallocate(2), copy_file_range(2), fsync(2).
#include "check.h"
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>

int main(void)
{
	char b[8192], c[8192];
	struct stat st;

	int fd = open("f", O_CREAT | O_EXCL | O_RDWR, 0640);
	CHECK(fd == 3);
	FAILS(EEXIST, open("f", O_CREAT | O_EXCL | O_RDWR, 0640));
	FAILS(ENOENT, open("none", O_RDONLY));
	FAILS(ENOENT, open("", O_RDONLY));
	FAILS(ENOTDIR, open("f/x", O_RDONLY));
	FAILS(ENOTDIR, open("f", O_RDONLY | O_DIRECTORY));
	FAILS(EISDIR, open(".", O_WRONLY));
	CHECK(fstat(fd, &st) == 0 && st.st_size == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0777) == 0640 && st.st_nlink == 1);

	for (unsigned i = 0; i < sizeof b; i++)
		b[i] = i * 7 + i / 256;
	CHECK(write(fd, b, 5000) == 5000);
	CHECK(lseek(fd, 0, SEEK_CUR) == 5000);
	CHECK(read(fd, c, 10) == 0);
	CHECK(lseek(fd, 100, SEEK_SET) == 100);
	CHECK(read(fd, c, 4000) == 4000 && !memcmp(c, b + 100, 4000));
	CHECK(lseek(fd, -10, SEEK_END) == 4990);
	CHECK(read(fd, c, 100) == 10 && !memcmp(c, b + 4990, 10));
	FAILS(EINVAL, lseek(fd, -1, SEEK_SET));
	FAILS(EINVAL, lseek(fd, 0, 99));
	CHECK(lseek(fd, 100000, SEEK_SET) == 100000);
	CHECK(write(fd, "end", 3) == 3);
	CHECK(fstat(fd, &st) == 0 && st.st_size == 100003);
	CHECK(pread(fd, c, 5000, 50000) == 5000);
	for (int i = 0; i < 5000; i++)
		if (c[i]) { CHECK(!"hole reads as zero"); break; }
	CHECK(pread(fd, c, 10, 100000) == 3 && !memcmp(c, "end", 3));
	CHECK(pread(fd, c, 10, 200000) == 0);
	FAILS(EINVAL, pread(fd, c, 10, -1));
	FAILS(EINVAL, pwrite(fd, c, 10, -1));
	CHECK(pwrite(fd, "XY", 2, 1) == 2);
	CHECK(pread(fd, c, 4, 0) == 4 && c[0] == b[0] && c[1] == 'X' && c[2] == 'Y' && c[3] == b[3]);
	CHECK(lseek(fd, 0, SEEK_CUR) == 100003);
	char *volatile wild = (char *)8;
	CHECK(read(fd, wild, 0) == 0);
	FAILS(EFAULT, pread(fd, wild, 10, 0));
	FAILS(EFAULT, write(fd, (void *)8, 10));

	struct iovec v[3] = {{c, 3}, {c + 100, 0}, {c + 200, 5}};
	CHECK(preadv(fd, v, 3, 10) == 8 && !memcmp(c, b + 10, 3) && !memcmp(c + 200, b + 13, 5));
	FAILS(EINVAL, readv(fd, v, -1));
	CHECK(readv(fd, v, 0) == 0);
	v[1].iov_len = (size_t)-1;
	FAILS(EINVAL, preadv(fd, v, 3, 10));
	v[0].iov_base = "abc", v[1].iov_base = "defg", v[1].iov_len = 4;
	CHECK(pwritev(fd, v, 2, 300) == 7);
	CHECK(pread(fd, c, 7, 300) == 7 && !memcmp(c, "abcdefg", 7));

	CHECK(ftruncate(fd, 50) == 0);
	CHECK(fstat(fd, &st) == 0 && st.st_size == 50);
	CHECK(ftruncate(fd, 6000) == 0);
	CHECK(pread(fd, c, 8192, 0) == 6000);
	for (int i = 50; i < 6000; i++)
		if (c[i]) { CHECK(!"extended part reads as zero"); break; }
	FAILS(EINVAL, ftruncate(fd, -1));
	CHECK(truncate("f", 10) == 0);
	CHECK(stat("f", &st) == 0 && st.st_size == 10);
	FAILS(ENOENT, truncate("none", 10));
	FAILS(EISDIR, truncate(".", 10));

	// The offset belongs to the open file description, flags of close-on-exec to the descriptor.
	int d = dup(fd);
	CHECK(d == fd + 1);
	CHECK(lseek(fd, 5, SEEK_SET) == 5 && lseek(d, 0, SEEK_CUR) == 5);
	CHECK(fcntl(d, F_SETFD, FD_CLOEXEC) == 0 && fcntl(d, F_GETFD) == FD_CLOEXEC && fcntl(fd, F_GETFD) == 0);
	CHECK(dup2(fd, 100) == 100 && dup2(fd, fd) == fd);
	FAILS(EBADF, dup2(fd, -1));
	FAILS(EBADF, dup2(99, 5));
	FAILS(EINVAL, dup3(fd, fd, 0));
	CHECK(dup3(fd, 101, O_CLOEXEC) == 101 && fcntl(101, F_GETFD) == FD_CLOEXEC);
	CHECK(fcntl(fd, F_DUPFD, 100) == 102 && fcntl(fd, F_DUPFD_CLOEXEC, 50) == 50);
	CHECK(close(102) == 0 && close(50) == 0 && close(100) == 0 && close(101) == 0 && close(d) == 0);
	FAILS(EBADF, close(d));
	FAILS(EBADF, read(-1, c, 1));
	FAILS(EBADF, read(999, c, 1));
	CHECK(fcntl(fd, F_GETFL) == (O_RDWR | O_LARGEFILE) || fcntl(fd, F_GETFL) == (O_RDWR | 0100000));

	int ro = open("f", O_RDONLY), wo = open("f", O_WRONLY | O_APPEND);
	FAILS(EBADF, write(ro, c, 1));
	FAILS(EBADF, read(wo, c, 1));
	FAILS(EINVAL, ftruncate(ro, 0));
	CHECK(write(wo, "tail", 4) == 4);
	CHECK(pread(ro, c, 20, 0) == 14 && !memcmp(c + 10, "tail", 4));
	CHECK(lseek(wo, 0, SEEK_SET) == 0 && write(wo, "!", 1) == 1 && fstat(ro, &st) == 0 && st.st_size == 15);
	CHECK(fcntl(wo, F_SETFL, 0) == 0 && lseek(wo, 0, SEEK_SET) == 0 && write(wo, "?", 1) == 1 && fstat(ro, &st) == 0 && st.st_size == 15);
	int n = 0;
	CHECK(lseek(ro, 5, SEEK_SET) == 5 && ioctl(ro, FIONREAD, &n) == 0 && n == 10);
	FAILS(ENOTTY, ioctl(ro, TIOCGWINSZ, c));
	CHECK(!isatty(ro));

	CHECK(open("f", O_WRONLY | O_TRUNC) >= 0 && fstat(ro, &st) == 0 && st.st_size == 0);
	CHECK(fallocate(fd, 0, 0, 20000) == 0 && fstat(fd, &st) == 0 && st.st_size == 20000 && st.st_blocks * 512 >= 20000);
	CHECK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 20000, 20000) == 0 && fstat(fd, &st) == 0 && st.st_size == 20000);
	CHECK(pread(fd, c, 8192, 8192) == 8192);
	for (int i = 0; i < 8192; i++)
		if (c[i]) { CHECK(!"allocated part reads as zero"); break; }
	FAILS(EINVAL, fallocate(fd, 0, 0, 0));
	FAILS(EINVAL, fallocate(fd, 0, -1, 10));
	CHECK(fsync(fd) == 0 && fdatasync(fd) == 0);

	// Sparse files.
	int sp = open("sparse", O_CREAT | O_RDWR, 0600);
	CHECK(pwrite(sp, "x", 1, 10 << 20) == 1 && fstat(sp, &st) == 0 && st.st_blocks * 512 < 1 << 20);
	CHECK(lseek(sp, 0, SEEK_DATA) <= 10 << 20 && lseek(sp, 0, SEEK_DATA) >= 9 << 20);
	CHECK(lseek(sp, 0, SEEK_HOLE) == 0);
	FAILS(ENXIO, lseek(sp, 11 << 20, SEEK_DATA));

	// copy_file_range moves both offsets.
	CHECK(pwrite(fd, b, 8000, 0) == 8000 && lseek(fd, 0, SEEK_SET) == 0);
	int to = open("copy", O_CREAT | O_RDWR, 0600);
	CHECK(copy_file_range(fd, 0, to, 0, 8000, 0) == 8000);
	CHECK(pread(to, c, 8000, 0) == 8000 && !memcmp(b, c, 8000) && lseek(fd, 0, SEEK_CUR) == 8000);

	// A file lives on while it is open.
	CHECK(unlink("copy") == 0 && fstat(to, &st) == 0 && st.st_nlink == 0);
	CHECK(pread(to, c, 8000, 0) == 8000 && write(to, "more", 4) == 4);
	CHECK(close(to) == 0);
	FAILS(ENOENT, stat("copy", &st));

	// Limits of descriptors.
	int path = open("f", O_PATH);
	CHECK(path >= 0 && fstat(path, &st) == 0);
	FAILS(EBADF, read(path, c, 1));
	FAILS(EBADF, syscall(SYS_fchmod, path, 0600)); // musl's own fchmod goes another way
	struct statfs sf;
	CHECK(statfs(".", &sf) == 0 && sf.f_bsize > 0 && sf.f_blocks > 0 && sf.f_namelen == 255);

	umask(027);
	int um = open("um", O_CREAT | O_RDWR, 0777);
	CHECK(fstat(um, &st) == 0 && (st.st_mode & 07777) == 0750);
	CHECK(fchmod(um, 04711) == 0 && fstat(um, &st) == 0 && (st.st_mode & 07777) == 04711);
	return check_done();
}
