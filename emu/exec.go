package emu

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// What Start's error wraps when the program is at fault.
var (
	ErrNotFound      = errors.New("program not found")
	ErrNotExecutable = errors.New("program cannot be executed")
)

// maxScripts is how many scripts may name each other as their interpreter.
const maxScripts = 4

// program is a file that is about to be executed, with what it is given.
type program struct {
	dentry *vfs.Dentry // with a reference
	image  *elfImage
	path   string // as it was asked for (AT_EXECFN)
	comm   string // what its first thread is called
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
	k.first = p
	prog, err := k.openProgram(p.fs(), &request{name: name, argv: argv, env: env})
	if err != nil {
		p.discard()
		return err
	}
	defer prog.close()
	at, err := p.load(p.mem(), prog)
	if err != nil {
		p.discard()
		return fmt.Errorf("%s: %w", name, err)
	}
	c := k.m.NewContext()
	if c == nil {
		p.discard()
		return fmt.Errorf("%s: %w", name, abi.ENOMEM)
	}
	at.setRegisters(c)
	t := &Task{ctx: c, kernel: k, proc: p, tid: p.pid}
	k.taskN.Add(1)
	k.mu.Lock()
	k.tasks[t.tid] = t
	k.mu.Unlock()
	p.mu.Lock()
	p.adopt(t)
	p.mu.Unlock()
	p.becomes(prog, at, t)
	k.launch(t, nil)
	return nil
}

// newProcess makes the first process, without memory and threads, and its descriptors.
func (k *Kernel) newProcess(cwd string) (*Process, error) {
	s := k.newSpace()
	if s == nil {
		return nil, abi.ENOMEM
	}
	p := &Process{kernel: k, tasks: make(map[int32]*Task), files: k.newStdio()}
	s.enter(p)
	p.setLimits()
	p.ids = identity{
		user:     idSet{k.conf.UID, k.conf.UID, k.conf.UID},
		group:    idSet{k.conf.GID, k.conf.GID, k.conf.GID},
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
		s.leave(p)
		return nil, fmt.Errorf("working directory %s: %w", cwd, errno)
	}
	fs.Cwd = d
	p.fsctx.Store(fs)
	k.mu.Lock()
	p.pid = k.newID()
	k.procs[p.pid] = p
	k.alive++
	k.mu.Unlock()
	p.ids.pgid, p.ids.sid = p.pid, p.pid
	return p, nil
}

// request is what is to be executed.
type request struct {
	at     *vfs.Dentry // where a relative name starts, or with an empty name the program itself; nil: the working directory
	name   string
	flags  uint32 // abi.AT_SYMLINK_NOFOLLOW
	shown  string // the name for the program, if another than name
	hidden bool   // no interpreter could open it by that name
	argv   []string
	env    []string
}

// openProgram finds the program that r asks for, follows scripts to their interpreters, and reads its
// headers. The error wraps an abi.Errno if the guest is to get another than ENOEXEC.
func (k *Kernel) openProgram(fs *vfs.Context, r *request) (*program, error) {
	shown := r.name
	if r.shown != "" {
		shown = r.shown
	}
	at, name, flags, file, argv := r.at, r.name, r.flags, shown, r.argv
	for depth := 0; ; depth++ {
		d, err := k.openExecutable(fs, at, name, flags, file)
		if err != nil {
			return nil, err
		}
		p := &program{dentry: d, path: shown, comm: path.Base(shown), argv: argv, env: r.env}
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
			return nil, fmt.Errorf("%s: %w: too many scripts that interpret each other: %w", shown, ErrNotExecutable, abi.ELOOP)
		case r.hidden:
			return nil, fmt.Errorf("%s: %w: its interpreter could not open it: %w", shown, ErrNotExecutable, abi.ENOENT)
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
		at, name, flags = nil, interp, 0
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

// openExecutable returns the file that name names from at, if it may be executed. file is what it is called
// in errors.
func (k *Kernel) openExecutable(fs *vfs.Context, at *vfs.Dentry, name string, flags uint32, file string) (*vfs.Dentry, error) {
	if name == "" {
		flags |= abi.AT_EMPTY_PATH
	}
	d, errno := k.ns.Walk(fs, at, name, int(flags))
	switch errno {
	case 0:
	case abi.ENOENT, abi.ENOTDIR:
		return nil, fmt.Errorf("%s: %w: %w", file, ErrNotFound, errno)
	default:
		return nil, fmt.Errorf("%s: %w: %w", file, ErrNotExecutable, errno)
	}
	fail := func(why string, errno abi.Errno) (*vfs.Dentry, error) {
		d.Unref()
		return nil, fmt.Errorf("%s: %w: %s%w", file, ErrNotExecutable, why, errno)
	}
	switch d.Node().Mode() & abi.S_IFMT {
	case abi.S_IFREG:
	case abi.S_IFLNK:
		return fail("", abi.ELOOP) // AT_SYMLINK_NOFOLLOW
	default:
		return fail("not a regular file: ", abi.EACCES)
	}
	if errno := k.ns.Access(fs, d, "", abi.X_OK, abi.AT_EMPTY_PATH|abi.AT_EACCESS); errno != 0 {
		return fail("", errno)
	}
	if k.written(d.Node()) {
		return fail("", abi.ETXTBSY)
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
	d, err := k.openExecutable(fs, nil, p.image.interp, 0, p.image.interp)
	if err != nil {
		p.close()
		return nil, fmt.Errorf("%s: %w: it is linked dynamically, and its dynamic linker cannot be used (%w); "+
			"build it with \"pinhole cc\" or \"pinhole go build\"", file, ErrNotExecutable, err)
	}
	p.interp = &program{dentry: d}
	if p.interp.image, err = p.interp.headers(); err == nil && p.interp.image.interp != "" {
		err = fmt.Errorf("%w: a dynamic linker that needs one itself", errBadELF)
	}
	if err != nil {
		name := p.image.interp
		p.close()
		if !errors.As(err, new(abi.Errno)) {
			err = fmt.Errorf("%w: %w", err, abi.ELIBBAD)
		}
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
