// Identity, limits, time, signals to oneself, locks, stdio, locale, environment.
#include "check.h"
#include <fcntl.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/syscall.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <time.h>
#include <wchar.h>
#include <wctype.h>

static volatile sig_atomic_t got, got_value;
static void on(int s) { got = s; }
static void on_info(int s, siginfo_t *i, void *u) { (void)u; got = s; got_value = i->si_pid == getpid(); }
static char alt[65536];
static volatile char *on_stack_at;
static void on_stack(int s) { char c; (void)s; on_stack_at = &c; }

int main(int argc, char **argv)
{
	CHECK(argc >= 1 && argv[argc] == 0);
	CHECK(getpid() > 0 && getppid() >= 0 && syscall(SYS_gettid) == getpid());
	struct utsname u;
	CHECK(uname(&u) == 0 && !strcmp(u.sysname, "Linux") && !strcmp(u.machine, "x86_64"));
	struct sysinfo si;
	CHECK(sysinfo(&si) == 0 && si.totalram > 0 && si.mem_unit > 0);
	struct rlimit rl;
	CHECK(getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur >= 64);
	CHECK(getrlimit(RLIMIT_STACK, &rl) == 0 && rl.rlim_cur >= 1 << 20);
	FAILS(EINVAL, getrlimit(99, &rl));
	unsigned char e1[32] = {0}, e2[32] = {0};
	CHECK(getrandom(e1, 32, 0) == 32 && getrandom(e2, 32, 0) == 32 && memcmp(e1, e2, 32));
	FAILS(EFAULT, getrandom((void *)8, 32, 0));
	CHECK(sysconf(_SC_NPROCESSORS_ONLN) >= 1 && sysconf(_SC_PAGESIZE) == 4096);
	struct rusage ru;
	CHECK(getrusage(RUSAGE_SELF, &ru) == 0);
	FAILS(EINVAL, getrusage(77, &ru));

	// Clocks go forward; sleep is not early.
	struct timespec a, b;
	for (int c = 0; c < 8; c++) {
		if (c == 2 || c == 3)
			continue;
		CHECK(clock_gettime(c, &a) == 0 && clock_gettime(c, &b) == 0);
		CHECK(b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec >= a.tv_nsec));
	}
	FAILS(EINVAL, clock_gettime(99, &a));
	CHECK(clock_getres(CLOCK_MONOTONIC, &a) == 0);
	CHECK(time(0) > 1600000000);
	clock_gettime(CLOCK_MONOTONIC, &a);
	struct timespec d = {0, 20000000};
	CHECK(nanosleep(&d, 0) == 0);
	clock_gettime(CLOCK_MONOTONIC, &b);
	CHECK((b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec >= 20000000);
	d.tv_nsec = 1000000000;
	FAILS(EINVAL, nanosleep(&d, 0));

	// The vDSO is where the auxiliary vector and /proc say, if there is one.
	unsigned long vdso = getauxval(AT_SYSINFO_EHDR), lo, hi;
	char line[512];
	int found = vdso == 0;
	FILE *maps = fopen("/proc/self/maps", "r");
	while (maps && fgets(line, sizeof line, maps))
		if (strstr(line, " [vdso]\n"))
			found = sscanf(line, "%lx-%lx r-xp 00000000 00:00 0 ", &lo, &hi) == 2 && lo == vdso && hi > lo;
	CHECK(maps && fclose(maps) == 0 && found);

	// Signals to oneself.
	CHECK(signal(SIGUSR1, on) != SIG_ERR && raise(SIGUSR1) == 0 && got == SIGUSR1);
	struct sigaction sa = {.sa_sigaction = on_info, .sa_flags = SA_SIGINFO}, old;
	CHECK(sigaction(SIGUSR2, &sa, 0) == 0 && kill(getpid(), SIGUSR2) == 0 && got == SIGUSR2 && got_value);
	CHECK(sigaction(SIGUSR2, 0, &old) == 0 && old.sa_sigaction == on_info);
	FAILS(EINVAL, sigaction(SIGKILL, &sa, 0));
	FAILS(EINVAL, kill(getpid(), 99));
	FAILS(ESRCH, kill(999999, 0));
	CHECK(kill(getpid(), 0) == 0);
	sigset_t set, pend;
	sigemptyset(&set), sigaddset(&set, SIGUSR1);
	got = 0;
	CHECK(sigprocmask(SIG_BLOCK, &set, 0) == 0 && raise(SIGUSR1) == 0 && got == 0);
	CHECK(sigpending(&pend) == 0 && sigismember(&pend, SIGUSR1));
	CHECK(sigprocmask(SIG_UNBLOCK, &set, 0) == 0 && got == SIGUSR1);
	CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR && raise(SIGUSR1) == 0);
	stack_t ss = {.ss_sp = alt, .ss_size = sizeof alt};
	CHECK(sigaltstack(&ss, 0) == 0);
	sa.sa_handler = on_stack, sa.sa_flags = SA_ONSTACK;
	CHECK(sigaction(SIGUSR1, &sa, 0) == 0 && raise(SIGUSR1) == 0);
	CHECK((uintptr_t)on_stack_at - (uintptr_t)alt < sizeof alt);
	sigaddset(&set, SIGTERM), sigprocmask(SIG_BLOCK, &set, 0), raise(SIGTERM);
	struct timespec zero = {0, 0};
	sigset_t term;
	sigemptyset(&term), sigaddset(&term, SIGTERM);
	CHECK(sigtimedwait(&term, 0, &zero) == SIGTERM);
	FAILS(EAGAIN, sigtimedwait(&term, 0, &zero));

	// Record locks and flock within one process: no conflict with itself, but between descriptions.
	int f1 = open("lock", O_CREAT | O_RDWR, 0600), f2 = open("lock", O_RDWR);
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10};
	CHECK(fcntl(f1, F_SETLK, &fl) == 0 && fcntl(f2, F_SETLK, &fl) == 0);
	fl.l_pid = 0;
	CHECK(fcntl(f1, F_OFD_SETLK, &fl) == -1 && (errno == EAGAIN || errno == EACCES));
	fl.l_type = F_UNLCK;
	CHECK(fcntl(f1, F_SETLK, &fl) == 0);
	fl.l_type = F_WRLCK;
	CHECK(fcntl(f1, F_OFD_SETLK, &fl) == 0);
	FAILS(EAGAIN, fcntl(f2, F_OFD_SETLK, &fl));
	CHECK(flock(f1, LOCK_EX) == 0);
	FAILS(EWOULDBLOCK, flock(f2, LOCK_SH | LOCK_NB));
	CHECK(flock(f1, LOCK_UN) == 0 && flock(f2, LOCK_SH | LOCK_NB) == 0 && flock(f1, LOCK_SH | LOCK_NB) == 0);
	FAILS(EINVAL, flock(f1, 16));

	// stdio, locale, numbers, environment.
	FILE *f = fopen("stdio", "w+");
	CHECK(f && fprintf(f, "%d %s %.17g %La\n", 42, "text", 0.1, 1.5L) > 0 && fflush(f) == 0);
	rewind(f);
	int i;
	char s[32];
	double g;
	CHECK(fscanf(f, "%d %31s %lf", &i, s, &g) == 3 && i == 42 && !strcmp(s, "text") && g == 0.1);
	CHECK(fseek(f, 0, SEEK_END) == 0 && ftell(f) > 10 && fclose(f) == 0);
	f = fopen("stdio", "a");
	CHECK(f && fputs("more\n", f) >= 0 && fclose(f) == 0);
	mkdir("/tmp", 01777);
	FILE *tmp = tmpfile();
	CHECK(tmp && fputs("x", tmp) >= 0 && fclose(tmp) == 0);
	CHECK(setlocale(LC_ALL, "C.UTF-8") != 0);
	wchar_t w[8];
	CHECK(mbstowcs(w, "\xc3\xa4\xe2\x82\xac", 8) == 2 && w[0] == 0xe4 && w[1] == 0x20ac && towupper(0xe4) == 0xc4);
	volatile double two = 2, half = 0.5;
	CHECK(fabs(sqrt(two) - 1.4142135623730951) < 1e-15 && fabs(sin(half) - 0.479425538604203) < 1e-15 && pow(two, 10) == 1024);
	CHECK(setenv("PH_X", "y", 1) == 0 && !strcmp(getenv("PH_X"), "y"));
	struct tm tm;
	time_t t = 1000000000;
	CHECK(gmtime_r(&t, &tm) && tm.tm_year == 101 && tm.tm_mon == 8 && tm.tm_mday == 9);
	void *m[200];
	for (int k = 0; k < 200; k++)
		m[k] = malloc(1 + k * 1000), memset(m[k], k, 1 + k * 1000);
	for (int k = 0; k < 200; k++) {
		if (((unsigned char *)m[k])[k * 1000] != k) { CHECK(!"malloc"); break; }
		free(m[k]);
	}
	jmp_buf j;
	volatile int jumped = 0;
	if (setjmp(j) == 0)
		longjmp(j, 3);
	else
		jumped = 1;
	CHECK(jumped);
	return check_done();
}
