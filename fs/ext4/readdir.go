package ext4

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

// Directories are read in one of two orders, each of which an entry keeps as long as it
// lives, so that a reader meets every entry once while others come and go:
//
// By hash, where a directory has a hash tree or will have one when it outgrows its block
// (entries then move between blocks). The cookie is the tree's 31-bit hash and 32 bits of
// another hash, drawn anew for each mount, so that names that collide in the one differ in
// the other, and nobody can choose names that do not.
//
// By place, where it never will have one (entries then never move). The cookie is the
// offset behind the entry.

const (
	cookieDot    = 1
	cookieDotDot = 2
	cookieFirst  = 3 // lowest cookie of a name
)

// byHash tells which order the directory has.
func (n *inode) byHash() bool { return n.indexed() || n.fs.hasDirIndex && n.dirBlocks() == 1 }

// cookie returns the place of a name in hash order.
func (fs *FS) cookie(major uint32, name string) int64 {
	return max(int64(major>>1)<<32|int64(uint32(maphash.String(fs.cookieSeed, name))), cookieFirst)
}

// leafOrder is the entries of a directory leaf in hash order. It is made by the first reader, and
// kept with the leaf's buffer until the leaf changes: programs read directories more often than
// they change them, and hashing the names is most of the work.
type leafOrder struct {
	cookies []int64
	offs    []uint16 // of the entries in the leaf
}

// order returns the order of a leaf. The caller holds n.mu.
func (n *inode) order(b *buffer, version disk.HashVersion) *leafOrder {
	if o := b.order.Load(); o != nil {
		return o
	}
	o := n.sortLeaf(b, version)
	b.order.Store(o)
	return o
}

// leafAccess is handle.access for a leaf whose entries change.
func (h handle) leafAccess(b *buffer) {
	h.access(b)
	b.order.Store(nil)
}

// placed is an entry of a leaf with its place in hash order.
type placed struct {
	cookie int64
	off    uint16
}

var placedPool = sync.Pool{New: func() any { return new([]placed) }}

// sortLeaf makes the order of a leaf.
func (n *inode) sortLeaf(b *buffer, version disk.HashVersion) *leafOrder {
	list := placedPool.Get().(*[]placed)
	l := (*list)[:0]
	data := n.entries(b)
	for off := 0; off+disk.DirentHeader <= len(data); off += recLen(data, off) {
		if le.Uint32(data[off:]) != 0 {
			l = append(l, placed{n.fs.place(version, entryAt(data, off).name), uint16(off)})
		}
	}
	slices.SortFunc(l, func(a, b placed) int {
		if a.cookie != b.cookie {
			return cmp.Compare(a.cookie, b.cookie)
		}
		return int(a.off) - int(b.off)
	})
	o := &leafOrder{make([]int64, len(l)), make([]uint16, len(l))}
	for i, e := range l {
		o.cookies[i], o.offs[i] = e.cookie, e.off
	}
	*list = l
	placedPool.Put(list)
	return o
}

// place returns the cookie of a name in a directory with hashes of a version.
func (fs *FS) place(version disk.HashVersion, name string) int64 {
	if len(name) <= 2 && name[0] == '.' {
		switch name {
		case ".":
			return cookieDot
		case "..":
			return cookieDotDot
		}
	}
	return fs.cookie(fs.hashOf(version, name), name)
}

// maxCollisionLeaves bounds how many leaves may hold names with the same hash.
const maxCollisionLeaves = 256

// ReadDir implements vfs.Node.
func (n *inode) ReadDir(cookie int64, emit func(*vfs.DirEntry) bool) abi.Errno {
	if !n.isDir() {
		return abi.ENOTDIR
	}
	if cookie < 0 {
		return abi.EINVAL
	}
	m := emitter{fs: n.fs, emit: emit}
	n.mu.RLock()
	var err error
	switch {
	case n.removed:
		err = abi.ENOENT
	case n.indexed():
		err = n.readDirTree(cookie, &m)
	case n.byHash():
		err = n.readDirBlock(cookie, &m)
	default:
		err = n.readDirByPlace(cookie, &m)
	}
	n.mu.RUnlock()
	if n.atimeDue.Load() {
		n.accessed()
	}
	return errno(err)
}

// emitter hands entries to a reader; the one DirEntry serves for all.
type emitter struct {
	fs    *FS
	entry vfs.DirEntry
	emit  func(*vfs.DirEntry) bool
}

func (m *emitter) put(e dirEntry, cookie int64) bool {
	m.entry.Ino, m.entry.Type = uint64(e.ino), m.fs.direntType(e.typ)
	m.entry.Name, m.entry.Cookie = e.name, cookie
	return m.emit(&m.entry)
}

// readDirTree reads a directory with a hash tree.
func (n *inode) readDirTree(cookie int64, m *emitter) error {
	var p htPath
	defer p.release(n.fs)
	if err := n.htreeRoot(&p); err != nil {
		return err
	}
	root := p.nodes[0].b.data
	if cookie < cookieDot && !m.put(entryAt(root, 0), cookieDot) {
		return nil
	}
	if cookie < cookieDotDot && !m.put(entryAt(root, 12), cookieDotDot) {
		return nil
	}
	if err := n.descend(&p, uint32(cookie>>32)<<1); err != nil {
		return err
	}
	version := disk.HashVersion(p.info.HashVersion)
	// Each turn reads a leaf, and those that go on with its last hash.
	for turns := uint32(0); turns <= n.dirBlocks(); turns++ {
		b, err := n.htreeLeaf(&p)
		if err != nil {
			return err
		}
		hash, more, err := n.advance(&p)
		ok := false
		switch {
		case err != nil:
		case more && hash&1 != 0:
			ok, more, err = n.readCollision(&p, b, version, cookie, m)
		default:
			ok = m.putOrder(n.entries(b), n.order(b, version), cookie)
		}
		n.fs.buffers.put(b)
		if err != nil || !ok || !more {
			return err
		}
	}
	return n.fs.corruptInode(n.ino, "htree has more leaves than the directory has blocks")
}

// readCollision reads a leaf whose last hash goes on in the leaf that p leads to, and maybe in more:
// the entries of all of them are sorted together. more tells whether the directory goes on.
func (n *inode) readCollision(p *htPath, first *buffer, version disk.HashVersion, cookie int64, m *emitter) (ok, more bool, err error) {
	held := []*buffer{first}
	defer func() {
		for _, b := range held[1:] {
			n.fs.buffers.put(b)
		}
	}()
	for {
		b, err := n.htreeLeaf(p)
		if err != nil {
			return false, false, err
		}
		held = append(held, b)
		hash, next, err := n.advance(p)
		if err != nil {
			return false, false, err
		}
		if len(held) > maxCollisionLeaves {
			return false, false, n.fs.corruptInode(n.ino, "more than %d leaves of names with one hash", maxCollisionLeaves)
		}
		if more = next; !next || hash&1 == 0 {
			break
		}
	}
	type entry struct {
		cookie int64
		dirEntry
	}
	var list []entry
	for _, b := range held {
		o, data := n.order(b, version), n.entries(b)
		for i, c := range o.cookies {
			if c > cookie {
				list = append(list, entry{c, entryAt(data, int(o.offs[i]))})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b entry) int { return cmp.Compare(a.cookie, b.cookie) })
	for _, e := range list {
		if !m.put(e.dirEntry, e.cookie) {
			return false, more, nil
		}
	}
	return true, more, nil
}

// readDirBlock reads a directory of one block in hash order.
func (n *inode) readDirBlock(cookie int64, m *emitter) error {
	b, err := n.leaf(0)
	if err != nil {
		return err
	}
	m.putOrder(n.entries(b), n.order(b, n.fs.hashVersion), cookie)
	n.fs.buffers.put(b)
	return nil
}

// putOrder emits the entries of a leaf behind cookie, until the reader says no.
func (m *emitter) putOrder(data []byte, o *leafOrder, cookie int64) bool {
	i := 0
	if len(o.cookies) > 0 && o.cookies[0] <= cookie {
		i, _ = slices.BinarySearch(o.cookies, cookie+1)
	}
	for ; i < len(o.cookies); i++ {
		if !m.put(entryAt(data, int(o.offs[i])), o.cookies[i]) {
			return false
		}
	}
	return true
}

// readDirByPlace reads a directory without a hash tree.
func (n *inode) readDirByPlace(cookie int64, m *emitter) error {
	for i := uint32(min(cookie>>n.fs.bsLog, int64(n.dirBlocks()))); i < n.dirBlocks(); i++ {
		b, err := n.leaf(i)
		if err != nil {
			return err
		}
		data := n.entries(b)
		base := int64(i) << n.fs.bsLog
		for off := 0; off+disk.DirentHeader <= len(data); {
			next := off + recLen(data, off)
			if base+int64(off) >= cookie && le.Uint32(data[off:]) != 0 {
				// The end of the last entry is the start of the next block.
				end := base + int64(next)
				if next >= len(data) {
					end = base + int64(n.fs.bs)
				}
				if !m.put(entryAt(data, off), end) {
					n.fs.buffers.put(b)
					return nil
				}
			}
			off = next
		}
		n.fs.buffers.put(b)
	}
	return nil
}
