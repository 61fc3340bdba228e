#include <string.h>
#include "vector.h"

int memcmp(const void *left, const void *right, size_t n)
{
	const unsigned char *l = left, *r = right;

	if (n < 16) {
		if (n >= 8) {
			uint64_t a = *(u64_any *)l, b = *(u64_any *)r;
			if (a == b) {
				a = *(u64_any *)(l + n - 8);
				b = *(u64_any *)(r + n - 8);
			}
			a = __builtin_bswap64(a);
			b = __builtin_bswap64(b);
			return a < b ? -1 : a > b;
		}
		if (n >= 4) {
			uint32_t a = *(u32_any *)l, b = *(u32_any *)r;
			if (a == b) {
				a = *(u32_any *)(l + n - 4);
				b = *(u32_any *)(r + n - 4);
			}
			a = __builtin_bswap32(a);
			b = __builtin_bswap32(b);
			return a < b ? -1 : a > b;
		}
		for (size_t i = 0; i < n; i++)
			if (l[i] != r[i])
				return l[i] - r[i];
		return 0;
	}
	for (size_t i = 0;; i = i + 32 > n ? n - 16 : i + 16) {
		unsigned differ = same(load(l + i), load(r + i)) ^ 0xffff;
		if (differ) {
			i += __builtin_ctz(differ);
			return l[i] - r[i];
		}
		if (i == n - 16)
			return 0;
	}
}
