package emu

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
)

// content reads a whole file.
func (w *ioWorld) content(path string) string {
	w.Helper()
	fd := w.open(path, abi.O_RDONLY)
	defer w.fdClose(fd)
	var b strings.Builder
	for {
		p, a := w.mem.alloc(1000)
		n := w.ok(w.fileRead(fd, a, 1000))
		if n == 0 {
			return b.String()
		}
		b.Write(p[:n])
	}
}

// list returns the names in a directory, in order.
func (w *ioWorld) list(path string) []string {
	w.Helper()
	fd := w.open(path, abi.O_RDONLY|abi.O_DIRECTORY)
	defer w.fdClose(fd)
	var list []string
	for {
		p, a := w.mem.alloc(300)
		n := w.ok(w.dirRead(fd, a, 300))
		if n == 0 {
			return list
		}
		for p = p[:n]; len(p) > 0; {
			var d abi.Dirent
			p = p[d.Decode(p):]
			list = append(list, string(d.Name))
		}
	}
}

func (w *ioWorld) readlink(path string) string {
	w.Helper()
	p, a := w.mem.alloc(4096)
	return string(p[:w.ok(w.pathReadlink(abi.AT_FDCWD, w.mem.str(path), a, 4096))])
}

func TestProcInfo(t *testing.T) {
	w := newIOWorld(t, Config{Hostname: "somewhere"})
	args, env := w.mem.str("a\x00b"), w.mem.str("X=1")
	w.proc.shown.Store(&shownProgram{args: args, argsEnd: args + 4, env: env, envEnd: env + 4})
	w.ok(w.pathMkdir(abi.AT_FDCWD, w.mem.str("/dir"), 0o755))
	w.ok(w.procChdir(w.mem.str("/dir")))
	fd := w.open("file", abi.O_CREAT|abi.O_RDWR|abi.O_APPEND)
	w.ok(w.fileWrite(fd, w.mem.bytes("abc"), 3))
	w.open("file", abi.O_WRONLY|abi.O_CLOEXEC)
	r, _ := w.pipe(0)

	if got := w.readlink("/proc/self"); got != "2" {
		t.Errorf("self is %q", got)
	}
	want := []string{".", "..", "0", "1", "2", "3", "4", "5", "6", "7"}
	if d := cmp.Diff(want, w.list("/proc/self/fd")); d != "" {
		t.Errorf("fd:\n%s", d)
	}
	if d := cmp.Diff(want, w.list("/proc/2/fdinfo")); d != "" {
		t.Errorf("fdinfo:\n%s", d)
	}
	for path, want := range map[string]string{
		"/proc/self/cmdline":              "a\x00b\x00",
		"/proc/self/environ":              "X=1\x00",
		"/proc/self/comm":                 "test\n",
		"/proc/2/task/2/comm":             "test\n",
		"/proc/self/cgroup":               "0::/\n",
		"/proc/sys/kernel/hostname":       "somewhere\n",
		"/proc/sys/kernel/ostype":         "Linux\n",
		"/proc/sys/kernel/pid_max":        "4194304\n",
		"/proc/sys/vm/overcommit_memory":  "0\n",
		"/proc/mounts":                    "tmpfs / tmpfs rw,relatime 0 0\n",
		fmt.Sprint("/proc/2/fdinfo/", fd): "pos:\t3\nflags:\t0102002\nmnt_id:\t20\nino:\t" + fmt.Sprint(w.inode("file")) + "\n",
	} {
		got := w.content(path)
		if path == "/proc/mounts" {
			got = got[:strings.IndexByte(got, '\n')+1]
		}
		if got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	for path, want := range map[string]string{
		"/proc/self/cwd":               "/dir",
		"/proc/self/root":              "/",
		fmt.Sprint("/proc/2/fd/", fd):  "/dir/file",
		fmt.Sprint("/dev/fd/", r):      fmt.Sprintf("pipe:[%d]", w.inodeOf(r)),
		"/dev/stdin":                   "/proc/self/fd/0",
		"/proc/self/fd/../../self/cwd": "/dir",
	} {
		if got := w.readlink(path); got != want {
			t.Errorf("%s leads to %q, want %q", path, got, want)
		}
	}
	for path, part := range map[string]string{
		"/proc/self/status":    "Name:\ttest\nUmask:\t0022\nState:\tR (running)\nTgid:\t2\n",
		"/proc/self/stat":      "2 (test) R 0 0 0 0 -1 0 ",
		"/proc/self/limits":    "Max open files            1024                 unlimited            files",
		"/proc/self/mountinfo": " / /proc rw,relatime - proc proc rw\n",
		"/proc/meminfo":        "MemTotal:        1048576 kB\n",
		"/proc/cpuinfo":        "processor\t: 1\n",
		"/proc/stat":           "cpu0 ",
		"/proc/version":        "Linux version ",
		"/proc/filesystems":    "ext4",
		"/proc/loadavg":        "0.00 0.00 0.00 1/1 ",
		"/proc/uptime":         ".",
		"/proc/self/statm":     " 0 0 0 ",
	} {
		if got := w.content(path); !strings.Contains(got, part) {
			t.Errorf("%s lacks %q:\n%s", path, part, got)
		}
	}
	if got := strings.Fields(w.content("/proc/self/stat")); len(got) != 52 {
		t.Errorf("/proc/self/stat has %d fields, want 52", len(got))
	}
	if a, b := w.content("/proc/sys/kernel/random/uuid"), w.content("/proc/sys/kernel/random/uuid"); a == b || len(a) != 37 {
		t.Errorf("uuids %q, %q", a, b)
	}
	if a, b := w.content("/proc/sys/kernel/random/boot_id"), w.content("/proc/sys/kernel/random/boot_id"); a != b || len(a) != 37 {
		t.Errorf("boot ids %q, %q", a, b)
	}

	comm := w.open("/proc/self/comm", abi.O_WRONLY|abi.O_TRUNC)
	w.ok(w.fileWrite(comm, w.mem.bytes("a name that is too long"), 23))
	if got := w.content("/proc/2/comm"); got != "a name that is \n" {
		t.Errorf("name is %q", got)
	}
	w.fails(abi.EACCES)(w.pathOpen(abi.AT_FDCWD, w.mem.str("/proc/self/fd/0"), abi.O_WRONLY, 0))
	w.fails(abi.ENOENT)(w.pathOpen(abi.AT_FDCWD, w.mem.str("/proc/99/comm"), abi.O_RDONLY, 0))
	w.fails(abi.ENOENT)(w.pathOpen(abi.AT_FDCWD, w.mem.str("/proc/02/comm"), abi.O_RDONLY, 0))
}

func (w *ioWorld) inode(path string) uint64 {
	w.Helper()
	_, a := w.mem.alloc(abi.StatSize)
	w.ok(w.pathStat(abi.AT_FDCWD, w.mem.str(path), a, 0))
	return w.attr.Ino
}

func (w *ioWorld) inodeOf(fd int32) uint64 {
	w.Helper()
	_, a := w.mem.alloc(abi.StatSize)
	w.ok(w.fileStat(fd, a))
	return w.attr.Ino
}

// TestProcOther looks at a process from another, of the same user and of another one.
func TestProcOther(t *testing.T) {
	w := newIOWorld(t, Config{})
	fd := w.open("file", abi.O_CREAT|abi.O_RDWR)
	w.ok(w.fileWrite(fd, w.mem.bytes("abc"), 3))
	o := w.process()
	path := fmt.Sprintf("/proc/2/fd/%d", fd)
	if got := o.content(path); got != "abc" {
		t.Errorf("content is %q", got)
	}
	if got := o.list("/proc"); !strings.HasSuffix(strings.Join(got, " "), " 2 3") {
		t.Errorf("processes: %v", got)
	}
	fs := *o.proc.fs()
	fs.UID = 1000
	o.proc.fsctx.Store(&fs)
	o.fails(abi.EACCES)(o.pathOpen(abi.AT_FDCWD, o.mem.str(path), abi.O_RDONLY, 0))
	o.fails(abi.EACCES)(o.pathOpen(abi.AT_FDCWD, o.mem.str("/proc/2/environ"), abi.O_RDONLY, 0))
	_, buf := o.mem.alloc(100)
	o.fails(abi.EACCES)(o.pathReadlink(abi.AT_FDCWD, o.mem.str("/proc/2/cwd"), buf, 100))
	if got := o.content("/proc/2/comm"); got != "test\n" {
		t.Errorf("name is %q", got)
	}
}

// TestDescriptorOfItself: what /proc tells of a descriptor can be read by that descriptor, which is busy then, and by
// two that tell of each other at the same time.
func TestDescriptorOfItself(t *testing.T) {
	w := newIOWorld(t, Config{})
	a, b := w.open("a", abi.O_CREAT|abi.O_RDWR), w.open("b", abi.O_CREAT|abi.O_RDWR)
	of := func(fd int32) int32 { return w.open(fmt.Sprint("/proc/self/fdinfo/", fd), abi.O_RDONLY) }
	ofA, ofB := of(a), of(b)
	w.ok(w.fdDup2(ofA, b))
	w.ok(w.fdDup2(ofB, a))
	done := make(chan bool)
	for _, fd := range []int32{a, b} {
		o := w.thread()
		go func() {
			for range 2000 {
				p, at := o.mem.alloc(256)
				o.ok(o.fileSeek(fd, 0, abi.SEEK_SET))
				if n := o.ok(o.fileRead(fd, at, 256)); !strings.HasPrefix(string(p[:n]), "pos:\t") {
					t.Errorf("read %q", p[:n])
				}
			}
			done <- true
		}()
	}
	o := w.thread()
	go func() {
		w, own := o, o.open("a", abi.O_RDWR)
		o.ok(o.fdDup2(int32(w.open(fmt.Sprint("/proc/self/fdinfo/", own), abi.O_RDONLY)), own))
		p, at := o.mem.alloc(256)
		if n := o.ok(o.fileRead(own, at, 256)); !strings.HasPrefix(string(p[:n]), "pos:\t0\n") {
			t.Errorf("read %q", p[:n])
		}
		done <- true
	}()
	for range 3 {
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("a read does not return")
		}
	}
}
