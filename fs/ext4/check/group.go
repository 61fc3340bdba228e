package check

import (
	"fmt"

	"pinhole/fs/ext4/disk"
)

// group is a descriptor, and what of it can be used.
type group struct {
	disk.Group
	blockBitmapBad, inodeBitmapBad, tableBad bool
}

// descriptorBlock returns where block i of the descriptor table is.
func (c *checker) descriptorBlock(i uint64) uint64 {
	if !c.metaBG || i < uint64(c.sb.FirstMetaBG) {
		return c.first + 1 + i
	}
	per := uint64(c.bs / c.sb.DescriptorSize())
	g := int(i * per)
	b := c.groupFirst(g)
	if c.sb.HasSuper(uint32(g)) {
		b++
	}
	return b
}

// descriptors reads the descriptor table.
func (c *checker) descriptors() error {
	size := c.sb.DescriptorSize()
	per := uint64(c.bs / size)
	count := c.sb.GroupCount()
	var last uint64
	if !c.metaBG {
		last = c.first + c.gdtLen
	}
	if last >= c.blocks {
		return c.add(at(SuperValue).as(Fatal), "%d groups need a descriptor table of %d blocks, which do not fit", count, c.gdtLen)
	}
	for g := uint64(0); g < count; g++ {
		if g%per == 0 {
			b := c.descriptorBlock(g / per)
			if !c.valid(b) {
				return c.add(at(SuperValue).as(Fatal), "block %d of the descriptor table is at %d, which is not on the device", g/per, b)
			}
			if err := c.read(c.block, b); err != nil {
				return err
			}
			if err := c.tick(0, int64(count)); err != nil {
				return err
			}
		}
		raw := c.block[g%per*uint64(size):][:size]
		var d group
		d.Decode(raw)
		if !c.gdtCsum {
			// Without checksums the flags do not mean anything.
			if d.Flags&(disk.GroupInodeUninit|disk.GroupBlockUninit) != 0 || d.ItableUnused != 0 {
				if err := c.add(inGroup(GroupFlags, int(g)), "parts of the group are said to be unused, which needs checksums of descriptors"); err != nil {
					return err
				}
			}
			d.Flags, d.ItableUnused = 0, 0
		} else if want := c.sb.GroupChecksum(uint32(g), raw); d.Checksum != want {
			if err := c.add(inGroup(GroupChecksum, int(g)), "the descriptor's checksum is %#04x, should be %#04x", d.Checksum, want); err != nil {
				return err
			}
			// What it says is not used may be.
			d.Flags, d.ItableUnused = 0, 0
		}
		if g == count-1 && d.Flags&disk.GroupBlockUninit != 0 {
			if err := c.add(inGroup(GroupFlags, int(g)), "the last group has no block bitmap, which it must, for its end may be missing"); err != nil {
				return err
			}
			d.Flags &^= disk.GroupBlockUninit
		}
		c.groups = append(c.groups, d)
		if err := c.places(int(g)); err != nil {
			return err
		}
	}
	// Only now, for a superblock can claim any number of groups, but a table of as many is on the device.
	for _, set := range [...]*blockSet{&c.used, &c.meta, &c.shared, &c.xattrs.seen} {
		set.init(c.blocks - c.first)
	}
	c.table.init(c.inodes)
	return nil
}

// superGroups returns the groups but the first that have a copy of the superblock, most of them at most.
func (c *checker) superGroups(most int) (groups []int) {
	for g := 1; g < len(c.groups) && len(groups) < most; g++ {
		if c.sb.HasSuper(uint32(g)) {
			groups = append(groups, g)
		}
	}
	return groups
}

// places checks where a group's metadata is said to be.
func (c *checker) places(g int) error {
	d := &c.groups[g]
	low, high := c.groupFirst(g), c.groupFirst(g)+c.groupBlocks(g)
	if c.hasIncompat(disk.IncompatFlexBG) {
		low, high = c.first, c.blocks
	}
	for _, p := range [...]struct {
		name  string
		b, n  uint64
		wrong *bool
	}{
		{"block bitmap", d.BlockBitmap, 1, &d.blockBitmapBad},
		{"inode bitmap", d.InodeBitmap, 1, &d.inodeBitmapBad},
		{"inode table", d.InodeTable, c.tableLen, &d.tableBad},
	} {
		if p.b < low || p.b >= high || p.n > high-p.b || p.b == 0 {
			*p.wrong = true
			if err := c.add(inGroup(GroupPlace, g).onBlock(p.b), "the %s is at block %d, must be from %d to %d", p.name, p.b, low, high-p.n); err != nil {
				return err
			}
		}
	}
	if d.ItableUnused > c.perTable {
		if err := c.add(inGroup(GroupCount, g), "%d inodes are said to be unused, of %d", d.ItableUnused, c.perTable); err != nil {
			return err
		}
		d.ItableUnused = 0
	}
	return nil
}

// superBlocks returns how many blocks at the start of group g are the superblock's copy, the
// descriptors and what is reserved for more of them.
func (c *checker) superBlocks(g int) (n uint64) {
	has := c.sb.HasSuper(uint32(g))
	if has {
		n = 1
	}
	per := uint64(c.bs / c.sb.DescriptorSize())
	meta := uint64(g) / per
	if c.metaBG && meta >= uint64(c.sb.FirstMetaBG) {
		if k := uint64(g) % per; k == 0 || k == 1 || k == per-1 {
			n++
		}
		return n
	}
	if has {
		n += min(c.gdtLen, c.firstMeta()) + uint64(c.sb.ReservedGDT)
	}
	return n
}

// firstMeta returns how many blocks of the descriptor table follow each superblock.
func (c *checker) firstMeta() uint64 {
	if c.metaBG {
		return uint64(c.sb.FirstMetaBG)
	}
	return c.gdtLen
}

// metadata claims the blocks of the file system's own metadata.
func (c *checker) metadata() error {
	claim := func(g int, what string, b, n uint64, wrong *bool) error {
		var err error
		c.meta.add(b-c.first, n, func(uint64, uint64) {})
		c.used.add(b-c.first, n, func(i, k uint64) {
			if wrong != nil {
				*wrong = true
			}
			if err == nil {
				err = c.add(inGroup(GroupOverlap, g).onBlock(i+c.first), "the %s lies on other metadata", what)
			}
		})
		return err
	}
	for g := range c.groups {
		n := c.superBlocks(g)
		if n > c.groupBlocks(g) {
			if err := c.add(inGroup(GroupOverlap, g), "%d blocks of descriptors do not fit", n); err != nil {
				return err
			}
			n = c.groupBlocks(g)
		}
		if n > 0 {
			if err := claim(g, "superblock", c.groupFirst(g), n, nil); err != nil {
				return err
			}
		}
	}
	for g := range c.groups {
		d := &c.groups[g]
		for _, p := range [...]struct {
			name  string
			b, n  uint64
			wrong *bool
		}{
			{"inode table", d.InodeTable, c.tableLen, &d.tableBad},
			{"block bitmap", d.BlockBitmap, 1, &d.blockBitmapBad},
			{"inode bitmap", d.InodeBitmap, 1, &d.inodeBitmapBad},
		} {
			if *p.wrong {
				continue
			}
			if err := claim(g, p.name, p.b, p.n, p.wrong); err != nil {
				return err
			}
		}
		if g%1024 == 0 {
			if err := c.tick(0, int64(len(c.groups))); err != nil {
				return err
			}
		}
	}
	return nil
}

// inodeAt returns where inode ino is on the device, in bytes; ok is false if its table is not usable.
func (c *checker) inodeAt(ino uint32) (off int64, ok bool) {
	g, i := (ino-1)/c.perTable, (ino-1)%c.perTable
	d := &c.groups[g]
	return int64(d.InodeTable)<<c.bits + int64(i)*int64(c.isize), !d.tableBad
}

// readInode reads one inode, outside of the scan.
func (c *checker) readInode(ino uint32) (raw []byte, n disk.Inode, err error) {
	off, ok := c.inodeAt(ino)
	if !ok {
		return nil, n, nil
	}
	raw = make([]byte, c.isize)
	if err := c.dev.ReadAt(raw, off); err != nil {
		return nil, n, fmt.Errorf("inode %d: %w", ino, err)
	}
	n.Decode(raw)
	return raw, n, nil
}
