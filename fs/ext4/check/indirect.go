package check

import "pinhole/fs/ext4/disk"

// indirect goes over a map of direct and indirect blocks.
func (m *fileMap) indirect() error {
	w := indirectWalk{m: m}
	at := uint64(0)
	for i := range disk.DirectBlocks {
		if err := w.block(uint64(le.Uint32(m.inode.Block[4*i:])), at); err != nil {
			return err
		}
		at++
	}
	per := uint64(m.c.bs / 4)
	span := per
	for i := range 3 {
		b := uint64(le.Uint32(m.inode.Block[4*(disk.DirectBlocks+i):]))
		if err := w.tree(b, at, i, span); err != nil {
			return err
		}
		at += span
		span *= per
	}
	return w.flush()
}

// indirectWalk joins neighbours to runs.
type indirectWalk struct {
	m   *fileMap
	run fileRun
}

func (w *indirectWalk) flush() error {
	r := w.run
	if r.n == 0 {
		return nil
	}
	w.run = fileRun{}
	return w.m.data(r.logical, r.n, r.block, false)
}

// block is a block of the file.
func (w *indirectWalk) block(b, logical uint64) error {
	if b == 0 {
		return nil
	}
	c := w.m.c
	prob := inInode(BlockTooMany, w.m.ino).logical(logical).onBlock(b)
	type_ := w.m.inode.Mode & modeType
	switch {
	case !c.valid(b):
		prob.Code = BlockRange
		return w.m.add(prob, "a block is outside of the file system")
	case type_ == modeDir && logical > 1<<(31-c.bits) && !c.hasIncompat(disk.IncompatLargeDir):
		return w.m.add(prob, "a directory cannot be that large")
	case type_ == modeLnk && logical > 0:
		return w.m.add(prob, "a symbolic link has more than one block")
	}
	w.m.next = logical + 1
	if w.run.n > 0 && w.run.logical+w.run.n == logical && w.run.block+w.run.n == b {
		w.run.n++
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.run = fileRun{logical, 1, b}
	return nil
}

// tree is an indirect block, with depth more below it, for the span of blocks from logical on.
func (w *indirectWalk) tree(b, logical uint64, depth int, span uint64) error {
	if b == 0 {
		return nil
	}
	c := w.m.c
	if !c.valid(b) {
		return w.m.add(inInode(BlockRange, w.m.ino).logical(logical).onBlock(b), "an indirect block is outside of the file system")
	}
	descend, err := w.m.node(b)
	if err != nil || !descend {
		return err
	}
	p := make([]byte, c.bs)
	if err := c.read(p, b); err != nil {
		return err
	}
	span /= uint64(c.bs / 4)
	for ; len(p) > 0; p = p[4:] {
		child := uint64(le.Uint32(p))
		if depth == 0 {
			err = w.block(child, logical)
		} else {
			err = w.tree(child, logical, depth-1, span)
		}
		if err != nil {
			return err
		}
		logical += span
	}
	return nil
}
