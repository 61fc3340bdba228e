// Guests for the tests of the machine: one image, each function with the name guest_* is an
// entry. RDI is the gate, RSI an argument, RDX the second gate; FS base is the thread's own block.
typedef unsigned long u64;
typedef long i64;
typedef unsigned int u32;

enum { CALL_EXIT = 1, CALL_ECHO, CALL_YIELD, CALL_SLEEP, CALL_COLLECT };

static inline i64 call(u64 gate, u64 nr, u64 a, u64 b)
{
	register u64 rax asm("rax") = nr, rdi asm("rdi") = a, rsi asm("rsi") = b;
	asm volatile("call *%[gate]"
		: "+r"(rax), "+r"(rdi), "+r"(rsi) : [gate] "r"(gate)
		: "rcx", "rdx", "r8", "r9", "r10", "r11", "memory", "cc",
		  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
		  "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	return rax;
}

static void out(u64 gate, u64 status)
{
	for (;;)
		call(gate, CALL_EXIT, status, 0);
}

void guest_exit(u64 gate, u64 arg) { out(gate, arg); }

// Many calls, each checked, with the callee-saved registers under pressure.
void guest_calls(u64 gate, u64 n)
{
	u64 a = 1, b = 2, c = 3, d = 4, e = 5, f = 6;
	for (u64 i = 0; i < n; i++) {
		if (call(gate, CALL_ECHO, i, i ^ 0x5555) != (i64)(i + (i ^ 0x5555)))
			out(gate, 1);
		a += i; b ^= a; c += b; d ^= c; e += d; f ^= e;
		asm volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));
	}
	u64 A = 1, B = 2, C = 3, D = 4, E = 5, F = 6;
	for (u64 i = 0; i < n; i++) {
		A += i; B ^= A; C += B; D ^= C; E += D; F ^= E;
	}
	out(gate, a != A || b != B || c != C || d != D || e != E || f != F ? 2 : 0);
}

void guest_linux_calls(u64 gate, u64 n, u64 gate2)
{
	for (u64 i = 0; i < n; i++) {
		u64 rax = 39;
		asm volatile("call *%1" : "+a"(rax) : "r"(gate2) : "rcx", "r11", "memory");
	}
	out(gate, 0);
}

void guest_trapped_calls(u64 gate, u64 n)
{
	for (u64 i = 0; i < n; i++) {
		u64 rax = 39;
		asm volatile("syscall" : "+a"(rax) : : "rcx", "r11", "memory");
	}
	out(gate, 0);
}

// Calls, yields and collections, mixed, for the stress test.
void guest_mix(u64 gate, u64 n)
{
	volatile u64 x = n;
	for (u64 i = 0; i < n; i++) {
		if (call(gate, CALL_ECHO, i, x) != (i64)(i + x))
			out(gate, 1);
		switch (i % 64) {
		case 7: call(gate, CALL_YIELD, 0, 0); break;
		case 21: for (int k = 0; k < 20000; k++) x++; break;
		case 33: call(gate, CALL_SLEEP, 1000, 0); break;
		}
	}
	out(gate, 0);
}

void guest_read(u64 gate, u64 addr) { out(gate, *(volatile unsigned char *)addr); }
void guest_write(u64 gate, u64 addr) { *(volatile unsigned char *)addr = 1; out(gate, 0); }
void guest_jump(u64 gate, u64 addr) { ((void (*)(void))addr)(); out(gate, 0); }

void guest_divide(u64 gate, u64 by) { volatile u32 x = 7; out(gate, x / (u32)by); }
void guest_undefined(u64 gate) { asm volatile("ud2"); out(gate, 0); }
void guest_break(u64 gate) { asm volatile("int3"); out(gate, 0); }
void guest_privileged(u64 gate) { asm volatile("hlt"); out(gate, 0); }

// Dies at the gate's own doorstep.
void guest_bad_stack(u64 gate)
{
	asm volatile("mov $16, %%rsp; jmp *%0" : : "r"(gate));
	__builtin_unreachable();
}

void guest_syscall(u64 gate, u64 nr)
{
	u64 r = nr;
	asm volatile("syscall" : "+a"(r) : "D"(11), "S"(22), "d"(33) : "rcx", "r11", "memory");
	out(gate, r);
}

void guest_int80(u64 gate, u64 nr)
{
	u32 r = nr;
	asm volatile("int $0x80" : "+a"(r) : : "memory");
	out(gate, (u64)(i64)(int)r);
}

void guest_sysenter(u64 gate, u64 nr)
{
	asm volatile("mov %%rsp, %%rbp; sysenter" : : "a"(nr) : "memory");
	out(gate, 0);
}

// Flags that make trouble for whoever runs next: NT, AC, DF and single steps.
void guest_flags(u64 gate, u64 flags)
{
	i64 r;
	asm volatile(
		"sub $128, %%rsp\n"
		"push %[flags]\n"
		"popfq\n"
		"call *%[gate]\n"
		"add $128, %%rsp\n"
		"cld\n"
		: "=a"(r) : "a"(CALL_ECHO), "D"(40), "S"(2), [gate] "r"(gate), [flags] "r"(flags | 0x202)
		: "rcx", "rdx", "r8", "r9", "r10", "r11", "memory", "cc");
	asm volatile("push $0x202; popfq" ::: "cc", "memory");
	out(gate, r != 42);
}

// The control words of the floating-point units are a thread's own.
void guest_fpcontrol(u64 gate, u64 n)
{
	u32 mxcsr = 0x1f80 | (u32)(n & 3) << 13 | 0x8000, got;
	unsigned short fcw = 0x37f & ~0x300, gotcw;
	asm volatile("ldmxcsr %0" : : "m"(mxcsr));
	asm volatile("fldcw %0" : : "m"(fcw));
	for (int i = 0; i < 1000; i++) {
		call(gate, i % 10 ? CALL_ECHO : CALL_YIELD, i, 0);
		asm volatile("stmxcsr %0" : "=m"(got));
		asm volatile("fnstcw %0" : "=m"(gotcw));
		if (got != mxcsr || gotcw != fcw)
			out(gate, 1);
	}
	out(gate, 0);
}

void guest_fsbase(u64 gate, u64 n)
{
	u64 at;
	for (u64 i = 0; i < n; i++) {
		u64 want = 0x1000 * (i + 1);
		asm volatile("wrfsbase %0" : : "r"(want));
		call(gate, CALL_YIELD, 0, 0);
		asm volatile("rdfsbase %0" : "=r"(at));
		if (at != want)
			out(gate, 1);
	}
	out(gate, 0);
}

void guest_loop(u64 gate, u64 n)
{
	for (u64 i = 0; i < n; i++)
		asm volatile("" ::: "memory");
	out(gate, 0);
}

void guest_forever(void)
{
	for (;;)
		asm volatile("");
}

// Computes inside the vDSO: RSI is __vdso_clock_gettime.
void guest_vdso(u64 gate, u64 fn)
{
	long ts[2], last = 0;
	for (int i = 0; i < 2000000; i++) {
		((int (*)(int, void *))fn)(1, ts);
		long t = ts[0] * 1000000000 + ts[1];
		if (t < last)
			out(gate, 1);
		last = t;
	}
	out(gate, 0);
}

// Every register there is, through ticks (count in fs:0 goes down to 0) or through a trapped or
// rewritten call. Layout of the FS block: 0 the count, 8 the second gate, 0x20 scratch, 0x100 registers
// to load, 0x1100 the same after the way, each: 14 general ones, flags at 0x70, at 0x80 MXCSR and x87
// control, at 0x100 eight x87 registers of 16 bytes, at 0x200 the vector registers of 64 bytes.
#define LOAD_COMMON \
	"push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n" \
	"mov %rdi, %fs:0x20\n" \
	"ldmxcsr %fs:0x180\n fldcw %fs:0x184\n" \
	"fldt %fs:0x270\n fldt %fs:0x260\n fldt %fs:0x250\n fldt %fs:0x240\n" \
	"fldt %fs:0x230\n fldt %fs:0x220\n fldt %fs:0x210\n fldt %fs:0x200\n"
#define LOAD_GENERAL \
	"mov %fs:0x108, %rbx\n mov %fs:0x118, %rdx\n mov %fs:0x120, %rsi\n mov %fs:0x128, %rdi\n" \
	"mov %fs:0x130, %rbp\n mov %fs:0x138, %r8\n mov %fs:0x140, %r9\n mov %fs:0x148, %r10\n" \
	"mov %fs:0x158, %r12\n mov %fs:0x160, %r13\n mov %fs:0x168, %r14\n" \
	"mov %fs:0x170, %r15\n mov %fs:0x100, %rax\n"
#define SPIN \
	"mov %fs:0x110, %rcx\n mov %fs:0x150, %r11\n" \
	"1: decq %fs:0\n jnz 1b\n" \
	"mov %rcx, %fs:0x1110\n mov %r11, %fs:0x1150\n"
#define SYSCALL "stc; std; syscall\n pushfq; pop %fs:0x28; cld\n"
#define GATE2 "stc; std; call *%fs:8\n pushfq; pop %fs:0x28; cld\n"
#define STORE_COMMON \
	"mov %rax, %fs:0x1100\n mov %rbx, %fs:0x1108\n mov %rdx, %fs:0x1118\n" \
	"mov %rsi, %fs:0x1120\n mov %rdi, %fs:0x1128\n mov %rbp, %fs:0x1130\n mov %r8, %fs:0x1138\n" \
	"mov %r9, %fs:0x1140\n mov %r10, %fs:0x1148\n mov %r12, %fs:0x1158\n" \
	"mov %r13, %fs:0x1160\n mov %r14, %fs:0x1168\n mov %r15, %fs:0x1170\n" \
	"stmxcsr %fs:0x1180\n fnstcw %fs:0x1184\n" \
	"fstpt %fs:0x1200\n fstpt %fs:0x1210\n fstpt %fs:0x1220\n fstpt %fs:0x1230\n" \
	"fstpt %fs:0x1240\n fstpt %fs:0x1250\n fstpt %fs:0x1260\n fstpt %fs:0x1270\n"
#define BACK \
	"movl $0x1f80, %fs:0x30\n ldmxcsr %fs:0x30\n fninit\n" \
	"mov %fs:0x20, %rdi\n" \
	"pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n" \
	"xor %esi, %esi\n jmp guest_exit\n"

#define V(op, n, at) op " %fs:" #at ", %" n "\n"
#define W(op, n, at) op " %" n ", %fs:" #at "\n"
#define LOAD16(op, r) \
	V(op, r "0", 0x300) V(op, r "1", 0x340) V(op, r "2", 0x380) V(op, r "3", 0x3c0) \
	V(op, r "4", 0x400) V(op, r "5", 0x440) V(op, r "6", 0x480) V(op, r "7", 0x4c0) \
	V(op, r "8", 0x500) V(op, r "9", 0x540) V(op, r "10", 0x580) V(op, r "11", 0x5c0) \
	V(op, r "12", 0x600) V(op, r "13", 0x640) V(op, r "14", 0x680) V(op, r "15", 0x6c0)
#define LOAD32(op, r) LOAD16(op, r) \
	V(op, r "16", 0x700) V(op, r "17", 0x740) V(op, r "18", 0x780) V(op, r "19", 0x7c0) \
	V(op, r "20", 0x800) V(op, r "21", 0x840) V(op, r "22", 0x880) V(op, r "23", 0x8c0) \
	V(op, r "24", 0x900) V(op, r "25", 0x940) V(op, r "26", 0x980) V(op, r "27", 0x9c0) \
	V(op, r "28", 0xa00) V(op, r "29", 0xa40) V(op, r "30", 0xa80) V(op, r "31", 0xac0) \
	V("kmovq", "k1", 0xb00) V("kmovq", "k4", 0xb08) V("kmovq", "k7", 0xb10)
#define STORE16(op, r) \
	W(op, r "0", 0x1300) W(op, r "1", 0x1340) W(op, r "2", 0x1380) W(op, r "3", 0x13c0) \
	W(op, r "4", 0x1400) W(op, r "5", 0x1440) W(op, r "6", 0x1480) W(op, r "7", 0x14c0) \
	W(op, r "8", 0x1500) W(op, r "9", 0x1540) W(op, r "10", 0x1580) W(op, r "11", 0x15c0) \
	W(op, r "12", 0x1600) W(op, r "13", 0x1640) W(op, r "14", 0x1680) W(op, r "15", 0x16c0)
#define STORE32(op, r) STORE16(op, r) \
	W(op, r "16", 0x1700) W(op, r "17", 0x1740) W(op, r "18", 0x1780) W(op, r "19", 0x17c0) \
	W(op, r "20", 0x1800) W(op, r "21", 0x1840) W(op, r "22", 0x1880) W(op, r "23", 0x18c0) \
	W(op, r "24", 0x1900) W(op, r "25", 0x1940) W(op, r "26", 0x1980) W(op, r "27", 0x19c0) \
	W(op, r "28", 0x1a00) W(op, r "29", 0x1a40) W(op, r "30", 0x1a80) W(op, r "31", 0x1ac0) \
	W("kmovq", "k1", 0x1b00) W("kmovq", "k4", 0x1b08) W("kmovq", "k7", 0x1b10)

#define ALL(name, load, way, store) \
	asm(".globl guest_" name "\n.type guest_" name ", @function\nguest_" name ":\n" \
	    LOAD_COMMON load LOAD_GENERAL way STORE_COMMON store BACK)

ALL("spin_sse", LOAD16("movdqu", "xmm"), SPIN, STORE16("movdqu", "xmm"));
ALL("spin_avx", LOAD16("vmovdqu", "ymm"), SPIN, STORE16("vmovdqu", "ymm") "vzeroupper\n");
ALL("spin_avx512", LOAD32("vmovdqu64", "zmm"), SPIN, STORE32("vmovdqu64", "zmm") "vzeroupper\n");
ALL("trap_sse", LOAD16("movdqu", "xmm"), SYSCALL, STORE16("movdqu", "xmm"));
ALL("trap_avx", LOAD16("vmovdqu", "ymm"), SYSCALL, STORE16("vmovdqu", "ymm") "vzeroupper\n");
ALL("trap_avx512", LOAD32("vmovdqu64", "zmm"), SYSCALL, STORE32("vmovdqu64", "zmm") "vzeroupper\n");
ALL("gate2_sse", LOAD16("movdqu", "xmm"), GATE2, STORE16("movdqu", "xmm"));
ALL("gate2_avx", LOAD16("vmovdqu", "ymm"), GATE2, STORE16("vmovdqu", "ymm") "vzeroupper\n");
ALL("gate2_avx512", LOAD32("vmovdqu64", "zmm"), GATE2, STORE32("vmovdqu64", "zmm") "vzeroupper\n");

void start(void) { }
