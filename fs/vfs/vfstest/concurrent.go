package vfstest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// testConcurrent lets several processes work at once, each on names of its own that it keeps a
// model of, and all of them in the same directories and on the same shared names.
func testConcurrent(t testing.TB, root System, workers, steps int) {
	for _, d := range []string{"a", "b", "c", "shared"} {
		must(t, "mkdir", root.Mkdir(d, 0o777))
	}
	var wg sync.WaitGroup
	for w := range workers {
		s := root.Fork()
		wg.Go(func() {
			defer s.Close()
			work(t, s, w, steps)
		})
	}
	wg.Wait()
	checkTree(t, root, ".")
}

// work is one process. Its files are DIR/w<W>-<N>; the model says in which directory each is,
// and with what content.
func work(t testing.TB, s System, w, steps int) {
	rnd := rand.New(rand.NewPCG(uint64(w), 77))
	type file struct {
		path    string
		content []byte
	}
	files := make(map[int]*file)
	dirs := []string{"a", "b", "c"}
	for step := range steps {
		i := rnd.IntN(20)
		path := fmt.Sprintf("%s/w%d-%d", dirs[rnd.IntN(len(dirs))], w, i)
		f := files[i]
		bad := func(what string, e abi.Errno) {
			t.Errorf("worker %d step %d: %s: %s", w, step, what, e.String())
		}
		switch op := rnd.IntN(12); {
		case op < 3 && f == nil:
			content := bytes.Repeat([]byte{byte(step)}, rnd.IntN(9000))
			if e := WriteAll(s, path, content); e != 0 {
				bad("write "+path, e)
			}
			files[i] = &file{path, content}
		case op < 5 && f != nil:
			got, e := ReadAll(s, f.path)
			if e != 0 || !bytes.Equal(got, f.content) {
				bad("read "+f.path, e)
			}
		case op < 7 && f != nil:
			if e := s.Rename(f.path, path, 0); e != 0 {
				bad("rename "+f.path+" "+path, e)
			}
			f.path = path
		case op == 7 && f != nil:
			if e := s.Unlink(f.path); e != 0 {
				bad("unlink "+f.path, e)
			}
			if e := s.Stat(f.path, false, new(vfs.Attr)); e != abi.ENOENT {
				bad("stat after unlink "+f.path, e)
			}
			delete(files, i)
		case op == 8 && f != nil:
			tail := bytes.Repeat([]byte("tail"), rnd.IntN(500))
			h, e := s.Open(f.path, abi.O_WRONLY|abi.O_APPEND, 0)
			if e != 0 {
				bad("open "+f.path, e)
				continue
			}
			if n, e := h.Write(tail); e != 0 || n != len(tail) {
				bad("append "+f.path, e)
			}
			h.Close()
			f.content = append(f.content, tail...)
		default:
			shared(s, rnd, bad)
		}
	}
	for _, f := range files {
		got, e := ReadAll(s, f.path)
		if e != 0 || !bytes.Equal(got, f.content) {
			t.Errorf("worker %d at the end: %s: %s, %d bytes, want %d", w, f.path, e.String(), len(got), len(f.content))
		}
	}
}

// Fight does so many things to names that other processes fight over, too, in a directory shared
// below the working directory. The files there stay below a size.
func Fight(t testing.TB, s System, seed uint64, steps int) {
	if e := s.Mkdir("shared", 0o777); e != 0 && e != abi.EEXIST {
		t.Errorf("mkdir shared: %s", e.String())
	}
	rnd := rand.New(rand.NewPCG(seed, 78))
	for step := range steps {
		shared(s, rnd, func(what string, e abi.Errno) {
			t.Errorf("step %d: %s: %s", step, what, e.String())
		})
	}
}

// CheckTree walks the tree and checks that link counts and parents agree with what it finds.
func CheckTree(t testing.TB, s System) { checkTree(t, s, ".") }

// shared does something to names that all processes use. Anything may have happened to them, so
// that only what must never happen is an error.
func shared(s System, rnd *rand.Rand, bad func(string, abi.Errno)) {
	name := func() string {
		p := "shared"
		for range 1 + rnd.IntN(3) {
			p += "/" + string(rune('p'+rnd.IntN(3)))
		}
		return p
	}
	p, q := name(), name()
	allow := func(what string, e abi.Errno, fine ...abi.Errno) {
		fine = append(fine, 0, abi.ENOENT, abi.ENOTDIR)
		for _, f := range fine {
			if e == f {
				return
			}
		}
		bad(what+" "+p+" "+q, e)
	}
	switch rnd.IntN(9) {
	case 0:
		allow("mkdir", s.Mkdir(p, 0o777), abi.EEXIST)
	case 1:
		allow("rmdir", s.Rmdir(p), abi.ENOTEMPTY)
	case 2:
		f, e := s.Open(p, abi.O_CREAT|abi.O_RDWR, 0o666)
		allow("open", e, abi.EISDIR)
		if e == 0 {
			_, e = f.Write([]byte(p))
			allow("write", e)
			f.Close()
		}
	case 3:
		allow("unlink", s.Unlink(p), abi.EISDIR)
	case 4:
		allow("rename", s.Rename(p, q, 0), abi.EINVAL, abi.EISDIR, abi.ENOTEMPTY, abi.EEXIST)
	case 5:
		allow("exchange", s.Rename(p, q, abi.RENAME_EXCHANGE), abi.EINVAL)
	case 6:
		allow("link", s.Link(p, q, false), abi.EEXIST, abi.EPERM)
	case 7:
		_, e := List(s, p)
		allow("list", e)
	case 8:
		var a vfs.Attr
		allow("stat", s.Stat(p+"/../"+string(rune('p'+rnd.IntN(3))), false, &a))
	}
}

// checkTree walks a tree and checks that link counts and parents agree with what it finds.
func checkTree(t testing.TB, s System, top string) {
	type info struct {
		nlink, found uint32
		path         string
	}
	files := make(map[uint64]*info)
	var walk func(dir string) uint32
	walk = func(dir string) (subdirs uint32) {
		names, e := List(s, dir)
		must(t, "list "+dir, e)
		for _, name := range names {
			path := dir + "/" + name
			var a vfs.Attr
			must(t, "stat "+path, s.Stat(path, false, &a))
			if a.Mode&abi.S_IFMT == abi.S_IFDIR {
				subdirs++
				var up, self vfs.Attr
				must(t, "stat "+path+"/..", s.Stat(path+"/..", false, &up))
				must(t, "stat "+dir, s.Stat(dir, false, &self))
				if up.Ino != self.Ino {
					t.Errorf("%s/.. is inode %d, not %d", path, up.Ino, self.Ino)
				}
				if n := walk(path); a.Nlink != n+2 {
					t.Errorf("%s: nlink %d with %d directories in it", path, a.Nlink, n)
				}
				continue
			}
			f := files[a.Ino]
			if f == nil {
				f = &info{nlink: a.Nlink, path: path}
				files[a.Ino] = f
			}
			f.found++
		}
		return subdirs
	}
	walk(top)
	for _, f := range files {
		if f.nlink != f.found {
			t.Errorf("%s: nlink %d, but %d names", f.path, f.nlink, f.found)
		}
	}
}
