/*
 * How musl makes a call: through Pinhole's gate, by a CALL. As for any function, the registers
 * that the caller saves are lost, and vector and x87 registers with them; and the CALL pushes,
 * so that nothing may lie below the stack pointer (-mno-red-zone).
 */

#define __SYSCALL_LL_E(x) (x)
#define __SYSCALL_LL_O(x) (x)

/* The gate's address, stored by the entry code before anything else runs. */
extern __attribute__((__visibility__("hidden"))) const void *__ph_gate;

#ifdef __AVX512F__
#define __PH_AVX512 , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", \
	"xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", \
	"k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define __PH_AVX512
#endif

#define __PH_LOST "rcx", "r11", "memory", "cc", \
	"st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", \
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", \
	"xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15" __PH_AVX512

/*
 * Arguments that a call has not are passed as they are: the kernel knows how many it takes.
 * Each register is an output, too, or else a clobber, since the gate keeps none of them.
 */
static __inline long __syscall0(long n)
{
	__asm__ __volatile__ ("call *%1" : "+a"(n) : "m"(__ph_gate)
		: "rdi", "rsi", "rdx", "r8", "r9", "r10", __PH_LOST);
	return n;
}

static __inline long __syscall1(long n, long a)
{
	__asm__ __volatile__ ("call *%2" : "+a"(n), "+D"(a) : "m"(__ph_gate)
		: "rsi", "rdx", "r8", "r9", "r10", __PH_LOST);
	return n;
}

static __inline long __syscall2(long n, long a, long b)
{
	__asm__ __volatile__ ("call *%3" : "+a"(n), "+D"(a), "+S"(b) : "m"(__ph_gate)
		: "rdx", "r8", "r9", "r10", __PH_LOST);
	return n;
}

static __inline long __syscall3(long n, long a, long b, long c)
{
	__asm__ __volatile__ ("call *%4" : "+a"(n), "+D"(a), "+S"(b), "+d"(c) : "m"(__ph_gate)
		: "r8", "r9", "r10", __PH_LOST);
	return n;
}

static __inline long __syscall4(long n, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	__asm__ __volatile__ ("call *%5" : "+a"(n), "+D"(a), "+S"(b), "+d"(c), "+r"(r10) : "m"(__ph_gate)
		: "r8", "r9", __PH_LOST);
	return n;
}

static __inline long __syscall5(long n, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	__asm__ __volatile__ ("call *%6" : "+a"(n), "+D"(a), "+S"(b), "+d"(c), "+r"(r10), "+r"(r8)
		: "m"(__ph_gate) : "r9", __PH_LOST);
	return n;
}

static __inline long __syscall6(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ __volatile__ ("call *%7" : "+a"(n), "+D"(a), "+S"(b), "+d"(c), "+r"(r10), "+r"(r8), "+r"(r9)
		: "m"(__ph_gate) : __PH_LOST);
	return n;
}

/*
 * Clocks are read from the host's vDSO, which lies in the process. Its getcpu is not used: the
 * processors that a guest sees are the kernel's, not the host's.
 */
#define VDSO_USEFUL
#define VDSO_CGT_SYM "__vdso_clock_gettime"
#define VDSO_CGT_VER "LINUX_2.6"

#define IPC_64 0
