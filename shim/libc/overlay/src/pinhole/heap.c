/*
 * A cache of the allocator's mappings. Programs that get and give back tens of kilobytes at a time
 * have the allocator map and unmap them each time, and each page is touched for the first time
 * again and again, which costs more than to clear it.
 *
 * The allocator counts on its mappings being zero, so one from the cache is cleared. No mapping
 * waits here that is larger than what is quickly cleared.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include "lock.h"
#include "heap.h"

#define LARGEST (512UL << 10)
#define MOST_BYTES (4UL << 20)
#define SLOTS 32

static struct {
	void *map;
	size_t size;
} slots[SLOTS];
static size_t bytes;
static unsigned count; /* slots in use, the youngest last */
static volatile int lock[1];

static void *take(size_t size)
{
	void *map = 0;
	LOCK(lock);
	for (unsigned i = count; i-- > 0;) {
		if (slots[i].size != size)
			continue;
		map = slots[i].map;
		count--;
		memmove(slots + i, slots + i + 1, (count - i) * sizeof slots[0]);
		bytes -= size;
		break;
	}
	UNLOCK(lock);
	return map;
}

/* Gives everything back. */
static void drain(void)
{
	LOCK(lock);
	while (count > 0) {
		count--;
		bytes -= slots[count].size;
		__munmap(slots[count].map, slots[count].size);
	}
	UNLOCK(lock);
}

static size_t pages(size_t size) { return (size + 4095) & -4096UL; }

void *__ph_heap_map(void *addr, size_t size, int prot, int flags, int fd, off_t off)
{
	if (!addr && prot == (PROT_READ | PROT_WRITE) && size <= LARGEST) {
		void *map = take(pages(size));
		if (map)
			return memset(map, 0, pages(size));
	}
	void *map = __mmap(addr, size, prot, flags, fd, off);
	if (map == MAP_FAILED && errno == ENOMEM && count) {
		drain();
		map = __mmap(addr, size, prot, flags, fd, off);
	}
	return map;
}

int __ph_heap_unmap(void *map, size_t size)
{
	struct { void *map; size_t size; } old[SLOTS];
	unsigned n = 0;
	size = pages(size);
	if (size > LARGEST)
		return __munmap(map, size);
	LOCK(lock);
	/* What has waited longest makes room. */
	while (count == SLOTS || (count && bytes + size > MOST_BYTES)) {
		old[n].map = slots[0].map;
		old[n++].size = slots[0].size;
		bytes -= slots[0].size;
		count--;
		memmove(slots, slots + 1, count * sizeof slots[0]);
	}
	slots[count].map = map;
	slots[count++].size = size;
	bytes += size;
	UNLOCK(lock);
	while (n > 0) {
		n--;
		__munmap(old[n].map, old[n].size);
	}
	return 0;
}
