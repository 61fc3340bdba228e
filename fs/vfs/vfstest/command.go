package vfstest

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// command runs one command. The error is of what was returned besides the errno.
func (r *run) command(a args) (abi.Errno, error) {
	s := r.sys
	switch a.at(0) {
	case "as":
		r.become(a.at(1))
		return 0, nil
	case "umask":
		s.Umask(a.octal(1))
		return 0, nil
	case "chdir":
		return s.Chdir(a.at(1)), nil
	case "getcwd":
		got, e := s.Getcwd()
		if e != 0 {
			return e, nil
		}
		return 0, differ(got, a.at(1))

	case "mkdir":
		return s.Mkdir(a.at(1), a.octal(2)), nil
	case "rmdir":
		return s.Rmdir(a.at(1)), nil
	case "unlink":
		return s.Unlink(a.at(1)), nil
	case "mknod":
		rdev := uint64(0)
		if len(a) > 4 {
			rdev = uint64(a.num(4))
		}
		return s.Mknod(a.at(1), uint32(a.word(2, nodeTypes))|a.octal(3), rdev), nil
	case "symlink":
		return s.Symlink(a.at(1), a.at(2)), nil
	case "readlink":
		got, e := s.Readlink(a.at(1))
		if e != 0 {
			return e, nil
		}
		return 0, differ(got, a.at(2))
	case "link":
		return s.Link(a.at(1), a.at(2), a.is(3, "follow")), nil
	case "rename":
		flags := uint32(0)
		if len(a) > 3 {
			flags = uint32(a.word(3, map[string]int{"noreplace": abi.RENAME_NOREPLACE, "exchange": abi.RENAME_EXCHANGE}))
		}
		return s.Rename(a.at(1), a.at(2), flags), nil

	case "open":
		f, e := a.open(s, 1)
		if e == 0 {
			f.Close()
		}
		return e, nil
	case "hold":
		f, e := a.open(s, 2)
		if e != 0 {
			return e, nil
		}
		var at vfs.Attr
		if f.Stat(&at); at.Mode&abi.S_IFMT != abi.S_IFREG && at.Mode&abi.S_IFMT != abi.S_IFDIR {
			// What opening others does is not the file system's.
			f.Close()
			return abi.ENXIO, nil
		}
		r.hold(a.at(1), f)
		return 0, nil
	case "drop":
		r.handle(a).Close()
		delete(r.held, a[1])
		return 0, nil

	case "write":
		return WriteAll(s, a.at(1), []byte(a.at(2))), nil
	case "append":
		f, e := s.Open(a.at(1), abi.O_WRONLY|abi.O_APPEND, 0)
		if e != 0 {
			return e, nil
		}
		defer f.Close()
		_, e = f.Write([]byte(a.at(2)))
		return e, nil
	case "read":
		got, e := ReadAll(s, a.at(1))
		if e != 0 {
			return e, nil
		}
		return 0, differ(string(got), a.at(2))
	case "truncate":
		return s.Truncate(a.at(1), a.num(2)), nil
	case "access":
		mode := uint32(a.word(2, map[string]int{"f": 0, "r": 4, "w": 2, "x": 1, "rw": 6, "rx": 5, "wx": 3, "rwx": 7}))
		return s.Access(a.at(1), mode), nil

	case "chmod", "lchmod":
		return s.SetAttr(a.at(1), a[0] == "chmod", &vfs.SetAttr{Mask: vfs.SetMode, Mode: a.octal(2)}), nil
	case "chown", "lchown":
		return s.SetAttr(a.at(1), a[0] == "chown", a.owner(2)), nil
	case "times", "ltimes":
		return s.SetAttr(a.at(1), a[0] == "times", a.times(2)), nil

	case "stat", "lstat":
		var at vfs.Attr
		if e := s.Stat(a.at(1), a[0] == "stat", &at); e != 0 {
			return e, nil
		}
		return 0, a.checkAttr(2, &at)
	case "same", "differ":
		var x, y vfs.Attr
		if e := s.Stat(a.at(1), false, &x); e != 0 {
			return e, nil
		}
		if e := s.Stat(a.at(2), false, &y); e != 0 {
			return e, nil
		}
		if (x.Ino == y.Ino && x.Dev == y.Dev) != (a[0] == "same") {
			return 0, errors.New("inode numbers say otherwise")
		}
		return 0, nil
	case "touched", "changed", "untouched":
		return r.touch(a)
	case "ls":
		got, e := List(s, a.at(1))
		if e != 0 {
			return e, nil
		}
		return 0, DifferList(got, a[2:])

	case "setxattr":
		flags := 0
		if len(a) > 4 {
			flags = a.word(4, map[string]int{"create": 1, "replace": 2})
		}
		return s.Setxattr(a.at(1), a.at(2), a.at(3), uint32(flags)), nil
	case "getxattr":
		got, e := s.Getxattr(a.at(1), a.at(2))
		if e != 0 {
			return e, nil
		}
		return 0, differ(got, a.at(3))
	case "listxattr":
		got, e := s.Listxattr(a.at(1))
		if e != 0 {
			return e, nil
		}
		return 0, DifferList(got, a[2:])
	case "rmxattr":
		return s.Removexattr(a.at(1), a.at(2)), nil
	case "sync":
		return s.Sync(), nil
	}
	return r.fileCommand(r.handle(a), a)
}

// handle returns the held file that the command names.
func (r *run) handle(a args) File {
	f := r.held[a.at(1)]
	if f == nil {
		panic(badScript("no such command or held file: " + a[0] + " " + a[1]))
	}
	return f
}

// fileCommand runs a command on a held file.
func (r *run) fileCommand(f File, a args) (abi.Errno, error) {
	switch a[0] {
	case "fwrite":
		n, e := f.Write([]byte(a.at(2)))
		if e == 0 && n != len(a[2]) {
			return 0, errors.New("short write of " + strconv.Itoa(n))
		}
		return e, nil
	case "fpwrite":
		n, e := f.Pwrite([]byte(a.at(3)), a.num(2))
		if e == 0 && n != len(a[3]) {
			return 0, errors.New("short write of " + strconv.Itoa(n))
		}
		return e, nil
	case "fread":
		p := make([]byte, a.num(2))
		n, e := f.Read(p)
		if e != 0 {
			return e, nil
		}
		return 0, differ(printable(p[:n]), a.at(3))
	case "fpread":
		p := make([]byte, a.num(3))
		n, e := f.Pread(p, a.num(2))
		if e != 0 {
			return e, nil
		}
		return 0, differ(printable(p[:n]), a.at(4))
	case "fseek":
		whence := a.word(3, map[string]int{"set": 0, "cur": 1, "end": 2, "data": 3, "hole": 4})
		got, e := f.Lseek(a.num(2), whence)
		if e != 0 {
			return e, nil
		}
		return 0, differ(strconv.FormatInt(got, 10), a.at(4))
	case "ftruncate":
		return f.Truncate(a.num(2)), nil
	case "fallocate":
		mode := a.word(2, map[string]int{"0": 0, "keep": abi.FALLOC_FL_KEEP_SIZE,
			"punch": abi.FALLOC_FL_PUNCH_HOLE, "zero": abi.FALLOC_FL_ZERO_RANGE})
		return f.Allocate(uint32(mode), a.num(3), a.num(4)), nil
	case "fsync":
		return f.Sync(), nil
	case "fstat":
		var at vfs.Attr
		if e := f.Stat(&at); e != 0 {
			return e, nil
		}
		return 0, a.checkAttr(2, &at)
	case "fchmod":
		return f.SetAttr(&vfs.SetAttr{Mask: vfs.SetMode, Mode: a.octal(2)}), nil
	case "fchown":
		return f.SetAttr(a.owner(2)), nil
	case "ftimes":
		return f.SetAttr(a.times(2)), nil
	case "freaddir":
		_, e := f.ReadDir(100)
		return e, nil
	}
	panic(badScript("no such command: " + a[0]))
}

// printable shows zero bytes as dots.
func printable(p []byte) string { return strings.ReplaceAll(string(p), "\x00", ".") }

func (r *run) become(who string) {
	ids := strings.FieldsFunc(who, func(c rune) bool { return c == ':' || c == ',' })
	var list []uint32
	for _, id := range ids {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			panic(badScript(err.Error()))
		}
		list = append(list, uint32(n))
	}
	if len(list) == 1 {
		list = append(list, list[0])
	}
	r.sys.Become(list[0], list[1], list[2:])
}

func (a args) owner(i int) *vfs.SetAttr {
	s := new(vfs.SetAttr)
	if a.at(i) != "-" {
		s.UID = uint32(a.num(i))
		s.Mask |= vfs.SetUID
	}
	if a.at(i+1) != "-" {
		s.GID = uint32(a.num(i + 1))
		s.Mask |= vfs.SetGID
	}
	return s
}

func (a args) times(i int) *vfs.SetAttr {
	s := new(vfs.SetAttr)
	var bits uint32
	s.Atime, bits = a.time(i, vfs.SetAtime, vfs.SetAtimeNow)
	s.Mask |= bits
	s.Mtime, bits = a.time(i+1, vfs.SetMtime, vfs.SetMtimeNow)
	s.Mask |= bits
	return s
}

// clockStep is longer than the step of any file system clock.
const clockStep = 12 * time.Millisecond

// touch runs a command and looks at what it does to a file's times.
func (r *run) touch(a args) (abi.Errno, error) {
	var before, after vfs.Attr
	if e := r.sys.Stat(a.at(1), false, &before); e != 0 {
		return 0, errors.New("stat before: " + e.String())
	}
	time.Sleep(clockStep)
	e, err := r.command(a[2:])
	if err != nil || e != 0 {
		return e, err
	}
	if e := r.sys.Stat(a.at(1), false, &after); e != 0 {
		return 0, errors.New("stat after: " + e.String())
	}
	m, c := before.Mtime != after.Mtime, before.Ctime != after.Ctime
	if m != (a[0] == "touched") {
		err = errors.New("mtime changed: " + strconv.FormatBool(m))
	} else if c != (a[0] != "untouched") {
		err = errors.New("ctime changed: " + strconv.FormatBool(c))
	}
	return e, err
}
