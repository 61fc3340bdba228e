// What a signal does to a call that waits: with SA_RESTART some go on, some end with EINTR all the same; without
// it all end. After a stop those that signal(7) names end, too, but on today's Linux: the others go on.
#include "check.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

static volatile int handled;
static void on(int s) { (void)s, handled++; }

// The calls. Each waits, and ends with what go does to it.
static int fds[2], full[2], evfd, q, tfd, sfd, lockfd[2];
static uint32_t word;
static char buf[1 << 17];
static struct timespec ten = {10, 0};

static long c_read(void) { char c; return read(fds[0], &c, 1); }
static void g_read(void) { write(fds[1], "x", 1); }
static long c_write(void) { return write(full[1], buf, 4096) == 4096 ? 1 : -1; }
static void g_write(void) { read(full[0], buf, 65536); }
static long c_eventfd(void) { uint64_t v; return read(evfd, &v, 8) == 8 ? 1 : -1; }
static void g_eventfd(void) { uint64_t v = 1; write(evfd, &v, 8); }
static long c_timerfd(void)
{
	uint64_t v;
	return read(tfd, &v, 8) == 8 ? 1 : -1;
}
static void g_timerfd(void)
{
	struct itimerspec i = {.it_value = {0, 1}};
	timerfd_settime(tfd, 0, &i, 0);
}
static long c_signalfd(void) { struct signalfd_siginfo i; return read(sfd, &i, sizeof i) == sizeof i ? 1 : -1; }
static void g_signalfd(void) { kill(getpid(), SIGUSR2); }
static long c_futex(void) { return syscall(SYS_futex, &word, FUTEX_WAIT, 0, 0, 0, 0) == 0 ? 1 : -1; }
static void g_futex(void) { while (syscall(SYS_futex, &word, FUTEX_WAKE, 1, 0, 0, 0) == 0) usleep(1000); }
static long c_futex_timed(void) { return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &ten, 0, 0) == 0 ? 1 : -1; }
static long c_flock(void) { int r = flock(lockfd[1], LOCK_EX); return r ? -1 : (flock(lockfd[1], LOCK_UN), 1); }
static void g_flock(void) { flock(lockfd[0], LOCK_UN); }
static long c_setlkw(void)
{
	struct flock l = {.l_type = F_WRLCK};
	int r = fcntl(lockfd[1], 38 /* F_OFD_SETLKW */, &l);
	l.l_type = F_UNLCK;
	return r ? -1 : (fcntl(lockfd[1], 37, &l), 1);
}
static void g_setlkw(void)
{
	struct flock l = {.l_type = F_UNLCK};
	fcntl(lockfd[0], 37, &l);
}
static long c_fifo(void)
{
	int fd = open("restarts.fifo", O_RDONLY);
	return fd < 0 ? -1 : (close(fd), 1);
}
static void g_fifo(void) { close(open("restarts.fifo", O_WRONLY)); }
static long c_nanosleep(void) { struct timespec t = ten, rem = {0}; int r = nanosleep(&t, &rem); CHECK(r == 0 || rem.tv_sec == 9); return r ? -1 : 1; }
static long c_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += 10;
	int r = syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0);
	return r ? -1 : 1;
}
static long c_poll(void) { struct pollfd p = {fds[0], POLLIN, 0}; return poll(&p, 1, -1); }
static long c_polled(void) { struct pollfd p = {fds[0], POLLIN, 0}; return poll(&p, 1, 10000); }
static long c_ppoll(void) { struct pollfd p = {fds[0], POLLIN, 0}; return ppoll(&p, 1, 0, 0); }
static long c_select(void) { fd_set r; FD_ZERO(&r); FD_SET(fds[0], &r); return select(fds[0] + 1, &r, 0, 0, 0); }
static long c_pselect(void) { fd_set r; FD_ZERO(&r); FD_SET(fds[0], &r); return pselect(fds[0] + 1, &r, 0, 0, &ten, 0); }
static void g_poll(void) { char c; write(fds[1], "x", 1); }
static long c_epoll(void) { struct epoll_event e; return epoll_wait(q, &e, 1, -1); }
static long c_pause(void) { return pause(); }
static long c_sigsuspend(void) { sigset_t s; sigemptyset(&s); return sigsuspend(&s); }
static long c_sigwait(void) { sigset_t s; sigemptyset(&s); sigaddset(&s, SIGUSR2); return syscall(SYS_rt_sigtimedwait, &s, 0, 0, 8) == SIGUSR2 ? 1 : -1; }
static long c_splice(void) { return splice(fds[0], 0, full[1], 0, 1, 0); }
static long c_tee(void) { return tee(fds[0], full[1], 1, 0); }
static long c_vmsplice(void) { struct { void *p; size_t n; } v = {buf, 1}; return syscall(SYS_vmsplice, full[1], &v, 1, 0); }
static void g_drain(void) { read(full[0], buf, sizeof buf); }
static void g_splice(void) { g_read(); usleep(20000); g_drain(); }

static pthread_t waiting;
static long result;
static int error;
static long (*call)(void);
static volatile int entered;

static void *caller(void *a)
{
	(void)a;
	entered = syscall(SYS_gettid);
	errno = 0;
	result = call();
	error = errno;
	entered = 0;
	return 0;
}

// asleep waits until the caller does.
static void asleep(void)
{
	char name[64], line[400];
	for (int i = 0; i < 5000; i++) {
		int tid = entered;
		if (tid) {
			snprintf(name, sizeof name, "/proc/self/task/%d/stat", tid);
			FILE *f = fopen(name, "r");
			if (f) {
				char *p = fgets(line, sizeof line, f) ? strrchr(line, ')') : 0;
				fclose(f);
				if (p && p[2] == 'S') {
					usleep(3000);
					return;
				}
			}
		}
		usleep(500);
	}
	CHECK(!"the caller sleeps");
}

// interrupt: with a handler, the call goes on (goes != 0) until it is let go, or ends with EINTR.
static void interrupt(const char *name, long (*c)(void), int flags, void (*let)(void), int goes)
{
	struct sigaction a = {.sa_handler = on, .sa_flags = flags};
	sigaction(SIGUSR1, &a, 0);
	handled = entered = 0, call = c, result = 0;
	CHECK(pthread_create(&waiting, 0, caller, 0) == 0);
	asleep();
	for (int n = 1; n <= (goes ? 3 : 1); n++) {
		pthread_kill(waiting, SIGUSR1);
		for (int i = 0; i < 2000 && handled < n; i++)
			usleep(500);
		CHECK(handled == n);
		if (goes)
			asleep();
	}
	if (goes)
		let();
	pthread_join(waiting, 0);
	check_count++;
	if (goes ? result != 1 : result != -1 || error != EINTR) {
		check_failed++;
		printf("%s, flags %#x: %ld, errno %d, want %s\n", name, flags, result, error, goes ? "to go on" : "EINTR");
	}
}

// through: signals that nobody handles end no call.
static void through(const char *name, long (*c)(void), void (*let)(void))
{
	signal(SIGUSR1, SIG_IGN);
	entered = 0, call = c;
	CHECK(pthread_create(&waiting, 0, caller, 0) == 0);
	asleep();
	pthread_kill(waiting, SIGUSR1);
	pthread_kill(waiting, SIGCONT);
	pthread_kill(waiting, SIGWINCH);
	asleep();
	let();
	pthread_join(waiting, 0);
	check_count++;
	if (result != 1)
		check_failed++, printf("%s, ignored signals: %ld, errno %d\n", name, result, error);
}

static void fill(void)
{
	fcntl(full[1], F_SETFL, O_NONBLOCK);
	while (write(full[1], buf, 4096) > 0)
		;
	fcntl(full[1], F_SETFL, 0);
}

int main(void)
{
	CHECK(pipe(fds) == 0 && pipe(full) == 0 && (evfd = eventfd(0, 0)) >= 0);
	fill();
	CHECK((q = epoll_create1(0)) >= 0 && (tfd = timerfd_create(CLOCK_MONOTONIC, 0)) >= 0);
	struct epoll_event e = {.events = EPOLLIN};
	CHECK(epoll_ctl(q, EPOLL_CTL_ADD, fds[0], &e) == 0);
	sigset_t s;
	sigemptyset(&s), sigaddset(&s, SIGUSR2);
	sigprocmask(SIG_BLOCK, &s, 0);
	CHECK((sfd = signalfd(-1, &s, 0)) >= 0);
	lockfd[0] = open("restarts.lock", O_RDWR | O_CREAT, 0600), lockfd[1] = open("restarts.lock", O_RDWR);
	unlink("restarts.fifo");
	CHECK(mkfifo("restarts.fifo", 0600) == 0);

	struct { const char *name; long (*call)(void); void (*let)(void); int again; } all[] = {
		{"read", c_read, g_read, 1}, {"write", c_write, g_write, 1}, {"eventfd", c_eventfd, g_eventfd, 1},
		{"timerfd", c_timerfd, g_timerfd, 1}, {"signalfd", c_signalfd, g_signalfd, 1}, {"futex", c_futex, g_futex, 1},
		{"futex with a limit", c_futex_timed, g_futex, 0}, {"flock", c_flock, g_flock, 1}, {"F_OFD_SETLKW", c_setlkw, g_setlkw, 1},
		{"open of a FIFO", c_fifo, g_fifo, 1},
		{"nanosleep", c_nanosleep, 0, 0}, {"clock_nanosleep", c_clock, 0, 0},
		{"poll", c_poll, g_poll, 0}, {"poll with a limit", c_polled, g_poll, 0}, {"ppoll", c_ppoll, g_poll, 0}, {"select", c_select, g_poll, 0}, {"pselect", c_pselect, g_poll, 0},
		{"epoll_wait", c_epoll, g_poll, 0}, {"pause", c_pause, 0, 0}, {"sigsuspend", c_sigsuspend, 0, 0}, {"sigwaitinfo", c_sigwait, g_signalfd, 0},
		{"splice", c_splice, g_splice, 1}, {"tee", c_tee, g_splice, 1}, {"vmsplice", c_vmsplice, g_drain, 1},
	};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		for (int mode = 0; mode < 3; mode++) {
			if (mode == 2 && !all[i].let)
				continue;
			fill();
			if (all[i].call == c_flock)
				flock(lockfd[0], LOCK_EX);
			if (all[i].call == c_setlkw) {
				struct flock l = {.l_type = F_WRLCK};
				fcntl(lockfd[0], 37, &l);
			}
			if (mode == 2)
				through(all[i].name, all[i].call, all[i].let);
			else
				interrupt(all[i].name, all[i].call, mode ? SA_RESTART : 0, all[i].let, mode && all[i].again);
			char c;
			fcntl(fds[0], F_SETFL, O_NONBLOCK);
			while (read(fds[0], &c, 1) == 1)
				;
			fcntl(fds[0], F_SETFL, 0);
			g_flock(), g_setlkw();
		}
	}
	unlink("restarts.fifo"), unlink("restarts.lock");
	return check_done();
}
