package vfstest

import (
	"slices"
	"testing"

	"pinhole/fs/memfs"
	"pinhole/fs/vfs"
)

// TestNative proves the scripts against the host's own file system and calls.
func TestNative(t *testing.T) {
	for _, s := range Scripts() {
		t.Run(s.Name, func(t *testing.T) {
			if slices.Contains(s.Needs(), "root") {
				t.Skip("a directory of the host is not a root")
			}
			if err := s.Run(newNative(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMemfs(t *testing.T) {
	Run(t, Options{New: func(testing.TB) vfs.FileSystem { return memfs.New(256 << 20) }})
}
