// Waiting for processes in all its forms, what their parents are told, clone, descriptors of processes, groups.
#include "child.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

// pause_in starts a process that waits for signals, in the process group pgid; 0: in one of its own.
static pid_t pause_in(pid_t pgid)
{
	posix_spawnattr_t at;
	posix_spawnattr_init(&at);
	posix_spawnattr_setflags(&at, POSIX_SPAWN_SETPGROUP);
	posix_spawnattr_setpgroup(&at, pgid);
	char *argv[] = {self, "pause", 0};
	pid_t p = -1;
	int e = posix_spawn(&p, self, 0, &at, argv, environ);
	started(e, p);
	posix_spawnattr_destroy(&at);
	return p;
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
	// The terminal's signals stop only what has a parent in another group, who may continue it.
	pid_t own = pause_in(0);
	CHECK(kill(own, SIGTSTP) == 0);
	memset(&si, 0, sizeof si);
	CHECK(waitid(P_PID, own, &si, WSTOPPED | WNOWAIT) == 0 && si.si_code == CLD_STOPPED && si.si_status == SIGTSTP);
	CHECK(waitid(P_PID, own, &si, WSTOPPED) == 0 && waitid(P_PID, own, &si, WSTOPPED | WNOHANG) == 0);
	CHECK(kill(own, SIGCONT) == 0 && waitid(P_PID, own, &si, WCONTINUED) == 0 && si.si_code == CLD_CONTINUED && si.si_status == SIGCONT);
	CHECK(kill(own, SIGKILL) == 0 && status(own) == SIGKILL);
	// That it has stopped is no news any more when it goes on.
	memset(&si, 0, sizeof si);
	CHECK(kill(a, SIGSTOP) == 0 && waitid(P_PID, a, &si, WSTOPPED | WNOWAIT) == 0 && kill(a, SIGCONT) == 0);
	CHECK(waitid(P_PID, a, &si, WCONTINUED) == 0 && waitpid(a, &st, WUNTRACED | WNOHANG) == 0);
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
	pid_t p = pause_in(0), q = pause_in(p);
	CHECK(getpgid(p) == p && getsid(p) == getsid(0));
	CHECK(getpgid(q) == p);
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
	// Not into a group of another session, nor out of one's own as its leader.
	p = run("session", 0, 0, 0);
	while (getsid(p) == getsid(0))
		nap(1);
	FAILS(EPERM, setpgid(0, p));
	FAILS(EPERM, setpgid(p, 0));
	kill(p, SIGKILL);
	CHECK(status(p) == SIGKILL);
}

// A job whose members are stopped is told and continued when it becomes orphaned; one that is orphaned is not
// stopped by the terminal's signals.
static void test_jobs(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (int by = 0; by < 2; by++) { // the end of the shell, or of the job's first process
		int fds[2], st;
		char w[16], got = 0;
		pipe(fds);
		snprintf(w, sizeof w, "%d", fds[1]);
		pid_t p = run("shell", w, by ? "first" : "job", 0);
		CHECK(code(p) == 0);
		close(fds[1]);
		CHECK(read(fds[0], &got, 1) == 1 && got == 'h');
		CHECK((p = wait(&st)) > 0 && st == 0);
		close(fds[0]);
	}
	prctl(PR_SET_CHILD_SUBREAPER, 0);
}

// Of the signals that stop and the one that continues, the one that is sent takes the others back.
static void test_taken_back(void)
{
	sigset_t set, old, now;
	sigemptyset(&set);
	sigaddset(&set, SIGCONT), sigaddset(&set, SIGTSTP), sigaddset(&set, SIGTTIN);
	CHECK(sigprocmask(SIG_BLOCK, &set, &old) == 0 && kill(getpid(), SIGCONT) == 0);
	CHECK(sigpending(&now) == 0 && sigismember(&now, SIGCONT));
	CHECK(kill(getpid(), SIGTSTP) == 0 && kill(getpid(), SIGTTIN) == 0 && sigpending(&now) == 0);
	CHECK(!sigismember(&now, SIGCONT) && sigismember(&now, SIGTSTP) && sigismember(&now, SIGTTIN));
	CHECK(kill(getpid(), SIGCONT) == 0 && sigpending(&now) == 0);
	CHECK(sigismember(&now, SIGCONT) && !sigismember(&now, SIGTSTP) && !sigismember(&now, SIGTTIN));
	sigprocmask(SIG_SETMASK, &old, 0);
}

int main(int argc, char **argv)
{
	begin();
	if (argc > 1)
		return child(argc, argv);
	enter();
	test_wait();
	test_sigchld();
	test_clone();
	test_pidfd();
	test_groups();
	test_jobs();
	test_taken_back();
	return check_done();
}
