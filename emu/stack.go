package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
)

// hwcap2FSGSBase in AT_HWCAP2 says that a program may set its FS base by instruction.
const hwcap2FSGSBase = 1 << 1

// argsSize is how many bytes the program's strings take, with a pointer to each.
func (p *program) argsSize() int {
	size := len(p.path) + 1 + 64 // the rest: see fillStack
	for _, list := range [][]string{p.argv, p.env} {
		for _, s := range list {
			size += len(s) + 1 + 8
		}
	}
	return size
}

// fillStack writes what a program finds on its stack (System V ABI, x86-64 supplement, "Initial
// Stack and Register State"): count and pointers of the arguments, those of the environment, the
// auxiliary vector, and what they all point to. random are 16 bytes. It fills in at.sp and at.shown.
// E2BIG.
func (p *Process) fillStack(prog *program, at *loaded, random []byte) abi.Errno {
	k := p.kernel
	size := prog.argsSize()
	if size > p.argsRoom() {
		return abi.E2BIG
	}

	// From the top down: strings, then the vectors below them.
	strings := make([]byte, 0, size)
	base := at.stack - abi.Addr(pageUp(uint64(size))) // where strings[0] goes
	put := func(s string) abi.Addr {
		a := base + abi.Addr(len(strings))
		strings = append(append(strings, s...), 0)
		return a
	}
	randomAt := put(string(random))
	platform := put(unameMachine)
	execfn := put(prog.path)
	argv, env := make([]abi.Addr, len(prog.argv)), make([]abi.Addr, len(prog.env))
	shown := &shownProgram{args: base + abi.Addr(len(strings))}
	for i, s := range prog.argv {
		argv[i] = put(s)
	}
	shown.argsEnd = base + abi.Addr(len(strings))
	for i, s := range prog.env {
		env[i] = put(s)
	}
	shown.env, shown.envEnd = shown.argsEnd, base+abi.Addr(len(strings))

	p.mu.Lock()
	ids := p.ids
	p.mu.Unlock()
	auxv := [][2]uint64{
		{abi.AT_SYSINFO_EHDR, k.m.VDSO()},
		{abi.AT_HWCAP, uint64(cpuFeatures())},
		{abi.AT_PAGESZ, pageSize},
		{abi.AT_CLKTCK, abi.ClockTick},
		{abi.AT_PHDR, 0},
		{abi.AT_PHENT, elfPhdrSize},
		{abi.AT_PHNUM, at.image.phnum},
		{abi.AT_BASE, at.base},
		{abi.AT_FLAGS, 0},
		{abi.AT_ENTRY, at.bias + at.image.entry},
		{abi.AT_UID, uint64(ids.user.real)},
		{abi.AT_EUID, uint64(ids.user.effective)},
		{abi.AT_GID, uint64(ids.group.real)},
		{abi.AT_EGID, uint64(ids.group.effective)},
		{abi.AT_SECURE, 0},
		{abi.AT_RANDOM, uint64(randomAt)},
		{abi.AT_HWCAP2, hwcap2FSGSBase},
		{abi.AT_EXECFN, uint64(execfn)},
		{abi.AT_PLATFORM, uint64(platform)},
		{abi.AT_MINSIGSTKSZ, uint64(minSigStack(k.m))},
		{abi.AT_PINHOLE_GATE, k.m.GateAddr()},
		{abi.AT_PINHOLE_LINUX_GATE, k.m.LinuxGateAddr()},
		{abi.AT_NULL, 0},
	}
	if auxv[0][1] == 0 {
		auxv[0][0] = abi.AT_IGNORE
	}
	if at.image.phdr != 0 {
		auxv[4][1] = at.bias + at.image.phdr
	}

	words := 1 + len(argv) + 1 + len(env) + 1 + 2*len(auxv)
	sp := (base - abi.Addr(8*words)) &^ 15
	b := make([]byte, 0, 8*words)
	word := func(v uint64) { b = le.AppendUint64(b, v) }
	word(uint64(len(argv)))
	for _, list := range [][]abi.Addr{argv, env} {
		for _, a := range list {
			word(uint64(a))
		}
		word(0)
	}
	vectors := len(b)
	for _, a := range auxv {
		word(a[0])
		word(a[1])
	}
	shown.stack, shown.auxv = sp, b[vectors:]
	at.sp, at.shown = sp, shown
	if guest.CopyOut(base, strings) < len(strings) || guest.CopyOut(sp, b) < len(b) {
		return abi.EFAULT
	}
	return 0
}

// minSigStack is the least size of a signal stack on this machine: a frame with all the vector
// registers that it has.
func minSigStack(m Machine) uint64 {
	c := m.NewContext()
	if c == nil {
		return abi.MINSIGSTKSZ
	}
	defer m.FreeContext(c)
	return max(abi.MINSIGSTKSZ, frameSize+c.XSaveSize+4+64+16+8)
}

// cpuFeatures returns the processor's features as AT_HWCAP has them: EDX of CPUID leaf 1.
func cpuFeatures() uint32
