// Package gostd measures the benchmarks of Go's own standard library: each package's test binary is built
// from GOROOT for both sides, natively by the go command and for the sandbox by pinhole go, and both are run
// in turn. What came of it is in bench/results/go-own.md.
package gostd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/perf/benchfmt"

	"pinhole/tests/harness"
)

// side is where a benchmark runs.
type side int

const (
	native side = iota
	inside
)

func (s side) String() string { return [...]string{"native", "inside"}[s] }

// program is a package's test binary, built for both sides.
type program struct {
	name    string   // import path
	dir     string   // of the package's sources, where its benchmarks run
	native  []string // paths on the host, one for each layout
	inside  []string // paths in the image
	image   string   // has the others, the sources, and a folder for temporary files
	pinhole string
}

// memory is the most that a sandbox may have: the benchmarks of copying need more than the default.
const memory = "4G"

// build builds a package's test binary, with its functions in so many orders, the same on both sides, or fails.
// Where a loop of few instructions lies, to a half of a 64-byte line, may double its time, and the program for the
// sandbox has other functions before it. 1: in the linker's own order.
func build(t *testing.T, name string, layouts int) *program {
	t.Helper()
	dir := t.TempDir()
	p := &program{name: name, dir: filepath.Join(harness.GOROOT(t), "src", filepath.FromSlash(name)), pinhole: harness.Pinhole(t),
		image: filepath.Join(dir, "disk.img")}
	src := filepath.Join(harness.GOROOT(t), "src")
	harness.Must(t, p.pinhole, "image", "create", "--size", "4G", p.image)
	harness.Must(t, p.pinhole, "image", "mkdir", p.image, "/tmp")
	harness.Must(t, p.pinhole, "image", "put", p.image, p.dir, p.dir)
	zones := filepath.Join(harness.GOROOT(t), "lib", "time")
	harness.Must(t, p.pinhole, "image", "put", p.image, zones, zones)
	for i := range layouts {
		args := []string{"test", "-c"}
		if layouts > 1 {
			args = append(args, fmt.Sprintf("-ldflags=-randlayout=%d", i+1))
		}
		native, guest := filepath.Join(dir, fmt.Sprint("native", i)), filepath.Join(dir, fmt.Sprint("guest", i))
		harness.Go(t, src, []string{"go"}, append(args, "-o", native, name)...)
		harness.Go(t, src, []string{p.pinhole, "go"}, append(args, "-o", guest, name)...)
		inside := fmt.Sprint("/bin/benchmark", i)
		harness.Must(t, p.pinhole, "image", "put", p.image, guest, inside)
		p.native, p.inside = append(p.native, native), append(p.inside, inside)
	}
	return p
}

// command is the test binary on one side, in the layout for a round, with its arguments, not yet started.
func (p *program) command(ctx context.Context, s side, round int, args ...string) *exec.Cmd {
	layout := round % len(p.native)
	line := append([]string{p.native[layout]}, args...)
	if s == inside {
		line = append([]string{p.pinhole, "run", "--image", p.image, "--memory", memory, "--cwd", p.dir, "--env", "TMPDIR=/tmp", p.inside[layout]}, args...)
	}
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir = p.dir
	return cmd
}

// benchmarks lists the package's benchmarks whose names fit, without those that they have in them.
func (p *program) benchmarks(t *testing.T, fit *regexp.Regexp) []string {
	t.Helper()
	out, err := p.command(t.Context(), native, 0, "-test.list", "^Benchmark").Output()
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	return slices.DeleteFunc(strings.Fields(string(out)), func(name string) bool { return !fit.MatchString(name) })
}

// exactly is the pattern for -test.bench that chooses one benchmark, which may be in another.
func exactly(name string) string {
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		parts = append(parts, "^"+regexp.QuoteMeta(part)+"$")
	}
	return strings.Join(parts, "/")
}

// anyOf is the pattern that chooses several, with all that is in them.
func anyOf(names []string) string { return "^(" + strings.Join(names, "|") + ")$" }

// most is how long one run of a test binary may take.
const most = 5 * time.Minute

// run runs the benchmarks that a pattern chooses, for about as long each as benchtime says, and returns
// their times, and how many processors others have used meanwhile. What does not come out is missing; why is
// in the error.
func (p *program) run(t *testing.T, s side, round int, pattern, benchtime string) (found map[string]float64, others float64, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	cmd := p.command(ctx, s, round, "-test.run", "^$", "-test.bench", pattern, "-test.benchtime", benchtime)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	begin, before := time.Now(), busy()
	err = cmd.Run()
	if state := cmd.ProcessState; state != nil {
		own := state.UserTime() + state.SystemTime()
		others = (busy() - before - own).Seconds() / time.Since(begin).Seconds()
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %s: %w\n%s%s", p.name, s, pattern, err, tail(out.Bytes()), tail(said.Bytes()))
	}
	found = map[string]float64{}
	lines := benchfmt.NewReader(&out, p.name)
	for lines.Scan() {
		r, ok := lines.Result().(*benchfmt.Result)
		if !ok {
			continue // what else a test binary prints
		}
		if seconds, ok := timeOf(r); ok {
			found[nameOf(r)] = seconds
		}
	}
	return found, others, errors.Join(err, lines.Err())
}

// busy is how long the machine's processors have been busy since it started, by /proc/stat (proc_stat(5)):
// in user mode, also at low priority, in the kernel, for interrupts, and for other machines that share them.
func busy() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	var user, nice, system, idle, wait, irq, softirq, steal int64
	fmt.Sscanf(string(text), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &softirq, &steal)
	const tick = 10 * time.Millisecond // USER_HZ
	return time.Duration(user+nice+system+irq+softirq+steal) * tick
}

// tail is the end of what a program printed.
func tail(out []byte) []byte { return out[max(0, len(out)-2000):] }

// nameOf is a benchmark's name without the number of processors.
func nameOf(r *benchfmt.Result) string {
	base, parts := r.Name.Parts()
	name := "Benchmark" + string(base)
	for _, part := range parts {
		if part[0] == '/' {
			name += string(part)
		}
	}
	return name
}

// timeOf is a benchmark's time per operation in seconds, or the median (of timers: the mean) of the latency
// that it measures itself.
func timeOf(r *benchfmt.Result) (float64, bool) {
	if v, ok := r.Value("sec/op"); ok && v > 0 {
		return v, true
	}
	for _, unit := range []string{"p50-sec", "p50-sec/op", "avg-late-sec"} {
		if v, ok := r.Value(unit); ok && v > 0 {
			return v, true
		}
	}
	return 0, false
}

// calls counts the system calls that a benchmark makes natively in an operation, by perf, which may count
// them only for root: those of so many operations and one more, without those of one.
func (p *program) calls(t *testing.T, name string, iters int) (float64, error) {
	t.Helper()
	perf := harness.Tool(t, "perf", "linux-perf")
	count := func(n int) (float64, error) {
		list := filepath.Join(t.TempDir(), "count")
		ctx, cancel := context.WithTimeout(t.Context(), most)
		defer cancel()
		cmd := exec.CommandContext(ctx, perf, "stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-o", list,
			p.native[0], "-test.run", "^$", "-test.bench", exactly(name), "-test.benchtime", fmt.Sprintf("%dx", n))
		cmd.Dir = p.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%v: %w\n%s", cmd, err, tail(out))
		}
		text, err := os.ReadFile(list)
		if err != nil {
			return 0, err
		}
		m := regexp.MustCompile(`(?m)^(\d+),[^,]*,raw_syscalls:sys_enter`).FindSubmatch(text)
		if m == nil {
			return 0, fmt.Errorf("%v: %s", cmd, text)
		}
		return strconv.ParseFloat(string(m[1]), 64)
	}
	few, err := count(1)
	if err != nil {
		return 0, err
	}
	many, err := count(iters)
	return max(0, many-few) / float64(iters), err
}
