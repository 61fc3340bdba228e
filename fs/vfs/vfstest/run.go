package vfstest

import (
	"slices"
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
	// "fallocate", "punch", "zero".
	Without []string
	// Remount unmounts a file system and mounts it again. It may be nil.
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
	t.Run("script", func(t *testing.T) {
		for _, s := range Scripts() {
			t.Run(s.Name, func(t *testing.T) {
				for _, f := range s.Needs() {
					if slices.Contains(o.Without, f) {
						t.Skip("the file system has no " + f)
					}
				}
				_, root := o.Mount(t)
				if err := s.Run(root); err != nil {
					t.Error(err)
				}
			})
		}
	})
}
