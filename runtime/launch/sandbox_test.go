package launch

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"pinhole/runtime/seccomp"
)

// report is what a sandbox process tells of itself, through the control pipe.
type report struct {
	Layers  Layers
	Err     string
	Args    []string
	Environ []string
	Host    string
	IDs     []int
	Acts    map[string]string // what it tried and what came of it; "" is success
	Sealed  map[string]string // the same after Seal
}

func sandbox() {
	control := os.NewFile(seccomp.ControlIn, "control in")
	status := os.NewFile(seccomp.ControlOut, "control out")
	var in struct {
		Enclosure
		Supervisor int64 // its process number as the host sees it
	}
	if err := binary.Read(control, binary.LittleEndian, &in); err != nil {
		os.Exit(9)
	}
	supervisorPid = int(in.Supervisor)
	var r report
	layers, err := Enclose(in.Enclosure)
	r.Layers = layers
	if err != nil {
		r.Err = err.Error()
	} else {
		r.Args, r.Environ = os.Args, os.Environ()
		r.Host, _ = os.Hostname()
		r.IDs = []int{os.Getpid(), os.Getppid(), os.Getuid(), os.Getgid()}
		groups, _ := os.Getgroups()
		r.IDs = append(r.IDs, groups...)
		r.Acts = try(acts)
		if err := Seal(in.Limits); err != nil {
			r.Err = err.Error()
		}
		r.Sealed = try(sealedActs)
	}
	json.NewEncoder(status).Encode(r)
	io.Copy(io.Discard, control) // until the supervisor lets go
	os.Exit(7)
}

type act struct {
	name string
	do   func() error
}

func try(acts []act) map[string]string {
	out := map[string]string{}
	for _, a := range acts {
		out[a.name] = ""
		if err := a.do(); err != nil {
			out[a.name] = errno(err)
		}
	}
	return out
}

func errno(err error) string {
	var e syscall.Errno
	if errors.As(err, &e) {
		return unix.ErrnoName(e)
	}
	return err.Error()
}

func open(path string, flags int) func() error {
	return func() error {
		fd, err := unix.Open(path, flags, 0o600)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
}

var acts = []act{
	{"open /", open("/", unix.O_RDONLY|unix.O_DIRECTORY)},
	{"open .", open(".", unix.O_RDONLY|unix.O_DIRECTORY)},
	{"open ..", open("..", unix.O_RDONLY|unix.O_DIRECTORY)},
	{"open /etc/passwd", open("/etc/passwd", unix.O_RDONLY)},
	{"open /proc/self/status", open("/proc/self/status", unix.O_RDONLY)},
	{"create", open("x", unix.O_RDWR|unix.O_CREAT)},
	{"mkdir", func() error { return unix.Mkdir("x", 0o700) }},
	{"reopen image", open("/proc/self/fd/8", unix.O_RDWR)},
	{"chroot", func() error { return unix.Chroot("/") }},
	{"mount", func() error { return unix.Mount("none", "/", "tmpfs", 0, "") }},
	{"user namespace", func() error {
		_, err := os.StartProcess("/", nil, &os.ProcAttr{Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}})
		return err
	}},
	{"mount namespace", func() error { return unix.Unshare(unix.CLONE_NEWNS) }},
	{"setuid 0", func() error { return unix.Setuid(0) }},
	{"signal the supervisor", func() error { return unix.Kill(supervisorPid, 0) }},
	{"trace the supervisor", func() error { return unix.PtraceAttach(supervisorPid) }},
	{"connect to TCP", func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Connect(fd, &unix.SockaddrInet4{Port: 22, Addr: [4]byte{127, 0, 0, 1}})
	}},
	{"send UDP", func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Connect(fd, &unix.SockaddrInet4{Port: 53, Addr: [4]byte{127, 0, 0, 1}})
	}},
	{"descriptor 11", func() error { _, err := unix.FcntlInt(11, unix.F_GETFD, 0); return err }},
	{"write to the image", func() error { _, err := unix.Pwrite(seccomp.Image, []byte{0}, 0); return err }},
	{"resize the memory", func() error { return unix.Ftruncate(seccomp.RAM, 0) }},
}

var sealedActs = []act{
	{"duplicate a descriptor", func() error { _, err := unix.Dup(0); return err }},
	{"lock memory", func() error { return unix.Mlock(make([]byte, 4096)) }},
	{"much data", func() error {
		_, err := unix.Mmap(-1, 0, 1<<40, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		return err
	}},
	{"much address space", func() error {
		_, err := unix.Mmap(-1, 0, 1<<45, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		return err
	}},
	{"raise a limit", func() error { return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: 64}) }},
}

var supervisorPid int

// session is a sandbox process and the supervisor's ends of its descriptors.
type session struct {
	*Process
	control, status *os.File
	files           [seccomp.Descriptors]*os.File
}

func (s *session) end() {
	s.control.Close()
	s.Wait()
	s.status.Close()
}

// begin starts a sandbox process with descriptors as they should be.
func begin(spec Spec) (*session, error) {
	s := &session{}
	var err error
	if spec.Kernel == nil {
		if spec.Kernel, err = os.Open("/proc/self/exe"); err != nil {
			return nil, err
		}
		defer spec.Kernel.Close()
	}
	if s.files, s.control, s.status, err = goodFiles(); err != nil {
		return nil, err
	}
	defer func() {
		for _, f := range s.files {
			f.Close()
		}
	}()
	spec.Files = s.files
	s.Process, err = Start(spec)
	return s, err
}

func goodFiles() (files [seccomp.Descriptors]*os.File, control, status *os.File, err error) {
	must := func(f *os.File, e error) *os.File {
		if e != nil && err == nil {
			err = e
		}
		return f
	}
	pipe := func() (r, w *os.File) {
		r, w, e := os.Pipe()
		must(r, e)
		return r, w
	}
	memfd := func(name string) *os.File {
		fd, e := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		must(nil, e)
		unix.Ftruncate(fd, 1<<20)
		unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, sizeSealed)
		return os.NewFile(uintptr(fd), name)
	}
	eventfd := func() *os.File {
		fd, e := unix.Eventfd(0, unix.EFD_CLOEXEC)
		return must(os.NewFile(uintptr(fd), "eventfd"), e)
	}
	files[0], _ = pipe()
	_, files[1] = pipe()
	_, files[2] = pipe()
	files[3], control = pipe()
	status, files[4] = pipe()
	files[5], files[6] = eventfd(), eventfd()
	files[7] = must(os.Open("/dev/urandom"))
	image := must(os.CreateTemp("", "image"))
	files[8] = must(os.Open(image.Name()))
	os.Remove(image.Name())
	image.Close()
	files[9], files[10] = memfd("ram"), memfd("ring")
	return files, control, status, err
}

// enclose makes the sandbox process go through Enclose and Seal and returns its report.
func (s *session) enclose(require Layers) (report, error) {
	e := Enclosure{Started: s.Layers, Require: require, Limits: Limits{AddressSpace: 1 << 43, Data: 1 << 34, CPUSeconds: 1000}}
	err := errors.Join(binary.Write(s.control, binary.LittleEndian, e), binary.Write(s.control, binary.LittleEndian, int64(os.Getpid())))
	if err != nil {
		return report{}, err
	}
	var r report
	err = json.NewDecoder(s.status).Decode(&r)
	return r, err
}
