//go:build !embedkernel

package kernel

import (
	"fmt"
	"os"
	"path/filepath"
)

// open finds the file beside the running program, as developer builds have it.
func open() (*os.File, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding pinhole-kernel: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), "pinhole-kernel")
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("pinhole-kernel is missing beside %s; build both with \"go run ./cmd/dev build\"", self)
	}
	return f, nil
}
