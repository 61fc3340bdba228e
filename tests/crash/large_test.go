package crash

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// script collects operations.
type script struct{ ops []op }

func (s *script) add(format string, args ...any) {
	s.ops = append(s.ops, parseScript(fmt.Sprintf(format, args...))...)
}

// one makes a workload of a script; total is the limit of its states in the ordinary run and in
// the long one.
func one(name, disk, setup string, s *script, short, all int) *workload {
	return &workload{name: name, disk: disk, setup: setup, threads: [][]op{s.ops}, all: 5, perWindow: 200, total: choose(short, all)}
}

// growDirectory makes a directory that grows from one block to a hash tree, splits its blocks, and
// shrinks again.
func growDirectory(name, disk string, files, nameLen, every int) *workload {
	s := &script{}
	rng := rand.New(rand.NewPCG(uint64(files), uint64(nameLen)))
	path := func(i int) string { return fmt.Sprintf("d/%0*d", nameLen, i) }
	for i := range files {
		s.add("creat %s", path(i))
		if i%7 == 3 {
			s.add("rename %s %s", path(i), path(files+i))
		}
		if i%every == every-1 {
			s.add("fsync d")
		}
	}
	order := rng.Perm(files)
	for k, i := range order[:files/2] {
		if i%7 == 3 {
			s.add("unlink %s", path(files+i))
		} else {
			s.add("unlink %s", path(i))
		}
		if k%every == every-1 {
			s.add("fsync d")
		}
	}
	return one(name, disk, "mkdir d", s, 30, 900)
}

// scatterExtents makes a file of many extents, in random order, then cuts them.
func scatterExtents(name, disk string, block int64, extents int) *workload {
	s := &script{}
	rng := rand.New(rand.NewPCG(uint64(extents), 1))
	s.add("creat f; creat g; falloc g 0 %d; fsync g", block*int64(extents))
	for k, i := range rng.Perm(extents) {
		s.add("write f %d %d", int64(i)*2*block, block)
		if k%3 == 0 {
			s.add("write g %d %d", int64(i)*block, block) // splits the unwritten extent
		}
		if k%40 == 39 {
			s.add("fsync f; fdatasync g")
		}
	}
	end := int64(extents) * 2 * block
	s.add("fsync f; punch f %d %d; fsync f; punch g %d %d; fsync g", end/4, end/4, 3*block+100, 20*block)
	s.add("truncate f %d; fsync f; append f %d; fsync f; zero f %d %d; fsync f", end/3+77, 9*block, end/8, end/8)
	s.add("falloc f 0 %d; fsync f; truncate f 0; append f %d; fsync f; truncate g %d; unlink f; sync", end/2, 3*block, block/2)
	return one(name, disk, "", s, 30, 900)
}

// shareAttributes has files share blocks of attributes, and part again.
func shareAttributes(disk string) *workload {
	s := &script{}
	for i := range 12 {
		s.add("creat f%d; setxattr f%d user.same 600; fsync f%d", i, i, i)
	}
	s.add("setxattr f3 user.other 100; fsync f3; rmxattr f4 user.same; fsync f4; setxattr f5 user.same2 60; fsync f5")
	s.add("unlink f0; unlink f1; fsync f2; link f6 g; unlink f6; rename f7 f8; setxattr g user.mine 200; fsync g")
	for i := 9; i < 12; i++ {
		s.add("rmxattr f%d user.same; setxattr f%d user.same 600", i, i)
	}
	s.add("sync; unlink f2; unlink f3; unlink f5; unlink f8; unlink f9; unlink f10; unlink f11; unlink g")
	return one("shared attributes "+disk, disk, "", s, 30, 900)
}

// keepOrphans has files without names, which a recovery must free.
func keepOrphans(disk string) *workload {
	s := &script{}
	for i := range 8 {
		s.add("creat f%d; append f%d %d; open f%d @h%d", i, i, 3000+i*9000, i, i)
	}
	s.add("fsync f3; unlink f0; unlink f1; unlink f2; append @h1 30000; fsync @h1; truncate @h2 100; unlink f3; fsync .")
	s.add("rename f4 f5; append @h5 5000; fsync f5; close @h0; close @h2; unlink f6; truncate @h6 200k; append @h6 9000; fsync @h6")
	s.add("tmpfile . @t; append @t 50k; fsync @t; tmpfile . @u; append @u 5k; link @u u; fsync u; close @t")
	s.add("unlink f7; close @h7; close @h6; close @h1; close @h3; unlink u; sync; close @u; creat z; append z 60k; fsync z")
	return one("orphans "+disk, disk, "", s, 40, 900)
}

// cutLarge truncates and removes files of so many extents that it takes several transactions.
func cutLarge(disk string, block int64) *workload {
	s := &script{}
	var setup script
	for _, f := range []string{"a", "b", "c"} {
		setup.add("creat %s", f)
		for i := range int64(900) {
			setup.add("write %s %d %d", f, i*3*block, block)
		}
		setup.add("fsync %s", f)
	}
	s.add("open c @c; truncate a %d; fsync a; unlink b; fsync .; append a 5000; punch c 0 %d; fsync c; unlink c; sync; close @c; truncate a 0; fsync a; creat n; append n 200k; fsync n", 50*block, 2000*block)
	return one("large truncates "+disk, disk, scriptText(setup.ops), s, 30, 900)
}

// wrapJournal makes so many transactions that a journal of 1 MiB is gone round several times.
func wrapJournal(disk string) *workload {
	s := &script{}
	for i := range 300 {
		s.add("creat d%d/f%d; append d%d/f%d %d; fsync d%d/f%d", i%5, i, i%5, i, 100+i*17%3000, i%5, i)
		if i > 20 && i%3 == 0 {
			s.add("unlink d%d/f%d; fsync d%d", (i-20)%5, i-20, (i-20)%5)
		}
		if i%10 == 0 {
			s.add("append log 700; fdatasync log; chmod d%d 7%d5; rename d%d/f%d d%d/r%d", i%5, i%8, i%5, i, (i+1)%5, i)
		}
	}
	return one("journal wraps "+disk, disk, "mkdir d0; mkdir d1; mkdir d2; mkdir d3; mkdir d4; creat log", s, 60, 900)
}

// reuseBlocks frees blocks of directories, extent trees and attributes and has them used for
// content, which a replay must not overwrite.
func reuseBlocks(disk string, block int64) *workload {
	s := &script{}
	for round := range 3 {
		s.add("mkdir d%d", round)
		for i := range 40 {
			s.add("creat d%d/%s%d", round, strings.Repeat("n", 60), i)
		}
		s.add("creat t%d", round)
		for i := range int64(60) {
			s.add("write t%d %d %d", round, i*2*block, block)
		}
		s.add("setxattr t%d user.large 700; fsync t%d; fsync d%d", round, round, round)
		for i := range 40 {
			s.add("unlink d%d/%s%d", round, strings.Repeat("n", 60), i)
		}
		s.add("rmdir d%d; unlink t%d; fsync .", round, round)
		// Everything that is free gets content.
		s.add("creat fill%d; append fill%d 8m; fsync fill%d", round, round, round)
		s.add("truncate fill%d %d; fsync fill%d", round, (round+1)*100000, round)
	}
	return one("revoke "+disk, disk, "", s, 40, 900)
}

// fillDisk goes on at the end of the space.
func fillDisk(disk string) *workload {
	s := &script{}
	rng := rand.New(rand.NewPCG(9, 9))
	for i := range 60 {
		s.add("creat f%d; append f%d %d", i, i, 20000+rng.IntN(200000))
		switch i % 6 {
		case 0:
			s.add("fsync f%d", i)
		case 1:
			s.add("mkdir d%d; setxattr f%d user.large 700", i, i)
		case 2:
			s.add("falloc f%d 500k 300k; write f%d 300k 5000", i, i)
		case 3:
			s.add("unlink f%d; append f%d 60k", i-rng.IntN(4), i-1)
		case 4:
			s.add("write f%d 1000 30000; fsync f%d; punch f%d 8k 16k", i-4, i-4, i-4)
		case 5:
			s.add("symlink %s s%d; link f%d l%d; sync", longName, i, i, i)
		}
		if i%15 == 14 {
			s.add("unlink f%d; unlink f%d; truncate f%d 0", i-14, i-8, i-3)
		}
	}
	return one("full disk "+disk, disk, "", s, 40, 900)
}

// untar does what an unpacking tar does, with a background writer that is fast enough to matter.
func untar(disk string, files int, behind time.Duration) *workload {
	s := &script{}
	rng := rand.New(rand.NewPCG(4, 4))
	dirs := []string{"src"}
	s.add("mkdir src")
	for i := range files {
		dir := dirs[rng.IntN(len(dirs))]
		switch {
		case i%17 == 0 && strings.Count(dir, "/") < 4:
			dirs = append(dirs, fmt.Sprintf("%s/dir%d", dir, i))
			s.add("mkdir %s/dir%d", dir, i)
		case i%13 == 0:
			s.add("symlink ../file%d %s/link%d", i, dir, i)
		default:
			f := fmt.Sprintf("%s/file%d", dir, i)
			s.add("creat %s", f)
			for left := rng.IntN(30000); left > 0; left -= 10240 {
				s.add("append %s %d", f, min(left, 10240))
			}
			s.add("utimes %s %d; chmod %s 640; chown %s 1000 1000", f, 1e9+i, f, f)
		}
	}
	w := one(fmt.Sprintf("untar %s %v", disk, behind), disk, "", s, 40, 2500)
	w.behind = behind
	return w
}

// TestLarge does longer workloads: what takes many blocks, many transactions, or all the space.
func TestLarge(t *testing.T) {
	needJournal(t)
	all := []*workload{
		growDirectory("hash tree 1k", "many", 250, 40, 30),
		growDirectory("hash tree of depth 2, 1k", "many", 600, 230, 80),
		growDirectory("hash tree 4k", "manybig", 300, 100, 50),
		scatterExtents("extents 1k", "many", 1024, 500),
		scatterExtents("extents 4k", "manybig", 4096, 400),
		shareAttributes("1k"), shareAttributes("4k"),
		keepOrphans("1k"), keepOrphans("4k"), keepOrphans("list"), keepOrphans("nocsum"),
		cutLarge("many", 1024), cutLarge("manybig", 4096),
		wrapJournal("1k"), wrapJournal("nocsum"), wrapJournal("4k"),
		reuseBlocks("tiny", 1024), reuseBlocks("tinybig", 4096),
		fillDisk("tiny"), fillDisk("tinybig"),
		untar("many", 250, 0), untar("manybig", 250, 3*time.Millisecond),
	}
	runAll(t, all)
}

// TestIdle lets an app do things and then nothing: after a while all of it is safe, without an fsync.
func TestIdle(t *testing.T) {
	needJournal(t)
	for i := range choose(2, 20) {
		rng := rand.New(rand.NewPCG(*seed, 2000+uint64(i)))
		w := &workload{
			name: fmt.Sprint("idle ", i), disk: []string{"1k", "4k"}[i%2], behind: 20 * time.Millisecond, quiet: true, idle: true,
			threads: [][]op{randomScript(rng, "", 50)}, all: 4, perWindow: 6, total: 60,
		}
		w.run(t)
	}
}
