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
	"SHA256":                  1.02,

	// Go programs.
	"Go/pipeline":     0.7,
	"Go/binary_trees": 1.05,
	"GoVet":           1.3,

	// Names and attributes.
	"File/open_close":    0.5,
	"File/stat":          0.4,
	"File/fstat":         0.5,
	"File/stat_missing":  0.5,
	"File/create_unlink": 0.5,
	"File/mkdir_rmdir":   0.5,
	"File/rename":        0.5,
	"File/readdir_1000":  0.5,
	"Tree/untar_5000":    0.5,
	"Tree/untar_rm_5000": 0.5,
	"Tree/walk_5000":     0.5,
	"Tree/folder_10000":  0.5,

	// Content in memory.
	"File/pread_4k":       0.5,
	"File/pread_4k_of_4m": 0.5,
	"File/pread_1":        1,
	"File/read_64k":       1,
	"File/read_1m":        1,
	"File/pwrite_4k":      1,
	"File/write_64k":      1,
	"Tree/read_all_5000":  1,
	"Data/seq_read_4k":    1,
	"Data/seq_read_1m":    1,
	"Data/rand_read_4k":   1,
	"Data/rand_read_1m":   1,
	"Data/seq_write_4k":   1,
	"Data/seq_write_1m":   1,
	"Data/rand_write_4k":  1,
	"Data/rand_write_1m":  1,
	"Data/new_file_64k":   1,
	"Data/mmap_load_4k":   1,
	"Data/mmap_store_4k":  1,

	// Stable storage; 1.25 is 0.8 of the bandwidth.
	"File/fsync_4k":             1.2,
	"Data/sustained_1m":         1.25,
	"Data/overwrite_fsync":      1.2,
	"Data/overwrite_fdatasync":  1.2,
	"Data/append_fsync":         1.2,
	"Data/append_fdatasync_100": 1.2,
	"Data/create_fsync":         1.2,
	"Tree/untar_5000_sync":      1.2,

	"SQLite/speedtest1_memory":   1,
	"SQLite/speedtest1_nosync":   1,
	"SQLite/speedtest1_delete":   1.2,
	"SQLite/speedtest1_truncate": 1.2,
	"SQLite/speedtest1_persist":  1.2,
	"SQLite/speedtest1_wal":      1.2,
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
