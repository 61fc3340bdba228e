// Package kernel finds the program that runs inside a sandbox.
package kernel

import "os"

// Open returns pinhole-kernel as an executable file, opened for reading. The caller closes it.
func Open() (*os.File, error) { return open() }
