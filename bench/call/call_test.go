// Package call measures calls that touch no file.
package call

import (
	"testing"

	"pinhole/bench/pair"
	"pinhole/tests/harness"
)

func BenchmarkCall(b *testing.B) { pair.Cases(b, "src/call.c") }

// BenchmarkSpawn starts static programs on both sides: a dynamic linker's work would be most of it.
func BenchmarkSpawn(b *testing.B) {
	const src = "src/spawn.c"
	pair.Built(b, harness.GuestCC(b, src), harness.NativeCC(b, src, "-static")).Cases(b)
}
