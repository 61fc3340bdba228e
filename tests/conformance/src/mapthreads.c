// Threads that change files by calls and by mappings, cut them, punch them, replace them and sync them, all
// at once. Each sector of a file holds its file's number and its own, or nothing; whatever a mapping
// or a read shows must be of that form: never anything of another file, or of another place.
// Arguments: seed and rounds.
#include "check.h"
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>

#define PAGE 4096
#define SECTOR 512
#define FILES 3
#define PAGES 128
#define THREADS 6

struct stamp {
	uint32_t magic, file, sector, more;
	uint32_t rest[SECTOR / 4 - 4];
};

static int rounds = 1500;
static unsigned seed = 1;
static int fds[FILES];
static pthread_rwlock_t lock[FILES]; // of what fds has, not of the files
static __thread sigjmp_buf jump;
static __thread volatile int guarded;

static void on_bus(int sig)
{
	if (!guarded) {
		static const char m[] = "a fault that nobody waits for\n";
		(void)!write(1, m, sizeof m - 1);
		_exit(1);
	}
	siglongjmp(jump, 1);
}

static void fill(struct stamp *s, uint32_t file, uint32_t sector, uint32_t more)
{
	s->magic = 0x5eed5eed, s->file = file, s->sector = sector, s->more = more;
	for (unsigned i = 0; i < SECTOR / 4 - 4; i++)
		s->rest[i] = more;
}

// A word of a sector must be what some writer has put there, or 0.
static int fits(const volatile struct stamp *s, uint32_t file, uint32_t sector)
{
	uint32_t m = s->magic, f = s->file, n = s->sector;
	return (m == 0 || m == 0x5eed5eed) && (f == 0 || f == file) && (n == 0 || n == sector);
}

static void wrong(const char *where, const volatile struct stamp *s, int file, int sector)
{
	if (__atomic_add_fetch(&check_failed, 1, __ATOMIC_SEQ_CST) < 10)
		printf("%s: sector %d of file %d shows %x, file %d, sector %d\n", where, sector, file, s->magic, s->file - 1, s->sector);
}

static void *worker(void *arg)
{
	unsigned r = seed * 1000 + (unsigned)(long)arg;
#define RND(n) (r = r * 1103515245 + 12345, (r >> 8) % (n))
	struct { char *p; int file, page, pages, shared; } maps[4] = {{0}};
	char *buf = aligned_alloc(PAGE, 16 * PAGE);
	for (int round = 0; round < rounds; round++) {
		int f = RND(FILES), page = RND(PAGES), n = 1 + RND(12), m = RND(4);
		if (page + n > PAGES)
			n = PAGES - page;
		pthread_rwlock_rdlock(&lock[f]);
		int fd = fds[f];
		switch (RND(12)) {
		case 0: case 1: case 2:
			for (int i = 0; i < n * PAGE / SECTOR; i++)
				fill((struct stamp *)(buf + i * SECTOR), f + 1, page * (PAGE / SECTOR) + i + 1, round + 1);
			if (pwrite(fd, buf, n * PAGE, (off_t)page * PAGE) < 0 && errno != ENOSPC)
				wrong(strerror(errno), (void *)buf, f, page);
			break;
		case 3: {
			ssize_t got = pread(fd, buf, n * PAGE, (off_t)page * PAGE);
			for (int i = 0; i < got / SECTOR; i++)
				if (!fits((void *)(buf + i * SECTOR), f + 1, page * (PAGE / SECTOR) + i + 1))
					wrong("read", (void *)(buf + i * SECTOR), f, page * (PAGE / SECTOR) + i);
			break;
		}
		case 4:
			if (RND(4) == 0)
				(void)!ftruncate(fd, (off_t)RND(PAGES * PAGE / SECTOR) * SECTOR);
			break;
		case 5:
			fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)page * PAGE + RND(8) * SECTOR, n * PAGE);
			break;
		case 6:
			switch (RND(20)) {
			case 0: fsync(fd); break;
			case 1: fdatasync(fd); break;
			case 2: sync(); break;
			}
			break;
		case 7: // another file in the place of this one
			pthread_rwlock_unlock(&lock[f]);
			pthread_rwlock_wrlock(&lock[f]);
			if (RND(8) == 0) {
				char name[20];
				snprintf(name, sizeof name, "t%d", f);
				unlink(name);
				close(fds[f]);
				fds[f] = open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
			}
			break;
		case 8: case 9:
			if (maps[m].p)
				munmap(maps[m].p, maps[m].pages * PAGE);
			maps[m].shared = RND(4) != 0;
			maps[m].file = f, maps[m].page = page, maps[m].pages = n;
			maps[m].p = mmap(0, n * PAGE, PROT_READ | PROT_WRITE, maps[m].shared ? MAP_SHARED : MAP_PRIVATE, fd, (off_t)page * PAGE);
			if (maps[m].p == MAP_FAILED)
				maps[m].p = 0;
			break;
		case 10: // from a mapping to its file, and back
			if (maps[m].p && maps[m].file == f) {
				long at = (long)maps[m].page * PAGE;
				if (RND(2))
					(void)!pwrite(fd, maps[m].p, maps[m].pages * PAGE, at);
				else
					(void)!pread(fd, maps[m].p, maps[m].pages * PAGE, at);
			}
			break;
		}
		pthread_rwlock_unlock(&lock[f]);
		for (m = 0; m < 4; m++) {
			if (!maps[m].p || RND(2))
				continue;
			for (volatile int i = 0; i < maps[m].pages * PAGE / SECTOR; i += 1 + RND(5)) {
				volatile struct stamp *s = (void *)(maps[m].p + i * SECTOR);
				uint32_t file = maps[m].file + 1, sector = maps[m].page * (PAGE / SECTOR) + i + 1;
				if (!sigsetjmp(jump, 0)) {
					guarded = 1;
					if (!fits(s, file, sector))
						wrong(maps[m].shared ? "shared mapping" : "private mapping", s, maps[m].file, sector - 1);
					if (RND(6) == 0)
						fill((struct stamp *)s, file, sector, round + 1);
				}
				guarded = 0;
			}
		}
	}
	for (int m = 0; m < 4; m++)
		if (maps[m].p)
			munmap(maps[m].p, maps[m].pages * PAGE);
	free(buf);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		seed = atoi(argv[1]);
	if (argc > 2)
		rounds = atoi(argv[2]);
	printf("seed %u, %d rounds\n", seed, rounds);
	struct sigaction sa = {.sa_handler = on_bus, .sa_flags = SA_NODEFER};
	sigaction(SIGBUS, &sa, 0);
	sigaction(SIGSEGV, &sa, 0);
	for (int i = 0; i < FILES; i++) {
		char name[20];
		snprintf(name, sizeof name, "t%d", i);
		unlink(name);
		CHECK((fds[i] = open(name, O_CREAT | O_EXCL | O_RDWR, 0600)) >= 0);
		pthread_rwlock_init(&lock[i], 0);
	}
	pthread_t t[THREADS];
	for (long i = 0; i < THREADS; i++)
		CHECK(pthread_create(&t[i], 0, worker, (void *)i) == 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], 0);
	for (int i = 0; i < FILES; i++) {
		char b[SECTOR] __attribute__((aligned(16)));
		CHECK(fsync(fds[i]) == 0);
		for (int n = 0; pread(fds[i], b, SECTOR, (off_t)n * SECTOR) == SECTOR; n++)
			if (!fits((void *)b, i + 1, n + 1))
				wrong("the file at the end", (void *)b, i, n);
		close(fds[i]);
	}
	return check_done();
}
