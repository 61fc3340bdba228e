package libc

import (
	"path/filepath"
	"testing"

	"pinhole/shim/apps"
	"pinhole/shim/nosyscall"
	"pinhole/tests/harness"
)

// TestNoSystemCallInstructions: neither the C library nor a program linked with it can enter a
// host kernel by itself.
func TestNoSystemCallInstructions(t *testing.T) {
	harness.Tool(t, "objdump", "binutils")
	lib := filepath.Join(harness.Sysroot(t), "lib")
	for _, name := range []string{"libc.a", "crt1.o", "rcrt1.o", "crti.o", "crtn.o"} {
		sites, err := nosyscall.Archive(t.Context(), filepath.Join(lib, name))
		if err != nil {
			t.Fatal(err)
		}
		if len(sites) > 0 {
			t.Errorf("%s:\n%s", name, nosyscall.List(sites))
		}
	}
	for _, name := range apps.Programs() {
		guest, _ := app(t, name)
		sites, err := nosyscall.Program(t.Context(), guest)
		if err != nil {
			t.Fatal(err)
		}
		if len(sites) > 0 {
			t.Errorf("%s:\n%s", name, nosyscall.List(sites))
		}
	}
	// The look itself finds what it is for: this one makes host calls.
	native := filepath.Join(lib, "pinhole-native")
	if sites, err := nosyscall.Program(t.Context(), native); err != nil || len(sites) == 0 {
		t.Errorf("nothing found in %s: %v", native, err)
	}
}
