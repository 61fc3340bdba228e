package ext4

import (
	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

// mapRun returns the run that holds block of the file, cut to start there. A hole has home
// 0. The caller holds n.mu, shared or not.
func (n *inode) mapRun(block uint32) (run, error) {
	if !n.runsReady.Load() {
		if err := n.loadRuns(); err != nil {
			return run{}, err
		}
	}
	if !n.runs.big {
		return n.runs.at(block), nil
	}
	return n.mapInTree(block)
}

// loadRuns reads where the whole content is.
func (n *inode) loadRuns() error {
	n.runsMu.Lock()
	defer n.runsMu.Unlock()
	if n.runsReady.Load() {
		return nil
	}
	var l runList
	var err error
	switch {
	case !n.hasContent():
	case n.d.Flags&disk.InodeExtents == 0:
		err = n.collectIndirect(&l)
	default:
		err = n.collectExtents(&l)
	}
	if err != nil {
		return err
	}
	n.runs = l
	n.runsReady.Store(true)
	return nil
}

// checkExtentNode judges the node p of n's tree (the root in the inode, or a block with
// room for max entries): its header, and that entries are in order and on the device.
func (fs *FS) checkExtentNode(ino uint32, block uint64, p []byte, max int) error {
	var h disk.ExtentHeader
	h.Decode(p)
	switch {
	case h.Magic != disk.ExtentMagic:
		return fs.corruptBlock(ino, block, "extent node has magic number %#x", h.Magic)
	case int(h.Max) > max || h.Max == 0 || h.Entries > h.Max:
		return fs.corruptBlock(ino, block, "extent node with %d of %d entries", h.Entries, h.Max)
	case h.Depth > disk.MaxExtentDepth:
		return fs.corruptBlock(ino, block, "extent tree of depth %d", h.Depth)
	case h.Entries == 0 && (h.Depth > 0 || block != 0):
		return fs.corruptBlock(ino, block, "extent node without entries")
	}
	next := uint64(0) // lowest block that the next entry may start at
	for i := range int(h.Entries) {
		at := p[disk.ExtentHeaderSize+i*disk.ExtentSize:]
		if h.Depth > 0 {
			var x disk.ExtentIndex
			x.Decode(at)
			if uint64(x.Block) < next || !fs.validBlocks(x.Child, 1) || fs.zones.hits(x.Child, 1, ino) {
				return fs.corruptBlock(ino, block, "index entry %d: file block %d at block %d", i, x.Block, x.Child)
			}
			next = uint64(x.Block) + 1
			continue
		}
		var e disk.Extent
		e.Decode(at)
		if e.Len == 0 || uint64(e.Block) < next || uint64(e.Block)+uint64(e.Len) > maxFileBlocks ||
			!fs.validBlocks(e.Start, uint64(e.Len)) || fs.zones.hits(e.Start, uint64(e.Len), ino) {
			return fs.corruptBlock(ino, block, "extent %d: file blocks %d+%d at block %d", i, e.Block, e.Len, e.Start)
		}
		next = uint64(e.Block) + uint64(e.Len)
	}
	return nil
}

// checkExtentBlock is the check of a buffer in roleExtent.
func checkExtentBlock(fs *FS, b *buffer, r role, seed uint32) error {
	if err := fs.checkExtentNode(r.owner(), b.nr, b.data, disk.ExtentBlockMax(fs.bs)); err != nil {
		return err
	}
	if !fs.hasCsum {
		return nil
	}
	max := int(le.Uint16(b.data[4:]))
	if sum, ok := disk.ExtentBlockChecksum(seed, b.data, max); ok && sum != disk.StoredExtentChecksum(b.data, max) {
		return fs.corruptBlock(r.owner(), b.nr, "extent node checksum is %#x, should be %#x", disk.StoredExtentChecksum(b.data, max), sum)
	}
	return nil
}

// extentBlock reads the node at block, which must have the given depth.
func (n *inode) extentBlock(block uint64, depth int) (*buffer, error) {
	b, err := n.fs.buffers.read(block, makeRole(roleExtent, n.ino), n.seed, checkExtentBlock)
	if err != nil {
		return nil, err
	}
	if d := int(le.Uint16(b.data[6:])); d != depth {
		n.fs.buffers.put(b)
		return nil, n.fs.corruptBlock(n.ino, block, "extent node of depth %d, should be %d", d, depth)
	}
	return b, nil
}

// checkExtentRoot judges the root in the inode.
func (n *inode) checkExtentRoot() error {
	return n.fs.checkExtentNode(n.ino, 0, n.d.Block[:], disk.RootExtentEntries)
}

// collectExtents adds all extents of the tree to l, or finds that they are too many.
func (n *inode) collectExtents(l *runList) error {
	if err := n.checkExtentRoot(); err != nil {
		return err
	}
	var h disk.ExtentHeader
	h.Decode(n.d.Block[:])
	return n.collectNode(l, n.d.Block[:], int(h.Depth), 0, maxFileBlocks)
}

// collectNode adds the extents under the node p, which covers file blocks [lo, hi). Since
// every node has entries and they are in order and in the range, no node can occur twice.
func (n *inode) collectNode(l *runList, p []byte, depth int, lo, hi uint64) error {
	var h disk.ExtentHeader
	h.Decode(p)
	count := int(h.Entries)
	for i := range count {
		at := p[disk.ExtentHeaderSize+i*disk.ExtentSize:]
		if depth == 0 {
			var e disk.Extent
			e.Decode(at)
			if uint64(e.Block) < lo || uint64(e.Block)+uint64(e.Len) > hi {
				return n.fs.corruptInode(n.ino, "extent of file blocks %d+%d lies outside of its index entry (%d to %d)", e.Block, e.Len, lo, hi)
			}
			l.put(runOf(e))
			if l.big {
				return nil
			}
			continue
		}
		var x disk.ExtentIndex
		x.Decode(at)
		end := hi
		if i+1 < count {
			var y disk.ExtentIndex
			y.Decode(at[disk.ExtentSize:])
			end = uint64(y.Block)
		}
		if uint64(x.Block) < lo || end > hi || uint64(x.Block) >= end {
			return n.fs.corruptInode(n.ino, "index entry for file block %d lies outside of its parent's (%d to %d)", x.Block, lo, hi)
		}
		b, err := n.extentBlock(x.Child, depth-1)
		if err != nil {
			return err
		}
		err = n.collectNode(l, b.data, depth-1, uint64(x.Block), end)
		n.fs.buffers.put(b)
		if err != nil || l.big {
			return err
		}
	}
	return nil
}

// mapInTree looks block up without a list of runs.
func (n *inode) mapInTree(block uint32) (run, error) {
	if n.d.Flags&disk.InodeExtents == 0 {
		return n.mapIndirect(block)
	}
	var p treePath
	defer p.release(n.fs)
	if err := n.findLeaf(&p, block); err != nil {
		return run{}, err
	}
	leaf := p.leaf()
	hole := run{block: block, n: maxFileBlocks - block}
	for i := range leaf.count() {
		e := leaf.extent(i)
		switch {
		case e.end() <= uint64(block):
			continue
		case e.block > block:
			hole.n = e.block - block
			return hole, nil
		}
		d := block - e.block
		return run{block, e.n - d, e.home + uint64(d)}, nil
	}
	if end := p.end(); end < uint64(maxFileBlocks) {
		hole.n = uint32(end) - block
	}
	return hole, nil
}

// errNoExtents is what changing a file without extents gives.
var errNoExtents error = abi.EOPNOTSUPP
