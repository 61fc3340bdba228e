package main

import "strings"

// cHeader makes the header with which freestanding C guests make calls.
func cHeader(in *input) ([]byte, error) {
	p := &page{}
	p.f("/* %s */\n", generated)
	p.f(`#ifndef PINHOLE_H
#define PINHOLE_H

/*
 * Calls of Pinhole's ABI from C on x86-64, without a C library. A guest finds the address of the
 * gate in its auxiliary vector under AT_PINHOLE_GATE, stores it in a variable, and makes calls
 * by ph_call0 to ph_call6, which return a value or -errno.
 *
 * The gate is entered by a CALL, so compile with -mno-red-zone.
 */

#define PH_ABI_VERSION %d
#define AT_PINHOLE_GATE 0x50480001
#define AT_PINHOLE_LINUX_GATE 0x50480002

/* Added to a Linux call's number to make it through the gate. */
#define PH_LINUX_BASE 0x10000

`, in.Version)
	if len(in.Features) > 0 {
		p.f("/* Bits of ph_info.features. */\n")
		for _, f := range in.Features {
			p.f("#define PH_FEATURE_%s (1UL << %d)\n", strings.ToUpper(f.Name), f.Bit)
		}
		p.f("\n")
	}
	p.f("/* Numbers of the calls. */\n")
	for _, c := range in.Calls {
		p.f("#define PH_%s %d\n", strings.ToUpper(c.Name), c.Number)
	}
	p.f(`
#ifndef __ASSEMBLER__

/* The answer of PH_SYS_ABI. */
struct ph_info {
	unsigned int version;
	unsigned int calls; /* one more than the highest number */
	unsigned long features;
};

/* Registers that a call does not keep, besides those of its arguments. */
#define PH_CLOBBERS "rcx", "r11", "memory", "cc", "mm0", "mm1", "mm2", "mm3", "mm4", "mm5", "mm6", \
	"mm7", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "xmm0", "xmm1", "xmm2", \
	"xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", \
	"xmm15" PH_CLOBBERS_AVX512
#ifdef __AVX512F__
#define PH_CLOBBERS_AVX512 , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", \
	"xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define PH_CLOBBERS_AVX512
#endif

static inline long ph_call6(const void *gate, long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile ("call *%%[gate]"
		: "+a"(n), "+D"(a), "+S"(b), "+d"(c), "+r"(r10), "+r"(r8), "+r"(r9)
		: [gate] "rm"(gate)
		: PH_CLOBBERS);
	return n;
}
`)
	for n := 5; n >= 0; n-- {
		params, args := "", ""
		for i := range 6 {
			name := string(rune('a' + i))
			if i < n {
				params += ", long " + name
				args += ", " + name
			} else {
				args += ", 0"
			}
		}
		p.f("\nstatic inline long ph_call%d(const void *gate, long n%s)\n{\n\treturn ph_call6(gate, n%s);\n}\n", n, params, args)
	}
	p.f(`
/* The value that an auxiliary vector has under a key, 0 if none. */
static inline unsigned long ph_auxval(const unsigned long *auxv, unsigned long key)
{
	for (; auxv[0]; auxv += 2)
		if (auxv[0] == key)
			return auxv[1];
	return 0;
}

/* The auxiliary vector behind the stack on which a program starts: argc, argv, 0, environment, 0. */
static inline const unsigned long *ph_auxv(const unsigned long *stack)
{
	const unsigned long *p = stack + 1 + stack[0] + 1;
	while (*p++);
	return p;
}

#endif
#endif
`)
	return p.Bytes(), nil
}

// muslCalls makes musl's table of call numbers. Calls that the ABI answers as they are get its
// number. Calls that musl does without on newer architectures are left out, so that it takes the
// way it takes there. All others are passed on by Linux's number: the kernel translates them or
// answers ENOSYS.
func muslCalls(in *input) ([]byte, error) {
	p := &page{}
	p.f("/* %s */\n", generated)
	for _, l := range in.linux {
		n, ok := 0x10000+l.Number, !l.Legacy
		for _, m := range in.mapping[l.Name] {
			if m.Same() {
				n, ok = m.call.Number, true
			}
		}
		if ok {
			p.f("#define __NR_%s %d\n", l.Name, n)
		}
	}
	return p.Bytes(), nil
}

// nativeCalls makes the tables by which calls are answered on the host itself, for programs that a
// configure script runs: Linux's number for each call that has the same arguments there, and
// which of Linux's numbers the ABI answers.
func nativeCalls(in *input) ([]byte, error) {
	p := &page{}
	p.f("/* %s */\n\n", generated)
	p.f("#define TOP %d\n\n", in.Top())
	p.f("/* Linux's number plus one for a call with the same arguments, else 0. */\nconst unsigned short same[TOP] = {\n")
	numbers := map[string]int{}
	for _, l := range in.linux {
		numbers[l.Name] = l.Number
	}
	for _, c := range in.Calls {
		for _, m := range c.Linux {
			if m.Same() {
				p.f("\t[%d] = %d + 1, /* %s */\n", c.Number, numbers[m.Linux], c.Name)
				break
			}
		}
	}
	top := in.linux[len(in.linux)-1].Number + 1
	p.f("};\n\n#define LINUX_TOP %d\n\n/* Whether the ABI answers a Linux call. */\nconst unsigned char known[LINUX_TOP] = {\n", top)
	for _, l := range in.linux {
		if len(in.mapping[l.Name]) > 0 {
			p.f("\t[%d] = 1, /* %s */\n", l.Number, l.Name)
		}
	}
	p.f("};\n")
	return p.Bytes(), nil
}
