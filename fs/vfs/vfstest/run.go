package vfstest

import (
	"slices"
	"strconv"
	"testing"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// Options says what to test.
type Options struct {
	// New makes an empty file system with at least 64 MiB of room, whose root directory belongs
	// to root with mode 0755. It may have a directory lost+found. The test unmounts it;
	// checks of what is left on disk go in t.Cleanup.
	New func(t testing.TB) vfs.FileSystem
	// Without is what the file system does not have: "xattr", "holes", "seekhole",
	// "fallocate", "punch", "zero"; or "limit", if it does not get full within a gigabyte.
	Without []string
	// Skip names cases that do not fit the file system, with the reason; "differential" is all of those.
	Skip map[string]string
	// Remount unmounts a file system, of which no node is in use, and mounts it again. It may be nil.
	Remount func(t testing.TB, fs vfs.FileSystem) vfs.FileSystem
}

// Mount returns a process of root's on a new file system, which is unmounted at the end of the test.
func (o *Options) Mount(t testing.TB) (*vfs.Namespace, System) {
	ns := vfs.NewNamespace(o.New(t))
	t.Cleanup(func() {
		if e := ns.Close(); e != 0 {
			t.Errorf("unmount: %s", e.String())
		}
	})
	s := NewSystem(ns)
	if e := s.Rmdir("lost+found"); e != 0 && e != abi.ENOENT {
		t.Fatalf("rmdir lost+found: %s", e.String())
	}
	return ns, s
}

// Run runs the whole suite.
func Run(t *testing.T, o Options) {
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			if why := o.Skip[c.Name]; why != "" {
				t.Skip(why)
			}
			for _, f := range c.Needs {
				if slices.Contains(o.Without, f) {
					t.Skip("the file system has no " + f)
				}
			}
			_, root := o.Mount(t)
			c.Run(t, root)
		})
	}
	t.Run("differential", func(t *testing.T) {
		if why := o.Skip["differential"]; why != "" {
			t.Skip(why)
		}
		for seed := range uint64(4) {
			t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { o.differential(t, seed+1, 3000) })
		}
	})
}

// Case is one test of the suite: a script or a function.
type Case struct {
	Name  string
	Needs []string
	// Run does the test in an empty tree, as root, and closes s.
	Run func(t testing.TB, s System)
}

// Cases returns all tests but the differential ones.
func Cases() []Case {
	var list []Case
	for _, s := range Scripts() {
		list = append(list, Case{"script/" + s.Name, s.Needs(), func(t testing.TB, root System) {
			if err := s.Run(root); err != nil {
				t.Error(err)
			}
		}})
	}
	add := func(name string, run func(t testing.TB, s System), needs ...string) {
		list = append(list, Case{name, needs, func(t testing.TB, s System) {
			defer s.Close()
			run(t, s)
		}})
	}
	add("entries", func(t testing.TB, s System) { testManyEntries(t, s, 4000) })
	add("readdir/changes", testReadDirChanges)
	add("readdir/types", testReadDirTypes)
	add("content/random", func(t testing.TB, s System) {
		for seed := range uint64(3) {
			testContent(t, s, seed+1, 400)
		}
	})
	add("concurrent", func(t testing.TB, s System) { testConcurrent(t, s, 4, 1500) })
	add("full", testFull, "limit")
	return list
}

// differential compares the file system with memfs.
func (o *Options) differential(t *testing.T, seed uint64, steps int) {
	c := Comparison{
		A: func() (Instance, error) {
			return &mounted{fs: o.New(t), remount: func(fs vfs.FileSystem) (vfs.FileSystem, error) {
				if o.Remount == nil {
					return fs, nil
				}
				return o.Remount(t, fs), nil
			}}, nil
		},
		B:         NewModel(nil),
		Generator: NewTree(TreeOptions{Devices: true, Users: true, Remount: true}),
		Every:     400,
	}
	c.Run(t, seed, steps)
}
