/*
 * Sixteen bytes at a time, by the vector unit that every x86-64 processor has. Upstream's C goes by
 * bytes or words, since it is for all machines; programs spend much of their time here.
 *
 * A vector that is read from an aligned address lies in one page, so that it may be read as soon as
 * one byte of it belongs to the string.
 */
#ifndef PINHOLE_VECTOR_H
#define PINHOLE_VECTOR_H

#include <stddef.h>
#include <stdint.h>

typedef char vec __attribute__((__vector_size__(16), __may_alias__));
typedef vec vec_any __attribute__((__aligned__(1)));
typedef uint64_t u64_any __attribute__((__aligned__(1), __may_alias__));
typedef uint32_t u32_any __attribute__((__aligned__(1), __may_alias__));
typedef uint16_t u16_any __attribute__((__aligned__(1), __may_alias__));

#define VEC sizeof(vec)

/* Whether the sixteen bytes at an address lie in two pages. */
#define CROSSES(p) (((uintptr_t)(p) & 4095) > 4096 - VEC)

static inline vec load(const void *p) { return *(const vec_any *)p; }
static inline void store(void *p, vec v) { *(vec_any *)p = v; }

/* The vector whose bytes are all c. */
static inline vec fill(int c)
{
	char b = c;
	return (vec){ b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b };
}

/* A bit for each byte that is the same in both. */
static inline unsigned same(vec a, vec b) { return __builtin_ia32_pmovmskb128((vec)(a == b)); }

#endif
