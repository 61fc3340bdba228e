// Package overlay builds test binaries that can go behind the lock, as pinhole-kernel does.
package overlay

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pinhole/shim/golang/host"
	"pinhole/tests/harness"
)

// Edit spoils a file of the overlay, for tests of tests.
type Edit struct {
	File     string // path below GOROOT/src
	Old, New string // Old is in the overlay's file once
}

// TestBinary builds the tests of the package in the current directory as pinhole-kernel is built, and
// returns the binary's path. The binary is removed with t.
func TestBinary(t testing.TB, edits ...Edit) string {
	t.Helper()
	dir := t.TempDir()
	list, err := host.Generate(harness.GOROOT(t), filepath.Join(dir, "overlay"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edits {
		path := filepath.Join(dir, "overlay", strings.ReplaceAll(e.File, "/", "!"))
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), e.Old); n != 1 {
			t.Fatalf("the overlay's %s has %q %d times, want once", e.File, e.Old, n)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), e.Old, e.New, 1)), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(dir, "locked.test")
	build := exec.Command("go", append([]string{"test", "-c", "-o", bin}, host.Arguments(list, "")...)...)
	build.Env = append(os.Environ(), host.Environment...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	return bin
}
