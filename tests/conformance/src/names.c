// Names: mkdir(2), rename(2), link(2), symlink(2), unlink(2), readlink(2), getdents(2),
// openat(2), utimensat(2), access(2), mknod(2), chdir(2), getcwd(3).
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

static void touch(const char *p) { close(open(p, O_CREAT | O_WRONLY, 0644)); }

static ino_t ino(const char *p)
{
	struct stat st;
	return lstat(p, &st) ? 0 : st.st_ino;
}

int main(void)
{
	struct stat st, su;
	char b[5000];

	CHECK(mkdir("d", 0755) == 0);
	FAILS(EEXIST, mkdir("d", 0755));
	FAILS(ENOENT, mkdir("x/y", 0755));
	CHECK(stat(".", &st) == 0 && mkdir("d/e", 0755) == 0 && stat("d", &su) == 0);
	CHECK(S_ISDIR(su.st_mode) && su.st_nlink == 3);
	touch("d/f");
	FAILS(ENOTEMPTY, rmdir("d"));
	FAILS(ENOTDIR, rmdir("d/f"));
	FAILS(EISDIR, unlink("d/e"));
	FAILS(EINVAL, rmdir("d/e/."));
	FAILS(ENOENT, rmdir("d/none"));
	FAILS(ENOENT, unlink("d/none"));
	FAILS(ENOTDIR, unlink("d/f/"));

	memset(b, 'n', 300), b[256] = 0;
	FAILS(ENAMETOOLONG, mkdir(b, 0755));
	b[255] = 0;
	CHECK(mkdir(b, 0755) == 0 && rmdir(b) == 0);
	memset(b, '/', 4500), b[4500] = 0;
	FAILS(ENAMETOOLONG, stat(b, &st));
	CHECK(stat("d//e/../e/./", &st) == 0 && st.st_ino == ino("d/e"));

	// Hard links.
	CHECK(link("d/f", "g") == 0 && ino("d/f") == ino("g") && stat("g", &st) == 0 && st.st_nlink == 2);
	FAILS(EEXIST, link("d/f", "g"));
	FAILS(EPERM, link("d", "h"));
	FAILS(ENOENT, link("none", "h"));
	CHECK(unlink("d/f") == 0 && stat("g", &st) == 0 && st.st_nlink == 1);

	// Symbolic links, short and long, dangling and looping.
	CHECK(symlink("g", "l") == 0 && readlink("l", b, sizeof b) == 1 && b[0] == 'g');
	CHECK(stat("l", &st) == 0 && S_ISREG(st.st_mode) && lstat("l", &st) == 0 && S_ISLNK(st.st_mode) && st.st_size == 1);
	FAILS(EEXIST, symlink("g", "l"));
	FAILS(ENOENT, symlink("", "l2"));
	FAILS(EINVAL, readlink("g", b, sizeof b));
	FAILS(ELOOP, open("l", O_RDONLY | O_NOFOLLOW));
	char t[200];
	memset(t, 't', 199), t[199] = 0;
	CHECK(symlink(t, "long") == 0 && readlink("long", b, sizeof b) == 199 && !memcmp(b, t, 199));
	CHECK(readlink("long", b, 5) == 5);
	FAILS(ENOENT, stat("long", &st));
	CHECK(symlink("loop", "loop") == 0);
	FAILS(ELOOP, stat("loop", &st));
	FAILS(ELOOP, open("loop/x", O_RDONLY));
	int fd = open("long", O_CREAT | O_WRONLY, 0644);
	CHECK(fd >= 0 && close(fd) == 0 && ino(t) != 0 && unlink(t) == 0);
	FAILS(EEXIST, open("long", O_CREAT | O_EXCL | O_WRONLY, 0644));
	CHECK(symlink("d", "ld") == 0 && mkdir("ld/viasym", 0700) == 0 && ino("d/viasym") != 0 && rmdir("ld/viasym") == 0);
	FAILS(ENOTDIR, rmdir("ld"));
	CHECK(linkat(AT_FDCWD, "l", AT_FDCWD, "l3", 0) == 0 && lstat("l3", &st) == 0 && S_ISLNK(st.st_mode));
	CHECK(linkat(AT_FDCWD, "l", AT_FDCWD, "l4", AT_SYMLINK_FOLLOW) == 0 && lstat("l4", &st) == 0 && S_ISREG(st.st_mode));
	CHECK(unlink("l3") == 0 && unlink("l4") == 0);

	// rename: plain, over a file, directories, into itself, flags.
	touch("r1"), touch("r2");
	ino_t i1 = ino("r1"), i2 = ino("r2");
	CHECK(rename("r1", "r3") == 0 && ino("r3") == i1 && ino("r1") == 0);
	CHECK(rename("r3", "r2") == 0 && ino("r2") == i1 && ino("r3") == 0);
	FAILS(ENOENT, rename("r3", "r4"));
	CHECK(mkdir("rd", 0755) == 0 && mkdir("re", 0755) == 0);
	FAILS(EISDIR, rename("r2", "rd"));
	FAILS(ENOTDIR, rename("rd", "r2"));
	CHECK(rename("rd", "re") == 0 && ino("rd") == 0);
	touch("re/x");
	CHECK(mkdir("rd", 0755) == 0);
	FAILS(ENOTEMPTY, rename("rd", "re"));
	FAILS(EINVAL, rename("re", "re/sub"));
	CHECK(mkdir("re/sub", 0755) == 0);
	FAILS(EINVAL, rename("re", "re/sub/deep"));
	CHECK(rename("re/sub", "rd/sub") == 0 && stat("rd", &st) == 0 && st.st_nlink == 3 && stat("re", &st) == 0 && st.st_nlink == 2);
	CHECK(stat("rd/sub/..", &st) == 0 && st.st_ino == ino("rd"));
	CHECK(rename("r2", "r2") == 0 && ino("r2") == i1);
	FAILS(EEXIST, syscall(SYS_renameat2, AT_FDCWD, "r2", AT_FDCWD, "g", 1));
	ino_t ig = ino("g");
	CHECK(syscall(SYS_renameat2, AT_FDCWD, "r2", AT_FDCWD, "g", 2) == 0 && ino("r2") == ig && ino("g") == i1);
	CHECK(syscall(SYS_renameat2, AT_FDCWD, "rd", AT_FDCWD, "g", 2) == 0 && ino("rd") == i1 && stat("g/sub", &st) == 0);
	FAILS(EINVAL, syscall(SYS_renameat2, AT_FDCWD, "rd", AT_FDCWD, "g", 3));
	CHECK(link("r2", "r5") == 0 && rename("r2", "r5") == 0 && ino("r2") == ig && ino("r5") == ig);
	(void)i2;

	// Directories: every name once, across small reads, while names come and go.
	CHECK(mkdir("many", 0755) == 0);
	for (int i = 0; i < 2000; i++) {
		snprintf(b, sizeof b, "many/a-rather-long-name-to-fill-blocks-%d", i);
		touch(b);
	}
	static int seen[2000];
	int dots = 0, other = 0, k;
	DIR *d = opendir("many");
	CHECK(d != 0);
	for (struct dirent *e; d && (e = readdir(d));) {
		if (sscanf(e->d_name, "a-rather-long-name-to-fill-blocks-%d", &k) == 1) {
			seen[k]++;
			CHECK(e->d_type == DT_REG || e->d_type == DT_UNKNOWN);
			if (k % 3 == 0) {
				snprintf(b, sizeof b, "many/%s", e->d_name);
				CHECK(unlink(b) == 0);
			}
		} else if (e->d_name[0] == '.')
			dots++;
		else
			other++;
	}
	CHECK(dots == 2 && other == 0);
	for (int i = 0; i < 2000; i++)
		if (seen[i] != 1) { CHECK(!"each name once"); break; }
	rewinddir(d);
	int count = 0;
	while (readdir(d))
		count++;
	CHECK(count == 2 + 2000 - 667);
	long pos[5];
	rewinddir(d);
	for (int i = 0; i < 5; i++)
		readdir(d), pos[i] = telldir(d);
	struct dirent *e = readdir(d);
	char six[256];
	strcpy(six, e ? e->d_name : "");
	seekdir(d, pos[4]);
	e = readdir(d);
	CHECK(e && !strcmp(six, e->d_name));
	closedir(d);
	fd = open("many", O_RDONLY | O_DIRECTORY);
	FAILS(EINVAL, syscall(SYS_getdents64, fd, b, 10));
	FAILS(EISDIR, read(fd, b, 10));
	CHECK(fchdir(fd) == 0 && getcwd(b, sizeof b) && !strcmp(strrchr(b, '/'), "/many"));
	CHECK(fstatat(fd, "..", &st, 0) == 0 && chdir("..") == 0 && st.st_ino == ino("."));
	FAILS(ERANGE, getcwd(b, 1) ? 0 : -1);
	touch("notdir");
	int nd = open("notdir", O_RDONLY);
	FAILS(ENOTDIR, openat(nd, "x", O_RDONLY));
	FAILS(EBADF, openat(999, "x", O_RDONLY));
	FAILS(ENOTDIR, fchdir(nd));
	CHECK(fstatat(nd, "", &st, AT_EMPTY_PATH) == 0 && st.st_ino == ino("notdir"));
	FAILS(ENOENT, fstatat(nd, "", &st, 0));
	FAILS(EFAULT, stat((char *)8, &st));
	FAILS(EFAULT, syscall(SYS_newfstatat, AT_FDCWD, "g", 8, 0)); // musl's own stat writes the struct itself

	// A removed working directory.
	CHECK(mkdir("gone", 0755) == 0 && chdir("gone") == 0 && rmdir("../gone") == 0);
	FAILS(ENOENT, getcwd(b, sizeof b) ? 0 : -1);
	FAILS(ENOENT, open("x", O_CREAT | O_WRONLY, 0644));
	CHECK(fchdir(fd) == 0 && chdir("..") == 0);

	// Times.
	struct timespec ts[2] = {{1000000000, 123456789}, {1100000000, 987654321}};
	CHECK(utimensat(AT_FDCWD, "notdir", ts, 0) == 0 && stat("notdir", &st) == 0);
	CHECK(st.st_atim.tv_sec == 1000000000 && st.st_atim.tv_nsec == 123456789 && st.st_mtim.tv_nsec == 987654321);
	ts[0].tv_nsec = UTIME_OMIT, ts[1].tv_nsec = UTIME_NOW;
	CHECK(utimensat(AT_FDCWD, "notdir", ts, 0) == 0 && stat("notdir", &st) == 0);
	CHECK(st.st_atim.tv_sec == 1000000000 && st.st_mtim.tv_sec > 1100000000);
	ts[0].tv_nsec = 1000000000;
	FAILS(EINVAL, utimensat(AT_FDCWD, "notdir", ts, 0));

	// Ownership, modes, devices.
	if (geteuid() == 0) {
		CHECK(chown("notdir", 12, 34) == 0 && stat("notdir", &st) == 0 && st.st_uid == 12 && st.st_gid == 34);
		CHECK(chown("notdir", -1, 35) == 0 && stat("notdir", &st) == 0 && st.st_uid == 12 && st.st_gid == 35);
		CHECK(lchown("l", 7, 8) == 0 && lstat("l", &st) == 0 && st.st_uid == 7);
	}
	CHECK(mkfifo("fifo", 0600) == 0 && stat("fifo", &st) == 0 && S_ISFIFO(st.st_mode));
	CHECK(access("notdir", R_OK | W_OK) == 0);
	FAILS(EACCES, access("notdir", X_OK));
	FAILS(ENOENT, access("none", F_OK));
	CHECK(chmod("notdir", 0) == 0 && stat("notdir", &st) == 0 && (st.st_mode & 07777) == 0);
	static char sx[256]; // not every libc has struct statx: inode number at offset 32
	unsigned long sx_ino;
	CHECK(syscall(SYS_statx, AT_FDCWD, "g", 0, 0x7ff, sx) == 0);
	memcpy(&sx_ino, sx + 32, sizeof sx_ino);
	CHECK(sx_ino == ino("g"));
	return check_done();
}
