package gostd

import (
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pinhole/tests/harness"
)

// row is a benchmark's line in the table.
type row struct {
	pkg, name string
	seconds   [2]float64 // by side
	calls     float64    // system calls per operation, natively; less than zero if nobody has counted
}

func (r row) id() string     { return r.pkg + "." + strings.TrimPrefix(r.name, "Benchmark") }
func (r row) ratio() float64 { return r.seconds[inside] / r.seconds[native] }

// callEvery is in how many seconds of native time a benchmark makes at least one system call, to be one
// that the kernel has a part in: a call is some tenths of a microsecond, one that wakes another thread some
// microseconds. In the others a sandbox can be no faster than a native process.
const callEvery = 10e-6

func (r row) makesCalls() bool { return r.calls >= 0 && r.calls*callEvery >= r.seconds[native] }

// allowed is the ratio above which there has to be a reason.
const allowed = 1.5

// reason is why benchmarks take longer inside. The first that fits counts.
type reason struct {
	rows *regexp.Regexp // of a row's id
	text string
}

const noReason = "?"

func reasonFor(id string) string {
	for _, r := range reasons {
		if r.rows.MatchString(id) {
			return r.text
		}
	}
	return noReason
}

func tablePath() string { return filepath.Join(harness.Root(), "bench", "results", "go-own.md") }

var (
	rowLine    = regexp.MustCompile(`^\| ([^.\s]+)\.(\S+) \| (\S+) \| (\S+) \| ([\d.]+) \| (\S*) \|$`)
	reasonLine = regexp.MustCompile(`^- (\S+) ([\d.]+): (.*)`)
)

// table is what the file has: rows by id, and of those above what is allowed the reasons.
type table struct {
	rows    map[string]row
	reasons map[string]string
}

func readTable(t *testing.T) table {
	t.Helper()
	tab := table{map[string]row{}, map[string]string{}}
	text, err := os.ReadFile(tablePath())
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if m := reasonLine.FindStringSubmatch(line); m != nil {
			tab.reasons[m[1]] = m[3]
		}
		m := rowLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		r := row{pkg: m[1], name: "Benchmark" + m[2], calls: -1}
		for s := range r.seconds {
			d, err := parseTime(m[3+s])
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			r.seconds[s] = d
		}
		if m[6] != "" {
			if r.calls, err = strconv.ParseFloat(m[6], 64); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
		tab.rows[r.id()] = r
	}
	return tab
}

// units of times in the table, in seconds.
var units = []struct {
	name    string
	seconds float64
}{{"s", 1}, {"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}}

// formatTime writes a time with three digits, without a space.
func formatTime(seconds float64) string {
	u := units[len(units)-1]
	for _, v := range units {
		if seconds >= v.seconds {
			u = v
			break
		}
	}
	v := seconds / u.seconds
	return strconv.FormatFloat(v, 'f', max(0, 2-int(math.Log10(max(v, 1)))), 64) + u.name
}

func parseTime(s string) (float64, error) {
	at := strings.LastIndexAny(s, "0123456789") + 1
	for _, u := range units {
		if s[at:] == u.name {
			v, err := strconv.ParseFloat(s[:at], 64)
			return v * u.seconds, err
		}
	}
	return 0, fmt.Errorf("%q is not a time", s)
}

// quantile of values that are not empty: 0.5 is the median.
func quantile(v []float64, q float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[min(int(q*float64(len(v))), len(v)-1)]
}

func median(v []float64) float64 { return quantile(v, 0.5) }

// ratios of the rows that fit.
func ratios(rows []row, fit func(row) bool) []float64 {
	var v []float64
	for _, r := range rows {
		if fit(r) {
			v = append(v, r.ratio())
		}
	}
	return v
}

// summary is the line of a package, or of all.
func summary(name string, rows []row) string {
	cell := func(v []float64, q float64) string {
		if len(v) == 0 {
			return ""
		}
		return fmt.Sprintf("%.2f", quantile(v, q))
	}
	all := ratios(rows, func(row) bool { return true })
	calls := ratios(rows, row.makesCalls)
	above := ratios(rows, func(r row) bool { return r.ratio() > allowed })
	return fmt.Sprintf("| %s | %d | %s | %s | %s | %d | %s | %d |", name,
		len(all), cell(all, 0.1), cell(all, 0.5), cell(all, 0.9), len(calls), cell(calls, 0.5), len(above))
}

// grouped returns all rows, sorted by package and as the file has them.
func (tab table) grouped() (packages []string, rows map[string][]row) {
	rows = map[string][]row{}
	for _, id := range slices.Sorted(maps.Keys(tab.rows)) {
		r := tab.rows[id]
		rows[r.pkg] = append(rows[r.pkg], r)
	}
	return slices.Sorted(maps.Keys(rows)), rows
}

const heading = `# The benchmarks of Go's own standard library, natively and inside

Made by %s.
The benchmarks of the packages' own tests, built from GOROOT with the same flags (CGO_ENABLED=0) by go and by pinhole go, run in
turn in one session, each round with the functions in another order (the linker's -randlayout); medians of the rounds. What comes
out above %.1f is measured again, with more rounds, and stays if it does again; what comes out below is not, so that the medians
are a little too low. Rows of runtime below 1.3 are of an earlier session, in the linker's own order. Last measured %s with %s, GOMAXPROCS=%d on both sides.

"Calls" are the native system calls per operation, counted by perf. A benchmark that makes none, or seldom, computes the same
instructions on both sides and cannot be faster inside; those with at least one in %.0f us of native time are summed up apart.
Times are those of an operation, or the median (of timers: the mean) of the latency that a benchmark measures itself.

| package | benchmarks | lowest tenth | median | highest tenth | making calls | their median | above %.1f |
|---|--:|--:|--:|--:|--:|--:|--:|
`

// makes is the command that makes the table.
const makes = "`go test ./bench/gostd -run TestOwn -timeout 3h -own all -own.write`, again with `-own.above 1.5 -own.rounds 21 -own.layouts 21`, and with `-own.calls`"

func writeTable(t *testing.T, tab table) {
	t.Helper()
	version, err := exec.Command("go", "env", "GOVERSION").Output()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, heading, makes, allowed, time.Now().UTC().Format("2006-01-02"), strings.TrimSpace(string(version)), runtime.NumCPU(), callEvery*1e6, allowed)
	packages, rows := tab.grouped()
	var all []row
	for _, pkg := range packages {
		fmt.Fprintln(&b, summary(pkg, rows[pkg]))
		all = append(all, rows[pkg]...)
	}
	fmt.Fprintln(&b, summary("all", all))
	fmt.Fprintf(&b, "\n## Above %.1f\n\n", allowed)
	slices.SortStableFunc(all, func(a, b row) int { return strings.Compare(reasonFor(a.id()), reasonFor(b.id())) })
	above := slices.DeleteFunc(slices.Clone(all), func(r row) bool { return r.ratio() <= allowed })
	if len(above) == 0 {
		b.WriteString("None.\n")
	}
	for _, r := range above {
		fmt.Fprintf(&b, "- %s %.2f: %s\n", r.id(), r.ratio(), reasonFor(r.id()))
	}
	fmt.Fprint(&b, "\n## Not compared\n\n")
	for _, w := range waiting {
		fmt.Fprintf(&b, "- %s: %s\n", w.rows, w.text)
	}
	for _, pkg := range packages {
		fmt.Fprintf(&b, "\n## %s\n\n| | native | inside | ratio | calls |\n|---|--:|--:|--:|--:|\n", pkg)
		for _, r := range rows[pkg] {
			calls := ""
			if r.calls >= 0 {
				calls = strconv.FormatFloat(r.calls, 'g', 2, 64)
				if r.calls >= 100 {
					calls = strconv.FormatFloat(r.calls, 'f', 0, 64)
				} else if r.calls < 0.001 {
					calls = "0"
				}
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %.2f | %s |\n", r.id(), formatTime(r.seconds[native]), formatTime(r.seconds[inside]), r.ratio(), calls)
		}
	}
	if err := os.WriteFile(tablePath(), []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
