package procfs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
	"pinhole/fs/memfs"
	"pinhole/fs/vfs"
)

// fakeKernel has processes 2 and 7, the latter of user 1000, with descriptors by number.
type fakeKernel struct {
	fds  map[int32][]int32
	ns   *vfs.Namespace
	name string
}

func (k *fakeKernel) Processes() []int32 { return []int32{2, 7} }

func (k *fakeKernel) Threads(pid int32) []int32 {
	switch pid {
	case 2:
		return []int32{2, 3, 4}
	case 7:
		return []int32{7}
	}
	return nil
}

func (k *fakeKernel) Owner(pid int32) (uid, gid uint32, ok bool) {
	if pid == 7 {
		return 1000, 100, true
	}
	return 0, 0, pid == 2
}

func (k *fakeKernel) Self(c *vfs.Context) int32 {
	pid, _ := c.Owner.(int32)
	return pid
}

func (k *fakeKernel) File(pid, tid int32, name string) ([]byte, abi.Errno) {
	return fmt.Appendf(nil, "%s of %d/%d", name, pid, tid), 0
}

func (k *fakeKernel) SetFile(pid, tid int32, name string, content []byte) abi.Errno {
	k.name = fmt.Sprintf("%s of %d/%d is %s", name, pid, tid, content)
	return 0
}

func (k *fakeKernel) Link(c *vfs.Context, pid int32, name string) (*vfs.Dentry, string, abi.Errno) {
	return k.ns.Root(), "to " + name, 0
}

func (k *fakeKernel) Descriptors(pid, from int32, n int) []int32 {
	var list []int32
	for _, fd := range k.fds[pid] {
		if fd >= from && len(list) < min(n, 2) {
			list = append(list, fd)
		}
	}
	return list
}

func (k *fakeKernel) Descriptor(pid, fd int32) (mode uint32, ok bool) {
	for _, f := range k.fds[pid] {
		if f == fd {
			return 0o400, true
		}
	}
	return 0, false
}

func newFake(t *testing.T) (*fakeKernel, *vfs.Namespace, *FS) {
	t.Helper()
	k := &fakeKernel{fds: map[int32][]int32{2: {0, 1, 2, 5, 1<<31 - 2}}}
	k.ns = vfs.NewNamespace(memfs.New(1 << 20))
	fs := New(k, vfs.Timespec{Sec: 1})
	if e := k.ns.Mount("/proc", fs); e != 0 {
		t.Fatal(e)
	}
	t.Cleanup(func() {
		if e := k.ns.Close(); e != 0 {
			t.Error(e)
		}
		if n := len(fs.nodes.nodes); n != 0 {
			t.Errorf("%d nodes are left", n)
		}
	})
	return k, k.ns, fs
}

// names lists a directory, step entries at a time.
func names(t *testing.T, ns *vfs.Namespace, path string, step int) []string {
	t.Helper()
	d, e := ns.Walk(&vfs.Context{Owner: int32(2)}, nil, path, 0)
	if e != 0 {
		t.Fatalf("%s: %v", path, e)
	}
	defer d.Unref()
	var list []string
	cookie := int64(0)
	for {
		n := 0
		if e := ns.ReadDir(d, cookie, func(e *vfs.DirEntry) bool {
			if n == step {
				return false
			}
			n++
			list = append(list, fmt.Sprintf("%s %d", e.Name, e.Type))
			cookie = e.Cookie
			return true
		}); e != 0 {
			t.Fatalf("%s: %v", path, e)
		}
		if n == 0 {
			return list
		}
	}
}

func TestReadDir(t *testing.T) {
	_, ns, _ := newFake(t)
	for path, want := range map[string]string{
		"/proc": ". 4,.. 4,self 10,mounts 10,cmdline 8,cpuinfo 8,filesystems 8,loadavg 8,meminfo 8,stat 8,uptime 8," +
			"version 8,sys 4,2 4,7 4",
		"/proc/self/task":   ". 4,.. 4,2 4,3 4,4 4",
		"/proc/self/fd":     ". 4,.. 4,0 10,1 10,2 10,5 10,2147483646 10",
		"/proc/2/fdinfo":    ". 4,.. 4,0 8,1 8,2 8,5 8,2147483646 8",
		"/proc/7/fd":        ". 4,.. 4",
		"/proc/sys/vm":      ". 4,.. 4,max_map_count 8,mmap_min_addr 8,overcommit_memory 8",
		"/proc/2/task/3/fd": ". 4,.. 4,0 10,1 10,2 10,5 10,2147483646 10",
	} {
		for _, step := range []int{1, 2, 3, 100} {
			if d := cmp.Diff(want, strings.Join(names(t, ns, path, step), ",")); d != "" {
				t.Errorf("%s by %d:\n%s", path, step, d)
			}
		}
	}
}

func TestLookup(t *testing.T) {
	_, ns, _ := newFake(t)
	root := &vfs.Context{Owner: int32(2)}
	other := &vfs.Context{Creds: vfs.Creds{UID: 1000}, Owner: int32(7)}
	for _, c := range []struct {
		c    *vfs.Context
		path string
		want string // mode, owner, or error
	}{
		{root, "/proc", "40555 0"},
		{root, "/proc/self", "40555 0"},
		{other, "/proc/self", "40555 1000"},
		{other, "/proc/self/environ", "100400 1000"},
		{root, "/proc/2/comm", "100644 0"},
		{root, "/proc/mounts", "100444 0"},
		{root, "/proc/3", "ENOENT"},
		{root, "/proc/02", "ENOENT"},
		{root, "/proc/+2", "ENOENT"},
		{root, "/proc/2x", "ENOENT"},
		{root, "/proc/99999999999999999999", "ENOENT"},
		{root, "/proc/-1", "ENOENT"},
		{root, "/proc/0", "ENOENT"},
		{root, "/proc/2/task/2/status", "100444 0"},
		{root, "/proc/2/task/7", "ENOENT"},
		{root, "/proc/2/task/2/task", "ENOENT"},
		{root, "/proc/2/fd/1", "40755 0"}, // where it leads
		{root, "/proc/2/fd/3", "ENOENT"},
		{root, "/proc/2/fdinfo/5", "100400 0"},
		{root, "/proc/sys/kernel/random/uuid", "100444 0"},
		{root, "/proc/uptime/x", "ENOTDIR"},
		{root, "/proc/self/cwd/proc/self/root", "40755 0"},
		{other, "/proc/2/cwd", "EACCES"},
		{other, "/proc/2/fd/1", "EACCES"},
		{&vfs.Context{}, "/proc/self", "ENOENT"},
	} {
		var a vfs.Attr
		got := ""
		if e := ns.Stat(c.c, nil, c.path, 0, &a); e != 0 {
			got = e.String()
		} else {
			got = fmt.Sprintf("%o %d", a.Mode, a.UID)
		}
		if got != c.want {
			t.Errorf("%s as %d: %s, want %s", c.path, c.c.UID, got, c.want)
		}
	}
	for path, want := range map[string]string{
		"/proc/self": "2", "/proc/mounts": "self/mounts", "/proc/2/fd/5": "to fd/5", "/proc/2/exe": "to exe",
	} {
		if got, e := ns.Readlink(root, nil, path); e != 0 || got != want {
			t.Errorf("%s leads to %q, %v; want %q", path, got, e, want)
		}
	}
}

type sink struct{ strings.Builder }

func (s *sink) Put(p []byte) (int, abi.Errno) {
	s.Write(p)
	return len(p), 0
}

type source struct{ *strings.Reader }

func (s source) Get(p []byte) (int, abi.Errno) {
	n, _ := s.Read(p)
	return n, 0
}

func TestContent(t *testing.T) {
	k, ns, _ := newFake(t)
	c := &vfs.Context{Owner: int32(2)}
	read := func(path string, off int64, n int) string {
		d, e := ns.Walk(c, nil, path, 0)
		if e != 0 {
			return e.String()
		}
		defer d.Unref()
		var s sink
		if _, e := d.Node().Read(off, n, &s); e != 0 {
			return e.String()
		}
		return s.String()
	}
	for _, r := range []struct {
		path string
		off  int64
		n    int
		want string
	}{
		{"/proc/uptime", 0, 100, "uptime of 0/0"},
		{"/proc/uptime", 3, 5, "ime o"},
		{"/proc/uptime", 1000, 5, ""},
		{"/proc/self/stat", 0, 100, "stat of 2/0"},
		{"/proc/self/task/3/stat", 0, 100, "stat of 2/3"},
		{"/proc/sys/kernel/random/uuid", 0, 100, "sys/kernel/random/uuid of 0/0"},
		{"/proc/2/fdinfo/5", 0, 100, "fdinfo/5 of 2/0"},
		{"/proc/2", 0, 100, "EISDIR"},
	} {
		if got := read(r.path, r.off, r.n); got != r.want {
			t.Errorf("%s from %d is %q, want %q", r.path, r.off, got, r.want)
		}
	}
	d, e := ns.Walk(c, nil, "/proc/2/task/4/comm", 0)
	if e != 0 {
		t.Fatal(e)
	}
	defer d.Unref()
	if n, end, e := d.Node().Write(vfs.AtEnd, 3, source{strings.NewReader("abc")}); n != 3 || end != 3 || e != 0 {
		t.Errorf("write: %d, %d, %v", n, end, e)
	}
	if k.name != "comm of 2/4 is abc" {
		t.Error(k.name)
	}
	same, _ := ns.Walk(c, nil, "/proc/2/task/4/comm", 0)
	defer same.Unref()
	if same.Node() != d.Node() {
		t.Error("two nodes for one file")
	}
}

// TestInodes checks that no two files have the same number.
func TestInodes(t *testing.T) {
	_, ns, _ := newFake(t)
	c := &vfs.Context{Owner: int32(2)}
	seen := map[uint64]string{}
	var walk func(path string)
	walk = func(path string) {
		for _, entry := range names(t, ns, path, 100) {
			name, typ, _ := strings.Cut(entry, " ")
			if name == "." || name == ".." {
				continue
			}
			var a vfs.Attr
			full := path + "/" + name
			if e := ns.Stat(c, nil, full, abi.AT_SYMLINK_NOFOLLOW, &a); e != 0 {
				t.Fatalf("%s: %v", full, e)
			}
			if other := seen[a.Ino]; other != "" {
				t.Errorf("%s and %s have the same inode number", full, other)
			}
			seen[a.Ino] = full
			if typ == "4" {
				walk(full)
			}
		}
	}
	walk("/proc")
}
