package ext4

import (
	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

// htNode is a root or inner node of a directory's hash tree on the way to a leaf.
type htNode struct {
	b   *buffer
	off int // of its index entries
	at  int // entry that was taken
}

func (x *htNode) entries() disk.HtreeEntries { return disk.HtreeEntries(x.b.data[x.off:]) }

// htPath is the way from the root to a leaf, with references to its buffers.
type htPath struct {
	nodes [disk.HtreeMaxLevelsLD + 1]htNode
	n     int
	info  disk.HtreeInfo
	hash  uint32 // that was looked for
}

func (p *htPath) release(fs *FS) {
	for i := range p.n {
		fs.buffers.put(p.nodes[i].b)
	}
	p.n = 0
}

// leafBlock returns the directory block of the leaf.
func (p *htPath) leafBlock() uint32 {
	x := &p.nodes[p.n-1]
	return x.entries().Block(x.at)
}

// maxLevels returns how many inner levels a hash tree may have below its root.
func (fs *FS) maxHtreeLevels() int {
	if fs.hasLargeDir {
		return disk.HtreeMaxLevelsLD
	}
	return disk.HtreeMaxLevels
}

// checkHtreeRoot is the check of a buffer in roleHtreeRoot.
func checkHtreeRoot(fs *FS, b *buffer, r role, seed uint32) error {
	var dot, dotdot disk.Dirent
	dot.Decode(b.data)
	dotdot.Decode(b.data[12:])
	if dot.RecLen != 12 || dot.NameLen != 1 || dot.Ino != r.owner() ||
		dotdot.RecLen != fs.bs-12 || dotdot.NameLen != 2 || dotdot.Ino == 0 || dotdot.Ino > fs.inodesCount ||
		b.data[8] != '.' || b.data[20] != '.' || b.data[21] != '.' {
		return fs.corruptBlock(r.owner(), b.nr, "htree root does not start with . and ..")
	}
	var info disk.HtreeInfo
	info.Decode(b.data)
	if info.Reserved != 0 || info.InfoLen != disk.HtreeInfoLen || info.Flags&1 != 0 ||
		disk.HashVersion(info.HashVersion) > disk.HashTEA || int(info.Levels) > fs.maxHtreeLevels() {
		return fs.corruptBlock(r.owner(), b.nr, "htree root with hash %d and %d levels", info.HashVersion, info.Levels)
	}
	return fs.checkHtreeEntries(b, r, seed, disk.HtreeRootOffset)
}

// checkHtreeNode is the check of a buffer in roleHtreeNode.
func checkHtreeNode(fs *FS, b *buffer, r role, seed uint32) error {
	var d disk.Dirent
	d.Decode(b.data)
	if d.Ino != 0 || d.RecLen != fs.bs {
		return fs.corruptBlock(r.owner(), b.nr, "htree node does not start with an empty entry")
	}
	return fs.checkHtreeEntries(b, r, seed, disk.HtreeNodeOffset)
}

func (fs *FS) checkHtreeEntries(b *buffer, r role, seed uint32, off int) error {
	e := disk.HtreeEntries(b.data[off:])
	limit, count := e.Limit(), e.Count()
	if limit != disk.HtreeLimit(fs.bs, off, fs.hasCsum) || count < 1 || count > limit {
		return fs.corruptBlock(r.owner(), b.nr, "htree node with %d of %d entries", count, limit)
	}
	if fs.hasCsum {
		got, want := disk.StoredHtreeChecksum(b.data, off, limit), disk.HtreeChecksum(seed, b.data, off, limit, count)
		if got != want {
			return fs.corruptBlock(r.owner(), b.nr, "htree node checksum is %#x, should be %#x", got, want)
		}
	}
	for i := 1; i < count; i++ {
		if e.Hash(i)&^1 < e.Hash(i-1)&^1 {
			return fs.corruptBlock(r.owner(), b.nr, "htree entries are not in order")
		}
	}
	return nil
}

// htreeNode reads block i of the directory as the root (level 0) or an inner node.
func (n *inode) htreeNode(i uint32, level int) (*buffer, error) {
	home, err := n.dirHome(i)
	if err != nil {
		return nil, err
	}
	if level == 0 {
		return n.fs.buffers.read(home, makeRole(roleHtreeRoot, n.ino), n.seed, checkHtreeRoot)
	}
	if i == 0 {
		return nil, n.fs.corruptInode(n.ino, "htree refers to its root")
	}
	return n.fs.buffers.read(home, makeRole(roleHtreeNode, n.ino), n.seed, checkHtreeNode)
}

// root reads the hash tree's root into p.
func (n *inode) htreeRoot(p *htPath) error {
	b, err := n.htreeNode(0, 0)
	if err != nil {
		return err
	}
	p.nodes[0] = htNode{b: b, off: disk.HtreeRootOffset}
	p.n = 1
	p.info.Decode(b.data)
	return nil
}

// descend completes p, which has its root, to the leaf for hash.
func (n *inode) descend(p *htPath, hash uint32) error {
	p.hash = hash
	for level := 0; ; level++ {
		x := &p.nodes[level]
		e := x.entries()
		lo, hi := 1, e.Count()
		for lo < hi {
			mid := (lo + hi) / 2
			if e.Hash(mid) > hash {
				hi = mid
			} else {
				lo = mid + 1
			}
		}
		x.at = lo - 1
		if level == int(p.info.Levels) {
			return nil
		}
		b, err := n.htreeNode(e.Block(x.at), level+1)
		if err != nil {
			return err
		}
		p.nodes[level+1] = htNode{b: b, off: disk.HtreeNodeOffset}
		p.n = level + 2
	}
}

// advance moves p to the next leaf and returns its lowest hash; bit 0 is set if it goes on
// with the hash that the leaf before ended in. ok is false at the end.
func (n *inode) advance(p *htPath) (hash uint32, ok bool, err error) {
	level := p.n - 1
	for ; level >= 0; level-- {
		if x := &p.nodes[level]; x.at+1 < x.entries().Count() {
			break
		}
	}
	if level < 0 {
		return 0, false, nil
	}
	x := &p.nodes[level]
	x.at++
	hash = x.entries().Hash(x.at)
	for ; level < int(p.info.Levels); level++ {
		x := &p.nodes[level]
		b, err := n.htreeNode(x.entries().Block(x.at), level+1)
		if err != nil {
			return 0, false, err
		}
		n.fs.buffers.put(p.nodes[level+1].b)
		p.nodes[level+1] = htNode{b: b, off: disk.HtreeNodeOffset}
	}
	return hash, true, nil
}

// findIndexed is find for a directory with a hash tree.
func (n *inode) findIndexed(name string) (dirPos, error) {
	var p htPath
	defer p.release(n.fs)
	if err := n.htreeRoot(&p); err != nil {
		return dirPos{}, err
	}
	if name == "." || name == ".." {
		off, prev := 0, -1
		if name == ".." {
			off, prev = 12, 0
		}
		b := p.nodes[0].b
		n.fs.buffers.ref(b)
		return dirPos{b, off, prev}, nil
	}
	hash := n.fs.hashOf(disk.HashVersion(p.info.HashVersion), name)
	if err := n.descend(&p, hash); err != nil {
		return dirPos{}, err
	}
	for range n.dirBlocks() {
		b, err := n.htreeLeaf(&p)
		if err != nil {
			return dirPos{}, err
		}
		if off, prev := findEntry(n.entries(b), name); off >= 0 {
			return dirPos{b, off, prev}, nil
		}
		n.fs.buffers.put(b)
		// Names with the same hash may go on in the next leaf.
		next, ok, err := n.advance(&p)
		if err != nil {
			return dirPos{}, err
		}
		if !ok || next != hash|1 {
			break
		}
	}
	return dirPos{}, abi.ENOENT
}

// htreeLeaf reads the leaf that p leads to.
func (n *inode) htreeLeaf(p *htPath) (*buffer, error) {
	i := p.leafBlock()
	if i == 0 {
		return nil, n.fs.corruptInode(n.ino, "htree refers to its root")
	}
	return n.leaf(i)
}
