// What the programs about processes share. Such a program is its own child: with arguments it does what
// they say.
#ifndef CHILD_H
#define CHILD_H
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;
static char self[PATH_MAX];

static long ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void nap(int n)
{
	struct timespec t = {n / 1000, n % 1000 * 1000000L};
	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

static volatile sig_atomic_t hup_fd;
static void on_hup(int s)
{
	(void)s;
	write(hup_fd, "h", 1);
	hup_fd = -1;
}

// What the program does as a child.
static int child(int argc, char **argv)
{
	const char *what = argv[1];
	if (!strcmp(what, "exit"))
		return atoi(argv[2]);
	if (!strcmp(what, "kill")) {
		kill(getpid(), atoi(argv[2]));
		nap(10000);
	}
	if (!strcmp(what, "nap"))
		nap(atoi(argv[2]));
	if (!strcmp(what, "pause"))
		for (;;)
			pause();
	if (!strcmp(what, "spin"))
		for (;;)
			;
	if (!strcmp(what, "open")) // is the descriptor?
		return fcntl(atoi(argv[2]), F_GETFD) >= 0;
	if (!strcmp(what, "args")) {
		for (int i = 2; i < argc; i++)
			printf("%s;", argv[i]);
		printf("%s\n", getenv("MARK") ? getenv("MARK") : "-");
	}
	if (!strcmp(what, "parent"))
		return getppid() == atoi(argv[2]);
	if (!strcmp(what, "signals")) { // ignored stays, handled goes, the mask stays, the stack goes
		struct sigaction a, b;
		sigset_t m;
		stack_t s;
		sigaction(SIGUSR1, 0, &a), sigaction(SIGUSR2, 0, &b), sigprocmask(0, 0, &m), sigaltstack(0, &s);
		return !(a.sa_handler == SIG_IGN && b.sa_handler == SIG_DFL && sigismember(&m, SIGHUP) && !sigismember(&m, SIGTERM) &&
			s.ss_flags == SS_DISABLE);
	}
	if (!strcmp(what, "alone")) { // the only thread, with the process's number
		int threads = 0, mine = 0;
		DIR *d = opendir("/proc/self/task");
		for (struct dirent *e; (e = readdir(d));)
			threads += e->d_name[0] != '.', mine += atoi(e->d_name) == getpid();
		return !(syscall(SYS_gettid) == getpid() && getpid() == atoi(argv[2]) && threads == 1 && mine == 1);
	}
	if (!strcmp(what, "orphan")) { // leaves a child behind that says who its parent is by then
		pid_t p;
		char *a[] = {self, "adopted", argv[2], 0};
		return posix_spawn(&p, self, 0, 0, a, environ);
	}
	if (!strcmp(what, "adopted")) {
		int fd = atoi(argv[2]), was = getppid();
		for (int i = 0; i < 1000 && getppid() == was; i++)
			nap(5);
		int now = getppid();
		write(fd, &now, sizeof now);
	}
	if (!strcmp(what, "tree")) { // depth, width: each waits for its own
		int depth = atoi(argv[2]), width = atoi(argv[3]), sum = 1;
		char d[16];
		snprintf(d, sizeof d, "%d", depth - 1);
		for (int i = 0; depth > 0 && i < width; i++) {
			pid_t p;
			int st;
			char *a[] = {self, "tree", d, argv[3], 0};
			if (posix_spawn(&p, self, 0, 0, a, environ) || waitpid(p, &st, 0) != p || !WIFEXITED(st))
				return 0;
			sum += WEXITSTATUS(st);
		}
		return sum;
	}
	if (!strcmp(what, "death")) { // dies by a signal when its parent does
		prctl(PR_SET_PDEATHSIG, SIGUSR1);
		write(atoi(argv[2]), "r", 1);
		for (;;)
			pause();
	}
	if (!strcmp(what, "session"))
		setsid(), nap(100000);
	if (!strcmp(what, "shell")) { // leaves a stopped job behind, itself in a session of its own or with the job's first
		setsid();
		posix_spawnattr_t at;
		posix_spawnattr_init(&at);
		posix_spawnattr_setflags(&at, POSIX_SPAWN_SETPGROUP);
		char *a[] = {self, argv[3], argv[2], 0};
		pid_t p;
		int st;
		if (posix_spawn(&p, self, 0, &at, a, environ) || waitpid(p, &st, WUNTRACED) != p || !WIFSTOPPED(st) && st)
			return 1;
		if (st == 0) // the job's first has ended, and what it has left behind is told
			nap(100);
	}
	if (!strcmp(what, "first")) {
		char *a[] = {self, "job", argv[2], 0};
		pid_t p;
		int st;
		return posix_spawn(&p, self, 0, 0, a, environ) || waitpid(p, &st, WUNTRACED) != p || !WIFSTOPPED(st);
	}
	if (!strcmp(what, "job")) {
		hup_fd = atoi(argv[2]);
		signal(SIGHUP, on_hup);
		raise(SIGTSTP); // returns when it is continued
		raise(SIGTSTP); // returns at once: nobody is there to continue it
		return hup_fd != -1;
	}
	if (!strcmp(what, "leave")) { // spawns one that wants to die with it, waits until it is ready, ends
		int fds[2];
		char w[16], c;
		pid_t p;
		pipe(fds);
		snprintf(w, sizeof w, "%d", fds[1]);
		char *a[] = {self, "death", w, 0};
		if (posix_spawn(&p, self, 0, 0, a, environ))
			return 99;
		read(fds[0], &c, 1);
		write(atoi(argv[2]), &p, sizeof p);
	}
	return 0;
}

// started ends everything if a child could not be started: to go on with its number, -1, would mean everybody.
static pid_t started(int err, pid_t p)
{
	if (err || p <= 0) {
		printf("a child could not be started: error %d\n", err);
		fflush(stdout);
		_exit(1);
	}
	return p;
}

// run starts the program as a child with up to three arguments.
static pid_t run(const char *a, const char *b, const char *c, const char *d)
{
	char *argv[] = {self, (char *)a, (char *)b, (char *)c, (char *)d, 0};
	pid_t p = -1;
	int e = posix_spawn(&p, self, 0, 0, argv, environ);
	return started(e, p);
}

static int status(pid_t p)
{
	int st = -1;
	CHECK(waitpid(p, &st, 0) == p);
	return st;
}

static int code(pid_t p)
{
	int st = status(p);
	return WIFEXITED(st) ? WEXITSTATUS(st) : -WTERMSIG(st);
}

static volatile sig_atomic_t chld;
static siginfo_t last;
static void on_chld(int s, siginfo_t *i, void *u)
{
	(void)s, (void)u;
	last = *i;
	chld++;
}
static void on(int s) { (void)s; }

// told waits until the handler has run n times: news of a child may come before the signal.
static int told(int n)
{
	for (int i = 0; i < 1000 && chld < n; i++)
		nap(5);
	return chld == n;
}

// begin finds out what the program is called.
static void begin(void)
{
	int n = readlink("/proc/self/exe", self, sizeof self - 1);
	CHECK(n > 0);
}

// enter goes to an empty directory.
static void enter(void)
{
	char dir[] = "procsXXXXXX";
	CHECK(mkdtemp(dir) && chdir(dir) == 0);
}
#endif
