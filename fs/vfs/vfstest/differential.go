package vfstest

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// Pair is two processes that must see the same.
type Pair struct{ A, B System }

// Differential does the same steps, at random from seed, in both systems and fails at the first
// that returns something different; from time to time, and at the end, the trees are compared.
// remount, if not nil, is called in between to put the first one through an unmount and mount; it
// returns the new process.
func Differential(t testing.TB, p Pair, seed uint64, steps int, remount func() System) {
	t.Logf("seed %d", seed)
	d := &differential{t: t, p: p, rnd: rand.New(rand.NewPCG(seed, 1)), held: make(map[string][2]File)}
	d.types = []uint32{abi.S_IFIFO, abi.S_IFSOCK, abi.S_IFCHR, abi.S_IFBLK}
	if _, ok := p.B.(*nsSystem); !ok {
		d.types = d.types[:2]
	}
	defer d.drop()
	for d.step = range steps {
		d.one()
		if d.step%400 == 399 {
			d.compare()
			if remount != nil && d.rnd.IntN(3) == 0 {
				d.drop()
				d.p.A = remount()
				d.compare()
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d, step %d; last steps:\n%s", seed, d.step, strings.Join(d.log, "\n"))
		}
	}
	d.drop()
	d.compare()
	if t.Failed() {
		t.Fatalf("seed %d, at the end", seed)
	}
}

type differential struct {
	t    testing.TB
	p    Pair
	rnd  *rand.Rand
	step int
	log  []string
	held map[string][2]File // open files of both
	// types are of special files to be made: no devices on the host.
	types []uint32
}

func (d *differential) drop() {
	for _, f := range d.held {
		f[0].Close()
		f[1].Close()
	}
	clear(d.held)
}

// path makes a path out of few names, so that the steps meet.
func (d *differential) path() string {
	names := []string{"a", "b", "c", "dd", "e", "{long}", "..", "."}
	var parts []string
	for range 1 + min(d.rnd.IntN(4), d.rnd.IntN(4)) {
		name := names[min(d.rnd.IntN(len(names)), d.rnd.IntN(len(names)+2))]
		if name == "{long}" {
			name = strings.Repeat("long", 50)
		}
		parts = append(parts, name)
	}
	p := strings.Join(parts, "/")
	if d.rnd.IntN(20) == 0 {
		p += "/"
	}
	return p
}

// both runs f in both systems and compares the results.
func (d *differential) both(what string, f func(s System) string) {
	a, b := f(d.p.A), f(d.p.B)
	d.note(what, a, b)
}

func (d *differential) note(what, a, b string) {
	d.log = append(d.log, fmt.Sprintf("%d: %s = %s", d.step, what, clip(b)))
	if len(d.log) > 30 {
		d.log = d.log[1:]
	}
	if a != b {
		d.t.Errorf("step %d: %s: got %s, want %s", d.step, what, clip(a), clip(b))
	}
}

func (d *differential) one() {
	p, q := d.path(), d.path()
	rnd := d.rnd
	n := rnd.IntN(20000)
	switch rnd.IntN(24) {
	case 0, 1:
		d.both("mkdir "+p, func(s System) string { return s.Mkdir(p, 0o755).String() })
	case 2, 3, 4:
		content := bytes.Repeat([]byte{byte('a' + rnd.IntN(26))}, n)
		d.both(fmt.Sprintf("write %s %d", p, n), func(s System) string {
			if special(s, p) {
				return "special"
			}
			return WriteAll(s, p, content).String()
		})
	case 5:
		d.both("unlink "+p, func(s System) string { return s.Unlink(p).String() })
	case 6:
		d.both("rmdir "+p, func(s System) string { return s.Rmdir(p).String() })
	case 7, 8:
		flags := []uint32{0, 0, 0, abi.RENAME_NOREPLACE, abi.RENAME_EXCHANGE}[rnd.IntN(5)]
		d.both(fmt.Sprintf("rename %s %s %d", p, q, flags), func(s System) string { return s.Rename(p, q, flags).String() })
	case 9:
		d.both("link "+p+" "+q, func(s System) string { return s.Link(p, q, false).String() })
	case 10:
		target := q
		if rnd.IntN(4) == 0 {
			target = strings.Repeat("x", 1+rnd.IntN(1000))
		}
		d.both("symlink "+clip(target)+" "+p, func(s System) string { return s.Symlink(target, p).String() })
	case 11:
		// Sticky directories would bring in the host's protected_regular, from which root is
		// not exempt either.
		d.both("chmod "+p, func(s System) string {
			return s.SetAttr(p, true, &vfs.SetAttr{Mask: vfs.SetMode, Mode: uint32(n) & 0o6777}).String()
		})
	case 12:
		d.both("chown "+p, func(s System) string {
			return s.SetAttr(p, false, &vfs.SetAttr{Mask: vfs.SetUID | vfs.SetGID, UID: uint32(n), GID: 70000 + uint32(n)}).String()
		})
	case 13:
		set := &vfs.SetAttr{Mask: vfs.SetAtime | vfs.SetMtime, Atime: vfs.Timespec{Sec: int64(n) * 200000, Nsec: int32(n)},
			Mtime: vfs.Timespec{Sec: int64(n), Nsec: 999999999 - int32(n)}}
		d.both("times "+p, func(s System) string { return s.SetAttr(p, false, set).String() })
	case 14:
		d.both(fmt.Sprintf("truncate %s %d", p, n*3), func(s System) string { return s.Truncate(p, int64(n*3)).String() })
	case 15:
		d.both("list "+p, func(s System) string {
			names, e := List(s, p)
			return e.String() + strings.Join(names, ",")
		})
	case 16:
		d.both("read "+p, func(s System) string {
			if special(s, p) {
				return "special"
			}
			content, e := ReadAll(s, p)
			return e.String() + string(content)
		})
	case 17:
		d.both("readlink "+p, func(s System) string {
			target, e := s.Readlink(p)
			return e.String() + target
		})
	case 18:
		d.both("mknod "+p, func(s System) string {
			return s.Mknod(p, d.types[n%len(d.types)]|0o640, uint64(n)).String()
		})
	case 19:
		d.hold(p)
	case 20, 21, 22:
		d.heldStep(n)
	case 23:
		d.both("lstat "+p, func(s System) string { return describe(s, p) })
	}
}

// hold opens a file in both, to be used later, maybe after it was removed.
func (d *differential) hold(p string) {
	key := fmt.Sprint(d.rnd.IntN(6))
	if f, ok := d.held[key]; ok {
		f[0].Close()
		f[1].Close()
		delete(d.held, key)
	}
	flags := abi.O_RDWR | []int{0, abi.O_CREAT, abi.O_CREAT | abi.O_EXCL, abi.O_TRUNC, abi.O_APPEND}[d.rnd.IntN(5)]
	var f [2]File
	var e [2]abi.Errno
	for i, s := range []System{d.p.A, d.p.B} {
		f[i], e[i] = s.Open(p, flags, 0o600)
		if e[i] == 0 {
			var a vfs.Attr
			f[i].Stat(&a)
			if a.Mode&abi.S_IFMT != abi.S_IFREG { // what opening others does is not the file system's
				f[i].Close()
				e[i] = abi.ENXIO
			}
		}
	}
	d.note(fmt.Sprintf("hold %s %s %#x", key, p, flags), e[0].String(), e[1].String())
	if e[0] == 0 && e[1] == 0 {
		d.held[key] = f
	}
}

// heldStep does something to an open file.
func (d *differential) heldStep(n int) {
	key := fmt.Sprint(d.rnd.IntN(6))
	f, ok := d.held[key]
	if !ok {
		return
	}
	off := int64(d.rnd.IntN(100000))
	if d.rnd.IntN(10) == 0 {
		off *= 1000
	}
	var r [2]string
	op := d.rnd.IntN(5)
	for i := range f {
		var a vfs.Attr
		switch op {
		case 0, 1:
			k, e := f[i].Pwrite(bytes.Repeat([]byte{byte(n)}, n), off)
			r[i] = fmt.Sprint("pwrite ", k, e.String())
		case 2:
			buf := make([]byte, n)
			k, e := f[i].Pread(buf, off)
			r[i] = fmt.Sprint("pread ", k, e.String(), string(buf[:k]))
		case 3:
			r[i] = "truncate " + f[i].Truncate(off).String()
		case 4:
			e := f[i].Stat(&a)
			r[i] = fmt.Sprint("stat ", e.String(), a.Size, a.Nlink, a.Mode)
		}
	}
	d.note(fmt.Sprintf("file %s op %d %d at %d", key, op, n, off), r[0], r[1])
}

// special tells whether a path leads to a file that is not opened here: what that does is not
// the file system's.
func special(s System, path string) bool {
	var a vfs.Attr
	if s.Stat(path, true, &a) != 0 {
		return false
	}
	return a.Mode&abi.S_IFMT != abi.S_IFREG && a.Mode&abi.S_IFMT != abi.S_IFDIR
}

// describe is everything that must be the same about what is at a path.
func describe(s System, path string) string {
	var a vfs.Attr
	if e := s.Stat(path, false, &a); e != 0 {
		return e.String()
	}
	out := fmt.Sprintf("mode %o nlink %d owner %d:%d", a.Mode, a.Nlink, a.UID, a.GID)
	switch a.Mode & abi.S_IFMT {
	case abi.S_IFREG, abi.S_IFLNK:
		out += fmt.Sprintf(" size %d", a.Size)
	case abi.S_IFCHR, abi.S_IFBLK:
		out += fmt.Sprintf(" rdev %d", a.Rdev)
	}
	if a.Mtime.Sec < 1e9 { // set by a step, not by the clock
		out += " mtime " + formatTime(a.Mtime)
	}
	return out
}

// Dump lists a whole tree, one line for each name, content and links included. Inode numbers are
// replaced by the first name of the inode.
func Dump(s System) ([]string, abi.Errno) {
	var lines []string
	first := make(map[uint64]string)
	var walk func(dir string) abi.Errno
	walk = func(dir string) abi.Errno {
		names, e := List(s, dir)
		if e != 0 {
			return e
		}
		for _, name := range names {
			path := dir + "/" + name
			var a vfs.Attr
			if e := s.Stat(path, false, &a); e != 0 {
				return e
			}
			line := path + ": " + describe(s, path)
			if other, ok := first[a.Ino]; ok {
				line += " same as " + other
			} else {
				first[a.Ino] = path
			}
			switch a.Mode & abi.S_IFMT {
			case abi.S_IFREG:
				content, e := ReadAll(s, path)
				if e != 0 {
					return e
				}
				line += fmt.Sprintf(" content %08x", checksum(content))
			case abi.S_IFLNK:
				target, e := s.Readlink(path)
				if e != 0 {
					return e
				}
				line += " -> " + target
			}
			lines = append(lines, line)
			if a.Mode&abi.S_IFMT == abi.S_IFDIR {
				if e := walk(path); e != 0 {
					return e
				}
			}
		}
		return 0
	}
	e := walk(".")
	slices.SortFunc(lines, cmp.Compare)
	return lines, e
}

func checksum(p []byte) uint32 {
	h := uint32(2166136261)
	for _, b := range p {
		h = (h ^ uint32(b)) * 16777619
	}
	return h
}

// compare compares both trees.
func (d *differential) compare() {
	a, e := Dump(d.p.A)
	if e != 0 {
		d.t.Errorf("step %d: dump: %s", d.step, e.String())
	}
	b, e := Dump(d.p.B)
	if e != 0 {
		d.t.Errorf("step %d: dump of the model: %s", d.step, e.String())
	}
	if err := differList(a, b); err != nil {
		d.t.Errorf("step %d: trees: %v", d.step, err)
	}
}
