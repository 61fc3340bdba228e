package vfs_test

import (
	"testing"

	"pinhole/abi"
	"pinhole/fs/memfs"
	"pinhole/fs/vfs"
)

func newTree(t testing.TB) (*vfs.Namespace, *vfs.Context) {
	t.Helper()
	ns := vfs.NewNamespace(memfs.New(64 << 20))
	return ns, &vfs.Context{}
}

func mustOK(t testing.TB, e abi.Errno) {
	t.Helper()
	if e != 0 {
		t.Fatal(e)
	}
}

func benchTree(b *testing.B) (*vfs.Namespace, *vfs.Context) {
	ns, c := newTree(b)
	mustOK(b, ns.Mkdir(c, nil, "/usr", 0o755))
	mustOK(b, ns.Mkdir(c, nil, "/usr/share", 0o755))
	mustOK(b, ns.Mknod(c, nil, "/usr/share/file", 0o644, 0))
	c.UID = 1000
	return ns, c
}

func BenchmarkStat(b *testing.B) {
	ns, c := benchTree(b)
	a := new(vfs.Attr)
	b.ReportAllocs()
	for b.Loop() {
		if e := ns.Stat(c, nil, "/usr/share/file", 0, a); e != 0 {
			b.Fatal(e)
		}
	}
}

func BenchmarkStatMissing(b *testing.B) {
	ns, c := benchTree(b)
	a := new(vfs.Attr)
	b.ReportAllocs()
	for b.Loop() {
		if e := ns.Stat(c, nil, "/usr/share/missing", 0, a); e != abi.ENOENT {
			b.Fatal(e)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	ns, c := benchTree(b)
	b.ReportAllocs()
	for b.Loop() {
		d, _, e := ns.Open(c, nil, "/usr/share/file", abi.O_RDONLY, 0)
		if e != 0 {
			b.Fatal(e)
		}
		d.Unref()
	}
}

func BenchmarkCreateUnlink(b *testing.B) {
	ns, c := benchTree(b)
	c.UID = 0
	b.ReportAllocs()
	for b.Loop() {
		d, _, e := ns.Open(c, nil, "/usr/share/new", abi.O_CREAT|abi.O_RDWR, 0o644)
		if e != 0 {
			b.Fatal(e)
		}
		d.Unref()
		if e := ns.Unlink(c, nil, "/usr/share/new"); e != 0 {
			b.Fatal(e)
		}
	}
}

func BenchmarkRename(b *testing.B) {
	ns, c := benchTree(b)
	c.UID = 0
	b.ReportAllocs()
	names := [2]string{"/usr/share/file", "/usr/other"}
	for i := 0; b.Loop(); i++ {
		if e := ns.Rename(c, nil, names[i&1], nil, names[1-i&1], 0); e != 0 {
			b.Fatal(e)
		}
	}
}

// TestFastPath: what is cached is found without allocating.
func TestFastPath(t *testing.T) {
	ns, c := newTree(t)
	mustOK(t, ns.Mkdir(c, nil, "/usr", 0o755))
	mustOK(t, ns.Mkdir(c, nil, "/usr/share", 0o755))
	mustOK(t, ns.Mknod(c, nil, "/usr/share/file", 0o644, 0))
	mustOK(t, ns.Symlink(c, "usr/share/", nil, "/link"))
	a := new(vfs.Attr)
	for _, path := range []string{"/usr/share/file", "usr/share/missing", "/usr/../usr/./share", "/link/file"} {
		if n := testing.AllocsPerRun(100, func() { ns.Stat(c, nil, path, 0, a) }); n != 0 {
			t.Errorf("stat of %s: %v allocations", path, n)
		}
		if n := testing.AllocsPerRun(100, func() {
			if d, _, e := ns.Open(c, nil, path, abi.O_RDONLY, 0); e == 0 {
				d.Unref()
			}
		}); n != 0 {
			t.Errorf("open of %s: %v allocations", path, n)
		}
	}
}
