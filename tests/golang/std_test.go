package golang

import (
	"cmp"
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pinhole/tests/harness"
)

// The tests of Go's standard library, built from GOROOT and run natively and in sandboxes. What came
// of it is in std.md, with the reason for each difference from native; TestStd keeps it true for a few
// packages. The table is made anew by
//
//	go test ./tests/golang -run TestStd -timeout 4h -std std -std.write
//
// or for some packages, patterns of go list, by -std "os/... time" -std.write. Tests that come out otherwise than
// natively are run again on a disk with a Go installation, since many build programs.
var (
	stdPackages = flag.String("std", "", "packages of the standard library to test, instead of the few that are checked always")
	stdWrite    = flag.Bool("std.write", false, "write what comes of it into std.md")
	stdCount    = flag.Int("std.count", 1, "how often to run the tests inside, for those that come out otherwise only sometimes")
)

// stdFew are checked always. None of their tests needs the go command.
const stdFew = "sync context io io/fs path/filepath encoding/json text/template"

// stdWaiting are packages whose tests are about sockets, or begin by opening one, and wait for the network.
var stdWaiting = []string{"crypto/tls", "net", "net/http", "net/http/cgi", "net/http/fcgi", "net/http/httptest", "net/http/httputil", "net/http/pprof",
	"net/internal/cgotest", "net/rpc", "net/rpc/jsonrpc", "net/smtp"}

// stdMemory is what packages' tests need, where that is more than most.
var stdMemory = map[string]string{"runtime": "6G"}

// result is what came of a package's tests on one side.
type result struct {
	tests   map[string]string // outcome of each test: pass, fail, skip, or none if the program ended before
	output  map[string]string // what it printed
	outcome string            // the package's
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
		rest := std(t, goCommand, []string{"-count=1", "-skip=^(" + strings.Join(skip, "|") + ")$", name})[name]
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

func stdEnv() []string { return append(harness.GoEnvironment(), "GOTRACEBACK=") }

// std runs tests of packages by a command line that stands for "go", and returns what came of them.
func std(t *testing.T, goCommand []string, packages []string) map[string]*result {
	t.Helper()
	args := append(slices.Clone(goCommand), "test", "-json", "-short", "-vet=off", "-p=1", "-timeout=15m")
	cmd := exec.Command(args[0], append(args[1:], packages...)...)
	cmd.Dir = filepath.Join(harness.GOROOT(t), "src")
	cmd.Env = stdEnv()
	all := map[string]*result{}
	said := harness.GoTest(t, cmd, func(e harness.GoTestEvent) {
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
			if !sub && r.tests[e.Test] != "fail" {
				r.tests[e.Test] = "none"
			}
		case "pass", "fail", "skip":
			if e.Test == "" {
				r.outcome = e.Action
			} else if o := r.tests[e.Test]; !sub && o != "fail" {
				r.tests[e.Test] = e.Action // fail, if it does once of several times
			}
		}
	})
	if len(all) == 0 {
		t.Fatalf("%q: %s", args, said)
	}
	return all
}

// listStd lists the packages of the standard library that patterns name and that have tests.
func listStd(t *testing.T, patterns ...string) []string {
	cmd := exec.Command("go", append([]string{"list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}"}, patterns...)...)
	cmd.Dir = filepath.Join(harness.GOROOT(t), "src")
	cmd.Env = stdEnv()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", patterns, err)
	}
	return slices.DeleteFunc(strings.Fields(string(out)), func(name string) bool { return slices.Contains(stdWaiting, name) })
}

// TestStdComplete checks that no package is left out of the table.
func TestStdComplete(t *testing.T) {
	rows := readTable(t)
	for _, name := range listStd(t, "std") {
		if _, ok := rows[name]; !ok {
			t.Errorf("%s: std.md has no row: run TestStd with -std %s -std.write", name, name)
		}
	}
	for _, r := range rows {
		for _, d := range r.differences {
			if d.reason == noReason {
				t.Errorf("%s %s: std.md has no reason for the difference", r.name, d.test)
			}
		}
	}
}

func TestStd(t *testing.T) {
	pinhole := harness.Pinhole(t)
	few := *stdPackages == ""
	want := *stdPackages
	if few {
		want = stdFew
	}
	rows := readTable(t)
	place := surroundings(t)
	var withGo []string // made for the first package that needs it
	for _, name := range listStd(t, strings.Fields(want)...) {
		start := time.Now()
		n := std(t, []string{"go"}, []string{"-count=1", name})[name]
		if n == nil {
			t.Errorf("%s: nothing was run natively", name)
			continue
		}
		inside := func(place []string) (*result, row) {
			inSandbox := append([]string{pinhole, "go", "-m", cmp.Or(stdMemory[name], "2G")}, place...)
			i := std(t, inSandbox, []string{fmt.Sprintf("-count=%d", *stdCount), name})[name]
			if i == nil {
				t.Fatalf("%s: nothing was run inside", name)
			}
			finish(t, name, i, inSandbox)
			return i, compare(name, n, i, rows[name])
		}
		i, r := inside(place)
		if len(r.differences) > 0 && !few {
			if withGo == nil {
				withGo = append(goDisk(t, pinhole), place...)
			}
			i, r = inside(withGo)
		}
		t.Logf("%s: %s, inside %s, %.0f s", name, r.counts[0], r.counts[1], time.Since(start).Seconds())
		for _, d := range r.differences {
			if d.reason == "" {
				t.Errorf("%s %s: %s, inside %s, and no reason known\n%s", name, d.test, d.native, d.inside, i.output[d.test])
			}
		}
		if len(r.differences) == 0 && i.outcome == "fail" && n.outcome != "fail" {
			r.differences = append(r.differences, difference{"(the program)", n.outcome, "fail", ""})
			t.Errorf("%s: fails as a whole\n%s", name, i.output[""])
		}
		switch was := rows[name]; {
		case *stdWrite && *stdCount == 1:
			rows[name] = r
			writeTable(t, rows)
		case r.counts[0] != was.counts[0]:
			// Another user or another host, where other tests are skipped.
			t.Logf("%s: natively %s, %s when std.md was made", name, r.counts[0], was.counts[0])
		default:
			if diff := gocmp.Diff(was, r, gocmp.AllowUnexported(row{}, difference{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s: std.md says otherwise (-std.md +now):\n%s", name, diff)
			}
		}
	}
}
