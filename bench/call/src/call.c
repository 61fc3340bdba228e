// Calls that touch no file: what entering the kernel costs, and hand-overs between threads.
#include "../../bench.h"
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

static void getppid_run(long n)
{
	while (n--)
		getppid();
}

static void clock_run(long n)
{
	struct timespec t;
	while (n--)
		clock_gettime(CLOCK_MONOTONIC, &t);
}

static void *thread_nop(void *a) { return a; }

static void thread_run(long n)
{
	while (n--) {
		pthread_t t;
		if (pthread_create(&t, 0, thread_nop, 0))
			die("pthread_create");
		pthread_join(t, 0);
	}
}

// Two threads hand one word back and forth; a round trip is two hand-overs.
static _Atomic int futex_word;
static long futex_ops;

static void futex_wait(_Atomic int *w, int v) { syscall(SYS_futex, w, FUTEX_WAIT_PRIVATE, v, 0, 0, 0); }
static void futex_wake(_Atomic int *w) { syscall(SYS_futex, w, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0); }

static void *futex_pong(void *a)
{
	(void)a;
	for (long i = 0; i < futex_ops; i++) {
		while (futex_word != 1)
			futex_wait(&futex_word, 0);
		futex_word = 0;
		futex_wake(&futex_word);
	}
	return 0;
}

static void futex_run(long n)
{
	pthread_t t;
	futex_ops = n;
	futex_word = 0;
	pthread_create(&t, 0, futex_pong, 0);
	for (long i = 0; i < n; i++) {
		futex_word = 1;
		futex_wake(&futex_word);
		while (futex_word != 0)
			futex_wait(&futex_word, 1);
	}
	pthread_join(t, 0);
}

static int pipe_a[2], pipe_b[2];
static long pipe_ops;

static void *pipe_echo(void *a)
{
	char c;
	(void)a;
	for (long i = 0; i < pipe_ops; i++) {
		if (read(pipe_a[0], &c, 1) != 1 || write(pipe_b[1], &c, 1) != 1)
			die("echo");
	}
	return 0;
}

static void pipe_before(void)
{
	if (pipe(pipe_a) || pipe(pipe_b))
		die("pipe");
}

static void pipe_run(long n)
{
	pthread_t t;
	char c = 'x';
	pipe_ops = n;
	pthread_create(&t, 0, pipe_echo, 0);
	for (long i = 0; i < n; i++) {
		if (write(pipe_a[1], &c, 1) != 1 || read(pipe_b[0], &c, 1) != 1)
			die("pipe");
	}
	pthread_join(t, 0);
}

static void mmap_run(long n)
{
	while (n--) {
		void *p = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			die("mmap");
		munmap(p, 65536);
	}
}

static void fault_run(long n)
{
	while (n > 0) {
		long pages = n < 256 ? n : 256;
		volatile char *p = mmap(0, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			die("mmap");
		for (long i = 0; i < pages; i++)
			p[i * 4096] = 1;
		munmap((void *)p, pages * 4096);
		n -= pages;
	}
}

// One ready descriptor of a thousand.
enum { epoll_watched = 1000 };
static int epoll_queue, epoll_fds[epoll_watched];

static void epoll_before(void)
{
	struct rlimit r = {2000, 2000};
	setrlimit(RLIMIT_NOFILE, &r);
	epoll_queue = epoll_create1(0);
	for (int i = 0; i < epoll_watched; i++) {
		struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
		if ((epoll_fds[i] = eventfd(0, EFD_NONBLOCK)) < 0 || epoll_ctl(epoll_queue, EPOLL_CTL_ADD, epoll_fds[i], &e))
			die("epoll_ctl");
	}
	eventfd_write(epoll_fds[epoll_watched / 2], 1);
}

static void epoll_after(void)
{
	for (int i = 0; i < epoll_watched; i++)
		close(epoll_fds[i]);
	close(epoll_queue);
}

static void epoll_run(long n)
{
	struct epoll_event e[16];
	while (n--)
		if (epoll_wait(epoll_queue, e, 16, 0) != 1)
			die("epoll_wait");
}

// Two threads hand an event there and back.
static int event_a, event_b;
static long event_ops;

static void *event_echo(void *a)
{
	eventfd_t v;
	(void)a;
	for (long i = 0; i < event_ops; i++)
		if (eventfd_read(event_a, &v) || eventfd_write(event_b, 1))
			die("eventfd");
	return 0;
}

static void event_before(void)
{
	event_a = eventfd(0, 0);
	event_b = eventfd(0, 0);
}

static void event_run(long n)
{
	pthread_t t;
	eventfd_t v;
	event_ops = n;
	pthread_create(&t, 0, event_echo, 0);
	for (long i = 0; i < n; i++)
		if (eventfd_write(event_a, 1) || eventfd_read(event_b, &v))
			die("eventfd");
	pthread_join(t, 0);
}

static int timer_fd;

static void timer_before(void) { timer_fd = timerfd_create(CLOCK_MONOTONIC, 0); }

static void timer_run(long n)
{
	struct itimerspec s = {.it_value.tv_sec = 100};
	while (n--)
		timerfd_settime(timer_fd, 0, &s, 0);
}

static void handler(int s) { (void)s; }

static void signal_before(void) { signal(SIGUSR1, handler); }

static void signal_run(long n)
{
	while (n--)
		raise(SIGUSR1);
}

static const struct bench all[] = {
	{"getppid", 200000, getppid_run, 0, 0},
	{"clock_gettime", 200000, clock_run, 0, 0},
	{"futex_roundtrip", 5000, futex_run, 0, 0},
	{"thread_create_join", 500, thread_run, 0, 0},
	{"pipe_roundtrip", 5000, pipe_run, pipe_before, 0},
	{"mmap_munmap_64k", 5000, mmap_run, 0, 0},
	{"page_fault", 5120, fault_run, 0, 0},
	{"epoll_wait_1_of_1000", 50000, epoll_run, epoll_before, epoll_after},
	{"eventfd_roundtrip", 5000, event_run, event_before, 0},
	{"timerfd_settime", 50000, timer_run, timer_before, 0},
	{"signal_self", 10000, signal_run, signal_before, 0},
	{0},
};

int main(int argc, char **argv) { return bench_main(all, argc, argv); }
