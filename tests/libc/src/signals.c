// Signals: handlers, masks, stacks, waiting, non-local returns, unwinding through a frame.
#include "../../conformance/src/check.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unwind.h>

// After an instruction that must not be passed; nothing is to be moved before it.
#define MISSED do { __asm__ volatile ("" ::: "memory"); CHECK(0); } while (0)

static volatile int got, code, frames, found;
static volatile uintptr_t address, sp;
static sigjmp_buf back;

static void simple(int sig) { got += sig; }
static void info(int sig, siginfo_t *si, void *uc) { got = sig; code = si->si_code; address = (uintptr_t)si->si_addr; }
static void on_stack(int sig) { char here; sp = (uintptr_t)&here; }
static void jump(int sig, siginfo_t *si, void *uc) { address = (uintptr_t)si->si_addr; code = si->si_code; siglongjmp(back, sig); }
static void nested(int sig) { int e = errno; got++; if (got < 3) raise(sig); errno = e; }

static void set(int sig, void *handler, int flags)
{
	struct sigaction sa = { .sa_flags = flags };
	if (flags & SA_SIGINFO)
		sa.sa_sigaction = (void (*)(int, siginfo_t *, void *))handler;
	else
		sa.sa_handler = (void (*)(int))handler;
	CHECK(!sigaction(sig, &sa, 0));
}

// The unwinder walks from a handler through its frame to the function that was interrupted.
static void interrupted(void);
static _Unwind_Reason_Code step(struct _Unwind_Context *c, void *arg)
{
	frames++;
	if (_Unwind_FindEnclosingFunction((void *)_Unwind_GetIP(c)) == (void *)interrupted)
		found = 1;
	return frames < 50 ? _URC_NO_REASON : _URC_END_OF_STACK;
}
static void unwind(int sig) { _Unwind_Backtrace(step, 0); }
__attribute__((noinline)) static void interrupted(void)
{
	int *volatile nowhere = 0;
	*nowhere = 1;
	__asm__ volatile ("" ::: "memory");
}
static void unwind_and_leave(int sig) { unwind(sig); siglongjmp(back, 1); }

static void *waiter(void *arg)
{
	sigset_t s;
	int sig;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR2);
	return (void *)(long)(sigwait(&s, &sig) ? -1 : sig);
}

// All registers, vector state included, survive a handler that comes at any instruction.
static volatile int stop;
static void clobber(int sig) { volatile double d = 1.5; for (int i = 0; i < 10; i++) d = d * d; got++; }
static void *pester(void *arg)
{
	while (!stop) {
		pthread_kill(*(pthread_t *)arg, SIGUSR1);
		sched_yield();
	}
	return 0;
}

int main(void)
{
	set(SIGUSR1, simple, 0);
	CHECK(!raise(SIGUSR1) && got == SIGUSR1);
	got = 0;
	CHECK(!kill(getpid(), SIGUSR1) && got == SIGUSR1);

	sigset_t s, old, pending;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	got = 0;
	CHECK(!sigprocmask(SIG_BLOCK, &s, &old) && !raise(SIGUSR1) && !got);
	CHECK(!sigpending(&pending) && sigismember(&pending, SIGUSR1) == 1);
	CHECK(!sigprocmask(SIG_SETMASK, &old, 0) && got == SIGUSR1);

	CHECK(!sigprocmask(SIG_BLOCK, &s, &old) && !raise(SIGUSR1));
	got = 0;
	CHECK(sigsuspend(&old) == -1 && errno == EINTR && got == SIGUSR1);
	CHECK(!raise(SIGUSR1));
	siginfo_t si;
	struct timespec ts = { 1, 0 };
	CHECK(sigtimedwait(&s, &si, &ts) == SIGUSR1 && si.si_signo == SIGUSR1);
	ts = (struct timespec){ 0, 1000000 };
	CHECK(sigtimedwait(&s, &si, &ts) == -1 && errno == EAGAIN);
	sigprocmask(SIG_SETMASK, &old, 0);

	set(SIGUSR1, nested, SA_NODEFER);
	got = 0;
	raise(SIGUSR1);
	CHECK(got == 3);
	set(SIGUSR1, simple, SA_RESETHAND);
	raise(SIGUSR1);
	struct sigaction was;
	CHECK(!sigaction(SIGUSR1, 0, &was) && was.sa_handler == SIG_DFL);

	static char stack[65536];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof stack };
	CHECK(!sigaltstack(&ss, 0));
	set(SIGUSR1, on_stack, SA_ONSTACK);
	raise(SIGUSR1);
	CHECK(sp - (uintptr_t)stack < sizeof stack);

	set(SIGSEGV, jump, SA_SIGINFO | SA_ONSTACK);
	volatile char *page = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!sigsetjmp(back, 1)) {
		page[5] = 1;
		MISSED;
	}
	CHECK(address == (uintptr_t)&page[5] && code == SEGV_ACCERR);
	CHECK(!munmap((void *)page, 4096));
	if (!sigsetjmp(back, 1)) {
		page[6] = 1;
		MISSED;
	}
	CHECK(address == (uintptr_t)&page[6] && code == SEGV_MAPERR);
	set(SIGFPE, jump, SA_SIGINFO);
	volatile int zero = 0, many = 1000;
	if (!sigsetjmp(back, 1)) {
		zero = many / zero;
		MISSED;
	}
	CHECK(code == FPE_INTDIV);
	set(SIGILL, jump, SA_SIGINFO);
	if (!sigsetjmp(back, 1)) {
		__asm__ volatile ("ud2");
		MISSED;
	}
	set(SIGTRAP, info, SA_SIGINFO);
	__asm__ volatile ("int3");
	CHECK(got == SIGTRAP);

	// longjmp restores the mask only if it was saved.
	sigprocmask(SIG_SETMASK, 0, &old);
	CHECK(!sigismember(&old, SIGSEGV) && !sigismember(&old, SIGFPE));

	set(SIGSEGV, unwind_and_leave, SA_ONSTACK);
	if (!sigsetjmp(back, 1))
		interrupted();
	CHECK(frames > 3 && found);

	pthread_t t;
	void *r;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &s, &old);
	CHECK(!pthread_create(&t, 0, waiter, 0));
	CHECK(!kill(getpid(), SIGUSR2));
	CHECK(!pthread_join(t, &r) && r == (void *)SIGUSR2);

	set(SIGUSR1, clobber, SA_RESTART);
	got = 0;
	pthread_t self = pthread_self();
	CHECK(!pthread_create(&t, 0, pester, &self));
	double sum = 0, want = 0;
	unsigned long hash = 1, same = 1;
	for (int round = 0; round < 40; round++) {
		double a = 0;
		unsigned long h = hash;
		for (int i = 1; i < 200000; i++) {
			a += 1.0 / i;
			h = h * 6364136223846793005UL + i;
		}
		if (!round)
			want = a, same = h;
		if (a != want || h != same)
			sum++;
	}
	stop = 1;
	pthread_join(t, 0);
	CHECK(sum == 0 && got > 0);
	FAILS(EINVAL, sigaction(SIGKILL, &(struct sigaction){ .sa_handler = simple }, 0));
	return check_done();
}
