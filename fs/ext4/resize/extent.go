package resize

import (
	"pinhole/fs/ext4/disk"
)

// extents is what a tree of extents has: its leaves, and the blocks of the tree itself.
type extents struct {
	leaves []fileBlock
	nodes  []uint64
	depth  int
}

// readExtents reads the tree of an inode.
func (m *mover) readExtents() (*extents, error) {
	x := new(extents)
	var h disk.ExtentHeader
	h.Decode(m.n.Block[:])
	x.depth = int(h.Depth)
	if h.Max > disk.RootExtentEntries || x.depth > disk.MaxExtentDepth {
		return nil, m.bad("root of its extents has room for %d entries, depth %d", h.Max, h.Depth)
	}
	_, err := m.readNode(x, m.n.Block[:], x.depth, 0, 1<<32)
	return x, err
}

// readNode reads a node whose entries have to lie between two blocks of the file. That they are in order is
// what bounds the work: no node can be read twice.
func (m *mover) readNode(x *extents, p []byte, depth int, lo, hi uint64) (uint64, error) {
	var h disk.ExtentHeader
	h.Decode(p)
	if h.Magic != disk.ExtentMagic || int(h.Depth) != depth || h.Entries > h.Max || disk.ExtentHeaderSize+int(h.Max)*disk.ExtentSize > len(p) {
		return 0, m.bad("node of extents with magic %#x, depth %d, %d of %d entries", h.Magic, h.Depth, h.Entries, h.Max)
	}
	if h.Entries == 0 && depth != x.depth {
		return 0, m.bad("empty node of extents")
	}
	entry := func(i int) []byte { return p[disk.ExtentHeaderSize+i*disk.ExtentSize:] }
	for i := range int(h.Entries) {
		if depth == 0 {
			var e disk.Extent
			e.Decode(entry(i))
			b := fileBlock{uint64(e.Block), run{e.Start, uint64(e.Len)}, e.Unwritten}
			if b.at.n == 0 || b.logical < lo || b.logical+b.at.n > hi || !m.f.inside(b.at) {
				return 0, m.bad("extent of %d blocks from %d on at block %d", e.Len, e.Block, e.Start)
			}
			x.leaves = append(x.leaves, b)
			lo = b.logical + b.at.n
			continue
		}
		var e disk.ExtentIndex
		e.Decode(entry(i))
		end := hi
		if i+1 < int(h.Entries) {
			var next disk.ExtentIndex
			next.Decode(entry(i + 1))
			end = uint64(next.Block)
		}
		if uint64(e.Block) < lo || uint64(e.Block) >= end || !m.f.inside(run{e.Child, 1}) {
			return 0, m.bad("index of extents from %d on at block %d", e.Block, e.Child)
		}
		child := make([]byte, m.f.bs)
		if err := m.f.readBlock(e.Child, child); err != nil {
			return 0, err
		}
		var ch disk.ExtentHeader
		ch.Decode(child)
		if m.f.csum && disk.ExtentHeaderSize+int(ch.Max)*disk.ExtentSize <= len(child) {
			seed := m.oldSeed()
			if sum, ok := disk.ExtentBlockChecksum(seed, child, int(ch.Max)); ok && sum != disk.StoredExtentChecksum(child, int(ch.Max)) {
				return 0, m.bad("wrong checksum of extents at block %d", e.Child)
			}
		}
		x.nodes = append(x.nodes, e.Child)
		var err error
		if lo, err = m.readNode(x, child, depth-1, uint64(e.Block), end); err != nil {
			return 0, err
		}
	}
	return lo, nil
}

// oldSeed is the seed of checksums that were made when the inode had its old number.
func (m *mover) oldSeed() uint32 {
	ino := m.ino
	if m.renumbered {
		ino = m.f.inodes.before(ino)
	}
	return disk.InodeSeed(m.f.seed, ino, m.n.Generation)
}

// moveExtents moves the blocks of a file with extents, and makes its tree anew if it changes.
func (m *mover) moveExtents() ([]fileBlock, error) {
	x, err := m.readExtents()
	if err != nil {
		return nil, err
	}
	change := m.renumbered && len(x.nodes) > 0
	for _, nr := range x.nodes {
		if move, _ := m.f.mustMove(run{nr, 1}); move {
			change = true
		}
	}
	var leaves []fileBlock
	for _, b := range x.leaves {
		for r := b.at; r.n > 0 && !change; {
			move, n := m.f.mustMove(r)
			change = move
			r = run{r.start + n, r.n - n}
		}
	}
	if !change {
		return x.leaves, nil
	}
	for _, nr := range x.nodes {
		m.f.release(run{nr, 1})
	}
	for _, b := range x.leaves {
		if err := m.f.relocate(b, func(piece fileBlock) { leaves = appendExtent(leaves, piece) }); err != nil {
			return nil, err
		}
	}
	built, err := m.buildExtents(leaves)
	if err != nil {
		return nil, err
	}
	m.n.Blocks += uint64(built) * m.unit()
	m.n.Blocks -= min(m.n.Blocks, uint64(len(x.nodes))*m.unit())
	m.changed = true
	return leaves, nil
}

// appendExtent adds an extent, to the last one if it goes on.
func appendExtent(all []fileBlock, b fileBlock) []fileBlock {
	for b.at.n > 0 {
		most := uint64(disk.MaxExtentLen)
		if b.unwritten {
			most = disk.MaxUnwrittenLen
		}
		if n := len(all); n > 0 {
			l := &all[n-1]
			if l.logical+l.at.n == b.logical && l.at.end() == b.at.start && l.unwritten == b.unwritten && l.at.n < most {
				take := min(most-l.at.n, b.at.n)
				l.at.n += take
				b = fileBlock{b.logical + take, run{b.at.start + take, b.at.n - take}, b.unwritten}
				continue
			}
		}
		take := min(most, b.at.n)
		all = append(all, fileBlock{b.logical, run{b.at.start, take}, b.unwritten})
		b = fileBlock{b.logical + take, run{b.at.start + take, b.at.n - take}, b.unwritten}
	}
	return all
}

// buildExtents makes a tree of the leaves, as flat as can be, and returns how many blocks it takes.
func (m *mover) buildExtents(leaves []fileBlock) (int, error) {
	type entry struct {
		block uint32
		raw   [disk.ExtentSize]byte
	}
	level := make([]entry, len(leaves))
	for i, b := range leaves {
		e := disk.Extent{Block: uint32(b.logical), Len: uint32(b.at.n), Start: b.at.start, Unwritten: b.unwritten}
		level[i].block = e.Block
		e.Encode(level[i].raw[:])
	}
	built := 0
	most := disk.ExtentBlockMax(int(m.f.bs))
	for depth := 0; ; depth++ {
		if len(level) <= disk.RootExtentEntries {
			clear(m.n.Block[:])
			h := disk.ExtentHeader{Magic: disk.ExtentMagic, Entries: uint16(len(level)), Max: disk.RootExtentEntries, Depth: uint16(depth)}
			h.Encode(m.n.Block[:])
			for i := range level {
				copy(m.n.Block[disk.ExtentHeaderSize+i*disk.ExtentSize:], level[i].raw[:])
			}
			return built, nil
		}
		if depth >= disk.MaxExtentDepth {
			return 0, m.bad("too many extents")
		}
		var above []entry
		for len(level) > 0 {
			n := min(most, len(level))
			at, err := m.f.alloc(1)
			if err != nil {
				return 0, err
			}
			p := make([]byte, m.f.bs)
			h := disk.ExtentHeader{Magic: disk.ExtentMagic, Entries: uint16(n), Max: uint16(most), Depth: uint16(depth)}
			h.Encode(p)
			for i := range n {
				copy(p[disk.ExtentHeaderSize+i*disk.ExtentSize:], level[i].raw[:])
			}
			if m.f.csum {
				disk.SetExtentChecksum(m.seed, p, most)
			}
			if err := m.f.writeBlock(at.start, p); err != nil {
				return 0, err
			}
			built++
			up := entry{block: level[0].block}
			x := disk.ExtentIndex{Block: up.block, Child: at.start}
			x.Encode(up.raw[:])
			above = append(above, up)
			level = level[n:]
		}
		level = above
	}
}
