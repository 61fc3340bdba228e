package mkfs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
)

var le = binary.LittleEndian

// batchLen is how many bytes are collected before they are written.
const batchLen = 4 << 20

// emit queues blocks for writing. Errors show in the end.
func (b *builder) emit(block int64, data []byte) {
	b.out = append(b.out, blockdev.Vec{Off: block * b.bs, Data: data})
	if b.outLen += len(data); b.outLen >= batchLen {
		b.drain()
	}
}

// drain writes what is queued.
func (b *builder) drain() {
	if b.err == nil && len(b.out) > 0 {
		b.err = b.dev.WriteV(b.out)
	}
	b.out, b.outLen = b.out[:0], 0
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
	b.tables()
	for _, n := range b.nodes {
		for _, t := range n.tree {
			b.emit(t.block, t.data)
		}
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
	b.copies()
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
func (b *builder) tables() {
	// The list of bad blocks is a file without a name; the other reserved inodes are not used.
	bad := b.newNode(disk.BadBlocksInode, nil, 0, b.o.Time)
	bad.inode.Links = 0
	nodes := slices.SortedFunc(slices.Values(b.nodes), func(x, y *node) int { return cmp.Compare(x.ino, y.ino) })
	perBlock := b.bs / inodeSize
	var block []byte
	at := int64(-1)
	for _, n := range nodes {
		g, i := int64(n.ino-1)/b.inodes, int64(n.ino-1)%b.inodes
		_, _, table := b.metadata(g)
		if to := table + i/perBlock; to != at {
			if block != nil {
				b.emit(at, block)
			}
			at, block = to, make([]byte, b.bs)
		}
		p := block[i%perBlock*inodeSize:][:inodeSize]
		n.inode.Encode(p)
		disk.SetInodeChecksum(disk.InodeSeed(b.seed, n.ino, n.inode.Generation), p)
	}
	b.emit(at, block)
}

// copies makes the descriptor table and its copies, and those of the superblock.
func (b *builder) copies() {
	for g := range b.groups {
		if b.super(g) == 0 {
			continue
		}
		b.emit(b.first(g)+1, b.desc)
		if g > 0 {
			b.emit(b.first(g), b.superblock(g))
		}
	}
	if b.bs == disk.SuperblockOffset {
		b.emit(0, make([]byte, b.bs)) // the boot sector's
	}
}

// superblock returns the block that holds group g's superblock.
func (b *builder) superblock(g int64) []byte {
	s := b.sb
	s.BlockGroupNr = uint16(g)
	block := make([]byte, b.bs)
	if g == 0 && b.bs > disk.SuperblockOffset {
		s.Encode(block[disk.SuperblockOffset:])
	} else {
		s.Encode(block)
	}
	return block
}

// write puts everything on the device. An old superblock goes first and the new one comes last, so
// that what is not finished is not taken for a file system.
func (b *builder) write(dev blockdev.Device) error {
	b.dev = dev
	if !b.o.Fresh {
		b.clear([]run{{0, ceilDiv(2*disk.SuperblockOffset, b.bs)}})
		b.clear(b.zero)
	}
	b.clear(b.always)
	b.finish()
	b.drain()
	if !b.o.Fresh && b.err == nil {
		b.err = dev.Flush()
	}
	b.emit(b.first(0), b.superblock(0))
	b.drain()
	if b.err == nil {
		b.err = dev.Flush()
	}
	if b.err != nil {
		return fmt.Errorf("making a file system: %w", b.err)
	}
	return nil
}

// zeros is what runs are cleared with.
var zeros [1 << 20]byte

// clear zeroes runs of blocks.
func (b *builder) clear(runs []run) {
	for _, r := range runs {
		for r.n > 0 {
			n := min(r.n, int64(len(zeros))/b.bs)
			b.emit(r.start, zeros[:n*b.bs])
			r.start += n
			r.n -= n
		}
	}
	b.drain()
}
