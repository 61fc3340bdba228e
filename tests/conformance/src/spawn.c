// Processes: spawn and vfork, exec with its errors, wait in all its forms, what a program inherits.
// The program is its own child: with arguments it does what they say.
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
#include <sys/wait.h>
#include <time.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

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
	if (!strcmp(what, "first")) { // the only thread, with the process's number
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

// run starts the program as a child with up to three arguments.
static pid_t run(const char *a, const char *b, const char *c, const char *d)
{
	char *argv[] = {self, (char *)a, (char *)b, (char *)c, (char *)d, 0};
	pid_t p = -1;
	int e = posix_spawn(&p, self, 0, 0, argv, environ);
	if (e) {
		errno = e;
		return -1;
	}
	return p;
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

static void test_basic(void)
{
	CHECK(code(run("exit", "0", 0, 0)) == 0);
	CHECK(code(run("exit", "37", 0, 0)) == 37);
	CHECK(code(run("exit", "256", 0, 0)) == 0);
	CHECK(code(run("kill", "9", 0, 0)) == -9);
	CHECK(code(run("kill", "15", 0, 0)) == -15);
	char me[16];
	snprintf(me, sizeof me, "%d", getpid());
	CHECK(code(run("parent", me, 0, 0)) == 1);
	// vfork: memory is shared, all else is not.
	volatile int seen = 0;
	int fd = dup(0);
	char *dir = getcwd(0, 0), *after;
	pid_t p = vfork();
	if (p == 0) {
		seen = getpid();
		chdir("/");
		close(fd);
		umask(0777);
		signal(SIGUSR1, SIG_IGN);
		_exit(5);
	}
	CHECK(p > 0 && seen == p && code(p) == 5 && fcntl(fd, F_GETFD) == 0);
	after = getcwd(0, 0);
	CHECK(!strcmp(dir, after) && signal(SIGUSR1, SIG_DFL) == SIG_DFL);
	mode_t m = umask(022);
	CHECK(m != 0777);
	umask(m);
	close(fd), free(dir), free(after);
	// The calling thread waits until the child executes a program.
	seen = 0;
	long t0 = ms();
	if ((p = vfork()) == 0) {
		nap(50);
		seen = 1;
		execl(self, self, "exit", "6", (char *)0);
		_exit(127);
	}
	CHECK(p > 0 && seen == 1 && ms() - t0 >= 50 && code(p) == 6);
	// A vfork in a vfork.
	if ((p = vfork()) == 0) {
		int st;
		pid_t q = vfork();
		if (q == 0)
			_exit(3);
		_exit(waitpid(q, &st, 0) == q && WIFEXITED(st) ? WEXITSTATUS(st) + 1 : 99);
	}
	CHECK(code(p) == 4);
	CHECK(code(run("tree", "3", "3", 0)) == 40);
	if (access("/bin/sh", X_OK) == 0) {
		char line[16] = {0};
		CHECK(system("exit 3") == 3 << 8);
		FILE *f = popen("echo popen", "r");
		CHECK(f && fgets(line, sizeof line, f) && !strcmp(line, "popen\n") && pclose(f) == 0);
	}
}

static void test_exec_errors(void)
{
	char *argv[] = {"x", 0};
	int fd = open("plain", O_CREAT | O_WRONLY | O_TRUNC, 0755);
	write(fd, "neither this nor that", 21);
	FAILS(ETXTBSY, execve("plain", argv, environ));
	close(fd);
	mkdir("folder", 0755);
	close(open("noexec", O_CREAT | O_WRONLY, 0644));
	close(open("empty", O_CREAT | O_WRONLY, 0755));
	symlink("loop", "loop");
	const struct { const char *name, *text; } scripts[] = {
		{"s_none", "#!\n"}, {"s_lost", "#!/no/such\n"}, {"s_dir", "#!/\n"}, {"s_self", "#!s_self\n"}, {"s_plain", "#!plain\n"},
	};
	for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
		fd = open(scripts[i].name, O_CREAT | O_WRONLY | O_TRUNC, 0755);
		write(fd, scripts[i].text, strlen(scripts[i].text));
		close(fd);
	}
	static char longname[5000];
	memset(longname, 'a', sizeof longname - 1);
	const struct { const char *path; int err; } cases[] = {
		{"none", ENOENT}, {"", ENOENT}, {"plain/x", ENOTDIR}, {"none/x", ENOENT}, {"folder", EACCES}, {"noexec", EACCES},
		{"plain", ENOEXEC}, {"empty", ENOEXEC}, {"loop", ELOOP}, {longname, ENAMETOOLONG}, {(char *)8, EFAULT}, {0, EFAULT},
		{"s_none", ENOEXEC}, {"s_lost", ENOENT}, {"s_dir", EACCES}, {"s_self", ELOOP}, {"s_plain", ENOEXEC}, {"/dev/null", EACCES},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		errno = 0;
		long r = syscall(SYS_execve, cases[i].path, argv, environ);
		check_count++;
		if (r != -1 || errno != cases[i].err) {
			check_failed++;
			printf("execve case %zu: %ld errno %d, want %d\n", i, r, errno, cases[i].err);
		}
	}
	FAILS(EFAULT, syscall(SYS_execve, self, 8, environ));
	FAILS(EFAULT, syscall(SYS_execve, self, argv, 8));
	char *badarg[] = {"x", (char *)8, 0};
	FAILS(EFAULT, syscall(SYS_execve, self, badarg, environ));
	// Arguments: one of 128 KiB at most, and a quarter of the stack's limit in all.
	char *big = malloc(140000);
	memset(big, 'b', 140000);
	big[131072] = 0;
	char *bigarg[] = {self, "exit", "9", big, 0};
	FAILS(E2BIG, execve(self, bigarg, environ));
	big[131071] = 0;
	pid_t p;
	CHECK(posix_spawn(&p, self, 0, 0, bigarg, environ) == 0 && code(p) == 9);
	char **many = calloc(3001, sizeof *many);
	for (int i = 0; i < 3000; i++)
		many[i] = big + 131071 - 1000;
	many[0] = self, many[1] = "exit", many[2] = "9";
	FAILS(E2BIG, execve(self, many, environ));
	many[1500] = 0;
	CHECK(posix_spawn(&p, self, 0, 0, many, environ) == 0 && code(p) == 9);
	free(many), free(big);
	// execveat.
	FAILS(EINVAL, syscall(SYS_execveat, AT_FDCWD, self, argv, environ, 1));
	FAILS(EBADF, syscall(SYS_execveat, 99, "plain", argv, environ, 0));
	FAILS(ENOENT, syscall(SYS_execveat, AT_FDCWD, "", argv, environ, 0));
	FAILS(EACCES, syscall(SYS_execveat, AT_FDCWD, "", argv, environ, AT_EMPTY_PATH));
	symlink(self, "link");
	FAILS(ELOOP, syscall(SYS_execveat, AT_FDCWD, "link", argv, environ, AT_SYMLINK_NOFOLLOW));
	fd = open("plain", O_RDONLY);
	FAILS(ENOTDIR, syscall(SYS_execveat, fd, "x", argv, environ, 0));
	FAILS(ENOEXEC, syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH));
	close(fd);
	FAILS(ENOENT, (errno = posix_spawn(&p, "/no/such", 0, 0, argv, environ), errno ? -1 : 0));
	// A running program cannot be written.
	FAILS(ETXTBSY, open(self, O_WRONLY));
	FAILS(ETXTBSY, open(self, O_RDWR | O_TRUNC));
	FAILS(ETXTBSY, truncate(self, 5));
}

static void test_exec(void)
{
	// A script: interpreter, one argument, the script's name, the rest. All behind the interpreter's name is one
	// argument: "args one" is nothing that we know.
	int fds[2], fd;
	char text[PATH_MAX + 64], got[512], want[128];
	char *argv[] = {"zero", "first", "second", 0}, *env[] = {"MARK=m", 0};
	snprintf(text, sizeof text, "#! %s \t args one \nignored\n", self);
	fd = open("script", O_CREAT | O_WRONLY | O_TRUNC, 0755);
	write(fd, text, strlen(text));
	close(fd);
	pid_t p = vfork();
	if (p == 0) {
		execve("script", argv, env);
		_exit(127);
	}
	CHECK(code(p) == 0);
	snprintf(text, sizeof text, "#!%s args\n", self);
	fd = open("script", O_CREAT | O_WRONLY | O_TRUNC, 0755);
	write(fd, text, strlen(text));
	close(fd);
	for (int by = 0; by < 3; by++) {
		pipe(fds);
		int sfd = open(by == 2 ? "." : "script", O_RDONLY);
		if ((p = vfork()) == 0) { // path, descriptor, directory and name
			dup2(fds[1], 1);
			if (by == 0)
				execve("script", argv, env);
			else
				syscall(SYS_execveat, sfd, by == 2 ? "script" : "", argv, env, by == 2 ? 0 : AT_EMPTY_PATH);
			_exit(127);
		}
		close(fds[1]);
		memset(got, 0, sizeof got);
		for (int n = 0, r; (r = read(fds[0], got + n, sizeof got - 1 - n)) > 0; n += r)
			;
		close(fds[0]);
		if (by == 0)
			snprintf(want, sizeof want, "script;first;second;m\n");
		else
			snprintf(want, sizeof want, by == 1 ? "/dev/fd/%d;first;second;m\n" : "/dev/fd/%d/script;first;second;m\n", sfd);
		CHECK(code(p) == 0 && !strcmp(got, want));
		if (strcmp(got, want))
			printf("by %d: got %s want %s", by, got, want);
		close(sfd);
	}
	// By a descriptor that is closed, the interpreter could not open it.
	fd = open("script", O_RDONLY | O_CLOEXEC);
	FAILS(ENOENT, syscall(SYS_execveat, fd, "", argv, env, AT_EMPTY_PATH));
	close(fd);
	// The program itself by descriptor.
	fd = open(self, O_RDONLY | O_CLOEXEC);
	char *nine[] = {"n", "exit", "9", 0};
	if ((p = vfork()) == 0) {
		fexecve(fd, nine, environ);
		_exit(127);
	}
	CHECK(code(p) == 9);
	close(fd);
	// Descriptors.
	int keep = dup(0), shut = fcntl(0, F_DUPFD_CLOEXEC, 0);
	char k[16], s[16];
	snprintf(k, sizeof k, "%d", keep), snprintf(s, sizeof s, "%d", shut);
	CHECK(code(run("open", k, 0, 0)) == 1 && code(run("open", s, 0, 0)) == 0);
	CHECK(fcntl(shut, F_GETFD) == FD_CLOEXEC);
	close(keep), close(shut);
	// Signals.
	static char alt[32768];
	stack_t ss = {.ss_sp = alt, .ss_size = sizeof alt}, off = {.ss_flags = SS_DISABLE};
	sigset_t set, old;
	sigemptyset(&set), sigaddset(&set, SIGHUP);
	signal(SIGUSR1, SIG_IGN), signal(SIGUSR2, on), sigaltstack(&ss, 0), sigprocmask(SIG_BLOCK, &set, &old);
	p = vfork();
	if (p == 0) {
		execl(self, self, "signals", (char *)0);
		_exit(127);
	}
	CHECK(code(p) == 0);
	signal(SIGUSR1, SIG_DFL), signal(SIGUSR2, SIG_DFL), sigaltstack(&off, 0), sigprocmask(SIG_SETMASK, &old, 0);
}

static void *exec_other(void *a)
{
	char me[16];
	snprintf(me, sizeof me, "%d", getpid());
	if (!a)
		nap(20);
	execl(self, self, "first", me, (char *)0);
	_exit(126);
}

static void *forever(void *a)
{
	if (a)
		for (;;)
			;
	for (;;)
		pause();
}

// In a program of its own: threads that compute and wait, and one of them executes a program.
static int threads_exec(int leader)
{
	pthread_t t;
	for (intptr_t i = 0; i < 4; i++)
		pthread_create(&t, 0, forever, (void *)(i & 1));
	if (leader)
		exec_other("");
	pthread_create(&t, 0, exec_other, 0);
	if (leader < 0)
		pthread_exit(0);
	for (;;)
		pause();
}

static void test_threads(void)
{
	CHECK(code(run("threads", "1", 0, 0)) == 0);
	CHECK(code(run("threads", "0", 0, 0)) == 0);
	CHECK(code(run("threads", "-1", 0, 0)) == 0);
}

static void test_wait(void)
{
	int st = 77;
	struct rusage ru;
	siginfo_t si;
	FAILS(ECHILD, wait(&st));
	FAILS(ECHILD, waitpid(-1, &st, WNOHANG));
	FAILS(ECHILD, waitpid(1, &st, 0));
	FAILS(ECHILD, waitpid(getpid(), &st, 0));
	FAILS(EINVAL, waitpid(-1, &st, 0x100));
	FAILS(ESRCH, waitpid(INT_MIN, &st, 0));
	FAILS(EINVAL, waitid(P_ALL, 0, &si, 0));
	FAILS(EINVAL, waitid(P_ALL, 0, &si, WNOHANG));
	FAILS(EINVAL, waitid(99, 0, &si, WEXITED));
	FAILS(EINVAL, waitid(P_PID, 0, &si, WEXITED));
	FAILS(ECHILD, waitid(P_ALL, 0, &si, WEXITED));
	FAILS(EBADF, waitid(P_PIDFD, 99, &si, WEXITED));
	FAILS(EBADF, waitid(P_PIDFD, 0, &si, WEXITED));
	pid_t a = run("pause", 0, 0, 0), b = run("exit", "3", 0, 0);
	CHECK(a > 0 && b > 0);
	CHECK(waitpid(a, &st, WNOHANG) == 0);
	memset(&si, 0x55, sizeof si);
	CHECK(waitid(P_PID, a, &si, WEXITED | WNOHANG) == 0 && si.si_pid == 0 && si.si_signo == 0);
	// WNOWAIT leaves it, twice.
	for (int i = 0; i < 2; i++) {
		memset(&si, 0, sizeof si);
		CHECK(waitid(P_PID, b, &si, WEXITED | WNOWAIT) == 0 && si.si_pid == b && si.si_signo == SIGCHLD &&
			si.si_code == CLD_EXITED && si.si_status == 3 && si.si_uid == getuid());
	}
	CHECK(kill(b, 0) == 0 && getpgid(b) == getpgrp()); // a zombie is there
	memset(&ru, 0x55, sizeof ru);
	CHECK(wait4(-1, &st, 0, &ru) == b && WIFEXITED(st) && WEXITSTATUS(st) == 3 && ru.ru_utime.tv_usec < 1000000);
	FAILS(ESRCH, kill(b, 0));
	FAILS(ECHILD, waitpid(b, &st, 0));
	// By group.
	CHECK(setpgid(a, 0) == -1 && errno == EACCES); // it has executed a program
	FAILS(ECHILD, waitpid(-a, &st, WNOHANG));
	CHECK(waitpid(-getpgrp(), &st, WNOHANG) == 0 && waitpid(0, &st, WNOHANG) == 0);
	CHECK(waitid(P_PGID, getpgrp(), &si, WEXITED | WNOHANG) == 0);
	// Stop and continue.
	CHECK(kill(a, SIGSTOP) == 0 && waitpid(a, &st, WUNTRACED) == a && WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP);
	CHECK(waitpid(a, &st, WUNTRACED | WNOHANG) == 0);
	CHECK(kill(a, SIGSTOP) == 0 && waitpid(a, &st, WUNTRACED | WNOHANG) == 0); // stopped already
	CHECK(kill(a, SIGCONT) == 0 && waitpid(a, &st, WCONTINUED) == a && WIFCONTINUED(st));
	CHECK(kill(a, SIGCONT) == 0 && waitpid(a, &st, WCONTINUED | WNOHANG) == 0); // runs already
	CHECK(kill(a, SIGTSTP) == 0);
	memset(&si, 0, sizeof si);
	CHECK(waitid(P_PID, a, &si, WSTOPPED | WNOWAIT) == 0 && si.si_code == CLD_STOPPED && si.si_status == SIGTSTP);
	CHECK(waitid(P_PID, a, &si, WSTOPPED) == 0 && waitid(P_PID, a, &si, WSTOPPED | WNOHANG) == 0);
	CHECK(kill(a, SIGCONT) == 0 && waitid(P_PID, a, &si, WCONTINUED) == 0 && si.si_code == CLD_CONTINUED && si.si_status == SIGCONT);
	CHECK(kill(a, SIGSTOP) == 0 && kill(a, SIGKILL) == 0 && status(a) == SIGKILL);
	// A call that waits is interrupted by a handler, or goes on.
	struct sigaction sa = {.sa_handler = on};
	sigaction(SIGALRM, &sa, 0);
	a = run("nap", "150", 0, 0);
	b = run("exit", "0", 0, 0);
	CHECK(code(b) == 0);
	signal(SIGALRM, SIG_DFL);
	CHECK(code(a) == 0);
}

static void test_sigchld(void)
{
	struct sigaction sa = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO | SA_RESTART};
	int st;
	sigaction(SIGCHLD, &sa, 0);
	chld = 0;
	pid_t p = run("exit", "12", 0, 0);
	CHECK(code(p) == 12 && told(1) && last.si_signo == SIGCHLD && last.si_code == CLD_EXITED && last.si_pid == p &&
		last.si_status == 12 && last.si_uid == getuid());
	chld = 0;
	p = run("kill", "10", 0, 0);
	CHECK(code(p) == -10 && told(1) && last.si_code == CLD_KILLED && last.si_status == 10 && last.si_pid == p);
	chld = 0;
	p = run("pause", 0, 0, 0);
	kill(p, SIGSTOP);
	CHECK(waitpid(p, &st, WUNTRACED) == p && told(1) && last.si_code == CLD_STOPPED && last.si_status == SIGSTOP);
	kill(p, SIGCONT);
	CHECK(waitpid(p, &st, WCONTINUED) == p && told(2) && last.si_code == CLD_CONTINUED && last.si_status == SIGCONT);
	sa.sa_flags |= SA_NOCLDSTOP;
	sigaction(SIGCHLD, &sa, 0);
	chld = 0;
	kill(p, SIGSTOP);
	CHECK(waitpid(p, &st, WUNTRACED) == p && chld == 0);
	kill(p, SIGKILL);
	CHECK(status(p) == SIGKILL && told(1));
	// SA_NOCLDWAIT: told, and nothing to wait for.
	sa.sa_flags = SA_SIGINFO | SA_NOCLDWAIT;
	sigaction(SIGCHLD, &sa, 0);
	chld = 0;
	p = run("exit", "1", 0, 0);
	while (waitpid(p, &st, 0) == -1 && errno == EINTR)
		;
	FAILS(ECHILD, waitpid(p, &st, 0));
	CHECK(told(1) && kill(p, 0) == -1);
	// Ignored: not even told.
	signal(SIGCHLD, SIG_IGN);
	p = run("exit", "1", 0, 0);
	FAILS(ECHILD, waitpid(p, &st, 0));
	signal(SIGCHLD, SIG_DFL);
}

// stack for clone
static char cstack[65536] __attribute__((aligned(16)));
static volatile int cloned;
static int clone_fn(void *a)
{
	cloned = getppid();
	_exit((int)(intptr_t)a);
}

static void test_clone(void)
{
	int st, fd = -1;
	// An end that says nothing, or something else.
	pid_t p = clone(clone_fn, cstack + sizeof cstack, CLONE_VM | CLONE_VFORK, (void *)4);
	CHECK(p > 0);
	FAILS(ECHILD, waitpid(p, &st, 0));
	CHECK(waitpid(p, &st, __WCLONE) == p && WEXITSTATUS(st) == 4);
	signal(SIGUSR1, on);
	p = clone(clone_fn, cstack + sizeof cstack, CLONE_VM | CLONE_VFORK | SIGUSR1, (void *)5);
	CHECK(waitpid(p, &st, __WALL) == p && WEXITSTATUS(st) == 5);
	signal(SIGUSR1, SIG_DFL);
	// Without VFORK both run.
	pid_t parent_tid = 0;
	cloned = 0;
	p = clone(clone_fn, cstack + sizeof cstack, CLONE_VM | CLONE_PARENT_SETTID | SIGCHLD, (void *)6, &parent_tid, 0, 0);
	CHECK(p > 0 && parent_tid == p && code(p) == 6 && cloned == getpid());
	// With a descriptor.
	p = clone(clone_fn, cstack + sizeof cstack, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, (void *)7, &fd, 0, 0);
	CHECK(p > 0 && fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	siginfo_t si = {0};
	CHECK(waitid(P_PIDFD, fd, &si, WEXITED) == 0 && si.si_pid == p && si.si_status == 7);
	close(fd);
	FAILS(EINVAL, clone(clone_fn, cstack + sizeof cstack, CLONE_VM | CLONE_THREAD, 0));
	FAILS(EINVAL, clone(clone_fn, cstack + sizeof cstack, CLONE_SIGHAND, 0));
	FAILS(EINVAL, clone(clone_fn, cstack + sizeof cstack, CLONE_NEWNS | CLONE_FS, 0));
	// clone3, whose arguments are checked.
	uint64_t args[12] = {0};
	args[0] = CLONE_VM | CLONE_VFORK, args[4] = SIGCHLD;
	FAILS(EINVAL, syscall(SYS_clone3, args, 63));
	FAILS(E2BIG, syscall(SYS_clone3, args, 4097));
	FAILS(EFAULT, syscall(SYS_clone3, 8, 64));
	args[11] = 1;
	FAILS(E2BIG, syscall(SYS_clone3, args, 96));
	args[4] = 65;
	FAILS(EINVAL, syscall(SYS_clone3, args, 64));
	args[4] = SIGCHLD, args[5] = 4096;
	FAILS(EINVAL, syscall(SYS_clone3, args, 64));
	args[5] = 0, args[0] |= SIGCHLD;
	FAILS(EINVAL, syscall(SYS_clone3, args, 64));
}

static void test_pidfd(void)
{
	siginfo_t si = {0};
	FAILS(EINVAL, syscall(SYS_pidfd_open, 0, 0));
	FAILS(EINVAL, syscall(SYS_pidfd_open, -1, 0));
	FAILS(EINVAL, syscall(SYS_pidfd_open, getpid(), 1));
	FAILS(ESRCH, syscall(SYS_pidfd_open, 4194000, 0));
	pid_t p = run("pause", 0, 0, 0);
	int fd = syscall(SYS_pidfd_open, p, 0), nb = syscall(SYS_pidfd_open, p, O_NONBLOCK);
	CHECK(fd >= 0 && nb >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	struct pollfd pf = {.fd = fd, .events = POLLIN};
	CHECK(poll(&pf, 1, 0) == 0);
	FAILS(EAGAIN, waitid(P_PIDFD, nb, &si, WEXITED));
	CHECK(waitid(P_PIDFD, fd, &si, WEXITED | WNOHANG) == 0 && si.si_pid == 0);
	char c;
	FAILS(EINVAL, read(fd, &c, 1));
	FAILS(EINVAL, syscall(SYS_pidfd_send_signal, fd, 0, 0, 64));
	FAILS(EBADF, syscall(SYS_pidfd_send_signal, 0, 0, 0, 0));
	FAILS(EINVAL, syscall(SYS_pidfd_send_signal, fd, 99, 0, 0));
	CHECK(syscall(SYS_pidfd_send_signal, fd, 0, 0, 0) == 0);
	CHECK(syscall(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0) == 0);
	CHECK(poll(&pf, 1, 10000) == 1 && (pf.revents & POLLIN));
	CHECK(syscall(SYS_pidfd_send_signal, fd, 0, 0, 0) == 0); // a zombie
	CHECK(waitid(P_PIDFD, fd, &si, WEXITED) == 0 && si.si_pid == p && si.si_code == CLD_KILLED && si.si_status == SIGTERM);
	FAILS(ESRCH, syscall(SYS_pidfd_send_signal, fd, 0, 0, 0));
	FAILS(ECHILD, waitid(P_PIDFD, fd, &si, WEXITED));
	CHECK(poll(&pf, 1, 0) == 1);
	close(fd), close(nb);
}

static void test_groups(void)
{
	CHECK(getpgid(0) == getpgrp() && getsid(0) == getsid(getpid()));
	FAILS(ESRCH, setpgid(4194000, 0));
	FAILS(EINVAL, setpgid(0, -1));
	posix_spawnattr_t at;
	posix_spawnattr_init(&at);
	posix_spawnattr_setflags(&at, POSIX_SPAWN_SETPGROUP);
	posix_spawnattr_setpgroup(&at, 0);
	char *argv[] = {self, "pause", 0};
	pid_t p, q;
	CHECK(posix_spawn(&p, self, 0, &at, argv, environ) == 0 && getpgid(p) == p && getsid(p) == getsid(0));
	posix_spawnattr_setpgroup(&at, p);
	CHECK(posix_spawn(&q, self, 0, &at, argv, environ) == 0 && getpgid(q) == p);
	posix_spawnattr_destroy(&at);
	CHECK(kill(-p, 0) == 0 && kill(-p, SIGTERM) == 0);
	int st;
	CHECK(waitpid(-p, &st, 0) > 0 && st == SIGTERM && waitpid(-p, &st, 0) > 0 && st == SIGTERM);
	FAILS(ECHILD, waitpid(-p, &st, 0));
	FAILS(ESRCH, kill(-p, 0));
	// A session of its own.
	p = vfork();
	if (p == 0)
		_exit(setsid() == getpid() && getsid(0) == getpid() && getpgrp() == getpid() && setsid() == -1 && errno == EPERM ? 0 : 1);
	CHECK(code(p) == 0);
	// Not into another session.
	int fds[2];
	pipe(fds);
	p = clone(clone_fn, cstack + sizeof cstack, CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)0);
	CHECK(code(p) == 0);
	close(fds[0]), close(fds[1]);
}

static void test_orphans(void)
{
	int fds[2], parent = 0, st;
	char w[16];
	pipe(fds);
	snprintf(w, sizeof w, "%d", fds[1]);
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	int is = 0;
	CHECK(prctl(PR_GET_CHILD_SUBREAPER, &is) == 0 && is == 1);
	pid_t p = run("orphan", w, 0, 0);
	CHECK(code(p) == 0 && read(fds[0], &parent, sizeof parent) == sizeof parent && parent == getpid());
	CHECK((p = wait(&st)) > 0 && WIFEXITED(st));
	// The death of a parent is a signal to who wants it.
	pid_t q = 0;
	p = run("leave", w, 0, 0);
	CHECK(code(p) == 0 && read(fds[0], &q, sizeof q) == sizeof q && status(q) == SIGUSR1);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	close(fds[0]), close(fds[1]);
}

// The parent is killed while its child is still in its memory: the child goes on.
static void *killer(void *a)
{
	nap(100);
	kill(getpid(), SIGKILL);
	return a;
}

static int dying_parent(const char *fd)
{
	pthread_t t;
	pthread_create(&t, 0, killer, 0);
	volatile int w = atoi(fd);
	if (vfork() == 0) {
		nap(300);
		int now = getpid();
		write(w, &now, sizeof now);
		execl(self, self, "exit", "8", (char *)0);
		_exit(127);
	}
	return 0;
}

static void test_dying_parent(void)
{
	int fds[2], st;
	char w[16];
	pid_t q = 0;
	pipe(fds);
	snprintf(w, sizeof w, "%d", fds[1]);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	pid_t p = run("dying", w, 0, 0);
	CHECK(status(p) == SIGKILL);
	CHECK(read(fds[0], &q, sizeof q) == sizeof q && waitpid(q, &st, 0) == q && WIFEXITED(st) && WEXITSTATUS(st) == 8);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	close(fds[0]), close(fds[1]);
}

static int count_fds(void)
{
	int n = 0;
	for (int i = 0; i < 256; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

static void test_many(void)
{
	int before = count_fds();
	for (int i = 0; i < 1000; i++) {
		pid_t p = run("exit", "2", 0, 0);
		int st = -1;
		if (p < 0 || waitpid(p, &st, 0) != p || st != 2 << 8) {
			CHECK(!"spawn in a row");
			printf("at %d: pid %d status %#x\n", i, p, st);
			break;
		}
	}
	CHECK(count_fds() == before);
	// At once.
	pid_t ps[50];
	int n = 0;
	for (int i = 0; i < 50; i++) {
		ps[i] = run("pause", 0, 0, 0);
		n += ps[i] > 0;
	}
	CHECK(n == 50);
	for (int i = 0; i < 50; i++)
		n -= ps[i] > 0 && kill(ps[i], SIGKILL) == 0 && status(ps[i]) == SIGKILL;
	CHECK(n == 0);
	// One that computes can be ended.
	pid_t p = run("spin", 0, 0, 0);
	nap(30);
	CHECK(kill(p, SIGTERM) == 0 && status(p) == SIGTERM);
	struct rusage ru;
	CHECK(getrusage(RUSAGE_CHILDREN, &ru) == 0 && ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec > 0);
}

static void *spawner(void *a)
{
	for (int i = 0; i < 25; i++) {
		int st;
		pid_t p = run("exit", "1", 0, 0);
		if (p < 0 || waitpid(p, &st, 0) != p || st != 1 << 8)
			return "bad";
		char *m = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset(m, i, 65536);
		mprotect(m, 65536, PROT_READ); // which stops the others
		if (m[100] != i)
			return "lost";
		munmap(m, 65536);
	}
	return a;
}

static void test_threads_spawn(void)
{
	pthread_t t[4];
	void *r;
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], 0, spawner, 0);
	for (int i = 0; i < 4; i++)
		CHECK(pthread_join(t[i], &r) == 0 && r == 0);
}

int main(int argc, char **argv)
{
	int n = readlink("/proc/self/exe", self, sizeof self - 1);
	CHECK(n > 0);
	if (argc > 2 && !strcmp(argv[1], "threads"))
		return threads_exec(atoi(argv[2]));
	if (argc > 2 && !strcmp(argv[1], "dying"))
		return dying_parent(argv[2]);
	if (argc > 1)
		return child(argc, argv);
	char dir[] = "spawnXXXXXX";
	CHECK(mkdtemp(dir) && chdir(dir) == 0);
	test_basic();
	test_exec_errors();
	test_exec();
	test_threads();
	test_wait();
	test_sigchld();
	test_clone();
	test_pidfd();
	test_groups();
	test_orphans();
	test_dying_parent();
	test_many();
	test_threads_spawn();
	return check_done();
}
