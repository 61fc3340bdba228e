package programs

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pinhole/tests/harness"
)

// outcomes is what came of tests.
type outcomes struct {
	tests   map[string]string // by "package test", without subtests: pass, fail, skip, or none if the program ended before
	output  map[string]string // what it printed, with its subtests
	seconds float64           // how long the test programs ran, as go test measures it
	cpu     float64           // processor time of the whole command, compiling and linking included, in seconds
}

// test runs go test.
func test(t *testing.T, dir string, env []string, line []string) outcomes {
	t.Helper()
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir, cmd.Env = dir, env
	all := outcomes{tests: map[string]string{}, output: map[string]string{}}
	said := harness.GoTest(t, cmd, func(e harness.GoTestEvent) {
		top, _, sub := strings.Cut(e.Test, "/")
		name := e.Package + " " + top
		switch e.Action {
		case "output":
			if len(all.output[name]) < 1<<20 {
				all.output[name] += e.Output
			}
		case "run":
			if !sub {
				all.tests[name] = "none"
			}
		case "pass", "fail", "skip":
			if e.Test == "" {
				all.seconds += e.Elapsed
			} else if !sub {
				all.tests[name] = e.Action
			}
		}
	})
	all.cpu = used(cmd.ProcessState)
	if len(all.tests) == 0 && !slices.Contains(line, nothing) {
		t.Fatalf("%q: %s", line, said)
	}
	return all
}

// nothing has go test build and link, and run no test.
const nothing = "-run=^$"

// suite runs the module's own tests. Their files are in memory on both sides, if the host has a file
// system that is.
func (e *entry) suite(t *testing.T) row {
	dir := sources(t, e.module, e.version)
	r := row{name: e.name, what: e.what}
	env := environment(append(e.env, "TMPDIR="+memoryDir(t))...)
	var flags []string
	if e.memory != "" {
		flags = append(flags, "-m", e.memory)
	}
	for _, v := range e.env {
		flags = append(flags, "-e", v)
	}
	var lines [2][]string
	var base [2]float64
	for _, s := range []side{native, inside} {
		lines[s] = slices.Concat(pinholeGo(t, s, flags...), []string{"test", "-json", "-count=1", "-vet=off", "-p=1", "-timeout=30m"}, e.flags, strings.Fields(e.packages))
		if *wanted == "" && !e.long {
			continue // nobody reads the times
		}
		building := append(slices.Clone(lines[s]), nothing)
		test(t, dir, env, building) // so that everything is compiled
		base[s] = test(t, dir, env, building).cpu
	}
	var got [2]outcomes
	var wall, cpu [2][]float64
	for range e.count() {
		for _, s := range []side{native, inside} {
			got[s] = test(t, dir, env, lines[s])
			wall[s], cpu[s] = append(wall[s], got[s].seconds), append(cpu[s], max(0, got[s].cpu-base[s]))
		}
	}
	for s := range got {
		r.outcome[s] = count(got[s].tests)
		r.wall[s], r.cpu[s] = median(wall[s]), median(cpu[s])
	}
	r.differences = e.compare(t, got)
	return r
}

// memoryDir is a directory for a test's files, in memory if that can be had.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "programs-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// count is for the table: passed, failed, skipped.
func count(tests map[string]string) string {
	n := map[string]int{}
	for _, o := range tests {
		n[o]++
	}
	return fmt.Sprintf("%d / %d / %d", n["pass"], n["fail"]+n["none"], n["skip"])
}

// compare lists what came out otherwise inside, with the reason. One without is an error.
func (e *entry) compare(t *testing.T, got [2]outcomes) (list []string) {
	names, ended := maps.Clone(got[native].tests), map[string]bool{}
	maps.Copy(names, got[inside].tests)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n, i := got[native].tests[name], got[inside].tests[name]
		if i == "" {
			if pkg, _, _ := strings.Cut(name, " "); !ended[pkg] {
				ended[pkg] = true
				t.Errorf("%s: ends early inside\n%s", pkg, got[inside].output[pkg+" "])
			}
			list = append(list, name+": not run inside: ?")
			continue
		}
		if n == i {
			continue
		}
		why := ""
		for _, r := range e.reasons {
			if why == "" && regexp.MustCompile(r.output).MatchString(name+"\n"+got[inside].output[name]+got[native].output[name]) {
				why = r.text
			}
		}
		if why == "" {
			why = "?"
			t.Errorf("%s: %q, inside %q, and no reason known\n%s", name, n, i, tail(got[inside].output[name]))
		}
		list = append(list, fmt.Sprintf("%s: %s, inside %s: %s", name, orNone(n), orNone(i), why))
	}
	return list
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// tail is the end of a long output.
func tail(s string) string { return s[max(0, len(s)-4096):] }
