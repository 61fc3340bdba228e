package emu

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/fs/vfs"
)

// What Start's error wraps when the program is at fault.
var (
	ErrNotFound      = errors.New("program not found")
	ErrNotExecutable = errors.New("program cannot be executed")
)

// maxScripts is how many scripts may name each other as their interpreter.
const maxScripts = 4

// maxArgs bounds arguments and environment of a program, in bytes with all pointers.
const maxArgs = stackSize / 4

// program is a file that is about to be executed, with what it is given.
type program struct {
	dentry *vfs.Dentry // with a reference
	image  *elfImage
	path   string // as it was asked for (AT_EXECFN)
	argv   []string
	env    []string
	interp *program // its dynamic linker, if it has one

	file  *mappedFile // between look and forget
	views []*fileView // of each segment; nil once shown
}

func (p *program) close() {
	if p.interp != nil {
		p.interp.close()
	}
	p.dentry.Unref()
}

func (p *program) read(b []byte, off int64) (int, abi.Errno) {
	done := 0
	for done < len(b) {
		n, errno := p.dentry.Node().Read(off+int64(done), len(b)-done, &bytesDest{b[done:]})
		if errno != 0 || n == 0 {
			return done, errno
		}
		done += n
	}
	return done, 0
}

// start is Start.
func (k *Kernel) start(name string, argv, env []string, cwd string) error {
	p, err := k.newProcess(cwd)
	if err != nil {
		return err
	}
	prog, err := k.openProgram(p.fs(), name, argv, env)
	if err != nil {
		p.discard()
		return err
	}
	defer prog.close()
	t, err := p.load(prog)
	if err != nil {
		p.discard()
		return fmt.Errorf("%s: %w", name, err)
	}
	k.launch(t, nil)
	return nil
}

// newProcess makes a process without memory and threads, and its descriptors.
func (k *Kernel) newProcess(cwd string) (*Process, error) {
	p := &Process{kernel: k, tasks: make(map[int32]*Task), mem: newSpace(k), files: k.newStdio()}
	p.setLimits()
	p.ids = identity{
		ruid: k.conf.UID, suid: k.conf.UID, rgid: k.conf.GID, sgid: k.conf.GID,
		dumpable: true, slack: defaultSlack,
	}
	fs := &vfs.Context{Creds: vfs.Creds{UID: k.conf.UID, GID: k.conf.GID}, Umask: 0o022, Owner: p}
	if cwd == "" {
		cwd = "/"
	}
	d, errno := k.ns.Walk(fs, nil, cwd, 0)
	if errno == 0 && !d.IsDir() {
		d.Unref()
		errno = abi.ENOTDIR
	}
	if errno != 0 {
		return nil, fmt.Errorf("working directory %s: %w", cwd, errno)
	}
	fs.Cwd = d
	p.fsctx.Store(fs)
	k.mu.Lock()
	p.pid = k.newID()
	k.procs[p.pid] = p
	k.mu.Unlock()
	p.ids.pgid, p.ids.sid = p.pid, p.pid
	return p, nil
}

// discard takes back a process that never ran.
func (p *Process) discard() {
	k := p.kernel
	k.mu.Lock()
	delete(k.procs, p.pid)
	k.mu.Unlock()
	p.files.closeAll()
	p.mem.release()
	p.setCwd(nil)
}

// openProgram finds the program name, follows scripts to their interpreters, and reads its headers.
func (k *Kernel) openProgram(fs *vfs.Context, name string, argv, env []string) (*program, error) {
	file := name
	for depth := 0; ; depth++ {
		d, err := k.openExecutable(fs, file)
		if err != nil {
			return nil, err
		}
		p := &program{dentry: d, path: name, argv: argv, env: env}
		var line [256]byte
		n, errno := p.read(line[:], 0)
		if errno != 0 {
			p.close()
			return nil, fmt.Errorf("%s: %w: %w", file, ErrNotExecutable, errno)
		}
		if n < 2 || string(line[:2]) != "#!" {
			return k.openELF(fs, p, file)
		}
		p.close()
		interp, arg := scriptLine(line[2:n])
		switch {
		case interp == "":
			return nil, fmt.Errorf("%s: %w: no interpreter after #!", file, ErrNotExecutable)
		case depth == maxScripts:
			return nil, fmt.Errorf("%s: %w: too many scripts that interpret each other", name, ErrNotExecutable)
		}
		next := []string{interp}
		if arg != "" {
			next = append(next, arg)
		}
		next = append(next, file)
		if len(argv) > 1 {
			next = append(next, argv[1:]...)
		}
		argv, file = next, interp
	}
}

// scriptLine takes a script's first line apart, without its #!: interpreter and one argument.
func scriptLine(b []byte) (interp, arg string) {
	line := string(b)
	if i := strings.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	} else if len(b) == 254 && !strings.ContainsAny(strings.TrimLeft(line, " \t"), " \t") {
		return "", "" // the interpreter's name goes on where the line was cut
	}
	if i := strings.IndexByte(line, 0); i >= 0 {
		line = line[:i]
	}
	line = strings.Trim(line, " \t")
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		return line[:i], strings.TrimLeft(line[i:], " \t")
	}
	return line, ""
}

// openExecutable returns the file that path names, if it may be executed.
func (k *Kernel) openExecutable(fs *vfs.Context, file string) (*vfs.Dentry, error) {
	d, errno := k.ns.Walk(fs, nil, file, 0)
	switch errno {
	case 0:
	case abi.ENOENT, abi.ENOTDIR:
		return nil, fmt.Errorf("%s: %w: %w", file, ErrNotFound, errno)
	default:
		return nil, fmt.Errorf("%s: %w: %w", file, ErrNotExecutable, errno)
	}
	if d.Node().Mode()&abi.S_IFMT != abi.S_IFREG {
		d.Unref()
		return nil, fmt.Errorf("%s: %w: not a regular file", file, ErrNotExecutable)
	}
	if errno := k.ns.Access(fs, d, "", abi.X_OK, abi.AT_EMPTY_PATH|abi.AT_EACCESS); errno != 0 {
		d.Unref()
		return nil, fmt.Errorf("%s: %w: %w", file, ErrNotExecutable, errno)
	}
	return d, nil
}

// openELF reads the headers of p, whose reference it takes over, and of its dynamic linker.
func (k *Kernel) openELF(fs *vfs.Context, p *program, file string) (*program, error) {
	var err error
	if p.image, err = p.headers(); err != nil {
		p.close()
		return nil, fmt.Errorf("%s: %w: %w", file, ErrNotExecutable, err)
	}
	if p.image.interp == "" {
		return p, nil
	}
	d, err := k.openExecutable(fs, p.image.interp)
	if err != nil {
		p.close()
		return nil, fmt.Errorf("%s: %w: it is linked dynamically, and its dynamic linker cannot be used (%w); "+
			"build it with \"pinhole cc\"", file, ErrNotExecutable, err)
	}
	p.interp = &program{dentry: d}
	if p.interp.image, err = p.interp.headers(); err == nil && p.interp.image.interp != "" {
		err = fmt.Errorf("%w: a dynamic linker that needs one itself", errBadELF)
	}
	if err != nil {
		name := p.image.interp
		p.close()
		return nil, fmt.Errorf("%s: dynamic linker of %s: %w: %w", name, file, ErrNotExecutable, err)
	}
	return p, nil
}

func (p *program) headers() (*elfImage, error) {
	var a vfs.Attr
	if errno := p.dentry.Attr(&a); errno != 0 {
		return nil, errno
	}
	return parseELF(p.read, a.Size)
}

// load puts the program into the process's memory, which is empty, and returns its first thread, ready to run.
func (p *Process) load(prog *program) (*Task, error) {
	k := p.kernel
	var random [32]byte
	if err := k.m.Entropy(random[:]); err != nil {
		return nil, fmt.Errorf("no entropy: %w", err)
	}
	at, err := p.mapProgram(prog, le.Uint64(random[16:]), le.Uint64(random[24:]))
	if err != nil {
		return nil, err
	}
	sp, errno := p.fillStack(prog, at, random[:16])
	if errno != 0 {
		return nil, fmt.Errorf("arguments and environment: %w", errno)
	}
	c := k.m.NewContext()
	if c == nil {
		return nil, abi.ENOMEM
	}
	c.RIP, c.RSP, c.RFLAGS, c.Full = at.entry, uint64(sp), flagsFixed, 1
	p.name, p.exe, p.bias = prog.path, prog.dentry, at.bias
	p.exe.Ref()
	t := &Task{ctx: c, kernel: k, proc: p, tid: p.pid}
	t.nameLen = copy(t.name[:len(t.name)-1], path.Base(prog.path))
	p.tasks[t.tid] = t
	p.live.Store(1)
	k.taskN.Add(1)
	k.mu.Lock()
	k.tasks[t.tid] = t
	k.mu.Unlock()
	return t, nil
}

// mapProgram maps stack, program and dynamic linker.
func (p *Process) mapProgram(prog *program, random1, random2 uint64) (*loaded, error) {
	s := p.mem
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
	for ; n >= 64<<10; n /= 2 {
		if errno = s.mapAnon(top-abi.Addr(n), n, prot, vmaStack, false); errno != abi.ENOMEM {
			break
		}
	}
	if errno != 0 {
		return 0, errno
	}
	p.limits[abi.RLIMIT_STACK].cur.Store(n)
	s.top = top - abi.Addr(n) - stackGap - abi.Addr(random>>32%4096)*pageSize
	return top, 0
}

// placeProgram chooses where a program goes that may go anywhere: into the lower quarter of the address space, with
// room for its heap above it. Locked.
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
				"build it position-independent (\"pinhole cc\" does)", ErrNotExecutable, e.lo)
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
	p.file = s.k.mapped(p.dentry)
	p.views = make([]*fileView, len(p.image.segments))
	for i := range p.views {
		g := &p.image.segments[i]
		if g.filesz == 0 {
			continue
		}
		off := pageDown(g.off)
		w, errno := p.file.view(off, uint64(pageUp(g.off+int64(g.filesz))-off))
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
		if errno := s.mapFile(lo, uint64(pageUp(fileEnd)-lo), g.prot, f, w); errno != 0 {
			return errno
		}
	}
	if tail := uint64(pageUp(fileEnd) - fileEnd); g.memsz > g.filesz && tail > 0 && g.prot&abi.PROT_WRITE != 0 {
		if guest.Zero(fileEnd, tail) < tail {
			return abi.EFAULT
		}
	}
	if lo = pageUp(fileEnd); lo < end {
		return s.mapAnon(lo, uint64(end-lo), g.prot, 0, false)
	}
	return 0
}
