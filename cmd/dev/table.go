package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// limits are the ratios to native that the project has set itself, by benchmark and metric.
var limits = map[string]float64{
	"Call/getppid":            0.7,
	"Call/futex_roundtrip":    0.3,
	"Call/thread_create_join": 0.3,
	"File/pread_4k":           0.5,
	"File/open_close":         0.5,
	"File/stat":               0.4,
	"File/create_unlink":      0.5,
	"SHA256":                  1.02,
}

// sides collects the values of one benchmark and metric, by runtime.
type sides map[string][]float64

// table writes medians of what the benchmarks printed, native and Pinhole side by side, with the
// ratio and, where there is one, the limit set for it.
func table(w io.Writer, results []byte) error {
	all := map[string]sides{}
	var order []string
	lines := bufio.NewScanner(bytes.NewReader(results))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name, runtime := split(strings.TrimPrefix(f[0], "Benchmark"))
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				continue
			}
			key := name + " " + f[i+1]
			if all[key] == nil {
				all[key] = sides{}
				order = append(order, key)
			}
			all[key][runtime] = append(all[key][runtime], v)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "benchmark\tunit\tnative\tpinhole\tratio\tlimit\t")
	for _, key := range order {
		s := all[key]
		name, unit, _ := strings.Cut(key, " ")
		native, others := median(s["native"]), slices.Sorted(keys(s))
		for _, runtime := range others {
			if runtime == "native" && len(others) > 1 {
				continue
			}
			v := median(s[runtime])
			row := name
			if runtime != "" && runtime != "pinhole" && runtime != "native" {
				row += " (" + runtime + ")"
			}
			ratio, limit, base := "", "", ""
			if native > 0 && runtime != "native" {
				base = number(native)
				ratio = fmt.Sprintf("%.2f", v/native)
				if l := limits[name]; l > 0 && unit == "ns/op" && runtime == "pinhole" {
					limit = fmt.Sprintf("%.2f", l)
					if v/native > l {
						limit += " missed"
					}
				}
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t\n", row, unit, base, number(v), ratio, limit)
		}
	}
	return t.Flush()
}

// split takes the processor count and the runtime=... element off a benchmark's name.
func split(s string) (name, runtime string) {
	if i := strings.LastIndexByte(s, '-'); i > 0 {
		if _, err := strconv.Atoi(s[i+1:]); err == nil {
			s = s[:i]
		}
	}
	var rest []string
	for _, part := range strings.Split(s, "/") {
		if r, ok := strings.CutPrefix(part, "runtime="); ok {
			runtime = r
		} else {
			rest = append(rest, part)
		}
	}
	return strings.Join(rest, "/"), runtime
}

func keys(s sides) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range s {
			if !yield(k) {
				return
			}
		}
	}
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func number(v float64) string {
	switch {
	case v >= 1000:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
