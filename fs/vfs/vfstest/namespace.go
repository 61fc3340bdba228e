package vfstest

import (
	"bytes"
	"math"
	"slices"
	"strings"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// NewSystem returns a process of root's in the tree of ns.
func NewSystem(ns *vfs.Namespace) System {
	return &nsSystem{ns: ns}
}

// nsSystem is a System over a Namespace: the least of a kernel's file layer.
type nsSystem struct {
	ns   *vfs.Namespace
	maps *Maps // nil: files are not mapped
	c    vfs.Context
}

func (s *nsSystem) Become(uid, gid uint32, groups []uint32) {
	s.c.Creds = vfs.Creds{UID: uid, GID: gid, Groups: groups}
}

func (s *nsSystem) Umask(mask uint32) { s.c.Umask = mask }

func (s *nsSystem) Fork() System {
	f := *s
	if f.c.Cwd != nil {
		f.c.Cwd.Ref()
	}
	if f.c.Root != nil {
		f.c.Root.Ref()
	}
	return &f
}

func (s *nsSystem) Close() {
	if s.c.Cwd != nil {
		s.c.Cwd.Unref()
		s.c.Cwd = nil
	}
	if s.c.Root != nil {
		s.c.Root.Unref()
		s.c.Root = nil
	}
}

func (s *nsSystem) Chdir(path string) abi.Errno {
	d, e := s.ns.Walk(&s.c, nil, path, 0)
	if e != 0 {
		return e
	}
	var a vfs.Attr
	if e = d.Attr(&a); e == 0 && !d.IsDir() {
		e = abi.ENOTDIR
	}
	if e == 0 {
		e = s.c.Permit(a.Mode, a.UID, a.GID, abi.X_OK)
	}
	if e != 0 {
		d.Unref()
		return e
	}
	if s.c.Cwd != nil {
		s.c.Cwd.Unref()
	}
	s.c.Cwd = d
	return 0
}

func (s *nsSystem) Jail(path string) abi.Errno {
	if e := s.Chdir(path); e != 0 {
		return e
	}
	if s.c.Root != nil {
		s.c.Root.Unref()
	}
	s.c.Root = s.c.Cwd
	s.c.Root.Ref()
	return 0
}

// StatFS tells about the file system at the root of the tree.
func (s *nsSystem) StatFS(st *vfs.StatFS) abi.Errno { return s.ns.Mounts()[0].FS.StatFS(st) }

func (s *nsSystem) Getcwd() (string, abi.Errno) {
	if s.c.Cwd == nil {
		return "/", 0
	}
	return s.ns.PathTo(&s.c, s.c.Cwd)
}

func (s *nsSystem) Open(path string, flags int, mode uint32) (File, abi.Errno) {
	d, _, e := s.ns.Open(&s.c, nil, path, flags, mode)
	if e != 0 {
		return nil, e
	}
	f := &nsFile{s: s, d: d, flags: flags}
	if n, ok := d.Node().(vfs.ErrorSampler); ok {
		f.seen = n.SampleError()
	}
	if n, ok := d.Node().(vfs.FrameMapper); ok && s.maps != nil {
		return mappedFile{f, n, s.maps}, 0
	}
	return f, 0
}

func atFlags(follow bool) int {
	if follow {
		return 0
	}
	return abi.AT_SYMLINK_NOFOLLOW
}

func (s *nsSystem) Stat(path string, follow bool, a *vfs.Attr) abi.Errno {
	return s.ns.Stat(&s.c, nil, path, atFlags(follow), a)
}

func (s *nsSystem) Access(path string, mode uint32) abi.Errno {
	return s.ns.Access(&s.c, nil, path, mode, 0)
}

func (s *nsSystem) Readlink(path string) (string, abi.Errno) {
	return s.ns.Readlink(&s.c, nil, path)
}

func (s *nsSystem) Mkdir(path string, mode uint32) abi.Errno {
	return s.ns.Mkdir(&s.c, nil, path, mode)
}

func (s *nsSystem) Mknod(path string, mode uint32, dev uint64) abi.Errno {
	return s.ns.Mknod(&s.c, nil, path, mode, dev)
}

func (s *nsSystem) Symlink(target, path string) abi.Errno {
	return s.ns.Symlink(&s.c, target, nil, path)
}

func (s *nsSystem) Link(old, new string, follow bool) abi.Errno {
	flags := 0
	if follow {
		flags = abi.AT_SYMLINK_FOLLOW
	}
	return s.ns.Link(&s.c, nil, old, nil, new, flags)
}

func (s *nsSystem) Unlink(path string) abi.Errno { return s.ns.Unlink(&s.c, nil, path) }
func (s *nsSystem) Rmdir(path string) abi.Errno  { return s.ns.Rmdir(&s.c, nil, path) }

func (s *nsSystem) Rename(old, new string, flags uint32) abi.Errno {
	return s.ns.Rename(&s.c, nil, old, nil, new, flags)
}

func (s *nsSystem) SetAttr(path string, follow bool, set *vfs.SetAttr) abi.Errno {
	return s.ns.SetAttr(&s.c, nil, path, atFlags(follow), set)
}

func (s *nsSystem) Truncate(path string, size int64) abi.Errno {
	return s.ns.Truncate(&s.c, nil, path, size)
}

func (s *nsSystem) Sync() abi.Errno { return s.ns.Sync() }

// xattrs calls do with the node at path.
func (s *nsSystem) xattrs(path string, do func(n vfs.XattrNode) abi.Errno) abi.Errno {
	d, e := s.ns.Walk(&s.c, nil, path, 0)
	if e != 0 {
		return e
	}
	defer d.Unref()
	n, ok := d.Node().(vfs.XattrNode)
	if !ok {
		return abi.EOPNOTSUPP
	}
	return do(n)
}

func (s *nsSystem) Getxattr(path, name string) (value string, _ abi.Errno) {
	e := s.xattrs(path, func(n vfs.XattrNode) abi.Errno {
		v, e := n.Getxattr(name)
		value = string(v)
		return e
	})
	return value, e
}

func (s *nsSystem) Setxattr(path, name, value string, flags uint32) abi.Errno {
	return s.xattrs(path, func(n vfs.XattrNode) abi.Errno { return n.Setxattr(name, []byte(value), flags) })
}

func (s *nsSystem) Listxattr(path string) (names []string, _ abi.Errno) {
	e := s.xattrs(path, func(n vfs.XattrNode) (e abi.Errno) {
		names, e = n.Listxattr()
		return e
	})
	return names, e
}

func (s *nsSystem) Removexattr(path, name string) abi.Errno {
	return s.xattrs(path, func(n vfs.XattrNode) abi.Errno { return n.Removexattr(name) })
}

// nsFile is an open file of an nsSystem.
type nsFile struct {
	s     *nsSystem
	d     *vfs.Dentry
	flags int
	pos   int64
	seen  uint32 // errors of writing behind, see vfs.ErrorSampler
}

func (f *nsFile) Close() { f.d.Unref() }

func (f *nsFile) readable() abi.Errno {
	if f.flags&abi.O_ACCMODE == abi.O_WRONLY || f.flags&abi.O_PATH != 0 {
		return abi.EBADF
	}
	return 0
}

func (f *nsFile) writable() abi.Errno {
	if f.flags&abi.O_ACCMODE == abi.O_RDONLY || f.flags&abi.O_PATH != 0 {
		return abi.EBADF
	}
	return 0
}

func (f *nsFile) Read(p []byte) (int, abi.Errno) {
	n, e := f.Pread(p, f.pos)
	f.pos += int64(n)
	return n, e
}

func (f *nsFile) Pread(p []byte, off int64) (int, abi.Errno) {
	if e := f.readable(); e != 0 {
		return 0, e
	}
	m := vfs.Memory(p)
	return f.d.Node().Read(off, len(p), &m)
}

func (f *nsFile) Write(p []byte) (int, abi.Errno) {
	n, end, e := f.write(p, f.pos)
	if n > 0 {
		f.pos = end
	}
	return n, e
}

func (f *nsFile) Pwrite(p []byte, off int64) (int, abi.Errno) {
	n, _, e := f.write(p, off)
	return n, e
}

func (f *nsFile) write(p []byte, off int64) (int, int64, abi.Errno) {
	if e := f.writable(); e != 0 {
		return 0, 0, e
	}
	if off < 0 || off > math.MaxInt64-int64(len(p)) {
		return 0, 0, abi.EINVAL
	}
	if f.flags&abi.O_APPEND != 0 {
		off = vfs.AtEnd
	}
	if e := f.d.DropPrivileges(&f.s.c); e != 0 {
		return 0, 0, e
	}
	m := vfs.Memory(p)
	return f.d.Node().Write(off, len(p), &m)
}

func (f *nsFile) Lseek(off int64, whence int) (int64, abi.Errno) {
	var e abi.Errno
	switch whence {
	case abi.SEEK_CUR:
		off += f.pos
	case abi.SEEK_END:
		var a vfs.Attr
		e = f.d.Attr(&a)
		off += a.Size
	case abi.SEEK_DATA, abi.SEEK_HOLE:
		h, ok := f.d.Node().(vfs.HoleSeeker)
		if !ok {
			return 0, abi.EINVAL
		}
		if whence == abi.SEEK_DATA {
			off, e = h.SeekData(off)
		} else {
			off, e = h.SeekHole(off)
		}
	}
	if e == 0 && off < 0 {
		e = abi.EINVAL
	}
	if e != 0 {
		return 0, e
	}
	f.pos = off
	return off, 0
}

func (f *nsFile) Truncate(size int64) abi.Errno {
	if f.flags&abi.O_ACCMODE == abi.O_RDONLY {
		return abi.EINVAL
	}
	return f.d.SetAttr(&f.s.c, &vfs.SetAttr{Mask: vfs.SetSize, Size: size})
}

func (f *nsFile) Allocate(mode uint32, off, n int64) abi.Errno {
	if e := f.writable(); e != 0 {
		return e
	}
	a, ok := f.d.Node().(vfs.Allocator)
	if !ok {
		return abi.EOPNOTSUPP
	}
	return a.Allocate(mode, off, n)
}

// sync tells of each error of writing behind once.
func (f *nsFile) sync(dataOnly bool) abi.Errno {
	e := f.d.Node().Sync(dataOnly)
	if n, ok := f.d.Node().(vfs.ErrorSampler); ok {
		if behind := n.CheckError(&f.seen); behind != 0 {
			return behind
		}
	}
	return e
}

func (f *nsFile) Sync() abi.Errno                  { return f.sync(false) }
func (f *nsFile) Datasync() abi.Errno              { return f.sync(true) }
func (f *nsFile) Stat(a *vfs.Attr) abi.Errno       { return f.d.Attr(a) }
func (f *nsFile) SetAttr(s *vfs.SetAttr) abi.Errno { return f.d.SetAttr(&f.s.c, s) }

func (f *nsFile) ReadDir(room int) ([]vfs.DirEntry, abi.Errno) {
	if !f.d.IsDir() {
		return nil, abi.ENOTDIR
	}
	var list []vfs.DirEntry
	if f.pos == math.MaxInt64 {
		return nil, 0
	}
	e := f.s.ns.ReadDir(f.d, f.pos, func(entry *vfs.DirEntry) bool {
		if len(list) == room {
			return false
		}
		out := *entry
		out.Name = strings.Clone(entry.Name)
		list = append(list, out)
		f.pos = entry.Cookie
		return true
	})
	return list, e
}

// ReadAll returns the content of the file at path.
func ReadAll(s System, path string) ([]byte, abi.Errno) {
	f, e := s.Open(path, abi.O_RDONLY, 0)
	if e != 0 {
		return nil, e
	}
	defer f.Close()
	var b bytes.Buffer
	p := make([]byte, 64<<10)
	for {
		n, e := f.Read(p)
		b.Write(p[:n])
		if e != 0 || n == 0 {
			return b.Bytes(), e
		}
	}
}

// WriteAll makes a file of the content, or replaces the content of what is there.
func WriteAll(s System, path string, content []byte) abi.Errno {
	f, e := s.Open(path, abi.O_WRONLY|abi.O_CREAT|abi.O_TRUNC, 0o644)
	if e != 0 {
		return e
	}
	defer f.Close()
	for len(content) > 0 {
		n, e := f.Write(content)
		if e != 0 {
			return e
		}
		content = content[n:]
	}
	return 0
}

// List returns the names in a directory, sorted, without "." and "..".
func List(s System, path string) ([]string, abi.Errno) {
	f, e := s.Open(path, abi.O_RDONLY|abi.O_DIRECTORY, 0)
	if e != 0 {
		return nil, e
	}
	defer f.Close()
	var names []string
	for {
		list, e := f.ReadDir(100)
		if e != 0 || len(list) == 0 {
			slices.Sort(names)
			return names, e
		}
		for _, entry := range list {
			if entry.Name != "." && entry.Name != ".." {
				names = append(names, entry.Name)
			}
		}
	}
}
