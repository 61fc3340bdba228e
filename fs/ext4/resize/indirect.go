package resize

import "pinhole/fs/ext4/disk"

// moveIndirect moves the blocks of a file that ext2 or ext3 mapped: each number, and the blocks of numbers.
func (m *mover) moveIndirect() ([]fileBlock, error) {
	w := indirect{m: m, per: uint64(m.f.bs) / 4}
	// A file cannot have more blocks than it says; an extra one for each is more than enough.
	w.most = m.sectors()/m.unit() + 16
	for i := range disk.DirectBlocks {
		if _, err := w.number(m.n.Block[4*i:], 0, uint64(i)); err != nil {
			return nil, err
		}
	}
	logical, span := uint64(disk.DirectBlocks), w.per
	for level := 1; level <= 3; level++ {
		if _, err := w.number(m.n.Block[4*(disk.DirectBlocks+level-1):], level, logical); err != nil {
			return nil, err
		}
		logical += span
		span *= w.per
	}
	return w.blocks, nil
}

type indirect struct {
	m      *mover
	per    uint64 // numbers in a block
	seen   uint64
	most   uint64
	blocks []fileBlock
}

// number looks at a block number in p, level levels above content, and changes it if the block moves.
func (w *indirect) number(p []byte, level int, logical uint64) (changed bool, err error) {
	nr := uint64(le.Uint32(p))
	if nr == 0 {
		return false, nil
	}
	if w.seen++; w.seen > w.most {
		return false, w.m.bad("has more blocks than it says")
	}
	f := w.m.f
	at := run{nr, 1}
	if !f.inside(at) {
		return false, w.m.bad("block %d of the file at block %d", logical, nr)
	}
	move, _ := f.mustMove(at)
	to := at
	if move {
		if to, err = f.alloc(1); err != nil {
			return false, err
		}
		le.PutUint32(p, uint32(to.start))
		w.m.changed = true
	}
	if level == 0 {
		if move {
			err = f.copyRun(at.start, to.start, 1)
		}
		w.blocks = append(w.blocks, fileBlock{logical, to, false})
		return move, err
	}
	numbers := make([]byte, f.bs)
	if err := f.readBlock(nr, numbers); err != nil {
		return false, err
	}
	span := uint64(1)
	for range level - 1 {
		span *= w.per
	}
	dirty := move
	for i := range w.per {
		c, err := w.number(numbers[4*i:], level-1, logical+i*span)
		if err != nil {
			return false, err
		}
		dirty = dirty || c
	}
	if dirty {
		err = f.writeBlock(to.start, numbers)
	}
	return move, err
}
