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
