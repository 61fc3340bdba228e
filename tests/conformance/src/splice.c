// splice(2), tee(2) and vmsplice(2): what waits, what ends, what stays. What one thread sees that never waits is
// compared with Linux by the kernel's own tests.
#define _GNU_SOURCE
#include "check.h"
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

static char buf[1 << 17];
static int a[2], b[2];

static void on(int s) { (void)s; }

static void pipes(int flags)
{
	for (int i = 0; i < 2; i++) {
		if (a[i])
			close(a[i]);
		if (b[i])
			close(b[i]);
	}
	CHECK(pipe2(a, flags) == 0 && pipe2(b, flags) == 0);
}

static int polled(int fd, int events)
{
	struct pollfd p = {fd, events, 0};
	return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

static long vm(int fd, void *p, size_t n, int flags)
{
	struct iovec v = {p, n};
	return syscall(SYS_vmsplice, fd, &v, 1, flags);
}

// later runs f in another thread when the caller sleeps, or soon after: the outcome is the same.
static pthread_t other;
static void (*late)(void);
static void *run(void *x)
{
	(void)x;
	usleep(20000);
	late();
	return 0;
}
static void later(void (*f)(void))
{
	late = f;
	CHECK(pthread_create(&other, 0, run, 0) == 0);
}
static void joined(void) { pthread_join(other, 0); }

static void put(void) { CHECK(write(a[1], "abc", 3) == 3); }
static void get(void) { CHECK(read(b[0], buf, 65536) == 65536); }
static void end(void) { close(a[1]), a[1] = 0; }
static void gone(void) { close(b[0]), b[0] = 0; }

static void fill(int fd)
{
	int fl = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, fl | O_NONBLOCK);
	while (write(fd, buf, 4096) > 0)
		;
	fcntl(fd, F_SETFL, fl);
}

static void test_waits(void)
{
	pipes(0);
	later(put);
	CHECK(splice(a[0], 0, b[1], 0, 100, 0) == 3);
	joined();
	later(put);
	CHECK(tee(a[0], b[1], 100, 0) == 3);
	joined();
	later(end);
	CHECK(splice(a[0], 0, b[1], 0, 3, 0) == 3 && splice(a[0], 0, b[1], 0, 3, 0) == 0);
	joined();
	CHECK(tee(a[0], b[1], 3, 0) == 0 && vm(a[0], buf, 3, 0) == 0);
	CHECK(read(b[0], buf, 100) == 9 && !memcmp(buf, "abcabcabc", 9));

	pipes(0);
	put();
	fill(b[1]);
	later(get);
	CHECK(splice(a[0], 0, b[1], 0, 100, 0) == 3);
	joined();
	put();
	fill(b[1]);
	while (read(b[0], buf, 1) == 1 && !(polled(b[1], POLLOUT) & POLLOUT))
		;
	fill(b[1]);
	later(gone);
	FAILS(EPIPE, splice(a[0], 0, b[1], 0, 100, 0));
	joined();
	FAILS(EPIPE, vm(b[1], buf, 3, 0));
	CHECK(read(a[0], buf, 100) == 3); // it has stayed

	// A file waits for no more than some of what it asks for.
	pipes(0);
	int fd = open("splice.file", O_RDWR | O_CREAT | O_TRUNC, 0600);
	later(put);
	CHECK(splice(a[0], 0, fd, 0, 100, 0) == 3 && lseek(fd, 0, SEEK_CUR) == 3);
	joined();
	CHECK(splice(fd, 0, b[1], 0, 100, 0) == 0);
	loff_t off = 1;
	CHECK(splice(fd, &off, b[1], 0, 100, 0) == 2 && off == 3 && read(b[0], buf, 9) == 2 && !memcmp(buf, "bc", 2));
	close(fd);
}

// O_NONBLOCK of a pipe is splice's and tee's, not vmsplice's.
static void test_nonblock(void)
{
	struct sigaction s = {.sa_handler = on};
	sigaction(SIGALRM, &s, 0);
	struct itimerval t = {{0, 0}, {0, 50000}};
	for (int way = 0; way < 3; way++) {
		pipes(0);
		fcntl(way == 1 ? a[0] : b[1], F_SETFL, way < 2 ? O_NONBLOCK : 0);
		int flags = way == 2 ? SPLICE_F_NONBLOCK : 0;
		FAILS(EAGAIN, splice(a[0], 0, b[1], 0, 1, flags));
		FAILS(EAGAIN, tee(a[0], b[1], 1, flags));
		put(), fill(b[1]);
		FAILS(EAGAIN, splice(a[0], 0, b[1], 0, 1, flags));
		FAILS(EAGAIN, tee(a[0], b[1], 1, flags));
	}
	FAILS(EAGAIN, vm(b[1], buf, 1, SPLICE_F_NONBLOCK));
	pipes(O_NONBLOCK);
	fill(b[1]);
	setitimer(ITIMER_REAL, &t, 0);
	FAILS(EINTR, vm(b[1], buf, 1, 0));
	setitimer(ITIMER_REAL, &t, 0);
	FAILS(EINTR, vm(a[0], buf, 1, 0));
	CHECK(fcntl(a[0], F_GETFL) & O_NONBLOCK);
}

// Those who wait for either end in an event queue hear of it.
static void test_events(void)
{
	pipes(O_NONBLOCK);
	int q = epoll_create1(0);
	struct epoll_event e = {EPOLLIN | EPOLLET, {.u32 = 1}}, got[4];
	CHECK(epoll_ctl(q, EPOLL_CTL_ADD, b[0], &e) == 0);
	put();
	CHECK(epoll_wait(q, got, 4, 0) == 0);
	CHECK(tee(a[0], b[1], 3, 0) == 3 && epoll_wait(q, got, 4, 0) == 1 && got[0].events == EPOLLIN);
	CHECK(splice(a[0], 0, b[1], 0, 3, 0) == 3 && epoll_wait(q, got, 4, 0) == 1 && epoll_wait(q, got, 4, 0) == 0);
	CHECK(vm(b[1], "x", 1, 0) == 1 && epoll_wait(q, got, 4, 0) == 1);
	fill(a[1]);
	e = (struct epoll_event){EPOLLOUT | EPOLLET, {.u32 = 2}};
	CHECK(epoll_ctl(q, EPOLL_CTL_ADD, a[1], &e) == 0 && epoll_wait(q, got, 4, 0) == 0);
	CHECK(fcntl(b[1], F_SETPIPE_SZ, 1 << 18) == 1 << 18);
	CHECK(splice(a[0], 0, b[1], 0, 65536, 0) == 65536 && epoll_wait(q, got, 4, 0) == 2);
	CHECK(polled(a[1], POLLOUT) == POLLOUT && polled(a[0], POLLIN) == 0);
	close(q);
}

// A file that may not grow takes what fits, and the rest stays.
static void test_limit(void)
{
	signal(SIGXFSZ, SIG_IGN);
	pipes(O_NONBLOCK);
	struct rlimit old, l;
	CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
	l = old, l.rlim_cur = 2;
	CHECK(setrlimit(RLIMIT_FSIZE, &l) == 0);
	int fd = open("splice.file", O_RDWR | O_CREAT | O_TRUNC, 0600);
	put();
	CHECK(splice(a[0], 0, fd, 0, 100, 0) == 2);
	FAILS(EFBIG, splice(a[0], 0, fd, 0, 100, 0));
	CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
	CHECK(read(a[0], buf, 9) == 1 && *buf == 'c');
	close(fd);
	unlink("splice.file");
}

// Content goes from pipe to pipe to pipe in order, with every call waiting for the others.
enum { AMOUNT = 3 << 20 };
static void *first(void *x)
{
	static char p[5000];
	(void)x;
	for (int at = 0; at < AMOUNT;) {
		int n = AMOUNT - at < (int)sizeof p ? AMOUNT - at : (int)sizeof p;
		for (int i = 0; i < n; i++)
			p[i] = (at + i) * 2654435761u >> 24;
		long m = write(a[1], p, n);
		if (m <= 0)
			return (void *)1;
		at += m;
	}
	close(a[1]), a[1] = 0;
	return 0;
}
static void *second(void *x)
{
	long n;
	(void)x;
	while ((n = splice(a[0], 0, b[1], 0, 7777, 0)) > 0)
		;
	close(b[1]), b[1] = 0;
	return (void *)n;
}
static void test_chain(void)
{
	pthread_t t[2];
	void *r;
	pipes(0);
	CHECK(pthread_create(&t[0], 0, first, 0) == 0 && pthread_create(&t[1], 0, second, 0) == 0);
	long at = 0, wrong = 0, n;
	while ((n = at & 1 ? vm(b[0], buf, 9999, 0) : read(b[0], buf, 9999)) > 0)
		for (long i = 0; i < n; i++, at++)
			wrong += (unsigned char)buf[i] != (unsigned char)((at * 2654435761u & 0xffffffff) >> 24);
	CHECK(n == 0 && at == AMOUNT && wrong == 0);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_join(t[i], &r) == 0 && !r);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	test_waits();
	test_nonblock();
	test_events();
	test_limit();
	test_chain();
	return check_done();
}
