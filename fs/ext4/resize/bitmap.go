package resize

import (
	"bytes"
	"fmt"
	"math/bits"

	"pinhole/fs/ext4/disk"
)

func bit(p []byte, i uint64) bool { return p[i/8]&(1<<(i%8)) != 0 }
func setBit(p []byte, i uint64)   { p[i/8] |= 1 << (i % 8) }
func clearBit(p []byte, i uint64) { p[i/8] &^= 1 << (i % 8) }

func setBits(p []byte, lo, hi uint64) {
	for ; lo < hi && lo%8 != 0; lo++ {
		setBit(p, lo)
	}
	for ; lo+8 <= hi; lo += 8 {
		p[lo/8] = 0xff
	}
	for ; lo < hi; lo++ {
		setBit(p, lo)
	}
}

// zeroBits counts the clear bits from lo to before hi.
func zeroBits(p []byte, lo, hi uint64) uint64 {
	n := uint64(0)
	for ; lo < hi && lo%8 != 0; lo++ {
		if !bit(p, lo) {
			n++
		}
	}
	for ; lo+8 <= hi; lo += 8 {
		n += uint64(8 - bits.OnesCount8(p[lo/8]))
	}
	for ; lo < hi; lo++ {
		if !bit(p, lo) {
			n++
		}
	}
	return n
}

// loadBitmaps reads the bitmaps of all groups.
func (f *fs) loadBitmaps() error {
	for g := range f.groups {
		gr := &f.groups[g]
		where := fmt.Sprintf("group %d", g)
		if gr.desc.Flags&disk.GroupBlockUninit == 0 {
			gr.blocks = make([]byte, f.bs)
			if err := f.readBlock(gr.desc.BlockBitmap, gr.blocks); err != nil {
				return err
			}
			if f.csum && !sumFits(disk.BitmapChecksum(f.seed, gr.blocks, int(f.sb.BlocksPerGroup/8)), gr.desc.BlockCsum, len(gr.raw)) {
				return &CorruptError{where, "wrong checksum of the block bitmap"}
			}
		}
		if gr.desc.Flags&disk.GroupInodeUninit == 0 {
			gr.inodes = make([]byte, f.bs)
			if err := f.readBlock(gr.desc.InodeBitmap, gr.inodes); err != nil {
				return err
			}
			if f.csum && !sumFits(disk.BitmapChecksum(f.seed, gr.inodes, int(f.sb.InodesPerGroup/8)), gr.desc.InodeCsum, len(gr.raw)) {
				return &CorruptError{where, "wrong checksum of the inode bitmap"}
			}
		}
	}
	return nil
}

// sumFits compares checksums, of which short descriptors have only a half.
func sumFits(sum, stored uint32, descSize int) bool {
	if descSize < disk.MinDescSize64 {
		return uint16(sum) == uint16(stored)
	}
	return sum == stored
}

// blockBitmap returns the block bitmap of a group, made if it was not written before, to be changed.
func (f *fs) blockBitmap(g uint64) []byte {
	gr := &f.groups[g]
	gr.dirtyB = true
	if gr.blocks == nil {
		gr.blocks = f.initialBlocks(g)
		gr.desc.Flags &^= disk.GroupBlockUninit
	}
	return gr.blocks
}

// initialBlocks is the bitmap of a group that has only bookkeeping in it.
func (f *fs) initialBlocks(g uint64) []byte {
	p := make([]byte, f.bs)
	l := &f.new
	if g < f.old.groups {
		l = &f.old
	}
	setBits(p, 0, l.span(g))
	d := &f.groups[g].desc
	for _, r := range []run{{d.BlockBitmap, 1}, {d.InodeBitmap, 1}, {d.InodeTable, f.tableLen()}} {
		lo, hi := max(r.start, l.first(g)), min(r.end(), l.first(g)+l.len(g))
		if lo < hi {
			setBits(p, lo-l.first(g), hi-l.first(g))
		}
	}
	setBits(p, l.len(g), uint64(8*f.bs))
	return p
}

// inodeBitmap returns the inode bitmap of a group, made if it was not written before, to be changed.
func (f *fs) inodeBitmap(g uint64) []byte {
	gr := &f.groups[g]
	gr.dirtyI = true
	if gr.inodes == nil {
		gr.inodes = make([]byte, f.bs)
		setBits(gr.inodes, uint64(f.sb.InodesPerGroup), uint64(8*f.bs))
		gr.desc.Flags &^= disk.GroupInodeUninit
	}
	return gr.inodes
}

// mark sets the blocks of a run as in use, or as free.
func (f *fs) mark(r run, used bool) {
	l := &f.new
	for r.n > 0 {
		g := l.group(r.start)
		i := r.start - l.first(g)
		n := min(r.n, l.perGroup-i)
		p := f.blockBitmap(g)
		for k := i; k < i+n; k++ {
			if used {
				setBit(p, k)
			} else {
				clearBit(p, k)
			}
		}
		if !used {
			f.free.freed(g)
		}
		r = run{r.start + n, r.n - n}
	}
}

// freeSpace finds free blocks.
type freeSpace struct {
	// most is how long the longest free run of a group can be, at most.
	most []uint64
	// at is the group where the last search ended.
	at uint64
}

func (s *freeSpace) freed(g uint64) {
	if g < uint64(len(s.most)) {
		s.most[g] = 1 << 32
	}
}

// alloc takes up to n blocks, in one run, as many of them as can be had at once, near to what was taken
// before.
func (f *fs) alloc(n uint64) (run, error) {
	for want := n; want > 0; want /= 2 {
		if r, ok := f.find(want, n); ok {
			f.mark(r, true)
			return r, nil
		}
	}
	return run{}, fmt.Errorf("%w: no free block is left", ErrNoRoom)
}

// allocWhole takes n blocks in one run: in group g, or anywhere with flex_bg.
func (f *fs) allocWhole(g, n uint64) (run, error) {
	if !f.sb.HasIncompat(disk.IncompatFlexBG) {
		r, ok := f.findIn(g, n, n)
		if !ok {
			return run{}, fmt.Errorf("%w: group %d has no room for its own inode table, which cannot be elsewhere without flex_bg", ErrNoRoom, g)
		}
		f.mark(r, true)
		return r, nil
	}
	f.free.at = g
	r, ok := f.find(n, n)
	if !ok {
		return run{}, fmt.Errorf("%w: there are no %d free blocks in one piece for an inode table", ErrNoRoom, n)
	}
	f.mark(r, true)
	return r, nil
}

// find looks for a free run of at least want blocks, and returns up to n.
func (f *fs) find(want, n uint64) (run, bool) {
	if want > f.new.perGroup {
		return run{}, false
	}
	if uint64(len(f.free.most)) < f.new.groups {
		more := make([]uint64, f.new.groups)
		for i := copy(more, f.free.most); i < len(more); i++ {
			more[i] = 1 << 32
		}
		f.free.most = more
	}
	for i := range f.new.groups {
		g := (f.free.at + i) % f.new.groups
		if f.free.most[g] < want {
			continue
		}
		if r, ok := f.findIn(g, want, n); ok {
			f.free.at = g
			return r, true
		}
	}
	return run{}, false
}

var allOnes = bytes.Repeat([]byte{0xff}, 64)

// findIn is find in one group.
func (f *fs) findIn(g, want, n uint64) (run, bool) {
	p := f.groups[g].blocks
	if p == nil {
		p = f.initialBlocks(g)
	}
	size := f.new.len(g)
	longest := uint64(0)
	for i := uint64(0); i < size; {
		if i%512 == 0 && bytes.Equal(p[i/8:min(i/8+64, uint64(len(p)))], allOnes) {
			i += 512
			continue
		}
		if bit(p, i) {
			i++
			continue
		}
		j := i
		for j < size && !bit(p, j) && j-i < n {
			j++
		}
		if j-i >= want {
			return run{f.new.first(g) + i, j - i}, true
		}
		longest = max(longest, j-i)
		i = j
	}
	if g < uint64(len(f.free.most)) {
		f.free.most[g] = longest
	}
	return run{}, false
}
