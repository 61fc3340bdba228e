// Processes in the background and their session's terminal, which is standard input, output and error: reading
// stops them, and so does changing it, and, if it is set to, writing (credentials(7), termios(3), tcsetpgrp(3)).
// Somebody has typed "typed" and Return.
#include "../src/child.h"
#include <sys/ioctl.h>
#include <termios.h>

// What the program does in a group of its own.
static int member(const char *what)
{
	struct termios s;
	char line[100];
	int n;
	if (!strcmp(what, "read"))
		return (n = read(0, line, sizeof line)) == 6 && !memcmp(line, "typed\n", 6) ? 0 : 1;
	if (!strcmp(what, "read ignoring"))
		return signal(SIGTTIN, SIG_IGN), read(0, line, 1) == -1 && errno == EIO ? 0 : 1;
	if (!strcmp(what, "read blocking")) {
		sigset_t m;
		sigemptyset(&m), sigaddset(&m, SIGTTIN), sigprocmask(SIG_BLOCK, &m, 0);
		return read(0, line, 1) == -1 && errno == EIO ? 0 : 1;
	}
	if (strstr(what, "ignoring"))
		signal(SIGTTOU, SIG_IGN);
	if (!strncmp(what, "write", 5))
		return write(1, "", 1) == 1 ? 0 : 1;
	if (!strncmp(what, "set", 3))
		return tcgetattr(0, &s) == 0 && tcsetattr(0, TCSANOW, &s) == 0 ? 0 : 1;
	if (!strncmp(what, "come", 4))
		return tcsetpgrp(0, getpgrp()) == 0 && tcgetpgrp(0) == getpgrp() ? 0 : 1;
	if (!strcmp(what, "other session")) {
		if (setsid() != getpid())
			return 2;
		return tcgetpgrp(0) == -1 && errno == ENOTTY && tcsetpgrp(0, getpgrp()) == -1 && errno == ENOTTY ? 0 : 1;
	}
	return 99;
}

// begun starts a member; setsid needs a process that leads no group.
static pid_t begun(const char *what)
{
	posix_spawnattr_t at;
	posix_spawnattr_init(&at);
	posix_spawnattr_setflags(&at, strcmp(what, "other session") ? POSIX_SPAWN_SETPGROUP : 0);
	char *argv[] = {self, "member", (char *)what, 0};
	pid_t p = -1;
	int e = posix_spawn(&p, self, 0, &at, argv, environ);
	return started(e, p);
}

static void ends(const char *what)
{
	int st, r = waitpid(begun(what), &st, WUNTRACED);
	CHECK(r > 0);
	check_count++;
	if (st)
		check_failed++, printf("%s: status %#x, want 0\n", what, st);
}

static pid_t stops(const char *what, int sig)
{
	int st;
	pid_t p = begun(what);
	CHECK(waitpid(p, &st, WUNTRACED) == p);
	check_count++;
	if (!WIFSTOPPED(st) || WSTOPSIG(st) != sig)
		check_failed++, printf("%s: status %#x, want to be stopped by %d\n", what, st, sig);
	return p;
}

static void leaves(pid_t p)
{
	int st;
	kill(p, SIGKILL);
	CHECK(waitpid(p, &st, 0) == p);
}

int main(int argc, char **argv)
{
	begin();
	if (argc > 2 && !strcmp(argv[1], "member"))
		return member(argv[2]);
	if (argc > 1)
		return child(argc, argv);
	struct termios s;
	CHECK(isatty(0) && tcgetattr(0, &s) == 0);
	CHECK(tcgetpgrp(0) == getpgrp() && tcgetsid(0) == getsid(0));
	ends("read ignoring");
	ends("read blocking");
	pid_t p = stops("read", SIGTTIN);
	// Continued in the background it stops again; in the foreground it reads.
	int st;
	kill(p, SIGCONT);
	CHECK(waitpid(p, &st, WUNTRACED) == p && WIFSTOPPED(st) && WSTOPSIG(st) == SIGTTIN);
	CHECK(tcsetpgrp(0, p) == 0 && kill(p, SIGCONT) == 0);
	CHECK(waitpid(p, &st, WUNTRACED) == p && st == 0);
	// Now this one is in the background.
	signal(SIGTTOU, SIG_IGN);
	CHECK(tcsetpgrp(0, getpgrp()) == 0 && tcgetpgrp(0) == getpgrp());
	signal(SIGTTOU, SIG_DFL);

	ends("write");
	s.c_lflag |= TOSTOP;
	CHECK(tcsetattr(0, TCSANOW, &s) == 0);
	leaves(stops("write", SIGTTOU));
	ends("write ignoring");
	s.c_lflag &= ~TOSTOP;
	CHECK(tcsetattr(0, TCSANOW, &s) == 0);
	ends("write");
	leaves(stops("set", SIGTTOU));
	ends("set ignoring");
	leaves(stops("come", SIGTTOU));
	CHECK(tcgetpgrp(0) == getpgrp());
	ends("come ignoring");
	signal(SIGTTOU, SIG_IGN);
	CHECK(tcsetpgrp(0, getpgrp()) == 0);
	signal(SIGTTOU, SIG_DFL);
	ends("other session");
	FAILS(ESRCH, tcsetpgrp(0, 4194000));
	FAILS(EINVAL, tcsetpgrp(0, -1));
	return check_done();
}
