package devfs

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
	"pinhole/fs/memfs"
	"pinhole/fs/vfs"
)

func TestDevices(t *testing.T) {
	ns := vfs.NewNamespace(memfs.New(1 << 20))
	if e := ns.Mount("/dev", New()); e != 0 {
		t.Fatal(e)
	}
	if e := ns.Mount("/dev/shm", memfs.New(1<<20)); e != 0 {
		t.Fatal(e)
	}
	type node struct {
		mode uint32
		rdev uint64
		link string
	}
	want := map[string]node{
		"/dev/null":    {abi.S_IFCHR | 0o666, 0x103, ""},
		"/dev/zero":    {abi.S_IFCHR | 0o666, 0x105, ""},
		"/dev/full":    {abi.S_IFCHR | 0o666, 0x107, ""},
		"/dev/random":  {abi.S_IFCHR | 0o666, 0x108, ""},
		"/dev/urandom": {abi.S_IFCHR | 0o666, 0x109, ""},
		"/dev/tty":     {abi.S_IFCHR | 0o666, 0x500, ""},
		"/dev/fd":      {abi.S_IFLNK | 0o777, 0, "/proc/self/fd"},
		"/dev/stdin":   {abi.S_IFLNK | 0o777, 0, "/proc/self/fd/0"},
		"/dev/stdout":  {abi.S_IFLNK | 0o777, 0, "/proc/self/fd/1"},
		"/dev/stderr":  {abi.S_IFLNK | 0o777, 0, "/proc/self/fd/2"},
	}
	got := map[string]node{}
	c := &vfs.Context{}
	for path := range want {
		var a vfs.Attr
		if e := ns.Stat(c, nil, path, abi.AT_SYMLINK_NOFOLLOW, &a); e != 0 {
			t.Fatalf("%s: %v", path, e)
		}
		n := node{mode: a.Mode, rdev: a.Rdev}
		if a.Mode&abi.S_IFMT == abi.S_IFLNK {
			n.link, _ = ns.Readlink(c, nil, path)
		}
		got[path] = n
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(node{})); d != "" {
		t.Error(d)
	}
	if e := ns.Mkdir(c, nil, "/dev/shm/x", 0o700); e != 0 {
		t.Errorf("mkdir in /dev/shm: %v", e)
	}
	if e := ns.Stat(c, nil, "/dev/pts", 0, new(vfs.Attr)); e != abi.ENOENT {
		t.Errorf("/dev/pts: %v, want ENOENT", e)
	}
}
