package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"pinhole/runtime/seccomp"
)

// Name is the sandbox process's name and its only argument. It is the same for all, so that
// nothing of the host's can be read from the process's memory; its environment is empty.
const Name = "pinhole-kernel"

// Spec says what to start.
type Spec struct {
	// Kernel is the program: a file opened for reading that every user may execute, such as
	// one of SealedExecutable.
	Kernel *os.File
	// Files are the process's descriptors, all of them; see CheckDescriptor.
	Files [seccomp.Descriptors]*os.File
	// Memory is how many bytes the process may have of the host in all, page cache that it
	// brought in included, and Tasks how many threads. 0: no cgroup is made for it.
	Memory int64
	Tasks  int64
	// CPUs is on how many processors the process may run, of those that the caller may run on; 0: on all.
	CPUs int
	// Require names layers without which the process is not to run: those among them that
	// Start is answerable for are errors here, the others come from Enclose.
	Require Layers
	// Without names layers to leave out, as if the host forbade them.
	Without Layers
}

// Process is a sandbox process. Its methods may be called concurrently.
type Process struct {
	Pid    int
	Layers Layers // in force from the start

	proc  *os.Process
	group *cgroup
	done  chan struct{}
	state *os.ProcessState
	err   error
}

// namespaces are those that Start makes, by layer.
var namespaces = []struct {
	layer Layers
	flag  uintptr
}{
	{UserNamespace, unix.CLONE_NEWUSER},
	{MountNamespace, unix.CLONE_NEWNS},
	{PIDNamespace, unix.CLONE_NEWPID},
	{NetNamespace, unix.CLONE_NEWNET},
	{IPCNamespace, unix.CLONE_NEWIPC},
	{UTSNamespace, unix.CLONE_NEWUTS},
	{CgroupNamespace, unix.CLONE_NEWCGROUP},
}

const allNamespaces = UserNamespace | MountNamespace | PIDNamespace | NetNamespace | IPCNamespace | UTSNamespace | CgroupNamespace

// byStart are the layers that Start is answerable for.
const byStart = allNamespaces | NoNewPrivileges | ControlGroup

// nobody is the user and group that the process has where the caller may choose, and that it
// sees itself as where it has the caller's: in no way special inside its user namespace.
const nobody = 65534

// Start makes a sandbox process. The process ends when the caller's does.
func Start(spec Spec) (*Process, error) {
	if spec.Kernel == nil {
		return nil, errors.New("start a sandbox: no kernel to execute")
	}
	for i, f := range spec.Files {
		if f == nil {
			return nil, fmt.Errorf("start a sandbox: descriptor %d is not given", i)
		}
	}
	if err := checkFiles(&spec); err != nil {
		return nil, fmt.Errorf("start a sandbox: %w", err)
	}
	p := &Process{done: make(chan struct{})}
	if err := p.makeCgroup(&spec); err != nil {
		return nil, fmt.Errorf("start a sandbox: %w", err)
	}
	started := make(chan error, 1)
	go p.keep(&spec, started)
	if err := <-started; err != nil {
		p.removeCgroup()
		return nil, fmt.Errorf("start a sandbox: %w", err)
	}
	if missing := spec.Require & byStart &^ p.Layers; missing != 0 {
		p.Kill()
		p.Wait()
		return nil, fmt.Errorf("start a sandbox: %w", &MissingError{missing})
	}
	return p, nil
}

func checkFiles(spec *Spec) error {
	return checkDescriptors(func(i int) int { return int(spec.Files[i].Fd()) })
}

// keep starts the process and waits for its end, on a host thread of its own: the signal
// that ends the process comes when its starter's thread ends (PR_SET_PDEATHSIG(2const)), and
// no_new_privs, which is a thread's property too and which the process inherits, must not
// bind the rest of the supervisor. The thread is not given back.
func (p *Process) keep(spec *Spec, started chan<- error) {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		started <- fmt.Errorf("set no_new_privs: %w", err)
		return
	}
	// The sandbox's sleeps end when they are to: by default the host is some 50 us late (PR_SET_TIMERSLACK(2const)),
	// and what a program sleeps for passes through two schedulers already. In nanoseconds.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		started <- fmt.Errorf("set the timer slack: %w", err)
		return
	}
	if err := bindProcessors(spec.CPUs); err != nil {
		started <- err
		return
	}
	proc, err := p.startGrouped(spec)
	if err != nil {
		started <- err
		return
	}
	p.proc, p.Pid = proc, proc.Pid
	p.Layers |= NoNewPrivileges
	started <- nil
	p.state, p.err = proc.Wait()
	close(p.done)
}

// startGrouped starts the process in its cgroup, if there is one.
func (p *Process) startGrouped(spec *Spec) (proc *os.Process, err error) {
	var dir *os.File
	if p.group != nil {
		err := p.group.enter()
		if err == nil {
			dir, err = p.group.open()
		}
		switch {
		case err == nil:
			p.Layers |= ControlGroup
		case forbidden(err):
			err = p.group.leave()
			p.group.remove()
			p.group = nil
		}
		if err != nil {
			return nil, err
		}
		if dir != nil {
			defer dir.Close()
		}
	}
	proc, layers, err := startForbidding(spec, dir)
	if p.group != nil {
		err = errors.Join(err, p.group.leave())
	}
	if err != nil && proc != nil {
		proc.Kill()
		proc.Wait()
	}
	p.Layers |= layers
	return proc, err
}

// startForbidding starts the process in all namespaces that the host allows. Which these are
// is found by trying: all, all but one, the same without the user namespace if the caller is
// root, none; and each as nobody first where the caller is root.
func startForbidding(spec *Spec, cgroup *os.File) (*os.Process, Layers, error) {
	wanted := allNamespaces &^ spec.Without
	try := []Layers{wanted}
	for _, ns := range namespaces[1:] {
		try = append(try, wanted&^ns.layer)
	}
	drop := []bool{false}
	if os.Geteuid() == 0 {
		drop = []bool{true, false}
		without := wanted &^ UserNamespace
		try = append(try, without)
		for _, ns := range namespaces[1:] {
			try = append(try, without&^ns.layer)
		}
	}
	try = append(try, 0)
	type attempt struct {
		set  Layers
		drop bool
	}
	tried := map[attempt]bool{}
	caps := ownCapabilities()
	var last error
	for _, set := range try {
		for _, d := range drop {
			if a := (attempt{set, d}); tried[a] {
				continue
			} else {
				tried[a] = true
			}
			proc, err := start(spec, cgroup, set, d, caps)
			if err == nil {
				return proc, set, nil
			}
			last = err
			if !forbidden(err) {
				return nil, 0, last
			}
		}
	}
	return nil, 0, last
}

// start makes the process in the given namespaces; with drop, as user and group nobody of
// the caller's, which only root can, and not the root of a container that knows no nobody.
func start(spec *Spec, cgroup *os.File, set Layers, drop bool, caps uint64) (*os.Process, error) {
	sys := &syscall.SysProcAttr{
		Setsid:    true, // out of reach of the terminal, and of the signals it sends to its foreground
		Pdeathsig: syscall.SIGKILL,
	}
	if cgroup != nil {
		sys.UseCgroupFD, sys.CgroupFD = true, int(cgroup.Fd())
	}
	for _, ns := range namespaces {
		if set&ns.layer != 0 {
			sys.Cloneflags |= ns.flag
		}
	}
	uid, gid := os.Geteuid(), os.Getegid()
	if drop {
		uid, gid = nobody, nobody
		sys.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	if set&UserNamespace != 0 {
		sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: nobody, HostID: uid, Size: 1}}
		sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: nobody, HostID: gid, Size: 1}}
		sys.GidMappingsEnableSetgroups = drop
		caps = ^uint64(0) // a new user namespace's first process has them all in it
	}
	// What Enclose needs for an empty root, and gives up.
	if caps&(1<<unix.CAP_SYS_CHROOT) != 0 {
		sys.AmbientCaps = append(sys.AmbientCaps, unix.CAP_SYS_CHROOT)
	}
	if caps&(1<<unix.CAP_SYS_ADMIN) != 0 && set&MountNamespace != 0 {
		sys.AmbientCaps = append(sys.AmbientCaps, unix.CAP_SYS_ADMIN)
	}
	// The kernel is executed through the descriptor behind the last of the process's own;
	// Enclose closes it. /proc/self is then already the process's.
	files := append(spec.Files[:len(spec.Files):len(spec.Files)], spec.Kernel)
	path := "/proc/self/fd/" + strconv.Itoa(len(spec.Files))
	proc, err := os.StartProcess(path, []string{Name}, &os.ProcAttr{Files: files, Env: []string{}, Sys: sys})
	if err != nil {
		return nil, explain(err)
	}
	return proc, nil
}

// explain adds to a failed start what to do about it.
func explain(err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.ENOENT):
		hint = " (is /proc mounted?)"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		hint = " (every user must be able to execute pinhole's kernel)"
	case errors.Is(err, unix.EAGAIN):
		hint = " (the user's limit on processes is reached)"
	case errors.Is(err, unix.ENOEXEC):
		hint = " (pinhole's kernel is not a program for this machine)"
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err // the path is /proc/self/fd/..., which tells nobody anything
	}
	return fmt.Errorf("execute %s: %w%s", Name, err, hint)
}

// ownCapabilities returns the calling thread's permitted set.
func ownCapabilities() uint64 {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return 0
	}
	return uint64(data[1].Permitted)<<32 | uint64(data[0].Permitted)
}

// makeCgroup makes the cgroup that spec asks for, if the host lets it.
func (p *Process) makeCgroup(spec *Spec) error {
	if spec.Memory == 0 || spec.Without&ControlGroup != 0 {
		return nil
	}
	limits := []cgroupLimit{{"memory", "memory.limit_in_bytes", "memory.max", spec.Memory}}
	if spec.Tasks != 0 {
		limits = append(limits, cgroupLimit{"pids", "pids.max", "pids.max", spec.Tasks})
	}
	group, err := newCgroup(limits)
	if err != nil && !forbidden(err) {
		return err
	}
	p.group = group
	return nil
}

func (p *Process) removeCgroup() {
	if p.group != nil {
		p.group.remove()
	}
}

// Kill ends the process.
func (p *Process) Kill() error {
	err := p.proc.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Wait waits for the process's end and says how it came about.
func (p *Process) Wait() (*os.ProcessState, error) {
	<-p.done
	p.removeCgroup()
	return p.state, p.err
}

// Done is closed when the process has ended. [Process.Wait] is to be called all the same.
func (p *Process) Done() <-chan struct{} { return p.done }
