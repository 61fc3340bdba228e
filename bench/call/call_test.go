// Package call measures calls that touch no file.
package call

import (
	"testing"

	"pinhole/bench/pair"
)

func BenchmarkCall(b *testing.B) { pair.Cases(b, "src/call.c") }
