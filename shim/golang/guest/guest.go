// Package guest makes the Go runtime of programs that run under Pinhole's kernel: an overlay for
// "go build -overlay" in which every place of the standard library that enters a kernel calls
// Pinhole's gate, and a start that finds the gate and relocates the program.
//
// The program is linked position-independent and without a dynamic linker (see Link), so that many
// lie side by side in one address space.
package guest

import (
	"fmt"
	"regexp"

	_ "embed"

	"pinhole/shim/golang/overlay"
)

// Versions are the Go releases that are known.
var Versions = []string{"go1.26", "go1.25"}

// CheckVersion refuses a Go version, as "go version" names it, that is not known.
func CheckVersion(version string) error {
	release := regexp.MustCompile(`^go\d+\.\d+`).FindString(version)
	for _, v := range Versions {
		if release == v {
			return nil
		}
	}
	return fmt.Errorf("Go programs for Pinhole are built by %s or %s, not by %s; GOTOOLCHAIN=%s.0, for instance, chooses one of them", Versions[1], Versions[0], version, Versions[0])
}

// Generate writes the overlay's files for the Go installation at goroot into outDir, and an
// overlay.json that names them, whose path it returns.
func Generate(goroot, outDir string) (overlayJSON string, err error) {
	version, err := overlay.Version(goroot)
	if err != nil {
		return "", err
	}
	if err := CheckVersion(version); err != nil {
		return "", err
	}
	o := changes()
	// Syscall6 lies elsewhere in the older release.
	if release := regexp.MustCompile(`^go1\.25\b`); release.MatchString(version) {
		o.Changes = append(o.Changes, overlay.Change{File: "internal/runtime/syscall/asm_linux_amd64.s", To: changeSyscall6})
	} else {
		o.Changes = append(o.Changes, overlay.Change{File: "internal/runtime/syscall/linux/asm_linux_amd64.s", To: changeSyscall6})
	}
	return o.Generate(goroot, outDir)
}

//go:embed runtime/pinhole_linux_amd64.s
var startSource string
