// Pipes (pipe(7)): packets, what one write puts in together, sizes, who is told of an end that is gone, pipes
// that are nearly full. What a single thread sees of plain pipes is compared with Linux by the kernel's own tests.
#include "check.h"
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

static char buf[1 << 17];

static int unread(int fd)
{
	int n = -1;
	CHECK(ioctl(fd, FIONREAD, &n) == 0);
	return n;
}

static int polled(int fd, int events)
{
	struct pollfd p = {fd, events, 0};
	return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

static void test_packets(void)
{
	int p[2];
	CHECK(pipe2(p, O_DIRECT | O_NONBLOCK) == 0);
	CHECK(!(fcntl(p[0], F_GETFL) & O_DIRECT) && (fcntl(p[1], F_GETFL) & O_DIRECT));
	// A read ends with a packet, and what it has no room for is gone.
	CHECK(write(p[1], "one", 3) == 3 && write(p[1], "second", 6) == 6 && write(p[1], "3", 1) == 1 && unread(p[0]) == 10);
	CHECK(read(p[0], buf, 100) == 3 && !memcmp(buf, "one", 3));
	CHECK(read(p[0], buf, 2) == 2 && !memcmp(buf, "se", 2) && unread(p[0]) == 1);
	CHECK(read(p[0], buf, 100) == 1 && *buf == '3');
	FAILS(EAGAIN, read(p[0], buf, 100));
	CHECK(write(p[1], "", 0) == 0); // no packet at all
	FAILS(EAGAIN, read(p[0], buf, 100));
	// In pieces on both sides.
	struct iovec v[3] = {{"ab", 2}, {"", 0}, {"cde", 3}}, r[2] = {{buf, 1}, {buf + 10, 3}};
	CHECK(writev(p[1], v, 3) == 5 && write(p[1], "x", 1) == 1);
	CHECK(readv(p[0], r, 2) == 4 && buf[0] == 'a' && !memcmp(buf + 10, "bcd", 3));
	CHECK(read(p[0], buf, 10) == 1 && *buf == 'x');
	// More than PIPE_BUF is several packets.
	memset(buf, 'y', 10000);
	CHECK(write(p[1], buf, 10000) == 10000);
	CHECK(read(p[0], buf, 20000) == PIPE_BUF && read(p[0], buf, 20000) == PIPE_BUF && read(p[0], buf, 20000) == 10000 - 2 * PIPE_BUF);
	// Each takes a page of the pipe.
	int n = 0, size = fcntl(p[1], F_GETPIPE_SZ);
	while (write(p[1], "z", 1) == 1)
		n++;
	CHECK(errno == EAGAIN && n == size / 4096 && !(polled(p[1], POLLOUT) & POLLOUT));
	CHECK(read(p[0], buf, 10) == 1 && (polled(p[1], POLLOUT) & POLLOUT) && write(p[1], "z", 1) == 1);
	FAILS(EAGAIN, write(p[1], "z", 1));
	while (read(p[0], buf, 10) == 1)
		;
	// The way of writing counts, not that of reading; and it may change.
	CHECK(fcntl(p[0], F_SETFL, O_NONBLOCK | O_DIRECT) == 0 && (fcntl(p[0], F_GETFL) & O_DIRECT));
	CHECK(write(p[1], "ab", 2) == 2 && write(p[1], "cd", 2) == 2 && read(p[0], buf, 10) == 2 && read(p[0], buf, 10) == 2);
	CHECK(fcntl(p[1], F_SETFL, O_NONBLOCK) == 0);
	CHECK(write(p[1], "ab", 2) == 2 && write(p[1], "cd", 2) == 2 && read(p[0], buf, 10) == 4);
	CHECK(fcntl(p[1], F_SETFL, O_NONBLOCK | O_DIRECT) == 0);
	close(p[1]);
	CHECK(read(p[0], buf, 10) == 0);
	close(p[0]);
	FAILS(EINVAL, pipe2(p, O_APPEND));
}

static volatile int pipes_died;
static void on_pipe(int s, siginfo_t *i, void *u) { (void)s, (void)u, pipes_died += i->si_code == SI_USER || i->si_code == SI_KERNEL; }

static void test_ends(void)
{
	int p[2];
	struct sigaction a = {.sa_sigaction = on_pipe, .sa_flags = SA_SIGINFO};
	sigaction(SIGPIPE, &a, 0);
	CHECK(pipe(p) == 0 && polled(p[0], POLLIN) == 0 && polled(p[1], POLLOUT) == POLLOUT);
	FAILS(EBADF, read(p[1], buf, 1));
	FAILS(EBADF, write(p[0], buf, 1));
	FAILS(ESPIPE, lseek(p[0], 0, SEEK_SET));
	FAILS(ESPIPE, pread(p[0], buf, 1, 0));
	close(p[0]);
	CHECK(polled(p[1], POLLOUT) == (POLLOUT | POLLERR));
	FAILS(EPIPE, write(p[1], buf, 1));
	CHECK(pipes_died == 1 && write(p[1], buf, 0) == 0 && pipes_died == 1);
	signal(SIGPIPE, SIG_IGN);
	FAILS(EPIPE, write(p[1], buf, 1));
	close(p[1]);
	CHECK(pipe(p) == 0 && write(p[1], "ab", 2) == 2);
	close(p[1]);
	CHECK(polled(p[0], POLLIN) == (POLLIN | POLLHUP) && read(p[0], buf, 1) == 1 && read(p[0], buf, 5) == 1);
	CHECK(polled(p[0], POLLIN) == POLLHUP && read(p[0], buf, 1) == 0);
	close(p[0]);
}

static void test_room(void)
{
	int p[2], n;
	CHECK(pipe2(p, O_NONBLOCK) == 0 && fcntl(p[0], F_GETPIPE_SZ) == 65536);
	CHECK(fcntl(p[1], F_SETPIPE_SZ, 5000) == 8192 && fcntl(p[0], F_GETPIPE_SZ) == 8192);
	CHECK(write(p[1], buf, 100000) == 8192 && unread(p[0]) == 8192);
	FAILS(EAGAIN, write(p[1], buf, 1));
	FAILS(EBUSY, fcntl(p[1], F_SETPIPE_SZ, 4096));
	CHECK(fcntl(p[1], F_SETPIPE_SZ, 1) == -1 && errno == EBUSY);
	CHECK(fcntl(p[0], F_SETPIPE_SZ, 100000) == 131072);
	CHECK(read(p[0], buf, 8192) == 8192);
	// Up to PIPE_BUF all or nothing, beyond that what there is room for.
	CHECK(fcntl(p[0], F_SETPIPE_SZ, 4096) == 4096 && write(p[1], buf, 100) == 100);
	FAILS(EAGAIN, write(p[1], buf, PIPE_BUF));
	CHECK((n = write(p[1], buf, PIPE_BUF + 1)) > 0 || errno == EAGAIN);
	close(p[0]), close(p[1]);
	CHECK(pipe(p) == 0);
	FAILS(EINVAL, fcntl(p[0], F_SETPIPE_SZ, 1u << 31 | 1));
	int f = open("pipes.file", O_CREAT | O_RDWR, 0600);
	FAILS(EBADF, fcntl(f, F_GETPIPE_SZ));
	unlink("pipes.file");
	close(f), close(p[0]), close(p[1]);
}

// Several threads write records of up to PIPE_BUF: none is torn apart.
enum { writers = 4, records = 400 };
static int shared[2];
static void *writer(void *arg)
{
	char r[PIPE_BUF];
	for (int i = 0; i < records; i++) {
		int len = 4 + (i * 37 + (intptr_t)arg * 11) % (PIPE_BUF - 4);
		memset(r, 'A' + (intptr_t)arg, len);
		memcpy(r, &len, 4);
		CHECK(write(shared[1], r, len) == len);
	}
	return 0;
}

static int all(int fd, char *p, int n)
{
	int done = 0, m;
	while (done < n && (m = read(fd, p + done, n - done)) > 0)
		done += m;
	return done;
}

static void test_whole(void)
{
	pthread_t t[writers];
	CHECK(pipe(shared) == 0);
	for (intptr_t i = 0; i < writers; i++)
		pthread_create(&t[i], 0, writer, (void *)i);
	char r[PIPE_BUF];
	for (int i = 0; i < writers * records; i++) {
		int len = 0, torn = 0;
		if (all(shared[0], (char *)&len, 4) != 4 || len < 4 || len > PIPE_BUF || all(shared[0], r, len - 4) != len - 4) {
			CHECK(!"a record");
			break;
		}
		for (int j = 1; j < len - 4; j++)
			torn += r[j] != r[0];
		CHECK(torn == 0);
	}
	for (int i = 0; i < writers; i++)
		pthread_join(t[i], 0);
	close(shared[0]), close(shared[1]);
}

static void *packet_writer(void *arg)
{
	(void)arg;
	char r[PIPE_BUF];
	for (int i = 1; i <= 2000; i++) {
		int len = 1 + i % PIPE_BUF;
		memset(r, i, len);
		CHECK(write(shared[1], r, len) == len);
	}
	close(shared[1]);
	return 0;
}

static void test_packet_flow(void)
{
	pthread_t t;
	CHECK(pipe2(shared, O_DIRECT) == 0);
	pthread_create(&t, 0, packet_writer, 0);
	int i = 0, n;
	while ((n = read(shared[0], buf, sizeof buf)) > 0) {
		i++;
		CHECK(n == 1 + i % PIPE_BUF && buf[0] == (char)i && buf[n - 1] == (char)i);
	}
	CHECK(i == 2000 && n == 0);
	pthread_join(t, 0);
	close(shared[0]);
}

int main(void)
{
	test_packets();
	test_ends();
	test_room();
	test_whole();
	test_packet_flow();
	return check_done();
}
