// Package programs runs other people's Go programs, from the module proxy and unmodified, natively and in
// sandboxes: the tests that modules have, test by test, and commands at work on files, whose output is
// compared to the byte. What came of it, and the time each took, is in programs.md.
package programs

import (
	"cmp"
	"flag"
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

// The table is made anew, in half an hour, by
//
//	go test ./tests/golang/programs -timeout 4h -programs all -programs.write
//
// or for some of them by -programs "sqlite hugo" -programs.write. Without flags the
// shortest are run once, and with PINHOLE_LONG=1 all of them.
var (
	wanted = flag.String("programs", "", "programs to run, instead of the shortest; all: those of the table")
	write  = flag.Bool("programs.write", false, "write what comes of it into programs.md")
	rounds = flag.Int("programs.rounds", 0, "how often to run each on both sides, instead of what its length suggests")
)

// side is where a program runs.
type side int

const (
	native side = iota
	inside
)

func (s side) String() string { return [...]string{"native", "inside"}[s] }

// reason is why a test comes out otherwise inside, for those whose output fits.
type reason struct{ output, text string }

// entry is a line of the table.
type entry struct {
	name string
	what string // what is run, for the table
	note string // why the times are what they are, or what to know of it

	module, version string

	// The module's own tests:
	packages string   // patterns of go list
	flags    []string // of go test
	env      []string
	reasons  []reason

	// Or a command at work:
	command string                         // package of it; of the standard distribution if module is ""
	source  string                         // or a program of testdata that uses the module
	tools   bool                           // the go command and its tools have to be on the disk
	prepare func(t *testing.T, dir string) // writes what it works on
	args    []string                       // its arguments
	results []string                       // files and directories that it leaves
	varying *regexp.Regexp                 // what differs in its output between any two runs

	memory string // of the sandbox; "" for pinhole go's
	long   bool   // not part of the ordinary tests
	rounds int    // 1 if it is 0
}

// row is what came of an entry.
type row struct {
	name, what  string
	outcome     [2]string
	wall, cpu   [2]float64 // seconds; processor time in user mode and in the kernel's
	load        string     // the host's, as they ended
	differences []string
}

func TestPrograms(t *testing.T) {
	harness.Pinhole(t)
	rows := readTable(t)
	for _, e := range list {
		switch {
		case *wanted == "":
			if e.long && os.Getenv("PINHOLE_LONG") != "1" {
				continue
			}
		case *wanted != "all":
			if !slices.Contains(strings.Fields(*wanted), e.name) {
				continue
			}
		}
		t.Run(e.name, func(t *testing.T) {
			var r row
			if e.packages != "" {
				r = e.suite(t)
			} else {
				r = e.work(t)
			}
			t.Logf("%s: %s / %s, %.2f s / %.2f s, processor %.2f s / %.2f s", r.what, r.outcome[native], r.outcome[inside], r.wall[native], r.wall[inside], r.cpu[native], r.cpu[inside])
			if text, err := os.ReadFile("/proc/loadavg"); err == nil {
				r.load, _, _ = strings.Cut(string(text), " ")
			}
			rows[e.name] = r
			if *write {
				writeTable(t, rows)
			}
		})
	}
}

// count is how often an entry is run.
func (e *entry) count() int {
	switch {
	case *rounds > 0:
		return *rounds
	case *wanted == "" || e.rounds == 0:
		return 1
	}
	return e.rounds
}

// environment is that of all commands here, with its own after it.
func environment(own ...string) []string {
	return append(append(harness.GoEnvironment(), "GOWORK=off", "GOTRACEBACK="), own...)
}

// must runs a command in dir to its end, which has to be a good one.
func must(t *testing.T, dir string, env []string, line ...string) string {
	t.Helper()
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", line, err, out)
	}
	return string(out)
}

// download has the go command fetch a module and returns where it is; the test is skipped if the module
// cannot be had.
func download(t *testing.T, module, version string) (dir string) {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", module+"@"+version)
	cmd.Dir, cmd.Env = t.TempDir(), environment()
	out, err := cmd.Output()
	m := regexp.MustCompile(`"Dir": "(.*)"`).FindSubmatch(out)
	if err != nil || m == nil {
		t.Skipf("%s@%s cannot be had from the module proxy: %v %s", module, version, err, unavailable(out))
	}
	return string(m[1])
}

// unavailable is what the go command says of a module that it cannot have: an error, or its last line.
func unavailable(out []byte) string {
	if m := regexp.MustCompile(`"Error": "(.*)"`).FindSubmatch(out); m != nil {
		return string(m[1])
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// sources makes a copy of a module that can be written to, as a checkout has it, with all that it
// needs fetched.
func sources(t *testing.T, module, version string) (dir string) {
	t.Helper()
	from := download(t, module, version)
	dir = filepath.Join(t.TempDir(), filepath.Base(module))
	must(t, "", nil, "cp", "-r", from, dir)
	must(t, "", nil, "chmod", "-R", "u+w", dir)
	cmd := exec.Command("go", "mod", "download")
	cmd.Dir, cmd.Env = dir, environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("what %s@%s needs cannot be had from the module proxy: %s", module, version, unavailable(out))
	}
	return dir
}

// pinholeGo is what stands for "go" on a side.
func pinholeGo(t *testing.T, s side, flags ...string) []string {
	if s == native {
		return []string{"go"}
	}
	return append([]string{harness.Pinhole(t), "go"}, flags...)
}

func median(list []float64) float64 {
	list = slices.Clone(list)
	slices.SortFunc(list, cmp.Compare)
	return list[len(list)/2]
}

// used is the processor time that a command and what it waited for have used, in seconds.
func used(s *os.ProcessState) float64 { return (s.UserTime() + s.SystemTime()).Seconds() }

func since(start time.Time) float64 { return time.Since(start).Seconds() }
