// Package overlay builds test binaries that can go behind the lock, as pinhole-kernel does.
package overlay

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"pinhole/shim/golang/host"
)

// TestBinary builds the tests of the package in the current directory with the overlay of the
// Go runtime, linked at the kernel's address, and returns the binary's path. The binary is removed with t.
func TestBinary(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("go env GOROOT: %v", err)
	}
	list, err := host.Generate(string(bytes.TrimSpace(goroot)), filepath.Join(dir, "overlay"))
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "locked.test")
	build := exec.Command("go", "test", "-c", "-overlay", list, "-ldflags", "-T 0x60001000", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	return bin
}
