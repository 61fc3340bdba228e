package crash

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// randomScript makes a row of operations below a directory ("" for the root), on few enough names
// that they meet.
func randomScript(rng *rand.Rand, dir string, n int) []op {
	s := &script{}
	at := func(p string) string {
		if dir == "" {
			return p
		}
		return dir + "/" + p
	}
	dirs := []string{"a", "b", "a/c"}
	for i, d := range dirs {
		s.add("mkdir %s; creat %s/f%d; append %s/f%d 20000", at(d), at(d), i, at(d), i)
	}
	file := func() string { return at(fmt.Sprintf("%s/f%d", dirs[rng.IntN(len(dirs))], rng.IntN(4))) }
	sub := func() string { return at(fmt.Sprintf("%s/d%d", dirs[rng.IntN(len(dirs))], rng.IntN(2))) }
	off := func() int { return rng.IntN(60000) }
	keep := func() string { return []string{"", " keep"}[rng.IntN(2)] }
	open := 0
	for range n {
		switch rng.IntN(30) {
		case 0, 1, 2, 3:
			s.add("creat %s", file())
		case 4, 5, 6:
			s.add("append %s %d", file(), 1+rng.IntN(9000))
		case 7, 8, 9:
			s.add("write %s %d %d", file(), off(), 1+rng.IntN(9000))
		case 10:
			s.add("truncate %s %d", file(), off())
		case 11:
			s.add("punch %s %d %d", file(), off(), 1+off())
		case 12:
			s.add("falloc %s %d %d%s", file(), off(), 1+off(), keep())
		case 13:
			s.add("zero %s %d %d%s", file(), off(), 1+off(), keep())
		case 14, 15:
			s.add("rename %s %s", file(), file())
		case 16:
			s.add("rename %s %s exchange", file(), file())
		case 17:
			s.add("rename %s %s", sub(), sub())
		case 18:
			s.add("link %s %s", file(), file())
		case 19, 20:
			s.add("unlink %s", file())
		case 21:
			s.add("mkdir %s", sub())
		case 22:
			s.add("rmdir %s", sub())
		case 23:
			s.add("setxattr %s user.x%d %d", file(), rng.IntN(3), 1+rng.IntN(400))
		case 24:
			s.add("chmod %s 6%d4; utimes %s %d", file(), rng.IntN(8), file(), 1e9+off())
		case 25:
			s.add("open %s @%d", file(), open%3)
			open++
		case 26:
			s.add("append @%d %d", rng.IntN(3), 1+rng.IntN(9000))
		case 27:
			s.add("mmap %s %d %d", file(), off(), 1+off())
		case 28:
			s.add("rmxattr %s user.x%d; tmpfile %s @t; append @t 3000", file(), rng.IntN(3), at("a"))
		case 29:
			s.add("link @t %s; fdatasync %s", file(), file())
		}
		switch rng.IntN(8) {
		case 0:
			s.add("fsync %s", file())
		case 1:
			s.add("fsync %s", at(dirs[rng.IntN(len(dirs))]))
		}
		if rng.IntN(30) == 0 {
			s.add("sync")
		}
	}
	return s.ops
}

// TestRandom does rows of random operations, each on another disk. Operations that cannot be done
// change nothing.
func TestRandom(t *testing.T) {
	needJournal(t)
	var all []*workload
	disks := []string{"1k", "4k", "list", "nocsum"}
	for i := range choose(16, 120) {
		rng := rand.New(rand.NewPCG(*seed, uint64(i)))
		all = append(all, &workload{
			name: fmt.Sprint("random ", i), disk: disks[i%len(disks)],
			threads: [][]op{randomScript(rng, "", 40+rng.IntN(60))},
			all:     4, perWindow: 12, total: choose(60, 200), quiet: true,
		})
	}
	runAll(t, all)
}

// TestThreads does the same in several threads that share transactions and flushes, each in a
// directory of its own, once with a background writer that gets in between.
func TestThreads(t *testing.T) {
	needJournal(t)
	var all []*workload
	disks := []string{"1k", "4k", "list"}
	for i := range choose(6, 40) {
		rng := rand.New(rand.NewPCG(*seed, 1000+uint64(i)))
		w := &workload{
			name: fmt.Sprint("threads ", i), disk: disks[i%len(disks)], setup: "mkdir t0; mkdir t1; mkdir t2; mkdir t3",
			all: 4, perWindow: 12, total: choose(60, 400), quiet: true,
		}
		for k := range 4 {
			w.threads = append(w.threads, randomScript(rng, fmt.Sprint("t", k), 40))
		}
		if i%2 == 1 {
			w.behind = time.Millisecond
		}
		all = append(all, w)
	}
	runAll(t, all)
}
