// Guests for the tests of the kernel: the first argument chooses one. Each prints what it saw.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static atomic_int ready, stop;

static void *spin(void *a)
{
	ready++;
	while (!stop)
		;
	return a;
}

static void *sleeper(void *a)
{
	ready++;
	for (;;)
		pause();
	return a;
}

static void start(int n, void *(*f)(void *), pthread_t *t)
{
	int want = ready + n;
	for (int i = 0; i < n; i++)
		if (pthread_create(&t[i], 0, f, 0)) {
			perror("pthread_create");
			exit(99);
		}
	while (ready < want)
		sched_yield();
}

// Threads compute and sleep while another ends the process.
static int test_exit(void)
{
	pthread_t t[6];
	start(2, spin, t);
	start(4, sleeper, t + 2);
	exit(7);
}

static int test_killed(void)
{
	pthread_t t[2];
	start(1, spin, t);
	start(1, sleeper, t + 1);
	kill(getpid(), SIGKILL);
	for (;;)
		;
}

// The first thread ends, the others go on.
static void *later(void *a)
{
	usleep(20000);
	puts("still here");
	exit(5);
	return a;
}

static int test_leader(void)
{
	pthread_t t;
	pthread_create(&t, 0, later, 0);
	pthread_exit(0);
}

static int test_segv(void) { return *(volatile int *)0x1234; }

static int deep(int n)
{
	volatile char b[1000];
	b[n % 1000] = n;
	return deep(n + 1) + b[(n + 1) % 1000];
}

static int test_overflow(void) { return deep(0); }

static int test_abort(void) { abort(); }

static int test_term(void)
{
	raise(SIGTERM);
	return 0;
}

// Writers never lose a write while the page they write to changes its protection.
static volatile uint64_t *words;
static atomic_int losses;

static void *writer(void *a)
{
	int i = (int)(intptr_t)a;
	uint64_t n = 0;
	ready++;
	while (!stop) {
		words[i] = ++n;
		if (words[i] != n)
			losses++;
	}
	return 0;
}

static int test_moved(void)
{
	pthread_t t[3];
	for (int round = 0; round < 20; round++) {
		char *p = mmap(0, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		words = (void *)p;
		stop = 0;
		int want = ready + 3;
		for (int i = 0; i < 3; i++)
			pthread_create(&t[i], 0, writer, (void *)(intptr_t)i);
		while (ready < want)
			sched_yield();
		if (mprotect(p, 64 * 4096, PROT_READ | PROT_WRITE | PROT_EXEC))
			perror("mprotect");
		stop = 1;
		for (int i = 0; i < 3; i++)
			pthread_join(t[i], 0);
		munmap(p, 64 * 4096);
	}
	printf("%d lost\n", losses);
	return 0;
}

// A handler changes the context that it returns to.
static void skip(int s, siginfo_t *i, void *u)
{
	(void)s;
	ucontext_t *c = u;
	if (i->si_addr != (void *)0x5678 || c->uc_mcontext.gregs[REG_CR2] != 0x5678)
		_exit(98);
	c->uc_mcontext.gregs[REG_RIP] += 2; // mov %al,(%rdx)
	c->uc_mcontext.gregs[REG_RBX] = 4711;
}

static int test_context(void)
{
	struct sigaction sa = { .sa_sigaction = skip, .sa_flags = SA_SIGINFO };
	sigaction(SIGSEGV, &sa, 0);
	uint64_t rbx = 1, r12 = 0;
	double x = 1.5;
	__asm__ volatile ("mov $12, %%r12; movb $0, %%al; mov $0x5678, %%edx; movsd %3, %%xmm9\n\t"
			".byte 0x88, 0x02\n\t"
			"mov %%rbx, %0; mov %%r12, %1; movsd %%xmm9, %2"
			: "=m"(rbx), "=m"(r12), "=m"(x) : "m"(x) : "rax", "rbx", "rdx", "r12", "xmm9", "memory");
	printf("%ju %ju %g\n", (uintmax_t)rbx, (uintmax_t)r12, x);
	return 0;
}

// A handler runs while a thread computes with every register in use, and none changes.
static volatile sig_atomic_t hits;

static void clobber(int s)
{
	(void)s;
	hits++;
	__asm__ volatile ("pcmpeqd %%xmm0, %%xmm0; movdqa %%xmm0, %%xmm5; movdqa %%xmm0, %%xmm15; std; cld" ::: "xmm0", "xmm5", "xmm15");
}

static void *pester(void *a)
{
	pthread_t t = *(pthread_t *)a;
	while (!stop) {
		pthread_kill(t, SIGUSR1);
		usleep(500);
	}
	return 0;
}

static int test_compute(void)
{
	signal(SIGUSR1, clobber);
	pthread_t self = pthread_self(), t;
	pthread_create(&t, 0, pester, &self);
	struct timespec t0, t1;
	clock_gettime(CLOCK_MONOTONIC, &t0);
	int bad = 0;
	do {
		double s = 0;
		uint64_t h = 1;
		for (int i = 1; i < 100000; i++) {
			s += 1.0 / i;
			h = h * 6364136223846793005u + i;
		}
		static double s0;
		static uint64_t h0;
		if (!s0)
			s0 = s, h0 = h;
		if (s != s0 || h != h0)
			bad++;
		clock_gettime(CLOCK_MONOTONIC, &t1);
	} while (hits < 20 && t1.tv_sec - t0.tv_sec < 20);
	stop = 1;
	pthread_join(t, 0);
	printf("%d wrong, %s\n", bad, hits >= 20 ? "interrupted" : "never interrupted");
	return 0;
}

// SA_RESTART begins a read again; without it, it fails.
static int fds[2];

static void *poke(void *a)
{
	pthread_t t = *(pthread_t *)a;
	usleep(20000);
	pthread_kill(t, SIGUSR1);
	usleep(20000);
	write(fds[1], "x", 1);
	return 0;
}

static int test_restart(void)
{
	for (int i = 0; i < 2; i++) {
		struct sigaction sa = { .sa_handler = clobber, .sa_flags = i ? 0 : SA_RESTART };
		sigaction(SIGUSR1, &sa, 0);
		pipe(fds);
		pthread_t self = pthread_self(), t;
		pthread_create(&t, 0, poke, &self);
		char c = 0;
		errno = 0;
		int n = read(fds[0], &c, 1);
		printf("%d %d %d;", n, errno, hits);
		pthread_join(t, 0);
	}
	puts("");
	return 0;
}

// Far more threads than there are host threads.
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t go = PTHREAD_COND_INITIALIZER;
static int started, released;

static void *crowd(void *a)
{
	pthread_mutex_lock(&mu);
	started++;
	while (!released)
		pthread_cond_wait(&go, &mu);
	started--;
	pthread_mutex_unlock(&mu);
	return a;
}

static int test_crowd(void)
{
	enum { N = 3000 };
	static pthread_t t[N];
	pthread_attr_t a;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 16384);
	for (int i = 0; i < N; i++)
		if (pthread_create(&t[i], &a, crowd, 0)) {
			perror("pthread_create");
			return 1;
		}
	for (;;) {
		pthread_mutex_lock(&mu);
		int n = started;
		pthread_mutex_unlock(&mu);
		if (n == N)
			break;
		usleep(1000);
	}
	pthread_mutex_lock(&mu);
	released = 1;
	pthread_cond_broadcast(&go);
	pthread_mutex_unlock(&mu);
	for (int i = 0; i < N; i++)
		pthread_join(t[i], 0);
	printf("%d left\n", started);
	return 0;
}

// More threads that compute than slots: all make progress.
static atomic_int turns[24];

static void *compute(void *a)
{
	int i = (int)(intptr_t)a;
	while (!stop)
		turns[i]++;
	return 0;
}

static int test_slices(void)
{
	pthread_t t[24];
	for (int i = 0; i < 24; i++)
		pthread_create(&t[i], 0, compute, (void *)(intptr_t)i);
	for (int i = 0; i < 24;) {
		if (turns[i])
			i++;
		else
			usleep(1000);
	}
	stop = 1;
	for (int i = 0; i < 24; i++)
		pthread_join(t[i], 0);
	puts("all");
	return 0;
}

static int test_robust(void)
{
	pthread_mutexattr_t a;
	static pthread_mutex_t m;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&m, &a);
	pthread_t t;
	pthread_create(&t, 0, (void *(*)(void *))pthread_mutex_lock, &m);
	pthread_join(t, 0);
	int r = pthread_mutex_lock(&m);
	printf("%d %d\n", r == EOWNERDEAD, pthread_mutex_consistent(&m));
	return 0;
}

static int test_ids(void)
{
	printf("%d %d %d %d %d\n", getpid(), getppid(), (int)syscall(SYS_gettid), getpgrp(), getsid(0));
	int child = fork();
	printf("%d %s\n", child, strerror(errno));
	return 0;
}

static int test_environ(char **argv)
{
	for (; *argv; argv++)
		printf("%s;", *argv);
	printf("%s\n", getenv("HOME"));
	return 0;
}

int main(int argc, char **argv)
{
	static const struct { const char *name; int (*f)(void); } all[] = {
		{"exit", test_exit}, {"killed", test_killed}, {"leader", test_leader}, {"segv", test_segv},
		{"overflow", test_overflow}, {"abort", test_abort}, {"term", test_term}, {"moved", test_moved},
		{"context", test_context}, {"compute", test_compute}, {"restart", test_restart}, {"crowd", test_crowd},
		{"slices", test_slices}, {"robust", test_robust}, {"ids", test_ids},
	};
	if (argc > 1 && !strcmp(argv[1], "script"))
		return test_environ(argv);
	for (unsigned i = 0; argc > 1 && i < sizeof all / sizeof *all; i++)
		if (!strcmp(all[i].name, argv[1])) {
			int r = all[i].f();
			fflush(stdout);
			return r;
		}
	return 97;
}
