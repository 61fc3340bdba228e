/* One program for all tests of "pinhole run": the first argument says what it does. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static void caught(int s) { printf("caught %d\n", s); exit(40); }

static int fill(const char *path)
{
	static char block[1 << 16];
	long n = 0;
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600), e = 0;
	memset(block, 'z', sizeof block);
	if (fd < 0)
		return perror(path), 1;
	for (;;) {
		ssize_t r = write(fd, block, sizeof block);
		if (r < 0) {
			e = errno;
			break;
		}
		n += r;
		if (n % (1 << 20) == 0 && fsync(fd) != 0) {
			e = errno;
			break;
		}
	}
	printf("%s after %ld bytes\n", e == ENOSPC ? "ENOSPC" : e == EIO ? "EIO" : strerror(e), n);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "hello";
	setvbuf(stdout, 0, _IOLBF, 0);
	if (!strcmp(what, "hello"))
		puts("hello, world");
	else if (!strcmp(what, "exit"))
		return atoi(argv[2]);
	else if (!strcmp(what, "args"))
		for (int i = 2; i < argc; i++)
			printf("<%s>", argv[i]);
	else if (!strcmp(what, "env"))
		for (char **e = environ; *e; e++)
			puts(*e);
	else if (!strcmp(what, "cat")) {
		char b[4096];
		for (ssize_t n; (n = read(0, b, sizeof b)) > 0;)
			write(1, b, n);
	} else if (!strcmp(what, "yes"))
		for (;;)
			puts("y");
	else if (!strcmp(what, "pause")) {
		puts("ready");
		pause();
	} else if (!strcmp(what, "catch")) {
		for (int s = 1; s < 32; s++)
			signal(s, caught);
		puts("ready");
		for (;;)
			pause();
	} else if (!strcmp(what, "spin")) {
		puts("ready");
		for (volatile long i = 0;; i++)
			;
	} else if (!strcmp(what, "segv"))
		*(volatile int *)8 = 1;
	else if (!strcmp(what, "abort"))
		abort();
	else if (!strcmp(what, "deep"))
		return main(argc, argv) + 1;
	else if (!strcmp(what, "fill"))
		return fill(argv[2]);
	else if (!strcmp(what, "write")) {
		int fd = open(argv[2], O_CREAT | O_WRONLY | O_TRUNC, 0644);
		if (fd < 0 || write(fd, argv[3], strlen(argv[3])) < 0 || close(fd) != 0)
			return perror(argv[2]), 1;
	} else if (!strcmp(what, "map")) { /* does a mapping show what was written before? */
		int fd = open(argv[2], O_RDWR);
		char *text = argv[3];
		if (fd < 0 || pwrite(fd, text, strlen(text), 5000) < 0 || fsync(fd) != 0)
			return perror(argv[2]), 1;
		char *p = mmap(0, 8192, PROT_READ, MAP_PRIVATE, fd, 0);
		if (p == MAP_FAILED)
			return perror("mmap"), 1;
		printf("%.*s\n", (int)strlen(text), p + 5000);
	} else if (!strcmp(what, "id")) {
		char d[256];
		printf("%d %d %s\n", getuid(), getgid(), getcwd(d, sizeof d));
	} else
		return 99;
	return 0;
}
