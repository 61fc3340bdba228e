// Random steps on a file, by calls and by mappings, compared with what the file should hold after each, in
// the manner of fsx. Arguments: seed, number of steps, and how many from one look at everything to the next.
#include "check.h"
#include <fcntl.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE 4096
#define MAX (96 * PAGE)
#define MAPS 4

static unsigned char model[MAX + PAGE]; // what the file holds
static long size;                       // and how long it is
static int fd;
static struct mapping {
	unsigned char *p; // 0: none
	long off, pages;
	int shared, write;
} maps[MAPS];
static unsigned long long state;
static int step;
static const char *what;
static int every = 7; // how many steps from one look at everything to the next

static unsigned rnd(unsigned n)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (state >> 33) % n;
}

static void bad(const char *why, long at)
{
	check_failed++;
	printf("step %d, %s: %s at %ld (size %ld)\n", step, what, why, at, size);
	if (check_failed > 5)
		exit(check_done());
}

static sigjmp_buf jump;
static volatile int jumped;

static void on_bus(int sig) { jumped = sig; siglongjmp(jump, 1); }

// Makes a range of the file, with a leaning to the ends of pages.
static void range(long *off, long *n)
{
	*off = rnd(MAX);
	if (rnd(3) == 0)
		*off &= ~(PAGE - 1);
	*n = rnd(4) ? rnd(3 * PAGE) + 1 : rnd(20 * PAGE) + 1;
	if (*off + *n > MAX)
		*n = MAX - *off;
}

static void compare(const unsigned char *got, long off, long n, const char *where)
{
	for (long i = 0; i < n; i++)
		if (got[i] != model[off + i]) {
			printf("  %s has %d, should be %d\n", where, got[i], model[off + i]);
			bad("wrong content", off + i);
			return;
		}
}

static void all(void)
{
	static unsigned char b[MAX + 1];
	struct stat st;
	if (fstat(fd, &st) || st.st_size != size)
		bad("wrong size", st.st_size);
	if (pread(fd, b, sizeof b, 0) != size)
		bad("short read", 0);
	compare(b, 0, size, "the file");
	for (int i = 0; i < MAPS; i++) {
		struct mapping *m = &maps[i];
		if (!m->p || !m->shared)
			continue;
		long end = (size + PAGE - 1) & ~(PAGE - 1); // zeros behind the end, too
		long n = end - m->off < m->pages * PAGE ? end - m->off : m->pages * PAGE;
		if (n > 0)
			compare(m->p, m->off, n, "a mapping");
	}
}

static void resize(long n)
{
	if (n < size)
		memset(model + n, 0, size - n);
	size = n;
}

static struct mapping *mapped(int write)
{
	struct mapping *m = &maps[rnd(MAPS)];
	if (!m->p || (write && !m->write) || !m->shared || m->off >= size)
		return 0;
	return m;
}

static void one(void)
{
	static unsigned char b[MAX];
	long off, n;
	struct mapping *m;
	range(&off, &n);
	switch (rnd(16)) {
	case 0: case 1: case 2:
		what = "pwrite";
		for (long i = 0; i < n; i++)
			b[i] = rnd(255) + 1;
		if (pwrite(fd, b, n, off) != n) {
			bad("failed", off);
			return;
		}
		memcpy(model + off, b, n);
		if (off + n > size)
			size = off + n;
		return;
	case 3: case 4: case 5:
		what = "store";
		if (!(m = mapped(1)))
			return;
		off = m->off + rnd(m->pages * PAGE);
		if (off >= size)
			return;
		n = rnd(2) ? 1 + rnd(64) : 1 + rnd(3 * PAGE);
		if (off + n > m->off + m->pages * PAGE)
			n = m->off + m->pages * PAGE - off;
		if (off + n > size)
			n = size - off;
		for (long i = 0; i < n; i++)
			m->p[off - m->off + i] = model[off + i] = rnd(255) + 1;
		return;
	case 6: case 7:
		what = "mmap";
		m = &maps[rnd(MAPS)];
		if (m->p && munmap(m->p, m->pages * PAGE))
			bad("munmap failed", m->off);
		m->off = rnd(MAX / PAGE) * PAGE;
		m->pages = 1 + rnd(40);
		m->shared = rnd(5) != 0;
		m->write = rnd(3) != 0;
		m->p = mmap(0, m->pages * PAGE, PROT_READ | (m->write ? PROT_WRITE : 0), m->shared ? MAP_SHARED : MAP_PRIVATE, fd, m->off);
		if (m->p == MAP_FAILED) {
			bad("failed", m->off);
			m->p = 0;
		} else if (!m->shared && m->off < size) {
			// What it shows now; later it may or may not follow.
			n = size - m->off < m->pages * PAGE ? size - m->off : m->pages * PAGE;
			compare(m->p, m->off, n, "a private mapping");
			if (m->write)
				memset(m->p, 0xee, n);
		}
		return;
	case 8:
		what = "truncate";
		n = rnd(3) ? rnd(MAX) : rnd(MAX / PAGE) * PAGE;
		if (ftruncate(fd, n))
			bad("failed", n);
		resize(n);
		return;
	case 9:
		what = "punch";
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, n))
			bad("failed", off);
		if (off < size)
			memset(model + off, 0, off + n < size ? n : size - off);
		return;
	case 10:
		what = "fallocate";
		if (fallocate(fd, rnd(2) ? 0 : FALLOC_FL_KEEP_SIZE | (rnd(2) ? FALLOC_FL_ZERO_RANGE : 0), off, 1)) // which of them does not matter for a byte
			bad("failed", off);
		{
			struct stat st;
			fstat(fd, &st);
			if (st.st_size != size && st.st_size != off + 1)
				bad("wrong size", off);
			size = st.st_size;
			if (off < size && pread(fd, b, 1, off) == 1 && b[0] != model[off]) {
				if (b[0])
					bad("wrong byte", off);
				model[off] = 0;
			}
		}
		return;
	case 11:
		what = "sync";
		switch (rnd(4)) {
		case 0: fsync(fd); return;
		case 1: fdatasync(fd); return;
		case 2: sync(); return;
		}
		if ((m = mapped(0)) && msync(m->p, m->pages * PAGE, rnd(2) ? MS_SYNC : MS_ASYNC))
			bad("msync failed", m->off);
		return;
	case 12:
		what = "pwrite from a mapping";
		if (!(m = mapped(0)))
			return;
		n = 1 + rnd(5 * PAGE);
		long from = m->off + rnd(m->pages * PAGE);
		if (from + n > m->off + m->pages * PAGE)
			n = m->off + m->pages * PAGE - from;
		if (from + n > size)
			n = size - from;
		off = rnd(MAX - 6 * PAGE);
		if (n <= 0 || (from < off + n && off < from + n))
			return;
		if (pwrite(fd, m->p + (from - m->off), n, off) != n) {
			bad("failed", off);
			return;
		}
		memcpy(model + off, model + from, n);
		if (off + n > size)
			size = off + n;
		return;
	case 13:
		what = "pread into a mapping";
		if (!(m = mapped(1)))
			return;
		n = 1 + rnd(5 * PAGE);
		long to = m->off + rnd(m->pages * PAGE);
		if (to + n > m->off + m->pages * PAGE)
			n = m->off + m->pages * PAGE - to;
		if (to + n > size)
			n = size - to;
		off = rnd(MAX - 6 * PAGE);
		if (off + n > size)
			n = size - off;
		if (n <= 0 || (to < off + n && off < to + n))
			return;
		if (pread(fd, m->p + (to - m->off), n, off) != n) {
			bad("failed", off);
			return;
		}
		memcpy(model + to, model + off, n);
		return;
	case 14:
		what = "the end of a mapping";
		if (!(m = mapped(0)))
			return;
		off = (size + PAGE - 1) & ~(PAGE - 1);
		jumped = 0;
		if (off < m->off + m->pages * PAGE) {
			if (!sigsetjmp(jump, 1))
				*(volatile unsigned char *)(m->p + (off - m->off));
			if (jumped != SIGBUS)
				bad("no SIGBUS behind it", off);
		}
		if (m->write && size % PAGE && size < m->off + m->pages * PAGE) {
			m->p[size - m->off] = 0xdd; // in the last page, behind the end: nobody's
			msync(m->p, m->pages * PAGE, MS_SYNC);
			m->p[size - m->off] = 0;
		}
		return;
	case 15:
		what = "mremap, mprotect, madvise";
		m = &maps[rnd(MAPS)];
		if (!m->p)
			return;
		if (rnd(2)) {
			long pages = 1 + rnd(40);
			unsigned char *p = mremap(m->p, m->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
			if (p == MAP_FAILED) {
				bad("mremap failed", m->off);
				return;
			}
			m->p = p;
			m->pages = pages;
		}
		if (mprotect(m->p, m->pages * PAGE, PROT_READ) || mprotect(m->p, m->pages * PAGE, PROT_READ | (m->write ? PROT_WRITE : 0)))
			bad("mprotect failed", m->off);
		if (rnd(2) && madvise(m->p, m->pages * PAGE, MADV_DONTNEED))
			bad("madvise failed", m->off);
		return;
	}
}

int main(int argc, char **argv)
{
	unsigned long long seed = argc > 1 ? strtoull(argv[1], 0, 10) : 1;
	int steps = argc > 2 ? atoi(argv[2]) : 6000;
	if (argc > 3)
		every = atoi(argv[3]);
	state = seed;
	printf("seed %llu, %d steps\n", seed, steps);
	signal(SIGBUS, on_bus);
	fd = open("stress", O_CREAT | O_TRUNC | O_RDWR, 0600);
	CHECK(fd >= 0);
	for (step = 0; step < steps; step++) {
		one();
		check_count++;
		if (step % every == 0)
			all();
	}
	all();
	return check_done();
}
