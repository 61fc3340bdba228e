package emu

import (
	"slices"
	"sync"
	"sync/atomic"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// firstPID is the number of the first process. It is not 1: programs that find themselves to be
// process 1 take themselves for init.
const firstPID = 2

// Process is what threads share: memory, descriptors, directories, signal handlers, identity.
//
// Lock order: fsmu, Kernel.mu, Process.mu, signals.mu, posixTimer.mu. space.mu and the locks of futexes are
// innermost, each held with none of the others. For spaceUsers.mu see there.
type Process struct {
	kernel *Kernel
	pid    int32

	files  *fdTable // has its own lock
	procIO          // what file calls keep per process

	// fsctx is who and where the process is towards file systems. What it points to never
	// changes: see changeFS.
	fsctx atomic.Pointer[vfs.Context]
	fsmu  sync.Mutex // held while fsctx is replaced

	// memory is the space that the process is in; nil once it has ended.
	memory atomic.Pointer[space]
	sig    signals
	timers timers

	limits [abi.RLIM_NLIMITS]limit

	live     atomic.Int32 // threads, those that are about to end included
	handOver atomic.Int32 // handOver.soon of the thread that ended last: the next may be like it
	ticks    atomic.Int64 // of the threads that have ended

	// vfork is the thread that waits until the process executes a program or ends; nil: none (any more).
	vfork atomic.Pointer[vforkWait]

	kin
	job

	mu       sync.Mutex
	name     string      // path of the program, as it was started
	exe      *vfs.Dentry // the program; held; nil once the process has ended
	bias     uint64      // from the program's own addresses to where it lies
	ids      identity
	tasks    map[int32]*Task // by thread number
	leader   *Task           // whose name and state the process has, once it has no threads any more
	exiting  bool
	status   waitStatus // once exiting
	execer   *Task      // the thread that is about to execute a program, for which all others end
	executed bool       // has executed a program since it was made
}

// mem returns the space that the process is in.
func (p *Process) mem() *space { return p.memory.Load() }

// fs returns who and where the process is towards file systems, to be passed to one call of
// the namespace.
func (p *Process) fs() *vfs.Context { return p.fsctx.Load() }

// changeFS replaces the process's file system context by a copy that change has altered; if
// change reports an error, nothing happens. Calls that are under way go on with the old one.
func (p *Process) changeFS(change func(*vfs.Context) abi.Errno) abi.Errno {
	p.fsmu.Lock()
	defer p.fsmu.Unlock()
	c := *p.fsctx.Load()
	if errno := change(&c); errno != 0 {
		return errno
	}
	p.fsctx.Store(&c)
	return 0
}

// newID returns a number for a process or thread that none has. k.mu is held.
func (k *Kernel) newID() int32 {
	const last = 1<<22 - 1 // Linux's PID_MAX_LIMIT
	for {
		id := k.nextID
		if k.nextID++; k.nextID > last {
			k.nextID, k.wrapped = firstPID, true
		}
		if k.tasks[id] == nil && k.procs[id] == nil && (!k.wrapped || !k.inUse(id)) {
			return id
		}
	}
}

// task returns the thread with number tid, or nil.
func (k *Kernel) task(tid int32) *Task {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.tasks[tid]
}

// process returns the process with number pid, or nil.
func (k *Kernel) process(pid int32) *Process {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.procs[pid]
}

// processes returns all processes.
func (k *Kernel) processes() []*Process {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]*Process, 0, len(k.procs))
	for _, p := range k.procs {
		list = append(list, p)
	}
	return list
}

// hasGroup tells whether a process is in process group id.
func (k *Kernel) hasGroup(id int32) bool {
	for _, p := range k.processes() {
		if p.group() == id {
			return true
		}
	}
	return false
}

// inUse tells whether id is the number of a process group or session. k.mu is held.
func (k *Kernel) inUse(id int32) bool {
	for _, p := range k.procs {
		p.mu.Lock()
		found := p.ids.pgid == id || p.ids.sid == id
		p.mu.Unlock()
		if found {
			return true
		}
	}
	return false
}

// threads returns the threads of the process in order of their numbers.
func (p *Process) threads() []*Task {
	p.mu.Lock()
	list := make([]*Task, 0, len(p.tasks))
	for _, t := range p.tasks {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b *Task) int { return int(a.tid - b.tid) })
	p.mu.Unlock()
	return list
}

// task returns the process's thread with number tid, or nil.
func (p *Process) task(tid int32) *Task {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tasks[tid]
}

// procExit answers proc_exit (exit_group(2)).
func (t *Task) procExit(status int32) (uint64, abi.Errno) {
	t.proc.exit(exited(status))
	return 0, 0
}

// exit makes all threads of the process end; status is how it will have ended unless it is
// ending already. It tells whether it was not.
func (p *Process) exit(status waitStatus) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exiting {
		return false
	}
	p.exiting = true
	p.status = status
	for _, t := range p.tasks {
		t.alert(attExit)
	}
	return true
}

// kill ends the process by a signal that nobody can do anything about.
func (p *Process) kill(info *abi.Siginfo) { p.exit(killed(info.Signo)) }

// end does what is left when the last thread of a process has ended.
func (p *Process) end() {
	p.shown.Store(nil)
	p.endTimers()
	size, _, _ := p.extent()
	p.peak = int64(size >> 10) // as far as anybody counts; nobody looks before it has ended
	s := p.memory.Swap(nil)
	s.leave(p)
	p.vforkDone()
	p.files.closeAll()
	p.setCwd(nil)
	p.setRoot(nil)
	p.mu.Lock()
	exe := p.exe
	p.exe = nil
	p.mu.Unlock()
	if exe != nil {
		p.kernel.running.remove(exe.Node())
		exe.Unref()
	}
	p.kernel.bury(p)
}

// discard takes back a process that never ran.
func (p *Process) discard() {
	k := p.kernel
	k.mu.Lock()
	delete(k.procs, p.pid)
	k.alive--
	k.mu.Unlock()
	p.files.closeAll()
	p.memory.Swap(nil).leave(p)
	p.setCwd(nil)
	p.setRoot(nil)
}
