package mkfs

import (
	"fmt"
	"slices"

	"pinhole/fs/ext4/disk"
)

// plan takes the metadata's blocks, and the journal's.
func (b *builder) plan() error {
	for g := range b.groups {
		if n := b.overhead(g); n > 0 {
			b.take(run{b.first(g), n})
		}
	}
	for g := range b.groups {
		if b.flexSize(g) > 0 && !b.o.Fresh {
			_, _, table := b.metadata(g)
			b.zero = append(b.zero, run{table, b.flexSize(g) * b.tableLen})
		}
	}
	b.next = int64(b.sb.FirstDataBlock)
	return nil
}

// take marks blocks as used.
func (b *builder) take(r run) {
	i, _ := slices.BinarySearchFunc(b.used, r, func(u, r run) int { return int(u.start - r.start) })
	switch {
	case i > 0 && b.used[i-1].end() == r.start:
		b.used[i-1].n += r.n
	case i < len(b.used) && r.end() == b.used[i].start:
		b.used[i].start -= r.n
		b.used[i].n += r.n
	default:
		b.used = slices.Insert(b.used, i, r)
	}
}

// free returns the first free run at or behind from; n is 0 if there is none.
func (b *builder) free(from int64) run {
	for _, u := range b.used {
		if u.end() <= from {
			continue
		}
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
		r.n = min(r.n, n, disk.MaxExtentLen)
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

// extents writes the extent tree's root, with the runs as its leaves, to an inode.
func (b *builder) extents(n *disk.Inode, runs []run) error {
	if len(runs) > disk.RootExtentEntries {
		return fmt.Errorf("%w in one piece", ErrNoRoom)
	}
	h := disk.ExtentHeader{Magic: disk.ExtentMagic, Entries: uint16(len(runs)), Max: disk.RootExtentEntries}
	h.Encode(n.Block[:])
	at := uint32(0)
	for i, r := range runs {
		e := disk.Extent{Block: at, Len: uint32(r.n), Start: uint64(r.start)}
		e.Encode(n.Block[disk.ExtentHeaderSize+i*disk.ExtentSize:])
		at += uint32(r.n)
		n.Blocks += uint64(r.n * b.bs / 512)
	}
	n.Flags |= disk.InodeExtents
	return nil
}
