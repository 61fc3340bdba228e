// What the library gets from the kernel: memory, time, directories, files, identity, exit.
#include "../../conformance/src/check.h"
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

static int walked;
static int walk(const char *name, const struct stat *st, int type, struct FTW *f) { walked++; return 0; }

static void memory(void)
{
	void *p[1000];
	unsigned seed = 3;
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 1000; i++) {
			size_t n = rand_r(&seed) % 20000 + 1;
			p[i] = malloc(n);
			CHECK(p[i] != 0);
			memset(p[i], i, n);
		}
		for (int i = 0; i < 1000; i += 2) {
			unsigned char c = *(unsigned char *)p[i];
			CHECK(c == (unsigned char)i);
			p[i] = realloc(p[i], 30000);
			CHECK(p[i] && *(unsigned char *)p[i] == c);
		}
		for (int i = 0; i < 1000; i++)
			free(p[i]);
	}
	char *big = malloc(64 << 20);
	CHECK(big != 0);
	big[0] = big[(64 << 20) - 1] = 1;
	big = realloc(big, 96 << 20);
	CHECK(big && big[0] == 1 && big[(64 << 20) - 1] == 1);
	free(big);
	CHECK(!calloc(SIZE_MAX / 2, 3) && errno == ENOMEM);
	void *a;
	CHECK(!posix_memalign(&a, 4096, 100) && (uintptr_t)a % 4096 == 0);
	free(a);
	char *m = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	m[4096] = 7;
	m = mremap(m, 1 << 20, 4 << 20, MREMAP_MAYMOVE);
	CHECK(m != MAP_FAILED && m[4096] == 7 && m[(4 << 20) - 1] == 0);
	CHECK(!mprotect(m, 8192, PROT_READ) && m[4096] == 7 && !madvise(m + 8192, 4096, MADV_DONTNEED) && !munmap(m, 4 << 20));
}

static void times(void)
{
	struct timespec a, b, res;
	CHECK(!clock_gettime(CLOCK_MONOTONIC, &a) && !clock_gettime(CLOCK_MONOTONIC, &b));
	CHECK(b.tv_sec > a.tv_sec || b.tv_sec == a.tv_sec && b.tv_nsec >= a.tv_nsec);
	CHECK(!clock_getres(CLOCK_REALTIME, &res) && res.tv_sec == 0);
	CHECK(!clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a) && !clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a));
	FAILS(EINVAL, clock_gettime(99, &a));
	time_t now = time(0);
	struct timeval tv;
	CHECK(now > 1600000000 && !gettimeofday(&tv, 0) && tv.tv_sec - now < 2 && clock() != (clock_t)-1);
	clock_gettime(CLOCK_MONOTONIC, &a);
	CHECK(!nanosleep(&(struct timespec){ 0, 5000000 }, 0));
	clock_gettime(CLOCK_MONOTONIC, &b);
	CHECK((b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec >= 5000000);
	struct tm tm;
	time_t t = 86400 * 365;
	char buf[64];
	CHECK(gmtime_r(&t, &tm) && tm.tm_year == 71 && timegm(&tm) == t);
	CHECK(strftime(buf, sizeof buf, "%Y-%m-%d %H:%M:%S", &tm) == 19 && !strcmp(buf, "1971-01-01 00:00:00"));
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	t = 1720000000;
	CHECK(localtime_r(&t, &tm) && tm.tm_isdst == 1 && tm.tm_gmtoff == 7200);
}

static void directories(void)
{
	char dir[] = "dirXXXXXX", name[64], cwd[PATH_MAX];
	CHECK(mkdtemp(dir) && !chdir(dir) && getcwd(cwd, sizeof cwd) && strstr(cwd, dir));
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "file%02d", i);
		int fd = open(name, O_CREAT | O_WRONLY | O_EXCL, 0600);
		CHECK(fd >= 0 && write(fd, name, i) == i && !close(fd));
	}
	CHECK(!mkdir("sub", 0755) && !symlink("file07", "link") && !link("file08", "hard"));
	DIR *d = opendir(".");
	CHECK(d != 0);
	struct dirent *e;
	int n = 0, dirs = 0;
	while ((e = readdir(d)))
		n++, dirs += e->d_type == DT_DIR;
	CHECK(n == 105 && dirs == 3);
	rewinddir(d);
	CHECK(readdir(d) != 0 && !closedir(d));
	struct dirent **list;
	CHECK(scandir(".", &list, 0, alphasort) == 105 && !strcmp(list[2]->d_name, "file00"));
	for (int i = 0; i < 105; i++)
		free(list[i]);
	free(list);
	glob_t g;
	CHECK(!glob("file0?", 0, 0, &g) && g.gl_pathc == 10);
	globfree(&g);
	CHECK(!nftw(".", walk, 10, FTW_PHYS) && walked == 104);

	struct stat st;
	CHECK(!stat("link", &st) && st.st_size == 7 && S_ISREG(st.st_mode));
	CHECK(!lstat("link", &st) && S_ISLNK(st.st_mode) && readlink("link", name, sizeof name) == 6);
	CHECK(!stat("hard", &st) && st.st_nlink == 2 && realpath("sub/../link", cwd) && strstr(cwd, "/file07"));
	CHECK(!rename("hard", "sub/hard") && access("hard", F_OK) == -1 && errno == ENOENT && !access("sub/hard", R_OK | W_OK));
	CHECK(!chmod("file01", 0400) && !stat("file01", &st) && (st.st_mode & 07777) == 0400);
	CHECK(!utimensat(AT_FDCWD, "file01", (struct timespec[]){ { 1, 2 }, { 3, 4 } }, 0) && !stat("file01", &st));
	CHECK(st.st_atim.tv_sec == 1 && st.st_mtim.tv_sec == 3 && st.st_mtim.tv_nsec == 4);
	CHECK(!truncate("file02", 5000) && !stat("file02", &st) && st.st_size == 5000);
	FAILS(EEXIST, mkdir("sub", 0755));
	FAILS(ENOTEMPTY, rmdir("sub"));
	FAILS(ENOTDIR, open("file03/x", O_RDONLY));
	FAILS(EISDIR, open("sub", O_WRONLY));

	int fd = open("data", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	struct iovec v[2] = { { "hello ", 6 }, { "world", 5 } };
	CHECK(fd >= 0 && writev(fd, v, 2) == 11 && pwrite(fd, "J", 1, 0) == 1 && pread(fd, name, 5, 6) == 5 && !memcmp(name, "world", 5));
	CHECK(lseek(fd, 0, SEEK_CUR) == 11 && !fsync(fd) && !ftruncate(fd, 4) && lseek(fd, 0, SEEK_END) == 4);
	CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
	int two = dup(fd), three = dup2(fd, 100);
	CHECK(two >= 0 && three == 100 && lseek(two, 0, SEEK_CUR) == 4 && !close(two) && !close(three) && !close(fd));
	FAILS(EBADF, close(fd));
	CHECK(remove("sub/hard") == 0 && remove("sub") == 0);
	CHECK(!chdir(".."));
}

static void descriptors(void)
{
	int p[2];
	char buf[16];
	CHECK(!pipe2(p, O_NONBLOCK));
	CHECK(read(p[0], buf, 1) == -1 && errno == EAGAIN);
	struct pollfd pf[2] = { { p[0], POLLIN }, { p[1], POLLOUT } };
	CHECK(poll(pf, 2, 0) == 1 && pf[1].revents == POLLOUT);
	CHECK(write(p[1], "abc", 3) == 3 && poll(pf, 2, 1000) == 2);
	fd_set r;
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	struct timeval tv = { 1, 0 };
	CHECK(select(p[0] + 1, &r, 0, 0, &tv) == 1 && FD_ISSET(p[0], &r));
	CHECK(read(p[0], buf, sizeof buf) == 3 && !close(p[1]) && read(p[0], buf, 1) == 0 && !close(p[0]));
}

static void goodbye(void) { printf("%d checks, %d failed\n", check_count, check_failed); fflush(stdout); _exit(check_failed != 0); }

int main(void)
{
	memory();
	times();
	directories();
	descriptors();
	struct utsname u;
	struct rlimit rl;
	struct rusage ru;
	unsigned char e[32] = { 0 }, z[32] = { 0 };
	CHECK(!uname(&u) && !strcmp(u.machine, "x86_64") && !getrlimit(RLIMIT_NOFILE, &rl) && rl.rlim_cur > 10 && !getrusage(RUSAGE_SELF, &ru));
	CHECK(getrandom(e, 32, 0) == 32 && memcmp(e, z, 32) && !getentropy(e, 32) && getauxval(AT_PAGESZ) == 4096);
	CHECK(getpid() > 0 && getppid() >= 0 && getuid() == geteuid() && sysconf(_SC_PAGESIZE) == 4096);
	mode_t old = umask(022);
	CHECK(umask(old) == 022);
	atexit(goodbye);
	exit(3);
}
