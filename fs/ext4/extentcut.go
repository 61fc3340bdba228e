package ext4

// cutRange unmaps the blocks [from, to) of the file and frees them, as far as one handle
// should go: from the end, one leaf's worth. It reports whether that was all. A cut in the
// middle of an extent takes a block for the tree from pool, if its leaf is full.
func (n *inode) cutRange(h handle, from, to uint64, pool *blockPool) (done bool, err error) {
	var p treePath
	defer p.release(n.fs)
	if err := n.findLeaf(&p, uint32(to-1)); err != nil {
		return false, err
	}
	leaf := p.leaf()
	leafStart, first := uint64(0), true
	for l := range p.n - 1 {
		leafStart = max(leafStart, uint64(p.nodes[l].key(p.idx[l])))
		first = first && p.idx[l] == 0
	}
	leaf.access(h)
	for i := leaf.count() - 1; i >= 0; i-- {
		e := leaf.extent(i)
		if uint64(e.block) >= to {
			continue
		}
		if e.end() <= from {
			break
		}
		a, b := max(uint64(e.block), from), min(e.end(), to)
		if err := n.fs.freeRun(h, e.start()+(a-uint64(e.block)), uint32(b-a)); err != nil {
			return false, err
		}
		n.addBlocks(-int64(b - a))
		if !n.isRegular() {
			// Blocks of directories and links are in the metadata cache.
			for nr := range b - a {
				h.forget(e.start() + (a - uint64(e.block)) + nr)
			}
		}
		if !n.runs.big {
			n.runs.remove(uint32(a), uint32(b-a))
		}
		switch {
		case a == uint64(e.block) && b == e.end():
			leaf.cut(i)
		case a == uint64(e.block):
			d := uint32(b - a)
			leaf.setExtent(i, run{uint32(b), e.n - d, e.home + uint64(d)})
		case b == e.end():
			e.n = uint32(a - uint64(e.block))
			leaf.setExtent(i, e)
		default:
			d := uint32(b - uint64(e.block))
			tail := run{uint32(b), e.n - d, e.home + uint64(d)}
			e.n = uint32(a - uint64(e.block))
			leaf.setExtent(i, e)
			n.loosened()
			return true, n.insertExtent(h, tail, pool)
		}
	}
	n.loosened()
	if leaf.count() > 0 {
		n.fixKeys(h, &p)
		err = n.mergeNode(h, &p, p.n-1)
	} else {
		err = n.dropLeaf(h, &p)
	}
	if err == nil {
		err = n.shrinkTree(h)
	}
	if err != nil {
		return false, err
	}
	return first || leafStart <= from, nil
}

// dropLeaf frees the empty leaf of p, and what becomes empty above it.
func (n *inode) dropLeaf(h handle, p *treePath) error {
	for level := p.n - 1; level > 0; level-- {
		x := p.nodes[level]
		if x.count() > 0 {
			n.fixKeysFrom(h, p, level)
			return n.mergeNode(h, p, level)
		}
		if err := n.freeNode(h, x.b.nr); err != nil {
			return err
		}
		up := p.nodes[level-1]
		up.access(h)
		up.cut(p.idx[level-1])
	}
	if root := p.nodes[0]; root.count() == 0 {
		le.PutUint16(root.p[6:], 0)
	}
	return nil
}

// markWritten turns the unwritten blocks among [from, to), which are mapped, into written
// ones. Splitting an extent takes blocks for the tree from pool.
func (n *inode) markWritten(h handle, from, to uint64, pool *blockPool) error {
	for from < to {
		var p treePath
		if err := n.findLeaf(&p, uint32(from)); err != nil {
			p.release(n.fs)
			return err
		}
		leaf := p.leaf()
		i := leaf.lastStartingBy(uint32(from))
		var e run
		if i >= 0 {
			e = leaf.extent(i)
		}
		if i < 0 || e.end() <= from {
			p.release(n.fs)
			return n.fs.corruptInode(n.ino, "file block %d is not mapped", from)
		}
		a, b := from, min(e.end(), to)
		from = b
		if !e.unwritten() {
			p.release(n.fs)
			continue
		}
		// Take the part out, and put it back as written, so that it joins its neighbours.
		leaf.access(h)
		written := run{uint32(a), uint32(b - a), (e.home + a - uint64(e.block)) &^ unwrittenBit}
		var tail run
		if b < e.end() {
			d := uint32(b - uint64(e.block))
			tail = run{uint32(b), e.n - d, e.home + uint64(d)}
		}
		var err error
		switch {
		case a > uint64(e.block):
			e.n = uint32(a - uint64(e.block))
			leaf.setExtent(i, e)
		case tail.n > 0:
			leaf.setExtent(i, tail)
			n.fixKeys(h, &p)
			tail.n = 0
		case leaf.count() > 1:
			leaf.cut(i)
			n.fixKeys(h, &p)
		default:
			// The leaf's only extent changes in place; joining it is not worth emptying it.
			leaf.setExtent(i, written)
			if !n.runs.big {
				n.runs.put(written)
			}
			p.release(n.fs)
			continue
		}
		p.release(n.fs)
		if tail.n > 0 {
			err = n.insertExtent(h, tail, pool)
		}
		if err == nil {
			err = n.insertExtent(h, written, pool)
		}
		if err != nil {
			return err
		}
		if !n.runs.big {
			n.runs.put(written)
		}
	}
	return n.shrinkTree(h)
}
