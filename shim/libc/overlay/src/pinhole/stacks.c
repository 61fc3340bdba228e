/*
 * A cache of threads' memory: guard, stack and thread-local data, in one mapping. To make one,
 * touch its pages for the first time and take it away costs several times as much as all else
 * about a thread.
 *
 * A thread that has ended leaves its bytes behind. In the stack they do not matter; the top, where
 * the next thread's local data will be, is cleared when a mapping is taken out. While it waits, the
 * last words of a mapping say what it is.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include "libc.h"
#include "lock.h"
#include "pthread_impl.h"
#include "stacks.h"

/* How much is kept. */
#define MOST_BYTES (16UL << 20)
#define MOST_STACKS 64

struct waiting {
	struct waiting *next;
	size_t size, guard;
};

static struct waiting *first;
static size_t bytes, stacks;
static volatile int lock[1];

static struct waiting *take(size_t size, size_t guard)
{
	struct waiting *w = 0;
	LOCK(lock);
	for (struct waiting **p = &first; *p; p = &(*p)->next) {
		if ((*p)->size != size || (*p)->guard != guard)
			continue;
		w = *p;
		*p = w->next;
		bytes -= size;
		stacks--;
		break;
	}
	UNLOCK(lock);
	return w;
}

/* Returns a mapping whose first guard bytes cannot be touched and whose top is zero. */
void *__ph_stack_map(size_t size, size_t guard)
{
	struct waiting *w = take(size, guard);
	if (w) {
		char *end = (char *)(w + 1);
		size_t top = libc.tls_size + __pthread_tsd_size + sizeof *w;
		if (top > size - guard)
			top = size - guard;
		memset(end - top, 0, top);
		return end - size;
	}
	char *map = __mmap(0, size, guard ? PROT_NONE : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
	if (map != MAP_FAILED && guard && __mprotect(map + guard, size - guard, PROT_READ | PROT_WRITE)) {
		__munmap(map, size);
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return map;
}

/* Takes back the mapping of a thread that has ended. */
void __ph_stack_unmap(void *map, size_t size, size_t guard)
{
	struct waiting *w = (struct waiting *)((char *)map + size) - 1;
	int keep = 0;
	LOCK(lock);
	if (stacks < MOST_STACKS && size <= MOST_BYTES && bytes <= MOST_BYTES - size) {
		*w = (struct waiting){ first, size, guard };
		first = w;
		bytes += size;
		stacks++;
		keep = 1;
	}
	UNLOCK(lock);
	if (!keep)
		__munmap(map, size);
}
