package memfs

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync/atomic"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// directory is the entries of a directory. All of it is guarded by FS.tree.
type directory struct {
	parent *node
	names  map[string]*entry
	// order is all entries by cookie, with gaps where some were removed, so that readers
	// find their place again.
	order []*entry
	gaps  int
	next  int64        // cookie of the next new entry
	gone  bool         // removed
	count atomic.Int64 // len(names), for who does not hold the lock
}

// entry is a name. Its cookie says where reading goes on after it.
type entry struct {
	name   string
	node   *node // nil: removed
	cookie int64
}

// Cookies of the entries that every directory has.
const (
	cookieDot    = 1
	cookieDotDot = 2
)

func newDirectory() *directory {
	return &directory{names: make(map[string]*entry), next: cookieDotDot + 1}
}

func (d *directory) add(name string, n *node) {
	e := &entry{name: strings.Clone(name), node: n, cookie: d.next}
	d.next++
	d.names[e.name] = e
	d.order = append(d.order, e)
	d.count.Add(1)
}

func (d *directory) remove(e *entry) {
	delete(d.names, e.name)
	d.count.Add(-1)
	e.node = nil
	if d.gaps++; d.gaps > 32 && d.gaps > len(d.order)/2 {
		d.order = slices.DeleteFunc(d.order, func(e *entry) bool { return e.node == nil })
		d.gaps = 0
	}
}

func badName(name string) abi.Errno {
	if len(name) > vfs.NameMax {
		return abi.ENAMETOOLONG
	}
	return 0
}

// Lookup implements vfs.Node.
func (n *node) Lookup(name string) (vfs.Node, abi.Errno) {
	if !n.isDir() {
		return nil, abi.ENOTDIR
	}
	if e := badName(name); e != 0 {
		return nil, e
	}
	n.fs.tree.RLock()
	defer n.fs.tree.RUnlock()
	entry := n.dir.names[name]
	if entry == nil {
		return nil, abi.ENOENT
	}
	entry.node.Ref()
	return entry.node, 0
}

// room checks that n may get an entry of the name, and charges for it. fs.tree is held.
func (n *node) room(name string) abi.Errno {
	if !n.isDir() {
		return abi.ENOTDIR
	}
	if e := badName(name); e != 0 {
		return e
	}
	if n.dir.gone {
		return abi.ENOENT
	}
	if n.dir.names[name] != nil {
		return abi.EEXIST
	}
	return n.fs.charge(nameCost + int64(len(name)))
}

// Create implements vfs.Node.
func (n *node) Create(name string, c *vfs.NewNode) (vfs.Node, abi.Errno) {
	return n.create(name, "", c)
}

// Symlink implements vfs.Node.
func (n *node) Symlink(name, target string, c *vfs.NewNode) (vfs.Node, abi.Errno) {
	if len(target) > vfs.PathMax {
		return nil, abi.ENAMETOOLONG
	}
	link := *c
	link.Mode = abi.S_IFLNK | 0o777
	return n.create(name, target, &link)
}

func (n *node) create(name, target string, c *vfs.NewNode) (vfs.Node, abi.Errno) {
	n.fs.tree.Lock()
	defer n.fs.tree.Unlock()
	if e := n.room(name); e != 0 {
		return nil, e
	}
	cost := int64(len(target))
	e := n.fs.charge(cost)
	var made *node
	if e == 0 {
		if made, e = n.newChild(c); e != 0 {
			n.fs.uncharge(cost)
		}
	}
	if e != 0 {
		n.fs.uncharge(nameCost + int64(len(name)))
		return nil, e
	}
	made.target = strings.Clone(target)
	made.size = cost
	made.nlink.Store(1)
	if made.isDir() {
		made.nlink.Store(2)
		made.dir.parent = n
		n.nlink.Add(1)
	}
	n.dir.add(name, made)
	n.changed(made.ctime, true)
	return made, 0
}

// newChild makes a node that is to be in directory n, with what it inherits. fs.tree is held.
func (n *node) newChild(c *vfs.NewNode) (*node, abi.Errno) {
	xattrs, mode := n.inheritACL(c)
	cost := int64(0)
	for name, value := range xattrs {
		cost += xattrCost(name, value)
	}
	if e := n.fs.charge(cost); e != 0 {
		return nil, e
	}
	child := *c
	child.Mode = mode
	made, e := n.fs.newNode(&child, false)
	if e != 0 {
		n.fs.uncharge(cost)
		return nil, e
	}
	made.xattrs = xattrs
	made.flags.Store(n.flags.Load() & inheritedFlags)
	return made, 0
}

// Tmpfile implements vfs.TmpMaker.
func (n *node) Tmpfile(c *vfs.NewNode, linkable bool) (vfs.Node, abi.Errno) {
	if !n.isDir() {
		return nil, abi.ENOTDIR
	}
	if c.Mode&abi.S_IFMT != abi.S_IFREG {
		return nil, abi.EINVAL
	}
	n.fs.tree.Lock()
	defer n.fs.tree.Unlock()
	if n.dir.gone {
		return nil, abi.ENOENT
	}
	made, e := n.newChild(c)
	if e != 0 {
		return nil, e
	}
	made.linkable = linkable
	return made, 0
}

// Link implements vfs.Node.
func (n *node) Link(name string, target vfs.Node) abi.Errno {
	t, ok := target.(*node)
	if !ok || t.fs != n.fs {
		return abi.EXDEV
	}
	n.fs.tree.Lock()
	defer n.fs.tree.Unlock()
	switch {
	case t.isDir():
		return abi.EPERM
	case t.nlink.Load() == 0 && !t.linkable:
		return abi.ENOENT
	case t.nlink.Load() >= maxLinks:
		return abi.EMLINK
	}
	if e := n.room(name); e != 0 {
		return e
	}
	t.nlink.Add(1)
	t.linkable = false
	n.dir.add(name, t)
	now := n.fs.Now()
	t.changed(now, false)
	n.changed(now, true)
	return 0
}

// Unlink implements vfs.Node.
func (n *node) Unlink(name string) abi.Errno {
	return n.remove(name, false)
}

// Rmdir implements vfs.Node.
func (n *node) Rmdir(name string) abi.Errno {
	return n.remove(name, true)
}

func (n *node) remove(name string, isDir bool) abi.Errno {
	if !n.isDir() {
		return abi.ENOTDIR
	}
	n.fs.tree.Lock()
	defer n.fs.tree.Unlock()
	entry := n.dir.names[name]
	if entry == nil {
		return abi.ENOENT
	}
	t := entry.node
	t.Ref() // until its link count has been written
	switch {
	case isDir && !t.isDir():
		defer t.refs.Add(-1)
		return abi.ENOTDIR
	case !isDir && t.isDir():
		defer t.refs.Add(-1)
		return abi.EISDIR
	case isDir && len(t.dir.names) > 0:
		defer t.refs.Add(-1)
		return abi.ENOTEMPTY
	}
	n.dir.remove(entry)
	n.fs.uncharge(nameCost + int64(len(name)))
	now := n.fs.Now()
	n.drop(t, now)
	n.changed(now, true)
	return 0
}

// drop takes a name of t away; n is the directory it was in. It takes over a reference to t.
// fs.tree is held.
func (n *node) drop(t *node, now vfs.Timespec) {
	if t.isDir() {
		t.nlink.Store(0)
		t.dir.gone = true
		n.nlink.Add(^uint32(0))
	} else {
		t.nlink.Add(^uint32(0))
	}
	t.changed(now, false)
	if t.refs.Add(-1) == 0 && t.nlink.Load() == 0 {
		t.refs.Store(-1 << 31)
		t.free()
	}
}

// ReadDir implements vfs.Node.
func (n *node) ReadDir(cookie int64, emit func(*vfs.DirEntry) bool) abi.Errno {
	if !n.isDir() {
		return abi.ENOTDIR
	}
	n.fs.tree.RLock()
	defer n.fs.tree.RUnlock()
	defer n.accessed()
	cookie = max(cookie, 0)
	d := n.dir
	if d.gone {
		return abi.ENOENT
	}
	var out vfs.DirEntry
	if cookie < cookieDot {
		out = vfs.DirEntry{Ino: n.ino, Type: abi.DT_DIR, Name: ".", Cookie: cookieDot}
		if !emit(&out) {
			return 0
		}
	}
	if cookie < cookieDotDot {
		out = vfs.DirEntry{Ino: d.parent.ino, Type: abi.DT_DIR, Name: "..", Cookie: cookieDotDot}
		if !emit(&out) {
			return 0
		}
	}
	if cookie == math.MaxInt64 {
		return 0
	}
	i, _ := slices.BinarySearchFunc(d.order, cookie+1, func(e *entry, c int64) int { return cmp.Compare(e.cookie, c) })
	for _, e := range d.order[i:] {
		if e.node == nil {
			continue
		}
		out = vfs.DirEntry{Ino: e.node.ino, Type: uint8(e.node.mode.Load() >> 12), Name: e.name, Cookie: e.cookie}
		if !emit(&out) {
			break
		}
	}
	return 0
}

// Rename implements vfs.Node.
func (n *node) Rename(name string, newDir vfs.Node, newName string, flags uint32) abi.Errno {
	to, ok := newDir.(*node)
	if !ok || to.fs != n.fs {
		return abi.EXDEV
	}
	if !n.isDir() || !to.isDir() {
		return abi.ENOTDIR
	}
	if e := badName(newName); e != 0 {
		return e
	}
	n.fs.tree.Lock()
	defer n.fs.tree.Unlock()
	src, dst := n.dir.names[name], to.dir.names[newName]
	switch {
	case src == nil:
		return abi.ENOENT
	case to.dir.gone:
		return abi.ENOENT
	case dst != nil && flags&abi.RENAME_NOREPLACE != 0:
		return abi.EEXIST
	case dst == nil && flags&abi.RENAME_EXCHANGE != 0:
		return abi.ENOENT
	case dst != nil && src.node == dst.node:
		return 0
	}
	now := n.fs.Now()
	moved := src.node
	switch {
	case flags&abi.RENAME_EXCHANGE != 0:
		other := dst.node
		src.node, dst.node = other, moved
		n.adopt(other, to)
		to.adopt(moved, n)
		other.changed(now, false)
	case dst != nil:
		old := dst.node
		switch {
		case moved.isDir() && !old.isDir():
			return abi.ENOTDIR
		case !moved.isDir() && old.isDir():
			return abi.EISDIR
		case old.isDir() && len(old.dir.names) > 0:
			return abi.ENOTEMPTY
		}
		// The name that is replaced keeps its place for readers: it is there all the while.
		dst.node = moved
		n.dir.remove(src)
		n.fs.uncharge(nameCost + int64(len(name)))
		to.adopt(moved, n)
		old.Ref()
		to.drop(old, now)
	default:
		if e := n.fs.charge(int64(len(newName) - len(name))); e != 0 {
			return e
		}
		n.dir.remove(src)
		to.dir.add(newName, moved)
		to.adopt(moved, n)
	}
	moved.changed(now, false)
	n.changed(now, true)
	if to != n {
		to.changed(now, true)
	}
	return 0
}

// adopt makes n the parent of child, which was in from. fs.tree is held.
func (n *node) adopt(child, from *node) {
	if child.isDir() && n != from {
		child.dir.parent = n
		from.nlink.Add(^uint32(0))
		n.nlink.Add(1)
	}
}
