// Threads and what they wait on: pthreads, futex(2), thread-local storage, cancellation-free
// synchronisation, pipes and poll between threads.
#include "check.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>

static __thread int tls = 41;
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cv = PTHREAD_COND_INITIALIZER;
static long counter;
static int turn;

static void *add(void *a)
{
	tls += (int)(long)a;
	for (int i = 0; i < 10000; i++) {
		pthread_mutex_lock(&mu);
		counter++;
		pthread_mutex_unlock(&mu);
	}
	return (void *)(long)tls;
}

static void *pingpong(void *a)
{
	int me = (int)(long)a;
	for (int i = 0; i < 1000; i++) {
		pthread_mutex_lock(&mu);
		while (turn != me)
			pthread_cond_wait(&cv, &mu);
		turn = !me;
		pthread_cond_broadcast(&cv);
		pthread_mutex_unlock(&mu);
	}
	return 0;
}

static int p[2];

static void *writer(void *a)
{
	(void)a;
	usleep(20000);
	CHECK(write(p[1], "hello", 5) == 5);
	usleep(20000);
	close(p[1]);
	return 0;
}

static void *spin(void *a)
{
	volatile int *stop = a;
	while (!*stop)
		;
	return 0;
}

static long ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_count;
static void once_fn(void) { once_count++; }
static void *nop(void *a) { pthread_once(&once, once_fn); return a; }
static pthread_key_t key;
static int destroyed;
static void destroy(void *v) { destroyed += (int)(long)v; }
static void *keyed(void *a) { pthread_setspecific(key, a); return 0; }
static pthread_barrier_t bar;
static void *barrier(void *a) { (void)a; return (void *)(long)pthread_barrier_wait(&bar); }
static int fw;
static void *futex_waiter(void *a)
{
	return (void *)(long)syscall(SYS_futex, &fw, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, 0, 0, (long)a);
}

int main(void)
{
	pthread_t t[64];
	void *r;

	for (long i = 0; i < 8; i++)
		CHECK(pthread_create(&t[i], 0, add, (void *)i) == 0);
	for (long i = 0; i < 8; i++)
		CHECK(pthread_join(t[i], &r) == 0 && (long)r == 41 + i);
	CHECK(counter == 80000 && tls == 41);

	pthread_create(&t[0], 0, pingpong, (void *)0);
	pthread_create(&t[1], 0, pingpong, (void *)1);
	pthread_join(t[0], 0), pthread_join(t[1], 0);

	for (int i = 0; i < 2000; i++) {
		if (pthread_create(&t[0], 0, nop, (void *)(long)i) || pthread_join(t[0], &r) || (long)r != i) {
			CHECK(!"create and join");
			break;
		}
	}
	CHECK(once_count == 1);
	for (int i = 0; i < 64; i++)
		CHECK(pthread_create(&t[i], 0, nop, 0) == 0);
	for (int i = 0; i < 64; i++)
		CHECK(pthread_join(t[i], 0) == 0);

	pthread_key_create(&key, destroy);
	pthread_create(&t[0], 0, keyed, (void *)5), pthread_join(t[0], 0);
	CHECK(destroyed == 5);

	pthread_barrier_init(&bar, 0, 3);
	int serial = 0;
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], 0, barrier, 0);
	serial += pthread_barrier_wait(&bar) == PTHREAD_BARRIER_SERIAL_THREAD;
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], &r), serial += (long)r == PTHREAD_BARRIER_SERIAL_THREAD;
	CHECK(serial == 1);

	// Timeouts are kept, early wake-ups do not count.
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_nsec += 50000000;
	if (ts.tv_nsec >= 1000000000)
		ts.tv_sec++, ts.tv_nsec -= 1000000000;
	long t0 = ms();
	pthread_mutex_lock(&mu);
	CHECK(pthread_cond_timedwait(&cv, &mu, &ts) == ETIMEDOUT);
	pthread_mutex_unlock(&mu);
	CHECK(ms() - t0 >= 45);
	t0 = ms();
	usleep(30000);
	CHECK(ms() - t0 >= 29);
	sem_t sem;
	sem_init(&sem, 0, 1);
	CHECK(sem_wait(&sem) == 0);
	clock_gettime(CLOCK_REALTIME, &ts);
	FAILS(ETIMEDOUT, sem_timedwait(&sem, &ts));
	CHECK(sem_post(&sem) == 0 && sem_trywait(&sem) == 0);
	FAILS(EAGAIN, sem_trywait(&sem));

	// futex(2) itself.
	FAILS(EAGAIN, syscall(SYS_futex, &fw, FUTEX_WAIT_PRIVATE, 1, 0, 0, 0));
	ts = (struct timespec){0, 10000000};
	FAILS(ETIMEDOUT, syscall(SYS_futex, &fw, FUTEX_WAIT_PRIVATE, 0, &ts, 0, 0));
	FAILS(EFAULT, syscall(SYS_futex, 8, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0));
	FAILS(EINVAL, syscall(SYS_futex, (char *)&fw + 1, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0));
	FAILS(EINVAL, syscall(SYS_futex, &fw, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, 0, 0, 0));
	FAILS(ENOSYS, syscall(SYS_futex, &fw, 77, 0, 0, 0, 0));
	CHECK(syscall(SYS_futex, &fw, FUTEX_WAKE_PRIVATE, 100, 0, 0, 0) == 0);
	pthread_create(&t[0], 0, futex_waiter, (void *)1);
	pthread_create(&t[1], 0, futex_waiter, (void *)2);
	usleep(50000);
	CHECK(syscall(SYS_futex, &fw, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 100, 0, 0, 4) == 0);
	CHECK(syscall(SYS_futex, &fw, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 100, 0, 0, 2) == 1);
	pthread_join(t[1], 0);
	int fw2 = 0;
	CHECK(syscall(SYS_futex, &fw, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 0, 10, &fw2, 0) == 1);
	FAILS(EAGAIN, syscall(SYS_futex, &fw, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 0, 10, &fw2, 1));
	CHECK(syscall(SYS_futex, &fw2, FUTEX_WAKE_PRIVATE, 10, 0, 0, 0) == 1);
	pthread_join(t[0], 0);

	// A pipe between threads, with poll.
	char b[16];
	CHECK(pipe(p) == 0);
	struct pollfd pf = {p[0], POLLIN, 0};
	CHECK(poll(&pf, 1, 0) == 0);
	t0 = ms();
	CHECK(poll(&pf, 1, 30) == 0 && ms() - t0 >= 29);
	pthread_create(&t[0], 0, writer, 0);
	CHECK(poll(&pf, 1, 5000) == 1 && pf.revents == POLLIN);
	CHECK(read(p[0], b, sizeof b) == 5 && !memcmp(b, "hello", 5));
	CHECK(poll(&pf, 1, 5000) == 1 && pf.revents == POLLHUP);
	CHECK(read(p[0], b, sizeof b) == 0);
	pthread_join(t[0], 0);
	close(p[0]);
	signal(SIGPIPE, SIG_IGN);
	CHECK(pipe2(p, O_NONBLOCK | O_CLOEXEC) == 0);
	FAILS(EAGAIN, read(p[0], b, 1));
	static char big[70000];
	CHECK(write(p[1], big, sizeof big) == 65536);
	FAILS(EAGAIN, write(p[1], big, 1));
	fd_set rs, ws;
	FD_ZERO(&rs);
	FD_ZERO(&ws);
	FD_SET(p[0], &rs);
	FD_SET(p[1], &ws);
	struct timeval tv = {0, 0};
	CHECK(select(p[1] + 1, &rs, &ws, 0, &tv) == 1 && FD_ISSET(p[0], &rs) && !FD_ISSET(p[1], &ws));
	close(p[0]);
	FAILS(EPIPE, write(p[1], big, 1));
	pf = (struct pollfd){p[1], POLLOUT, 0};
	CHECK(poll(&pf, 1, 0) == 1 && (pf.revents & POLLERR));
	pf.fd = 999;
	CHECK(poll(&pf, 1, 0) == 1 && pf.revents == POLLNVAL);

	// Threads that compute share the processors with one that answers.
	static volatile int stop;
	for (int i = 0; i < 6; i++)
		pthread_create(&t[i], 0, spin, (void *)&stop);
	usleep(100000);
	stop = 1;
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], 0);
	return check_done();
}
