package mkfs

import (
	"slices"

	"pinhole/fs/ext4/disk"
)

// plan takes the metadata's blocks.
func (b *builder) plan() {
	for g := range b.groups {
		if n := b.overhead(g); n > 0 {
			b.take(run{b.first(g), n})
			b.sb.OverheadBlocks += uint32(n)
		}
		if b.flexSize(g) > 0 {
			_, _, table := b.metadata(g)
			b.zero = append(b.zero, run{table, b.flexSize(g) * b.tableLen})
		}
	}
	b.next = int64(b.sb.FirstDataBlock)
	b.sb.OverheadBlocks += uint32(b.next)
}

// search returns the place in used of the first run that ends behind block at.
func (b *builder) search(at int64) int {
	i, _ := slices.BinarySearchFunc(b.used, at, func(u run, at int64) int {
		if u.end() <= at {
			return -1
		}
		return 1
	})
	return i
}

// take marks blocks as used.
func (b *builder) take(r run) {
	i := b.search(r.start)
	joins := i < len(b.used) && r.end() == b.used[i].start
	switch {
	case i > 0 && b.used[i-1].end() == r.start:
		b.used[i-1].n += r.n
		if joins {
			b.used[i-1].n += b.used[i].n
			b.used = slices.Delete(b.used, i, i+1)
		}
	case joins:
		b.used[i].start -= r.n
		b.used[i].n += r.n
	default:
		b.used = slices.Insert(b.used, i, r)
	}
}

// free returns the first free run at or behind from; n is 0 if there is none.
func (b *builder) free(from int64) run {
	for _, u := range b.used[b.search(from):] {
		if u.start > from {
			return run{from, u.start - from}
		}
		from = u.end()
	}
	return run{from, max(0, int64(b.sb.BlocksCount)-from)}
}

// alloc takes n blocks in as few runs as can be had behind the last ones.
func (b *builder) alloc(n int64) ([]run, error) {
	var got []run
	for at := b.next; n > 0; {
		r := b.free(at)
		if r.n == 0 {
			return nil, ErrNoRoom
		}
		r.n = min(r.n, n)
		got = append(got, r)
		n -= r.n
		at = r.end()
	}
	for _, r := range got {
		b.take(r)
		b.next = r.end()
	}
	return got, nil
}

// allocWhole takes n blocks in one run, or, if there is none so long, as alloc.
func (b *builder) allocWhole(n int64) ([]run, error) {
	for at := b.next; ; {
		r := b.free(at)
		if r.n == 0 {
			return b.alloc(n)
		}
		if r.n >= n {
			r.n = n
			b.take(r)
			return []run{r}, nil
		}
		at = r.end()
	}
}

// extents gives an inode the runs as its content: an extent tree, whose nodes but for the root
// take blocks of their own.
func (b *builder) extents(n *node, runs []run) error {
	var entries [][disk.ExtentSize]byte
	at := uint32(0)
	for _, r := range runs {
		for r.n > 0 {
			k := min(r.n, disk.MaxExtentLen)
			e := disk.Extent{Block: at, Len: uint32(k), Start: uint64(r.start)}
			var raw [disk.ExtentSize]byte
			e.Encode(raw[:])
			entries = append(entries, raw)
			at += uint32(k)
			n.inode.Blocks += uint64(k * b.bs / 512)
			r.start, r.n = r.start+k, r.n-k
		}
	}
	put := func(p []byte, h disk.ExtentHeader, entries [][disk.ExtentSize]byte) {
		h.Magic, h.Entries = disk.ExtentMagic, uint16(len(entries))
		h.Encode(p)
		for i, e := range entries {
			copy(p[disk.ExtentHeaderSize+i*disk.ExtentSize:], e[:])
		}
	}
	depth := uint16(0)
	most := disk.ExtentBlockMax(int(b.bs))
	seed := disk.InodeSeed(b.seed, n.ino, n.inode.Generation)
	for ; len(entries) > disk.RootExtentEntries; depth++ {
		var up [][disk.ExtentSize]byte
		for part := range slices.Chunk(entries, most) {
			r, err := b.alloc(1)
			if err != nil {
				return err
			}
			p := make([]byte, b.bs)
			put(p, disk.ExtentHeader{Max: uint16(most), Depth: depth}, part)
			disk.SetExtentChecksum(seed, p, most)
			n.tree = append(n.tree, treeBlock{r[0].start, p})
			n.inode.Blocks += uint64(b.bs / 512)
			x := disk.ExtentIndex{Block: le.Uint32(part[0][:]), Child: uint64(r[0].start)}
			var raw [disk.ExtentSize]byte
			x.Encode(raw[:])
			up = append(up, raw)
		}
		entries = up
	}
	put(n.inode.Block[:], disk.ExtentHeader{Max: disk.RootExtentEntries, Depth: depth}, entries)
	n.inode.Flags |= disk.InodeExtents
	return nil
}
