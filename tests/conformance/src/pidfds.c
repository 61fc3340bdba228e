// Descriptors of processes and threads (pidfd_open(2), pidfd_getfd(2), pidfd_send_signal(2)), what waitid(2) and
// poll(2) make of them, and which flags clone(2) refuses together.
#include "child.h"
#include <sys/epoll.h>
#include <sys/syscall.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#define PIDFD_THREAD O_EXCL
#define PIDFD_SIGNAL_THREAD 1
#define PIDFD_SIGNAL_THREAD_GROUP 2
#define PIDFD_SIGNAL_PROCESS_GROUP 4

static int pidfd(pid_t p, int flags) { return syscall(SYS_pidfd_open, p, flags); }
static int sig(int fd, int s, int flags) { return syscall(SYS_pidfd_send_signal, fd, s, 0, flags); }

static volatile int tid, go, got;
static void on_sig(int s) { (void)s, got = syscall(SYS_gettid); }
static void *thread(void *a)
{
	(void)a;
	tid = syscall(SYS_gettid);
	while (!go)
		usleep(1000);
	return 0;
}

static int ready(int fd, int timeout)
{
	struct pollfd p = {fd, POLLIN, 0};
	return poll(&p, 1, timeout) == 1 ? p.revents : 0;
}

// A thread's own descriptor, on Linux from 6.9 on.
static void test_thread(void)
{
	pthread_t t;
	int me = pidfd(getpid(), PIDFD_THREAD);
	if (me < 0 && errno == EINVAL) {
		printf("no descriptors of threads\n");
		return;
	}
	CHECK(me >= 0);
	CHECK(pthread_create(&t, 0, thread, 0) == 0);
	while (!tid)
		usleep(1000);
	CHECK(pidfd(tid, 0) == -1 && (errno == EINVAL || errno == ENOENT)); // the first before Linux 6.16
	int fd = pidfd(tid, PIDFD_THREAD);
	CHECK(fd >= 0 && !ready(fd, 0));
	struct sigaction a = {.sa_handler = on_sig, .sa_flags = SA_RESTART};
	sigaction(SIGUSR1, &a, 0);
	got = 0;
	CHECK(sig(fd, SIGUSR1, 0) == 0); // a thread's descriptor: to the thread
	for (int i = 0; i < 2000 && !got; i++)
		usleep(500);
	CHECK(got == tid);
	got = 0;
	CHECK(sig(me, SIGUSR1, 0) == 0 && got == getpid());
	got = 0;
	CHECK(sig(fd, SIGUSR1, PIDFD_SIGNAL_THREAD_GROUP) == 0); // whichever it is
	for (int i = 0; i < 2000 && !got; i++)
		usleep(500);
	CHECK(got == tid || got == getpid());
	got = 0;
	CHECK(sig(fd, SIGUSR1, PIDFD_SIGNAL_THREAD) == 0);
	for (int i = 0; i < 2000 && !got; i++)
		usleep(500);
	CHECK(got == tid);
	FAILS(EINVAL, sig(fd, SIGUSR1, PIDFD_SIGNAL_THREAD | PIDFD_SIGNAL_THREAD_GROUP));
	FAILS(EINVAL, sig(fd, SIGUSR1, 8));
	int proc = pidfd(getpid(), 0);
	got = 0;
	CHECK(sig(proc, SIGUSR1, PIDFD_SIGNAL_THREAD) == 0 && got == getpid());
	go = 1; // it looks every millisecond, so that somebody waits by then
	long began = ms();
	CHECK((ready(fd, 20000) & POLLIN) && ms() - began < 10000);
	pthread_join(t, 0);
	FAILS(ESRCH, sig(fd, SIGUSR1, 0));
	close(fd), close(me), close(proc);
}

static void test_getfd(void)
{
	int p[2];
	char c;
	CHECK(pipe(p) == 0);
	int me = pidfd(getpid(), 0), fd = syscall(SYS_pidfd_getfd, me, p[1], 0);
	CHECK(fd > p[1] && fcntl(fd, F_GETFD) == FD_CLOEXEC && write(fd, "x", 1) == 1 && read(p[0], &c, 1) == 1);
	FAILS(EBADF, syscall(SYS_pidfd_getfd, me, 999, 0));
	FAILS(EBADF, syscall(SYS_pidfd_getfd, p[0], p[1], 0));
	FAILS(EINVAL, syscall(SYS_pidfd_getfd, me, p[1], 1));
	FAILS(EINVAL, syscall(SYS_pidfd_getfd, 999, p[1], 1));
	close(fd);
	// Of another process: the same open file.
	pid_t q = run("pause", 0, 0, 0);
	int other = pidfd(q, 0);
	CHECK((fd = syscall(SYS_pidfd_getfd, other, p[1], 0)) >= 0 && write(fd, "y", 1) == 1 && read(p[0], &c, 1) == 1 && c == 'y');
	close(fd);
	kill(q, SIGKILL);
	siginfo_t i;
	CHECK(waitid(P_PIDFD, other, &i, WEXITED | WNOWAIT) == 0 && i.si_pid == q);
	FAILS(ESRCH, syscall(SYS_pidfd_getfd, other, p[1], 0));
	CHECK(status(q) == SIGKILL);
	FAILS(ESRCH, syscall(SYS_pidfd_getfd, other, p[1], 0));
	close(other), close(me), close(p[0]), close(p[1]);
}

static void test_events(void)
{
	pid_t q = run("pause", 0, 0, 0);
	int fd = pidfd(q, 0), e = epoll_create1(0);
	struct epoll_event ev = {.events = EPOLLIN};
	CHECK(epoll_ctl(e, EPOLL_CTL_ADD, fd, &ev) == 0 && epoll_wait(e, &ev, 1, 0) == 0);
	kill(q, SIGSTOP); // no end
	int st;
	CHECK(waitpid(q, &st, WUNTRACED) == q && epoll_wait(e, &ev, 1, 0) == 0);
	siginfo_t i = {0};
	kill(q, SIGCONT);
	CHECK(waitid(P_PIDFD, fd, &i, WCONTINUED) == 0 && i.si_code == CLD_CONTINUED);
	kill(q, SIGKILL);
	CHECK(epoll_wait(e, &ev, 1, 5000) == 1 && ev.events == EPOLLIN);
	CHECK(ready(fd, 0) == POLLIN && waitid(P_PIDFD, fd, &i, WEXITED) == 0 && i.si_code == CLD_KILLED);
	CHECK((ready(fd, 0) & POLLIN));
	close(e), close(fd);
}

// What goes with what.
static int noop(void *a) { (void)a; _exit(0); }
static char stack[65536] __attribute__((aligned(16)));

static void test_flags(void)
{
	void *top = stack + sizeof stack;
	int out = -1;
	FAILS(EINVAL, clone(noop, top, CLONE_THREAD | SIGCHLD, 0));
	FAILS(EINVAL, clone(noop, top, CLONE_THREAD | CLONE_SIGHAND | SIGCHLD, 0));
	FAILS(EINVAL, clone(noop, top, CLONE_SIGHAND | SIGCHLD, 0));
	FAILS(EINVAL, clone(noop, top, CLONE_NEWNS | CLONE_FS | SIGCHLD, 0));
	FAILS(EINVAL, clone(noop, top, CLONE_NEWUSER | CLONE_FS | SIGCHLD, 0));
	FAILS(EINVAL, clone(noop, top, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_NEWUSER, 0));
	FAILS(EINVAL, clone(noop, top, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_NEWPID, 0));
	FAILS(EINVAL, clone(noop, top, CLONE_VM | CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, 0, &out, 0, 0)); // one word for both
	FAILS(EINVAL, clone(noop, top, CLONE_VM | CLONE_PIDFD | CLONE_DETACHED | SIGCHLD, 0, &out, 0, 0));
	uint64_t a[11];
	struct { uint64_t flags, exit; int err; } with3[] = {
		{CLONE_DETACHED, SIGCHLD, EINVAL}, {CLONE_VM | SIGCHLD, SIGCHLD, EINVAL}, {1ull << 40, SIGCHLD, EINVAL},
		{CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, SIGCHLD, EINVAL}, {CLONE_PARENT, SIGCHLD, EINVAL},
		{1ull << 32 | CLONE_SIGHAND | CLONE_VM, SIGCHLD, EINVAL}, // CLONE_CLEAR_SIGHAND
		{CLONE_VM, 65, EINVAL}, {CLONE_VM, -1ull, EINVAL}, {1ull << 33 | CLONE_VM, SIGCHLD, EBADF}, // CLONE_INTO_CGROUP
	};
	for (unsigned i = 0; i < sizeof with3 / sizeof *with3; i++) {
		memset(a, 0, sizeof a);
		a[0] = with3[i].flags, a[4] = with3[i].exit;
		if (with3[i].flags & 1ull << 33)
			a[10] = 999;
		errno = 0;
		long r = syscall(SYS_clone3, a, sizeof a);
		check_count++;
		if (r != -1 || errno != with3[i].err)
			check_failed++, printf("clone3 %d: %ld errno %d, want %d\n", i, r, errno, with3[i].err);
		if (r == 0)
			_exit(1);
	}
}

int main(int argc, char **argv)
{
	begin();
	if (argc > 1)
		return child(argc, argv);
	enter();
	test_thread();
	test_getfd();
	test_events();
	test_flags();
	return check_done();
}
