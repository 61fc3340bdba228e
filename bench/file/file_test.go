// Package file measures calls on files, against the host's file system under the temporary folder.
package file

import (
	"testing"

	"pinhole/bench/pair"
)

func BenchmarkFile(b *testing.B) { pair.Cases(b, "src/file.c") }
