package emu

import (
	"fmt"
	"strings"

	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/fs/vfs"
)

// deathReport says in one paragraph why a signal has ended the program.
func (t *Task) deathReport(info *abi.Siginfo) string {
	var b strings.Builder
	c := t.ctx
	sig := int(info.Signo)
	fmt.Fprintf(&b, "%s: ended by %s", t.proc.name, signalName(sig))
	fault := c.Why == guest.Fault && faultSignals.Has(sig)
	switch {
	case fault && t.proc.mem().overflowed(info.Addr):
		b.WriteString(" (the stack is used up)")
	case fault:
		fmt.Fprintf(&b, " (%s)", faultText(info, c))
	}
	fmt.Fprintf(&b, ", thread %d", t.tid)
	if name := t.threadName(); name != "" {
		fmt.Fprintf(&b, " (%s)", name)
	}
	fmt.Fprintf(&b, "\n  at %s\n", t.proc.place(c.RIP))
	fmt.Fprintf(&b, "  rip %016x rsp %016x rbp %016x rax %016x\n", c.RIP, c.RSP, c.RBP, c.RAX)
	fmt.Fprintf(&b, "  rbx %016x rcx %016x rdx %016x rsi %016x\n", c.RBX, c.RCX, c.RDX, c.RSI)
	fmt.Fprintf(&b, "  rdi %016x r8  %016x r9  %016x r10 %016x\n", c.RDI, c.R8, c.R9, c.R10)
	fmt.Fprintf(&b, "  r11 %016x r12 %016x r13 %016x r14 %016x\n", c.R11, c.R12, c.R13, c.R14)
	fmt.Fprintf(&b, "  r15 %016x flags %08x fs %016x\n", c.R15, c.RFLAGS, c.FSBase)
	return b.String()
}

// overflowed tells whether a is in the gap below the first thread's stack.
func (s *space) overflowed(a abi.Addr) bool {
	s.lock()
	defer s.unlock()
	v := s.set.at(s.set.seek(a))
	return v != nil && v.flags&vmaStack != 0 && a < v.start && v.start-a <= stackGap
}

// faultText says what went wrong, as far as the processor tells.
func faultText(info *abi.Siginfo, c *guest.Context) string {
	access := "read of"
	switch {
	case c.Trapno == pageFaultTrap && c.Err&pfFetch != 0:
		access = "jump to"
	case c.Trapno == pageFaultTrap && c.Err&pfWrite != 0:
		access = "write to"
	}
	switch info.Signo {
	case abi.SIGSEGV:
		switch info.Code {
		case abi.SEGV_MAPERR:
			return fmt.Sprintf("%s address %#x, where nothing is mapped", access, uint64(info.Addr))
		case abi.SEGV_ACCERR:
			return fmt.Sprintf("%s address %#x, which is not allowed there", access, uint64(info.Addr))
		}
		return "general protection: an address or instruction that user code cannot use"
	case abi.SIGBUS:
		return fmt.Sprintf("%s address %#x, behind the end of a mapped file", access, uint64(info.Addr))
	case abi.SIGFPE:
		if info.Code == abi.FPE_INTDIV {
			return "integer division by zero"
		}
		return "arithmetic error"
	case abi.SIGILL:
		return "illegal instruction"
	case abi.SIGTRAP:
		return "breakpoint"
	}
	return fmt.Sprintf("code %d", info.Code)
}

// place describes a code address: the function it is in, if the program has a symbol table.
func (p *Process) place(rip uint64) string {
	s := p.mem()
	s.lock()
	v := s.set.find(abi.Addr(rip))
	var d *vfs.Dentry
	if v != nil && v.file != nil && v.file.dentry != nil {
		d = v.file.dentry
		d.Ref()
	}
	s.unlock()
	if d == nil {
		return fmt.Sprintf("address %#x", rip)
	}
	defer d.Unref()
	path, errno := p.kernel.ns.PathTo(p.fs(), d)
	if errno != 0 {
		path = "a mapped file"
	}
	if d.Node() == p.exe.Node() {
		prog := program{dentry: d}
		var a vfs.Attr
		if d.Attr(&a) == 0 {
			if name, off, ok := nearestSymbol(prog.read, a.Size, rip-p.bias); ok {
				return fmt.Sprintf("%s+%#x in %s (%#x)", name, off, path, rip-p.bias)
			}
		}
		return fmt.Sprintf("%#x in %s", rip-p.bias, path)
	}
	return fmt.Sprintf("address %#x in %s", rip, path)
}

// Constants of the sections of an ELF file (elf(5)).
const (
	elfShdrSize = 64
	elfSymSize  = 24
	shtSymtab   = 2
	shtDynsym   = 11
	sttFunc     = 2
	maxShdrs    = 4096
	maxSymbols  = 1 << 20
	maxSymName  = 256
)

// nearestSymbol returns the function symbol of a program that addr, one of its own addresses, lies
// in or closest behind.
func nearestSymbol(read reader, size int64, addr uint64) (name string, off uint64, ok bool) {
	var h [elfHeaderSize]byte
	if readFull(read, h[:], 0) != nil {
		return "", 0, false
	}
	shoff, shentsize, shnum := le.Uint64(h[40:]), le.Uint16(h[58:]), le.Uint16(h[60:])
	if shentsize != elfShdrSize || shnum > maxShdrs || shoff > uint64(size) {
		return "", 0, false
	}
	table := make([]byte, int(shnum)*elfShdrSize)
	if readFull(read, table, int64(shoff)) != nil {
		return "", 0, false
	}
	section := func(i uint32) (kind uint32, off, n uint64, link uint32, ok bool) {
		if i >= uint32(shnum) {
			return 0, 0, 0, 0, false
		}
		s := table[i*elfShdrSize:]
		off, n = le.Uint64(s[24:]), le.Uint64(s[32:])
		return le.Uint32(s[4:]), off, n, le.Uint32(s[40:]), off <= uint64(size) && n <= uint64(size)-off
	}
	for _, want := range [...]uint32{shtSymtab, shtDynsym} {
		for i := range uint32(shnum) {
			kind, at, n, link, good := section(i)
			if !good || kind != want {
				continue
			}
			_, strAt, strN, _, good := section(link)
			if !good {
				continue
			}
			if name, off, ok = searchSymbols(read, int64(at), min(n/elfSymSize, maxSymbols), int64(strAt), strN, addr); ok {
				return name, off, true
			}
		}
	}
	return "", 0, false
}

// searchSymbols looks through a symbol table of n entries at offset at; the names are in strN
// bytes at strAt.
func searchSymbols(read reader, at int64, n uint64, strAt int64, strN, addr uint64) (name string, off uint64, ok bool) {
	var best uint64
	var bestName uint32
	buf := make([]byte, 512*elfSymSize)
	for n > 0 {
		b := buf[:min(n, 512)*elfSymSize]
		if readFull(read, b, at) != nil {
			break
		}
		at += int64(len(b))
		n -= uint64(len(b) / elfSymSize)
		for ; len(b) > 0; b = b[elfSymSize:] {
			value := le.Uint64(b[8:])
			if b[4]&15 == sttFunc && le.Uint16(b[6:]) != 0 && value <= addr && (!ok || value > best) {
				best, bestName, ok = value, le.Uint32(b), true
			}
		}
	}
	if !ok || uint64(bestName) >= strN {
		return "", 0, false
	}
	var s [maxSymName]byte
	got, _ := read(s[:min(strN-uint64(bestName), maxSymName)], strAt+int64(bestName))
	name = cString(s[:got])
	return printable(name), addr - best, name != ""
}

// printable returns s with everything that a terminal might take for a command replaced.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

var signalNames = [...]string{
	1: "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1", "SIGSEGV",
	"SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN",
	"SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS",
}

// signalName returns a signal's name.
func signalName(sig int) string {
	if sig > 0 && sig < len(signalNames) {
		return signalNames[sig]
	}
	return fmt.Sprintf("signal %d", sig)
}
