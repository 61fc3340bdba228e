// Signals and their handlers: sigaction's flags, what a handler is told and may change, queues and their
// limits, faults, alternate stacks, masks for the time of a call. See signal(7), sigaction(2), sigaltstack(2).
#include "check.h"
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <time.h>
#include <ucontext.h>

#define TEST_RT 40 // a real-time signal that no C library keeps for itself

static int seen[200], nseen;
static siginfo_t infos[200];
static ucontext_t context;
static volatile int depth, deepest, runs;

static void note(int sig, siginfo_t *i, void *u)
{
	context = *(ucontext_t *)u;
	infos[nseen] = *i;
	seen[nseen++] = sig;
}

static void act(int sig, void (*f)(int, siginfo_t *, void *), int flags, int blocked)
{
	struct sigaction a = {.sa_sigaction = f, .sa_flags = flags | SA_SIGINFO};
	sigemptyset(&a.sa_mask);
	if (blocked)
		sigaddset(&a.sa_mask, blocked);
	CHECK(sigaction(sig, &a, 0) == 0);
}

static void mask(int how, int sig)
{
	sigset_t s;
	sigemptyset(&s);
	if (sig)
		sigaddset(&s, sig);
	CHECK(sigprocmask(how, &s, 0) == 0);
}

static int masked(int sig)
{
	sigset_t s;
	sigprocmask(SIG_SETMASK, 0, &s);
	return sigismember(&s, sig);
}

static int queue(int sig, int value)
{
	union sigval v = {.sival_int = value};
	return sigqueue(getpid(), sig, v);
}

static void nest(int sig, siginfo_t *i, void *u)
{
	(void)i, (void)u;
	if (++depth > deepest)
		deepest = depth;
	if (++runs < 3)
		raise(sig);
	depth--;
}

static void test_flags(void)
{
	struct sigaction a;
	// Once only; during the handler the signal is blocked, as without the flag.
	act(SIGUSR1, note, SA_RESETHAND, SIGUSR2);
	raise(SIGUSR1);
	CHECK(nseen == 1 && sigaction(SIGUSR1, 0, &a) == 0 && a.sa_handler == SIG_DFL && (a.sa_flags & SA_RESETHAND));
	CHECK(!masked(SIGUSR1) && !masked(SIGUSR2));
	// The signal again, while its handler runs.
	act(SIGUSR1, nest, SA_NODEFER, 0);
	depth = deepest = runs = 0, raise(SIGUSR1);
	CHECK(deepest == 3);
	act(SIGUSR1, nest, 0, 0);
	depth = deepest = runs = 0, raise(SIGUSR1);
	CHECK(deepest == 1 && runs == 3);
	// What a call does with what it does not know: such a flag is not in what it says was there.
	struct { void *handler; unsigned long flags; void *restorer; unsigned long mask; } k, was;
	CHECK(syscall(SYS_rt_sigaction, SIGUSR1, 0, &k, 8) == 0);
	k.flags |= 0x400 | 0x8000; // SA_UNSUPPORTED, and one that nobody has
	CHECK(syscall(SYS_rt_sigaction, SIGUSR1, &k, 0, 8) == 0 && syscall(SYS_rt_sigaction, SIGUSR1, 0, &was, 8) == 0);
	CHECK(!(was.flags & 0x8400));
	FAILS(EINVAL, syscall(SYS_rt_sigaction, SIGUSR1, &k, 0, 7));
	FAILS(EINVAL, syscall(SYS_rt_sigaction, 0, &k, 0, 8));
	FAILS(EINVAL, syscall(SYS_rt_sigaction, 65, &k, 0, 8));
	FAILS(EINVAL, syscall(SYS_rt_sigaction, SIGKILL, &k, 0, 8));
	FAILS(EINVAL, syscall(SYS_rt_sigaction, SIGSTOP, &k, 0, 8));
	CHECK(syscall(SYS_rt_sigaction, SIGKILL, 0, &k, 8) == 0 && k.handler == (void *)SIG_DFL);
	FAILS(EFAULT, syscall(SYS_rt_sigaction, SIGUSR1, (void *)16, 0, 8));
	// A mask cannot have these two.
	act(SIGUSR1, note, 0, SIGKILL);
	CHECK(sigaction(SIGUSR1, 0, &a) == 0 && !sigismember(&a.sa_mask, SIGKILL));
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, 0);
	CHECK(!masked(SIGKILL) && !masked(SIGSTOP) && masked(SIGTERM));
	sigprocmask(SIG_UNBLOCK, &all, 0);
	FAILS(EINVAL, sigprocmask(77, &all, 0));
	CHECK(sigprocmask(77, 0, &all) == 0); // not looked at
	// To be ignored takes away what is pending, also by default.
	mask(SIG_BLOCK, SIGUSR1), raise(SIGUSR1);
	signal(SIGUSR1, SIG_IGN);
	sigpending(&all);
	CHECK(!sigismember(&all, SIGUSR1));
	mask(SIG_BLOCK, SIGURG), act(SIGURG, note, 0, 0), raise(SIGURG);
	signal(SIGURG, SIG_DFL);
	sigpending(&all);
	CHECK(!sigismember(&all, SIGURG));
	mask(SIG_UNBLOCK, SIGUSR1), mask(SIG_UNBLOCK, SIGURG);
}

static void test_infos(void)
{
	nseen = 0;
	act(SIGUSR1, note, 0, 0), act(TEST_RT, note, 0, 0);
	kill(getpid(), SIGUSR1);
	CHECK(nseen == 1 && infos[0].si_signo == SIGUSR1 && infos[0].si_code == SI_USER && infos[0].si_pid == getpid() && infos[0].si_uid == getuid() && infos[0].si_errno == 0);
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
	CHECK(nseen == 2 && infos[1].si_code == SI_TKILL && infos[1].si_pid == getpid());
	CHECK(queue(TEST_RT, 77) == 0);
	CHECK(nseen == 3 && infos[2].si_code == SI_QUEUE && infos[2].si_value.sival_int == 77 && infos[2].si_pid == getpid());
	siginfo_t i = {.si_code = -60, .si_errno = 5};
	i.si_value.sival_int = 5;
	CHECK(syscall(SYS_rt_sigqueueinfo, getpid(), TEST_RT, &i) == 0);
	CHECK(nseen == 4 && infos[3].si_code == -60 && infos[3].si_errno == 5 && infos[3].si_signo == TEST_RT && infos[3].si_value.sival_int == 5);
	CHECK(syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGUSR1, &i) == 0 && nseen == 5 && seen[4] == SIGUSR1);
	i.si_code = SI_USER; // to oneself one may say anything
	CHECK(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &i) == 0 && nseen == 6 && infos[5].si_code == SI_USER);
	FAILS(EPERM, syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &i));
	FAILS(EINVAL, syscall(SYS_tgkill, 0, 1, 0));
	FAILS(EINVAL, syscall(SYS_tgkill, 1, 0, 0));
	FAILS(EINVAL, kill(getpid(), 65));
	FAILS(EINVAL, kill(getpid(), -1));
	FAILS(ESRCH, syscall(SYS_tgkill, getpid(), 4194000, 0));
	CHECK(kill(getpid(), 0) == 0 && syscall(SYS_tkill, syscall(SYS_gettid), 0) == 0);
}

static void test_queue(void)
{
	// Lower numbers first, those of one number in the order in which they were sent, of the classic ones one.
	sigset_t all, none, p;
	sigfillset(&all), sigemptyset(&none);
	nseen = 0;
	for (int s = TEST_RT; s < TEST_RT + 3; s++)
		act(s, note, 0, 0);
	act(SIGUSR1, note, 0, 0), act(SIGHUP, note, 0, 0);
	// One at a time: each handler runs with all blocked.
	for (int s = 1; s < 65; s++) {
		struct sigaction a;
		if (sigaction(s, 0, &a) == 0 && a.sa_sigaction == note)
			a.sa_mask = all, sigaction(s, &a, 0);
	}
	sigprocmask(SIG_BLOCK, &all, 0);
	queue(TEST_RT + 2, 0), queue(TEST_RT, 1), queue(TEST_RT + 1, 2), queue(TEST_RT, 3), queue(TEST_RT + 2, 4);
	queue(SIGUSR1, 5), queue(SIGUSR1, 6), kill(getpid(), SIGHUP), queue(TEST_RT, 7);
	sigpending(&p);
	CHECK(sigismember(&p, SIGUSR1) && sigismember(&p, TEST_RT) && !sigismember(&p, SIGUSR2));
	sigsuspend(&none); // takes them all before it returns, on Linux each in the frame of the last: read backwards
	sigprocmask(SIG_UNBLOCK, &all, 0);
	struct { int sig, value; } want[] = {{SIGHUP, -1}, {SIGUSR1, 5}, {TEST_RT, 1}, {TEST_RT, 3}, {TEST_RT, 7}, {TEST_RT + 1, 2}, {TEST_RT + 2, 0}, {TEST_RT + 2, 4}};
	CHECK(nseen == 8);
	for (int i = 0; i < 8 && i < nseen; i++)
		CHECK(seen[i] == want[i].sig && (want[i].value < 0 || infos[i].si_value.sival_int == want[i].value));
	// sigtimedwait: the same order.
	sigprocmask(SIG_BLOCK, &all, 0);
	queue(TEST_RT + 1, 1), queue(TEST_RT, 2), queue(TEST_RT, 3), kill(getpid(), SIGHUP);
	siginfo_t i;
	struct timespec zero = {0}, bad = {0, 1000000000};
	CHECK(sigtimedwait(&all, &i, &zero) == SIGHUP && i.si_code == SI_USER);
	CHECK(sigtimedwait(&all, &i, &zero) == TEST_RT && i.si_value.sival_int == 2);
	CHECK(sigtimedwait(&all, &i, &zero) == TEST_RT && i.si_value.sival_int == 3);
	CHECK(sigtimedwait(&all, &i, &zero) == TEST_RT + 1 && i.si_value.sival_int == 1);
	FAILS(EAGAIN, sigtimedwait(&all, &i, &zero));
	FAILS(EINVAL, sigtimedwait(&all, &i, &bad));
	FAILS(EINVAL, syscall(SYS_rt_sigtimedwait, &all, &i, &zero, 4));
	// The limit is for those who queue; a signal by kill can always have one of its number.
	struct rlimit old, none_left = {0, 0};
	getrlimit(RLIMIT_SIGPENDING, &old);
	none_left.rlim_max = old.rlim_max;
	CHECK(setrlimit(RLIMIT_SIGPENDING, &none_left) == 0);
	FAILS(EAGAIN, queue(TEST_RT, 1));
	CHECK(kill(getpid(), TEST_RT) == 0 && kill(getpid(), TEST_RT) == 0);
	CHECK(sigtimedwait(&all, &i, &zero) == TEST_RT && i.si_signo == TEST_RT && i.si_code == SI_USER);
	FAILS(EAGAIN, sigtimedwait(&all, &i, &zero)); // the second was the same
	CHECK(kill(getpid(), SIGHUP) == 0 && sigtimedwait(&all, &i, &zero) == SIGHUP && i.si_pid == getpid());
	CHECK(queue(SIGUSR1, 9) == 0 && sigtimedwait(&all, &i, &zero) == SIGUSR1); // what it carries may be lost
	CHECK(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), TEST_RT) == -1 && errno == EAGAIN);
	none_left.rlim_cur = 3;
	setrlimit(RLIMIT_SIGPENDING, &none_left);
	int n = 0;
	while (n < 10 && queue(TEST_RT, n) == 0)
		n++;
	CHECK(n <= 3 && errno == EAGAIN); // others of the user's count, too
	while (sigtimedwait(&all, &i, &zero) > 0)
		;
	setrlimit(RLIMIT_SIGPENDING, &old);
	sigprocmask(SIG_UNBLOCK, &all, 0);
}

// How a fault is made, and what the handler is to be told.
static sigjmp_buf back;
static siginfo_t fault;
static int fault_sig;
static volatile int expected;
static void on_fault(int sig, siginfo_t *i, void *u)
{
	context = *(ucontext_t *)u;
	fault_sig = sig, fault = *i;
	if (!expected) {
		static const char text[] = "a fault that nobody meant\n";
		write(1, text, sizeof text - 1);
		_exit(2);
	}
	siglongjmp(back, 1);
}

#define FAULT(sig, code, addr, stmt) do { \
	fault_sig = 0; \
	expected = 1; \
	if (!sigsetjmp(back, 1)) { stmt; } \
	expected = 0; \
	check_count++; \
	if (fault_sig != (sig) || fault.si_code != (code) || fault.si_addr != (void *)(addr)) { \
		check_failed++; \
		printf("%s:%d: %s: signal %d code %d address %p, want %d %d %p\n", __FILE__, __LINE__, #stmt, fault_sig, fault.si_code, fault.si_addr, sig, code, (void *)(addr)); \
	} \
} while (0)

static volatile int zero;
static volatile int sink;

static void test_faults(void)
{
	int sigs[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
	for (int i = 0; i < 5; i++)
		act(sigs[i], on_fault, 0, 0);
	char *p = mmap(0, 4 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(p + 4096, 4096), mprotect(p + 2 * 4096, 4096, PROT_NONE);
	FAULT(SIGSEGV, SEGV_MAPERR, 8, *(volatile int *)8 = 1);
	CHECK(context.uc_mcontext.gregs[REG_TRAPNO] == 14 && context.uc_mcontext.gregs[REG_CR2] == 8 && (context.uc_mcontext.gregs[REG_ERR] & 2));
	FAULT(SIGSEGV, SEGV_MAPERR, p + 4097, sink = ((volatile char *)p)[4097]);
	FAULT(SIGSEGV, SEGV_ACCERR, p + 5, ((volatile char *)p)[5] = 1);
	FAULT(SIGSEGV, SEGV_ACCERR, p + 8200, sink = ((volatile char *)p)[8200]);
	FAULT(SIGSEGV, SEGV_ACCERR, p, ((void (*)(void))p)());
	FAULT(SIGSEGV, SI_KERNEL, 0, sink = *(volatile char *)(1ull << 62)); // not canonical
	FAULT(SIGSEGV, SI_KERNEL, 0, __asm__ volatile("hlt"));
	void *at = 0;
	FAULT(SIGILL, ILL_ILLOPN, (at = &&ill, at), ill: __asm__ volatile("ud2"));
	FAULT(SIGFPE, FPE_INTDIV, fault.si_addr, sink = 1000 / zero);
	CHECK(fault.si_addr == (void *)context.uc_mcontext.gregs[REG_RIP]);
	FAULT(SIGTRAP, SI_KERNEL, 0, __asm__ volatile("int3"));
	CHECK(context.uc_mcontext.gregs[REG_TRAPNO] == 3);
	FAULT(SIGTRAP, TRAP_TRACE, fault.si_addr, __asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; nop" ::: "cc", "memory"));
	CHECK(fault.si_addr == (void *)context.uc_mcontext.gregs[REG_RIP]);
	__asm__ volatile("pushfq; andl $~0x100, (%%rsp); popfq" ::: "cc", "memory");
	FAULT(SIGBUS, BUS_ADRALN, 0, __asm__ volatile("pushfq; orl $0x40000, (%%rsp); popfq; movl 1(%0), %%eax" :: "r"(p) : "cc", "rax", "memory"));
	__asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" ::: "cc", "memory");
	// SSE with the division exception on.
	unsigned csr, old;
	__asm__ volatile("stmxcsr %0" : "=m"(old));
	csr = old & ~0x200u;
	FAULT(SIGFPE, FPE_FLTDIV, fault.si_addr, __asm__ volatile("ldmxcsr %0; xorps %%xmm1, %%xmm1; movss %1, %%xmm0; divss %%xmm1, %%xmm0" :: "m"(csr), "m"((float){1}) : "xmm0", "xmm1"));
	CHECK(fault.si_addr == (void *)context.uc_mcontext.gregs[REG_RIP]);
	__asm__ volatile("ldmxcsr %0" :: "m"(old));
	unsigned short cw = 0x37b; // the old unit, too
	FAULT(SIGFPE, FPE_FLTDIV, fault.si_addr, __asm__ volatile("fldcw %0; fld1; fldz; fdivrp; fwait" :: "m"(cw)));
	__asm__ volatile("fninit");
	// A file that ends before its mapping does.
	int f = open("handlers.file", O_CREAT | O_RDWR, 0600);
	CHECK(f >= 0 && unlink("handlers.file") == 0 && ftruncate(f, 4096) == 0);
	char *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
	CHECK(m != MAP_FAILED);
	FAULT(SIGBUS, BUS_ADRERR, m + 4100, sink = ((volatile char *)m)[4100]);
	FAULT(SIGBUS, BUS_ADRERR, m + 4104, ((volatile char *)m)[4104] = 1);
	munmap(m, 8192), close(f), munmap(p, 4 * 4096);
	// Sent, it is an ordinary signal.
	FAULT(SIGSEGV, SI_USER, fault.si_addr, kill(getpid(), SIGSEGV));
	for (int i = 0; i < 5; i++)
		signal(sigs[i], SIG_DFL);
}

// A handler may change all of what it interrupts.
static void change(int sig, siginfo_t *i, void *v)
{
	(void)i;
	ucontext_t *u = v;
	greg_t *g = u->uc_mcontext.gregs;
	g[REG_RIP] += 2; // past ud2
	g[REG_RAX] = 0x1122334455667788, g[REG_R15] = 15, g[REG_RBX] = 3, g[REG_R11] = 11, g[REG_RCX] = 12;
	g[REG_EFL] |= 1;
	u->uc_mcontext.fpregs->_xmm[7].element[0] = 0xabcd;
	u->uc_mcontext.fpregs->mxcsr |= 0x8000;
	sigaddset(&u->uc_sigmask, SIGUSR2);
	sigdelset(&u->uc_sigmask, SIGUSR1);
	CHECK(masked(sig));
}

static void test_change(void)
{
	act(SIGILL, change, 0, 0);
	mask(SIG_BLOCK, SIGUSR1);
	uint64_t rax, rbx, r15, r11, rcx, flags, xmm = 0;
	unsigned csr, old;
	__asm__ volatile("stmxcsr %0" : "=m"(old));
	__asm__ volatile("xorl %%eax, %%eax\n ud2\n pushfq\n popq %%rdx\n movq %%xmm7, %%rsi"
		: "=a"(rax), "=b"(rbx), "=d"(flags), "=c"(rcx), "=S"(xmm) :: "r15", "r11", "xmm7", "memory", "cc");
	CHECK(rax == 0x1122334455667788 && rbx == 3 && rcx == 12 && (flags & 1) && (xmm & 0xffffffff) == 0xabcd);
	__asm__ volatile("ud2\n movq %%r15, %0\n movq %%r11, %1" : "=m"(r15), "=m"(r11) :: "rax", "rbx", "rcx", "r15", "r11", "xmm7", "memory", "cc");
	CHECK(r15 == 15 && r11 == 11);
	__asm__ volatile("stmxcsr %0" : "=m"(csr));
	CHECK(csr & 0x8000);
	__asm__ volatile("ldmxcsr %0" :: "m"(old));
	CHECK(!masked(SIGUSR1) && masked(SIGUSR2));
	mask(SIG_UNBLOCK, SIGUSR2);
	signal(SIGILL, SIG_DFL);
}

static stack_t during;
static void *handler_sp;
static void on_stack(int sig, siginfo_t *i, void *u)
{
	(void)sig, (void)i;
	int here;
	handler_sp = &here;
	sigaltstack(0, &during);
	stack_t s = during;
	s.ss_flags = 0;
	errno = 0;
	sigaltstack(&s, 0);
	depth = errno;
	context = *(ucontext_t *)u;
}

static void test_altstack(void)
{
	static char mem[65536] __attribute__((aligned(16)));
	stack_t s = {.ss_sp = mem, .ss_size = sizeof mem}, got;
	CHECK(sigaltstack(0, &got) == 0 && got.ss_flags == SS_DISABLE);
	s.ss_size = 2047;
	FAILS(ENOMEM, syscall(SYS_sigaltstack, &s, 0));
	s.ss_size = sizeof mem, s.ss_flags = 8;
	FAILS(EINVAL, syscall(SYS_sigaltstack, &s, 0));
	s.ss_flags = SS_ONSTACK; // taken, and means nothing
	CHECK(syscall(SYS_sigaltstack, &s, 0) == 0);
	s.ss_flags = 0;
	CHECK(sigaltstack(&s, 0) == 0 && sigaltstack(0, &got) == 0 && got.ss_sp == mem && got.ss_size == sizeof mem && got.ss_flags == 0);
	act(SIGUSR1, on_stack, SA_ONSTACK, 0);
	raise(SIGUSR1);
	CHECK((char *)handler_sp > mem && (char *)handler_sp < mem + sizeof mem && during.ss_flags == SS_ONSTACK && depth == EPERM);
	CHECK(context.uc_stack.ss_sp == mem && context.uc_stack.ss_size == sizeof mem && context.uc_stack.ss_flags == 0);
	act(SIGUSR1, on_stack, 0, 0); // not without the flag
	raise(SIGUSR1);
	CHECK(!((char *)handler_sp > mem && (char *)handler_sp < mem + sizeof mem) && during.ss_flags == 0 && depth == 0);
	// Disarmed while in use, so that it may be used again, and armed by the return.
	s.ss_flags = 1 << 31;
	CHECK(sigaltstack(&s, 0) == 0);
	act(SIGUSR1, on_stack, SA_ONSTACK, 0);
	raise(SIGUSR1);
	CHECK((char *)handler_sp > mem && (char *)handler_sp < mem + sizeof mem && during.ss_flags == SS_DISABLE);
	CHECK(sigaltstack(0, &got) == 0 && got.ss_sp == mem && got.ss_flags == 1 << 31);
	s.ss_flags = SS_DISABLE;
	CHECK(sigaltstack(&s, 0) == 0 && sigaltstack(0, &got) == 0 && got.ss_flags == SS_DISABLE);
	signal(SIGUSR1, SIG_DFL);
}

// Masks for the time of a call: the handler runs under the new one, the old one is in its context, and back
// after it.
static void test_masks(void)
{
	sigset_t none, usr;
	sigemptyset(&none), sigemptyset(&usr), sigaddset(&usr, SIGUSR1);
	int fds[2];
	CHECK(pipe(fds) == 0);
	int q = epoll_create1(0);
	struct timespec ten = {10, 0};
	struct epoll_event e;
	struct pollfd pf = {fds[0], POLLIN, 0};
	for (int i = 0; i < 4; i++) {
		mask(SIG_BLOCK, SIGUSR1);
		act(SIGUSR1, note, SA_RESTART, SIGUSR2); // none of these is ever begun anew
		nseen = 0;
		raise(SIGUSR1);
		CHECK(nseen == 0);
		fd_set r;
		FD_ZERO(&r);
		FD_SET(fds[0], &r);
		switch (i) {
		case 0: FAILS(EINTR, sigsuspend(&none)); break;
		case 1: FAILS(EINTR, ppoll(&pf, 1, &ten, &none)); break;
		case 2: FAILS(EINTR, pselect(fds[0] + 1, &r, 0, 0, &ten, &none)); break;
		case 3: FAILS(EINTR, epoll_pwait(q, &e, 1, 10000, &none)); break;
		}
		CHECK(nseen == 1 && sigismember(&context.uc_sigmask, SIGUSR1) && masked(SIGUSR1) && !masked(SIGUSR2));
		// What is ready counts first, on calls that look before they wait.
		if (i == 1) {
			write(fds[1], "x", 1), raise(SIGUSR1), nseen = 0;
			CHECK(ppoll(&pf, 1, &ten, &none) == 1 && pf.revents == POLLIN);
			char c;
			read(fds[0], &c, 1);
			mask(SIG_UNBLOCK, SIGUSR1);
			CHECK(nseen == 1);
		}
		mask(SIG_UNBLOCK, SIGUSR1);
		// A mask that keeps it out.
		nseen = 0;
		struct timespec soon = {0, 1000000};
		mask(SIG_BLOCK, SIGUSR2);
		CHECK(ppoll(0, 0, &soon, &usr) == 0 && masked(SIGUSR2) && !masked(SIGUSR1));
		mask(SIG_UNBLOCK, SIGUSR2);
	}
	FAILS(EINVAL, syscall(SYS_rt_sigsuspend, &none, 4));
	FAILS(EINVAL, syscall(SYS_ppoll, 0, 0, &ten, &none, 4));
	FAILS(EFAULT, syscall(SYS_rt_sigsuspend, (void *)16, 8));
	close(fds[0]), close(fds[1]), close(q);
}

// Signals to a process go to a thread that lets them in, signals to a thread to that one.
static pthread_t other;
static volatile int other_tid, stop_other, got_by;
static void who(int sig, siginfo_t *i, void *u)
{
	(void)sig, (void)i, (void)u;
	got_by = syscall(SYS_gettid);
}
static void *wait_there(void *a)
{
	(void)a;
	other_tid = syscall(SYS_gettid);
	while (!stop_other)
		usleep(1000);
	return 0;
}

static void test_threads(void)
{
	act(SIGUSR1, who, SA_RESTART, 0);
	CHECK(pthread_create(&other, 0, wait_there, 0) == 0);
	while (!other_tid)
		usleep(1000);
	got_by = 0;
	CHECK(kill(getpid(), SIGUSR1) == 0 && got_by == getpid()); // the first thread, if it lets it in, before kill returns
	mask(SIG_BLOCK, SIGUSR1);
	got_by = 0, kill(getpid(), SIGUSR1);
	for (int i = 0; i < 2000 && !got_by; i++)
		usleep(1000);
	CHECK(got_by == other_tid);
	got_by = 0, syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1);
	usleep(10000);
	CHECK(got_by == 0);
	mask(SIG_UNBLOCK, SIGUSR1);
	CHECK(got_by == getpid());
	got_by = 0, pthread_kill(other, SIGUSR1);
	for (int i = 0; i < 2000 && !got_by; i++)
		usleep(1000);
	CHECK(got_by == other_tid);
	stop_other = 1;
	pthread_join(other, 0);
}

int main(void)
{
	test_flags();
	test_infos();
	test_queue();
	test_faults();
	test_change();
	test_altstack();
	test_masks();
	test_threads();
	return check_done();
}
