// Functions on bytes and strings, against the simplest ones that could be, at all alignments and
// lengths, between pages that cannot be touched.
#include "../../conformance/src/check.h"
#include <stdint.h>
#include <strings.h>
#include <sys/mman.h>

#define PAGE 4096
#define MOST 300

static unsigned char *area, *end; // one page, and behind it nothing
static unsigned char *other, *other_end;
static unsigned char want[4 * PAGE], start[4 * PAGE];

static unsigned char *guarded(void)
{
	unsigned char *p = mmap(0, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(p + PAGE, PAGE, PROT_READ | PROT_WRITE);
	return p + PAGE;
}

static void noise(unsigned char *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (seed = seed * 1103515245 + 12345) >> 16 | 1; // never 0
}

// Called through pointers, so that the compiler does not put its own in their place.
static void *(*volatile copy)(void *restrict, const void *restrict, size_t) = memcpy;
static void *(*volatile move)(void *, const void *, size_t) = memmove;
static void *(*volatile set)(void *, int, size_t) = memset;
static int (*volatile compare)(const void *, const void *, size_t) = memcmp;
static size_t (*volatile length)(const char *) = strlen;
static void *(*volatile find)(const void *, int, size_t) = memchr;
static char *(*volatile first)(const char *, int) = strchr;
static int (*volatile order)(const char *, const char *) = strcmp;

static int sign(int x) { return (x > 0) - (x < 0); }

static void copies(void)
{
	for (size_t n = 0; n <= MOST; n++)
		for (int at = 0; at < 17; at++) {
			// At the very end and the very start of what can be touched.
			unsigned char *from = at & 1 ? end - n : area, *to = at & 2 ? other_end - n : other;
			from += at & 1 ? -(at >> 2) : at >> 2;
			noise(area, PAGE, n + at);
			memset(other, 0, PAGE);
			CHECK(copy(to, from, n) == to);
			int bad = 0;
			for (size_t i = 0; i < PAGE; i++) {
				unsigned char w = &other[i] >= to && &other[i] < to + n ? from[&other[i] - to] : 0;
				bad += other[i] != w;
			}
			CHECK(!bad);
			CHECK(set(to, n, n) == to);
			for (size_t i = 0; i < PAGE; i++)
				bad += other[i] != (&other[i] >= to && &other[i] < to + n ? (unsigned char)n : 0);
			CHECK(!bad);
		}
}

static void moves(void)
{
	static const int distances[] = { 0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 129, 500 };
	static const size_t lengths[] = { 1, 5, 15, 16, 17, 33, 64, 65, 127, 128, 129, 130, 191, 192, 193, 255, 257, 1000, 3071, 3072, 5000, 9000 };
	static unsigned char b[4 * PAGE];
	for (int k = 0; k < sizeof lengths / sizeof *lengths; k++)
		for (int d = 0; d < sizeof distances / sizeof *distances; d++)
			for (int at = 0; at < 20; at += 3)
				for (int up = 0; up < 2; up++) {
					size_t n = lengths[k], from = 600 + at, to = up ? from + distances[d] : from - distances[d];
					noise(b, sizeof b, n + d);
					memcpy(start, b, sizeof b);
					for (size_t i = 0; i < sizeof b; i++)
						want[i] = i >= to && i < to + n ? start[i - to + from] : start[i];
					CHECK(move(b + to, b + from, n) == b + to);
					int bad = 0;
					for (size_t i = 0; i < sizeof b; i++)
						bad += b[i] != want[i];
					CHECK(!bad);
				}
}

static void comparisons(void)
{
	for (size_t n = 0; n <= MOST; n++) {
		unsigned char *a = end - n, *b = other_end - n;
		noise(a, n, n);
		memcpy(b, a, n);
		CHECK(compare(a, b, n) == 0 && bcmp(a, b, n) == 0);
		for (size_t i = 0; i < n; i += n < 40 ? 1 : 7) {
			b[i] ^= 0x80;
			CHECK(sign(compare(a, b, n)) == (a[i] < b[i] ? -1 : 1) && sign(compare(b, a, n)) == (a[i] < b[i] ? 1 : -1));
			CHECK(compare(a, b, i) == 0);
			b[i] ^= 0x80;
		}
	}
}

static void strings(void)
{
	for (size_t n = 0; n <= MOST; n++)
		for (int back = 0; back < 18; back++) {
			char *s = (char *)end - n - 1 - back;
			noise(area, PAGE, n);
			for (size_t i = 0; i < n; i++)
				if ((unsigned char)s[i] == 'q')
					s[i] = 'r';
			s[n] = 0;
			CHECK(length(s) == n && strnlen(s, n + 1) == n && strnlen(s, n / 2) == n / 2);
			CHECK(first(s, 0) == s + n && first(s, 'q') == 0 && find(s, 'q', n) == 0 && find(s, 0, n + 1) == s + n);
			CHECK(find(s, 0, n) == 0 && find(s, 0, SIZE_MAX) == s + n && strchrnul(s, 'q') == s + n);
			if (n) {
				size_t i = n * back / 18;
				s[i] = 'q';
				CHECK(first(s, 'q') == s + i && find(s, 'q' + 256, n) == s + i && strchrnul(s, 'q') == s + i);
				CHECK(find(s, 'q', i) == 0 && find(s, 'q', i + 1) == s + i);
			}
			char *o = (char *)other_end - n - 1 - (back * 5) % 18;
			strcpy(o, s);
			CHECK(order(s, o) == 0 && strncmp(s, o, n) == 0);
			if (n) {
				size_t i = n * back / 18;
				o[i] = 0x7f;
				s[i] = 0x81;
				CHECK(order(s, o) > 0 && order(o, s) < 0);
				o[i] = 0;
				CHECK(order(s, o) > 0 && order(o, s) < 0);
			}
		}
}

int main(void)
{
	area = guarded();
	end = area + PAGE;
	other = guarded();
	other_end = other + PAGE;
	copies();
	moves();
	comparisons();
	strings();
	return check_done();
}
