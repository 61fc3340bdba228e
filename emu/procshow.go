package emu

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// mapping is a line of /proc/PID/maps.
type mapping struct {
	start, end abi.Addr
	prot       uint8
	shared     bool
	off        int64
	dentry     *vfs.Dentry // held
	name       string
}

// mappings returns the process's mappings; the caller gives the dentries back.
func (p *Process) mappings() []mapping {
	s := p.mem()
	if s == nil {
		return nil
	}
	s.lock()
	defer s.unlock()
	list := make([]mapping, 0, s.set.n)
	for at := (vmaPos{}); s.set.at(at) != nil; at = s.set.next(at) {
		v := s.set.at(at)
		m := mapping{start: v.start, end: v.end, prot: v.prot, shared: v.flags&vmaShared != 0}
		switch {
		case v.file != nil && v.file.dentry != nil:
			m.off, m.dentry = v.fileOff, v.file.dentry
			m.dentry.Ref()
		case v.flags&vmaStack != 0:
			m.name = "[stack]"
		case v.flags&vmaHeap != 0:
			m.name = "[heap]"
		}
		list = append(list, m)
	}
	if at := abi.Addr(p.kernel.m.VDSO()); at != 0 {
		// The host's, where the host has put it.
		i, _ := slices.BinarySearchFunc(list, at, func(m mapping, at abi.Addr) int { return cmp.Compare(m.start, at) })
		list = slices.Insert(list, i, mapping{start: at, end: at + abi.Addr(p.kernel.m.VDSOSize()), prot: abi.PROT_READ | abi.PROT_EXEC, name: "[vdso]"})
	}
	return list
}

// showMaps is /proc/PID/maps.
func (p *Process) showMaps() string {
	var b strings.Builder
	c := p.fs()
	for _, m := range p.mappings() {
		share := byte('p')
		if m.shared {
			share = 's'
		}
		dev, ino := uint64(0), uint64(0)
		if m.dentry != nil {
			var a vfs.Attr
			if m.dentry.Attr(&a) == 0 {
				dev, ino = a.Dev, a.Ino
			}
			m.name, _ = p.kernel.ns.PathTo(c, m.dentry)
			m.dentry.Unref()
		}
		n, _ := fmt.Fprintf(&b, "%08x-%08x %s%c %08x %02x:%02x %d ", uint64(m.start), uint64(m.end),
			protection(m.prot), share, m.off, abi.Major(dev), abi.Minor(dev), ino)
		if m.name != "" {
			// The names begin in one column, as Linux has them.
			b.WriteString(strings.Repeat(" ", max(73-n, 0)))
			b.WriteString(strings.ReplaceAll(m.name, "\n", "\\012"))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func protection(prot uint8) string {
	text := []byte("---")
	for i, bit := range []uint8{abi.PROT_READ, abi.PROT_WRITE, abi.PROT_EXEC} {
		if prot&bit != 0 {
			text[i] = "rwx"[i]
		}
	}
	return string(text)
}

// showLimits is /proc/PID/limits.
func (p *Process) showLimits() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units")
	value := func(v uint64) string {
		if v == abi.RLIM_INFINITY {
			return "unlimited"
		}
		return fmt.Sprint(v)
	}
	for i, l := range [abi.RLIM_NLIMITS]struct{ name, unit string }{
		abi.RLIMIT_CPU:        {"cpu time", "seconds"},
		abi.RLIMIT_FSIZE:      {"file size", "bytes"},
		abi.RLIMIT_DATA:       {"data size", "bytes"},
		abi.RLIMIT_STACK:      {"stack size", "bytes"},
		abi.RLIMIT_CORE:       {"core file size", "bytes"},
		abi.RLIMIT_RSS:        {"resident set", "bytes"},
		abi.RLIMIT_NPROC:      {"processes", "processes"},
		abi.RLIMIT_NOFILE:     {"open files", "files"},
		abi.RLIMIT_MEMLOCK:    {"locked memory", "bytes"},
		abi.RLIMIT_AS:         {"address space", "bytes"},
		abi.RLIMIT_LOCKS:      {"file locks", "locks"},
		abi.RLIMIT_SIGPENDING: {"pending signals", "signals"},
		abi.RLIMIT_MSGQUEUE:   {"msgqueue size", "bytes"},
		abi.RLIMIT_NICE:       {"nice priority", ""},
		abi.RLIMIT_RTPRIO:     {"realtime priority", ""},
		abi.RLIMIT_RTTIME:     {"realtime timeout", "us"},
	} {
		fmt.Fprintf(&b, "%-25s %-20s %-20s %-10s\n", "Max "+l.name, value(p.limits[i].cur.Load()), value(p.limits[i].max.Load()), l.unit)
	}
	return b.String()
}

// stateLetter is a thread's state as /proc/PID/stat has it.
func (t *Task) stateLetter() (letter byte, text string) {
	switch {
	case t.proc.ended.Load() || t.state.Load() == taskGone:
		return 'Z', "zombie"
	case t.attention.Load()&attStop != 0:
		return 'T', "stopped"
	case t.state.Load() == taskRunning:
		return 'R', "running"
	}
	return 'S', "sleeping"
}

// showStat is /proc/PID/stat (proc_pid_stat(5)); what nobody counts is 0.
func (t *Task) showStat(shown *shownProgram) string {
	const tick = 1e9 / abi.ClockTick
	p, k := t.proc, t.kernel
	letter, _ := t.stateLetter()
	p.mu.Lock()
	ids, threads, bias := p.ids, len(p.tasks), p.bias
	p.mu.Unlock()
	used := k.processTime(p)
	k.mu.Lock()
	childUsed := p.childUsed
	k.mu.Unlock()
	size, heap, brk := p.extent()
	var b strings.Builder
	fmt.Fprintf(&b, "%d (%s) %c %d %d %d 0 -1 0", t.tid, t.threadName(), letter, p.parentPID(), ids.pgid, ids.sid)
	fmt.Fprintf(&b, " 0 0 0 0 %d 0 %d 0 20 %d %d 0 0", used/tick, childUsed/tick, ids.nice, threads)
	fmt.Fprintf(&b, " %d %d %d", size, size/pageSize, p.limit(abi.RLIMIT_RSS))
	fmt.Fprintf(&b, " %d %d %d 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0", bias, heap, shown.stack)
	fmt.Fprintf(&b, " %d %d %d %d %d %d %d 0\n", heap, brk, heap, shown.args, shown.argsEnd, shown.env, shown.envEnd)
	return b.String()
}

// extent returns how much the process has mapped, in bytes, and where its heap begins and ends: nothing
// if it has ended.
func (p *Process) extent() (size uint64, heap, brk abi.Addr) {
	s := p.mem()
	if s == nil {
		return 0, 0, 0
	}
	s.lock()
	defer s.unlock()
	return s.mapped, s.heap, s.brk
}

func (p *Process) parentPID() int32 {
	if o := p.parent.Load(); o != nil {
		return o.pid
	}
	return 0
}

// showStatm is /proc/PID/statm. What is mapped is taken to be resident.
func (p *Process) showStatm() string {
	size, _, _ := p.extent()
	pages := size / pageSize
	return fmt.Sprintf("%d %d 0 0 0 %d 0\n", pages, pages, pages)
}

// showStatus is /proc/PID/status.
func (t *Task) showStatus() string {
	p := t.proc
	letter, text := t.stateLetter()
	fs := p.fs()
	p.mu.Lock()
	ids, threads := p.ids, len(p.tasks)
	p.mu.Unlock()
	s := &p.sig
	s.mu.Lock()
	var ignored, caught abi.Sigset
	for sig := 1; sig <= abi.SIGRTMAX; sig++ {
		switch s.act[sig].Handler {
		case abi.SIG_DFL:
		case abi.SIG_IGN:
			ignored = ignored.Add(sig)
		default:
			caught = caught.Add(sig)
		}
	}
	queued := len(s.pending.list) + len(t.sigpend.list)
	shared, own, blocked := s.pending.set, t.sigpend.set, t.sigmask
	s.mu.Unlock()
	size, _, _ := p.extent()
	size >>= 10
	open := len(*p.files.slots.Load())

	var b strings.Builder
	line := func(name, format string, args ...any) { fmt.Fprintf(&b, name+":\t"+format+"\n", args...) }
	line("Name", "%s", t.threadName())
	line("Umask", "%04o", fs.Umask)
	line("State", "%c (%s)", letter, text)
	line("Tgid", "%d", p.pid)
	line("Ngid", "0")
	line("Pid", "%d", t.tid)
	line("PPid", "%d", p.parentPID())
	line("TracerPid", "0")
	line("Uid", "%d\t%d\t%d\t%d", ids.user.real, ids.user.effective, ids.user.saved, fs.UID)
	line("Gid", "%d\t%d\t%d\t%d", ids.group.real, ids.group.effective, ids.group.saved, fs.GID)
	line("FDSize", "%d", open)
	line("Groups", "%s", strings.Trim(fmt.Sprint(fs.Groups), "[]"))
	line("VmPeak", "%8d kB", size)
	line("VmSize", "%8d kB", size)
	line("VmLck", "%8d kB", 0)
	line("VmHWM", "%8d kB", size)
	line("VmRSS", "%8d kB", size)
	line("VmSwap", "%8d kB", 0)
	line("Threads", "%d", threads)
	line("SigQ", "%d/%d", queued, p.limit(abi.RLIMIT_SIGPENDING))
	line("SigPnd", "%016x", uint64(own))
	line("ShdPnd", "%016x", uint64(shared))
	line("SigBlk", "%016x", uint64(blocked))
	line("SigIgn", "%016x", uint64(ignored))
	line("SigCgt", "%016x", uint64(caught))
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		line(set, "%016x", uint64(0))
	}
	noNew := 0
	if ids.noNewPrivs {
		noNew = 1
	}
	line("NoNewPrivs", "%d", noNew)
	line("Seccomp", "0")
	cpus := t.kernel.m.CPUs()
	line("Cpus_allowed", "%x", uint64(1)<<min(cpus, 63)-1)
	line("Cpus_allowed_list", "0-%d", cpus-1)
	line("voluntary_ctxt_switches", "0")
	line("nonvoluntary_ctxt_switches", "0")
	return b.String()
}
