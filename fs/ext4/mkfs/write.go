package mkfs

import (
	"encoding/binary"
	"fmt"

	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
)

var le = binary.LittleEndian

// emit queues blocks for writing.
func (b *builder) emit(block int64, data []byte) {
	b.out = append(b.out, blockdev.Vec{Off: block * b.bs, Data: data})
}

// finish makes bitmaps, inode tables, descriptors and superblocks.
func (b *builder) finish() {
	b.desc = make([]byte, b.gdtLen*b.bs)
	lastInode := int64(firstInode) // highest in use; they are used in order
	dirs := make(map[int64]uint32) // by group
	for _, n := range b.nodes {
		lastInode = max(lastInode, int64(n.ino))
		if n.names != nil {
			dirs[int64(n.ino-1)/b.inodes]++
		}
	}
	s := &b.sb
	s.FreeInodesCount = s.InodesCount - uint32(lastInode)
	var freeBlocks int64
	next := 0 // in b.used
	for g := range b.groups {
		first, n := b.first(g), b.blocks(g)
		for next < len(b.used) && b.used[next].end() <= first {
			next++
		}
		used := int64(0)
		for _, r := range b.used[next:] {
			if r.start >= first+n {
				break
			}
			used += min(r.end(), first+n) - max(r.start, first)
		}
		freeBlocks += n - used
		inodes := min(max(lastInode-g*b.inodes, 0), b.inodes)
		var d disk.Group
		d.BlockBitmap, d.InodeBitmap, d.InodeTable = b.places(g)
		d.FreeBlocks = uint32(n - used)
		d.FreeInodes = uint32(b.inodes - inodes)
		d.ItableUnused = d.FreeInodes
		d.UsedDirs = dirs[g]
		d.Flags = disk.GroupInodeZeroed
		if inodes == 0 {
			d.Flags |= disk.GroupInodeUninit
		} else {
			bitmap := b.inodeBitmap(inodes)
			d.InodeCsum = disk.BitmapChecksum(b.seed, bitmap, int(b.inodes/8))
			b.emit(int64(d.InodeBitmap), bitmap)
		}
		// Without a bitmap only the copy of the superblock counts as used.
		if used == b.super(g) && g > 0 && g < b.groups-1 {
			d.Flags |= disk.GroupBlockUninit
		} else {
			bitmap := b.blockBitmap(first, n, b.used[next:])
			d.BlockCsum = disk.BitmapChecksum(b.seed, bitmap, int(b.perGroup/8))
			b.emit(int64(d.BlockBitmap), bitmap)
		}
		p := b.desc[g*descSize:][:descSize]
		d.Encode(p)
		s.SetGroupChecksum(uint32(g), p)
	}
	s.FreeBlocksCount = uint64(freeBlocks)
	b.tables(lastInode)
	for _, n := range b.nodes {
		content := n.content
		for _, r := range n.runs {
			part := content[:min(int64(len(content)), r.n*b.bs)]
			content = content[len(part):]
			if tail := int64(len(part)) % b.bs; tail != 0 {
				whole := int64(len(part)) - tail
				end := make([]byte, b.bs)
				copy(end, part[whole:])
				if whole > 0 {
					b.emit(r.start, part[:whole])
				}
				b.emit(r.start+whole/b.bs, end)
			} else if len(part) > 0 {
				b.emit(r.start, part)
			}
		}
	}
	b.supers()
}

func (b *builder) places(g int64) (blockBitmap, inodeBitmap, table uint64) {
	x, y, z := b.metadata(g)
	return uint64(x), uint64(y), uint64(z)
}

// setBits sets the bits from lo to before hi.
func setBits(p []byte, lo, hi int64) {
	for ; lo < hi && lo%8 != 0; lo++ {
		p[lo/8] |= 1 << (lo % 8)
	}
	for ; lo+8 <= hi; lo += 8 {
		p[lo/8] = 0xff
	}
	for ; lo < hi; lo++ {
		p[lo/8] |= 1 << (lo % 8)
	}
}

// inodeBitmap returns the bitmap of a group with its first n inodes in use.
func (b *builder) inodeBitmap(n int64) []byte {
	p := make([]byte, b.bs)
	setBits(p, 0, n)
	setBits(p, b.inodes, 8*b.bs)
	return p
}

// blockBitmap returns the bitmap of the n blocks from first on.
func (b *builder) blockBitmap(first, n int64, used []run) []byte {
	p := make([]byte, b.bs)
	for _, r := range used {
		if r.start >= first+n {
			break
		}
		setBits(p, max(r.start, first)-first, min(r.end(), first+n)-first)
	}
	setBits(p, n, 8*b.bs)
	return p
}

// tables makes the blocks of the inode tables that have inodes in use.
func (b *builder) tables(lastInode int64) {
	perBlock := b.bs / inodeSize
	blocks := make(map[int64][]byte)
	put := func(ino uint32, n *disk.Inode) {
		g, i := int64(ino-1)/b.inodes, int64(ino-1)%b.inodes
		_, _, table := b.metadata(g)
		at := table + i/perBlock
		p := blocks[at]
		if p == nil {
			p = make([]byte, b.bs)
			blocks[at] = p
			b.emit(at, p)
		}
		p = p[i%perBlock*inodeSize:][:inodeSize]
		n.Encode(p)
		disk.SetInodeChecksum(disk.InodeSeed(b.seed, ino, n.Generation), p)
	}
	for _, n := range b.nodes {
		put(n.ino, &n.inode)
	}
	// The list of bad blocks is a file without a name; the other reserved inodes are not used.
	t := stamp(b.o.Time)
	put(disk.BadBlocksInode, &disk.Inode{Atime: t, Ctime: t, Mtime: t, ExtraIsize: disk.ExtraIsize, Crtime: t})
}

// supers makes the superblock and descriptor table, and their copies; what makes the file system
// one, the first superblock, comes last of all.
func (b *builder) supers() {
	for g := b.groups - 1; g >= 0; g-- {
		if b.super(g) == 0 {
			continue
		}
		s := b.sb
		s.BlockGroupNr = uint16(g)
		block := make([]byte, b.bs)
		if g == 0 && b.bs > disk.SuperblockOffset {
			s.Encode(block[disk.SuperblockOffset:])
		} else {
			s.Encode(block)
		}
		if g == 0 && b.bs == disk.SuperblockOffset {
			b.emit(0, make([]byte, b.bs)) // the boot sector's
		}
		b.emit(b.first(g)+1, b.desc)
		b.emit(b.first(g), block)
	}
}

// write puts everything on the device. On one that was in use, the superblock goes last, so that
// what is not finished is not taken for a file system.
func (b *builder) write(dev blockdev.Device) error {
	batches := [][]blockdev.Vec{b.out}
	if !b.o.Fresh {
		if err := b.clear(dev); err != nil {
			return err
		}
		last := len(b.out) - 1
		batches = [][]blockdev.Vec{b.out[:last], b.out[last:]}
	}
	for _, batch := range batches {
		if err := dev.WriteV(batch); err != nil {
			return fmt.Errorf("making a file system: %w", err)
		}
		if err := dev.Flush(); err != nil {
			return fmt.Errorf("making a file system: %w", err)
		}
	}
	return nil
}

// clear zeroes what has to be zero, beginning with an old superblock.
func (b *builder) clear(dev blockdev.Device) error {
	zeros := make([]byte, 1<<20)
	todo := append([]run{{0, ceilDiv(4096, b.bs)}}, b.zero...)
	for _, r := range todo {
		for r.n > 0 {
			n := min(r.n, int64(len(zeros))/b.bs)
			if err := dev.WriteV([]blockdev.Vec{{Off: r.start * b.bs, Data: zeros[:n*b.bs]}}); err != nil {
				return fmt.Errorf("making a file system: %w", err)
			}
			r.start += n
			r.n -= n
		}
	}
	return nil
}
