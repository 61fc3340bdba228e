#include <string.h>
#include "vector.h"

size_t strlen(const char *s)
{
	const char *p = (const char *)((uintptr_t)s & -16);
	vec zero = fill(0);
	unsigned ends = same(*(const vec *)p, zero) >> (s - p);
	if (ends)
		return __builtin_ctz(ends);
	do
		p += 16;
	while (!(ends = same(*(const vec *)p, zero)));
	return p - s + __builtin_ctz(ends);
}
