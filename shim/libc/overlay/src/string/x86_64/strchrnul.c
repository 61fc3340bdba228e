#define _GNU_SOURCE
#include <features.h>
#include <string.h>
#include "vector.h"

char *__strchrnul(const char *s, int c)
{
	const char *p = (const char *)((uintptr_t)s & -16);
	vec v = fill(c), zero = fill(0), here = *(const vec *)p;
	unsigned hits = (same(here, v) | same(here, zero)) >> (s - p) << (s - p);
	while (!hits) {
		p += 16;
		here = *(const vec *)p;
		hits = same(here, v) | same(here, zero);
	}
	return (char *)p + __builtin_ctz(hits);
}

weak_alias(__strchrnul, strchrnul);
