// What /proc/self/fdinfo says of each kind of descriptor (proc(5), Documentation/filesystems/proc.rst).
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

static char text[8192];

static const char *info(int fd)
{
	char name[64];
	snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
	int f = open(name, O_RDONLY), n = f < 0 ? 0 : read(f, text, sizeof text - 1);
	close(f);
	text[n > 0 ? n : 0] = 0;
	return text;
}

// field returns what follows a name at the start of a line, or "?".
static const char *field(int fd, const char *name)
{
	static char value[512];
	const char *p = info(fd);
	for (size_t n = strlen(name); p && *p; p = strchr(p, '\n'), p += p != 0)
		if (!strncmp(p, name, n)) {
			snprintf(value, sizeof value, "%.*s", (int)strcspn(p + n, "\n"), p + n);
			return value;
		}
	return "?";
}

#define IS(fd, name, ...) do { \
	char want[512]; \
	snprintf(want, sizeof want, __VA_ARGS__); \
	check_count++; \
	if (strcmp(field(fd, name), want)) { \
		check_failed++; \
		printf("%s:%d: %s\"%s\", want \"%s\"\n", __FILE__, __LINE__, name, field(fd, name), want); \
	} \
} while (0)

int main(void)
{
	struct stat st;
	int f = open("fdinfo.file", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	CHECK(f >= 0 && write(f, "12345", 5) == 5 && fstat(f, &st) == 0);
	IS(f, "pos:", "\t5");
	IS(f, "flags:", "\t0%o", 02000000 | 0100000 | O_APPEND | O_RDWR);
	IS(f, "ino:", "\t%lu", (unsigned long)st.st_ino);
	CHECK(strcmp(field(f, "mnt_id:"), "?"));
	int g = dup(f); // a descriptor's own flag, and what is shared
	lseek(g, 2, SEEK_SET);
	IS(f, "pos:", "\t2");
	IS(g, "flags:", "\t0%o", 0100000 | O_APPEND | O_RDWR);
	// Locks.
	struct flock l = {.l_type = F_WRLCK, .l_start = 1, .l_len = 3};
	CHECK(fcntl(f, F_SETLK, &l) == 0);
	CHECK(strstr(field(f, "lock:\t1:"), "POSIX  ADVISORY  WRITE") && strstr(field(f, "lock:\t1:"), " 1 3"));
	l.l_type = F_UNLCK, fcntl(f, F_SETLK, &l);
	CHECK(flock(f, LOCK_SH) == 0 && strstr(field(f, "lock:\t1:"), "FLOCK  ADVISORY  READ") && strstr(field(f, "lock:\t1:"), " 0 EOF"));
	CHECK(atoi(strstr(field(f, "lock:\t1:"), "READ") + 5) == getpid());
	flock(f, LOCK_UN);
	CHECK(!strcmp(field(f, "lock:"), "?"));

	int e = eventfd(77, EFD_NONBLOCK);
	IS(e, "eventfd-count:", " %16x", 77);
	IS(e, "pos:", "\t0");
	IS(e, "flags:", "\t0%o", O_RDWR | O_NONBLOCK);
	IS(e, "eventfd-semaphore:", " 0");

	int q = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u64 = 0xdeadbeefcafe};
	CHECK(epoll_ctl(q, EPOLL_CTL_ADD, e, &ev) == 0 && fstat(e, &st) == 0);
	char want[200];
	// The file's number and device are the anonymous files' own.
	snprintf(want, sizeof want, " %8d events: %8x data: %16llx  pos:0 ino:", e, EPOLLIN | EPOLLET | EPOLLERR | EPOLLHUP, 0xdeadbeefcafeull);
	CHECK(!strncmp(field(q, "tfd:"), want, strlen(want)));
	ev.events = EPOLLIN | EPOLLONESHOT;
	CHECK(epoll_ctl(q, EPOLL_CTL_MOD, e, &ev) == 0 && epoll_wait(q, &ev, 1, 0) == 1);
	snprintf(want, sizeof want, " %8d events: %8x data:", e, EPOLLONESHOT); // told once: asks for nothing now
	CHECK(!strncmp(field(q, "tfd:"), want, strlen(want)));
	int p[2];
	CHECK(pipe(p) == 0);
	for (int i = 0; i < 2; i++)
		{
			ev.events = i ? EPOLLOUT : EPOLLIN, ev.data.u64 = i;
			CHECK(epoll_ctl(q, EPOLL_CTL_ADD, p[i], &ev) == 0);
		}
	int lines = 0;
	for (const char *s = info(q); (s = strstr(s, "tfd:")); s++)
		lines++;
	CHECK(lines == 3);
	IS(p[0], "flags:", "\t0%o", O_RDONLY);
	IS(p[1], "flags:", "\t0%o", O_WRONLY);

	int t = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	IS(t, "clockid:", " %d", CLOCK_MONOTONIC);
	IS(t, "ticks:", " 0");
	IS(t, "settime flags:", " 00");
	IS(t, "it_value:", " (0, 0)");
	struct itimerspec its = {{7, 5}, {1000, 0}};
	CHECK(timerfd_settime(t, 0, &its, 0) == 0);
	IS(t, "it_interval:", " (7, 5)");
	CHECK(!strncmp(field(t, "it_value:"), " (999, ", 7));
	its.it_value.tv_sec = 1, its.it_value.tv_nsec = 0;
	CHECK(timerfd_settime(t, TFD_TIMER_ABSTIME, &its, 0) == 0);
	IS(t, "settime flags:", " 01");
	struct pollfd pf = {t, POLLIN, 0};
	CHECK(poll(&pf, 1, 1000) == 1 && atoi(field(t, "ticks:")) >= 1);

	sigset_t s;
	sigemptyset(&s), sigaddset(&s, SIGUSR1), sigaddset(&s, SIGTERM);
	int sf = signalfd(-1, &s, 0);
	IS(sf, "sigmask:", "\t%016llx", 1ull << (SIGUSR1 - 1) | 1ull << (SIGTERM - 1));

	int pd = syscall(SYS_pidfd_open, getpid(), 0);
	CHECK(pd >= 0);
	IS(pd, "Pid:", "\t%d", getpid());
	CHECK(!strncmp(field(pd, "NSpid:"), "\t", 1));
	CHECK(fcntl(pd, F_GETFD) == FD_CLOEXEC);
	close(e);
	CHECK(open("/proc/self/fdinfo/999", O_RDONLY) == -1 && errno == ENOENT);
	CHECK(open("/proc/self/fdinfo/x", O_RDONLY) == -1 && errno == ENOENT);
	unlink("fdinfo.file");
	return check_done();
}
