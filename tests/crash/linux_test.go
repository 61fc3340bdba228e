package crash

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"pinhole/abi"
	"pinhole/blockdev/faultdev"
	"pinhole/tests/harness"
)

// hostRunner does operations on a file system that the host has mounted.
type hostRunner struct {
	dir     string
	handles map[string]int // descriptors
}

func (h *hostRunner) path(p string) string { return filepath.Join(h.dir, p) }

// open opens what a path or handle leads to. The descriptor is closed by done.
func (h *hostRunner) open(p string, flags int) (fd int, done func(), err error) {
	if strings.HasPrefix(p, "@") {
		fd, ok := h.handles[p]
		if !ok {
			return -1, nil, unix.EBADF
		}
		return fd, func() {}, nil
	}
	fd, err = unix.Open(h.path(p), flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	return fd, func() { unix.Close(fd) }, err
}

// do is runner.do on the host.
func (h *hostRunner) do(r *runner, nr int, o op) outcome {
	out, err := h.try(r, nr, o)
	var e syscall.Errno
	if err != nil && !errors.As(err, &e) {
		panic(err)
	}
	out.errno = abi.Errno(e)
	return out
}

func (h *hostRunner) try(r *runner, nr int, o op) (out outcome, err error) {
	switch o.name {
	case "creat", "mkdir", "mkfifo", "mknod", "symlink":
		to := h.path(o.to)
		switch o.name {
		case "mkdir":
			err = unix.Mkdir(to, modeOf(o)&0o7777)
		case "symlink":
			err = unix.Symlink(o.path, to)
		default:
			err = unix.Mknod(to, modeOf(o), unixRdev(o))
		}
		if err != nil {
			return out, err
		}
		var st unix.Stat_t
		err = unix.Lstat(to, &st)
		out.ino = st.Ino
		return out, err
	case "tmpfile":
		fd, err := unix.Open(h.path(o.path), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, modeOf(o)&0o7777)
		if err != nil {
			return out, err
		}
		h.handles[o.to] = fd
		var st unix.Stat_t
		err = unix.Fstat(fd, &st)
		out.ino = st.Ino
		return out, err
	case "open":
		h.handles[o.to], err = unix.Open(h.path(o.path), unix.O_RDWR|unix.O_CLOEXEC, 0)
		return out, err
	case "close":
		err = unix.Close(h.handles[o.path])
		delete(h.handles, o.path)
		return out, err
	case "link":
		if fd, ok := h.handles[o.path]; ok {
			return out, unix.Linkat(fd, "", unix.AT_FDCWD, h.path(o.to), unix.AT_EMPTY_PATH)
		}
		return out, unix.Linkat(unix.AT_FDCWD, h.path(o.path), unix.AT_FDCWD, h.path(o.to), 0)
	case "unlink":
		return out, unix.Unlink(h.path(o.path))
	case "rmdir":
		return out, unix.Rmdir(h.path(o.path))
	case "rename":
		flags := map[string]uint{"": 0, "noreplace": unix.RENAME_NOREPLACE, "exchange": unix.RENAME_EXCHANGE}[o.flag]
		return out, unix.Renameat2(unix.AT_FDCWD, h.path(o.path), unix.AT_FDCWD, h.path(o.to), flags)
	case "chmod":
		return out, unix.Chmod(h.path(o.path), uint32(o.off))
	case "chown":
		return out, unix.Lchown(h.path(o.path), int(o.off), int(o.n))
	case "utimes":
		ts := []unix.Timespec{{Sec: o.off}, {Sec: o.off}}
		return out, unix.UtimesNanoAt(unix.AT_FDCWD, h.path(o.path), ts, unix.AT_SYMLINK_NOFOLLOW)
	case "setxattr":
		return out, unix.Lsetxattr(h.path(o.path), o.to, xattrValue(o.to, nr, o.n), 0)
	case "rmxattr":
		return out, unix.Lremovexattr(h.path(o.path), o.to)
	case "sync":
		fd, err := unix.Open(h.dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return out, err
		}
		defer unix.Close(fd)
		return out, unix.Syncfs(fd)
	case "fsync", "fdatasync":
		fd, done, err := h.open(o.path, unix.O_RDONLY|unix.O_NONBLOCK)
		if err != nil {
			return out, err
		}
		defer done()
		if o.name == "fsync" {
			return out, unix.Fsync(fd)
		}
		return out, unix.Fdatasync(fd)
	}
	fd, done, err := h.open(o.path, unix.O_RDWR)
	if err != nil {
		return out, err
	}
	defer done()
	f := r.model.find(o.path)
	switch o.name {
	case "truncate":
		err = unix.Ftruncate(fd, o.off)
	case "write", "append":
		off := o.off
		if o.name == "append" {
			off = f.size
		}
		p := make([]byte, o.n)
		fill(p, f.tag, uint32(nr)+1, off)
		var n int
		n, err = unix.Pwrite(fd, p, off)
		out.n = int64(max(n, 0))
	case "mmap":
		err = hostStore(fd, nr, o, f)
	case "falloc", "punch", "zero":
		mode := map[string]uint32{"falloc": 0, "punch": unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, "zero": unix.FALLOC_FL_ZERO_RANGE}[o.name]
		if o.flag == "keep" {
			mode |= unix.FALLOC_FL_KEEP_SIZE
		}
		err = unix.Fallocate(fd, mode, o.off, o.n)
	default:
		panic("operation " + o.name)
	}
	return out, err
}

func unixRdev(o op) int {
	if o.name == "mknod" {
		return testRdev
	}
	return 0
}

func hostStore(fd, nr int, o op, f *object) error {
	const page = 4096
	first, end := o.off/page*page, min(o.off+o.n, f.size)
	m, err := unix.Mmap(fd, first, int(end-first), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	fill(m[o.off-first:end-first], f.tag, uint32(nr)+1, o.off)
	return unix.Munmap(m)
}

func (h *hostRunner) close() {
	for _, fd := range h.handles {
		unix.Close(fd)
	}
}

// onHost mounts the image at path for f.
func onHost(t testing.TB, path string, f func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop,noatime", path, dir).CombinedOutput(); err != nil {
		if noLoop(out) {
			t.Skipf("the host does not mount images: %s", out)
		}
		t.Fatalf("mount: %v\n%s", err, out)
	}
	defer func() {
		if err := harness.Unmount(dir); err != nil {
			t.Error(err)
		}
	}()
	f(dir)
}

// TestLinux has the host's ext4 do workloads, and our file system recover. It shows that the rules by
// which our own are judged are those of ext4, and that we recover what Linux leaves behind.
func TestLinux(t *testing.T) {
	needJournal(t)
	counted(t)
	for _, w := range linuxWorkloads() {
		if *onlyWorkload != "" && *onlyWorkload != w.name {
			continue
		}
		w.runOnHost(t)
	}
}

func linuxWorkloads() []*workload {
	var all []*workload
	for i, s := range seqSteps {
		ps := s.persist()
		for k, p := range ps {
			if !long && k != i%len(ps) {
				continue
			}
			disk := []string{"1k", "4k", "list", "nocsum"}[(i+k)%4]
			all = append(all, &workload{
				name: "linux " + disk + ": " + s.text + p, disk: disk, setup: smallTree,
				threads: [][]op{parseScript(s.text + p)}, all: 6, perWindow: choose(6, 20),
			})
		}
	}
	return sampled(all, choose(12, 0))
}

func (w *workload) runOnHost(t *testing.T) {
	t.Helper()
	count.workloads.Add(1)
	dir := t.TempDir()
	img := filepath.Join(dir, "image")
	if err := os.WriteFile(img, emptyDisk(t, w.disk), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount")
	}
	disk := &prepared{blockSize: disks[w.disk].blockSize}
	var err error
	onHost(t, img, func(dir string) {
		if disk.empty, err = observeHost(dir); err != nil {
			t.Fatal(err)
		}
		h := &hostRunner{dir: dir, handles: map[string]int{}}
		defer h.close()
		r := &runner{model: newModel(disk.empty), clock: new(atomic.Int64), events: func() int { return 0 }, host: h}
		for _, o := range parseScript(w.setup) {
			if s := r.run(o); s.errno != 0 {
				t.Fatalf("%v: %v", o, s.errno)
			}
		}
		disk.log = r.log
	})
	if disk.mem, err = os.ReadFile(img); err != nil {
		t.Fatal(err)
	}
	disk.base = faultdev.NewImage(disk.mem)
	rec := &record{disk: disk, oracle: &oracle{setup: len(disk.log), blockSize: disk.blockSize, known: layouts{}, zeros: true}}
	recorder := newRecorder(t, disk.mem)
	onHost(t, recorder.image, func(dir string) {
		h := &hostRunner{dir: dir, handles: map[string]int{}}
		defer h.close()
		r := &runner{model: disk.model(), clock: new(atomic.Int64), events: recorder.events, host: h, start: disk.model}
		rec.oracle.threads = []*runner{r}
		for _, o := range append(w.threads[0], op{name: "sync"}) {
			if s := r.run(o); s.errno != 0 {
				t.Logf("%s: %v: %v", w.name, o, s.errno)
			}
		}
	})
	rec.events = recorder.stop(t)
	l := newLooker(t)
	defer l.close()
	failures := 0
	for s := range w.crashes(rec).States() {
		if *onlyState != "" && s.ID != *onlyState {
			continue
		}
		dumpImage(t, s.Image, *dump)
		if err := l.check(rec, s); err != nil {
			w.fail(t, rec, s.ID, err)
			if failures++; failures == 3 {
				break
			}
		}
	}
}
