package vfstest

import (
	"slices"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// Dump lists a whole tree, one line for each name, with attributes, content, links and extended
// attributes. Inode numbers are replaced by the first name of the inode. clock: with all times, but
// the access time; otherwise with those that were set to before 2001.
func Dump(s System, clock bool) ([]string, abi.Errno) {
	r := newRun(s)
	r.clock = clock
	return r.dump()
}

func (r *run) dump() ([]string, abi.Errno) {
	// Root's view, whoever asked last.
	s := r.sys.Fork()
	defer s.Close()
	s.Become(0, 0, nil)
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
			line := path + ": " + r.describe(&a)
			if other, ok := first[a.Ino]; ok {
				line += " same as " + other
			} else {
				first[a.Ino] = path
			}
			switch a.Mode & abi.S_IFMT {
			case abi.S_IFREG:
				f, e := s.Open(path, abi.O_RDONLY, 0)
				if e != 0 {
					return e
				}
				sum, e := sumSparse(f, a.Size)
				f.Close()
				if e != 0 {
					return e
				}
				line += " content " + sum
			case abi.S_IFLNK:
				target, e := s.Readlink(path)
				if e != 0 {
					return e
				}
				line += " -> " + target
			}
			if a.Mode&abi.S_IFMT != abi.S_IFLNK { // the calls here follow links
				x, e := xattrs(s, path)
				if e != 0 && e != abi.EOPNOTSUPP && e != abi.EPERM {
					return e
				}
				if e == 0 && x[:2] != "0 " {
					line += " attributes " + x
				}
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
	slices.Sort(lines)
	return lines, e
}

// sumSparse sums the content of a file; of a long one, the first and the last megabyte.
func sumSparse(f File, size int64) (string, abi.Errno) {
	const part = 1 << 20
	if size <= 2*part {
		return sumFrom(f, 0, size)
	}
	a, e := sumFrom(f, 0, part)
	if e != 0 {
		return "", e
	}
	b, e := sumFrom(f, size-part, part)
	return a + " ... " + b, e
}
