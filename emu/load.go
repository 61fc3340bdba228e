package emu

import (
	"fmt"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// load puts the program into the space s, which is empty and p's or to become it.
func (p *Process) load(s *space, prog *program) (*loaded, error) {
	var random [32]byte
	if err := p.kernel.m.Entropy(random[:]); err != nil {
		return nil, fmt.Errorf("no entropy: %w: %w", err, abi.EIO)
	}
	at, err := p.mapProgram(s, prog, le.Uint64(random[16:]), le.Uint64(random[24:]))
	if err != nil {
		return nil, err
	}
	if errno := p.fillStack(prog, at, random[:16]); errno != 0 {
		return nil, fmt.Errorf("arguments and environment: %w", errno)
	}
	return at, nil
}

// setRegisters makes c that of a thread which begins the program.
func (at *loaded) setRegisters(c *guest.Context) {
	c.RIP, c.RSP, c.RFLAGS, c.Full = at.entry, uint64(at.sp), flagsFixed, 1
}

// becomes makes p, whose only thread is t, a process that executes the program.
func (p *Process) becomes(prog *program, at *loaded, t *Task) {
	prog.dentry.Ref()
	p.kernel.running.add(prog.dentry.Node())
	p.shown.Store(at.shown)
	p.mu.Lock()
	old := p.exe
	p.name, p.exe, p.bias = prog.path, prog.dentry, at.bias
	clear(t.name[:])
	t.nameLen = copy(t.name[:len(t.name)-1], prog.comm)
	p.mu.Unlock()
	if old != nil {
		p.kernel.running.remove(old.Node())
		old.Unref()
	}
}

// mapProgram maps stack, program and dynamic linker.
func (p *Process) mapProgram(s *space, prog *program, random1, random2 uint64) (*loaded, error) {
	if prog.image.fixed && !s.k.areas.giveLow(s) {
		return nil, fmt.Errorf("%w: it must lie at address %#x, where another program is; "+
			"build it position-independent (\"pinhole cc\" and \"pinhole go build\" do)", ErrNotExecutable, prog.image.lo)
	}
	if err := prog.look(s); err != nil {
		return nil, err
	}
	defer prog.forget(s)
	if prog.interp != nil {
		if err := prog.interp.look(s); err != nil {
			return nil, fmt.Errorf("dynamic linker: %w", err)
		}
		defer prog.interp.forget(s)
	}
	s.lock()
	defer s.unlock()
	stack, errno := s.mapStack(prog.image.execStack, random1, p)
	if errno != 0 {
		return nil, fmt.Errorf("no memory for the stack: %w", errno)
	}
	bias, err := s.loadImage(prog, s.placeProgram(prog.image, random2))
	if err != nil {
		return nil, err
	}
	s.heap = abi.Addr(bias + prog.image.hi)
	if !prog.image.fixed {
		s.heap += abi.Addr(random2>>40%1024) * pageSize
	}
	s.brk = s.heap
	at := &loaded{image: prog.image, stack: stack, bias: bias, entry: bias + prog.image.entry}
	if prog.interp == nil {
		return at, nil
	}
	e := prog.interp.image
	place, ok := s.set.gap(s.lo, s.top, e.hi-e.lo+e.align)
	if !ok {
		return nil, abi.ENOMEM
	}
	if at.base, err = s.loadImage(prog.interp, place); err != nil {
		return nil, fmt.Errorf("dynamic linker: %w", err)
	}
	at.entry = at.base + e.entry
	return at, nil
}

// loaded says where a program has come to lie.
type loaded struct {
	image *elfImage
	stack abi.Addr // where the stack begins: its highest address
	bias  uint64   // of the program: from its addresses to those in memory
	base  uint64   // of its dynamic linker
	entry uint64   // where the first thread begins
	sp    abi.Addr // its stack pointer
	shown *shownProgram
}

// stackGap is kept free below the stack, so that one that is too deep meets a fault and nothing else.
const stackGap = 1 << 20

// mapStack maps the first thread's stack near the top of the address space, whole: it is only
// given memory where it is used. What else is mapped comes below. Locked.
func (s *space) mapStack(exec bool, random uint64, p *Process) (top abi.Addr, errno abi.Errno) {
	top = s.hi - abi.Addr(random%4096+1)*pageSize
	prot := uint8(abi.PROT_READ | abi.PROT_WRITE)
	if exec {
		prot |= abi.PROT_EXEC
	}
	n := uint64(stackSize)
	if cur := p.limit(abi.RLIMIT_STACK); cur != abi.RLIM_INFINITY {
		n = min(max(pageDown(cur), stackLeast), stackMost)
	}
	want := n
	for ; n >= 64<<10; n /= 2 {
		if errno = s.mapAnon(top-abi.Addr(n), n, prot, vmaStack, false); errno != abi.ENOMEM {
			break
		}
	}
	if errno != 0 {
		return 0, errno
	}
	if n < want {
		p.limits[abi.RLIMIT_STACK].cur.Store(n)
	}
	s.top = top - abi.Addr(n) - stackGap - abi.Addr(random>>32%4096)*pageSize
	return top, 0
}

// placeProgram chooses where a program goes that may go anywhere: into the lower quarter of the
// address space, with room for its heap above it. Locked.
func (s *space) placeProgram(e *elfImage, random uint64) abi.Addr {
	if e.fixed {
		return abi.Addr(e.lo)
	}
	pages := uint64(s.hi-s.lo) / 4 / pageSize
	return s.lo + abi.Addr(random%pages)*pageSize
}

// loadImage maps the segments of a program, the first near at, and returns its bias. Locked.
func (s *space) loadImage(prog *program, at abi.Addr) (bias uint64, err error) {
	e := prog.image
	span := e.hi - e.lo
	if !e.fixed {
		at = (at + abi.Addr(e.align) - 1) &^ abi.Addr(e.align-1)
		bias = uint64(at) - pageDown(e.lo)&^(e.align-1)
	}
	lo := abi.Addr(e.lo + bias)
	if !s.inside(lo, span) || !s.set.free(lo, lo+abi.Addr(span)) {
		if e.fixed {
			return 0, fmt.Errorf("%w: it must lie at address %#x, which is not to be had in the sandbox; "+
				"build it position-independent (\"pinhole cc\" and \"pinhole go build\" do)", ErrNotExecutable, e.lo)
		}
		return 0, fmt.Errorf("%w: it takes %d bytes of address space", ErrNotExecutable, span)
	}
	for i := range e.segments {
		if errno := s.loadSegment(&e.segments[i], bias, prog.file, prog.views[i]); errno != 0 {
			return 0, fmt.Errorf("%w: segment at %#x: %w", ErrNotExecutable, e.segments[i].vaddr, errno)
		}
		prog.views[i] = nil
	}
	return bias, nil
}

// look finds out where the content of the program's segments is, before the space is locked.
func (p *program) look(s *space) error {
	p.file = s.newMappedFile(p.dentry, false)
	p.views = make([]*fileView, len(p.image.segments))
	for i := range p.views {
		g := &p.image.segments[i]
		if g.filesz == 0 {
			continue
		}
		off := pageDown(g.off)
		w, errno := p.file.view(off, uint64(pageUp(g.off+int64(g.filesz))-off), false)
		if errno != 0 {
			p.forget(s)
			return fmt.Errorf("%w: segment at %#x: %w", ErrNotExecutable, g.vaddr, errno)
		}
		p.views[i] = w
	}
	return nil
}

// forget lets go of what look has found and nothing has come to show.
func (p *program) forget(s *space) {
	for _, w := range p.views {
		if w != nil {
			w.drop(s.k)
		}
	}
	p.views = nil
	s.lock()
	s.letGo(p.file)
	s.unlock()
}

// loadSegment maps one segment: its pages of the file, and zero pages for the rest. Locked.
func (s *space) loadSegment(g *elfSegment, bias uint64, f *mappedFile, w *fileView) abi.Errno {
	start := abi.Addr(g.vaddr + bias)
	lo, end := pageDown(start), pageUp(start+abi.Addr(g.memsz))
	fileEnd := start + abi.Addr(g.filesz)
	if g.filesz == 0 {
		fileEnd = lo
	}
	if w != nil {
		if w.stale() {
			w.drop(s.k)
			return abi.ETXTBSY // who executes it writes to it
		}
		if errno := s.mapFile(lo, uint64(pageUp(fileEnd)-lo), g.prot, f, w); errno != 0 {
			return errno
		}
	}
	if tail := uint64(pageUp(fileEnd) - fileEnd); g.memsz > g.filesz && tail > 0 && g.prot&abi.PROT_WRITE != 0 {
		if guest.HeldZero(fileEnd, tail) < tail {
			return abi.EFAULT
		}
	}
	if lo = pageUp(fileEnd); lo < end {
		return s.mapAnon(lo, uint64(end-lo), g.prot, 0, false)
	}
	return 0
}
