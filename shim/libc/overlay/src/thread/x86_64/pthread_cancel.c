/*
 * Thread cancellation.
 *
 * pthread_cancel marks the thread and interrupts it by SIGCANCEL. A thread acts on the mark at a
 * cancellation point, but never on one whose call has had an effect: that call's result must reach
 * the program. So the signal's handler acts in two places only: between the check of the mark and
 * the call (__cp_begin to __cp_end), and at the gate's entry, when the call returns to __cp_end: there
 * the kernel lets a waiting call go on that it interrupted with nothing done yet. A call that was
 * waiting and is not begun anew returns EINTR, and __syscall_cp_c acts. Everywhere else the mark stays
 * for the next point.
 */
#define _GNU_SOURCE
#include <string.h>
#include "pthread_impl.h"
#include "syscall.h"

hidden long __cancel(void);
hidden long __syscall_cp_asm(volatile int *, syscall_arg_t, syscall_arg_t, syscall_arg_t, syscall_arg_t,
	syscall_arg_t, syscall_arg_t, syscall_arg_t);
hidden long __syscall_cp_c(syscall_arg_t, syscall_arg_t, syscall_arg_t, syscall_arg_t, syscall_arg_t,
	syscall_arg_t, syscall_arg_t);

extern hidden const char __cp_begin[], __cp_end[], __cp_cancel[];

/* Ends the thread, or lets the call fail where the state is PTHREAD_CANCEL_MASKED. */
long __cancel(void)
{
	struct pthread *self = __pthread_self();
	if (self->cancelasync || self->canceldisable == PTHREAD_CANCEL_ENABLE)
		pthread_exit(PTHREAD_CANCELED);
	self->canceldisable = PTHREAD_CANCEL_DISABLE;
	return -ECANCELED;
}

long __syscall_cp_c(syscall_arg_t n, syscall_arg_t a, syscall_arg_t b, syscall_arg_t c, syscall_arg_t d,
	syscall_arg_t e, syscall_arg_t f)
{
	struct pthread *self = __pthread_self();
	int state = self->canceldisable;
	/* close frees the descriptor even when interrupted: nothing may follow it. */
	int last = n == SYS_close;

	if (state == PTHREAD_CANCEL_DISABLE || (state && last))
		return __syscall(n, a, b, c, d, e, f);
	long r = __syscall_cp_asm(&self->cancel, n, a, b, c, d, e, f);
	if (r == -EINTR && !last && self->cancel && self->canceldisable != PTHREAD_CANCEL_DISABLE)
		r = __cancel();
	return r;
}

static void interrupted(int sig, siginfo_t *info, void *frame)
{
	struct pthread *self = __pthread_self();
	ucontext_t *uc = frame;
	greg_t *regs = uc->uc_mcontext.gregs;
	uintptr_t pc = regs[REG_RIP];
	uintptr_t *stack = (uintptr_t *)regs[REG_RSP];
	int waiting = pc == (uintptr_t)__ph_gate && *stack == (uintptr_t)__cp_end;

	a_barrier();
	if (!self->cancel || self->canceldisable == PTHREAD_CANCEL_DISABLE)
		return;
	/* Once is enough for this stretch of code, also where it cannot act. */
	uc->uc_sigmask.__bits[0] |= 1UL << (SIGCANCEL - 1);
	if (self->cancelasync || waiting || (pc >= (uintptr_t)__cp_begin && pc < (uintptr_t)__cp_end)) {
		/* __cp_cancel has the stack as it is around the CALL. */
		if (waiting)
			regs[REG_RSP] += sizeof *stack;
		regs[REG_RIP] = (uintptr_t)__cp_cancel;
		return;
	}
	/* Perhaps another signal's handler was interrupted, which itself interrupted a cancellation
	 * point: when that handler's frame goes, this one comes again. */
	__syscall(SYS_tkill, self->tid, SIGCANCEL);
}

void __testcancel(void)
{
	struct pthread *self = __pthread_self();
	if (self->cancel && self->canceldisable == PTHREAD_CANCEL_ENABLE)
		__cancel();
}

int pthread_cancel(pthread_t t)
{
	static volatile int ready;
	if (!ready) {
		struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK, .sa_sigaction = interrupted };
		memset(&sa.sa_mask, -1, _NSIG / 8);
		__libc_sigaction(SIGCANCEL, &sa, 0);
		ready = 1;
	}
	a_store(&t->cancel, 1);
	if (t != __pthread_self())
		return pthread_kill(t, SIGCANCEL);
	if (t->cancelasync && t->canceldisable == PTHREAD_CANCEL_ENABLE)
		pthread_exit(PTHREAD_CANCELED);
	return 0;
}
