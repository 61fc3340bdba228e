package ext4

import (
	"cmp"
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
	h := fs.cookieSeed
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	return max(int64(major>>1)<<32|int64(uint32(h>>16)), cookieFirst)
}

// hashed is an entry with its place in hash order.
type hashed struct {
	cookie int64
	dirEntry
}

var hashedPool = sync.Pool{New: func() any { return new([]hashed) }}

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
	m.entry = vfs.DirEntry{Ino: uint64(e.ino), Type: m.fs.direntType(e.typ), Name: e.name, Cookie: cookie}
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
	list := hashedPool.Get().(*[]hashed)
	defer func() {
		clear(*list)
		*list = (*list)[:0]
		hashedPool.Put(list)
	}()
	version := disk.HashVersion(p.info.HashVersion)
	// Each turn reads a leaf, and those that go on with its last hash.
	for turns := uint32(0); turns <= n.dirBlocks(); turns++ {
		more := false
		var held []*buffer
		release := func() {
			for _, b := range held {
				n.fs.buffers.put(b)
			}
		}
		for {
			b, err := n.htreeLeaf(&p)
			if err != nil {
				release()
				return err
			}
			held = append(held, b)
			*list = n.collect(*list, n.entries(b), version, cookie)
			hash, ok, err := n.advance(&p)
			if err == nil && len(held) > maxCollisionLeaves {
				err = n.fs.corruptInode(n.ino, "more than %d leaves of names with one hash", maxCollisionLeaves)
			}
			if err != nil {
				release()
				return err
			}
			if more = ok; !ok || hash&1 == 0 {
				break
			}
		}
		ok := m.putSorted(*list)
		*list = (*list)[:0]
		release()
		if !ok || !more {
			return nil
		}
	}
	return n.fs.corruptInode(n.ino, "htree has more leaves than the directory has blocks")
}

// readDirBlock reads a directory of one block in hash order.
func (n *inode) readDirBlock(cookie int64, m *emitter) error {
	b, err := n.leaf(0)
	if err != nil {
		return err
	}
	defer n.fs.buffers.put(b)
	list := hashedPool.Get().(*[]hashed)
	*list = n.collect(*list, n.entries(b), n.fs.hashVersion, cookie)
	m.putSorted(*list)
	clear(*list)
	*list = (*list)[:0]
	hashedPool.Put(list)
	return nil
}

// collect adds the entries behind cookie to list.
func (n *inode) collect(list []hashed, data []byte, version disk.HashVersion, cookie int64) []hashed {
	for off := 0; off+disk.DirentHeader <= len(data); off += recLen(data, off) {
		if le.Uint32(data[off:]) == 0 {
			continue
		}
		e := entryAt(data, off)
		var c int64
		switch e.name {
		case ".":
			c = cookieDot
		case "..":
			c = cookieDotDot
		default:
			c = n.fs.cookie(n.fs.hashOf(version, e.name), e.name)
		}
		if c > cookie {
			list = append(list, hashed{c, e})
		}
	}
	return list
}

// putSorted emits entries in order of their cookies until the reader says no.
func (m *emitter) putSorted(list []hashed) bool {
	slices.SortFunc(list, func(a, b hashed) int { return cmp.Compare(a.cookie, b.cookie) })
	for i := range list {
		if !m.put(list[i].dirEntry, list[i].cookie) {
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
