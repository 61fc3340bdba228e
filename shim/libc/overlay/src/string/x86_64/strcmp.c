#include <string.h>
#include "vector.h"

int strcmp(const char *left, const char *right)
{
	const unsigned char *l = (const void *)left, *r = (const void *)right;
	vec zero = fill(0);
	for (;;) {
		if (CROSSES(l) || CROSSES(r)) {
			for (int i = 0; i < 16; i++, l++, r++)
				if (*l != *r || !*l)
					return *l - *r;
			continue;
		}
		vec a = load(l);
		unsigned stop = (same(a, load(r)) ^ 0xffff) | same(a, zero);
		if (stop) {
			int i = __builtin_ctz(stop);
			return l[i] - r[i];
		}
		l += 16;
		r += 16;
	}
}
