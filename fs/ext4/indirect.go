package ext4

import "pinhole/fs/ext4/disk"

// Files of ext2 and ext3 map blocks by number: twelve in the inode, more through one, two
// or three levels of blocks of numbers. Such files can be read, overwritten and deleted;
// before anything else they are given an extent tree.

// maxIndirectNodes bounds the walk over blocks of numbers, which may all be the same one.
const maxIndirectNodes = 1 << 16

// indirectBlock reads a block of block numbers.
func (n *inode) indirectBlock(block uint64) (*buffer, error) {
	if !n.fs.validBlocks(block, 1) || n.fs.zones.hits(block, 1, n.ino) {
		return nil, n.fs.corruptInode(n.ino, "indirect block at block %d", block)
	}
	return n.fs.buffers.read(block, makeRole(roleIndirect, n.ino), n.seed, nil)
}

// indirectWalk visits the block numbers of n in order of the file: each for a number that
// maps a block, node for each block of numbers (after what it holds).
type indirectWalk struct {
	n     *inode
	each  func(block uint64, home uint64) bool // false ends the walk
	node  func(home uint64)
	nodes int
}

func (w *indirectWalk) walk() (complete bool, err error) {
	block := uint64(0)
	for i := range disk.DirectBlocks {
		if home := uint64(le.Uint32(w.n.d.Block[4*i:])); home != 0 && !w.each(block, home) {
			return false, nil
		}
		block++
	}
	per := uint64(w.n.fs.bs / 4)
	span := per
	for level := 1; level <= 3; level++ {
		home := uint64(le.Uint32(w.n.d.Block[4*(disk.DirectBlocks+level-1):]))
		if home != 0 {
			if ok, err := w.walkNode(home, level, block, span); !ok {
				return false, err
			}
		}
		block += span
		span *= per
	}
	return true, nil
}

// walkNode visits a block of numbers that is level levels above content and covers span
// blocks of the file from block on.
func (w *indirectWalk) walkNode(home uint64, level int, block, span uint64) (bool, error) {
	if w.nodes++; w.nodes > maxIndirectNodes {
		return false, nil
	}
	b, err := w.n.indirectBlock(home)
	if err != nil {
		return false, err
	}
	defer w.n.fs.buffers.put(b)
	per := w.n.fs.bs / 4
	span /= uint64(per)
	for i := range per {
		if child := uint64(le.Uint32(b.data[4*i:])); child != 0 {
			at := block + uint64(i)*span
			if level == 1 {
				if !w.each(at, child) {
					return false, nil
				}
			} else if ok, err := w.walkNode(child, level-1, at, span); !ok {
				return false, err
			}
		}
	}
	if w.node != nil {
		w.node(home)
	}
	return true, nil
}

// collectIndirect adds all mapped blocks to l, or finds that they are too many.
func (n *inode) collectIndirect(l *runList) error {
	var bad error
	w := indirectWalk{n: n, each: func(block, home uint64) bool {
		if block >= maxFileBlocks || !n.fs.validBlocks(home, 1) || n.fs.zones.hits(home, 1, n.ino) {
			bad = n.fs.corruptInode(n.ino, "file block %d at block %d", block, home)
			return false
		}
		l.put(run{uint32(block), 1, home})
		return !l.big
	}}
	complete, err := w.walk()
	if err == nil {
		err = bad
	}
	if !complete {
		*l = runList{big: true}
	}
	return err
}

// mapIndirect looks one block up.
func (n *inode) mapIndirect(block uint32) (run, error) {
	hole := run{block: block, n: 1}
	per := uint64(n.fs.bs / 4)
	b := uint64(block)
	var home uint64
	if b < disk.DirectBlocks {
		home = uint64(le.Uint32(n.d.Block[4*b:]))
	} else {
		b -= disk.DirectBlocks
		level, span := 1, per
		for b >= span {
			b -= span
			span *= per
			if level++; level > 3 {
				return run{block: block, n: maxFileBlocks - block}, nil
			}
		}
		home = uint64(le.Uint32(n.d.Block[4*(disk.DirectBlocks+level-1):]))
		for ; level > 0 && home != 0; level-- {
			span /= per
			buf, err := n.indirectBlock(home)
			if err != nil {
				return run{}, err
			}
			home = uint64(le.Uint32(buf.data[4*(b/span):]))
			b %= span
			n.fs.buffers.put(buf)
		}
		if home == 0 {
			// A missing block of numbers is a hole of all that it would cover.
			hole.n = uint32(min(span-b, uint64(maxFileBlocks-block)))
		}
	}
	if home == 0 {
		return hole, nil
	}
	if !n.fs.validBlocks(home, 1) || n.fs.zones.hits(home, 1, n.ino) {
		return run{}, n.fs.corruptInode(n.ino, "file block %d at block %d", block, home)
	}
	return run{block, 1, home}, nil
}
