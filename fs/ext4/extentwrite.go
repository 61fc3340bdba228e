package ext4

import (
	"pinhole/fs/ext4/disk"
)

// treeNeed returns an upper bound of the blocks that the insertion of count entries takes: for each,
// a new block at every level below the root, and one for a new level.
func (n *inode) treeNeed(count int) int {
	depth := int(le.Uint16(n.d.Block[6:]))
	entries := int(le.Uint16(n.d.Block[2:]))
	if depth == 0 && entries+count <= disk.RootExtentEntries {
		return 0
	}
	return count * (depth + 1)
}

// access announces that node x is changed.
func (x extNode) access(h handle) {
	if x.b != nil {
		h.access(x.b)
	}
}

// insertRun maps the blocks of r, which must be a hole, taking blocks for the tree from
// pool. The run may be longer than one extent.
func (n *inode) insertRun(h handle, r run, pool *blockPool) error {
	for r.n > 0 {
		part := r
		part.n = min(part.n, maxExtent(r.home&unwrittenBit))
		if err := n.insertExtent(h, part, pool); err != nil {
			return err
		}
		if !n.runs.big {
			n.runs.put(part)
		}
		r.block += part.n
		r.home += uint64(part.n)
		r.n -= part.n
	}
	return nil
}

// joins tells whether b goes on where a ends, on the device as in the file, and both fit
// one extent.
func joins(a, b run) bool {
	return a.end() == uint64(b.block) && a.home+uint64(a.n) == b.home && a.n+b.n <= maxExtent(a.home&unwrittenBit)
}

// insertExtent enters one extent in the tree, joining it with its neighbours if it can.
func (n *inode) insertExtent(h handle, e run, pool *blockPool) error {
	var p treePath
	defer p.release(n.fs)
	if err := n.findLeaf(&p, e.block); err != nil {
		return err
	}
	leaf := p.leaf()
	at := leaf.lastStartingBy(e.block) + 1
	var left, right run
	if at > 0 {
		left = leaf.extent(at - 1)
		if left.end() > uint64(e.block) {
			return n.fs.corruptInode(n.ino, "file block %d is mapped twice", e.block)
		}
	}
	if at < leaf.count() {
		right = leaf.extent(at)
		if uint64(right.block) < e.end() {
			return n.fs.corruptInode(n.ino, "file block %d is mapped twice", right.block)
		}
	}
	leaf.access(h)
	switch {
	case at > 0 && joins(left, e):
		left.n += e.n
		if at < leaf.count() && joins(left, right) {
			left.n += right.n
			leaf.cut(at)
			leaf.setExtent(at-1, left)
			n.loosened()
			return n.shrinkTree(h)
		}
		leaf.setExtent(at-1, left)
		return nil
	case at < leaf.count() && joins(e, right):
		e.n += right.n
		leaf.setExtent(at, e)
		if at == 0 {
			n.fixKeys(h, &p)
		}
		return nil
	}
	var raw [disk.ExtentSize]byte
	x := disk.Extent{Block: e.block, Len: e.n, Start: e.start(), Unwritten: e.unwritten()}
	x.Encode(raw[:])
	return n.insertEntry(h, &p, p.n-1, at, raw[:], pool)
}

// fixKeys makes the index entries above p's leaf say where it starts now.
func (n *inode) fixKeys(h handle, p *treePath) {
	if p.leaf().count() == 0 {
		return
	}
	key := p.leaf().key(0)
	for l := p.n - 2; l >= 0; l-- {
		x := p.nodes[l]
		if x.key(p.idx[l]) == key {
			return
		}
		x.access(h)
		le.PutUint32(x.at(p.idx[l]), key)
		if p.idx[l] > 0 {
			return
		}
	}
}

// insertEntry puts an entry of raw bytes at place at of the node at a level of p, splitting
// nodes that are full. p does not lead to the entry afterwards.
func (n *inode) insertEntry(h handle, p *treePath, level, at int, raw []byte, pool *blockPool) error {
	x := p.nodes[level]
	if x.count() == x.max() {
		if level == 0 {
			if err := n.growTree(h, p, pool); err != nil {
				return err
			}
			return n.insertEntry(h, p, 1, at, raw, pool)
		}
		return n.splitNode(h, p, level, at, raw, pool)
	}
	x.access(h)
	x.open(at)
	copy(x.at(at), raw)
	if at == 0 {
		n.fixKeysFrom(h, p, level)
	}
	return nil
}

// fixKeysFrom is fixKeys for the node at a level.
func (n *inode) fixKeysFrom(h handle, p *treePath, level int) {
	q := treePath{nodes: p.nodes, idx: p.idx, n: level + 1}
	n.fixKeys(h, &q)
}

// newNode makes the block nr an empty node.
func (n *inode) newNode(h handle, nr uint64, depth int) extNode {
	b := h.fs.buffers.create(nr, makeRole(roleExtent, n.ino), n.seed)
	h.access(b)
	hdr := disk.ExtentHeader{Magic: disk.ExtentMagic, Max: uint16(disk.ExtentBlockMax(h.fs.bs)), Depth: uint16(depth)}
	hdr.Encode(b.data)
	n.addBlocks(1)
	return extNode{b, b.data}
}

// growTree moves the root's entries to a new node, which becomes the root's only child.
func (n *inode) growTree(h handle, p *treePath, pool *blockPool) error {
	root := p.nodes[0]
	if p.n == len(p.nodes) || root.depth() >= disk.MaxExtentDepth {
		return n.fs.corruptInode(n.ino, "extent tree of depth %d is full", root.depth())
	}
	nr, err := pool.take()
	if err != nil {
		return err
	}
	x := n.newNode(h, nr, root.depth())
	count := root.count()
	copy(x.p[disk.ExtentHeaderSize:], root.p[disk.ExtentHeaderSize:disk.ExtentHeaderSize+count*disk.ExtentSize])
	x.setCount(count)
	key := root.key(0)
	clear(root.p[disk.ExtentHeaderSize:])
	root.setCount(1)
	le.PutUint16(root.p[6:], uint16(root.depth()+1))
	idx := disk.ExtentIndex{Block: key, Child: nr}
	idx.Encode(root.at(0))

	copy(p.nodes[2:], p.nodes[1:p.n])
	copy(p.idx[2:], p.idx[1:p.n])
	p.nodes[1], p.idx[1] = x, p.idx[0]
	p.idx[0] = 0
	p.n++
	return nil
}

// splitNode moves the upper half of a full node to a new one (nothing, if the entry goes
// behind the last of the file: files grow at the end), and puts the entry into the right one. What
// the reserve for trees is reckoned from relies on this.
func (n *inode) splitNode(h handle, p *treePath, level, at int, raw []byte, pool *blockPool) error {
	x := p.nodes[level]
	count := x.count()
	mid := count / 2
	if at == count && p.isLast(level) {
		mid = count
	} else {
		n.loosened()
	}
	nr, err := pool.take()
	if err != nil {
		return err
	}
	x.access(h)
	y := n.newNode(h, nr, x.depth())
	defer n.fs.buffers.put(y.b)
	from := disk.ExtentHeaderSize + mid*disk.ExtentSize
	to := disk.ExtentHeaderSize + count*disk.ExtentSize
	copy(y.p[disk.ExtentHeaderSize:], x.p[from:to])
	clear(x.p[from:to])
	x.setCount(mid)
	y.setCount(count - mid)
	if at > mid || mid == count {
		y.open(at - mid)
		copy(y.at(at-mid), raw)
	} else {
		x.open(at)
		copy(x.at(at), raw)
		if at == 0 {
			n.fixKeysFrom(h, p, level)
		}
	}
	var up [disk.ExtentSize]byte
	idx := disk.ExtentIndex{Block: y.key(0), Child: nr}
	idx.Encode(up[:])
	return n.insertEntry(h, p, level-1, p.idx[level-1]+1, up[:], pool)
}
