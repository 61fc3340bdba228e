package resize

import (
	"fmt"

	"pinhole/fs/ext4/disk"
)

// run is n blocks from start on.
type run struct{ start, n uint64 }

func (r run) end() uint64 { return r.start + r.n }

// layout is where the bookkeeping of a file system of a certain size lies.
type layout struct {
	sb       *disk.Superblock
	blocks   uint64
	first0   uint64 // first data block
	perGroup uint64
	groups   uint64
	perDesc  uint64 // descriptors in a block
	desc     uint64 // blocks of the descriptor table
	reserved uint64 // blocks kept for its growth
	metaBG   bool
	firstMG  uint64 // first block of descriptors that is in its own groups
}

// layout returns the layout of a size, with as many blocks kept for descriptors.
func (f *fs) layout(blocks, reserved uint64) layout {
	l := layout{sb: &f.sb, blocks: blocks, first0: uint64(f.sb.FirstDataBlock), perGroup: uint64(f.sb.BlocksPerGroup),
		perDesc: uint64(f.bs) / uint64(f.sb.DescriptorSize()), reserved: reserved, metaBG: f.sb.HasIncompat(disk.IncompatMetaBG)}
	l.groups = (blocks - l.first0 + l.perGroup - 1) / l.perGroup
	l.desc = (l.groups + l.perDesc - 1) / l.perDesc
	if l.metaBG {
		l.firstMG = uint64(f.sb.FirstMetaBG)
	}
	return l
}

func (l *layout) first(g uint64) uint64 { return l.first0 + g*l.perGroup }

// len returns how many blocks group g has.
func (l *layout) len(g uint64) uint64 { return min(l.perGroup, l.blocks-l.first(g)) }

func (l *layout) group(block uint64) uint64 { return (block - l.first0) / l.perGroup }

// valid tells whether a run lies in the file system.
func (l *layout) valid(r run) bool {
	return r.start >= l.first0 && r.start < l.blocks && r.n <= l.blocks-r.start
}

// descBlock returns where block i of the descriptor table is.
func (l *layout) descBlock(i uint64) uint64 {
	if !l.metaBG || i < l.firstMG {
		return l.first0 + 1 + i
	}
	g := i * l.perDesc
	b := l.first(g)
	if l.sb.HasSuper(uint32(g)) {
		b++
	}
	return b
}

// span returns how many blocks at the start of group g are copies of the superblock and descriptors, or
// kept for them.
func (l *layout) span(g uint64) uint64 {
	n := uint64(0)
	if l.sb.HasSuper(uint32(g)) {
		n = 1
	}
	if !l.metaBG || g/l.perDesc < l.firstMG {
		if n == 0 {
			return 0
		}
		if l.metaBG {
			return 1 + min(l.firstMG, l.desc)
		}
		return 1 + l.desc + l.reserved
	}
	switch g % l.perDesc {
	case 0, 1, l.perDesc - 1:
		n++
	}
	return n
}

// copies calls do for every place of block i of the descriptor table, the first first.
func (l *layout) copies(i uint64, do func(block uint64) error) error {
	if !l.metaBG || i < l.firstMG {
		for g := range l.groups {
			if l.sb.HasSuper(uint32(g)) {
				if err := do(l.first(g) + 1 + i); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, g := range []uint64{i * l.perDesc, i*l.perDesc + 1, i*l.perDesc + l.perDesc - 1} {
		if g >= l.groups {
			continue
		}
		b := l.first(g)
		if l.sb.HasSuper(uint32(g)) {
			b++
		}
		if err := do(b); err != nil {
			return err
		}
	}
	return nil
}

// plan makes the layout of a new size, and says why it cannot be.
func (f *fs) plan(blocks uint64) (layout, error) {
	if blocks > maxBlocks {
		return layout{}, fmt.Errorf("%d blocks of %d bytes: at most %d are supported", blocks, f.bs, uint64(maxBlocks))
	}
	if blocks <= f.old.first0+8 {
		return layout{}, fmt.Errorf("%d blocks: %w", blocks, ErrNoRoom)
	}
	for {
		l := f.layoutFor(blocks)
		if l.groups > maxGroups || l.groups*uint64(f.sb.InodesPerGroup) > 1<<32-1 {
			return layout{}, fmt.Errorf("%d blocks: more groups than are supported", blocks)
		}
		// A last group that would be little more than its own bookkeeping is left out.
		last := l.groups - 1
		least := l.span(last) + 2 + f.tableLen() + 50
		if last == 0 || l.len(last) >= min(least, l.perGroup) || last < f.old.groups && l.len(last) == f.old.len(last) {
			if l.span(last)+2+f.tableLen() > l.len(last) && last == 0 {
				return layout{}, fmt.Errorf("%d blocks: %w", blocks, ErrNoRoom)
			}
			return l, nil
		}
		blocks = l.first(last)
	}
}

// layoutFor is the layout of a size, where the blocks kept for descriptors become descriptors, and back.
func (f *fs) layoutFor(blocks uint64) layout {
	l := f.layout(blocks, f.old.reserved)
	switch {
	case l.metaBG || !f.sb.HasCompat(disk.CompatResizeInode):
	case l.desc > f.old.desc:
		l.reserved -= min(l.reserved, l.desc-f.old.desc)
	case l.desc < f.old.desc:
		// No more than one block of numbers has room for.
		l.reserved = min(l.reserved+f.old.desc-l.desc, uint64(f.bs)/4)
	}
	return l
}
