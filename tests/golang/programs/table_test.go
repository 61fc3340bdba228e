package programs

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

const tableFile = "programs.md"

const tableHead = `# Real programs, natively and inside

Programs from the module proxy, unmodified, built by ` + "`go build`" + ` and by ` + "`pinhole go build`" + `. Of a module's own tests stands here how many passed / failed / were skipped (subtests not counted), of a command that works on files how it ended: what it printed and what files it left is the same on both sides to the byte, or listed as a difference. "Time" is by the clock, "processor" user and system time together, of the supervisor too. Times are of one run, or medians of several in turn where that is short; starting the sandbox is in them, and for tests making its disk. Tests have their files in memory on both sides (natively tmpfs), commands on the host's disk, in its files or in an image. "Load" is the host's average of the last minute when the runs ended: where it is above one or two, others used the machine, and processor time says more than time. Made by ` + "`go test ./tests/golang/programs -timeout 4h -programs all -programs.write`" + `.

| program | what was run | outcome, native | inside | time, native | inside | ratio | processor, native | inside | ratio | load |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
`

var rowLine = regexp.MustCompile(`^\| (\S+) [^|]+ \| ([^|]*) \| ([^|]*) \| ([^|]*) \| ([\d.]+) s \| ([\d.]+) s \| [\d.]+ \| ([\d.]+) s \| ([\d.]+) s \| [\d.]+ \|(?: ([\d.]*) \|)?$`)

// readTable reads programs.md.
func readTable(t *testing.T) map[string]row {
	rows := map[string]row{}
	text, err := os.ReadFile(tableFile)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if m := rowLine.FindStringSubmatch(line); m != nil {
			r := row{name: m[1], what: m[2], outcome: [2]string{m[3], m[4]}}
			for i, to := range []*float64{&r.wall[0], &r.wall[1], &r.cpu[0], &r.cpu[1]} {
				fmt.Sscan(m[5+i], to)
			}
			r.load = m[9]
			rows[r.name] = r
		} else if head, rest, ok := strings.Cut(strings.TrimPrefix(line, "- "), ": "); ok && strings.HasPrefix(line, "- ") {
			if r, ok := rows[head]; ok {
				r.differences = append(r.differences, rest)
				rows[head] = r
			}
		}
	}
	return rows
}

// writeTable writes programs.md, with the rows in the order of the list.
func writeTable(t *testing.T, rows map[string]row) {
	var b, differences, notes strings.Builder
	b.WriteString(tableHead)
	for _, e := range list {
		r, ok := rows[e.name]
		if !ok {
			continue
		}
		fmt.Fprintf(&b, "| %s %s | %s | %s | %s | %.2f s | %.2f s | %.2f | %.2f s | %.2f s | %.2f | %s |\n", e.name, e.release(), e.what, r.outcome[native], r.outcome[inside],
			r.wall[native], r.wall[inside], r.wall[inside]/r.wall[native], r.cpu[native], r.cpu[inside], r.cpu[inside]/max(r.cpu[native], 0.01), r.load)
		for _, d := range r.differences {
			fmt.Fprintf(&differences, "- %s: %s\n", e.name, d)
		}
		if e.note != "" {
			fmt.Fprintf(&notes, "- **%s**: %s\n", e.name, e.note)
		}
	}
	b.WriteString("\n## Differences\n\n")
	if differences.Len() == 0 {
		b.WriteString("None.\n")
	}
	b.WriteString(differences.String())
	b.WriteString("\n## Notes\n\n" + notes.String())
	if err := os.WriteFile(tableFile, []byte(b.String()), 0o666); err != nil {
		t.Fatal(err)
	}
}

// release is the version, as the table has it.
func (e *entry) release() string {
	if e.version == "" {
		return "(the installed one)"
	}
	return e.version
}

// TestTable: the table is of what is in the list, and has a reason for each difference.
func TestTable(t *testing.T) {
	rows := readTable(t)
	if len(rows) == 0 {
		t.Errorf("%s has no rows", tableFile)
	}
	for _, e := range list {
		r, ok := rows[e.name]
		delete(rows, e.name)
		if !ok {
			continue
		}
		if r.what != e.what {
			t.Errorf("%s: the table has %q, the list %q", e.name, r.what, e.what)
		}
		if r.wall[native] == 0 || r.wall[inside] == 0 {
			t.Errorf("%s: no times", e.name)
		}
		for _, d := range r.differences {
			if strings.HasSuffix(d, "?") {
				t.Errorf("%s: %s", e.name, d)
			}
		}
	}
	for name := range rows {
		t.Errorf("%s is in the table and not in the list", name)
	}
}
