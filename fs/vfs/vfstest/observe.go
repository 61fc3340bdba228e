package vfstest

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"time"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// The commands here tell what they find as part of the result, behind "OK", so that results of two
// systems can be compared and a script can hold what was seen:
//
//	look P / flook H                      mode, links, owner, size or device, times
//	sum P / fsum H OFF N                  length and checksum of content
//	fput H OFF TEXT / fadd H TEXT         how many bytes were written there, or where the file is
//	fmap H OFF N                          as fsum, through a mapping
//	fstore H OFF TEXT                     through a mapping; what lies behind the end does nothing
//	names P [STEP]                        number and checksum of names and types; with STEP, read in
//	                                      pieces of so many, going back to a cookie in between
//	target P                              of a link
//	xattrs P / value P NAME               number and checksum of all attributes; length and checksum of one
//	holes H                               that SEEK_DATA and SEEK_HOLE agree with the content
//	statfs                                that the numbers are possible
//	tmpfile H DIR MODE / publish H P      a file without a name, and a name for it
//	fdatasync H
//	become UID                            as "as", but the working directory stays
var observers = map[string]func(r *run, a args) (string, abi.Errno){
	"look": func(r *run, a args) (string, abi.Errno) {
		var at vfs.Attr
		e := r.sys.Stat(a.at(1), false, &at)
		return r.describe(&at), e
	},
	"flook": func(r *run, a args) (string, abi.Errno) {
		var at vfs.Attr
		e := r.handle(a).Stat(&at)
		return r.describe(&at), e
	},
	"sum": func(r *run, a args) (string, abi.Errno) {
		f, e := r.sys.Open(a.at(1), abi.O_RDONLY, 0)
		if e != 0 {
			return "", e
		}
		defer f.Close()
		var at vfs.Attr
		if e := f.Stat(&at); e != 0 {
			return "", e
		}
		if at.Mode&abi.S_IFMT == abi.S_IFDIR {
			return "", abi.EISDIR
		}
		return sumSparse(f, at.Size)
	},
	"fsum": func(r *run, a args) (string, abi.Errno) { return sumFrom(r.handle(a), a.num(2), a.num(3)) },
	"fput": func(r *run, a args) (string, abi.Errno) {
		n, e := r.handle(a).Pwrite([]byte(a.at(3)), a.num(2))
		return strconv.Itoa(n), e
	},
	"fadd": func(r *run, a args) (string, abi.Errno) {
		n, e := r.handle(a).Write([]byte(a.at(2)))
		return strconv.Itoa(n), e
	},
	"fmap": func(r *run, a args) (string, abi.Errno) {
		p := make([]byte, a.num(3))
		n, e := load(r.handle(a), p, a.num(2))
		return fmt.Sprintf("%d %08x", n, crc(p[:n])), e
	},
	"fstore": func(r *run, a args) (string, abi.Errno) { return "", store(r.handle(a), []byte(a.at(3)), a.num(2)) },
	"names":  (*run).names,
	"target": func(r *run, a args) (string, abi.Errno) { return r.sys.Readlink(a.at(1)) },
	"xattrs": func(r *run, a args) (string, abi.Errno) { return xattrs(r.sys, a.at(1)) },
	"value": func(r *run, a args) (string, abi.Errno) {
		v, e := r.sys.Getxattr(a.at(1), a.at(2))
		return fmt.Sprintf("%d %08x", len(v), crc([]byte(v))), e
	},
	"holes": (*run).holes,
	"statfs": func(r *run, a args) (string, abi.Errno) {
		s, ok := r.sys.(interface {
			StatFS(*vfs.StatFS) abi.Errno
		})
		if !ok {
			return "", 0
		}
		var st vfs.StatFS
		if e := s.StatFS(&st); e != 0 {
			return "", e
		}
		if st.Bfree > st.Blocks || st.Bavail > st.Bfree || st.Ffree > st.Files || st.Bsize < 512 || st.Namelen != 255 {
			return fmt.Sprintf("impossible: %+v", st), 0
		}
		return "", 0
	},
	"tmpfile": func(r *run, a args) (string, abi.Errno) {
		f, e := r.sys.Open(a.at(2), abi.O_TMPFILE|abi.O_RDWR, a.octal(3))
		if e == 0 {
			r.hold(a[1], f)
		}
		return "", e
	},
	"publish": func(r *run, a args) (string, abi.Errno) {
		f, ok := r.handle(a).(interface{ Link(path string) abi.Errno })
		if !ok {
			return "", abi.EOPNOTSUPP
		}
		return "", f.Link(a.at(2))
	},
	"fdatasync": func(r *run, a args) (string, abi.Errno) {
		if f, ok := r.handle(a).(interface{ Datasync() abi.Errno }); ok {
			return "", f.Datasync()
		}
		return "", r.handle(a).Sync()
	},
	"become": func(r *run, a args) (string, abi.Errno) {
		r.become(a.at(1))
		return "", 0
	},
}

// hold keeps a file under a name, instead of what was there.
func (r *run) hold(name string, f File) {
	if old := r.held[name]; old != nil {
		old.Close()
	}
	r.held[name] = f
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crc(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// sumFrom reads up to n bytes from off on, and returns how many there are and their checksum.
func sumFrom(f File, off, n int64) (string, abi.Errno) {
	buf := make([]byte, min(n, 128<<10))
	got, sum := int64(0), uint32(0)
	for got < n {
		k, e := f.Pread(buf[:min(int64(len(buf)), n-got)], off+got)
		if e != 0 {
			return "", e
		}
		if k == 0 {
			break
		}
		sum = crc32.Update(sum, castagnoli, buf[:k])
		got += int64(k)
	}
	return fmt.Sprintf("%d %08x", got, sum), 0
}

// clockBase is a time before all that clocks give: times below it were set by a step.
const clockBase = 1_000_000_000

// describe is everything that must be the same about a file. Times that a clock gave are told
// only if the systems under comparison share their clock.
func (r *run) describe(a *vfs.Attr) string {
	out := fmt.Sprintf("mode=%o nlink=%d owner=%d:%d", a.Mode, a.Nlink, a.UID, a.GID)
	switch a.Mode & abi.S_IFMT {
	case abi.S_IFREG, abi.S_IFLNK:
		out += fmt.Sprintf(" size=%d", a.Size)
	case abi.S_IFCHR, abi.S_IFBLK:
		out += fmt.Sprintf(" rdev=%d", a.Rdev)
	}
	for _, t := range []struct {
		name string
		t    vfs.Timespec
	}{{"atime", a.Atime}, {"mtime", a.Mtime}, {"ctime", a.Ctime}} {
		if t.name == "atime" && a.Mode&abi.S_IFMT == abi.S_IFLNK {
			continue // Linux sets it when a link is followed; there is a cache of targets here
		}
		if r.clock && t.name != "atime" || t.t.Sec < clockBase {
			out += " " + t.name + "=" + formatTime(t.t)
		}
	}
	return out
}

// names lists a directory. With a step, it goes back once in a while to where it has been, and
// what follows must be the same again.
func (r *run) names(a args) (string, abi.Errno) {
	f, e := r.sys.Open(a.at(1), abi.O_RDONLY|abi.O_DIRECTORY, 0)
	if e != 0 {
		return "", e
	}
	defer f.Close()
	step := 200
	if len(a) > 2 {
		step = int(a.num(2))
	}
	var all []string
	var back []vfs.DirEntry // what came the first time behind the last cookie gone back to
	for piece := 1; ; piece++ {
		list, e := f.ReadDir(step)
		if e != 0 {
			return "", e
		}
		if back != nil {
			// The pieces may be cut elsewhere, but begin with the same.
			if len(list) == 0 || list[0].Name != back[0].Name || list[0].Ino != back[0].Ino {
				return fmt.Sprintf("after a cookie came %v, and at first %v", list, back), 0
			}
			back = nil
		} else if len(a) > 2 && piece%3 == 0 && len(list) > 1 {
			// To the first entry of this piece, again from behind it.
			back = list[1:]
			if _, e := f.Lseek(list[0].Cookie, abi.SEEK_SET); e != 0 {
				return "", e
			}
			list = list[:1]
		}
		if len(list) == 0 {
			break
		}
		for _, entry := range list {
			all = append(all, fmt.Sprintf("%s %d", entry.Name, entry.Type))
		}
	}
	slices.Sort(all)
	text := strings.Join(all, "\n")
	if len(all) < 6 {
		return strconv.Itoa(len(all)) + " " + strings.Join(all, ", "), 0
	}
	return fmt.Sprintf("%d %08x", len(all), crc([]byte(text))), 0
}

// xattrs sums all attributes of the file at path that any program could have set.
func xattrs(s System, path string) (string, abi.Errno) {
	names, e := s.Listxattr(path)
	if e != 0 {
		return "", e
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == "security.selinux" })
	slices.Sort(names)
	var all strings.Builder
	for _, n := range names {
		v, e := s.Getxattr(path, n)
		if e != 0 {
			return n, e
		}
		fmt.Fprintf(&all, "%s=%d:%s\n", n, len(v), v)
	}
	return fmt.Sprintf("%d %08x", len(names), crc([]byte(all.String()))), 0
}

// Range is bytes From up to before To of a file.
type Range struct{ From, To int64 }

// holes is walkHoles, again if need be: a page that is being written may count as data as a whole, and
// be a hole in part when that is done.
func (r *run) holes(a args) (string, abi.Errno) {
	for try := 0; ; try++ {
		wrong, e := r.walkHoles(a)
		if wrong == "" || e != 0 || try == 5 {
			return wrong, e
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// walkHoles walks a file by SEEK_DATA and SEEK_HOLE: holes must read as zeros, and the numbers of
// blocks must suffice for the rest. What is data goes to r.data, for a comparison.
func (r *run) walkHoles(a args) (string, abi.Errno) {
	f := r.handle(a)
	var at vfs.Attr
	if e := f.Stat(&at); e != 0 {
		return "", e
	}
	pos, e := f.Lseek(0, abi.SEEK_CUR)
	if e != 0 {
		return "", e
	}
	defer f.Lseek(pos, abi.SEEK_SET)
	r.data, r.blocks = r.data[:0], at.Blocks
	buf := make([]byte, 64<<10)
	sum := int64(0)
	for off := int64(0); off < at.Size; {
		from, e := f.Lseek(off, abi.SEEK_DATA)
		if e == abi.ENXIO {
			from, e = at.Size, 0
		}
		if e != 0 {
			return fmt.Sprintf("SEEK_DATA from %d", off), e
		}
		if from < off || from > at.Size {
			return fmt.Sprintf("SEEK_DATA from %d leads to %d of %d", off, from, at.Size), 0
		}
		// Long holes are looked at where they begin and end.
		for at := off; at < from; {
			n := min(from-at, int64(len(buf)))
			if k, e := f.Pread(buf[:n], at); e != 0 || int64(k) != n {
				return fmt.Sprintf("reading a hole at %d: %d bytes", at, k), e
			}
			if i := slices.IndexFunc(buf[:n], func(b byte) bool { return b != 0 }); i >= 0 {
				return fmt.Sprintf("SEEK_DATA from %d leads to %d, but byte %d is not zero", off, from, at+int64(i)), 0
			}
			at += n
			if rest := from - at; rest > 1<<20 {
				at = from - 1<<19
			}
		}
		if from == at.Size {
			break
		}
		to, e := f.Lseek(from, abi.SEEK_HOLE)
		if e != 0 {
			return fmt.Sprintf("SEEK_HOLE from %d", from), e
		}
		if to <= from || to > at.Size {
			return fmt.Sprintf("SEEK_HOLE from %d leads to %d of %d", from, to, at.Size), 0
		}
		r.data = append(r.data, Range{from, to})
		sum += to - from
		off = to
	}
	if _, e := f.Pread(buf[:1], 0); e != 0 { // so that it has been read whether there is a hole or not
		return "reading the start", e
	}
	if sum > at.Blocks*512 {
		return fmt.Sprintf("%d bytes of data in %d blocks of 512", sum, at.Blocks), 0
	}
	return "", 0
}

// observed puts a result of an observer in words.
func observed(value string, e abi.Errno) string {
	if e != 0 {
		return e.String()
	}
	if value == "" {
		return "OK"
	}
	return "OK " + value
}
