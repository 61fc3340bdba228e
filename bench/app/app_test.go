// Package app measures whole programs.
package app

import (
	"strconv"
	"strings"
	"testing"

	"pinhole/bench/pair"
	"pinhole/tests/harness"
)

// BenchmarkSHA256 is a program that makes no calls: SHA-256 of 1 GiB.
func BenchmarkSHA256(b *testing.B) {
	p := pair.Build(b, "src/sha256.c")
	for name, run := range map[string]func(*testing.B, ...string) harness.Result{"runtime=native": p.Native, "runtime=pinhole": p.Guest} {
		b.Run(name, func(b *testing.B) {
			sum := 0.0
			for range b.N {
				ns, err := strconv.ParseFloat(strings.TrimSpace(run(b, "1024").Stderr), 64)
				if err != nil {
					b.Fatal(err)
				}
				sum += ns
			}
			b.ReportMetric(sum/float64(b.N), "ns/op")
		})
	}
}
