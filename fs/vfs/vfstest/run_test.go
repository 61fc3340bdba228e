package vfstest

import (
	"fmt"
	"testing"

	"pinhole/fs/memfs"
	"pinhole/fs/vfs"
)

// TestNative proves the suite against the host's own file system and calls.
func TestNative(t *testing.T) {
	for _, c := range Cases() {
		if c.Name == "full" {
			continue // the host's disk is not ours to fill
		}
		t.Run(c.Name, func(t *testing.T) { c.Run(t, newNative(t)) })
	}
}

func TestMemfs(t *testing.T) {
	Run(t, Options{New: func(testing.TB) vfs.FileSystem { return memfs.New(256 << 20) }})
}

// TestModel compares memfs, to which other file systems are compared, with the host's.
func TestModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			host := newNative(t)
			defer host.Close()
			Differential(t, Pair{NewSystem(vfs.NewNamespace(memfs.New(1 << 30))), host}, seed+100, 3000, nil)
		})
	}
}
