package check

import (
	"math/bits"

	"pinhole/fs/ext4/disk"
)

// extentDepth returns how deep a tree can be.
func (c *checker) extentDepth() int {
	per := bits.Len(uint(disk.ExtentBlockMax(c.bs))) - 1
	return 1 + (31-2)/per
}

// headerOK tells whether a node of size bytes has a header that can be.
func headerOK(h *disk.ExtentHeader, size int) bool {
	room := (size - disk.ExtentHeaderSize) / disk.ExtentSize
	return h.Magic == disk.ExtentMagic && h.Entries <= h.Max && int(h.Max) <= room && int(h.Max) >= room-2
}

// extents goes over an extent tree.
func (m *fileMap) extents() error {
	var h disk.ExtentHeader
	root := m.inode.Block[:]
	h.Decode(root)
	if !headerOK(&h, len(root)) {
		return m.add(inInode(ExtentHeader, m.ino), "the extent tree has no good root (magic %#04x, %d of %d entries)", h.Magic, h.Entries, h.Max)
	}
	if most := m.c.extentDepth(); int(h.Depth) > most {
		return m.add(inInode(ExtentHeader, m.ino), "the extent tree is %d deep, can be %d", h.Depth, most)
	}
	m.depth = int(h.Depth)
	size := uint64(m.c.bs)
	eof := (m.inode.Size + size - 1) / size
	return m.extentNode(root, h, 0, 1<<32, eof)
}

// extentNode goes over one node. Its extents are to lie from logical block start to before end.
func (m *fileMap) extentNode(p []byte, h disk.ExtentHeader, start, end, eof uint64) error {
	c := m.c
	lv := &m.levels[m.depth-int(h.Depth)]
	lv.entries += int(h.Entries)
	lv.room += int(h.Max)
	if int(h.Depth) < m.depth && h.Entries < h.Max {
		lv.room-- // a split leaves one free
	}
	for i := range int(h.Entries) {
		raw := p[disk.ExtentHeaderSize+i*disk.ExtentSize:]
		if h.Depth > 0 {
			var x, next disk.ExtentIndex
			x.Decode(raw)
			last := end
			if i+1 < int(h.Entries) {
				next.Decode(raw[disk.ExtentSize:])
				last = min(last, uint64(next.Block))
			} else if end == 1<<32 && !m.dir && eof > uint64(x.Block) {
				last = eof
			}
			if err := m.extentChild(x, int(h.Depth)-1, start, last, eof); err != nil {
				return err
			}
			continue
		}
		var e disk.Extent
		e.Decode(raw)
		first, n := uint64(e.Block), uint64(e.Len)
		prob := inInode(ExtentOrder, m.ino).logical(first).onBlock(e.Start)
		var err error
		switch {
		case !c.valid(e.Start):
			prob.Code = BlockRange
			err = m.add(prob, "an extent of %d blocks starts outside of the file system", n)
		case first < start:
			err = m.add(prob, "an extent of %d blocks starts before block %d, where its part of the tree does", n, start)
		case first+n > end && !(first+n > eof && (e.Unwritten || m.inode.Flags&disk.InodeVerity != 0)):
			prob.Code = ExtentLength
			err = m.add(prob, "an extent of %d blocks reaches beyond block %d, where its part of the tree ends", n, end)
		case n == 0:
			prob.Code = ExtentLength
			err = m.add(prob, "an extent has no block")
		case n > c.blocks-e.Start:
			prob.Code = BlockRange
			err = m.add(prob, "an extent of %d blocks ends outside of the file system", n)
		case m.dir && m.inode.Size>>32 == 0 && !c.hasIncompat(disk.IncompatLargeDir) && first+n > 1<<(31-c.bits):
			prob.Code = BlockTooMany
			err = m.add(prob, "a directory cannot be that large")
		case first < m.next:
			err = m.add(prob, "an extent of %d blocks overlaps the one before, which ends at block %d", n, m.next)
		default:
			if e.Unwritten && m.dir {
				prob.Code = ExtentUnset
				if err = m.add(prob, "an extent of a directory is unwritten"); err != nil {
					return err
				}
			}
			m.next = first + n
			start = m.next
			err = m.data(first, n, e.Start, e.Unwritten)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// extentChild goes over the node below an index entry, which is to have depth.
func (m *fileMap) extentChild(x disk.ExtentIndex, depth int, start, end, eof uint64) error {
	c := m.c
	prob := inInode(ExtentIndex, m.ino).logical(uint64(x.Block)).onBlock(x.Child)
	switch {
	case !c.valid(x.Child):
		prob.Code = BlockRange
		return m.add(prob, "a node of the extent tree is outside of the file system")
	case uint64(x.Block) < start || uint64(x.Block) < m.next:
		prob.Code = ExtentOrder
		return m.add(prob, "a node of the extent tree starts before block %d, where it must", max(start, m.next))
	}
	descend, err := m.node(x.Child)
	if err != nil || !descend {
		return err
	}
	p := make([]byte, c.bs)
	if err := c.read(p, x.Child); err != nil {
		return err
	}
	var h disk.ExtentHeader
	h.Decode(p)
	if !headerOK(&h, c.bs) || int(h.Depth) != depth {
		prob.Code = ExtentHeader
		return m.add(prob, "a node of the extent tree has no good header (magic %#04x, %d of %d entries, depth %d, should be %d)", h.Magic, h.Entries, h.Max, h.Depth, depth)
	}
	if c.csum {
		if sum, ok := disk.ExtentBlockChecksum(m.seed, p, int(h.Max)); ok && sum != disk.StoredExtentChecksum(p, int(h.Max)) {
			prob.Code = ExtentChecksum
			if err := m.add(prob, "a node of the extent tree has checksum %#08x, should have %#08x", disk.StoredExtentChecksum(p, int(h.Max)), sum); err != nil {
				return err
			}
		}
	}
	if first := le.Uint32(p[disk.ExtentHeaderSize:]); h.Entries > 0 && first != x.Block {
		if err := m.add(prob, "a node of the extent tree starts at block %d", first); err != nil {
			return err
		}
	}
	return m.extentNode(p, h, uint64(x.Block), end, eof)
}

// loose tells at which level an extent tree could be smaller, as e2fsck does, or -1.
func (m *fileMap) loose() int {
	if m.inode.Flags&disk.InodeExtents == 0 {
		return -1
	}
	per := disk.ExtentBlockMax(m.c.bs)
	for i := range m.depth + 1 {
		l := m.levels[i]
		if l.room-l.entries > per {
			return i
		}
		for _, above := range m.levels[:i] {
			if l.entries < above.room {
				return i
			}
		}
	}
	return -1
}
