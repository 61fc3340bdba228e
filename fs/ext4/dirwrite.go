package ext4

import (
	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

// slot is the place where a new name of a directory goes. It is valid as long as the
// directory's lock is held and the directory not changed.
type slot struct {
	b    *buffer // leaf, nil if a new block is needed
	off  int     // of a record with room, -1 if the leaf has to be split
	path htPath  // to the leaf, in a directory with a hash tree
	hash uint32
}

func (s *slot) release(fs *FS) {
	fs.buffers.put(s.b)
	s.path.release(fs)
}

// findSlot looks for a place for name, and makes sure that it is not taken. The caller
// holds n.mu exclusively and releases the slot.
func (n *inode) findSlot(name string, s *slot) error {
	p, err := n.look(name, s)
	if err == nil && p.b != nil {
		n.fs.buffers.put(p.b)
		err = abi.EEXIST
	}
	return err
}

// look looks a name up, and for a place for it at the same time: it returns where the entry is, or,
// if there is none (b is nil then), makes s the slot for one. Which entry comes before is not told.
// The caller holds n.mu exclusively, and gives the position's buffer back and releases the slot.
func (n *inode) look(name string, s *slot) (dirPos, error) {
	*s = slot{off: -1}
	if n.removed {
		return dirPos{}, abi.ENOENT
	}
	if n.indexed() {
		return n.lookIndexed(name, s)
	}
	for i := range n.dirBlocks() {
		b, err := n.leaf(i)
		if err != nil {
			return dirPos{}, err
		}
		entry, room := findBoth(n.entries(b), name)
		if entry >= 0 {
			return dirPos{b: b, off: entry}, nil
		}
		if s.b == nil && room >= 0 {
			s.b, s.off = b, room
			continue
		}
		n.fs.buffers.put(b)
	}
	return dirPos{}, nil
}

// putName enters a name at the slot that findSlot has found.
func (n *inode) putName(h handle, s *slot, name string, ino uint32, mode uint32) error {
	typ := n.fs.fileType(mode)
	if s.off < 0 {
		if n.indexed() {
			return n.splitAndPut(h, s, name, ino, typ)
		}
		if n.dirBlocks() == 1 && n.fs.hasDirIndex {
			return n.indexAndPut(h, s, name, ino, typ)
		}
		b, err := n.growDir(h, roleDir)
		if err != nil {
			return err
		}
		n.fs.initLeaf(b.data)
		s.b, s.off = b, 0
	}
	h.leafAccess(s.b)
	putEntry(n.entries(s.b), s.off, ino, typ, name)
	return nil
}

// growDir appends a zeroed block to the directory.
func (n *inode) growDir(h handle, kind roleKind) (*buffer, error) {
	i := n.dirBlocks()
	if i >= disk.HtreeBlockMask || n.size > n.fs.maxSize()-int64(n.fs.bs) {
		return nil, abi.ENOSPC
	}
	if _, err := n.fillHole(h, i, 1, 0); err != nil {
		return nil, err
	}
	r, err := n.mapRun(i)
	if err != nil {
		return nil, err
	}
	b := n.fs.buffers.create(r.home, makeRole(kind, n.ino), n.seed)
	h.leafAccess(b)
	n.setSize(n.size + int64(n.fs.bs))
	return b, nil
}

// cutName removes the entry at p.
func (n *inode) cutName(h handle, p dirPos) {
	h.leafAccess(p.b)
	cutEntry(n.entries(p.b), p.off, p.prev)
}

// setName makes the entry at p stand for another inode.
func (n *inode) setName(h handle, p dirPos, ino uint32, mode uint32) {
	h.access(p.b)
	le.PutUint32(p.b.data[p.off:], ino)
	if n.fs.hasFiletype {
		p.b.data[p.off+7] = n.fs.fileType(mode)
	}
}

// initDir gives a new directory its first block.
func (n *inode) initDir(h handle, parent uint32) error {
	b, err := n.growDir(h, roleDir)
	if err != nil {
		return err
	}
	defer n.fs.buffers.put(b)
	n.fs.initLeaf(b.data)
	typ := n.fs.fileType(abi.S_IFDIR)
	dot := disk.DirentSize(1)
	disk.PutDirent(b.data, n.ino, dot, typ, ".")
	disk.PutDirent(b.data[dot:], parent, n.fs.leafSpace()-dot, typ, "..")
	return nil
}

// parentPos returns where the directory's ".." is.
func (n *inode) parentPos() (dirPos, error) {
	p, err := n.find("..")
	if err == abi.ENOENT {
		err = n.fs.corruptInode(n.ino, "the directory has no ..")
	}
	return p, err
}

// isEmpty tells whether the directory has no names but "." and "..".
func (n *inode) isEmpty() (bool, error) {
	if !n.indexed() {
		for i := range n.dirBlocks() {
			b, err := n.leaf(i)
			if err != nil {
				return false, err
			}
			used := hasNames(n.entries(b))
			n.fs.buffers.put(b)
			if used {
				return false, nil
			}
		}
		return true, nil
	}
	var p htPath
	defer p.release(n.fs)
	if err := n.htreeRoot(&p); err != nil {
		return false, err
	}
	if err := n.descend(&p, 0); err != nil {
		return false, err
	}
	for range n.dirBlocks() {
		b, err := n.htreeLeaf(&p)
		if err != nil {
			return false, err
		}
		used := hasNames(n.entries(b))
		n.fs.buffers.put(b)
		if used {
			return false, nil
		}
		if _, ok, err := n.advance(&p); err != nil || !ok {
			return err == nil, err
		}
	}
	return false, n.fs.corruptInode(n.ino, "htree has more leaves than the directory has blocks")
}

// hasNames tells whether a leaf has entries in use other than "." and "..".
func hasNames(data []byte) bool {
	for off := 0; off+disk.DirentHeader <= len(data); off += recLen(data, off) {
		if le.Uint32(data[off:]) != 0 {
			if e := entryAt(data, off); e.name != "." && e.name != ".." {
				return true
			}
		}
	}
	return false
}

// maxLinks is the link count that a file may have, and from where on a directory with a
// hash tree stops counting (feature dir_nlink).
const maxLinks = 65000

// linksFull tells whether the directory can have no more subdirectories.
func (n *inode) linksFull() bool {
	return n.d.Links >= maxLinks && !(n.fs.hasDirNlink && n.indexed())
}

// addDirLink counts a subdirectory. A count of 1 says that there are too many to count.
func (n *inode) addDirLink() {
	n.d.Links++
	if n.indexed() && (n.d.Links > maxLinks || n.d.Links == 2) {
		n.d.Links = 1
	}
}

// dropDirLink discounts a subdirectory.
func (n *inode) dropDirLink() {
	if n.d.Links > 2 {
		n.d.Links--
	}
}
