package check

import (
	"slices"

	"pinhole/fs/ext4/disk"
)

// index is a directory's hash tree: what the tree says of each block.
type index struct {
	root   bool // block 0 is a root: its tail is not that of a leaf
	leaves bool // the tree was walked to its leaves
	blocks []blockRole
}

// maxIndexed is how many blocks a directory with a hash tree may have: 64 GiB of 4 KiB.
const maxIndexed = 1 << 24

// blockRole is what the tree says of a block.
type blockRole struct {
	low, high uint32 // hashes that names in it may have
	seen      bool   // the tree leads to it
	node      bool   // it is a node
	told      bool   // that it is wrong
}

func (x *index) reset() {
	x.root, x.leaves = false, false
	x.blocks = x.blocks[:0]
}

// role returns what the tree says of a block; nil: nothing.
func (x *index) role(logical uint64) *blockRole {
	if logical < uint64(len(x.blocks)) && x.blocks[logical].seen {
		return &x.blocks[logical]
	}
	return nil
}

// blockOf returns where a block of the directory is.
func (d *dirScan) blockOf(logical uint32) (uint64, bool) {
	i, ok := slices.BinarySearchFunc(d.runs, logical, func(r dirRun, l uint32) int {
		switch {
		case r.logical+r.len() <= l:
			return -1
		case r.logical > l:
			return 1
		}
		return 0
	})
	if !ok || d.runs[i].n&runShared != 0 {
		return 0, false
	}
	return d.runs[i].block + uint64(logical-d.runs[i].logical), true
}

// htree walks a directory's hash tree.
func (c *checker) htree() error {
	d := &c.dir
	prob := inInode(HtreeRoot, d.ino).logical(0)
	b, ok := d.blockOf(0)
	if !ok {
		return c.add(prob, "the hash tree's root is missing")
	}
	prob = prob.onBlock(b)
	p := make([]byte, c.bs)
	if err := c.read(p, b); err != nil {
		return err
	}
	var info disk.HtreeInfo
	info.Decode(p)
	most := disk.HtreeMaxLevels
	if c.hasIncompat(disk.IncompatLargeDir) {
		most = disk.HtreeMaxLevelsLD
	}
	switch {
	case info.Reserved != 0 || info.InfoLen < disk.HtreeInfoLen:
		return c.add(prob, "the hash tree's root has no good header")
	case info.HashVersion > uint8(disk.HashTEA):
		return c.add(prob, "the hash tree has hashes of kind %d, which does not exist", info.HashVersion)
	case info.Flags&1 != 0:
		return c.add(prob, "the hash tree has flags %#x", info.Flags)
	case int(info.Levels) > most:
		return c.add(prob, "the hash tree has %d levels, can have %d", info.Levels, most)
	}
	d.version = disk.HashVersion(info.HashVersion)
	if c.sb.HashUnsigned() {
		d.version += disk.HashLegacyUnsigned
	}
	d.index.root = true
	last := d.runs[len(d.runs)-1]
	have := uint64(0)
	for _, r := range d.runs {
		have += uint64(r.len())
	}
	end := uint64(last.logical) + uint64(last.len())
	if end > have {
		return nil // with holes, which are told below
	}
	if end > maxIndexed {
		return c.add(prob, "the directory has %d blocks: too many for this check", end)
	}
	d.index.blocks = slices.Grow(d.index.blocks, int(end))[:end]
	clear(d.index.blocks)
	d.index.blocks[0] = blockRole{high: ^uint32(0), seen: true}
	off := disk.HtreeInfoOffset + int(info.InfoLen)
	ok, err := c.htreeNode(prob, p, off, int(info.Levels), 0, ^uint32(1))
	d.index.leaves = ok
	return err
}

// htreeNode walks a root or node whose entries start at off and whose names have hashes from low
// to high, with levels more between it and the leaves. ok tells that it is whole.
func (c *checker) htreeNode(prob Problem, p []byte, off, levels int, low, high uint32) (ok bool, err error) {
	d := &c.dir
	prob.Code = HtreeNode
	if off+disk.HtreeEntrySize > len(p) {
		return false, c.add(prob, "the entries start at byte %d", off)
	}
	e := disk.HtreeEntries(p[off:])
	limit, count := e.Limit(), e.Count()
	if want := disk.HtreeLimit(c.bs, off, c.csum); limit != want {
		return false, c.add(prob, "the node has room for %d entries, should have for %d", limit, want)
	}
	if count > limit || count == 0 {
		return false, c.add(prob, "the node has %d entries, can have 1 to %d", count, limit)
	}
	if c.csum {
		if have, want := disk.StoredHtreeChecksum(p, off, limit), disk.HtreeChecksum(d.seed, p, off, limit, count); have != want {
			prob := prob
			prob.Code = DirChecksum
			if err := c.add(prob, "a node of the hash tree has checksum %#08x, should have %#08x", have, want); err != nil {
				return false, err
			}
		}
	}
	ok = true
	hash := low
	for i := range count {
		if i > 0 {
			if hash = e.Hash(i) &^ 1; hash < low {
				prob := prob
				prob.Code = HtreeOrder
				ok = false
				if err := c.add(prob, "entry %d has hash %#08x, the one before %#08x", i, hash, low); err != nil {
					return false, err
				}
			}
			low = hash
		}
		upto := high
		if i+1 < count {
			upto = e.Hash(i+1) &^ 1
		}
		whole, err := c.htreeEntry(prob, e.Block(i), levels, hash, upto)
		if err != nil {
			return false, err
		}
		ok = ok && whole
	}
	return ok, nil
}

// htreeEntry follows an entry to a leaf, or to a node if there are levels left.
func (c *checker) htreeEntry(prob Problem, block uint32, levels int, low, high uint32) (bool, error) {
	d := &c.dir
	prob.Code = HtreeBlock
	if uint64(block) >= uint64(len(d.index.blocks)) {
		return false, c.add(prob, "an entry leads to block %d, behind the end", block)
	}
	role := &d.index.blocks[block]
	if role.seen {
		return false, c.add(prob, "two entries lead to block %d", block)
	}
	*role = blockRole{low: low, high: high, seen: true, node: levels > 0}
	if levels == 0 {
		return true, nil
	}
	b, ok := d.blockOf(block)
	if !ok {
		return false, c.add(prob, "an entry leads to block %d, which is missing", block)
	}
	p := make([]byte, c.bs)
	if err := c.read(p, b); err != nil {
		return false, err
	}
	prob = prob.logical(uint64(block)).onBlock(b)
	ok, err := c.htreeNode(prob, p, disk.HtreeNodeOffset, levels-1, low, high)
	role.told = !ok
	return ok, err
}

// dirNode checks what looks like a directory entry at the start of a node of the hash tree.
func (c *checker) dirNode(p []byte, role *blockRole, logical, b uint64) error {
	var e disk.Dirent
	e.Decode(p)
	if role.told || e.Ino == 0 && e.RecLen == c.bs && e.NameLen == 0 {
		return nil
	}
	return c.add(inInode(HtreeNode, c.dir.ino).logical(logical).onBlock(b), "the node of the hash tree does not begin with an empty entry")
}

// leafHash checks that a name is in the leaf where the tree leads to.
func (c *checker) leafHash(prob Problem, role *blockRole, name []byte) error {
	if c.dir.index.root && role == &c.dir.index.blocks[0] {
		return nil
	}
	h, _, _ := disk.DirHash(c.dir.version, &c.sb.HashSeed, string(name))
	if h >= role.low && h <= role.high {
		return nil
	}
	prob.Code = HtreeHash
	return c.add(prob.named(name), "a name has hash %#08x, in a block for %#08x to %#08x: it cannot be found", h, role.low, role.high)
}

// htreeBlocks tells which of the directory's blocks the tree does not lead to.
func (c *checker) htreeBlocks(end uint32) error {
	d := &c.dir
	if !d.index.leaves {
		return nil
	}
	for _, r := range d.runs {
		for l := r.logical; l < r.logical+r.len() && l < end; l++ {
			if !d.index.blocks[l].seen {
				if err := c.add(inInode(HtreeBlock, d.ino).logical(uint64(l)), "the hash tree does not lead to the block: names in it cannot be found"); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
