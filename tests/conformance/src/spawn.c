// Processes: spawn and vfork, exec with its errors, what a program inherits, many of them, orphans.
#include "child.h"

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
	CHECK(code(run("most", "", 0, 0)) == 9);
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
	execl(self, self, "alone", me, (char *)0);
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
	struct utsname u;
	struct sysinfo s0, s1;
	uname(&u);
	CHECK(code(run("exit", "0", 0, 0)) == 0 && sysinfo(&s0) == 0);
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
	CHECK(sysinfo(&s1) == 0);
	if (strstr(u.version, "Pinhole")) // elsewhere others come and go
		CHECK(s0.freeram == s1.freeram && s0.procs == s1.procs);
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

// As much as may be given to a program, found from above: what is too much is told, and the program is not lost.
static int most(void)
{
	setrlimit(RLIMIT_STACK, &(struct rlimit){512 << 10, RLIM_INFINITY});
	char *room = malloc(131072), *empty = 0;
	memset(room, 'm', 131072);
	room[131071 - 100] = 0;
	char *argv[] = {self, "exit", "9", room, 0};
	for (; *room; argv[3] = room += 8)
		if (execve(self, argv, &empty) == 0 || errno != E2BIG)
			return 1;
	return 2;
}

int main(int argc, char **argv)
{
	begin();
	if (argc > 2 && !strcmp(argv[1], "threads"))
		return threads_exec(atoi(argv[2]));
	if (argc > 2 && !strcmp(argv[1], "dying"))
		return dying_parent(argv[2]);
	if (argc > 1 && !strcmp(argv[1], "most"))
		return most();
	if (argc > 1)
		return child(argc, argv);
	enter();
	test_basic();
	test_exec_errors();
	test_exec();
	test_threads();
	test_orphans();
	test_dying_parent();
	test_many();
	test_threads_spawn();
	return check_done();
}
