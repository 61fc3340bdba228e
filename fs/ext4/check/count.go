package check

import (
	"bytes"
	"fmt"
	"strings"

	"pinhole/fs/ext4/disk"
)

// bitmaps is pass 5: bitmaps and counts against what was found.
func (c *checker) bitmaps() error {
	k := counter{c: c, have: make([]byte, c.bs), want: make([]byte, c.bs)}
	for g := range c.groups {
		if g%64 == 0 {
			if err := c.tick(int64(g), int64(len(c.groups))); err != nil {
				return err
			}
		}
		if err := k.blocks(g); err != nil {
			return err
		}
		if err := k.inodes(g); err != nil {
			return err
		}
	}
	c.r.UsedBlocks = c.used.n
	// The journal's replay does not bring the sums home: the mount after it adds them up anew.
	severity := Error
	if c.r.NeedsRecovery && c.o.Replay {
		return nil
	}
	if k.freeBlocks != c.sb.FreeBlocksCount {
		if err := c.add(at(SuperCount).as(severity), "the superblock counts %d free blocks, there are %d", c.sb.FreeBlocksCount, k.freeBlocks); err != nil {
			return err
		}
	}
	if k.freeInodes != uint64(c.sb.FreeInodesCount) {
		return c.add(at(SuperCount).as(severity), "the superblock counts %d free inodes, there are %d", c.sb.FreeInodesCount, k.freeInodes)
	}
	return nil
}

type counter struct {
	c                      *checker
	have, want             []byte
	freeBlocks, freeInodes uint64
	dirs                   int // in checker.dirs, of groups before
}

// blocks checks a group's block bitmap and count.
func (k *counter) blocks(g int) error {
	c, d := k.c, &k.c.groups[g]
	n := c.groupBlocks(g)
	whole := int((n + 7) / 8)
	clear(k.want)
	c.used.bytes(k.want[:whole], uint64(g)*c.perGroup)
	free := n - uint64(countOnes(k.want[:whole]))
	k.freeBlocks += free
	if uint64(d.FreeBlocks) != free {
		if err := c.add(inGroup(GroupCount, g), "the descriptor counts %d free blocks, there are %d", d.FreeBlocks, free); err != nil {
			return err
		}
	}
	if d.Flags&disk.GroupBlockUninit != 0 {
		k.uninitBlocks(g)
	} else {
		if d.blockBitmapBad {
			return nil
		}
		if err := c.read(k.have, d.BlockBitmap); err != nil {
			return err
		}
		if c.csum {
			if err := k.checksum(g, "block", d.BlockBitmap, d.BlockCsum, int(c.perGroup/8)); err != nil {
				return err
			}
		}
		if err := k.padding(g, "block", d.BlockBitmap, n); err != nil {
			return err
		}
	}
	return k.compare(inGroup(BlockBitmap, g).onBlock(d.BlockBitmap), n, c.groupFirst(g), "blocks")
}

// uninitBlocks makes the bitmap of a group without one: its own metadata is in use.
func (k *counter) uninitBlocks(g int) {
	c, d := k.c, &k.c.groups[g]
	clear(k.have)
	first, n := c.groupFirst(g), c.groupBlocks(g)
	mark := func(b, count uint64) {
		if b >= first+n {
			return
		}
		for end := min(b+count, first+n); b < end; b++ {
			if b >= first {
				k.have[(b-first)/8] |= 1 << ((b - first) % 8)
			}
		}
	}
	mark(first, min(c.superBlocks(g), n))
	mark(d.BlockBitmap, 1)
	mark(d.InodeBitmap, 1)
	mark(d.InodeTable, c.tableLen)
}

// inodes checks a group's inode bitmap and counts.
func (k *counter) inodes(g int) error {
	c, d := k.c, &k.c.groups[g]
	n := uint64(c.perTable)
	clear(k.want)
	free := n
	ino := uint32(g)*c.perTable + 1
	for i := uint32(0); i < c.perTable; {
		p, at := c.table.at(ino+i, false)
		step := min(c.perTable-i, inodePiece-at)
		if p != nil {
			for j := range step {
				if p.kind[at+j].inUse() {
					k.want[(i+j)/8] |= 1 << ((i + j) % 8)
					free--
				}
			}
		}
		i += step
	}
	k.freeInodes += free
	dirs := k.dirs
	for dirs < len(c.dirs) && c.dirs[dirs].ino < ino+c.perTable {
		dirs++
	}
	used := uint32(dirs - k.dirs)
	k.dirs = dirs
	if uint64(d.FreeInodes) != free {
		if err := c.add(inGroup(GroupCount, g), "the descriptor counts %d free inodes, there are %d", d.FreeInodes, free); err != nil {
			return err
		}
	}
	if d.UsedDirs != used {
		if err := c.add(inGroup(GroupCount, g), "the descriptor counts %d directories, there are %d", d.UsedDirs, used); err != nil {
			return err
		}
	}
	if d.Flags&disk.GroupInodeUninit != 0 {
		clear(k.have)
	} else {
		if d.inodeBitmapBad {
			return nil
		}
		if err := c.read(k.have, d.InodeBitmap); err != nil {
			return err
		}
		if c.csum {
			if err := k.checksum(g, "inode", d.InodeBitmap, d.InodeCsum, int(c.perTable/8)); err != nil {
				return err
			}
		}
		if err := k.padding(g, "inode", d.InodeBitmap, n); err != nil {
			return err
		}
	}
	return k.compare(inGroup(InodeBitmap, g).onBlock(d.InodeBitmap), n, uint64(ino), "inodes")
}

func (k *counter) checksum(g int, what string, b uint64, have uint32, n int) error {
	want := disk.BitmapChecksum(k.c.seed, k.have, n)
	if k.c.sb.DescriptorSize() < disk.MinDescSize64 {
		want &= 0xffff
	}
	if have == want {
		return nil
	}
	return k.c.add(inGroup(BitmapChecksum, g).onBlock(b), "the %s bitmap has checksum %#08x in the descriptor, should have %#08x", what, have, want)
}

// padding checks that what is behind the n bits of a bitmap is set.
func (k *counter) padding(g int, what string, b, n uint64) error {
	for i := n; i < uint64(k.c.bs)*8; i++ {
		if i%8 == 0 && k.have[i/8] == 0xff {
			i += 7
		} else if k.have[i/8]&(1<<(i%8)) == 0 {
			return k.c.add(inGroup(BitmapPadding, g).onBlock(b), "the %s bitmap's bits behind the last are not set", what)
		}
	}
	return nil
}

// compare tells where the first n bits of have and want differ.
func (k *counter) compare(prob Problem, n, first uint64, what string) error {
	// The bits behind the last are someone else's matter.
	for i := n; i%8 != 0; i++ {
		k.have[i/8] &^= 1 << (i % 8)
		k.want[i/8] &^= 1 << (i % 8)
	}
	whole := (n + 7) / 8
	if bytes.Equal(k.have[:whole], k.want[:whole]) {
		return nil
	}
	for _, set := range [...]struct {
		a, b []byte
		text string
	}{
		{k.want, k.have, "%d %s are in use, but free in the bitmap: %s"},
		{k.have, k.want, "%d %s are in use in the bitmap, but nothing has them: %s"},
	} {
		if count, where := difference(set.a, set.b, n, first); count > 0 {
			if err := k.c.add(prob, set.text, count, what, where); err != nil {
				return err
			}
		}
	}
	return nil
}

// difference counts the bits that are in a, not in b, and lists the first runs of them.
func difference(a, b []byte, n, first uint64) (count uint64, where string) {
	const most = 8
	var out strings.Builder
	runs := 0
	for i := uint64(0); i < n; {
		if a[i/8]&^b[i/8]&(1<<(i%8)) == 0 {
			i++
			continue
		}
		start := i
		for i < n && a[i/8]&^b[i/8]&(1<<(i%8)) != 0 {
			i++
		}
		count += i - start
		switch runs++; {
		case runs > most+1:
		case runs > most:
			out.WriteString(", ...")
		default:
			if runs > 1 {
				out.WriteString(", ")
			}
			fmt.Fprint(&out, first+start)
			if i-start > 1 {
				fmt.Fprintf(&out, "-%d", first+i-1)
			}
		}
	}
	return count, out.String()
}
