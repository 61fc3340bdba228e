// Futexes with priority inheritance (futex(2), "Priority-inheritance futexes"): the owner's number and the
// waiters bit in the word, hand-over, what is refused, owners that have died, waiting on a condition that ends
// in a lock.
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

static int self(void) { return syscall(SYS_gettid); }
static long futex(void *word, int op, uint32_t val, void *timeout, void *word2, uint32_t val3)
{
	return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, val, timeout, word2, val3);
}
static long lock(uint32_t *w) { return futex(w, FUTEX_LOCK_PI, 0, 0, 0, 0); }
static long try(uint32_t *w) { return futex(w, FUTEX_TRYLOCK_PI, 0, 0, 0, 0); }
static long unlock(uint32_t *w) { return futex(w, FUTEX_UNLOCK_PI, 0, 0, 0, 0); }
static uint32_t get(uint32_t *w) { return __atomic_load_n(w, __ATOMIC_SEQ_CST); }

// A lock as a C library has it: the kernel is asked only where the word cannot be changed by oneself.
static void take(uint32_t *w)
{
	uint32_t zero = 0;
	if (!__atomic_compare_exchange_n(w, &zero, self(), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		CHECK(lock(w) == 0);
}
static void give(uint32_t *w)
{
	uint32_t me = self();
	if (!__atomic_compare_exchange_n(w, &me, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		CHECK(unlock(w) == 0);
}

static uint32_t word, word2;
static volatile int step, other;

static void wait_for(volatile int *v, int n)
{
	for (int i = 0; i < 20000 && *v != n; i++)
		usleep(200);
	CHECK(*v == n);
}
static void wait_waiters(uint32_t *w)
{
	for (int i = 0; i < 20000 && !(get(w) & FUTEX_WAITERS); i++)
		usleep(200);
	CHECK(get(w) & FUTEX_WAITERS);
}
static void wait_asleep(int tid)
{
	char name[64], line[400];
	snprintf(name, sizeof name, "/proc/self/task/%d/stat", tid);
	for (int i = 0; i < 20000; i++) {
		FILE *f = fopen(name, "r");
		char *p = f && fgets(line, sizeof line, f) ? strrchr(line, ')') : 0;
		if (f)
			fclose(f);
		if (p && p[2] == 'S')
			return;
		usleep(200);
	}
	CHECK(!"asleep");
}

static void test_alone(void)
{
	uint32_t w = 0;
	CHECK(lock(&w) == 0 && w == self());
	FAILS(EDEADLK, lock(&w));
	FAILS(EDEADLK, try(&w));
	CHECK(unlock(&w) == 0 && w == 0);
	FAILS(EPERM, unlock(&w));
	CHECK(try(&w) == 0 && w == self() && unlock(&w) == 0);
	// Nobody has this number.
	w = 4194000;
	FAILS(ESRCH, lock(&w));
	FAILS(EPERM, unlock(&w));
	CHECK(w == 4194000 || w == (4194000 | FUTEX_WAITERS));
	// Its owner has died: it is taken over, and the mark stays.
	w = FUTEX_OWNER_DIED;
	CHECK(lock(&w) == 0 && w == (self() | FUTEX_OWNER_DIED));
	w = 0;
	FAILS(EINVAL, syscall(SYS_futex, (char *)&w + 1, FUTEX_LOCK_PI, 0, 0, 0, 0));
	FAILS(EFAULT, futex((void *)16, FUTEX_LOCK_PI, 0, 0, 0, 0));
	FAILS(EFAULT, futex((void *)16, FUTEX_UNLOCK_PI, 0, 0, 0, 0));
	struct timespec bad = {0, 1000000000}, past = {1, 0};
	w = 0;
	FAILS(EINVAL, futex(&w, FUTEX_LOCK_PI, 0, &bad, 0, 0));
	CHECK(futex(&w, FUTEX_LOCK_PI, 0, &past, 0, 0) == 0 && w == self()); // free: no wait, no limit
	w = 0;
	// Somebody waits in the plain way: the two do not mix.
	FAILS(EAGAIN, futex(&w, FUTEX_WAIT, 5, 0, 0, 0));
	FAILS(ENOSYS, futex(&w, 99, 0, 0, 0, 0));
}

static void *holder(void *a)
{
	(void)a;
	take(&word);
	other = self();
	step = 1;
	wait_for(&step, 2);
	give(&word);
	return 0;
}

static void test_limit(void)
{
	pthread_t t;
	word = step = 0;
	pthread_create(&t, 0, holder, 0);
	wait_for(&step, 1);
	FAILS(EAGAIN, try(&word));
	struct timespec at;
	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_nsec += 5000000;
	at.tv_sec += at.tv_nsec / 1000000000, at.tv_nsec %= 1000000000;
	FAILS(ETIMEDOUT, futex(&word, FUTEX_LOCK_PI, 0, &at, 0, 0)); // by the wall clock
	clock_gettime(CLOCK_MONOTONIC, &at);
	FAILS(ETIMEDOUT, futex(&word, FUTEX_LOCK_PI2, 0, &at, 0, 0)); // by the other one
	FAILS(EPERM, unlock(&word));
	CHECK((get(&word) & FUTEX_TID_MASK) == other);
	FAILS(EINVAL, futex(&word, FUTEX_WAKE, 1, 0, 0, 0) == 0 ? (errno = EINVAL, -1L) : -1L); // nobody waits any more
	step = 2;
	CHECK(lock(&word) == 0 && (get(&word) & FUTEX_TID_MASK) == self());
	pthread_join(t, 0);
	CHECK(unlock(&word) == 0 && word == 0);
}

static volatile int order[8], norder;
static volatile int tids[8];
static void *queuer(void *a)
{
	tids[(intptr_t)a] = self();
	CHECK(lock(&word) == 0 && (get(&word) & FUTEX_TID_MASK) == self());
	order[norder++] = (intptr_t)a;
	CHECK(unlock(&word) == 0);
	return 0;
}

static void test_order(void)
{
	pthread_t t[4];
	word = norder = 0;
	take(&word);
	for (intptr_t i = 0; i < 4; i++) {
		pthread_create(&t[i], 0, queuer, (void *)i);
		while (!tids[i])
			usleep(200);
		wait_asleep(tids[i]);
	}
	CHECK(get(&word) == (self() | FUTEX_WAITERS));
	FAILS(EINVAL, futex(&word, FUTEX_WAKE, 1, 0, 0, 0)); // not to be woken like that
	CHECK(unlock(&word) == 0);
	CHECK(get(&word) != 0 || norder == 4); // handed over: never free in between
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], 0);
	CHECK(norder == 4 && word == 0);
	for (int i = 0; i < 4; i++)
		CHECK(order[i] == i);
}

static void *dead_end(void *a)
{
	(void)a;
	take(&word2);
	step = 1;
	other = self();
	CHECK(lock(&word) == 0);
	give(&word), give(&word2);
	return 0;
}

static void test_deadlock(void)
{
	pthread_t t;
	word = word2 = step = 0;
	take(&word);
	pthread_create(&t, 0, dead_end, 0);
	wait_for(&step, 1);
	wait_waiters(&word);
	wait_asleep(other);
	FAILS(EDEADLK, lock(&word2)); // its owner waits for me
	give(&word);
	pthread_join(t, 0);
	CHECK(word == 0 && (word2 & FUTEX_TID_MASK) == 0);
}

static volatile int handled;
static void on(int s) { (void)s, handled++; }

static void test_signals(void)
{
	pthread_t t;
	struct sigaction a = {.sa_handler = on};
	sigaction(SIGUSR1, &a, 0);
	word = norder = 0, tids[0] = 0;
	take(&word);
	pthread_create(&t, 0, queuer, 0);
	while (!tids[0])
		usleep(200);
	wait_asleep(tids[0]);
	pthread_kill(t, SIGUSR1); // the wait goes on, whatever the flags
	while (!handled)
		usleep(200);
	wait_asleep(tids[0]);
	give(&word);
	pthread_join(t, 0);
	CHECK(norder == 1);
}

// Owners that end: with a robust list the next one is told, without one it is a matter of the word alone.
struct robust { struct robust *next; uint32_t word; };
static struct { void *next; long offset; void *pending; } head;
static struct robust held;
static void *dies(void *a)
{
	head.next = (char *)&held + 1; // bit 0: of the inheriting kind
	held.next = (void *)&head;
	head.offset = offsetof(struct robust, word), head.pending = 0;
	CHECK(syscall(SYS_set_robust_list, &head, sizeof head) == 0);
	CHECK(lock(&held.word) == 0);
	step = 1;
	if (a)
		wait_waiters(&held.word);
	syscall(SYS_exit, 0);
	return 0;
}

static void test_robust(void)
{
	pthread_t t;
	for (intptr_t waits = 0; waits < 2; waits++) {
		held.word = step = 0;
		pthread_create(&t, 0, dies, (void *)waits);
		wait_for(&step, 1);
		if (!waits)
			for (int i = 0; i < 20000 && !(get(&held.word) & FUTEX_OWNER_DIED); i++)
				usleep(200);
		CHECK(lock(&held.word) == 0);
		uint32_t v = get(&held.word);
		CHECK((v & FUTEX_TID_MASK) == self() && (v & FUTEX_OWNER_DIED));
		CHECK(unlock(&held.word) == 0);
		pthread_detach(t);
	}
}

// The list of one that ends is followed to the first entry whose word cannot be reached.
static struct robust entries[2], *list[3];
static int dying;
static void *dies_astray(void *a)
{
	(void)a;
	dying = self();
	for (int i = 0; i < 3; i++) {
		list[i]->next = i < 2 ? list[i + 1] : (void *)&head;
		if (i != 1)
			list[i]->word = dying;
	}
	head.next = list[0], head.offset = offsetof(struct robust, word), head.pending = 0;
	CHECK(syscall(SYS_set_robust_list, &head, sizeof head) == 0);
	syscall(SYS_exit, 0);
	return 0;
}

static void test_astray(void)
{
	pthread_t t;
	char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED && mprotect(page + 4096, 4096, PROT_NONE) == 0);
	list[0] = &entries[0], list[1] = (void *)(page + 4096 - offsetof(struct robust, word)), list[2] = &entries[1];
	dying = 0;
	pthread_create(&t, 0, dies_astray, 0);
	for (int i = 0; i < 20000 && !(get((uint32_t *)&dying) && syscall(SYS_tgkill, getpid(), dying, 0) != 0); i++)
		usleep(200);
	CHECK(entries[0].word == FUTEX_OWNER_DIED);
	CHECK(entries[1].word == (uint32_t)dying);
	pthread_detach(t);
	munmap(page, 8192);
}

// A condition: woken threads go over to the lock, of which one gets it, without all of them running.
static uint32_t cond;
static volatile int woken, waiting;
static void *condition(void *a)
{
	(void)a;
	take(&word);
	uint32_t v = get(&cond);
	waiting++;
	other = self();
	give(&word);
	CHECK(futex(&cond, FUTEX_WAIT_REQUEUE_PI, v, 0, &word, 0) == 0);
	CHECK((get(&word) & FUTEX_TID_MASK) == self());
	woken++;
	give(&word);
	return 0;
}

static void test_condition(void)
{
	enum { n = 3 };
	pthread_t t[n];
	word = cond = waiting = woken = 0;
	for (int i = 0; i < n; i++) {
		pthread_create(&t[i], 0, condition, 0);
		wait_for(&waiting, i + 1);
		wait_asleep(other);
	}
	take(&word);
	FAILS(EINVAL, futex(&cond, FUTEX_CMP_REQUEUE_PI, 2, (void *)1, &word, 0)); // one is to be woken, no more
	FAILS(EINVAL, futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)1, &cond, 0));
	FAILS(EAGAIN, futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)100, &word, 1));
	FAILS(EINVAL, futex(&cond, FUTEX_REQUEUE, 1, (void *)100, &word2, 0)); // to another, or in another way
	__atomic_add_fetch(&cond, 1, __ATOMIC_SEQ_CST);
	CHECK(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)100, &word, 1) == n);
	usleep(5000);
	CHECK(woken == 0 && get(&word) == (self() | FUTEX_WAITERS)); // I have it
	give(&word);
	for (int i = 0; i < n; i++)
		pthread_join(t[i], 0);
	CHECK(woken == n && word == 0);
	// The lock is free: the first has it at once.
	waiting = woken = 0;
	pthread_create(&t[0], 0, condition, 0);
	wait_for(&waiting, 1);
	wait_asleep(other);
	__atomic_add_fetch(&cond, 1, __ATOMIC_SEQ_CST);
	CHECK(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)100, &word, 2) == 1);
	pthread_join(t[0], 0);
	CHECK(woken == 1 && word == 0);
	// Its time is over before anybody wakes it.
	struct timespec past = {1, 0};
	FAILS(EAGAIN, futex(&cond, FUTEX_WAIT_REQUEUE_PI, 77, 0, &word, 0));
	FAILS(ETIMEDOUT, futex(&cond, FUTEX_WAIT_REQUEUE_PI, 2, &past, &word, 0));
	FAILS(EINVAL, futex(&cond, FUTEX_WAIT_REQUEUE_PI, 2, 0, &cond, 0));
	CHECK(futex(&cond, FUTEX_CMP_REQUEUE_PI, 1, (void *)100, &word, 2) == 0 && word == 0);
}

// Many threads, two locks, always in one order.
static long counts[2];
static void *worker(void *a)
{
	(void)a;
	for (int i = 0; i < 3000; i++) {
		take(&word);
		counts[0]++;
		if (i % 3 == 0) {
			take(&word2);
			counts[1]++;
			give(&word2);
		}
		if (i % 64 == 0)
			sched_yield();
		give(&word);
	}
	return 0;
}

static void test_many(void)
{
	pthread_t t[8];
	word = word2 = 0;
	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], 0, worker, 0);
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], 0);
	CHECK(counts[0] == 24000 && counts[1] == 8000 && word == 0 && word2 == 0);
}

// The C library's mutexes of that kind.
static pthread_mutex_t mutex;
static long count;
static void *locker(void *a)
{
	(void)a;
	for (int i = 0; i < 3000; i++) {
		int r = pthread_mutex_lock(&mutex);
		CHECK(r == 0 || r == EOWNERDEAD);
		count++;
		pthread_mutex_unlock(&mutex);
	}
	return 0;
}
static void *leaves(void *a) { pthread_mutex_lock(&mutex); return a; }

static void test_mutex(void)
{
	pthread_mutexattr_t at;
	pthread_t t[4];
	pthread_mutexattr_init(&at);
	if (pthread_mutexattr_setprotocol(&at, PTHREAD_PRIO_INHERIT))
		return; // not every C library has it
	for (int robust = 0; robust < 2; robust++) {
		pthread_mutexattr_setrobust(&at, robust ? PTHREAD_MUTEX_ROBUST : PTHREAD_MUTEX_STALLED);
		pthread_mutexattr_settype(&at, PTHREAD_MUTEX_ERRORCHECK);
		CHECK(pthread_mutex_init(&mutex, &at) == 0);
		CHECK(pthread_mutex_lock(&mutex) == 0 && pthread_mutex_lock(&mutex) == EDEADLK && pthread_mutex_unlock(&mutex) == 0);
		count = 0;
		for (int i = 0; i < 4; i++)
			pthread_create(&t[i], 0, locker, 0);
		for (int i = 0; i < 4; i++)
			pthread_join(t[i], 0);
		CHECK(count == 12000);
		if (robust) {
			pthread_create(t, 0, leaves, 0);
			pthread_join(*t, 0);
			CHECK(pthread_mutex_lock(&mutex) == EOWNERDEAD && pthread_mutex_consistent(&mutex) == 0 && pthread_mutex_unlock(&mutex) == 0);
			CHECK(pthread_mutex_lock(&mutex) == 0 && pthread_mutex_unlock(&mutex) == 0);
		}
		pthread_mutex_destroy(&mutex);
	}
}

int main(void)
{
	test_alone();
	test_limit();
	test_order();
	test_deadlock();
	test_signals();
	test_robust();
	test_astray();
	test_condition();
	test_many();
	test_mutex();
	return check_done();
}
