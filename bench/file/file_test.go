// Package file measures calls on files, against the host's file system under the temporary folder.
package file

import (
	"testing"

	"pinhole/bench/pair"
)

func BenchmarkFile(b *testing.B) { pair.Cases(b, "src/file.c") }

// BenchmarkData is content: sequential and random, mapped, on stable storage, in bulk.
func BenchmarkData(b *testing.B) { pair.Cases(b, "src/data.c") }

// BenchmarkTree is many files: unpacking, walking and removing trees.
func BenchmarkTree(b *testing.B) { pair.Cases(b, "src/tree.c") }
