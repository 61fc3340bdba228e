// Calls that touch no file: what entering the kernel costs, and hand-overs between threads.
#include "../../bench.h"
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

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
	{"signal_self", 10000, signal_run, signal_before, 0},
	{0},
};

int main(int argc, char **argv) { return bench_main(all, argc, argv); }
