// pthreads: everything but cancellation.
#include "../../conformance/src/check.h"
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <threads.h>
#include <time.h>

#define N 8
#define ROUNDS 2000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_spinlock_t spin;
static sem_t sem;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static long counter, turns, onces, ended, spun;
static _Thread_local long mine = 7;
static _Thread_local char big[10000] = "tls";

static void init(void) { onces++; }
static void destroy(void *p) { __sync_fetch_and_add(&ended, (long)p); }

static void *work(void *arg)
{
	long id = (long)arg;
	pthread_once(&once, init);
	pthread_setspecific(key, (void *)1);
	CHECK(mine == 7 && !strcmp(big, "tls"));
	mine = id;
	big[id] = 'x';
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&lock);
		counter++;
		pthread_mutex_unlock(&lock);
		if (i % 4) {
			pthread_rwlock_rdlock(&rw);
			CHECK(turns >= 0);
		} else {
			pthread_rwlock_wrlock(&rw);
			turns++;
		}
		pthread_rwlock_unlock(&rw);
		pthread_spin_lock(&spin);
		spun++;
		pthread_spin_unlock(&spin);
	}
	int r = pthread_barrier_wait(&barrier);
	CHECK(r == 0 || r == PTHREAD_BARRIER_SERIAL_THREAD);
	CHECK(mine == id && errno == 0);
	errno = id;
	sem_post(&sem);
	return (void *)(id * 2);
}

// Two threads hand a turn to each other by a condition.
static int turn;
static void *ping(void *arg)
{
	long me = (long)arg;
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&lock);
		while (turn != me)
			pthread_cond_wait(&cond, &lock);
		turn = !me;
		pthread_cond_broadcast(&cond);
		pthread_mutex_unlock(&lock);
	}
	return 0;
}

static void *nothing(void *arg) { __sync_fetch_and_add((long *)arg, 1); return 0; }
static void *robust_owner(void *m) { pthread_mutex_lock(m); return 0; }
static int c11(void *arg) { return *(int *)arg; }

static void *deep(void *arg)
{
	volatile char stack[512 * 1024];
	for (size_t i = 0; i < sizeof stack; i += 4096)
		stack[i] = 1;
	return (void *)(long)stack[4096];
}

int main(void)
{
	pthread_t t[N];
	void *r;
	CHECK(!pthread_barrier_init(&barrier, 0, N) && !sem_init(&sem, 0, 0) && !pthread_key_create(&key, destroy));
	CHECK(!pthread_spin_init(&spin, 0));
	for (long i = 0; i < N; i++)
		CHECK(!pthread_create(&t[i], 0, work, (void *)i));
	for (int i = 0; i < N; i++)
		CHECK(!sem_wait(&sem));
	for (long i = 0; i < N; i++)
		CHECK(!pthread_join(t[i], &r) && r == (void *)(i * 2));
	CHECK(counter == N * ROUNDS && turns == N * ROUNDS / 4 && spun == N * ROUNDS && onces == 1 && ended == N);

	for (long i = 0; i < 2; i++)
		CHECK(!pthread_create(&t[i], 0, ping, (void *)i));
	for (int i = 0; i < 2; i++)
		CHECK(!pthread_join(t[i], 0));

	// Many short ones, joined and detached.
	long ran = 0;
	for (int i = 0; i < 500; i++)
		CHECK(!pthread_create(&t[0], 0, nothing, &ran) && !pthread_join(t[0], 0));
	pthread_attr_t attr;
	CHECK(!pthread_attr_init(&attr) && !pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED));
	for (int i = 0; i < 500; i++)
		CHECK(!pthread_create(&t[0], &attr, nothing, &ran));
	for (int i = 0; i < 10000 && __sync_fetch_and_add(&ran, 0) < 1000; i++)
		usleep(1000);
	CHECK(ran == 1000);
	CHECK(!pthread_attr_destroy(&attr));

	CHECK(!pthread_attr_init(&attr) && !pthread_attr_setstacksize(&attr, 1 << 20));
	CHECK(!pthread_create(&t[0], &attr, deep, 0) && !pthread_join(t[0], &r) && r == (void *)1);

	// Timeouts.
	struct timespec now, until;
	clock_gettime(CLOCK_REALTIME, &now);
	until = now;
	until.tv_nsec += 20000000;
	if (until.tv_nsec >= 1000000000)
		until.tv_sec++, until.tv_nsec -= 1000000000;
	pthread_mutex_lock(&lock);
	CHECK(pthread_cond_timedwait(&cond, &lock, &until) == ETIMEDOUT);
	pthread_mutex_unlock(&lock);
	clock_gettime(CLOCK_REALTIME, &now);
	CHECK(now.tv_sec > until.tv_sec || now.tv_sec == until.tv_sec && now.tv_nsec >= until.tv_nsec);
	CHECK(sem_trywait(&sem) == -1 && errno == EAGAIN);
	CHECK(sem_timedwait(&sem, &until) == -1 && errno == ETIMEDOUT);

	// Kinds of mutex.
	pthread_mutexattr_t ma;
	pthread_mutex_t m;
	CHECK(!pthread_mutexattr_init(&ma) && !pthread_mutexattr_settype(&ma, PTHREAD_MUTEX_RECURSIVE));
	CHECK(!pthread_mutex_init(&m, &ma) && !pthread_mutex_lock(&m) && !pthread_mutex_lock(&m) && !pthread_mutex_unlock(&m) && !pthread_mutex_unlock(&m));
	CHECK(!pthread_mutexattr_settype(&ma, PTHREAD_MUTEX_ERRORCHECK) && !pthread_mutex_init(&m, &ma));
	CHECK(!pthread_mutex_lock(&m) && pthread_mutex_lock(&m) == EDEADLK && !pthread_mutex_unlock(&m) && pthread_mutex_unlock(&m) == EPERM);
	CHECK(!pthread_mutexattr_setrobust(&ma, PTHREAD_MUTEX_ROBUST) && !pthread_mutex_init(&m, &ma));
	CHECK(!pthread_create(&t[0], 0, robust_owner, &m) && !pthread_join(t[0], 0));
	CHECK(pthread_mutex_lock(&m) == EOWNERDEAD && !pthread_mutex_consistent(&m) && !pthread_mutex_unlock(&m));

	thrd_t c;
	int in = 5, out = 0;
	CHECK(thrd_create(&c, c11, &in) == thrd_success && thrd_join(c, &out) == thrd_success && out == 5);
	CHECK(pthread_self() == pthread_self() && syscall(SYS_gettid) == getpid());
	cpu_set_t set;
	CHECK(!sched_getaffinity(0, sizeof set, &set) && CPU_COUNT(&set) >= 1 && sysconf(_SC_NPROCESSORS_ONLN) >= 1);
	return check_done();
}
