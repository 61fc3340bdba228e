package ext4

import (
	"cmp"
	"slices"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

// lookIndexed is look for a directory with a hash tree.
func (n *inode) lookIndexed(name string, s *slot) (dirPos, error) {
	if err := n.htreeRoot(&s.path); err != nil {
		return dirPos{}, err
	}
	s.hash = n.fs.hashOf(disk.HashVersion(s.path.info.HashVersion), name)
	if err := n.descend(&s.path, s.hash); err != nil {
		return dirPos{}, err
	}
	b, err := n.htreeLeaf(&s.path)
	if err != nil {
		return dirPos{}, err
	}
	entry, room := findBoth(n.entries(b), name)
	if entry >= 0 {
		return dirPos{b: b, off: entry}, nil
	}
	s.b, s.off = b, room
	if x := &s.path.nodes[s.path.n-1]; x.at+1 < x.entries().Count() && x.entries().Hash(x.at+1) != s.hash|1 {
		return dirPos{}, nil
	}
	// Names with the same hash may go on in the next leaf.
	p, err := n.findIndexed(name)
	if err == abi.ENOENT {
		return dirPos{}, nil
	}
	return p, err
}

// indexAndPut turns a directory of one full block into one with a hash tree, and enters
// the name.
func (n *inode) indexAndPut(h handle, s *slot, name string, ino uint32, typ uint8) error {
	b, err := n.leaf(0)
	if err != nil {
		return err
	}
	defer n.fs.buffers.put(b)
	data := n.entries(b)
	dot := recLen(data, 0)
	if dot != disk.DirentSize(1) || entryAt(data, 0).name != "." || entryAt(data, dot).name != ".." {
		return n.fs.corruptBlock(n.ino, b.nr, "directory does not start with . and ..")
	}
	leaf, err := n.growDir(h, roleDir)
	if err != nil {
		return err
	}
	s.b = leaf
	// The names go to the new block; the old one becomes the root.
	h.leafAccess(b)
	names := make([]hashedEntry, 0, 64)
	names = n.hashEntries(names, data[dot+recLen(data, dot):], n.fs.hashVersion)
	n.packLeaf(leaf, names)
	parent := entryAt(data, dot).ino
	n.initRoot(b, parent)
	n.setFlags(n.d.Flags | disk.InodeIndex)

	if err := n.htreeRoot(&s.path); err != nil {
		return err
	}
	s.hash = n.fs.hashOf(n.fs.hashVersion, name)
	if err := n.descend(&s.path, s.hash); err != nil {
		return err
	}
	return n.splitAndPut(h, s, name, ino, typ)
}

// initRoot makes b the root of a hash tree with one leaf, block 1.
func (n *inode) initRoot(b *buffer, parent uint32) {
	fs := n.fs
	clear(b.data)
	typ := fs.fileType(abi.S_IFDIR)
	disk.PutDirent(b.data, n.ino, 12, typ, ".")
	disk.PutDirent(b.data[12:], parent, fs.bs-12, typ, "..")
	info := disk.HtreeInfo{HashVersion: uint8(fs.hashVersion), InfoLen: disk.HtreeInfoLen}
	info.Encode(b.data)
	e := disk.HtreeEntries(b.data[disk.HtreeRootOffset:])
	e.SetLimit(disk.HtreeLimit(fs.bs, disk.HtreeRootOffset, fs.hasCsum))
	e.SetCount(1)
	e.SetBlock(0, 1)
	b.role.Store(uint64(makeRole(roleHtreeRoot, n.ino)))
}

// hashedEntry is an entry on its way to another place, with its own copy of the name.
type hashedEntry struct {
	hash uint32
	ino  uint32
	typ  uint8
	name string
}

func (e hashedEntry) size() int { return disk.DirentSize(len(e.name)) }

// hashEntries adds the entries of data to list.
func (n *inode) hashEntries(list []hashedEntry, data []byte, v disk.HashVersion) []hashedEntry {
	// One copy of the block serves all names.
	all := string(data)
	for off := 0; off+disk.DirentHeader <= len(data); off += recLen(data, off) {
		if ino := le.Uint32(data[off:]); ino != 0 {
			name := all[off+disk.DirentHeader:][:data[off+6]]
			list = append(list, hashedEntry{n.fs.hashOf(v, name), ino, data[off+7], name})
		}
	}
	return list
}

// packLeaf fills a leaf with entries, all room behind the last.
func (n *inode) packLeaf(b *buffer, list []hashedEntry) {
	clear(b.data)
	n.fs.initLeaf(b.data)
	off, space := 0, n.fs.leafSpace()
	for i, e := range list {
		size := e.size()
		if i == len(list)-1 {
			size = space - off
		}
		disk.PutDirent(b.data[off:], e.ino, size, e.typ, e.name)
		off += size
	}
}

// splitAndPut splits the leaf at s, which has no room, and enters the name in the half
// where it belongs.
func (n *inode) splitAndPut(h handle, s *slot, name string, ino uint32, typ uint8) error {
	fs := n.fs
	if err := n.makeIndexRoom(h, &s.path); err != nil {
		return err
	}
	version := disk.HashVersion(s.path.info.HashVersion)
	list := n.hashEntries(make([]hashedEntry, 0, 64), n.entries(s.b), version)
	if len(list) < 2 {
		return fs.corruptBlock(n.ino, s.b.nr, "directory leaf with %d entries has no room for another", len(list))
	}
	slices.SortStableFunc(list, func(a, b hashedEntry) int { return cmp.Compare(a.hash, b.hash) })
	// Move the upper half by size.
	size, mid := 0, len(list)
	for mid > 1 && size+list[mid-1].size()/2 <= fs.bs/2 {
		mid--
		size += list[mid].size()
	}
	if mid == len(list) {
		mid--
	}
	split := list[mid].hash
	continued := uint32(0)
	if list[mid-1].hash == split {
		continued = 1
	}
	leafNr := n.dirBlocks()
	b, err := n.growDir(h, roleDir)
	if err != nil {
		return err
	}
	h.leafAccess(s.b)
	n.packLeaf(s.b, list[:mid])
	n.packLeaf(b, list[mid:])
	x := &s.path.nodes[s.path.n-1]
	h.access(x.b)
	insertIndex(x.entries(), x.at+1, split|continued, leafNr)
	if s.hash >= split {
		fs.buffers.put(s.b)
		s.b = b
	} else {
		fs.buffers.put(b)
	}
	s.off = findRoom(n.entries(s.b), len(name))
	if s.off < 0 {
		return fs.corruptBlock(n.ino, s.b.nr, "half a directory leaf has no room for an entry")
	}
	putEntry(n.entries(s.b), s.off, ino, typ, name)
	return nil
}

// insertIndex puts an index entry at place i; there must be room.
func insertIndex(e disk.HtreeEntries, i int, hash, block uint32) {
	count := e.Count()
	copy(e[(i+1)*disk.HtreeEntrySize:(count+1)*disk.HtreeEntrySize], e[i*disk.HtreeEntrySize:count*disk.HtreeEntrySize])
	e.SetCount(count + 1)
	e.SetHash(i, hash)
	e.SetBlock(i, block)
}

// makeIndexRoom makes sure that the lowest node of p can take another entry, splitting
// nodes and adding a level where they are full. Each step leaves a sound tree, should the
// next find the disk full.
func (n *inode) makeIndexRoom(h handle, p *htPath) error {
	full := func(level int) bool {
		e := p.nodes[level].entries()
		return e.Count() >= e.Limit()
	}
	last := p.n - 1
	level := last
	for level >= 0 && full(level) {
		level--
	}
	if level == last {
		return nil
	}
	if level < 0 {
		return n.addLevel(h, p)
	}
	for level++; level <= last; level++ {
		if err := n.splitIndex(h, p, level); err != nil {
			return err
		}
	}
	return nil
}

// addLevel moves the root's entries into a new node below it, where there is room for some
// more.
func (n *inode) addLevel(h handle, p *htPath) error {
	fs := n.fs
	if int(p.info.Levels) >= fs.maxHtreeLevels() {
		return abi.ENOSPC
	}
	nr := n.dirBlocks()
	b, err := n.growDir(h, roleHtreeNode)
	if err != nil {
		return err
	}
	root := &p.nodes[0]
	h.access(root.b)
	re := root.entries()
	count := re.Count()
	e := fs.initNode(b)
	copy(e[4:count*disk.HtreeEntrySize], re[4:count*disk.HtreeEntrySize])
	e.SetCount(count)
	re.SetCount(1)
	re.SetBlock(0, nr)
	p.info.Levels++
	p.info.Encode(root.b.data)

	copy(p.nodes[2:], p.nodes[1:p.n])
	p.nodes[1] = htNode{b: b, off: disk.HtreeNodeOffset, at: root.at}
	root.at = 0
	p.n++
	if p.n == 2 {
		return nil
	}
	// The node that was full is lower down, below one that now has room.
	return n.makeIndexRoom(h, p)
}

// initNode makes a zeroed block an inner node without entries.
func (fs *FS) initNode(b *buffer) disk.HtreeEntries {
	d := disk.Dirent{RecLen: fs.bs}
	d.Encode(b.data)
	e := disk.HtreeEntries(b.data[disk.HtreeNodeOffset:])
	e.SetLimit(disk.HtreeLimit(fs.bs, disk.HtreeNodeOffset, fs.hasCsum))
	return e
}

// splitIndex moves the upper half of the node at a level of p, which is not the root, to a
// new node. The node above has room for another entry.
func (n *inode) splitIndex(h handle, p *htPath, level int) error {
	fs := n.fs
	nr := n.dirBlocks()
	b, err := n.growDir(h, roleHtreeNode)
	if err != nil {
		return err
	}
	x, up := &p.nodes[level], &p.nodes[level-1]
	h.access(x.b)
	h.access(up.b)
	xe := x.entries()
	count := xe.Count()
	mid := count / 2
	hash := xe.Hash(mid)
	e := fs.initNode(b)
	copy(e[4:], xe[mid*disk.HtreeEntrySize+4:count*disk.HtreeEntrySize])
	e.SetCount(count - mid)
	xe.SetCount(mid)
	insertIndex(up.entries(), up.at+1, hash, nr)
	if x.at < mid {
		fs.buffers.put(b)
		return nil
	}
	up.at++
	fs.buffers.put(x.b)
	*x = htNode{b: b, off: disk.HtreeNodeOffset, at: x.at - mid}
	return nil
}
