/*
 * memmove, which serves as memcpy, too. What is short is read whole before any of it is written.
 * What is long goes forward or backward in steps of 64 bytes, with its ends read beforehand.
 */
#include "vector.h"

/* From here on the processor's own string instruction is quicker, if the two are not close. */
#define STRING 3072

static inline __attribute__((__always_inline__)) void *copy(void *to, const void *from, size_t n)
{
	char *d = to;
	const char *s = from;

	if (n < 16) {
		if (n >= 8) {
			uint64_t a = *(u64_any *)s, b = *(u64_any *)(s + n - 8);
			*(u64_any *)d = a;
			*(u64_any *)(d + n - 8) = b;
		} else if (n >= 4) {
			uint32_t a = *(u32_any *)s, b = *(u32_any *)(s + n - 4);
			*(u32_any *)d = a;
			*(u32_any *)(d + n - 4) = b;
		} else if (n >= 2) {
			uint16_t a = *(u16_any *)s, b = *(u16_any *)(s + n - 2);
			*(u16_any *)d = a;
			*(u16_any *)(d + n - 2) = b;
		} else if (n) {
			*d = *s;
		}
		return to;
	}
	if (n <= 32) {
		vec a = load(s), b = load(s + n - 16);
		store(d, a);
		store(d + n - 16, b);
		return to;
	}
	vec a = load(s), b = load(s + 16), y = load(s + n - 32), z = load(s + n - 16);
	if (n <= 64) {
		store(d, a);
		store(d + 16, b);
		store(d + n - 32, y);
		store(d + n - 16, z);
		return to;
	}
	vec w = load(s + n - 64), x = load(s + n - 48);
	if (n <= 128) {
		vec e = load(s + 32), f = load(s + 48);
		store(d, a);
		store(d + 16, b);
		store(d + 32, e);
		store(d + 48, f);
		store(d + n - 64, w);
		store(d + n - 48, x);
		store(d + n - 32, y);
		store(d + n - 16, z);
		return to;
	}
	if ((size_t)(d - s) >= n) {
		if (n >= STRING && (size_t)(s - d) >= 64) {
			void *at = d;
			__asm__ volatile ("rep movsb" : "+D"(at), "+S"(s), "+c"(n) : : "memory");
			return to;
		}
		/* The first vector goes to where d is, the others to multiples of 16. */
		size_t skip = 16 - ((uintptr_t)d & 15);
		char *last = d + n - 64;
		char *p = d + skip;
		s += skip;
		vec head = a;
		a = load(s);
		b = load(s + 16);
		vec e = load(s + 32), f = load(s + 48);
		store(d, head);
		for (;;) {
			*(vec *)p = a;
			*(vec *)(p + 16) = b;
			*(vec *)(p + 32) = e;
			*(vec *)(p + 48) = f;
			p += 64;
			s += 64;
			if (p >= last)
				break;
			a = load(s);
			b = load(s + 16);
			e = load(s + 32);
			f = load(s + 48);
		}
		store(last, w);
		store(last + 16, x);
		store(last + 32, y);
		store(last + 48, z);
		return to;
	}
	vec e = load(s + 32), f = load(s + 48);
	size_t skip = (uintptr_t)(d + n) & 15;
	char *p = d + n - skip;
	s += n - skip;
	w = load(s - 64);
	x = load(s - 48);
	y = load(s - 32);
	vec tail = z;
	z = load(s - 16);
	store(d + n - 16, tail);
	for (;;) {
		*(vec *)(p - 16) = z;
		*(vec *)(p - 32) = y;
		*(vec *)(p - 48) = x;
		*(vec *)(p - 64) = w;
		p -= 64;
		s -= 64;
		if (p <= d + 64)
			break;
		w = load(s - 64);
		x = load(s - 48);
		y = load(s - 32);
		z = load(s - 16);
	}
	store(d, a);
	store(d + 16, b);
	store(d + 32, e);
	store(d + 48, f);
	return to;
}
