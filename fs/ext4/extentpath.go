package ext4

import "pinhole/fs/ext4/disk"

// extNode is a node of an extent tree: the root in its inode, or a block.
type extNode struct {
	b *buffer // nil for the root
	p []byte
}

func (x extNode) count() int { return int(le.Uint16(x.p[2:])) }
func (x extNode) max() int   { return int(le.Uint16(x.p[4:])) }
func (x extNode) depth() int { return int(le.Uint16(x.p[6:])) }

func (x extNode) setCount(n int) { le.PutUint16(x.p[2:], uint16(n)) }

// at returns entry i's bytes.
func (x extNode) at(i int) []byte {
	off := disk.ExtentHeaderSize + i*disk.ExtentSize
	return x.p[off : off+disk.ExtentSize]
}

// key returns the file block that entry i starts at.
func (x extNode) key(i int) uint32 { return le.Uint32(x.at(i)) }

func (x extNode) extent(i int) run {
	var e disk.Extent
	e.Decode(x.at(i))
	return runOf(e)
}

func (x extNode) setExtent(i int, r run) {
	e := disk.Extent{Block: r.block, Len: r.n, Start: r.start(), Unwritten: r.unwritten()}
	e.Encode(x.at(i))
}

func (x extNode) index(i int) disk.ExtentIndex {
	var e disk.ExtentIndex
	e.Decode(x.at(i))
	return e
}

// open makes room for an entry at i; the node must not be full.
func (x extNode) open(i int) {
	n := x.count()
	from := disk.ExtentHeaderSize + i*disk.ExtentSize
	to := disk.ExtentHeaderSize + n*disk.ExtentSize
	copy(x.p[from+disk.ExtentSize:to+disk.ExtentSize], x.p[from:to])
	x.setCount(n + 1)
}

// cut removes entry i.
func (x extNode) cut(i int) {
	n := x.count()
	from := disk.ExtentHeaderSize + i*disk.ExtentSize
	to := disk.ExtentHeaderSize + n*disk.ExtentSize
	copy(x.p[from:], x.p[from+disk.ExtentSize:to])
	clear(x.p[to-disk.ExtentSize : to])
	x.setCount(n - 1)
}

// lastStartingBy returns the last entry that starts at or before block, or -1.
func (x extNode) lastStartingBy(block uint32) int {
	lo, hi := 0, x.count()
	for lo < hi {
		mid := (lo + hi) / 2
		if x.key(mid) <= block {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// treePath is the way from the root (level 0) to a leaf, with references to its buffers.
type treePath struct {
	nodes [disk.MaxExtentDepth + 2]extNode
	idx   [disk.MaxExtentDepth + 2]int // entry taken at each inner node
	n     int                          // nodes in use
}

func (p *treePath) leaf() extNode { return p.nodes[p.n-1] }

// release gives the buffers back.
func (p *treePath) release(fs *FS) {
	for i := range p.n {
		fs.buffers.put(p.nodes[i].b)
	}
	p.n = 0
}

// cut makes the path end after so many nodes.
func (p *treePath) cut(fs *FS, nodes int) {
	for p.n > nodes {
		p.n--
		fs.buffers.put(p.nodes[p.n].b)
	}
}

// isLast tells whether p goes through the last node of a level.
func (p *treePath) isLast(level int) bool {
	for l := range level {
		if p.idx[l]+1 < p.nodes[l].count() {
			return false
		}
	}
	return true
}

// end returns the file block where the leaf's part of the file ends.
func (p *treePath) end() uint64 {
	for l := p.n - 2; l >= 0; l-- {
		if i := p.idx[l] + 1; i < p.nodes[l].count() {
			return uint64(p.nodes[l].key(i))
		}
	}
	return maxFileBlocks
}

// findLeaf fills p with the way to the leaf where block is or would be. Nodes' content is
// checked, and that it fits the entry above.
func (n *inode) findLeaf(p *treePath, block uint32) error {
	if err := n.checkExtentRoot(); err != nil {
		return err
	}
	p.nodes[0] = extNode{p: n.d.Block[:]}
	p.n = 1
	depth := p.nodes[0].depth()
	lo, hi := uint64(0), uint64(maxFileBlocks)
	for level := 0; depth > 0; level++ {
		x := p.nodes[level]
		i := max(x.lastStartingBy(block), 0)
		p.idx[level] = i
		e := x.index(i)
		if i+1 < x.count() {
			hi = min(hi, uint64(x.key(i+1)))
		}
		depth--
		b, err := n.extentBlock(e.Child, depth)
		if err != nil {
			return err
		}
		p.nodes[level+1] = extNode{b, b.data}
		p.n = level + 2
		if uint64(e.Block) < lo {
			return n.fs.corruptInode(n.ino, "index entry for file block %d lies before its parent's", e.Block)
		}
		lo = uint64(e.Block)
		c := p.nodes[level+1]
		last := c.count() - 1
		if uint64(c.key(0)) < lo || uint64(c.key(last)) >= hi || depth == 0 && c.extent(last).end() > hi {
			return n.fs.corruptBlock(n.ino, b.nr, "extent node has entries outside of its index entry (%d to %d)", lo, hi)
		}
	}
	return nil
}
