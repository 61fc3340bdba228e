// Added to the runtime of a Go program that is built for Pinhole: how it starts, and how it calls
// the kernel. Numbers are those of abi/pinhole.abi and of the ELF and System V specifications.

#include "textflag.h"

// Linux's numbers in the ABI's range (abi.LinuxBase).
#define LINUX_BASE 0x10000

#define AT_PHDR 3
#define AT_PHNUM 5
#define AT_SYSINFO_EHDR 33
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

#define NATIVE_SIZE 70

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
	XORL	R14, R14	// vDSO
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
	CMPQ	AX, $AT_SYSINFO_EHDR
	CMOVQEQ	BX, R14
	TESTQ	AX, AX
	JNE	auxiliary
	TESTQ	R12, R12
	JEQ	native

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

native:
	JMP	runtime·pinholeNative(SB)

// There is no gate: the program was started on a host, at R14 is its vDSO. It says so and ends. It
// has no instruction of its own to do that with, but the vDSO has one for when it does not know an answer
// itself, with a way back to its caller behind it that may take a few words from the stack.
TEXT runtime·pinholeNative(SB),NOSPLIT|NOFRAME|TOPFRAME,$0-0
	TESTQ	R14, R14
	JEQ	none
	MOVQ	32(R14), AX	// e_phoff
	MOVQ	40(R14)(AX*1), CX	// p_memsz of the one segment
	ADDQ	R14, CX
	DECQ	CX
scan:
	CMPQ	R14, CX
	JAE	none
	CMPW	0(R14), $0x050f
	JEQ	found
	INCQ	R14
	JMP	scan
none:
	UNDEF
found:
	SUBQ	$512, SP
	LEAQ	runtime·pinholeNativeExit(SB), AX
	MOVL	$64, CX
	MOVQ	SP, DI
	CLD
	REP
	STOSQ
	LEAQ	256(SP), BP
	MOVL	$1, AX	// write
	MOVL	$2, DI
	LEAQ	pinholeNativeText<>(SB), SI
	MOVL	$NATIVE_SIZE, DX
	JMP	R14

TEXT runtime·pinholeNativeExit(SB),NOSPLIT|NOFRAME|TOPFRAME,$0-0
	MOVL	$231, AX	// exit_group
	MOVL	$1, DI
	JMP	R14

DATA pinholeNativeText<>+0(SB)/8, $"this pro"
DATA pinholeNativeText<>+8(SB)/8, $"gram was"
DATA pinholeNativeText<>+16(SB)/8, $" built f"
DATA pinholeNativeText<>+24(SB)/8, $"or Pinho"
DATA pinholeNativeText<>+32(SB)/8, $"le: run "
DATA pinholeNativeText<>+40(SB)/8, $"it with "
DATA pinholeNativeText<>+48(SB)/8, $"\"pinhole"
DATA pinholeNativeText<>+56(SB)/8, $" run PRO"
DATA pinholeNativeText<>+64(SB)/8, $"GRAM\"\n  "
GLOBL pinholeNativeText<>(SB), RODATA|NOPTR, $72
