package vfstest_test

import (
	"os"
	"testing"

	"pinhole/fs/memfs"
	"pinhole/fs/vfs"
	"pinhole/fs/vfs/vfstest"
	"pinhole/tests/harness/hostfs"
)

// TestNative proves the suite against the host's own file system and calls.
func TestNative(t *testing.T) {
	for _, c := range vfstest.Cases() {
		if c.Name == "full" {
			continue // the host's disk is not ours to fill
		}
		t.Run(c.Name, func(t *testing.T) { c.Run(t, native(t)) })
	}
}

func TestMemfs(t *testing.T) {
	vfstest.Run(t, vfstest.Options{New: func(testing.TB) vfs.FileSystem { return memfs.New(256 << 20) }})
}

// native is a directory of the host's as a system.
func native(t *testing.T) vfstest.System {
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	return hostfs.New(t, root)
}
