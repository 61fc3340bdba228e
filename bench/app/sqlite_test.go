package app

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pinhole/bench/pair"
	"pinhole/tests/harness"
)

// total is the line in which speedtest1 sums up.
var total = regexp.MustCompile(`TOTAL\.*\s+([0-9.]+)s`)

// BenchmarkSQLite is SQLite's own speedtest1 on a database file, in its journal modes and with
// a write-ahead log. What it measures itself counts, start-up does not.
func BenchmarkSQLite(b *testing.B) {
	guest, native := filepath.Join(harness.Root(), "build/apps/speedtest1"), filepath.Join(harness.Root(), "build/native/speedtest1")
	for _, p := range []string{guest, native} {
		if _, err := os.Stat(p); err != nil {
			b.Skipf("%s is not built: go run ./cmd/dev build", filepath.Base(p))
		}
	}
	p := pair.Built(b, guest, native)
	for name, flags := range map[string]string{
		"delete":   "--journal delete",
		"truncate": "--journal truncate",
		"persist":  "--journal persist",
		"wal":      "--journal wal",
		"nosync":   "--nosync",
		"memory":   "--memdb",
	} {
		b.Run("speedtest1_"+name, func(b *testing.B) {
			p.Sides(b, func(b *testing.B, run pair.Run) {
				sum := 0.0
				for i := range b.N {
					args := append(strings.Fields(flags), "--size", "20", name+strconv.Itoa(i)+".db")
					out := run(b, args...).Stdout
					m := total.FindStringSubmatch(out)
					if m == nil {
						b.Fatalf("no sum in %q", out)
					}
					s, err := strconv.ParseFloat(m[1], 64)
					if err != nil {
						b.Fatal(err)
					}
					sum += s
				}
				b.ReportMetric(sum/float64(b.N)*1e9, "ns/op")
			})
		})
	}
}
