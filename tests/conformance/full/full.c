// A store through a mapping into a hole of a file on a disk that is full. Argument: "handle", or "die".
#include "../src/check.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

static sigjmp_buf jump;
static volatile int code;
static void *volatile addr;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	code = info->si_code;
	addr = info->si_addr;
	siglongjmp(jump, 1);
}

int main(int argc, char **argv)
{
	static char b[1 << 16];
	int fd = open("holes", O_CREAT | O_RDWR | O_TRUNC, 0600), fill = open("fill", O_CREAT | O_WRONLY | O_TRUNC, 0600);
	CHECK(ftruncate(fd, 64 << 20) == 0);
	char *p = mmap(0, 64 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	p[0] = 1;
	memset(b, 7, sizeof b);
	for (long n = sizeof b; n > 0; n /= 2)
		while (write(fill, b, n) == n)
			;
	CHECK(errno == ENOSPC && fsync(fill) == 0);
	CHECK(p[0] == 1 && p[10 << 20] == 0);
	p[1] = 2; // has its block
	if (!strcmp(argv[1], "die")) {
		for (long i = 1; i < 16384; i++)
			p[i * 4096] = 1;
		return 0; // the disk was not full
	}
	struct sigaction sa = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
	sigaction(SIGBUS, &sa, 0);
	volatile long at = 0;
	if (!sigsetjmp(jump, 1)) {
		for (at = 4096; at < 64 << 20; at += 4096)
			p[at] = 1;
		CHECK(!"the disk is full");
	}
	CHECK(code == BUS_ADRERR && addr == p + at);
	CHECK(p[at] == 0);
	CHECK(msync(p, 64 << 20, MS_SYNC) == 0);
	// With room again, it can be stored to.
	CHECK(ftruncate(fill, 0) == 0);
	if (!sigsetjmp(jump, 1))
		p[at] = 3;
	else
		CHECK(!"there is room");
	CHECK(p[at] == 3 && pread(fd, b, 1, at) == 1 && b[0] == 3);
	CHECK(fsync(fd) == 0 && munmap(p, 64 << 20) == 0);
	return check_done();
}
