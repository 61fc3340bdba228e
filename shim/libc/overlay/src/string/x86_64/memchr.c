#include <string.h>
#include "vector.h"

void *memchr(const void *from, int c, size_t n)
{
	const char *s = from;
	if (!n)
		return 0;
	const char *p = (const char *)((uintptr_t)s & -16);
	size_t left = n + (s - p); /* bytes from p on, which may be more than there are addresses */
	if (left < n)
		left = SIZE_MAX;
	vec v = fill(c);
	unsigned hits = same(*(const vec *)p, v) >> (s - p) << (s - p);
	while (!hits) {
		if (left <= 16)
			return 0;
		left -= 16;
		p += 16;
		hits = same(*(const vec *)p, v);
	}
	unsigned at = __builtin_ctz(hits);
	return at < left ? (void *)(p + at) : 0;
}
