package emu

import (
	"slices"
	"strconv"
	"strings"

	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/fs/vfs"
)

// ProcInfo tells of a kernel and its processes what /proc shows: it is what package procfs wants.
type ProcInfo struct{ k *Kernel }

// ProcInfo returns the kernel's source of /proc.
func (k *Kernel) ProcInfo() ProcInfo { return ProcInfo{k} }

// shownProgram says where the pieces of a program's start lie that /proc shows: arguments and environment
// in the process's own memory, which may have changed them.
type shownProgram struct {
	args, argsEnd abi.Addr
	env, envEnd   abi.Addr
	stack         abi.Addr // stack pointer at the start
	auxv          []byte
}

// Processes returns the numbers of all processes, ascending.
func (i ProcInfo) Processes() []int32 {
	var ids []int32
	for _, p := range i.k.processes() {
		ids = append(ids, p.pid)
	}
	slices.Sort(ids)
	return ids
}

// Threads returns the numbers of a process's threads, ascending.
func (i ProcInfo) Threads(pid int32) []int32 {
	p := i.k.process(pid)
	if p == nil {
		return nil
	}
	var ids []int32
	for _, t := range p.threads() {
		ids = append(ids, t.tid)
	}
	if len(ids) == 0 { // it has ended, and was not waited for
		ids = append(ids, pid)
	}
	return ids
}

// Owner returns the effective ids of a process.
func (i ProcInfo) Owner(pid int32) (uid, gid uint32, ok bool) {
	p := i.k.process(pid)
	if p == nil {
		return 0, 0, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ids.user.effective, p.ids.group.effective, true
}

// Self returns the number of the process in whose name c walks.
func (i ProcInfo) Self(c *vfs.Context) int32 {
	if p, ok := c.Owner.(*Process); ok {
		return p.pid
	}
	return 0
}

// Descriptors returns at most n open descriptors of a process from the given one on.
func (i ProcInfo) Descriptors(pid, from int32, n int) []int32 {
	p := i.k.process(pid)
	if p == nil {
		return nil
	}
	return p.files.list(from, n)
}

// Descriptor returns how a descriptor is open.
func (i ProcInfo) Descriptor(pid, fd int32) (mode uint32, ok bool) {
	d := i.description(pid, fd)
	if d == nil {
		return 0, false
	}
	defer d.unref()
	if d.mode&modeRead != 0 {
		mode |= 0o400
	}
	if d.mode&modeWrite != 0 {
		mode |= 0o200
	}
	return mode, true
}

func (i ProcInfo) description(pid, fd int32) *description {
	p := i.k.process(pid)
	if p == nil {
		return nil
	}
	return p.files.get(fd)
}

// Link returns where a link of a process leads, and its text as seen by c.
func (i ProcInfo) Link(c *vfs.Context, pid int32, name string) (*vfs.Dentry, string, abi.Errno) {
	p := i.k.process(pid)
	if p == nil {
		return nil, "", abi.ENOENT
	}
	var d *vfs.Dentry
	switch name {
	case "cwd", "root":
		cwd, root := p.directories()
		var other *vfs.Dentry
		if d, other = cwd, root; name == "root" {
			d, other = root, cwd
		}
		if other != nil {
			other.Unref()
		}
		if d == nil {
			d = i.k.ns.Root()
		}
	case "exe":
		p.mu.Lock()
		if d = p.exe; d != nil {
			d.Ref()
		}
		p.mu.Unlock()
		if d == nil {
			return nil, "", abi.ENOENT
		}
	default:
		fd, err := strconv.Atoi(strings.TrimPrefix(name, "fd/"))
		if err != nil {
			return nil, "", abi.ENOENT
		}
		o := p.files.get(int32(fd))
		if o == nil {
			return nil, "", abi.ENOENT
		}
		d = o.dentry
		d.Ref()
		o.unref()
	}
	// That the name is gone is in the text.
	text, _ := i.k.ns.PathTo(c, d)
	return d, text, 0
}

// SetFile takes what is written to a file: only a thread's name.
func (i ProcInfo) SetFile(pid, tid int32, name string, content []byte) abi.Errno {
	t := i.thread(pid, tid)
	if t == nil {
		return abi.ESRCH
	}
	if name != "comm" {
		return abi.EACCES
	}
	text := strings.TrimSuffix(string(content), "\n")
	if n := strings.IndexByte(text, 0); n >= 0 {
		text = text[:n]
	}
	t.proc.mu.Lock()
	defer t.proc.mu.Unlock()
	clear(t.name[:])
	t.nameLen = copy(t.name[:len(t.name)-1], text)
	return 0
}

// thread returns a thread of a process, the first one if tid is 0.
func (i ProcInfo) thread(pid, tid int32) *Task {
	p := i.k.process(pid)
	if p == nil {
		return nil
	}
	if tid != 0 && tid != pid {
		return p.task(tid)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.tasks[pid]; t != nil {
		return t
	}
	return p.leader // the first has ended
}

// File returns the content of a file of a process, or with pid 0 of the system.
func (i ProcInfo) File(pid, tid int32, name string) ([]byte, abi.Errno) {
	if pid == 0 {
		text, ok := i.system(name)
		if !ok {
			return nil, abi.ENOENT
		}
		return []byte(text), 0
	}
	t := i.thread(pid, tid)
	if t == nil {
		return nil, abi.ESRCH
	}
	if fd, ok := strings.CutPrefix(name, "fdinfo/"); ok {
		n, _ := strconv.Atoi(fd)
		return t.proc.showDescriptor(int32(n))
	}
	p := t.proc
	shown := p.shown.Load()
	if shown == nil {
		shown = &shownProgram{}
	}
	switch name {
	case "auxv":
		return shown.auxv, 0
	case "cmdline":
		return p.ownBytes(shown, shown.args, shown.argsEnd), 0
	case "environ":
		return p.ownBytes(shown, shown.env, shown.envEnd), 0
	case "comm":
		return []byte(t.threadName() + "\n"), 0
	case "cgroup":
		return []byte("0::/\n"), 0
	case "limits":
		return []byte(p.showLimits()), 0
	case "maps":
		return []byte(p.showMaps()), 0
	case "mountinfo":
		return []byte(i.k.showMounts(true)), 0
	case "mounts":
		return []byte(i.k.showMounts(false)), 0
	case "stat":
		return []byte(t.showStat(shown)), 0
	case "statm":
		return []byte(p.showStatm()), 0
	case "status":
		return []byte(t.showStatus()), 0
	}
	return nil, abi.ENOENT
}

// ownBytes is guestBytes of what belongs to the program that p executes: nothing if that has changed, since
// another process may be there now.
func (p *Process) ownBytes(shown *shownProgram, from, to abi.Addr) []byte {
	s := p.mem()
	b := guestBytes(from, to)
	if s == nil || p.shown.Load() != shown || p.mem() != s {
		return nil
	}
	return b
}

// guestBytes reads memory of a guest, at most 128 KiB of it, as far as it can be read.
func guestBytes(from, to abi.Addr) []byte {
	if to <= from {
		return nil
	}
	p := make([]byte, min(uint64(to-from), 128<<10))
	return p[:guest.CopyIn(p, from)]
}
