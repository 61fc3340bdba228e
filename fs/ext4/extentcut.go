package ext4

import "pinhole/fs/ext4/disk"

// cutLimit bounds what one handle frees.
type cutLimit struct {
	groups int    // whose bitmaps change
	blocks uint64 // that the journal has to be told to forget
	last   int64  // group counted last, or -1
}

const (
	maxCutGroups = 16
	maxCutBlocks = 64
)

// allow returns from where on the n blocks behind start can be freed, as an offset from start: n if
// none can.
func (l *cutLimit) allow(fs *FS, start, n uint64, forget bool) uint64 {
	low := uint64(0)
	if forget {
		if n > l.blocks {
			low = n - l.blocks
		}
		l.blocks -= n - low
	}
	for at := n; at > low; {
		g, off := fs.groupOf(start + at - 1)
		if int64(g) != l.last {
			if l.groups == 0 {
				return at
			}
			l.groups--
			l.last = int64(g)
		}
		at -= min(at, uint64(off)+1)
	}
	return low
}

// cutCredits returns how many blocks cutRange may change.
func (n *inode) cutCredits() int {
	depth := int(le.Uint16(n.d.Block[6:]))
	return 2 + 2*maxCutGroups + maxCutBlocks + 8*(depth+1) + 2*disk.RootExtentEntries
}

// cutRange unmaps the blocks [from, to) of the file and frees them, as far as one handle
// should go: from the end, one leaf's worth, or less if they lie in many groups. It returns from where
// on none is mapped any more, also with an error; that is from when all is done. A cut in the middle of an
// extent takes blocks for the tree from pool, if its leaf is full.
func (n *inode) cutRange(h handle, from, to uint64, pool *blockPool) (low uint64, err error) {
	var p treePath
	defer p.release(n.fs)
	if err := n.findLeaf(&p, uint32(to-1)); err != nil {
		return to, err
	}
	leaf := p.leaf()
	leafStart, first := uint64(0), true
	for l := range p.n - 1 {
		leafStart = max(leafStart, uint64(p.nodes[l].key(p.idx[l])))
		first = first && p.idx[l] == 0
	}
	leaf.access(h)
	limit := cutLimit{maxCutGroups, maxCutBlocks, -1}
	short := false
	low = to
	for i := leaf.count() - 1; i >= 0 && !short; i-- {
		e := leaf.extent(i)
		if uint64(e.block) >= to {
			continue
		}
		if low = max(from, min(low, e.end())); e.end() <= from {
			break
		}
		a, b := max(uint64(e.block), from), min(e.end(), to)
		start := e.start() + a - uint64(e.block)
		if skip := limit.allow(n.fs, start, b-a, !n.isRegular()); skip > 0 {
			short = true
			if a += skip; a == b {
				break
			}
			start += skip
		}
		if err := n.fs.freeRun(h, start, uint32(b-a)); err != nil {
			return low, err
		}
		low = a
		n.addBlocks(-int64(b - a))
		if !n.isRegular() {
			// Blocks of directories and links are in the metadata cache.
			for nr := range b - a {
				h.forget(start + nr)
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
			return low, n.insertExtent(h, tail, pool)
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
	if err == nil && !short {
		// Nothing is left of the leaf's part of the range.
		if low = from; !first {
			low = max(from, leafStart)
		}
	}
	return low, err
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

// markRange gives those of the file's blocks [from, to), which are mapped, that have it not yet, the flag,
// unwrittenBit or 0. It returns ENOSPC if extents have to be split and there is no room for that.
func (n *inode) markRange(h handle, from, to, flag uint64) error {
	for from < to {
		end, err := n.markOnce(h, from, to, flag)
		if err != nil {
			return err
		}
		from = end
	}
	return n.shrinkTree(h)
}

// markOnce is markRange for the extent of from, and returns where it ends.
func (n *inode) markOnce(h handle, from, to, flag uint64) (uint64, error) {
	// The part, and what is left behind it. A written extent can be longer than an unwritten one.
	entries := 2
	if flag != 0 {
		entries = 3
	}
	need, err := n.pathNeed(uint32(from), entries)
	if err != nil {
		return 0, err
	}
	defer n.settleTree()
	if err := n.raiseTree(int64(entries), need); err != nil {
		return 0, err
	}
	var pool blockPool
	if err := pool.fill(h, n, need); err != nil {
		return 0, err
	}
	defer pool.drain(h)
	return n.markExtent(h, from, to, flag, &pool)
}

// markExtent gives the blocks of [from, to) that lie in the extent of from the flag, unwrittenBit or 0,
// and returns where they end. It may add two entries to the tree, or three to unwritten ones, in the
// leaf of from or what that is split into.
func (n *inode) markExtent(h handle, from, to, flag uint64, pool *blockPool) (uint64, error) {
	var p treePath
	defer p.release(n.fs)
	if err := n.findLeaf(&p, uint32(from)); err != nil {
		return 0, err
	}
	leaf := p.leaf()
	i := leaf.lastStartingBy(uint32(from))
	var e run
	if i >= 0 {
		e = leaf.extent(i)
	}
	if i < 0 || e.end() <= from {
		return 0, n.fs.corruptInode(n.ino, "file block %d is not mapped", from)
	}
	end := min(e.end(), to)
	if e.home&unwrittenBit == flag {
		return end, nil
	}
	// Take the part out, and put it back as it is to be, so that it joins its neighbours.
	leaf.access(h)
	part := run{uint32(from), uint32(end - from), (e.start() + from - uint64(e.block)) | flag}
	var tail run
	if end < e.end() {
		d := uint32(end - uint64(e.block))
		tail = run{uint32(end), e.n - d, e.home + uint64(d)}
	}
	switch {
	case from > uint64(e.block):
		e.n = uint32(from - uint64(e.block))
		leaf.setExtent(i, e)
	// The index goes on saying that the leaf starts at from, which it will.
	case tail.n > 0:
		leaf.setExtent(i, tail)
		tail.n = 0
	case leaf.count() > 1:
		leaf.cut(i)
	default:
		// The leaf's only extent changes in place; joining it is not worth emptying it.
		first := part
		first.n = min(first.n, maxExtent(flag))
		leaf.setExtent(i, first)
		if !n.runs.big {
			n.runs.put(first)
		}
		part.block += first.n
		part.home += uint64(first.n)
		part.n -= first.n
	}
	p.release(n.fs)
	if tail.n > 0 {
		if err := n.insertExtent(h, tail, pool); err != nil {
			return 0, err
		}
	}
	return end, n.insertRun(h, part, pool)
}

// maxExtent returns how many blocks an extent can have.
func maxExtent(flag uint64) uint32 {
	if flag != 0 {
		return disk.MaxUnwrittenLen
	}
	return disk.MaxExtentLen
}
