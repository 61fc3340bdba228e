package crash

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pinhole/blockdev/faultdev"
	"pinhole/tests/harness"
)

// database is a run of SQLite in a sandbox.
type database struct {
	mode    string // of the journal
	sync    string // PRAGMA synchronous
	late    int    // transactions that may be lost after their commit
	commits []int  // of each transaction, from 1 on: events when it was known to be committed
}

const databaseRows = 3 // that a transaction adds

// bodyLen is the length of the rows of a transaction.
func bodyLen(n int) int { return 200 + n*397%3000 }

// script is what the shell is told: a transaction that adds rows, removes some and counts, and then
// a line that says that it is committed.
func (d *database) script(transactions int) string {
	var s strings.Builder
	fmt.Fprintf(&s, "PRAGMA journal_mode=%s;\nPRAGMA synchronous=%s;\n", d.mode, d.sync)
	s.WriteString("CREATE TABLE IF NOT EXISTS counter(v INTEGER); CREATE TABLE t(id INTEGER PRIMARY KEY, n INTEGER, body TEXT);\nCREATE INDEX by_n ON t(n, body);\nINSERT INTO counter VALUES(0);\nSELECT 'committed', 0;\n")
	for n := 1; n <= transactions; n++ {
		s.WriteString("BEGIN;\n")
		for i := range databaseRows {
			fmt.Fprintf(&s, "INSERT INTO t VALUES(%d, %d, printf('%%0%dd', %d));\n", n*10+i, n, bodyLen(n), n*10+i)
		}
		if n > 5 {
			fmt.Fprintf(&s, "DELETE FROM t WHERE n = %d;\n", n-5)
		}
		fmt.Fprintf(&s, "UPDATE counter SET v = %d;\nCOMMIT;\nSELECT 'committed', %d;\n", n, n)
	}
	return s.String()
}

// rows is what the table holds after n transactions: number and length of the rows.
func (d *database) rows(n int) (rows, length int) {
	for k := max(1, n-4); k <= n; k++ {
		rows += databaseRows
		length += databaseRows * bodyLen(k)
	}
	return rows, length
}

// TestSQLite runs the real thing in a sandbox whose image is recorded from outside, in each of its
// journal modes. After each crash the host's build of SQLite recovers the database, which must be whole
// and have every transaction that was committed.
func TestSQLite(t *testing.T) {
	guest := filepath.Join(harness.Root(), "build", "apps", "sqlite3")
	native := filepath.Join(harness.Root(), "build", "native", "sqlite3")
	for _, p := range []string{guest, native} {
		if _, err := os.Stat(p); err != nil {
			t.Skipf("%s is not built: run 'go run ./cmd/dev build'", p)
		}
	}
	img := harness.Image(t, "32M", map[string]string{"/bin/sqlite3": guest})
	content, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []*database{
		// What commits in this mode is the journal's deletion, which FULL does not fsync: the last
		// transaction may come back undone. EXTRA does (sqlite.org/pragma.html#pragma_synchronous).
		{mode: "DELETE", sync: "FULL", late: 1},
		{mode: "DELETE", sync: "EXTRA"},
		{mode: "TRUNCATE", sync: "FULL"},
		{mode: "PERSIST", sync: "FULL"},
		{mode: "WAL", sync: "FULL"},
	} {
		t.Run(d.mode+" "+d.sync, func(t *testing.T) {
			counted(t)
			count.workloads.Add(1)
			events := d.record(t, content)
			c := &faultdev.Crashes{
				Base: faultdev.NewImage(content), Events: events, Seed: *seed,
				All: 5, PerWindow: choose(12, 60), Total: choose(40, 800), Whole: wholeSuperblock,
			}
			l := newLooker(t)
			defer l.close()
			failures := 0
			for s := range c.States() {
				if err := d.look(t, l, s, native); err != nil {
					count.failures.Add(1)
					f, _ := os.CreateTemp("", "pinhole-crash-*.img")
					f.Close()
					dumpImage(t, s.Image, f.Name())
					t.Errorf("state %s of %d events, crash between %d and %d, commits at %v: %v", s.ID, len(events), s.First, s.Last, d.commits, err)
					if failures++; failures == 3 {
						break
					}
				}
			}
		})
	}
}

// record runs the transactions and returns what was written to the image.
func (d *database) record(t *testing.T, content []byte) []faultdev.Event {
	r := newRecorder(t, content)
	cmd := exec.Command(harness.Pinhole(t), "run", "--image", r.image, "--memory", "256M", "/bin/sqlite3", "/db")
	cmd.Stdin = strings.NewReader(d.script(choose(12, 40)))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := strings.CutPrefix(line, "committed|"); ok {
			if k, _ := strconv.Atoi(strings.TrimSpace(n)); k != len(d.commits) {
				t.Fatalf("transaction %d follows %d others", k, len(d.commits))
			}
			d.commits = append(d.commits, r.events())
		} else if want := strings.ToLower(d.mode) + "\n"; line != want {
			t.Errorf("SQLite says %q, want %q", line, want)
		}
	}
	if err := cmd.Wait(); err != nil || harness.Messages(errs.String()) != "" {
		t.Fatalf("SQLite in the sandbox: %v\n%s", err, errs.String())
	}
	return r.stop(t)
}

// look recovers from a crash, first the file system, then the database.
func (d *database) look(t *testing.T, l *looker, s faultdev.State, native string) error {
	count.states.Add(1)
	tree, err := l.recover(s.Image)
	if err != nil {
		return err
	}
	dir := t.TempDir()
	defer os.RemoveAll(dir)
	have := map[string]bool{}
	for _, e := range tree.entries {
		if e.dir != tree.root || !strings.HasPrefix(e.name, "db") || strings.HasSuffix(e.name, "-shm") {
			continue
		}
		have[e.name] = true
		if err := writeSeen(filepath.Join(dir, e.name), tree.inodes[e.ino]); err != nil {
			return err
		}
	}
	least := -1
	for n, at := range d.commits {
		if at <= s.Last {
			least = n - d.late
		}
	}
	if least < 0 {
		return nil // nothing is committed for good, not even the tables
	}
	if !have["db"] {
		return fmt.Errorf("the database is gone; there are %v", have)
	}
	cmd := exec.Command(native, filepath.Join(dir, "db"), "PRAGMA integrity_check; SELECT v FROM counter; SELECT count(*), coalesce(sum(length(body)), 0) FROM t;")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("SQLite: %v\n%s", err, out)
	}
	var integrity string
	var v, rows, length int
	if _, err := fmt.Sscanf(string(out), "%s\n%d\n%d|%d", &integrity, &v, &rows, &length); err != nil || integrity != "ok" {
		return fmt.Errorf("SQLite says: %s(%v)", out, err)
	}
	if v < least {
		return fmt.Errorf("transaction %d was committed, but the last one in the database is %d", least, v)
	}
	if r, n := d.rows(v); r != rows || n != length {
		return fmt.Errorf("after transaction %d there are %d rows with %d bytes, want %d with %d", v, rows, length, r, n)
	}
	return nil
}

// writeSeen writes a file that was looked at to the host.
func writeSeen(path string, i *seenInode) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, c := range i.data {
		if _, err := f.WriteAt(c.p, c.off); err != nil {
			return err
		}
	}
	return f.Truncate(i.size)
}
