package vfstest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// must fails the test at an error.
func must(t testing.TB, what string, e abi.Errno) {
	t.Helper()
	if e != 0 {
		t.Fatalf("%s: %s", what, e.String())
	}
}

// entryName is the i-th name of a large directory: of different lengths, in no order.
func entryName(i int) string {
	return fmt.Sprintf("%08x-%s", uint32(i)*0x9e3779b1, bytes.Repeat([]byte{'n'}, i%40))
}

// testManyEntries fills a directory with thousands of names, finds all, removes some, and all.
func testManyEntries(t testing.TB, s System, count int) {
	must(t, "mkdir", s.Mkdir("d", 0o755))
	must(t, "chdir", s.Chdir("d"))
	var want []string
	for i := range count {
		name := entryName(i)
		var e abi.Errno
		switch i % 10 {
		case 8:
			e = s.Mkdir(name, 0o755)
		case 9:
			e = s.Symlink("target", name)
		default:
			var f File
			if f, e = s.Open(name, abi.O_CREAT|abi.O_EXCL|abi.O_RDWR, 0o644); e == 0 {
				f.Close()
			}
		}
		must(t, "create "+name, e)
		want = append(want, name)
	}
	check := func() {
		t.Helper()
		got, e := List(s, ".")
		must(t, "list", e)
		if err := DifferList(got, want); err != nil {
			t.Fatal(err)
		}
	}
	check()
	var a vfs.Attr
	must(t, "stat", s.Stat(".", true, &a))
	if dirs := count / 10; a.Nlink != uint32(dirs+2) && a.Nlink != 1 { // 1: more than can be counted
		t.Errorf("nlink %d with %d directories", a.Nlink, dirs)
	}
	for i := range count {
		if e := s.Stat(entryName(i), false, &a); e != 0 {
			t.Fatalf("stat %s: %s", entryName(i), e.String())
		}
		if e := s.Stat(entryName(i)+"x", false, &a); e != abi.ENOENT {
			t.Fatalf("stat of a missing name: %s", e.String())
		}
	}
	if e := s.Rmdir("../d"); e != abi.ENOTEMPTY {
		t.Errorf("rmdir of a full directory: %s", e.String())
	}
	remove := func(keep func(i int) bool) {
		want = nil
		for i := range count {
			name := entryName(i)
			if e := s.Stat(name, false, &a); e != 0 {
				continue
			}
			if keep(i) {
				want = append(want, name)
				continue
			}
			e := s.Unlink(name)
			if e == abi.EISDIR {
				e = s.Rmdir(name)
			}
			must(t, "remove "+name, e)
		}
		check()
	}
	remove(func(i int) bool { return i%3 == 0 })
	for i := range count {
		if i%3 == 1 {
			must(t, "create again", WriteAll(s, entryName(i), []byte("x")))
			want = append(want, entryName(i))
		}
	}
	check()
	remove(func(i int) bool { return false })
	must(t, "chdir", s.Chdir(".."))
	must(t, "rmdir", s.Rmdir("d"))
}

// testReadDirChanges reads a directory in small steps while names come and go: those that are there
// all the while must be seen exactly once, whatever happens to the others.
func testReadDirChanges(t testing.TB, s System) {
	rnd := rand.New(rand.NewPCG(1, 2))
	must(t, "mkdir", s.Mkdir("d", 0o755))
	const steady, moving = 300, 300
	for i := range steady {
		must(t, "create", WriteAll(s, "d/steady"+entryName(i), nil))
	}
	there := make(map[int]bool)
	for round := range 20 {
		f, e := s.Open("d", abi.O_RDONLY|abi.O_DIRECTORY, 0)
		must(t, "open", e)
		seen := make(map[string]int)
		for {
			list, e := f.ReadDir(1 + rnd.IntN(20))
			must(t, "readdir", e)
			if len(list) == 0 {
				break
			}
			for _, entry := range list {
				seen[entry.Name]++
			}
			for range rnd.IntN(12) {
				i := rnd.IntN(moving)
				name := "d/moving" + entryName(i)
				if there[i] {
					must(t, "unlink", s.Unlink(name))
				} else {
					must(t, "create", WriteAll(s, name, nil))
				}
				there[i] = !there[i]
			}
		}
		f.Close()
		for i := range steady {
			if n := seen["steady"+entryName(i)]; n != 1 {
				t.Fatalf("round %d: %s seen %d times", round, entryName(i), n)
			}
		}
		if seen["."] != 1 || seen[".."] != 1 {
			t.Fatalf("round %d: . seen %d times, .. %d times", round, seen["."], seen[".."])
		}
		for name, n := range seen {
			if n > 1 && len(there) == 0 {
				t.Errorf("%s seen %d times", name, n)
			}
		}
	}
	// Reading from the start again, and removing everything that is seen, empties it.
	f, e := s.Open("d", abi.O_RDONLY|abi.O_DIRECTORY, 0)
	must(t, "open", e)
	defer f.Close()
	for {
		list, e := f.ReadDir(50)
		must(t, "readdir", e)
		if len(list) == 0 {
			break
		}
		for _, entry := range list {
			if entry.Name != "." && entry.Name != ".." {
				must(t, "unlink", s.Unlink("d/"+entry.Name))
			}
		}
	}
	must(t, "rmdir", s.Rmdir("d"))
}

// testReadDirTypes checks the types and inode numbers that reading a directory tells.
func testReadDirTypes(t testing.TB, s System) {
	must(t, "mkdir", s.Mkdir("d", 0o755))
	must(t, "mkdir", s.Mkdir("d/dir", 0o755))
	must(t, "symlink", s.Symlink("x", "d/lnk"))
	must(t, "mknod", s.Mknod("d/reg", abi.S_IFREG|0o644, 0))
	must(t, "mknod", s.Mknod("d/fifo", abi.S_IFIFO|0o644, 0))
	must(t, "mknod", s.Mknod("d/sock", abi.S_IFSOCK|0o644, 0))
	must(t, "mknod", s.Mknod("d/chr", abi.S_IFCHR|0o644, 259))
	must(t, "mknod", s.Mknod("d/blk", abi.S_IFBLK|0o644, 259))
	f, e := s.Open("d", abi.O_RDONLY|abi.O_DIRECTORY, 0)
	must(t, "open", e)
	defer f.Close()
	for {
		list, e := f.ReadDir(100)
		must(t, "readdir", e)
		if len(list) == 0 {
			break
		}
		for _, entry := range list {
			var a vfs.Attr
			must(t, "stat", s.Stat("d/"+entry.Name, false, &a))
			if uint32(entry.Type)<<12 != a.Mode&abi.S_IFMT {
				t.Errorf("%s: type %d, mode %o", entry.Name, entry.Type, a.Mode)
			}
			if entry.Ino != a.Ino {
				t.Errorf("%s: inode %d, stat says %d", entry.Name, entry.Ino, a.Ino)
			}
		}
	}
}

// testContent writes, reads and resizes a file at random and compares it with a byte slice.
func testContent(t testing.TB, s System, seed uint64, steps int) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	const limit = 600 << 10
	var want []byte
	f, e := s.Open("f", abi.O_CREAT|abi.O_RDWR, 0o644)
	must(t, "open", e)
	defer f.Close()
	buf := make([]byte, 80<<10)
	for step := range steps {
		off := rnd.IntN(limit)
		if rnd.IntN(3) == 0 {
			off = off / 4096 * 4096
		}
		n := 1 + rnd.IntN([]int{10, 5000, len(buf)}[rnd.IntN(3)])
		switch rnd.IntN(10) {
		case 0, 1, 2, 3:
			for i := range n {
				buf[i] = byte(rnd.Uint32())
			}
			got, e := f.Pwrite(buf[:n], int64(off))
			if e != 0 || got != n {
				t.Fatalf("step %d: pwrite of %d at %d: %d, %s", step, n, off, got, e.String())
			}
			if len(want) < off+n {
				want = append(want, make([]byte, off+n-len(want))...)
			}
			copy(want[off:], buf[:n])
		case 4:
			must(t, "truncate", f.Truncate(int64(off)))
			if off < len(want) {
				want = want[:off:off]
			} else {
				want = append(want, make([]byte, off-len(want))...)
			}
		case 5:
			must(t, "sync", f.Sync())
		default:
			got, e := f.Pread(buf[:n], int64(off))
			must(t, "pread", e)
			expect := want[min(off, len(want)):min(off+n, len(want))]
			if !bytes.Equal(buf[:got], expect) {
				t.Fatalf("step %d: pread of %d at %d differs: %d bytes, want %d", step, n, off, got, len(expect))
			}
		}
		var a vfs.Attr
		must(t, "stat", f.Stat(&a))
		if a.Size != int64(len(want)) {
			t.Fatalf("step %d: size %d, want %d", step, a.Size, len(want))
		}
	}
	got, e := ReadAll(s, "f")
	must(t, "read", e)
	if !bytes.Equal(got, want) {
		t.Fatal("content differs at the end")
	}
	must(t, "unlink", s.Unlink("f"))
}

// testFull writes until there is no room, and checks that room comes back.
func testFull(t testing.TB, s System) {
	block := bytes.Repeat([]byte("full"), 256<<10)
	must(t, "mkdir", s.Mkdir("d", 0o755))
	files := 0
	for ; files < 10000; files++ {
		f, e := s.Open(fmt.Sprintf("d/%d", files), abi.O_CREAT|abi.O_WRONLY, 0o644)
		if e == abi.ENOSPC {
			break
		}
		must(t, "create", e)
		for range 64 {
			var n int
			n, e = f.Write(block)
			if e != 0 || n < len(block) {
				break
			}
		}
		f.Close()
		if e == abi.ENOSPC {
			files++
			break
		}
		must(t, "write", e)
	}
	if files == 10000 {
		t.Skip("it does not get full")
	}
	must(t, "sync", s.Sync())
	for i := range files {
		if e := s.Unlink(fmt.Sprintf("d/%d", i)); e != 0 && e != abi.ENOENT {
			t.Fatalf("unlink on a full file system: %s", e.String())
		}
	}
	must(t, "sync", s.Sync())
	must(t, "write", WriteAll(s, "again", block))
	got, e := ReadAll(s, "again")
	must(t, "read", e)
	if !bytes.Equal(got, block) {
		t.Fatal("content differs")
	}
}
