/* What C++'s support library expects of a C library besides the standard. */
#include <pthread.h>
#include <stdlib.h>

/* Whether there has never been a second thread: 0 is always right. */
char __libc_single_threaded;

/* A destructor of a thread_local object. */
struct ending {
	void (*run)(void *);
	void *object;
	struct ending *before;
};

static _Thread_local struct ending *endings;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void end(void *unused)
{
	for (struct ending *e; (e = endings); free(e)) {
		endings = e->before;
		e->run(e->object);
	}
}

/* The main thread's end is the program's, which runs no destructors of keys. */
static void end_main(void)
{
	end(0);
}

static void start(void)
{
	if (pthread_key_create(&key, end))
		abort();
	atexit(end_main);
}

int __cxa_thread_atexit_impl(void (*run)(void *), void *object, void *dso)
{
	struct ending *e = malloc(sizeof *e);
	if (!e)
		return -1;
	pthread_once(&once, start);
	/* A destructor may make objects, too: the key must not be null for it to be run again. */
	pthread_setspecific(key, e);
	*e = (struct ending){ run, object, endings };
	endings = e;
	return 0;
}
