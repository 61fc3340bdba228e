package emu

import (
	"errors"
	"strconv"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// procExec answers proc_exec (execveat(2)).
func (t *Task) procExec(at int32, pathAddr, argv, env abi.Addr, flags uint32) (uint64, abi.Errno) {
	if flags&^(abi.AT_EMPTY_PATH|abi.AT_SYMLINK_NOFOLLOW) != 0 {
		return 0, abi.EINVAL
	}
	name, from, errno := t.emptyNameAt(at, pathAddr, flags)
	if errno != 0 {
		return 0, errno
	}
	defer from.done()
	p := t.proc
	r := request{at: from.at, name: name, flags: flags & abi.AT_SYMLINK_NOFOLLOW}
	if from.d != nil {
		r.shown = "/dev/fd/" + strconv.Itoa(int(at))
		if name != "" {
			r.shown += "/" + name
		}
		r.hidden = p.files.closesOnExec(at)
	} else if name == "" { // the working directory
		return 0, abi.EACCES
	}
	left := p.argsRoom() - len(name) - 1
	if r.argv, errno = argList(argv, &left); errno != 0 {
		return 0, errno
	}
	if r.env, errno = argList(env, &left); errno != 0 {
		return 0, errno
	}
	if len(r.argv) == 0 {
		r.argv = []string{""} // programs that count on a name must find one
	}
	prog, err := t.kernel.openProgram(t.lockFS(), &r)
	t.unlockFS()
	if err != nil {
		return 0, execErrno(err)
	}
	defer prog.close()
	if prog.argsSize() > p.argsRoom() { // with what a script has added; later there is no way back
		return 0, abi.E2BIG
	}
	return 0, t.execute(prog)
}

// execErrno is the number of an error of openProgram or load.
func execErrno(err error) abi.Errno {
	var errno abi.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return abi.ENOEXEC
}

// execute makes the task's process one that executes prog. The task is its only thread then, and goes
// on at the program's beginning.
func (t *Task) execute(prog *program) abi.Errno {
	p, k := t.proc, t.kernel
	crowd := p.live.Load() > 1
	if errno := t.endOthers(); errno != 0 {
		return errno
	}
	s := p.mem()
	alone := s.users.n.Load() == 1
	if alone {
		if prog.image.fixed && !k.areas.giveLow(s) {
			return t.cannotExecute(abi.ENOEXEC, crowd)
		}
		t.releaseMemory(false)
		p.shown.Store(nil)
		s.clear()
		crowd = true // there is no way back
	} else if s = k.newSpace(); s == nil {
		return t.cannotExecute(abi.ENOMEM, crowd)
	}
	at, err := p.load(s, prog)
	if err != nil {
		if !alone {
			s.release()
		}
		return t.cannotExecute(execErrno(err), crowd)
	}
	if !alone {
		t.releaseMemory(false)
		old := p.mem()
		s.enter(p)
		old.leave(p)
		t.calm(attQuiet) // whoever asked for it was in the old one
	}
	p.vforkDone()
	t.restart(prog, at)
	return 0
}

// cannotExecute is what execute returns when it fails: the process ends if it has lost something already.
func (t *Task) cannotExecute(errno abi.Errno, lost bool) abi.Errno {
	if lost {
		t.proc.exit(killed(abi.SIGKILL))
	}
	return errno
}

// endOthers ends all other threads of the process and makes the task the first one. EINTR: the
// process itself has to end, or another thread executes a program.
func (t *Task) endOthers() abi.Errno {
	p, k := t.proc, t.kernel
	p.mu.Lock()
	if p.exiting || p.execer != nil {
		p.mu.Unlock()
		return abi.EINTR
	}
	p.execer = t
	for _, o := range p.tasks {
		if o != t {
			o.alert(attExit)
		}
	}
	p.mu.Unlock()
	for p.live.Load() > 1 && t.attention.Load()&attExit == 0 {
		t.block()
		t.parker.park()
		t.unblock()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.execer = nil
	if p.exiting {
		return abi.EINTR
	}
	if t.tid != p.pid {
		delete(k.tasks, t.tid)
		delete(p.tasks, t.tid)
		for _, c := range p.children {
			if c.maker == t.tid {
				c.maker = p.pid
			}
		}
		t.tid = p.pid
		k.tasks[t.tid], p.tasks[t.tid] = t, t
	}
	return 0
}

// restart makes the task, the only one of its process, begin the program that was loaded.
func (t *Task) restart(prog *program, at *loaded) {
	p := t.proc
	c := t.ctx
	initXSave(xsaveArea(c), fcwDefault, mxcsrDefault)
	*c = guest.Context{
		Self: c.Self, HostSP: c.HostSP, HostBP: c.HostBP, HostPC: c.HostPC, Ticks: c.Ticks, Kick: c.Kick,
		XSave: c.XSave, XSaveSize: c.XSaveSize, Why: c.Why, MXCSR: mxcsrDefault, FCW: fcwDefault,
	}
	at.setRegisters(c)
	t.altStack = abi.SigaltStack{}
	t.lastFault = faultPoint{}
	p.sig.mu.Lock()
	p.sig.clearHandlers()
	p.sig.mu.Unlock()
	p.deletePosixTimers()
	p.becomes(prog, at, t)
	p.kernel.mu.Lock()
	if p.exitSignal != 0 {
		p.exitSignal = abi.SIGCHLD
	}
	p.kernel.mu.Unlock()
	t.keepCaps = false
	p.becomeItself()
	p.files.closeOnExec()
}
