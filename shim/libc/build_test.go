package libc

import (
	"os"
	"path/filepath"
	"testing"
)

// TestBuild builds the library where the tree's sysroot is kept, which costs nothing when it is
// up to date.
func TestBuild(t *testing.T) {
	if os.Getenv("PINHOLE_TEST_BUILD") == "" {
		t.Skip("set PINHOLE_TEST_BUILD=1 to fetch and build the C library")
	}
	root := filepath.Join("..", "..", "build")
	err := Build(t.Context(), Options{
		Work: filepath.Join(root, "work"), Sysroot: filepath.Join(root, "sysroot"),
		Progress: func(what string, done, total int) {
			if total == 0 || done%200 == 0 || done == total {
				t.Logf("%s %d/%d", what, done, total)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}
