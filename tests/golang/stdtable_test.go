package golang

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

type reason struct{ output, text string }

// reasons explain differences by what a test printed. The first that fits counts.
var reasons = []reason{
	{`socket: function not implemented|[Ss]ocketpair|listen (tcp|udp|unix)|NewLocalListener|tcp is not supported|/dev/log|failed to listen`, "waits for sockets"},
	{`ptrace enabled failed|executing gdb|strace not found`, "nobody is traced in a sandbox"},
	{`doesn't support proc filesystem`, "/proc/net comes with the network"},
	{`CLONE_NEW|unshare syscall not permitted|namespace|userns|NEWUSER|fork/exec .*: (function not implemented|operation not permitted)`, "there are no namespaces in a sandbox"},
	{`requires ability to mount`, "nothing is mounted in a sandbox"},
	{`likely no passwordless sudo/su`, "set-user-ID bits have no effect in a sandbox, and there is no su"},
	{`executable file not found|no such file or directory.*bin/|fork/exec \S+: no such file or directory`, "a program of the host that is not on the disk"},
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

// compare makes a row. was is the table's: a reason there that no output tells was found by hand.
func compare(name string, native, inside *result, was row) row {
	known := map[string]string{}
	for _, d := range was.differences {
		if d.reason != noReason && !slices.ContainsFunc(reasons, func(r reason) bool { return r.text == d.reason }) {
			known[d.test] = d.reason
		}
	}
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
		if m := rowLine.FindStringSubmatch(line); m != nil && !slices.Contains(stdWaiting, m[1]) {
			rows[m[1]] = row{name: m[1], counts: [2]string{strings.TrimSpace(m[2]), strings.TrimSpace(m[3])}}
		}
		if m := differenceLine.FindStringSubmatch(line); m != nil {
			if r, ok := rows[m[1]]; ok {
				r.differences = append(r.differences, difference{m[2], m[3], m[4], strings.TrimSpace(m[5])})
				rows[m[1]] = r
			}
		}
	}
	return rows
}

// writeTable writes std.md.
func writeTable(t *testing.T, rows map[string]row) {
	var b strings.Builder
	fmt.Fprintf(&b, "# Go's own tests, natively and inside\n\n"+
		"The tests of the standard library (`go test -short`, without cgo), built from GOROOT and run on the host and in sandboxes: "+
		"how many tests passed / failed / were skipped. Made by `go test ./tests/golang -run TestStd -timeout 4h -std std -std.write`; "+
		"what else than native came out inside, and why, is below.\n\n"+
		"Many tests build and run programs. For them there is a Go installation on the disk, whose go command, compiler and linker were "+
		"built by `pinhole go build`, run in the sandbox, and build programs for it in their turn.\n\n"+
		"Waiting for the network, and not run: %s.\n\n"+
		"| package | native | inside | differences |\n|---|--:|--:|--:|\n", strings.Join(stdWaiting, ", "))
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
