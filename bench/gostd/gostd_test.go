package gostd

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pinhole/tests/harness"
)

// Without flags, TestOwn measures a few benchmarks for a moment, so that the way is known to work.
var (
	ownPackages = flag.String("own", "", "packages to measure, patterns of go list, instead of a few benchmarks for a moment; all: those of the table")
	ownBench    = flag.String("own.bench", ".", "only benchmarks whose names fit this pattern; those in others do not count")
	ownAbove    = flag.Float64("own.above", 0, "only benchmarks whose ratio in the table is above this, one by one")
	ownRounds   = flag.Int("own.rounds", 5, "how often to measure each on both sides")
	ownLayouts  = flag.Int("own.layouts", 5, "in how many orders of its functions to link each program; the rounds are made with them in turn. 1: in the linker's own")
	ownTime     = flag.String("own.time", "20ms", "how long to run each, each time")
	ownOthers   = flag.Float64("own.others", 0.1, "how many processors others may use meanwhile; a run that they disturb more is made again, twice at most")
	ownCalls    = flag.Bool("own.calls", false, "instead of measuring, count the system calls of those in the table")
	ownWrite    = flag.Bool("own.write", false, "write what comes of it into the table")
)

const ownAll = "os/... io/... sync/... time runtime"

// together is how many benchmarks are run by one start of a test binary, on one side and then on the other.
const together = 8

// waiting are benchmarks that are not run, and why.
var waiting = []reason{
	{regexp.MustCompile(`^os/exec\.`), "starts a program of the host"},
	{regexp.MustCompile(`^os/user\.`), "depends on the host's list of users"},
}

func TestOwn(t *testing.T) {
	few := *ownPackages == ""
	want, rounds, layouts, benchtime, fit := *ownPackages, *ownRounds, *ownLayouts, *ownTime, *ownBench
	if want == "all" {
		want = ownAll
	}
	if few {
		want, rounds, layouts, benchtime, fit = "os io", 1, 1, "1ms", `^Benchmark(Expand|StatFile|Readdirname|CopyNSmall)$`
	}
	cmd := exec.Command("go", append([]string{"list"}, strings.Fields(want)...)...)
	cmd.Dir = filepath.Join(harness.GOROOT(t), "src")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", want, err)
	}
	tab, found := readTable(t), 0
	for _, name := range strings.Fields(string(out)) {
		if slices.ContainsFunc(waiting, func(r reason) bool { return r.rows.MatchString(name + ".") }) {
			continue
		}
		p := &program{name: name}
		if *ownCalls {
			p.countAll(t, tab, regexp.MustCompile(fit))
			continue
		}
		jobs := p.jobs(t, tab, regexp.MustCompile(fit), layouts)
		for _, pattern := range jobs {
			rows := p.measure(t, pattern, rounds, benchtime)
			found += len(rows)
			for _, r := range rows {
				if old, ok := tab.rows[r.id()]; ok {
					r.calls = old.calls
				}
				t.Logf("%-60s %10s %10s %6.2f", r.id(), formatTime(r.seconds[native]), formatTime(r.seconds[inside]), r.ratio())
				tab.rows[r.id()] = r
			}
			if *ownWrite {
				writeTable(t, tab)
			}
		}
	}
	if *ownWrite {
		writeTable(t, tab) // reasons may be new
	}
	if few && found < 4 {
		t.Errorf("%d benchmarks came out on both sides, want at least 4", found)
	}
}

// jobs builds the package's programs and returns the patterns to run it with.
func (p *program) jobs(t *testing.T, tab table, fit *regexp.Regexp, layouts int) (patterns []string) {
	t.Helper()
	if *ownAbove > 0 {
		_, rows := tab.grouped()
		for _, r := range rows[p.name] {
			if r.ratio() > *ownAbove && fit.MatchString(r.name) {
				patterns = append(patterns, exactly(r.name))
			}
		}
		if len(patterns) > 0 {
			*p = *build(t, p.name, layouts)
		}
		return patterns
	}
	*p = *build(t, p.name, layouts)
	for names := range slices.Chunk(p.benchmarks(t, fit), together) {
		patterns = append(patterns, anyOf(names))
	}
	return patterns
}

// countAll counts the calls of the package's rows that fit.
func (p *program) countAll(t *testing.T, tab table, fit *regexp.Regexp) {
	t.Helper()
	_, rows := tab.grouped()
	if len(rows[p.name]) == 0 {
		return
	}
	*p = *build(t, p.name, 1)
	const enough = 10e-3 // seconds
	for _, r := range rows[p.name] {
		if !fit.MatchString(r.name) {
			continue
		}
		n, err := p.calls(t, r.name, max(1, int(enough/r.seconds[native])))
		if err != nil {
			t.Fatal(err)
		}
		r.calls = n
		t.Logf("%-60s %8.3g", r.id(), n)
		tab.rows[r.id()] = r
	}
	if *ownWrite {
		writeTable(t, tab)
	}
}

// measure runs what a pattern chooses on both sides in turn and returns the medians of those that came out
// on both.
func (p *program) measure(t *testing.T, pattern string, rounds int, benchtime string) []row {
	t.Helper()
	var times [2]map[string][]float64
	for round := range rounds {
		for _, s := range []side{native, inside} {
			found, err := p.undisturbed(t, s, round, pattern, benchtime)
			if err != nil {
				t.Error(err)
			}
			if times[s] == nil {
				times[s] = map[string][]float64{}
			}
			for name, v := range found {
				times[s][name] = append(times[s][name], v)
			}
		}
	}
	var rows []row
	for _, name := range slices.Sorted(maps.Keys(times[native])) {
		if len(times[inside][name]) == 0 {
			t.Errorf("%s.%s: only native has it", p.name, name)
			continue
		}
		rows = append(rows, row{p.name, name, [2]float64{median(times[native][name]), median(times[inside][name])}, -1})
	}
	for name := range times[inside] {
		if len(times[native][name]) == 0 {
			t.Errorf("%s.%s: only the sandbox has it", p.name, name)
		}
	}
	return rows
}

// undisturbed is run, again where others had the processors meanwhile, and of those runs the one with the
// least of that.
func (p *program) undisturbed(t *testing.T, s side, round int, pattern, benchtime string) (best map[string]float64, err error) {
	const tries = 3
	least := math.Inf(1)
	for range tries {
		found, others, err := p.run(t, s, round, pattern, benchtime)
		if err != nil {
			return found, err
		}
		if others < least {
			best, least = found, others
		}
		if least < *ownOthers || *ownPackages == "" {
			return best, nil
		}
	}
	t.Logf("%s %s: others used %.1f processors", p.name, pattern, least)
	return best, nil
}

// TestTable: the table is whole, and has a reason for each benchmark that takes much longer inside.
func TestTable(t *testing.T) {
	tab := readTable(t)
	packages, rows := tab.grouped()
	for _, want := range []string{"io", "os", "runtime", "sync", "time"} {
		if !slices.Contains(packages, want) {
			t.Errorf("there is no %s", want)
		}
	}
	for _, pkg := range packages {
		for _, r := range rows[pkg] {
			reason, have := tab.reasons[r.id()]
			switch above := r.ratio() > allowed; {
			case above && (!have || reason == noReason):
				t.Errorf("%s: takes %.2f as long as natively, and no reason known", r.id(), r.ratio())
			case above && reason != reasonFor(r.id()):
				t.Errorf("%s: the table has the reason %q, the list %q: write it anew", r.id(), reason, reasonFor(r.id()))
			}
		}
	}
	for id := range tab.reasons {
		if r, ok := tab.rows[id]; !ok || r.ratio() < allowed*0.98 { // it is made of rounded times
			t.Errorf("%s: has a reason but is not above %.1f", id, allowed)
		}
	}
}

func TestTime(t *testing.T) {
	for seconds, want := range map[float64]string{1.234: "1.23s", 0.0456: "45.6ms", 123.4e-6: "123us", 1e-6: "1.00us", 0.25e-9: "0.25ns"} {
		got := formatTime(seconds)
		back, err := parseTime(got)
		if got != want || err != nil || math.Abs(back/seconds-1) > 0.01 {
			t.Errorf("%g: %s (%v), back %g; want %s", seconds, got, err, back, want)
		}
	}
	if _, err := parseTime("12 m"); err == nil {
		t.Error("12 m: is a time")
	}
	for _, c := range []struct {
		name, want string
	}{{"BenchmarkA", "^BenchmarkA$"}, {"BenchmarkA/b.c/d", `^BenchmarkA$/^b\.c$/^d$`}} {
		if got := exactly(c.name); got != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	if got := fmt.Sprint(quantile([]float64{3, 1, 2}, 0.5), quantile([]float64{1, 2}, 0.9)); got != "2 2" {
		t.Error(got)
	}
}
