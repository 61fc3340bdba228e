package golang

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pinhole/tests/harness"
)

// The tests of Go's standard library, built from GOROOT and run natively and in sandboxes. What came
// of it is in std.md, with the reason for each difference from native; TestStd keeps it true for a few
// packages. The table is made anew by
//
//	go test ./tests/golang -run TestStd -timeout 4h -std all -std.write
//
// or for some packages, patterns of go list, by -std "os/... time" -std.write.
var (
	stdPackages = flag.String("std", "", "packages of the standard library to test, instead of the few that are checked always; all: those of the table")
	stdWrite    = flag.Bool("std.write", false, "write what comes of it into std.md")
)

const (
	stdFew = "sync context io io/fs path/filepath encoding/json text/template"
	stdAll = `sync/... context bufio bytes strings strconv slices maps sort unicode/... errors fmt log/... flag iter unique weak
		io/... path/... encoding/... compress/... archive/... container/... hash/... text/... html/... regexp/... mime
		reflect/... math/... time/... os/... internal/poll syscall embed/... expvar testing/... database/... crypto/...
		runtime/...`
)

// result is what came of a package's tests on one side.
type result struct {
	tests   map[string]string // outcome of each test: pass, fail, skip, or none if the program ended before
	output  map[string]string // what it printed
	outcome string            // the package's
	seconds float64
}

type reason struct{ output, text string }

// reasons explain differences by what a test printed. The first that fits counts.
var reasons = []reason{
	{`socket: function not implemented|[Ss]ocketpair|listen (tcp|udp|unix)|NewLocalListener|tcp is not supported|/dev/log|failed to listen`, "waits for sockets"},
	{`executable file not found in \$PATH|'go build' unavailable|requires hostname|"(go|sh|bash|sleep|cat|hostname)": executable file|no such file or directory.*bin/|cannot find go tool|fork/exec /(usr/)?bin/`, "a program of the host that is not on the disk"},
	{`ptrace enabled failed`, "nobody is traced in a sandbox"},
	{`KEEPCAPS`, "the setting is not kept: there are no capabilities in a sandbox"},
	{`doesn't support proc filesystem`, "/proc has no files of a network yet"},
	{`requires ability to mount`, "nothing is mounted in a sandbox"},
	{`CLONE_NEW|namespace|userns|fork/exec .*: (function not implemented|operation not permitted)`, "there are no namespaces in a sandbox"},
}

// finish runs what was not run since a test ended the program, without that test.
func finish(t *testing.T, name string, r *result, goCommand []string) {
	var skip []string
	for range 20 {
		var open []string
		skipped := len(skip)
		for test, o := range r.tests {
			if o == "none" {
				open = append(open, test)
			}
			if o != "pass" && crashed.MatchString(r.output[test]) && !slices.Contains(skip, test) {
				skip = append(skip, test)
			}
		}
		if len(skip) == skipped {
			// Nobody printed a crash: it may be any of those that were under way.
			skip = append(skip, open...)
		}
		if len(skip) == skipped {
			return
		}
		rest := std(t, goCommand, []string{"-skip=^(" + strings.Join(skip, "|") + ")$", name})[name]
		if rest == nil {
			return
		}
		for test, o := range rest.tests {
			r.tests[test], r.output[test] = o, rest.output[test]
		}
	}
}

// crashed is what a test prints that ends the program.
var crashed = regexp.MustCompile(`(?m)^\s*(panic|fatal error): `)

// std runs tests of packages by a command line that stands for "go", and returns what came of them.
func std(t *testing.T, goCommand []string, packages []string) map[string]*result {
	t.Helper()
	args := append(slices.Clone(goCommand), "test", "-json", "-short", "-count=1", "-vet=off", "-p=1", "-timeout=15m")
	cmd := exec.Command(args[0], append(args[1:], packages...)...)
	cmd.Dir = filepath.Join(goroot(t), "src")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOTRACEBACK=")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	all := map[string]*result{}
	in := bufio.NewReader(out)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		var e struct {
			Action, Package, Test, Output string
			Elapsed                       float64
		}
		if json.Unmarshal(line, &e) != nil || e.Package == "" {
			continue
		}
		r := all[e.Package]
		if r == nil {
			r = &result{tests: map[string]string{}, output: map[string]string{}}
			all[e.Package] = r
		}
		top, _, sub := strings.Cut(e.Test, "/")
		switch e.Action {
		case "output":
			if len(r.output[top]) < 1<<20 {
				r.output[top] += e.Output
			}
		case "run":
			if !sub {
				r.tests[e.Test] = "none"
			}
		case "pass", "fail", "skip":
			if e.Test == "" {
				r.outcome, r.seconds = e.Action, e.Elapsed
			} else if !sub {
				r.tests[e.Test] = e.Action
			}
		}
	}
	cmd.Wait() // that a test fails is in the events
	if len(all) == 0 {
		t.Fatalf("%q: %s", args, said.Bytes())
	}
	return all
}

func goroot(t *testing.T) string {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// surroundings are flags of pinhole go that put programs of the host on the disk of the tests that start
// them, for what they are: of the host, made to call the host. (The go command is not among them.)
func surroundings(t *testing.T) []string {
	flags := []string{"-I", filepath.Join(goroot(t), "src", "unicode")}
	libraries := map[string]bool{}
	for _, name := range []string{"sh", "dash", "bash", "cat", "echo", "sleep", "true", "false", "ls", "pwd", "date", "hostname", "id",
		"whoami", "env", "nohup", "printf", "test", "stat"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		for _, dir := range []string{"/bin", "/usr/bin"} {
			if p := filepath.Join(dir, name); harness.Exec(t, "", "", "test", "-e", p).Status == 0 {
				flags = append(flags, "-I", p)
			}
		}
		out, _ := exec.Command("ldd", path).Output()
		for _, lib := range regexp.MustCompile(`/\S+\.so\S*`).FindAllString(string(out), -1) {
			libraries[lib] = true
		}
	}
	for _, lib := range slices.Sorted(maps.Keys(libraries)) {
		flags = append(flags, "-I", lib)
	}
	return flags
}

// row is a package's line in the table, and what differs.
type row struct {
	name        string
	counts      [2]string // native, inside: passed, failed, skipped
	differences []difference
}

// difference is a test that came out otherwise inside.
type difference struct{ test, native, inside, reason string }

func count(r *result) string {
	n := map[string]int{}
	for _, o := range r.tests {
		n[o]++
	}
	return fmt.Sprintf("%d / %d / %d", n["pass"], n["fail"]+n["none"], n["skip"])
}

// compare makes a row. known are the reasons that the table has, by test.
func compare(name string, native, inside *result, known map[string]string) row {
	r := row{name: name, counts: [2]string{count(native), count(inside)}}
	tests := maps.Clone(native.tests)
	maps.Copy(tests, inside.tests)
	for _, test := range slices.Sorted(maps.Keys(tests)) {
		n, i := native.tests[test], inside.tests[test]
		if n == i || i == "pass" {
			continue
		}
		d := difference{test: test, native: n, inside: i, reason: known[test]}
		if n == "" {
			d.native = "none"
		}
		if i == "" {
			d.inside = "none"
		}
		for _, w := range reasons {
			re := regexp.MustCompile(w.output)
			// What an example prints when it ends the program is the package's.
			if d.reason == "" && (re.MatchString(inside.output[test]) || i == "fail" && crashed.MatchString(inside.output[""]) && re.MatchString(inside.output[""])) {
				d.reason = w.text
			}
		}
		r.differences = append(r.differences, d)
	}
	return r
}

const (
	stdTable = "std.md"
	noReason = "?"
)

var (
	rowLine        = regexp.MustCompile(`^\| (\S+) \| ([\d /]+) \| ([\d /]+) \|`)
	differenceLine = regexp.MustCompile(`^- (\S+) (\S+): (\w+), inside (\w+): (.*)`)
)

// readTable reads std.md.
func readTable(t *testing.T) map[string]row {
	rows := map[string]row{}
	text, err := os.ReadFile(stdTable)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if m := rowLine.FindStringSubmatch(line); m != nil {
			rows[m[1]] = row{name: m[1], counts: [2]string{strings.TrimSpace(m[2]), strings.TrimSpace(m[3])}}
		}
		if m := differenceLine.FindStringSubmatch(line); m != nil {
			r := rows[m[1]]
			r.differences = append(r.differences, difference{m[2], m[3], m[4], strings.TrimSpace(m[5])})
			rows[m[1]] = r
		}
	}
	return rows
}

// writeTable writes std.md.
func writeTable(t *testing.T, rows map[string]row) {
	var b strings.Builder
	b.WriteString("# Go's own tests, natively and inside\n\n" +
		"The tests of the standard library (`go test -short`, without cgo), built from GOROOT and run on the host and in sandboxes: " +
		"how many tests passed / failed / were skipped. Made by `go test ./tests/golang -run TestStd -std all -std.write`; " +
		"what else than native came out inside, and why, is below.\n\n" +
		"| package | native | inside | differences |\n|---|--:|--:|--:|\n")
	names := slices.Sorted(maps.Keys(rows))
	for _, name := range names {
		r := rows[name]
		n := ""
		if len(r.differences) > 0 {
			n = fmt.Sprint(len(r.differences))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, r.counts[0], r.counts[1], n)
	}
	b.WriteString("\n## Differences\n\n")
	for _, name := range names {
		for _, d := range rows[name].differences {
			reason := d.reason
			if reason == "" {
				reason = noReason
			}
			fmt.Fprintf(&b, "- %s %s: %s, inside %s: %s\n", name, d.test, d.native, d.inside, reason)
		}
	}
	if err := os.WriteFile(stdTable, []byte(b.String()), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestStd(t *testing.T) {
	pinhole := harness.Pinhole(t)
	few := *stdPackages == ""
	want := *stdPackages
	switch {
	case few:
		want = stdFew
	case want == "all":
		want = stdAll
	}
	cmd := exec.Command("go", append([]string{"list"}, strings.Fields(want)...)...)
	cmd.Dir = filepath.Join(goroot(t), "src")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", want, err)
	}
	rows := readTable(t)
	inSandbox := append([]string{pinhole, "go"}, surroundings(t)...)
	packages := strings.Fields(string(out))
	for len(packages) > 0 {
		some := packages[:min(8, len(packages))]
		packages = packages[len(some):]
		start := time.Now()
		native := std(t, []string{"go"}, some)
		inside := std(t, inSandbox, some)
		t.Logf("%v: %.0f s", some, time.Since(start).Seconds())
		for _, name := range some {
			n, i := native[name], inside[name]
			if n == nil || len(n.tests) == 0 {
				continue // it has no tests
			}
			if i == nil {
				t.Errorf("%s: nothing was run inside", name)
				continue
			}
			finish(t, name, i, inSandbox)
			known := map[string]string{}
			for _, d := range rows[name].differences {
				if d.reason != noReason && !slices.ContainsFunc(reasons, func(r reason) bool { return r.text == d.reason }) {
					known[d.test] = d.reason
				}
			}
			r := compare(name, n, i, known)
			for _, d := range r.differences {
				if d.reason == "" && !*stdWrite {
					t.Errorf("%s %s: %s, inside %s, and no reason known\n%s", name, d.test, d.native, d.inside, i.output[d.test])
				}
			}
			if len(r.differences) == 0 && i.outcome == "fail" && n.outcome != "fail" {
				r.differences = append(r.differences, difference{"(the program)", n.outcome, "fail", ""})
				t.Errorf("%s: fails as a whole\n%s", name, i.output[""])
			}
			rows[name] = r
		}
		if *stdWrite {
			writeTable(t, rows)
		}
	}
}
