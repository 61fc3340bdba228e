package emu

import (
	"runtime"
	"sync/atomic"

	"pinhole/abi"
	"pinhole/emu/guest"
)

// maxThreads bounds the threads of all processes. Each has a context and a goroutine, of
// threadBytes together, which may be a quarter of the memory that guests may have.
const (
	maxThreads  = 16384
	threadBytes = 16 << 10
)

const (
	// threadFlags are what a clone must have to make a thread of the same process,
	threadFlags = abi.CLONE_VM | abi.CLONE_FS | abi.CLONE_FILES | abi.CLONE_SIGHAND | abi.CLONE_THREAD
	// and threadExtra what it may have.
	threadExtra = abi.CLONE_SYSVSEM | abi.CLONE_SETTLS | abi.CLONE_PARENT_SETTID | abi.CLONE_CHILD_SETTID |
		abi.CLONE_CHILD_CLEARTID | abi.CLONE_DETACHED | abi.CLONE_PTRACE | abi.CLONE_UNTRACED | abi.CLONE_IO
)

// threadCreate answers thread_create (clone(2)). The new thread has the caller's registers, but for
// the result 0, its stack pointer and, if entry is not 0, its place.
func (t *Task) threadCreate(flags uint64, stack, ptid, ctid, tls, entry abi.Addr) (uint64, abi.Errno) {
	// The upper half is that of a register: Linux's clone looks at the lower one.
	a := cloneArgs{flags: uint64(uint32(flags)) &^ abi.CSIGNAL, exitSignal: flags & abi.CSIGNAL,
		stack: stack, ptid: ptid, ctid: ctid, tls: tls, entry: entry, pidfd: ptid}
	if flags&abi.CLONE_PIDFD != 0 && flags&abi.CLONE_PARENT_SETTID != 0 {
		return 0, abi.EINVAL // they have one argument
	}
	return t.clone(&a)
}

// startThread makes a thread of the same process.
func (t *Task) startThread(a *cloneArgs) (uint64, abi.Errno) {
	flags, stack, ptid, ctid, tls, entry := a.flags, a.stack, a.ptid, a.ctid, a.tls, a.entry
	if flags&^(threadFlags|threadExtra) != 0 || stack == 0 {
		return 0, abi.EINVAL
	}
	p := t.proc
	c := t.kernel.m.NewContext()
	if c == nil {
		return 0, abi.ENOMEM
	}
	n := &Task{ctx: c, kernel: t.kernel, proc: p, sigmask: t.sigmask, name: t.name, nameLen: t.nameLen, keepCaps: t.keepCaps}
	n.handOver.soon = int16(p.handOver.Load())
	copyContext(c, t.ctx)
	c.RAX, c.RSP = 0, uint64(stack)
	if entry != 0 {
		c.RIP = uint64(entry)
	}
	if flags&abi.CLONE_SETTLS != 0 {
		c.FSBase = uint64(tls)
	}
	if flags&abi.CLONE_CHILD_CLEARTID != 0 {
		n.clearTID = ctid
	}
	if errno := t.kernel.addTask(n); errno != 0 {
		t.kernel.m.FreeContext(c)
		return 0, errno
	}
	if flags&abi.CLONE_PARENT_SETTID != 0 {
		guest.Store32(ptid, uint32(n.tid))
	}
	if flags&abi.CLONE_CHILD_SETTID != 0 {
		guest.Store32(ctid, uint32(n.tid))
	}
	tid := n.tid
	t.kernel.launch(n, t)
	return uint64(tid), 0
}

// copyContext makes c's guest registers those of from.
func copyContext(c, from *guest.Context) {
	self, xsave, size := c.Self, c.XSave, c.XSaveSize
	*c = *from
	c.Self, c.XSave, c.XSaveSize = self, xsave, size
	c.Ticks, c.Kick = 0, 0
	if from.Full != 0 {
		copy(xsaveArea(c), xsaveArea(from))
	}
}

// addTask gives t a number and makes it one of its process's threads. EAGAIN: too many.
func (k *Kernel) addTask(t *Task) abi.Errno {
	if k.taskN.Add(1) > k.maxThreads {
		k.taskN.Add(-1)
		return abi.EAGAIN
	}
	p := t.proc
	k.mu.Lock()
	t.tid = k.newID()
	k.tasks[t.tid] = t
	k.mu.Unlock()
	p.mu.Lock()
	ok := !p.exiting && p.execer == nil && uint64(len(p.tasks)) < p.limit(abi.RLIMIT_NPROC)
	if ok {
		p.adopt(t)
	}
	p.mu.Unlock()
	if !ok {
		k.dropTask(t)
		return abi.EAGAIN
	}
	return 0
}

// adopt makes t, which has its number and does not run yet, one of p's threads. p.mu is held.
func (p *Process) adopt(t *Task) {
	p.tasks[t.tid] = t
	p.live.Store(int32(len(p.tasks)))
	t.joinQuiet()
	if p.stopSig != 0 {
		t.alert(attStop)
	}
}

// dropTask takes back addTask's number.
func (k *Kernel) dropTask(t *Task) {
	k.mu.Lock()
	if k.tasks[t.tid] == t {
		delete(k.tasks, t.tid)
	}
	k.mu.Unlock()
	k.taskN.Add(-1)
}

// threadExit answers thread_exit (exit(2) of Linux, which ends the calling thread only).
func (t *Task) threadExit(status int32) (uint64, abi.Errno) {
	t.exitStatus = int(status & 0xff)
	t.attention.Or(attExit)
	return 0, 0
}

// end does what is left when a thread will not run any more.
func (t *Task) end() {
	p, k := t.proc, t.kernel
	t.releaseMemory(true)
	t.parks()
	p.handOver.Store(int32(t.handOver.soon))
	t.state.Store(taskGone)
	if t.timer != nil {
		t.timer.Stop()
	}
	p.mu.Lock()
	delete(p.tasks, t.tid)
	p.ticks.Add(int64(atomic.LoadUint64(&t.ctx.Ticks)))
	last := len(p.tasks) == 0
	if t.tid == p.pid && !p.exiting {
		p.status = exited(int32(t.exitStatus))
	}
	if t.tid == p.pid || last {
		p.leader = t
	}
	if last {
		p.exiting = true
	}
	p.live.Store(int32(len(p.tasks)))
	execer := p.execer
	p.mu.Unlock()
	t.quietWake()
	if execer != nil {
		execer.wake()
	}
	p.signalsOf(t)
	if !last && p.hadChildren.Load() {
		t.makerDied()
	}
	k.dropTask(t)
	k.m.FreeContext(t.ctx)
	t.ctx = nil
	if last {
		p.end()
	} else {
		p.ends.notifyAll(abi.POLLIN | abi.POLLRDNORM) // descriptors of threads
	}
}

// releaseMemory does what is to be done in the process's memory before the thread has nothing more to
// do with it. gone: the thread has ended.
func (t *Task) releaseMemory(gone bool) {
	t.releaseRobust()
	t.releasePI(gone)
	p := t.proc
	if t.clearTID != 0 && p.mem().shared(p) {
		guest.Store32(t.clearTID, 0)
		t.kernel.futexes.wake(p.futexKeyOf(t.clearTID, 0), 1, abi.FUTEX_BITSET_MATCH_ANY)
	}
	t.robust, t.clearTID = 0, 0
}

// threadId answers thread_id (gettid(2)).
func (t *Task) threadId() (uint64, abi.Errno) { return uint64(t.tid), 0 }

// threadSetTidAddress answers thread_set_tid_address (set_tid_address(2)).
func (t *Task) threadSetTidAddress(addr abi.Addr) (uint64, abi.Errno) {
	t.clearTID = addr
	return uint64(t.tid), 0
}

// threadSetTls answers thread_set_tls (ARCH_SET_FS of arch_prctl(2)).
func (t *Task) threadSetTls(addr abi.Addr) (uint64, abi.Errno) {
	if uint64(addr) > guestEnd {
		return 0, abi.EPERM
	}
	t.ctx.FSBase = uint64(addr)
	return 0, 0
}

// threadYield answers thread_yield (sched_yield(2)).
func (t *Task) threadYield() (uint64, abi.Errno) {
	runtime.Gosched()
	return 0, 0
}
