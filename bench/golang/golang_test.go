// Package golang measures Go programs: built by the go command for the native side, and by pinhole go for
// the other, from the same source.
package golang

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pinhole/bench/pair"
	"pinhole/tests/harness"
)

// build builds a program of src for both sides.
func build(b *testing.B, name string) *pair.Programs {
	b.Helper()
	native, guest := filepath.Join(b.TempDir(), name), filepath.Join(b.TempDir(), name)
	harness.Go(b, "", []string{"go"}, "build", "-o", native, "./src/"+name)
	harness.Go(b, "", []string{harness.Pinhole(b), "go"}, "build", "-o", guest, "./src/"+name)
	return pair.Built(b, guest, native)
}

// BenchmarkGo is the cases of src/work: pipes between goroutines, and programs that make garbage.
func BenchmarkGo(b *testing.B) { build(b, "work").Cases(b) }

// BenchmarkGoHello is the median of twenty starts of hello world, from start to exit.
func BenchmarkGoHello(b *testing.B) {
	p := build(b, "hello")
	p.Sides(b, func(b *testing.B, run pair.Run) {
		for range b.N {
			times := make([]float64, 20)
			for i := range times {
				start := time.Now()
				run(b)
				times[i] = float64(time.Since(start))
			}
			slices.Sort(times)
			b.ReportMetric(times[len(times)/2], "ns/op")
		}
	})
}
