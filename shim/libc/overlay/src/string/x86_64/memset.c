#include <string.h>
#include "vector.h"

/* From here on the processor's own string instruction is quicker. */
#define STRING 2048

void *memset(void *to, int c, size_t n)
{
	char *d = to;

	if (n < 16) {
		uint64_t v = (unsigned char)c * 0x0101010101010101;
		if (n >= 8) {
			*(u64_any *)d = v;
			*(u64_any *)(d + n - 8) = v;
		} else if (n >= 4) {
			*(u32_any *)d = v;
			*(u32_any *)(d + n - 4) = v;
		} else if (n >= 2) {
			*(u16_any *)d = v;
			*(u16_any *)(d + n - 2) = v;
		} else if (n) {
			*d = c;
		}
		return to;
	}
	if (n >= STRING) {
		void *at = d;
		__asm__ volatile ("rep stosb" : "+D"(at), "+c"(n) : "a"(c) : "memory");
		return to;
	}
	vec v = fill(c);
	char *last = d + n - 16;
	store(d, v);
	for (char *p = (char *)(((uintptr_t)d & -16) + 16); p < last; p += 16)
		*(vec *)p = v;
	store(last, v);
	return to;
}
