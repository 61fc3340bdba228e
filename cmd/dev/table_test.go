package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	const results = `kernel: 6.1
BenchmarkCall/getppid/runtime=native-2   1  100.0 ns/op
BenchmarkCall/getppid/runtime=pinhole-2  1  30.0 ns/op
BenchmarkCall/getppid/runtime=native-2   1  120.0 ns/op
BenchmarkCall/getppid/runtime=pinhole-2  1  40.0 ns/op
BenchmarkCall/getppid/runtime=native-2   1  900.0 ns/op
BenchmarkCall/getppid/runtime=pinhole-2  1  90.0 ns/op
BenchmarkFile/stat/runtime=native        1  1000 ns/op
BenchmarkFile/stat/runtime=pinhole       1  500 ns/op
BenchmarkIdleMemory-2  1  12.5 PSS-MiB
ok  	pinhole/bench	1s
`
	var b strings.Builder
	if err := table(&b, []byte(results)); err != nil {
		t.Fatal(err)
	}
	var got [][]string
	for line := range strings.Lines(b.String()) {
		got = append(got, strings.Fields(line))
	}
	want := [][]string{
		{"benchmark", "unit", "native", "pinhole", "ratio", "limit"},
		{"Call/getppid", "ns/op", "120.0", "40.0", "0.33", "0.70"},
		{"File/stat", "ns/op", "1000", "500.0", "0.50", "0.40", "missed"},
		{"IdleMemory", "PSS-MiB", "12.5"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
