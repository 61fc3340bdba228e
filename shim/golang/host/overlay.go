// Package host makes the Go runtime under the kernel: an overlay for "go build -overlay" with
// which pinhole-kernel lives on read, write, mmap, futex, exit and exit_group.
//
// Nothing of Go's source is kept here. The overlay is made from the GOROOT that builds, by
// finding the places to change; a Go version that does not have them is refused by name.
package host

// Generate writes the changed runtime files for the Go installation at goroot into outDir, and
// an overlay.json that names them, whose path it returns for "go build -overlay". outDir
// is made if need be. Writing is atomic per file, so builds may share one outDir.
func Generate(goroot, outDir string) (overlayJSON string, err error) {
	return changes.Generate(goroot, outDir)
}

// Environment is what a program with the overlay is built with besides the builder's own environment: without
// C, and with the Go heap where Go has it by default, at 0xc0<<32, and not anywhere below 1<<46, where it
// would lie in the way of the address space that runtime/host reserves for guests.
var Environment = []string{"CGO_ENABLED=0", "GOEXPERIMENT=norandomizedheapbase64"}

// Arguments returns arguments of "go build" and "go test -c" for a program with the overlay whose list is
// at overlayJSON: linked above the addresses that programs with fixed addresses are linked at, which stay
// free for guests. ldflags are further flags of the linker.
func Arguments(overlayJSON, ldflags string) []string {
	return []string{"-overlay", overlayJSON, "-ldflags", "-T 0x60001000 " + ldflags}
}
