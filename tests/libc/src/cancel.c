// Cancellation: it acts while a call waits, never loses a call's effect, and runs the handlers.
#include "../../conformance/src/check.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <time.h>

static int fds[2];
static sem_t never, started;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static volatile int cleaned, reached;

static void clean(void *arg) { cleaned += (int)(long)arg; }
static void unlock(void *arg) { cleaned++; pthread_mutex_unlock(arg); }

static void *in_read(void *arg) { char c; sem_post(&started); read(fds[0], &c, 1); reached = 1; return 0; }
static void *in_poll(void *arg) { struct pollfd p = { fds[0], POLLIN }; sem_post(&started); poll(&p, 1, -1); reached = 1; return 0; }
static void *in_sleep(void *arg) { sem_post(&started); sleep(1000); reached = 1; return 0; }
static void *in_sem(void *arg) { sem_post(&started); sem_wait(&never); reached = 1; return 0; }
static void *in_pause(void *arg) { sem_post(&started); pause(); reached = 1; return 0; }
static void *in_cond(void *arg)
{
	pthread_mutex_lock(&lock);
	pthread_cleanup_push(unlock, &lock);
	sem_post(&started);
	pthread_cond_wait(&cond, &lock);
	reached = 1;
	pthread_cleanup_pop(1);
	return 0;
}
static void *in_join(void *arg) { sem_post(&started); pthread_join(*(pthread_t *)arg, 0); reached = 1; return 0; }
static void *in_loop(void *arg)
{
	volatile long n = 0;
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, 0);
	sem_post(&started);
	for (;;)
		n++;
	return 0;
}
static void *in_test(void *arg) { sem_post(&started); for (;;) pthread_testcancel(); return 0; }

struct nested { void *(*run)(void *); void *arg; };

static void *with_cleanup(void *arg)
{
	struct nested *n = arg;
	pthread_cleanup_push(clean, (void *)1);
	n->run(n->arg);
	pthread_cleanup_pop(0);
	return 0;
}

static void cancelled(const char *what, void *(*run)(void *), void *arg)
{
	struct nested n = { run, arg };
	pthread_t t;
	void *r;
	// At once, and when it has had time to wait.
	for (int wait = 0; wait < 2; wait++) {
		cleaned = reached = 0;
		CHECK(!pthread_create(&t, 0, with_cleanup, &n));
		sem_wait(&started);
		if (wait)
			usleep(20000);
		CHECK(!pthread_cancel(t));
		CHECK(!pthread_join(t, &r));
		if (r != PTHREAD_CANCELED || !cleaned || reached)
			printf("%s, wait %d: result %p cleaned %d reached %d\n", what, wait, r, cleaned, reached), check_failed++;
		check_count++;
	}
}

// Cancellation off: the call waits on and gets its byte.
static void *disabled(void *arg)
{
	int old;
	char c = 0;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	sem_post(&started);
	CHECK(read(fds[0], &c, 1) == 1 && c == 'x');
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, 0);
	reached = 1;
	pthread_testcancel();
	reached = 2;
	return 0;
}

// A byte that was read is never lost: readers are cancelled while bytes come, and those read and
// those left add up to those written.
static volatile long got;
static void *reader(void *arg)
{
	char c;
	for (;;) {
		if (read(fds[0], &c, 1) == 1) {
			int old;
			pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
			__sync_fetch_and_add(&got, 1);
			pthread_setcancelstate(old, 0);
		}
	}
	return 0;
}

static void no_loss(void)
{
	long sent = 0;
	for (int i = 0; i < 300; i++) {
		pthread_t t;
		CHECK(!pthread_create(&t, 0, reader, 0));
		for (int k = 0; k < 3; k++) {
			CHECK(write(fds[1], "y", 1) == 1);
			sent++;
			if (i % 3 == k)
				sched_yield();
		}
		CHECK(!pthread_cancel(t) && !pthread_join(t, 0));
	}
	long left = 0;
	char c;
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	while (read(fds[0], &c, 1) == 1)
		left++;
	fcntl(fds[0], F_SETFL, 0);
	CHECK(got + left == sent);
}

static void handler(int sig) { sem_post(&started); char c; read(fds[0], &c, 1); }

// A handler that interrupted a waiting call and waits itself.
static void *in_handler(void *arg) { sem_post(&started); pause(); reached = 1; return 0; }

int main(void)
{
	pthread_t t, other;
	void *r;
	CHECK(!pipe(fds) && !sem_init(&never, 0, 0) && !sem_init(&started, 0, 0));
	cancelled("read", in_read, 0);
	cancelled("poll", in_poll, 0);
	cancelled("sleep", in_sleep, 0);
	cancelled("sem_wait", in_sem, 0);
	cancelled("pause", in_pause, 0);
	cancelled("cond_wait", in_cond, 0);
	CHECK(!pthread_mutex_trylock(&lock) && !pthread_mutex_unlock(&lock));
	cancelled("computing", in_loop, 0);
	cancelled("testcancel", in_test, 0);
	CHECK(!pthread_create(&other, 0, in_pause, 0));
	sem_wait(&started);
	cancelled("join", in_join, &other);
	CHECK(!pthread_cancel(other) && !pthread_join(other, 0));

	reached = 0;
	CHECK(!pthread_create(&t, 0, disabled, 0));
	sem_wait(&started);
	usleep(20000);
	CHECK(!pthread_cancel(t));
	usleep(20000);
	CHECK(write(fds[1], "x", 1) == 1);
	CHECK(!pthread_join(t, &r) && r == PTHREAD_CANCELED && reached == 1);

	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	sigaction(SIGUSR1, &sa, 0);
	reached = 0;
	CHECK(!pthread_create(&t, 0, in_handler, 0));
	sem_wait(&started);
	usleep(20000);
	CHECK(!pthread_kill(t, SIGUSR1));
	sem_wait(&started);
	usleep(20000);
	CHECK(!pthread_cancel(t) && !pthread_join(t, &r) && r == PTHREAD_CANCELED && !reached);

#ifndef __GLIBC__ // which loses some
	no_loss();
#endif
	return check_done();
}
