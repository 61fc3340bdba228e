// Memory: mmap(2), munmap(2), mprotect(2), mremap(2), madvise(2), brk(2), mincore(2).
#include "check.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static sigjmp_buf back;
static volatile sig_atomic_t fault_sig;
static void *volatile fault_addr;

static void on_fault(int s, siginfo_t *i, void *u)
{
	(void)u;
	fault_sig = s;
	fault_addr = i->si_addr;
	siglongjmp(back, 1);
}

static int reads(volatile char *p)
{
	if (sigsetjmp(back, 1))
		return 0;
	(void)*p;
	return 1;
}

static int writes(volatile char *p)
{
	if (sigsetjmp(back, 1))
		return 0;
	*p = *p;
	return 1;
}

int main(void)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	sigaction(SIGSEGV, &sa, 0);
	sigaction(SIGBUS, &sa, 0);
	const size_t P = 4096;

	char *p = mmap(0, 10 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED && (uintptr_t)p % P == 0);
	for (size_t i = 0; i < 10 * P; i++)
		if (p[i]) { CHECK(!"new memory is zero"); break; }
	memset(p, 'a', 10 * P);
	CHECK(munmap(p + 3 * P, 2 * P) == 0);
	CHECK(!reads(p + 3 * P) && fault_sig == SIGSEGV && fault_addr == p + 3 * P);
	CHECK(reads(p + 2 * P) && reads(p + 5 * P) && p[5 * P] == 'a');
	CHECK(munmap(p + 3 * P, P) == 0);
	FAILS(EINVAL, munmap(p + 1, P));
	FAILS(EINVAL, munmap(p, 0));
	char *q = mmap(p + 3 * P, 2 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(q == p + 3 * P && q[0] == 0);
	FAILS(EEXIST, (long)mmap(p, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));

	// mprotect keeps the content, again and again, and in parts.
	CHECK(mprotect(p, 4 * P, PROT_READ) == 0);
	CHECK(p[0] == 'a' && !writes(p) && writes(p + 4 * P) && p[2 * P] == 'a' && p[3 * P] == 0);
	CHECK(mprotect(p + P, P, PROT_READ | PROT_WRITE) == 0 && writes(p + P) && !writes(p));
	p[P] = 'b';
	CHECK(mprotect(p, 10 * P, PROT_NONE) == 0 && !reads(p + P));
	CHECK(mprotect(p, 10 * P, PROT_READ | PROT_WRITE) == 0 && p[P] == 'b' && p[9 * P] == 'a' && p[3 * P] == 0);
	FAILS(EINVAL, syscall(SYS_mprotect, p + 1, P, PROT_READ)); // musl's own rounds
	CHECK(munmap(p, 10 * P) == 0);
	FAILS(ENOMEM, mprotect(p, P, PROT_READ));

	// Code that is written, then run, then written again.
	unsigned char *x = mmap(0, P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char code[] = {0xb8, 1, 0, 0, 0, 0xc3}; // mov $1,%eax; ret
	memcpy(x, code, sizeof code);
	for (int i = 1; i < 50; i++) {
		CHECK(mprotect(x, P, PROT_READ | PROT_EXEC) == 0);
		if (((int (*)(void))x)() != i) { CHECK(!"runs what was written"); break; }
		CHECK(mprotect(x, P, PROT_READ | PROT_WRITE) == 0);
		x[1] = i + 1;
	}

	// mremap.
	p = mmap(0, 4 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 4; i++)
		p[i * P] = 'A' + i;
	q = mremap(p, 4 * P, 100 * P, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED && q[0] == 'A' && q[3 * P] == 'D' && q[50 * P] == 0);
	q[99 * P] = 'z';
	p = mremap(q, 100 * P, 2 * P, 0);
	CHECK(p == q && p[P] == 'B' && !reads(p + 2 * P));
	char *hole = mmap(0, 2 * P, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	q = mremap(p, 2 * P, 2 * P, MREMAP_MAYMOVE | MREMAP_FIXED, hole);
	CHECK(q == hole && q[0] == 'A' && q[P] == 'B' && !reads(p));
	FAILS(EINVAL, (long)mremap(q + 1, P, P, 0));
	FAILS(EFAULT, (long)mremap(p, P, 2 * P, MREMAP_MAYMOVE));

	// madvise(DONTNEED) gives zero pages.
	memset(q, 'x', 2 * P);
	CHECK(madvise(q, P, MADV_DONTNEED) == 0 && q[0] == 0 && q[P] == 'x');
	FAILS(EINVAL, madvise(q, P, 9999));
	unsigned char vec[2];
	CHECK(mincore(q, 2 * P, vec) == 0 && (vec[1] & 1));
	CHECK(munmap(q, 2 * P) == 0);
	FAILS(ENOMEM, mincore(q, P, vec));

	// brk.
	char *b0 = sbrk(0);
	if (sbrk(3 * P) == b0) {
		memset(b0, 1, 3 * P);
		CHECK(sbrk(0) == b0 + 3 * P && sbrk(-2 * (long)P) != (void *)-1 && b0[0] == 1);
	}

	// File mappings: private ones show the file and keep their own writes.
	int fd = open("m", O_CREAT | O_RDWR, 0600);
	static char buf[3 * 4096];
	for (unsigned i = 0; i < sizeof buf; i++)
		buf[i] = i / 16;
	CHECK(write(fd, buf, 2 * P + 100) == (ssize_t)(2 * P + 100));
	p = mmap(0, 3 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED && !memcmp(p, buf, 2 * P + 100));
	CHECK(p[2 * P + 100] == 0 && p[3 * P - 1] == 0);
	p[5] = 'W';
	char c;
	CHECK(pread(fd, &c, 1, 5) == 1 && c == buf[5]);
	q = mmap(0, P, PROT_READ, MAP_PRIVATE, fd, P);
	CHECK(q != MAP_FAILED && !memcmp(q, buf + P, P) && !writes(q));
	CHECK(close(fd) == 0 && q[0] == buf[P]);
	CHECK(munmap(q, P) == 0 && munmap(p, 3 * P) == 0);
	FAILS(EBADF, (long)mmap(0, P, PROT_READ, MAP_PRIVATE, 999, 0));
	fd = open("m", O_RDONLY);
	FAILS(EINVAL, (long)mmap(0, P, PROT_READ, MAP_PRIVATE, fd, 1));
	FAILS(EINVAL, (long)mmap(0, 0, PROT_READ, MAP_PRIVATE, fd, 0));
	FAILS(EACCES, (long)mmap(0, P, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	fd = open("wo", O_CREAT | O_WRONLY, 0600);
	FAILS(EACCES, (long)mmap(0, P, PROT_READ, MAP_PRIVATE, fd, 0));
	FAILS(ENOMEM, (long)mmap(0, (size_t)1 << 47, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	// Anonymous shared memory, and a large sparse reservation.
	p = mmap(0, 2 * P, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED && p[0] == 0 && writes(p));
	p = mmap(0, (size_t)1 << 34, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(p != MAP_FAILED && mprotect(p + (1L << 33), P, PROT_READ | PROT_WRITE) == 0 && writes(p + (1L << 33)));
	CHECK(munmap(p, (size_t)1 << 34) == 0);

	// Many mappings of different protection.
	p = mmap(0, 4000 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 4000; i += 2)
		if (mprotect(p + i * P, P, PROT_READ)) { CHECK(!"many protections"); break; }
	CHECK(!writes(p + 2 * P) && writes(p + 3 * P));
	CHECK(munmap(p, 4000 * P) == 0);
	return check_done();
}
