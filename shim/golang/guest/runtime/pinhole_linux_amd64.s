// Added to the runtime of a Go program that is built for Pinhole: how it starts, and how it calls
// the kernel. Numbers are those of abi/pinhole.abi and of the ELF and System V specifications.

#include "textflag.h"

// Linux's numbers in the ABI's range (abi.LinuxBase).
#define LINUX_BASE 0x10000

#define AT_PHDR 3
#define AT_PHNUM 5
#define AT_PINHOLE_GATE 0x50480001
#define AT_PINHOLE_LINUX_GATE 0x50480002

#define PHDR_SIZE 56
#define PHDR_VADDR 16
#define PT_DYNAMIC 2
#define PT_PHDR 6
#define DT_RELA 7
#define DT_RELASZ 8
#define RELA_SIZE 24
#define R_X86_64_RELATIVE 8

// The addresses of the gates.
GLOBL runtime·pinholeGate(SB), NOPTR, $8
GLOBL runtime·pinholeLinuxGate(SB), NOPTR, $8

// Linux's call AX with its arguments in DI, SI, DX, R10, R8 and R9; the result is in AX. It keeps
// all other registers but CX, R11, the flags and the vector registers. It stands where a SYSCALL
// instruction stood, and needs one word of stack.
TEXT runtime·pinholeCall(SB),NOSPLIT|NOFRAME,$0-0
	MOVL	AX, AX
	ADDQ	$LINUX_BASE, AX
	MOVQ	runtime·pinholeGate(SB), R11
	JMP	R11

// The same for code that knows nothing of it: it keeps all registers but AX, CX and R11.
TEXT runtime·pinholeLinuxCall(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	runtime·pinholeLinuxGate(SB), R11
	JMP	R11

// Where the program begins: SP points to the argument count, behind it arguments, environment and
// auxiliary vector. The program lies where the kernel has put it and has no dynamic linker: it
// relocates itself, before anything else may use an address.
TEXT runtime·pinholeStart(SB),NOSPLIT|NOFRAME|TOPFRAME,$0-0
	MOVQ	0(SP), CX
	LEAQ	16(SP)(CX*8), SI
environment:
	MOVQ	0(SI), AX
	ADDQ	$8, SI
	TESTQ	AX, AX
	JNE	environment
	XORL	R8, R8	// program headers
	XORL	R9, R9	// their number
	XORL	R12, R12	// gate
	XORL	R13, R13	// gate for Linux's registers
auxiliary:
	MOVQ	0(SI), AX
	MOVQ	8(SI), BX
	ADDQ	$16, SI
	CMPQ	AX, $AT_PHDR
	CMOVQEQ	BX, R8
	CMPQ	AX, $AT_PHNUM
	CMOVQEQ	BX, R9
	CMPQ	AX, $AT_PINHOLE_GATE
	CMOVQEQ	BX, R12
	CMPQ	AX, $AT_PINHOLE_LINUX_GATE
	CMOVQEQ	BX, R13
	TESTQ	AX, AX
	JNE	auxiliary
	TESTQ	R12, R12
	JEQ	outside

	MOVQ	R8, SI
	XORL	R10, R10	// from the file's addresses to those in memory
	XORL	R11, R11	// dynamic section
headers:
	TESTQ	R9, R9
	JEQ	dynamic
	MOVL	0(SI), AX
	MOVQ	PHDR_VADDR(SI), BX
	CMPL	AX, $PT_DYNAMIC
	CMOVQEQ	BX, R11
	CMPL	AX, $PT_PHDR
	JNE	another
	MOVQ	R8, R10
	SUBQ	BX, R10
another:
	ADDQ	$PHDR_SIZE, SI
	DECQ	R9
	JMP	headers
dynamic:
	TESTQ	R11, R11
	JEQ	relocated	// linked at a fixed address
	ADDQ	R10, R11
	XORL	SI, SI	// relocations
	XORL	DI, DI	// their size in bytes
entries:
	MOVQ	0(R11), AX
	MOVQ	8(R11), BX
	ADDQ	$16, R11
	CMPQ	AX, $DT_RELA
	CMOVQEQ	BX, SI
	CMPQ	AX, $DT_RELASZ
	CMOVQEQ	BX, DI
	TESTQ	AX, AX
	JNE	entries
	ADDQ	R10, SI
	ADDQ	SI, DI
relocate:
	CMPQ	SI, DI
	JAE	relocated
	MOVQ	0(SI), AX
	CMPQ	8(SI), $R_X86_64_RELATIVE
	JNE	bad
	MOVQ	16(SI), BX
	ADDQ	R10, BX
	MOVQ	BX, (AX)(R10*1)
	ADDQ	$RELA_SIZE, SI
	JMP	relocate
relocated:
	MOVQ	R12, runtime·pinholeGate(SB)
	MOVQ	R13, runtime·pinholeLinuxGate(SB)
	JMP	_rt0_amd64(SB)
bad:
	UNDEF

outside:
	UNDEF
