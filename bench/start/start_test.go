// Package start measures what a sandbox costs before and beside its program: time from start
// to exit, and memory while the program waits.
package start

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pinhole/bench/pair"
	"pinhole/tests/harness"
)

// BenchmarkHello is hello world from start to exit.
func BenchmarkHello(b *testing.B) {
	p := pair.Build(b, "src/hello.c")
	each(b, "native", func(b *testing.B) { p.Native(b) })
	each(b, "pinhole", func(b *testing.B) { p.Guest(b) })
	each(b, "pinhole-no-image", func(b *testing.B) { p.Throwaway(b) })
	if bwrap, err := exec.LookPath("bwrap"); err == nil {
		each(b, "bubblewrap", func(b *testing.B) {
			harness.Must(b, bwrap, "--ro-bind", "/", "/", "--dev", "/dev", "--unshare-all", p.NativePath())
		})
	}
}

// each reports the median of twenty starts.
func each(b *testing.B, runtime string, start func(*testing.B)) {
	b.Run("runtime="+runtime, func(b *testing.B) {
		for range b.N {
			times := make([]float64, 20)
			for i := range times {
				t0 := time.Now()
				start(b)
				times[i] = float64(time.Since(t0))
			}
			slices.Sort(times)
			b.ReportMetric(times[len(times)/2], "ns/op")
		}
	})
}

// BenchmarkIdleMemory reports the proportional set size of supervisor and sandbox together while
// hello world waits for input.
func BenchmarkIdleMemory(b *testing.B) {
	p := pair.Build(b, "src/hello.c")
	for b.Loop() {
		cmd := p.GuestCommand("wait")
		in, err := cmd.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			b.Fatal(err)
		}
		total := 0.0
		for _, pid := range tree(cmd.Process.Pid) {
			total += pss(pid)
		}
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(total/1024, "PSS-MiB")
	}
}

// tree returns a process and all its descendants.
func tree(pid int) []int {
	all := []int{pid}
	tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, f := range tasks {
		data, _ := os.ReadFile(f)
		for _, c := range strings.Fields(string(data)) {
			n, _ := strconv.Atoi(c)
			all = append(all, tree(n)...)
		}
	}
	return all
}

// pss returns a process's proportional set size in KiB.
func pss(pid int) float64 {
	data, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
			n, _ := strconv.ParseFloat(f[1], 64)
			return n
		}
	}
	return 0
}
