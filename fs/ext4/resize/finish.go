package resize

import (
	"bytes"
	"math/big"
	"time"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
)

// resizeInode makes the file anew that owns the blocks kept for the descriptor table: each is a block of
// numbers, those of its copies in other groups.
func (f *fs) resizeInode() error {
	if !f.sb.HasCompat(disk.CompatResizeInode) {
		return nil
	}
	per := uint64(f.bs) / 4
	size := int64(f.sb.InodeSize)
	raw := make([]byte, size)
	if err := f.dev.ReadAt(raw, f.inodeAt(disk.ResizeInode)); err != nil {
		return err
	}
	var n disk.Inode
	n.Decode(raw)
	where := n.Block[4*(disk.DirectBlocks+1):]
	at := run{uint64(le.Uint32(where)), 1}
	if uint32(n.Mode)&abi.S_IFMT != abi.S_IFREG || !f.inside(at) {
		return &CorruptError{inodeName(disk.ResizeInode), "is not what it should be"}
	}
	if move, _ := f.mustMove(at); move {
		var err error
		if at, err = f.alloc(1); err != nil {
			return err
		}
		le.PutUint32(where, uint32(at.start))
	}
	var backups []uint64
	for g := uint64(1); g < f.new.groups; g++ {
		if f.sb.HasSuper(uint32(g)) {
			backups = append(backups, g)
		}
	}
	if uint64(len(backups)) > per {
		return &CorruptError{"superblock", "more copies than can be"}
	}
	top := make([]byte, f.bs)
	blocks := uint64(1)
	for i := range f.new.reserved {
		nr := f.new.first0 + 1 + f.new.desc + i
		le.PutUint32(top[4*((f.new.desc+i)%per):], uint32(nr))
		p := make([]byte, f.bs)
		for k, g := range backups {
			le.PutUint32(p[4*k:], uint32(nr+g*f.new.perGroup))
		}
		if err := f.writeBlock(nr, p); err != nil {
			return err
		}
		blocks += 1 + uint64(len(backups))
	}
	if err := f.writeBlock(at.start, top); err != nil {
		return err
	}
	m := mover{f: f, n: &n}
	n.Blocks = blocks * m.unit()
	n.Encode(raw)
	f.sealInode(disk.ResizeInode, raw)
	return f.writeInode(disk.ResizeInode, raw)
}

// finish counts everything, and writes bitmaps, descriptors and superblocks.
func (f *fs) finish() error {
	s := &f.sb
	groups := f.groups[:f.new.groups]
	last := f.new.groups - 1
	var freeBlocks, freeInodes uint64
	for i := range groups {
		g := uint64(i)
		gr := &groups[g]
		d := &gr.desc
		if g >= f.old.groups && f.gsum && g != last && f.plain(g) {
			d.Flags |= disk.GroupBlockUninit
			d.FreeBlocks = uint32(f.new.len(g) - f.new.span(g))
			gr.blocks, gr.dirtyB = nil, false
		}
		if gr.blocks != nil {
			d.FreeBlocks = uint32(zeroBits(gr.blocks, 0, f.new.len(g)))
		}
		if gr.inodes != nil {
			d.FreeInodes = uint32(zeroBits(gr.inodes, 0, uint64(s.InodesPerGroup)))
		}
		freeBlocks += uint64(d.FreeBlocks)
		freeInodes += uint64(d.FreeInodes)
		if gr.dirtyB {
			if f.csum {
				d.BlockCsum = disk.BitmapChecksum(f.seed, gr.blocks, int(s.BlocksPerGroup/8))
			}
			if err := f.writeBlock(d.BlockBitmap, gr.blocks); err != nil {
				return err
			}
		}
		if gr.dirtyI {
			if f.csum {
				d.InodeCsum = disk.BitmapChecksum(f.seed, gr.inodes, int(s.InodesPerGroup/8))
			}
			if err := f.writeBlock(d.InodeBitmap, gr.inodes); err != nil {
				return err
			}
		}
	}
	s.RBlocksCount = scale(s.RBlocksCount, f.new.blocks, f.old.blocks)
	s.BlocksCount, s.FreeBlocksCount = f.new.blocks, freeBlocks
	s.InodesCount, s.FreeInodesCount = uint32(f.new.groups*uint64(s.InodesPerGroup)), uint32(freeInodes)
	s.ReservedGDT = uint16(f.new.reserved)
	s.OverheadBlocks = 0 // to be counted again
	s.OrphanFileInum = f.inodes.number(s.OrphanFileInum)
	s.LostFoundIno = f.inodes.number(s.LostFoundIno)
	s.JournalInum = f.inodes.number(s.JournalInum)
	now := f.o.Time
	if now.IsZero() {
		now = time.Now()
	}
	s.Wtime = uint64(now.Unix())
	if err := f.writeDescriptors(); err != nil {
		return err
	}
	if err := f.writeSupers(); err != nil {
		return err
	}
	return f.dev.Flush()
}

// scale returns v*to/of.
func scale(v, to, of uint64) uint64 {
	n := new(big.Int).SetUint64(v)
	n.Mul(n, new(big.Int).SetUint64(to))
	return n.Div(n, new(big.Int).SetUint64(of)).Uint64()
}

// plain tells whether a new group has nothing but its copies of superblock and descriptors in it.
func (f *fs) plain(g uint64) bool {
	p := make([]byte, f.bs)
	setBits(p, 0, f.new.span(g))
	setBits(p, f.new.len(g), uint64(8*f.bs))
	return bytes.Equal(p, f.groups[g].blocks)
}

// writeDescriptors writes the descriptor table and its copies.
func (f *fs) writeDescriptors() error {
	size := f.sb.DescriptorSize()
	for i := range f.new.desc {
		p := make([]byte, f.bs)
		for g := i * f.new.perDesc; g < min((i+1)*f.new.perDesc, f.new.groups); g++ {
			raw := f.groups[g].raw
			f.groups[g].desc.Encode(raw)
			if f.gsum {
				f.sb.SetGroupChecksum(uint32(g), raw)
			}
			copy(p[int(g-i*f.new.perDesc)*size:], raw)
		}
		if err := f.new.copies(i, func(block uint64) error { return f.writeBlock(block, p) }); err != nil {
			return err
		}
	}
	return nil
}

// writeSupers writes the copies of the superblock, and then itself.
func (f *fs) writeSupers() error {
	for i := range f.new.groups {
		g := f.new.groups - 1 - i
		if !f.sb.HasSuper(uint32(g)) {
			continue
		}
		s := f.sb
		s.BlockGroupNr = uint16(g)
		off := int64(f.new.first(g)) * f.bs
		if g == 0 {
			off = disk.SuperblockOffset
		}
		p := make([]byte, disk.SuperblockSize)
		s.Encode(p)
		if err := f.dev.WriteV([]blockdev.Vec{{Off: off, Data: p}}); err != nil {
			return err
		}
	}
	return nil
}
