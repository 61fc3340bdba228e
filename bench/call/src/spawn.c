// Processes: a program, the same one, is started and waited for.
#include "../../bench.h"
#include <limits.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char self[PATH_MAX];
static char *args[] = {self, "exit", 0};

static void begin(void)
{
	if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
		die("readlink");
}

static void end(pid_t p)
{
	int st;
	if (p < 0 || waitpid(p, &st, 0) != p || st != 3 << 8)
		die("child");
}

static void vfork_run(long n)
{
	while (n--) {
		pid_t p = vfork();
		if (p == 0)
			_exit(3);
		end(p);
	}
}

static void exec_run(long n)
{
	while (n--) {
		pid_t p = vfork();
		if (p == 0) {
			execve(self, args, environ);
			_exit(127);
		}
		end(p);
	}
}

static void spawn_run(long n)
{
	while (n--) {
		pid_t p = -1;
		posix_spawn(&p, self, 0, 0, args, environ);
		end(p);
	}
}

static const struct bench all[] = {
	{"vfork_exit_wait", 1000, vfork_run, 0, 0},
	{"vfork_exec_wait", 300, exec_run, begin, 0},
	{"posix_spawn_wait", 300, spawn_run, begin, 0},
	{0},
};

int main(int argc, char **argv)
{
	if (argc > 1 && argv[1][0] == 'e' && argv[1][1] == 'x' && argv[1][2] == 'i' && argv[1][3] == 't')
		_exit(3);
	return bench_main(all, argc, argv);
}
