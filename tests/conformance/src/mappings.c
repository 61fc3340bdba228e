// Mappings of files, private and shared: mmap(2), msync(2), mremap(2), mprotect(2), madvise(2), and what
// read(2), write(2), ftruncate(2) and fallocate(2) have to do with them.
#include "check.h"
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define PAGE 4096
#define RW (PROT_READ | PROT_WRITE)

static sigjmp_buf fault_jump;
static volatile int fault_sig, fault_code;
static void *volatile fault_addr;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	fault_sig = sig;
	fault_code = info->si_code;
	fault_addr = info->si_addr;
	siglongjmp(fault_jump, 1);
}

// What an access raises: 0 for nothing.
static int load(volatile char *p)
{
	fault_sig = 0;
	if (!sigsetjmp(fault_jump, 1))
		(void)*p;
	return fault_sig;
}

static int store(volatile char *p, char v)
{
	fault_sig = 0;
	if (!sigsetjmp(fault_jump, 1))
		*p = v;
	return fault_sig;
}

// BUS: the access to a page behind the end of a file.
#define BUS(access, p) do { \
	CHECK((access) == SIGBUS); \
	CHECK(fault_code == BUS_ADRERR); \
	CHECK(fault_addr == (void *)(p)); \
} while (0)

static int get(int fd, off_t off)
{
	unsigned char c;
	return pread(fd, &c, 1, off) == 1 ? c : -1;
}

static void put(int fd, off_t off, unsigned char c) { CHECK(pwrite(fd, &c, 1, off) == 1); }

static int newfile(const char *name, off_t size)
{
	int fd = open(name, O_CREAT | O_TRUNC | O_RDWR, 0644);
	CHECK(fd >= 0);
	char b[PAGE];
	for (off_t at = 0; at < size; at += sizeof b) {
		memset(b, 'a' + at / PAGE % 26, sizeof b);
		size_t n = size - at < (off_t)sizeof b ? size - at : sizeof b;
		CHECK(pwrite(fd, b, n, at) == (ssize_t)n);
	}
	return fd;
}

static char *map(int fd, size_t pages, int prot, int flags, off_t page)
{
	char *p = mmap(0, pages * PAGE, prot, flags, fd, page * PAGE);
	CHECK(p != MAP_FAILED);
	return p;
}

// A shared mapping, the file, and other mappings show the same.
static void coherence(void)
{
	int fd = newfile("coherence", 8 * PAGE - 100);
	char *early = map(fd, 8, PROT_READ, MAP_SHARED, 0), *priv = map(fd, 8, PROT_READ, MAP_PRIVATE, 0);
	CHECK(early[0] == 'a' && early[7 * PAGE] == 'h' && priv[3 * PAGE] == 'd');
	char *p = map(fd, 8, RW, MAP_SHARED, 0);
	for (int i = 0; i < 8; i++)
		CHECK(store(p + i * PAGE + 10, i + 1) == 0);
	for (int i = 0; i < 8; i++)
		CHECK(early[i * PAGE + 10] == i + 1 && get(fd, i * PAGE + 10) == i + 1);
	for (int i = 0; i < 8; i++)
		put(fd, i * PAGE + 11, i + 101);
	for (int i = 0; i < 8; i++)
		CHECK(p[i * PAGE + 11] == i + 101 && early[i * PAGE + 11] == i + 101);
	char *part = map(fd, 2, PROT_READ, MAP_SHARED, 3), *late = map(fd, 8, PROT_READ, MAP_PRIVATE, 0);
	for (int i = 0; i < 8; i++)
		CHECK(late[i * PAGE + 10] == i + 1 && late[i * PAGE + 11] == i + 101);
	CHECK(part[10] == 4 && part[PAGE + 10] == 5);
	p[3 * PAGE + 12] = 77;
	CHECK(part[12] == 77);
	// A private mapping keeps what is stored to it.
	char *own = map(fd, 8, RW, MAP_PRIVATE, 0);
	own[10] = 99;
	CHECK(p[10] == 1 && get(fd, 10) == 1 && own[10] == 99 && own[11] == 101);
	put(fd, 12, 55);
	CHECK(own[10] == 99);
	CHECK(madvise(own, PAGE, MADV_DONTNEED) == 0 && own[10] == 1 && own[12] == 55);
	// The mapping keeps the file after close and unlink.
	CHECK(close(fd) == 0 && unlink("coherence") == 0);
	p[20] = 33;
	CHECK(early[20] == 33);
	for (char **m = (char *[]){early, priv, p, late, own, 0}; *m; m++)
		CHECK(munmap(*m, 8 * PAGE) == 0);
	CHECK(munmap(part, 2 * PAGE) == 0);
}

// Readers that never see anybody's stores but by write(2), as LMDB has it.
static void readers(void)
{
	int fd = newfile("readers", 64 * PAGE);
	char *p = map(fd, 64, PROT_READ, MAP_SHARED, 0);
	for (int round = 1; round < 4; round++) {
		for (int i = 0; i < 64; i += round)
			put(fd, i * PAGE + round, round * 10 + 1);
		for (int i = 0; i < 64; i += round)
			if (p[i * PAGE + round] != round * 10 + 1)
				CHECK(!"a mapping shows a later write");
		if (round == 2)
			CHECK(fsync(fd) == 0);
	}
	CHECK(store(p, 1) == SIGSEGV && fault_code == SEGV_ACCERR);
	close(fd);
	munmap(p, 64 * PAGE);
}

// The end of the file: zeros behind it in its last page, SIGBUS behind that, and changes of it.
static void ends(void)
{
	int fd = newfile("ends", 2 * PAGE + 100);
	char *p = map(fd, 6, RW, MAP_SHARED, 0), *q = map(fd, 6, PROT_READ, MAP_PRIVATE, 0);
	CHECK(p[2 * PAGE + 99] == 'c' && p[2 * PAGE + 100] == 0 && p[3 * PAGE - 1] == 0);
	CHECK(q[2 * PAGE + 99] == 'c' && q[2 * PAGE + 100] == 0 && q[3 * PAGE - 1] == 0);
	BUS(load(p + 3 * PAGE + 5), p + 3 * PAGE + 5);
	BUS(store(p + 5 * PAGE + 7, 1), p + 5 * PAGE + 7);
	BUS(load(q + 3 * PAGE), q + 3 * PAGE);
	// A store behind the end is never the file's.
	p[2 * PAGE + 200] = 'x';
	CHECK(msync(p, 6 * PAGE, MS_SYNC) == 0);
	CHECK(ftruncate(fd, 4 * PAGE) == 0);
	CHECK(get(fd, 2 * PAGE + 200) == 0 && p[2 * PAGE + 200] == 0);
	CHECK(get(fd, 2 * PAGE + 99) == 'c');
	CHECK(load(p + 3 * PAGE) == 0 && p[3 * PAGE] == 0 && store(p + 3 * PAGE, 'y') == 0);
	CHECK(get(fd, 3 * PAGE) == 'y' && q[3 * PAGE] == 'y');
	// Shorter, under both mappings.
	CHECK(ftruncate(fd, PAGE + 50) == 0);
	CHECK(p[PAGE + 49] == 'b' && p[PAGE + 50] == 0);
	BUS(load(p + 2 * PAGE), p + 2 * PAGE);
	BUS(load(q + 3 * PAGE), q + 3 * PAGE);
	CHECK(ftruncate(fd, 6 * PAGE) == 0);
	for (int i = PAGE + 50; i < 6 * PAGE; i++)
		if (p[i] || (i >= 2 * PAGE && q[i])) { CHECK(!"what comes back is zero"); break; }
	// By write and by fallocate.
	CHECK(ftruncate(fd, 0) == 0);
	BUS(load(p), p);
	CHECK(pwrite(fd, "hello", 5, PAGE) == 5);
	CHECK(p[PAGE] == 'h' && p[0] == 0 && p[PAGE + 5] == 0);
	CHECK(fallocate(fd, 0, 0, 3 * PAGE) == 0);
	CHECK(load(p + 2 * PAGE) == 0 && p[2 * PAGE] == 0 && p[PAGE + 4] == 'o');
	CHECK(store(p + 2 * PAGE, 'z') == 0 && get(fd, 2 * PAGE) == 'z');
	close(fd);
	munmap(p, 6 * PAGE);
	munmap(q, 6 * PAGE);
}

static void holes(void)
{
	int fd = newfile("holes", 0);
	CHECK(ftruncate(fd, 16 * PAGE) == 0);
	struct stat st;
	char *p = map(fd, 16, RW, MAP_SHARED, 0), *ro = map(fd, 16, PROT_READ, MAP_SHARED, 0);
	for (int i = 0; i < 16; i++)
		CHECK(p[i * PAGE] == 0 && ro[i * PAGE] == 0);
	CHECK(fsync(fd) == 0 && fstat(fd, &st) == 0 && st.st_blocks == 0);
	CHECK(store(p + 5 * PAGE, 5) == 0 && ro[5 * PAGE] == 5);
	CHECK(msync(p, 16 * PAGE, MS_SYNC) == 0 && fstat(fd, &st) == 0 && st.st_blocks > 0 && st.st_blocks <= 2 * PAGE / 512);
	put(fd, 6 * PAGE, 6);
	CHECK(p[6 * PAGE] == 6 && ro[6 * PAGE] == 6);
	for (int i = 8; i < 12; i++)
		CHECK(store(p + i * PAGE, i) == 0);
	CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 9 * PAGE, 2 * PAGE + 100) == 0);
	CHECK(p[8 * PAGE] == 8 && p[9 * PAGE] == 0 && p[10 * PAGE] == 0 && p[11 * PAGE] == 0 && ro[9 * PAGE] == 0);
	CHECK(store(p + 10 * PAGE, 10) == 0 && ro[10 * PAGE] == 10 && get(fd, 10 * PAGE) == 10);
	CHECK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 10 * PAGE, PAGE) == 0);
	CHECK(p[10 * PAGE] == 0 && ro[10 * PAGE] == 0);
	CHECK(fallocate(fd, 0, 12 * PAGE, 2 * PAGE) == 0);
	CHECK(p[12 * PAGE] == 0 && store(p + 12 * PAGE, 12) == 0 && get(fd, 12 * PAGE) == 12);
	close(fd);
	munmap(p, 16 * PAGE);
	munmap(ro, 16 * PAGE);
}

static void calls(void)
{
	int fd = newfile("calls", 16 * PAGE), ro = open("calls", O_RDONLY), wo = open("calls", O_WRONLY);
	CHECK(mmap(0, PAGE, RW, MAP_SHARED, ro, 0) == MAP_FAILED && errno == EACCES);
	CHECK(mmap(0, PAGE, PROT_READ, MAP_SHARED, wo, 0) == MAP_FAILED && errno == EACCES);
	CHECK(mmap(0, PAGE, PROT_READ, MAP_PRIVATE, wo, 0) == MAP_FAILED && errno == EACCES);
	CHECK(mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, 100) == MAP_FAILED && errno == EINVAL);
	CHECK(mmap(0, 0, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EINVAL);
	int dir = open(".", O_RDONLY);
	CHECK(mmap(0, PAGE, PROT_READ, MAP_SHARED, dir, 0) == MAP_FAILED && errno == ENODEV);
	char *p = map(ro, 4, PROT_READ, MAP_SHARED, 0);
	FAILS(EACCES, mprotect(p, PAGE, RW));
	CHECK(mprotect(p, PAGE, PROT_NONE) == 0 && load(p) == SIGSEGV && fault_code == SEGV_ACCERR);
	CHECK(mprotect(p, PAGE, PROT_READ) == 0 && load(p) == 0);
	CHECK(munmap(p, 4 * PAGE) == 0);
	p = map(ro, 4, PROT_READ, MAP_PRIVATE, 0);
	CHECK(mprotect(p, PAGE, RW) == 0 && store(p, 'P') == 0 && get(fd, 0) == 'a');
	CHECK(munmap(p, 4 * PAGE) == 0);
	// Read-only, then writable.
	p = map(fd, 4, PROT_READ, MAP_SHARED, 0);
	CHECK(p[0] == 'a' && store(p, 'A') == SIGSEGV);
	CHECK(mprotect(p, 2 * PAGE, RW) == 0 && store(p, 'A') == 0 && store(p + PAGE, 'B') == 0 && store(p + 2 * PAGE, 'C') == SIGSEGV);
	CHECK(get(fd, 0) == 'A' && get(fd, PAGE) == 'B');
	CHECK(mprotect(p, PAGE, PROT_READ) == 0 && store(p, 'x') == SIGSEGV && p[0] == 'A');
	CHECK(mprotect(p, 4 * PAGE, RW) == 0);
	// Discarded shared pages are still the file's.
	CHECK(madvise(p, 4 * PAGE, MADV_DONTNEED) == 0 && p[0] == 'A' && p[PAGE] == 'B');
	// Longer, and elsewhere.
	char *q = mremap(p, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED && q[0] == 'A' && q[7 * PAGE] == 'h');
	CHECK(store(q + 5 * PAGE, 'F') == 0 && get(fd, 5 * PAGE) == 'F');
	char *at = mmap(0, 8 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	q = mremap(q, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at);
	CHECK(q == at && q[5 * PAGE] == 'F' && store(q + 6 * PAGE, 'G') == 0 && get(fd, 6 * PAGE) == 'G');
	put(fd, 7 * PAGE, 'H');
	CHECK(q[7 * PAGE] == 'H');
	CHECK(munmap(q + 2 * PAGE, PAGE) == 0 && load(q + 2 * PAGE) == SIGSEGV && fault_code == SEGV_MAPERR);
	// msync.
	CHECK(msync(q, 2 * PAGE, MS_SYNC) == 0 && msync(q, 2 * PAGE, MS_ASYNC) == 0 && msync(q, 2 * PAGE, MS_INVALIDATE) == 0);
	CHECK(msync(q, 2 * PAGE, MS_SYNC | MS_INVALIDATE) == 0 && msync(q, 0, MS_SYNC) == 0 && msync(q, 2 * PAGE, 0) == 0);
	FAILS(EINVAL, msync(q, PAGE, MS_SYNC | MS_ASYNC));
	FAILS(EINVAL, msync(q, PAGE, 64));
	FAILS(EINVAL, msync(q + 1, PAGE, MS_SYNC));
	FAILS(ENOMEM, msync(q, 4 * PAGE, MS_SYNC));
	munmap(q, 8 * PAGE);
	// Over another mapping.
	p = map(fd, 4, RW, MAP_SHARED, 0);
	q = mmap(p + PAGE, PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 9 * PAGE);
	CHECK(q == p + PAGE && q[0] == 'j' && p[0] == 'A' && p[2 * PAGE] == 'c');
	munmap(p, 4 * PAGE);
	close(fd);
	close(ro);
	close(wo);
	close(dir);
}

// The kernel copies from and to a mapping of the very file that it reads or writes.
static void selfcopies(void)
{
	int fd = newfile("self", 64 * PAGE);
	char *p = map(fd, 64, RW, MAP_SHARED, 0);
	CHECK(pwrite(fd, p + 20 * PAGE + 5, 3 * PAGE, 40 * PAGE + 7) == 3 * PAGE);
	CHECK(!memcmp(p + 20 * PAGE + 5, p + 40 * PAGE + 7, 3 * PAGE));
	CHECK(pread(fd, p + 10 * PAGE + 3, 3 * PAGE, 30 * PAGE + 1) == 3 * PAGE);
	CHECK(!memcmp(p + 10 * PAGE + 3, p + 30 * PAGE + 1, 3 * PAGE));
	CHECK(pwrite(fd, p + 50 * PAGE, PAGE, 50 * PAGE) == PAGE && p[50 * PAGE] == 'y');
	CHECK(pread(fd, p + 51 * PAGE, PAGE, 51 * PAGE) == PAGE && p[51 * PAGE] == 'z');
	// Appending to the file what lies in it.
	CHECK(lseek(fd, 0, SEEK_END) == 64 * PAGE);
	CHECK(write(fd, p, 5 * PAGE) == 5 * PAGE);
	char *q = map(fd, 69, PROT_READ, MAP_SHARED, 0);
	CHECK(!memcmp(q, q + 64 * PAGE, 5 * PAGE));
	munmap(q, 69 * PAGE);
	// A fresh hole of a mapping as the place to read to.
	int to = newfile("self2", 0);
	CHECK(ftruncate(to, 32 * PAGE) == 0);
	q = map(to, 32, RW, MAP_SHARED, 0);
	struct iovec v[2] = {{q + PAGE, 4 * PAGE}, {q + 20 * PAGE, 4 * PAGE}};
	CHECK(preadv(fd, v, 2, 0) == 8 * PAGE);
	CHECK(!memcmp(q + PAGE, p, 4 * PAGE) && !memcmp(q + 20 * PAGE, p + 4 * PAGE, 4 * PAGE));
	CHECK(get(to, 20 * PAGE) == p[4 * PAGE]);
	// Behind the end there is nothing to copy to, or from.
	CHECK(ftruncate(to, PAGE) == 0);
	CHECK(pread(fd, q, 2 * PAGE, 0) == PAGE);
	FAILS(EFAULT, pread(fd, q + PAGE, 10, 0));
	FAILS(EFAULT, pwrite(fd, q + 2 * PAGE, 10, 0));
	close(fd);
	close(to);
	munmap(p, 64 * PAGE);
	munmap(q, 32 * PAGE);
}

static int count_fd;
static char *count_map;
#define ROUNDS 20000

static void *counter(void *arg)
{
	int *word = (int *)(count_map + (long)arg % 4 * PAGE);
	for (int i = 0; i < ROUNDS; i++)
		__atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static void *syncer(void *arg)
{
	for (int i = 0; i < 20; i++) {
		fsync(count_fd);
		msync(count_map, 4 * PAGE, i & 1 ? MS_SYNC : MS_ASYNC);
		madvise(count_map, 4 * PAGE, MADV_DONTNEED);
	}
	return 0;
}

static pthread_mutex_t *shared_mutex;

static void *locker(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(shared_mutex);
		(*(long *)arg)++;
		pthread_mutex_unlock(shared_mutex);
	}
	return 0;
}

// Two mappings of a file, in each of which the same semaphores lie.
static void *ping(void *arg)
{
	sem_t *s = arg;
	for (int i = 0; i < 500; i++) {
		sem_wait(&s[0]);
		sem_post(&s[1]);
	}
	return 0;
}

static void semaphores(void)
{
	int fd = newfile("sem", PAGE);
	sem_t *p = (void *)map(fd, 1, RW, MAP_SHARED, 0), *q = (void *)map(fd, 1, RW, MAP_SHARED, 0);
	CHECK(sem_init(&p[0], 1, 0) == 0 && sem_init(&p[1], 1, 0) == 0);
	pthread_t t;
	CHECK(pthread_create(&t, 0, ping, q) == 0);
	for (int i = 0; i < 500; i++) {
		sem_post(&p[0]);
		sem_wait(&p[1]);
	}
	pthread_join(t, 0);
	munmap(p, PAGE);
	munmap(q, PAGE);
	close(fd);
}

static void threads(void)
{
	count_fd = newfile("count", 0);
	CHECK(ftruncate(count_fd, 4 * PAGE) == 0);
	count_map = map(count_fd, 4, RW, MAP_SHARED, 0);
	pthread_t t[9];
	for (long i = 0; i < 8; i++)
		CHECK(pthread_create(&t[i], 0, counter, (void *)i) == 0);
	CHECK(pthread_create(&t[8], 0, syncer, 0) == 0);
	for (int i = 0; i < 9; i++)
		pthread_join(t[i], 0);
	for (int i = 0; i < 4; i++) {
		int n;
		CHECK(pread(count_fd, &n, 4, i * PAGE) == 4 && n == 2 * ROUNDS);
	}
	// A lock in the file.
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	CHECK(pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED) == 0);
	shared_mutex = (void *)(count_map + 64);
	memset(shared_mutex, 0, sizeof *shared_mutex);
	CHECK(pthread_mutex_init(shared_mutex, &a) == 0);
	long sum = 0;
	for (int i = 0; i < 4; i++)
		CHECK(pthread_create(&t[i], 0, locker, &sum) == 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], 0);
	CHECK(sum == 8000);
	close(count_fd);
	munmap(count_map, 4 * PAGE);
}

// More than any cache of a small sandbox holds.
static void large(void)
{
	const int pages = 2000;
	int fd = newfile("large", 0);
	CHECK(ftruncate(fd, (off_t)pages * PAGE) == 0);
	char *p = map(fd, pages, RW, MAP_SHARED, 0);
	for (int i = 0; i < pages; i++)
		*(int *)(p + (long)i * PAGE + 8 * (i % 100)) = i + 1;
	for (int i = 0; i < pages; i++) {
		int n;
		if (*(int *)(p + (long)i * PAGE + 8 * (i % 100)) != i + 1) { CHECK(!"a store is kept"); break; }
		if (pread(fd, &n, 4, (off_t)i * PAGE + 8 * (i % 100)) != 4 || n != i + 1) { CHECK(!"a store is read"); break; }
	}
	CHECK(munmap(p, (size_t)pages * PAGE) == 0 && fsync(fd) == 0);
	p = map(fd, pages, PROT_READ, MAP_PRIVATE, 0);
	for (int i = pages - 1; i >= 0; i--)
		if (*(int *)(p + (long)i * PAGE + 8 * (i % 100)) != i + 1) { CHECK(!"a store is mapped again"); break; }
	munmap(p, (size_t)pages * PAGE);
	close(fd);
	CHECK(unlink("large") == 0);
}

int main(void)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	sigaction(SIGBUS, &sa, 0);
	sigaction(SIGSEGV, &sa, 0);
	coherence();
	readers();
	ends();
	holes();
	calls();
	selfcopies();
	threads();
	semaphores();
	large();
	return check_done();
}
