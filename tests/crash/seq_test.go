package crash

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// The workloads here are those of ACE, which found most of the crash bugs of Linux's file systems:
// all sequences of one or two operations on a small tree, with every kind of fsync behind each.
// (Mohan et al., "Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing", OSDI 2018.)

// smallTree is what they work on.
const smallTree = `
	mkdir A; mkdir B; mkdir A/C; mkdir B/D; creat A/C/baz; write A/C/baz 0 3000
	; creat A/foo; write A/foo 0 12k; setxattr A/foo user.small 40
	; creat A/bar; write A/bar 0 5000; write A/bar 40k 3000; setxattr A/bar user.large 700
	; creat B/foo; write B/foo 0 9000; creat B/bar; symlink foo A/sym; link A/foo A/twin
	; setxattr B/foo user.large 700`

// step1 is an operation of seq-1 and where it can be made durable: file is what it changes,
// dirs are the directories.
type step1 struct {
	text string
	file string
	dirs []string
}

// first and second are the two tree's operations of a pair, so that the second one can meet what
// the first one has made.
var seqSteps = []step1{
	{"creat A/new", "A/new", []string{"A"}},
	{"creat B/new; append B/new 3000", "B/new", []string{"B"}},
	{"mkdir A/newdir", "A/newdir", []string{"A"}},
	{"mkdir A/newdir; creat A/newdir/x", "A/newdir", []string{"A", "A/newdir"}},
	{"mkfifo B/new", "B/new", []string{"B"}},
	{"mknod A/new", "A/new", []string{"A"}},
	{"symlink short A/new", "A/new", []string{"A"}},
	{"symlink " + longName + " B/new", "B/new", []string{"B"}},
	{"link A/foo A/new", "A/foo", []string{"A"}},
	{"link A/foo B/new", "B/new", []string{"B"}},
	{"link B/bar A/new", "B/bar", []string{"A"}},
	{"unlink A/foo", "A/twin", []string{"A"}},
	{"unlink A/bar", "", []string{"A"}},
	{"unlink B/foo", "", []string{"B"}},
	{"unlink A/sym", "", []string{"A"}},
	{"rmdir B/D", "", []string{"B"}},
	{"unlink A/C/baz; rmdir A/C", "", []string{"A"}},
	{"rename A/foo A/new", "A/new", []string{"A"}},
	{"rename A/foo B/new", "B/new", []string{"B", "A"}},
	{"rename A/foo B/foo", "B/foo", []string{"B", "A"}},
	{"rename B/foo A/foo", "A/foo", []string{"A", "B"}},
	{"rename A/bar A/foo", "A/foo", []string{"A"}},
	{"rename A/foo A/twin", "A/foo", []string{"A"}},
	{"rename A/C B/C", "B/C", []string{"B", "A"}},
	{"rename A/C B/D", "B/D", []string{"B", "A"}},
	{"rename B/D A/D", "A/D", []string{"A", "B"}},
	{"rename A/foo B/foo exchange", "B/foo", []string{"A", "B"}},
	{"rename A/C B/D exchange", "A/C", []string{"A", "B"}},
	{"rename A/bar B/D exchange", "B/D", []string{"A", "B"}},
	{"rename A/foo A/new noreplace", "A/new", []string{"A"}},
	{"truncate A/foo 0", "A/foo", []string{"A"}},
	{"truncate A/foo 4500", "A/foo", []string{"A"}},
	{"truncate A/foo 60000", "A/foo", []string{"A"}},
	{"truncate B/foo 0; append B/foo 4000", "B/foo", []string{"B"}},
	{"write A/foo 0 4096", "A/foo", []string{"A"}},
	{"write A/foo 1000 9000", "A/foo", []string{"A"}},
	{"write A/foo 10000 9000", "A/foo", []string{"A"}},
	{"append A/foo 6000", "A/foo", []string{"A"}},
	{"append B/bar 100", "B/bar", []string{"B"}},
	{"append B/foo 20k", "B/foo", []string{"B"}},
	{"write A/bar 20k 5000", "A/bar", []string{"A"}},
	{"write A/bar 100k 5000", "A/bar", []string{"A"}},
	{"falloc A/bar 10k 20k", "A/bar", []string{"A"}},
	{"falloc A/foo 8k 40k", "A/foo", []string{"A"}},
	{"falloc A/foo 8k 40k keep", "A/foo", []string{"A"}},
	{"falloc B/bar 0 16k keep; append B/bar 6000", "B/bar", []string{"B"}},
	{"punch A/foo 4k 4k", "A/foo", []string{"A"}},
	{"punch A/foo 1000 9500", "A/foo", []string{"A"}},
	{"zero A/foo 4k 4k", "A/foo", []string{"A"}},
	{"zero A/bar 3000 60000", "A/bar", []string{"A"}},
	{"zero A/foo 5000 50000 keep", "A/foo", []string{"A"}},
	{"mmap A/foo 3000 6000", "A/foo", []string{"A"}},
	{"mmap A/bar 8k 8k", "A/bar", []string{"A"}},
	{"setxattr A/foo user.other 30", "A/foo", []string{"A"}},
	{"setxattr A/foo user.large 700", "A/foo", []string{"A"}},
	{"setxattr A/bar user.large 600", "A/bar", []string{"A"}},
	{"setxattr B user.dir 500", "B", []string{"B"}},
	{"rmxattr A/foo user.small", "A/foo", []string{"A"}},
	{"rmxattr A/bar user.large", "A/bar", []string{"A"}},
	{"chmod A/foo 600", "A/foo", []string{"A"}},
	{"chown A/foo 70000 80000", "A/foo", []string{"A"}},
	{"chmod A 700", "A", []string{"A"}},
	{"utimes A/foo 1234567890", "A/foo", []string{"A"}},
	{"tmpfile A @t; append @t 9000", "@t", []string{"A"}},
	{"tmpfile B @u; append @u 5000; link @u B/new", "@u", []string{"B"}},
	{"open A/bar @h; unlink A/bar; append @h 5000", "@h", []string{"A"}},
	{"open A/foo @i; rename B/foo A/foo; append @i 5000", "A/foo", []string{"A"}},
}

var longName = strings.Repeat("a-long-target/", 12)

// persist returns the ways to make a step durable: the text to put behind it.
func (s step1) persist() []string {
	out := []string{""}
	if s.file != "" {
		out = append(out, "; fsync "+s.file, "; fdatasync "+s.file)
	}
	for _, d := range s.dirs {
		out = append(out, "; fsync "+d)
	}
	return append(out, "; sync")
}

// sampled leaves n of the workloads, chosen by the seed, or all if n is 0 or a certain one is wanted.
func sampled(all []*workload, n int) []*workload {
	if n == 0 || len(all) <= n || *onlyWorkload != "" {
		return all
	}
	rng := rand.New(rand.NewPCG(*seed, 77))
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:n]
}

// choose returns one number for the ordinary run and another for the long one.
func choose(short, all int) int {
	if long {
		return all
	}
	return short
}

// TestSeq1 does each operation alone, with each kind of fsync behind it.
func TestSeq1(t *testing.T) {
	needJournal(t)
	var all []*workload
	for _, disk := range []string{"1k", "4k", "list", "nocsum"} {
		for _, s := range seqSteps {
			for _, p := range s.persist() {
				text := s.text + p
				all = append(all, &workload{
					name: text, disk: disk, setup: smallTree,
					threads: [][]op{parseScript(text)},
					all:     7, perWindow: choose(14, 40),
				})
				all[len(all)-1].name = disk + ": " + text
			}
		}
	}
	runAll(t, sampled(all, choose(45, 0)))
}

// TestSeq2 does all pairs of operations, with a kind of fsync between them and behind them.
func TestSeq2(t *testing.T) {
	needJournal(t)
	var all []*workload
	rng := rand.New(rand.NewPCG(5, 5)) // which kinds of fsync: the same in each run, so that names stay
	disk := []string{"1k", "4k", "list", "nocsum"}
	for i, a := range seqSteps {
		for j, b := range seqSteps {
			for k := range 3 {
				pa, pb := a.persist(), b.persist()
				between, behind := "", pb[rng.IntN(len(pb))]
				if k > 0 {
					between = pa[1+rng.IntN(len(pa)-1)]
				}
				text := fmt.Sprintf("%s%s; %s%s", a.text, between, b.text, behind)
				all = append(all, &workload{
					name: text, disk: disk[(i+j+k)%len(disk)], setup: smallTree,
					threads: [][]op{parseScript(text)},
					all:     6, perWindow: choose(8, 10),
				})
			}
		}
	}
	runAll(t, sampled(all, choose(55, 3000)))
}
