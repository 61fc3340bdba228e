// Event queues and what they wait for, with several threads: what a single thread can see is compared with
// Linux by the kernel's own tests.
#include "check.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static void watch(int q, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = {.events = events, .data.u64 = data};
	CHECK(epoll_ctl(q, EPOLL_CTL_ADD, fd, &e) == 0);
}

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// Thousands of descriptors, each of which is told of once.
static void many(void)
{
	enum { N = 2000 };
	static int fds[N];
	static struct epoll_event got[N];
	static char seen[N];
	struct rlimit r;
	CHECK(getrlimit(RLIMIT_NOFILE, &r) == 0);
	int n = r.rlim_cur < N + 50 ? r.rlim_cur - 50 : N;
	int q = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < n; i++) {
		CHECK((fds[i] = eventfd(0, EFD_NONBLOCK)) >= 0);
		watch(q, fds[i], EPOLLIN | (i % 2 ? EPOLLET : 0), i);
	}
	CHECK(epoll_wait(q, got, N, 0) == 0);
	for (int i = 0; i < n; i += 7)
		CHECK(eventfd_write(fds[i], 1) == 0);
	int want = (n + 6) / 7, found = 0;
	for (int m; found < want && (m = epoll_wait(q, got, 50, 0)) > 0;)
		for (int i = 0; i < m; i++) {
			int at = got[i].data.u64;
			CHECK(got[i].events == EPOLLIN && at % 7 == 0);
			found += !seen[at];
			seen[at] = 1;
		}
	CHECK(found == want);
	for (int i = 0; i < n; i++)
		close(fds[i]);
	CHECK(epoll_wait(q, got, N, 0) == 0);
	close(q);
}

// Several threads wait on one queue: each event wakes somebody, and none is lost.
enum { workers = 8, items = 20000 };
static int work_queue, work_stop, work_fds[4][2];
static _Atomic long taken;

static void *worker(void *a)
{
	(void)a;
	for (;;) {
		struct epoll_event e[2];
		int n = epoll_wait(work_queue, e, 2, -1);
		for (int i = 0; i < n; i++) {
			if (e[i].data.u64 == 99)
				return 0;
			char b[64];
			ssize_t m = read(work_fds[e[i].data.u64][0], b, sizeof b);
			if (m > 0)
				taken += m;
		}
	}
}

static void shared(uint32_t flags)
{
	pthread_t t[workers];
	work_queue = epoll_create1(0);
	work_stop = eventfd(0, 0);
	taken = 0;
	for (int i = 0; i < 4; i++) {
		CHECK(pipe2(work_fds[i], O_NONBLOCK) == 0);
		watch(work_queue, work_fds[i][0], EPOLLIN | flags, i);
	}
	for (int i = 0; i < workers; i++)
		pthread_create(&t[i], 0, worker, 0);
	for (long i = 0; i < items; i++)
		while (write(work_fds[i % 4][1], "x", 1) != 1)
			CHECK(errno == EAGAIN && poll(&(struct pollfd){work_fds[i % 4][1], POLLOUT, 0}, 1, -1) == 1);
	while (taken < items)
		usleep(1000);
	watch(work_queue, work_stop, EPOLLIN, 99);
	eventfd_write(work_stop, 1);
	for (int i = 0; i < workers; i++)
		pthread_join(t[i], 0);
	CHECK(taken == items);
	for (int i = 0; i < 4; i++) {
		close(work_fds[i][0]);
		close(work_fds[i][1]);
	}
	close(work_stop);
	close(work_queue);
}

// Of several queues that watch a descriptor exclusively, one event wakes few; without, all.
static _Atomic int woken;
static int herd_fd;
static uint32_t herd_flags;
static pthread_barrier_t herd_ready;

static void *sheep(void *a)
{
	(void)a;
	struct epoll_event e;
	int q = epoll_create1(0);
	watch(q, herd_fd, EPOLLIN | herd_flags, 0);
	pthread_barrier_wait(&herd_ready);
	if (epoll_wait(q, &e, 1, 1000) == 1)
		woken++;
	close(q);
	return 0;
}

static int herd(uint32_t flags)
{
	enum { N = 6 };
	pthread_t t[N];
	herd_fd = eventfd(0, 0);
	herd_flags = flags;
	woken = 0;
	pthread_barrier_init(&herd_ready, 0, N + 1);
	for (int i = 0; i < N; i++)
		pthread_create(&t[i], 0, sheep, 0);
	pthread_barrier_wait(&herd_ready);
	usleep(200000); // all wait
	eventfd_write(herd_fd, 1);
	for (int i = 0; i < N; i++)
		pthread_join(t[i], 0);
	close(herd_fd);
	return woken;
}

// A blocking reader of each kind, and one that only a signal gets out.
static void *later(void *a)
{
	usleep(20000);
	eventfd_write(*(int *)a, 3);
	return 0;
}

static void noop(int sig) { (void)sig; }

static void blocking(void)
{
	pthread_t t;
	uint64_t v = 0;
	int fd = eventfd(0, 0);
	pthread_create(&t, 0, later, &fd);
	CHECK(read(fd, &v, 8) == 8 && v == 3);
	pthread_join(t, 0);

	int timer = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec s = {.it_value.tv_nsec = 20000000, .it_interval.tv_nsec = 10000000};
	int64_t start = now();
	CHECK(timerfd_settime(timer, 0, &s, 0) == 0);
	CHECK(read(timer, &v, 8) == 8 && v >= 1 && now() - start >= 20000000);
	usleep(35000);
	CHECK(read(timer, &v, 8) == 8 && v >= 3);
	fd_set set;
	FD_ZERO(&set);
	FD_SET(timer, &set);
	CHECK(select(timer + 1, &set, 0, 0, 0) == 1 && FD_ISSET(timer, &set));

	struct sigaction sa = {.sa_handler = noop};
	sigaction(SIGALRM, &sa, 0);
	struct itimerval iv = {.it_value.tv_usec = 20000};
	CHECK(setitimer(ITIMER_REAL, &iv, 0) == 0);
	CHECK(read(fd, &v, 8) == -1 && errno == EINTR);
	struct epoll_event e;
	int q = epoll_create1(0);
	CHECK(setitimer(ITIMER_REAL, &iv, 0) == 0);
	CHECK(epoll_wait(q, &e, 1, -1) == -1 && errno == EINTR);

	// A mask for the wait: the signal that is pending ends it, and is handled.
	sigset_t block, none;
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGALRM);
	sigprocmask(SIG_BLOCK, &block, 0);
	raise(SIGALRM);
	CHECK(epoll_wait(q, &e, 1, 5) == 0);
	CHECK(epoll_pwait(q, &e, 1, -1, &none) == -1 && errno == EINTR);
	CHECK(epoll_pwait(q, &e, 1, 5, &block) == 0);

	int sfd = signalfd(-1, &block, 0);
	watch(q, sfd, EPOLLIN, 5);
	iv.it_interval.tv_usec = 5000;
	CHECK(setitimer(ITIMER_REAL, &iv, 0) == 0);
	for (int i = 0; i < 3; i++) {
		struct signalfd_siginfo info;
		CHECK(epoll_wait(q, &e, 1, -1) == 1 && e.data.u64 == 5);
		CHECK(read(sfd, &info, sizeof info) == sizeof info && info.ssi_signo == SIGALRM && info.ssi_code == SI_KERNEL);
	}
	memset(&iv, 0, sizeof iv);
	CHECK(setitimer(ITIMER_REAL, &iv, 0) == 0);
	close(q);
	close(sfd);
	close(timer);
	close(fd);

	CHECK(alarm(100) == 0);
	CHECK(alarm(0) == 100);
}

static _Atomic int ticks, told;
static void tick(int sig) { (void)sig; ticks++; }
static void tell(union sigval v) { told += v.sival_int; }

// Processor time, and timers of timer_create, one of which starts a thread.
static void timers(void)
{
	struct sigaction sa = {.sa_handler = tick, .sa_flags = SA_RESTART};
	int sigs[] = {SIGVTALRM, SIGPROF};
	for (int which = ITIMER_VIRTUAL; which <= ITIMER_PROF; which++) {
		struct itimerval iv = {{0, 10000}, {0, 10000}}, off = {{0, 0}, {0, 0}};
		sigaction(sigs[which - 1], &sa, 0);
		ticks = 0;
		CHECK(setitimer(which, &iv, 0) == 0);
		for (volatile long i = 0; ticks < 3; i++)
			;
		CHECK(setitimer(which, &off, &iv) == 0 && iv.it_interval.tv_usec == 10000);
	}
	timer_t t;
	struct sigevent ev = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = tell, .sigev_value.sival_int = 7};
	struct itimerspec s = {.it_value.tv_nsec = 5000000, .it_interval.tv_nsec = 5000000};
	CHECK(timer_create(CLOCK_MONOTONIC, &ev, &t) == 0);
	CHECK(timer_settime(t, 0, &s, 0) == 0);
	while (told < 21)
		usleep(1000);
	CHECK(told % 7 == 0);
	CHECK(timer_delete(t) == 0);

	sigaction(SIGRTMIN, &sa, 0);
	struct sigevent cpu = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
	clockid_t clocks[] = {CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};
	for (int i = 0; i < 2; i++) {
		ticks = 0;
		s.it_value.tv_nsec = s.it_interval.tv_nsec = 10000000;
		CHECK(timer_create(clocks[i], &cpu, &t) == 0);
		CHECK(timer_settime(t, 0, &s, 0) == 0);
		for (volatile long j = 0; ticks < 3; j++)
			;
		CHECK(timer_delete(t) == 0);
	}
}

int main(void)
{
	many();
	shared(0);
	shared(EPOLLEXCLUSIVE);
	CHECK(herd(0) == 6);
	CHECK(herd(EPOLLEXCLUSIVE) == 1);
	blocking();
	timers();
	return check_done();
}
