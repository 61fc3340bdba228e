package crash

import (
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"strings"

	"pinhole/abi"
)

// object is what a file, directory or other inode has been from its birth on.
type object struct {
	tag   uint32 // in the content
	ino   uint64
	born  int    // the operation that made it
	name  string // first name, for messages
	named int    // the operation that gave it its first name
	gone  int    // the operation that took its last name away, or -1

	mode, uid, gid, nlink uint32
	rdev                  uint64
	target                string
	xattrs                map[string]uint64  // hashes of the values
	entries               map[string]*object // of a directory
	parent                *object            // of a directory
	size                  int64

	changes []change // of the content
	touched []touch  // by operations that fsync makes durable
	utime   int64    // seconds as set by utimes
	utimeOp int      // which operation did, or -1
}

func (o *object) String() string { return fmt.Sprintf("%s (inode %d)", o.name, o.ino) }

func (o *object) isDir() bool  { return o.mode&abi.S_IFMT == abi.S_IFDIR }
func (o *object) isFile() bool { return o.mode&abi.S_IFMT == abi.S_IFREG }

// touch says that an operation changed an inode, or a directory's entries.
type touch struct {
	op   int
	data bool // also fdatasync makes it durable: size and blocks
}

type changeKind int

const (
	changeWrite  changeKind = iota // [off, end) has a new version
	changeSize                     // truncate to end
	changeZero                     // [off, end) reads as zeros
	changeExtend                   // fallocate has made the file end at end
	changeOver                     // the file was renamed over another: its content goes first
)

// change is one of a file's content.
type change struct {
	op       int
	kind     changeKind
	off, end int64
	size     int64 // of the file afterwards
}

func (c change) version() uint32 { return uint32(c.op) + 1 }

// model is what the names and attributes of a tree are after each operation, and the history of
// its files' content. Operations are numbered from 0; state k is before operation k.
type model struct {
	root    *object
	prefix  string // path of the root; "" for the whole file system
	objects []*object
	handles map[string]*object
	tags    uint32

	now     uint64   // hash of the names and attributes
	digests []uint64 // digests[k] is of state k
}

var digestSeed = maphash.MakeSeed()

func hashLine(format string, args ...any) uint64 {
	return maphash.String(digestSeed, fmt.Sprintf(format, args...))
}

func hashBytes(p []byte) uint64 { return maphash.Bytes(digestSeed, p) }

// A tree's hash is the sum of those of its lines. It does not have the sizes of files.
func lineOfEntry(dir uint64, name string, ino uint64) string {
	return fmt.Sprintf("entry %d %q %d", dir, name, ino)
}

func lineOfInode(ino uint64, mode, uid, gid, nlink uint32, rdev uint64, target string, xattrs map[string]uint64) string {
	s := fmt.Sprintf("inode %d %06o %d:%d links=%d rdev=%#x %q", ino, mode, uid, gid, nlink, rdev, target)
	for _, k := range slices.Sorted(maps.Keys(xattrs)) {
		s += fmt.Sprintf(" %s=%#x", k, xattrs[k])
	}
	return s
}

func hashString(s string) uint64 { return maphash.String(digestSeed, s) }

func (o *object) line() string {
	return lineOfInode(o.ino, o.mode, o.uid, o.gid, o.nlink, o.rdev, o.target, o.xattrs)
}

// hash is the object's part of the sum: nothing if no name leads to it.
func (o *object) hash() uint64 {
	if o.nlink == 0 {
		return 0
	}
	return hashString(o.line())
}

// newModel begins with a tree that was looked at.
func newModel(s *seen) *model {
	m := &model{handles: map[string]*object{}}
	byIno := map[uint64]*object{}
	for _, i := range s.inodes {
		o := m.object(i.ino, -1, fmt.Sprintf("#%d", i.ino))
		o.mode, o.uid, o.gid, o.nlink, o.rdev, o.target, o.xattrs = i.mode, i.uid, i.gid, i.nlink, i.rdev, i.target, i.xattrs
		if o.isDir() {
			o.entries = map[string]*object{}
		}
		byIno[i.ino] = o
		m.now += o.hash()
	}
	for _, e := range s.entries {
		byIno[e.dir].entries[e.name] = byIno[e.ino]
		byIno[e.ino].parent = byIno[e.dir]
		byIno[e.ino].name = e.name
		m.now += hashString(lineOfEntry(e.dir, e.name, e.ino))
	}
	m.root = byIno[s.root]
	m.digests = []uint64{m.now}
	return m
}

// sub makes a model of the tree below a directory, for a thread that has it for itself.
func (m *model) sub(path string, nr int) *model {
	root := m.find(path)
	s := &model{root: root, prefix: path, handles: map[string]*object{}, tags: uint32(nr+1) << 16}
	seen := map[*object]bool{}
	var walk func(o *object)
	walk = func(o *object) {
		if seen[o] {
			return
		}
		seen[o] = true
		s.now += o.hash()
		s.objects = append(s.objects, o)
		for name, c := range o.entries {
			s.now += hashString(lineOfEntry(o.ino, name, c.ino))
			walk(c)
		}
	}
	walk(root)
	// The operations so far are not told apart: they have all been made durable.
	for range m.digests {
		s.digests = append(s.digests, s.now)
	}
	return s
}

func (m *model) object(ino uint64, born int, name string) *object {
	m.tags++
	o := &object{tag: m.tags, ino: ino, born: born, name: name, named: born, gone: -1, utimeOp: -1}
	m.objects = append(m.objects, o)
	return o
}

// find returns what a path or handle leads to, or nil.
func (m *model) find(path string) *object {
	if strings.HasPrefix(path, "@") {
		return m.handles[path]
	}
	if m.prefix != "" {
		path = strings.TrimPrefix(strings.TrimPrefix(path, m.prefix), "/")
	}
	o := m.root
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		if o == nil {
			return nil
		}
		o = o.entries[name]
	}
	return o
}

// split returns a path's directory and last name.
func (m *model) split(path string) (*object, string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return m.find("."), path
	}
	return m.find(path[:i]), path[i+1:]
}

// edit calls f to change attributes of o, and keeps the hash.
func (m *model) edit(o *object, op int, f func()) {
	m.now -= o.hash()
	f()
	m.now += o.hash()
	o.touched = append(o.touched, touch{op: op})
}

func (m *model) addEntry(dir *object, name string, o *object, op int) {
	dir.entries[name] = o
	m.now += hashString(lineOfEntry(dir.ino, name, o.ino))
	if o.isDir() {
		o.parent = dir
		m.edit(dir, op, func() { dir.nlink++ })
	} else {
		dir.touched = append(dir.touched, touch{op: op})
	}
}

func (m *model) dropEntry(dir *object, name string, op int) {
	o := dir.entries[name]
	delete(dir.entries, name)
	m.now -= hashString(lineOfEntry(dir.ino, name, o.ino))
	if o.isDir() {
		m.edit(dir, op, func() { dir.nlink-- })
	} else {
		dir.touched = append(dir.touched, touch{op: op})
	}
}

// unlinked takes a link away from o, whose entry is gone.
func (m *model) unlinked(o *object, op int) {
	m.edit(o, op, func() {
		if o.isDir() {
			o.nlink = 0
		} else {
			o.nlink--
		}
		if o.nlink == 0 {
			o.gone = op
		}
	})
}

// apply does operation nr, which has ended as done says.
func (m *model) apply(nr int, o op, done outcome) {
	if done.errno == 0 {
		m.do(nr, o, done)
	}
	m.digests = append(m.digests, m.now)
}

func (m *model) do(nr int, o op, done outcome) {
	switch o.name {
	case "creat", "mkdir", "mkfifo", "mknod", "symlink":
		dir, name := m.split(o.to)
		n := m.object(done.ino, nr, o.to)
		n.mode, n.nlink = modeOf(o), 1
		switch o.name {
		case "mkdir":
			n.entries, n.nlink = map[string]*object{}, 2
		case "symlink":
			n.target = o.path
		case "mknod":
			n.rdev = testRdev
		}
		m.now += n.hash()
		n.touched = []touch{{nr, true}}
		m.addEntry(dir, name, n, nr)
	case "tmpfile":
		n := m.object(done.ino, nr, o.to)
		n.mode, n.named = abi.S_IFREG|0o644, math.MaxInt
		n.touched = []touch{{nr, true}}
		m.handles[o.to] = n
	case "open":
		m.handles[o.to] = m.find(o.path)
	case "close":
		delete(m.handles, o.path)
	case "link":
		n := m.find(o.path)
		dir, name := m.split(o.to)
		if n.nlink == 0 {
			n.named = nr
		}
		m.edit(n, nr, func() { n.nlink++ })
		m.addEntry(dir, name, n, nr)
	case "unlink", "rmdir":
		dir, name := m.split(o.path)
		n := dir.entries[name]
		m.dropEntry(dir, name, nr)
		m.unlinked(n, nr)
	case "rename":
		m.rename(nr, o)
	case "chmod":
		n := m.find(o.path)
		m.edit(n, nr, func() { n.mode = n.mode&abi.S_IFMT | uint32(o.off) })
	case "chown":
		n := m.find(o.path)
		m.edit(n, nr, func() { n.uid, n.gid = uint32(o.off), uint32(o.n) })
	case "setxattr":
		n := m.find(o.path)
		m.edit(n, nr, func() {
			n.xattrs = maps.Clone(n.xattrs)
			if n.xattrs == nil {
				n.xattrs = map[string]uint64{}
			}
			n.xattrs[o.to] = hashBytes(xattrValue(o.to, nr, o.n))
		})
	case "rmxattr":
		n := m.find(o.path)
		m.edit(n, nr, func() {
			n.xattrs = maps.Clone(n.xattrs)
			delete(n.xattrs, o.to)
		})
	case "utimes":
		n := m.find(o.path)
		n.utime, n.utimeOp = o.off, nr
		n.touched = append(n.touched, touch{op: nr})
	case "truncate", "write", "append", "mmap", "falloc", "punch", "zero":
		m.content(nr, o, done)
	}
}

func (m *model) rename(nr int, o op) {
	from, name := m.split(o.path)
	to, newName := m.split(o.to)
	n, old := from.entries[name], to.entries[newName]
	if n == old {
		return // two names of one file: nothing happens
	}
	m.dropEntry(from, name, nr)
	if old != nil {
		m.dropEntry(to, newName, nr)
	}
	m.addEntry(to, newName, n, nr)
	m.edit(n, nr, func() {})
	switch {
	case old == nil:
	case o.flag == "exchange":
		m.addEntry(from, name, old, nr)
		m.edit(old, nr, func() {})
	default:
		m.unlinked(old, nr)
		if n.isFile() {
			n.changes = append(n.changes, change{op: nr, kind: changeOver, size: n.size})
		}
	}
}

func (m *model) content(nr int, o op, done outcome) {
	n := m.find(o.path)
	c := change{op: nr, off: o.off, end: o.off + o.n}
	switch o.name {
	case "truncate":
		c.kind, c.off, c.end = changeSize, o.off, o.off
		n.size = o.off
	case "append":
		c.off = n.size
		c.end = c.off + done.n
		n.size = c.end
	case "write":
		c.end = c.off + done.n
		n.size = max(n.size, c.end)
	case "mmap":
		c.end = min(c.end, n.size)
	case "falloc":
		c.kind = changeExtend
		if o.flag == "keep" || c.end <= n.size {
			c.off, c.end = 0, 0 // changes nothing that can be read
		} else {
			c.off, n.size = n.size, c.end
		}
	case "punch":
		c.kind, c.end = changeZero, min(c.end, n.size)
	case "zero":
		c.kind = changeZero
		if o.flag == "keep" {
			c.end = min(c.end, n.size)
		}
		n.size = max(n.size, c.end)
	}
	if o.name != "write" && o.name != "append" && o.name != "mmap" {
		n.touched = append(n.touched, touch{nr, true})
	}
	c.size = n.size
	n.changes = append(n.changes, c)
}

// lines describes the names and attributes as they are now, for a failure's message.
func (m *model) lines() []string {
	var out []string
	seen := map[*object]bool{}
	var walk func(o *object)
	walk = func(o *object) {
		if seen[o] {
			return
		}
		seen[o] = true
		out = append(out, o.line())
		for name, c := range o.entries {
			out = append(out, lineOfEntry(o.ino, name, c.ino))
			walk(c)
		}
	}
	walk(m.root)
	slices.Sort(out)
	return out
}
