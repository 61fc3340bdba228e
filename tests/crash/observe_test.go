package crash

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// seen is a tree that was looked at: all there is of it but times, which are apart.
type seen struct {
	root    uint64
	entries []seenEntry
	inodes  map[uint64]*seenInode
}

type seenEntry struct {
	path string
	dir  uint64
	name string
	ino  uint64
}

type seenInode struct {
	ino                   uint64
	mode, uid, gid, nlink uint32
	rdev                  uint64
	size                  int64
	mtime                 int64 // seconds
	target                string
	xattrs                map[string]uint64 // hashes of the values
	data                  []chunk           // of a regular file, in order; zeros between
}

type chunk struct {
	off int64
	p   []byte
}

// digest is the hash that the model has of the tree below a path.
func (s *seen) digest(prefix string) uint64 {
	sum := uint64(0)
	used := map[uint64]bool{}
	for _, e := range s.entries {
		inside := prefix == "" || strings.HasPrefix(e.path, prefix+"/")
		if inside {
			sum += hashString(lineOfEntry(e.dir, e.name, e.ino))
		}
		if inside || e.path == prefix {
			used[e.ino] = true
		}
	}
	if prefix == "" {
		used[s.root] = true
	}
	for ino := range used {
		sum += hashString(s.inodes[ino].line())
	}
	return sum
}

func (i *seenInode) line() string {
	return lineOfInode(i.ino, i.mode, i.uid, i.gid, i.nlink, i.rdev, i.target, i.xattrs)
}

// lines describes names and attributes below a path as model.lines does.
func (s *seen) lines(prefix string) []string {
	used := map[string]bool{}
	for _, e := range s.entries {
		inside := prefix == "" || strings.HasPrefix(e.path, prefix+"/")
		if inside {
			used[lineOfEntry(e.dir, e.name, e.ino)] = true
		}
		if inside || e.path == prefix {
			used[s.inodes[e.ino].line()] = true
		}
	}
	if prefix == "" {
		used[s.inodes[s.root].line()] = true
	}
	return slices.Sorted(maps.Keys(used))
}

// all describes everything, also sizes, times and content, so that two looks at one tree can be
// compared. without is a directory that is left out.
func (s *seen) all(without string) []string {
	var out []string
	skip := map[uint64]bool{}
	for _, e := range s.entries {
		if e.name == without && e.dir == s.root {
			skip[e.ino] = true
			continue
		}
		out = append(out, lineOfEntry(e.dir, e.name, e.ino))
	}
	for _, i := range s.inodes {
		if skip[i.ino] {
			continue
		}
		line := i.line()
		if i.mode&abi.S_IFMT == abi.S_IFREG {
			sum := uint64(0)
			for _, c := range i.data {
				for at := 0; at < len(c.p); at += 512 {
					p := c.p[at:min(at+512, len(c.p))]
					if !allZero(p) {
						sum += hashBytes(p) ^ uint64(c.off+int64(at))*0x9e3779b97f4a7c15
					}
				}
			}
			line += fmt.Sprintf(" size=%d content=%#x", i.size, sum)
		}
		out = append(out, line+fmt.Sprintf(" mtime=%d", i.mtime))
	}
	slices.Sort(out)
	return out
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// sink is a Dest that keeps everything.
type sink struct{ p []byte }

func (s *sink) Put(p []byte) (int, abi.Errno) {
	s.p = append(s.p, p...)
	return len(p), 0
}

// observe looks at everything in a file system of ours.
func observe(fs vfs.FileSystem) (*seen, error) {
	root := fs.Root()
	defer root.Unref()
	s := &seen{root: root.Ino(), inodes: map[uint64]*seenInode{}}
	if err := s.inode(root, "/"); err != nil {
		return nil, err
	}
	return s, s.walk(root, "", root.Ino())
}

func (s *seen) walk(dir vfs.Node, path string, parent uint64) error {
	if strings.Count(path, "/") > 200 {
		return fmt.Errorf("%s: directories form a loop", path)
	}
	type name struct {
		name string
		ino  uint64
		typ  uint8
	}
	var names []name
	had := map[string]bool{}
	e := dir.ReadDir(0, func(d *vfs.DirEntry) bool {
		names = append(names, name{strings.Clone(d.Name), d.Ino, d.Type})
		return true
	})
	if e != 0 {
		return fmt.Errorf("readdir of %s/: %v", path, e)
	}
	for _, n := range names {
		if had[n.name] {
			return fmt.Errorf("%s/%s is there twice", path, n.name)
		}
		had[n.name] = true
		switch n.name {
		case ".":
			if n.ino != dir.Ino() {
				return fmt.Errorf("%s/. is inode %d, want %d", path, n.ino, dir.Ino())
			}
			continue
		case "..":
			if n.ino != parent {
				return fmt.Errorf("%s/.. is inode %d, want %d", path, n.ino, parent)
			}
			continue
		}
		at := path + "/" + n.name
		c, e := dir.Lookup(n.name)
		if e != 0 {
			return fmt.Errorf("lookup of %s: %v", at, e)
		}
		err := s.child(dir, c, at, n.name, n.ino, n.typ)
		c.Unref()
		if err != nil {
			return err
		}
	}
	if !had["."] || !had[".."] {
		return fmt.Errorf("%s/ has no . or no ..", path)
	}
	return nil
}

func (s *seen) child(dir, c vfs.Node, path, name string, ino uint64, typ uint8) error {
	if c.Ino() != ino {
		return fmt.Errorf("%s is inode %d, but %d in the directory", path, c.Ino(), ino)
	}
	if want := uint8(c.Mode() & abi.S_IFMT >> 12); typ != want {
		return fmt.Errorf("%s has type %d in the directory, but is of type %d", path, typ, want)
	}
	s.entries = append(s.entries, seenEntry{strings.TrimPrefix(path, "/"), dir.Ino(), name, ino})
	if s.inodes[ino] != nil {
		if c.Mode()&abi.S_IFMT == abi.S_IFDIR {
			return fmt.Errorf("%s: directory %d has two names", path, ino)
		}
		return nil
	}
	if err := s.inode(c, path); err != nil {
		return err
	}
	if c.Mode()&abi.S_IFMT == abi.S_IFDIR {
		return s.walk(c, path, dir.Ino())
	}
	return nil
}

func (s *seen) inode(n vfs.Node, path string) error {
	var a vfs.Attr
	if e := n.Attr(&a); e != 0 {
		return fmt.Errorf("stat of %s: %v", path, e)
	}
	i := &seenInode{ino: a.Ino, mode: a.Mode, uid: a.UID, gid: a.GID, nlink: a.Nlink, mtime: a.Mtime.Sec}
	s.inodes[a.Ino] = i
	switch a.Mode & abi.S_IFMT {
	case abi.S_IFREG:
		i.size = a.Size
		if err := i.read(n, path); err != nil {
			return err
		}
	case abi.S_IFCHR, abi.S_IFBLK:
		i.rdev = a.Rdev
	case abi.S_IFLNK:
		target, e := n.Readlink()
		if e != 0 {
			return fmt.Errorf("readlink of %s: %v", path, e)
		}
		i.target = target
	}
	x, ok := n.(vfs.XattrNode)
	if !ok {
		return nil
	}
	names, e := x.Listxattr()
	if e != 0 {
		return fmt.Errorf("listxattr of %s: %v", path, e)
	}
	for _, name := range names {
		v, e := x.Getxattr(name)
		if e != 0 {
			return fmt.Errorf("getxattr %s of %s: %v", name, path, e)
		}
		if i.xattrs == nil {
			i.xattrs = map[string]uint64{}
		}
		i.xattrs[name] = hashBytes(v)
	}
	return nil
}

// read takes a file's content in, without its holes.
func (i *seenInode) read(n vfs.Node, path string) error {
	h, ok := n.(vfs.HoleSeeker)
	for off := int64(0); off < i.size; {
		end := i.size
		if ok {
			data, e := h.SeekData(off)
			if e == abi.ENXIO {
				return nil
			}
			if e == 0 {
				off = data
				end, e = h.SeekHole(off)
			}
			if e != 0 {
				return fmt.Errorf("seek in %s from %d: %v", path, off, e)
			}
		}
		var c sink
		for at := off; at < end; {
			k, e := n.Read(at, int(min(end-at, 1<<20)), &c)
			if e != 0 || k <= 0 {
				return fmt.Errorf("read of %s at %d, %d of %d bytes: %v", path, at, k, end-at, e)
			}
			at += int64(k)
		}
		i.data = append(i.data, chunk{off, c.p})
		off = end
	}
	return nil
}

// observeHost looks at everything below a directory of the host.
func observeHost(dir string) (*seen, error) {
	s := &seen{inodes: map[uint64]*seenInode{}}
	parents := map[string]uint64{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if path == dir {
			s.root = st.Ino
		} else {
			s.entries = append(s.entries, seenEntry{strings.TrimPrefix(path, dir+"/"), parents[filepath.Dir(path)], filepath.Base(path), st.Ino})
		}
		parents[path] = st.Ino
		if s.inodes[st.Ino] != nil {
			return nil
		}
		i := &seenInode{ino: st.Ino, mode: st.Mode, uid: st.Uid, gid: st.Gid, nlink: uint32(st.Nlink), mtime: st.Mtim.Sec}
		s.inodes[st.Ino] = i
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			i.size = st.Size
			p, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			i.data = []chunk{{0, p}}
		case unix.S_IFCHR, unix.S_IFBLK:
			i.rdev = st.Rdev
		case unix.S_IFLNK:
			if i.target, err = os.Readlink(path); err != nil {
				return err
			}
		}
		return i.hostXattrs(path)
	})
	return s, err
}

func (i *seenInode) hostXattrs(path string) error {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if errors.Is(err, syscall.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listxattr of %s: %w", path, err)
	}
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if name == "" {
			continue
		}
		v := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, v)
		if err != nil {
			return fmt.Errorf("getxattr %s of %s: %w", name, path, err)
		}
		if i.xattrs == nil {
			i.xattrs = map[string]uint64{}
		}
		i.xattrs[name] = hashBytes(v[:n])
	}
	return nil
}

// differences lists the lines that two sorted lists do not share.
func differences(want, got []string) string {
	var out strings.Builder
	lines := 0
	say := func(sign, line string) {
		if lines++; lines <= 30 {
			fmt.Fprintf(&out, "  %s %s\n", sign, line)
		}
	}
	for len(want) > 0 || len(got) > 0 {
		switch {
		case len(got) == 0 || len(want) > 0 && want[0] < got[0]:
			say("-", want[0])
			want = want[1:]
		case len(want) == 0 || got[0] < want[0]:
			say("+", got[0])
			got = got[1:]
		default:
			want, got = want[1:], got[1:]
		}
	}
	if lines > 30 {
		fmt.Fprintf(&out, "  and %d more\n", lines-30)
	}
	return out.String()
}
