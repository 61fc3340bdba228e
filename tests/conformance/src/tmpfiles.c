// Files without a name (O_TMPFILE) and how they get one, renameat2(2)'s flags, statx(2), chattr(1)'s flags,
// and the times of files (utimensat(2)).
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif

// statx(2), which not every C library has.
struct statx_ {
	unsigned stx_mask, stx_blksize;
	unsigned long long stx_attributes;
	unsigned stx_nlink, stx_uid, stx_gid;
	unsigned short stx_mode, pad;
	unsigned long long stx_ino, stx_size, stx_blocks, stx_attributes_mask;
	struct { long long tv_sec; unsigned tv_nsec, pad; } stx_atime, stx_btime, stx_ctime, stx_mtime;
	unsigned long long more[16];
};
#define BASIC_STATS 0x7ff
#define BTIME 0x800
#define ATTR_IMMUTABLE 0x10
#define ATTR_APPEND 0x20
#define ATTR_NODUMP 0x40
#define ATTR_MOUNT_ROOT 0x2000

static int statx_(int fd, const char *path, int flags, unsigned mask, struct statx_ *x)
{
	return syscall(SYS_statx, fd, path, flags, mask, x);
}

static int names(const char *dir)
{
	DIR *d = opendir(dir);
	int n = 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static int renameat2_(const char *from, const char *to, unsigned flags)
{
	return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

static void tmpfiles(void)
{
	struct stat st;
	char b[100], link[64];
	CHECK(mkdir("tmp", 0755) == 0);
	umask(022);
	int fd = open("tmp", O_TMPFILE | O_RDWR, 0666);
	CHECK(fd >= 0);
	CHECK(fstat(fd, &st) == 0 && st.st_nlink == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0777) == 0644 && st.st_size == 0);
	CHECK(write(fd, "content", 7) == 7 && pread(fd, b, 10, 0) == 7 && !memcmp(b, "content", 7));
	CHECK(names("tmp") == 0);
	CHECK(fchmod(fd, 0600) == 0 && ftruncate(fd, 5000) == 0 && fsync(fd) == 0);
	// A name by way of /proc.
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	CHECK(linkat(AT_FDCWD, link, AT_FDCWD, "tmp/named", AT_SYMLINK_FOLLOW) == 0);
	CHECK(stat("tmp/named", &st) == 0 && st.st_nlink == 1 && st.st_size == 5000 && (st.st_mode & 0777) == 0600);
	FAILS(EEXIST, linkat(AT_FDCWD, link, AT_FDCWD, "tmp/named", AT_SYMLINK_FOLLOW));
	CHECK(linkat(AT_FDCWD, link, AT_FDCWD, "tmp/named2", AT_SYMLINK_FOLLOW) == 0);
	CHECK(fstat(fd, &st) == 0 && st.st_nlink == 2);
	CHECK(unlink("tmp/named") == 0 && unlink("tmp/named2") == 0);
	FAILS(ENOENT, linkat(AT_FDCWD, link, AT_FDCWD, "tmp/named", AT_SYMLINK_FOLLOW));
	CHECK(pread(fd, b, 10, 0) == 10 && close(fd) == 0);
	// And by the descriptor.
	fd = open("tmp", O_TMPFILE | O_WRONLY, 0600);
	CHECK(fd >= 0 && write(fd, "second", 6) == 6);
	if (geteuid() == 0) {
		CHECK(linkat(fd, "", AT_FDCWD, "tmp/second", AT_EMPTY_PATH) == 0);
		CHECK(stat("tmp/second", &st) == 0 && st.st_size == 6);
	}
	CHECK(close(fd) == 0);
	// O_EXCL: never.
	fd = open("tmp", O_TMPFILE | O_RDWR | O_EXCL, 0600);
	CHECK(fd >= 0);
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	FAILS(ENOENT, linkat(AT_FDCWD, link, AT_FDCWD, "tmp/never", AT_SYMLINK_FOLLOW));
	CHECK(close(fd) == 0);
	// Many at once, of which nothing is left.
	int many[50];
	for (int i = 0; i < 50; i++)
		CHECK((many[i] = open(".", O_TMPFILE | O_RDWR, 0600)) >= 0 && write(many[i], b, 100) == 100);
	for (int i = 0; i < 50; i++)
		CHECK(close(many[(i * 7) % 50]) == 0);
	FAILS(EINVAL, open("tmp", O_TMPFILE | O_RDONLY, 0600));
	FAILS(ENOENT, open("none", O_TMPFILE | O_RDWR, 0600));
	FAILS(ENOTDIR, open("tmp/second/", O_TMPFILE | O_RDWR, 0600));
	// One that is mapped, and still open at the end.
	fd = open("tmp", O_TMPFILE | O_RDWR, 0600);
	CHECK(fd >= 0 && ftruncate(fd, 8192) == 0);
	char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	p[5000] = 'x';
	CHECK(pread(fd, b, 1, 5000) == 1 && b[0] == 'x');
}

static void renames(void)
{
	struct stat a, b, c;
	CHECK(mkdir("r", 0755) == 0 && close(creat("r/a", 0600)) == 0 && close(creat("r/b", 0644)) == 0 && mkdir("r/d", 0755) == 0);
	CHECK(stat("r/a", &a) == 0 && stat("r/b", &b) == 0);
	FAILS(EEXIST, renameat2_("r/a", "r/b", RENAME_NOREPLACE));
	CHECK(renameat2_("r/a", "r/c", RENAME_NOREPLACE) == 0 && stat("r/c", &c) == 0 && c.st_ino == a.st_ino);
	CHECK(renameat2_("r/c", "r/b", RENAME_EXCHANGE) == 0);
	CHECK(stat("r/c", &c) == 0 && c.st_ino == b.st_ino && stat("r/b", &c) == 0 && c.st_ino == a.st_ino);
	CHECK(renameat2_("r/b", "r/d", RENAME_EXCHANGE) == 0 && stat("r/b", &c) == 0 && S_ISDIR(c.st_mode));
	CHECK(stat("r", &c) == 0 && c.st_nlink == 3);
	FAILS(ENOENT, renameat2_("r/b", "r/none", RENAME_EXCHANGE));
	FAILS(EINVAL, renameat2_("r/b", "r/c", RENAME_EXCHANGE | RENAME_NOREPLACE));
	FAILS(EINVAL, renameat2_("r/b", "r/c", 64));
	FAILS(EINVAL, renameat2_("r", "r/b/x", 0));
	CHECK(renameat2_("r/c", "r/c", 0) == 0);
}

static void stats(void)
{
	struct statx_ x;
	int fd = open("sx", O_CREAT | O_RDWR, 0600);
	CHECK(write(fd, "12345", 5) == 5);
	CHECK(statx_(AT_FDCWD, "sx", 0, BASIC_STATS | BTIME, &x) == 0);
	CHECK((x.stx_mask & (BASIC_STATS | BTIME)) == (BASIC_STATS | BTIME) && x.stx_size == 5);
	CHECK(x.stx_btime.tv_sec > 1500000000 && x.stx_btime.tv_sec <= x.stx_ctime.tv_sec);
	CHECK((x.stx_attributes_mask & (ATTR_IMMUTABLE | ATTR_APPEND | ATTR_NODUMP)) == (ATTR_IMMUTABLE | ATTR_APPEND | ATTR_NODUMP));
	CHECK(!(x.stx_attributes & (ATTR_IMMUTABLE | ATTR_APPEND)));
	CHECK(statx_(fd, "", AT_EMPTY_PATH, BASIC_STATS, &x) == 0 && x.stx_size == 5);
	CHECK(statx_(AT_FDCWD, "/", 0, BASIC_STATS, &x) == 0 && x.stx_attributes & ATTR_MOUNT_ROOT);
	FAILS(EINVAL, statx_(AT_FDCWD, "sx", 0, 0x80000000, &x));
	close(fd);
}

static void flags(void)
{
	int fd = open("flags", O_CREAT | O_RDWR, 0644), v = 0, dir = open(".", O_RDONLY);
	CHECK(ioctl(fd, FS_IOC_GETFLAGS, &v) == 0 && !(v & (FS_IMMUTABLE_FL | FS_APPEND_FL)));
	CHECK(ioctl(dir, FS_IOC_GETFLAGS, &v) == 0);
	FAILS(ENOTTY, ioctl(fd, BLKGETSIZE64, &v));
	CHECK(ioctl(fd, FIGETBSZ, &v) == 0 && v >= 1024);
	CHECK(ioctl(fd, FS_IOC_GETFLAGS, &v) == 0);
	int with = v | FS_NODUMP_FL;
	CHECK(ioctl(fd, FS_IOC_SETFLAGS, &with) == 0 && ioctl(fd, FS_IOC_GETFLAGS, &with) == 0 && with == (v | FS_NODUMP_FL));
	if (geteuid() != 0)
		return;
	with = v | FS_APPEND_FL;
	CHECK(ioctl(fd, FS_IOC_SETFLAGS, &with) == 0);
	FAILS(EPERM, open("flags", O_WRONLY));
	FAILS(EPERM, open("flags", O_WRONLY | O_TRUNC | O_APPEND));
	FAILS(EPERM, truncate("flags", 0));
	FAILS(EPERM, unlink("flags"));
	FAILS(EPERM, rename("flags", "other"));
	FAILS(EPERM, chmod("flags", 0600));
	int ap = open("flags", O_RDWR | O_APPEND);
	CHECK(ap >= 0 && write(ap, "more", 4) == 4);
	FAILS(EPERM, fcntl(ap, F_SETFL, 0));
	CHECK(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ap, 0) == MAP_FAILED && errno == EACCES);
	FAILS(EPERM, fallocate(ap, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	with = v | FS_IMMUTABLE_FL;
	CHECK(ioctl(fd, FS_IOC_SETFLAGS, &with) == 0);
	FAILS(EPERM, open("flags", O_WRONLY | O_APPEND));
	FAILS(EPERM, link("flags", "other"));
	FAILS(EPERM, utimensat(AT_FDCWD, "flags", 0, 0));
	FAILS(EPERM, ftruncate(ap, 10));
	struct statx_ x;
	CHECK(statx_(fd, "", AT_EMPTY_PATH, BASIC_STATS, &x) == 0 && x.stx_attributes & ATTR_IMMUTABLE);
	int ro = open("flags", O_RDONLY);
	CHECK(ro >= 0);
	CHECK(ioctl(fd, FS_IOC_SETFLAGS, &v) == 0 && unlink("flags") == 0);
	// An immutable directory.
	CHECK(mkdir("fd", 0755) == 0 && close(creat("fd/x", 0600)) == 0);
	dir = open("fd", O_RDONLY);
	CHECK(ioctl(dir, FS_IOC_GETFLAGS, &v) == 0);
	with = v | FS_IMMUTABLE_FL;
	CHECK(ioctl(dir, FS_IOC_SETFLAGS, &with) == 0);
	FAILS(EPERM, creat("fd/y", 0600));
	FAILS(EPERM, unlink("fd/x"));
	FAILS(EPERM, mkdir("fd/z", 0700));
	with = v | FS_APPEND_FL;
	CHECK(ioctl(dir, FS_IOC_SETFLAGS, &with) == 0);
	CHECK(close(creat("fd/y", 0600)) == 0);
	FAILS(EPERM, unlink("fd/y"));
	CHECK(ioctl(dir, FS_IOC_SETFLAGS, &v) == 0 && unlink("fd/x") == 0);
}

static void times(void)
{
	struct stat st;
	close(creat("t", 0600));
	struct timespec ts[2] = {{1234567890, 123456789}, {-1, 999999999}};
	CHECK(utimensat(AT_FDCWD, "t", ts, 0) == 0 && stat("t", &st) == 0);
	CHECK(st.st_atim.tv_sec == 1234567890 && st.st_atim.tv_nsec == 123456789 && st.st_mtim.tv_sec == -1 && st.st_mtim.tv_nsec == 999999999);
	ts[0].tv_nsec = UTIME_OMIT, ts[1].tv_nsec = UTIME_NOW;
	CHECK(utimensat(AT_FDCWD, "t", ts, 0) == 0 && stat("t", &st) == 0 && st.st_atim.tv_sec == 1234567890 && st.st_mtim.tv_sec > 1500000000);
	ts[0] = (struct timespec){7000000000, 5}, ts[1] = (struct timespec){-2000000000, 6}; // beyond 32 bits
	CHECK(utimensat(AT_FDCWD, "t", ts, 0) == 0 && stat("t", &st) == 0 && st.st_atim.tv_sec == 7000000000 && st.st_mtim.tv_sec == -2000000000);
	ts[0].tv_nsec = 1000000000;
	FAILS(EINVAL, utimensat(AT_FDCWD, "t", ts, 0));
	FAILS(ENOENT, utimensat(AT_FDCWD, "none", 0, 0));
}

int main(void)
{
	tmpfiles();
	renames();
	stats();
	flags();
	times();
	return check_done();
}
