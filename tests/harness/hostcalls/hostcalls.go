// Package hostcalls looks at a locked process from outside: it judges the calls that strace has seen it make
// by the lock's table, read in another way than by the filter.
package hostcalls

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pinhole/runtime/seccomp"
)

// Command returns the beginning of a command line that runs a program and all that it starts, and writes
// their calls to list. The test is skipped where nobody can trace.
func Command(t testing.TB, list string) []string {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	if out, err := exec.Command(strace, "-o", filepath.Join(t.TempDir(), "probe"), "true").CombinedOutput(); err != nil {
		t.Skipf("this host lets nobody trace: %v\n%s", err, out)
	}
	return []string{strace, "-f", "-X", "raw", "-e", "raw=all", "-o", list}
}

// Seen are the calls of a process after its lock.
type Seen struct {
	Admitted map[string]int // by the table, by name
	Refused  map[string]int // by the filter, which raised SIGSYS instead
	Stray    []string       // lines of the list: neither of these
}

var (
	begins = regexp.MustCompile(`^(\d+) +([a-z_0-9]+)\(([^)]*?)(?:\)| <unfinished)`) // thread, call, arguments in numbers
	raises = regexp.MustCompile(`^(\d+) +--- SIGSYS `)
)

// Judge reads a list of Command's for the calls that the threads of a process have begun after its lock; nil:
// all threads.
func Judge(list io.Reader, threads map[int]bool) (s Seen, err error) {
	s = Seen{Admitted: map[string]int{}, Refused: map[string]int{}}
	type call struct{ name, line string }
	pending := map[string]call{} // by thread: one that is not admitted
	settle := func(thread string, refused bool) {
		c, ok := pending[thread]
		switch {
		case !ok:
		case refused:
			s.Refused[c.name]++
		default:
			s.Stray = append(s.Stray, c.line)
		}
		delete(pending, thread)
	}
	locked := false
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		line := lines.Text()
		// The filter is there for all threads at once.
		if strings.Contains(line, "seccomp") && strings.HasSuffix(line, " = 0") {
			locked = true
			continue
		}
		if !locked {
			continue
		}
		if m := raises.FindStringSubmatch(line); m != nil {
			settle(m[1], true)
			continue
		}
		m := begins.FindStringSubmatch(line)
		if m == nil {
			continue // a call's end, another signal, a thread's end
		}
		if tid, _ := strconv.Atoi(m[1]); threads != nil && !threads[tid] {
			continue
		}
		settle(m[1], false)
		var args []uint64
		for a := range strings.SplitSeq(m[3], ", ") {
			if a == "" {
				continue
			}
			v, err := strconv.ParseUint(a, 0, 64)
			if err != nil {
				return s, fmt.Errorf("a line that says something else: %s", line)
			}
			args = append(args, v)
		}
		if admitted(m[2], args) {
			s.Admitted[m[2]]++
		} else {
			pending[m[1]] = call{m[2], line}
		}
	}
	for thread := range pending {
		settle(thread, false)
	}
	return s, lines.Err()
}

func admitted(call string, args []uint64) bool {
rows:
	for _, r := range seccomp.Table {
		if r.Call != call {
			continue
		}
		for _, c := range r.If {
			if c.Arg >= len(args) {
				continue rows
			}
			v := args[c.Arg]
			if c.Op == seccomp.Equal && v != c.Value || c.Op == seccomp.AtMost && v > c.Value || c.Op == seccomp.AtLeast && v < c.Value {
				continue rows
			}
		}
		return true
	}
	return false
}
