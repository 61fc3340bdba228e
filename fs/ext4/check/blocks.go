package check

import (
	"pinhole/fs/ext4/disk"
)

// inodeBlocks checks what an inode says about its blocks against the blocks it has.
func (c *checker) inodeBlocks(ino uint32, raw []byte, n *disk.Inode) error {
	blocks, err := c.xattrBlock(ino, n)
	if err != nil {
		return err
	}
	dir := n.Mode&modeType == modeDir
	// An inode of the file system's own may say that it is a directory, too.
	listed := len(c.dirs) > 0 && c.dirs[len(c.dirs)-1].ino == ino
	nodes := 0 // of the resize inode
	last, lastInit := int64(-1), int64(-1)
	m := fileMap{c: c, ino: ino, inode: n, dir: dir, seed: c.inodeSeed(ino, n.Generation)}
	m.node = func(b uint64) (bool, error) {
		blocks++
		if ino == disk.ResizeInode && b != uint64(le.Uint32(n.Block[4*(disk.DirectBlocks+1):])) {
			// But for the first indirect block, its blocks are the groups', and there are not more of them than
			// that one can list.
			nodes++
			return nodes <= c.bs/4, nil
		}
		again, err := c.claim(b, 1)
		return !again, err
	}
	m.data = func(l, k, b uint64, unwritten bool) error {
		blocks += k
		last = int64(l + k - 1)
		if !unwritten {
			lastInit = last
		}
		if ino == disk.ResizeInode {
			return nil
		}
		again, err := c.claim(b, k)
		if listed {
			c.addRun(l, k, b, again)
		}
		return err
	}
	if hasMap(n) || ino < c.sb.FirstIno && n.Flags&disk.InodeExtents == 0 && n.Mode != 0 {
		if err := m.walk(); err != nil {
			return err
		}
		if l := m.loose(); l >= 0 {
			if err := c.add(inInode(ExtentLoose, ino).as(Note), "level %d of the extent tree could be smaller", l); err != nil {
				return err
			}
		}
	}
	if n.Flags&disk.InodeIndex != 0 {
		switch {
		case !dir:
			err = c.add(inInode(InodeFlags, ino), "it has a flag for a hash tree, but is not a directory")
		case !c.hasCompat(disk.CompatDirIndex):
			err = c.add(inInode(InodeFlags, ino), "it has a flag for a hash tree, but the file system has none")
		case listed:
			c.dirs[len(c.dirs)-1].flags |= dirIndexed
		}
		if err != nil {
			return err
		}
	}
	if dir && blocks == 0 {
		if err := c.add(inInode(InodeNoBlocks, ino), "the directory has no block"); err != nil {
			return err
		}
	}
	if c.table.kind(ino)&kindOrphan == 0 || n.Links == 0 && dir {
		if err := c.inodeSize(ino, n, last, lastInit); err != nil {
			return err
		}
	}
	return c.inodeCount(ino, raw, n, blocks)
}

// inodeSize checks i_size against the last block of the file, and the last that is written.
func (c *checker) inodeSize(ino uint32, n *disk.Inode, last, lastInit int64) error {
	size, bs := n.Size, uint64(c.bs)
	type_ := n.Mode & modeType
	if type_ == modeLnk {
		return nil
	}
	why := ""
	if type_ == modeDir {
		blocks := uint32(size >> c.bits)
		switch {
		case size&(bs-1) != 0:
			why = "not whole blocks"
		case uint64(blocks) > uint64(last+1):
			why = "more than its blocks"
		case uint64(blocks) < uint64(last+1):
			why = "less than its blocks"
		}
	} else {
		extents := n.Flags&disk.InodeExtents != 0 && c.hasIncompat(disk.IncompatExtents)
		per := bs / 4
		switch {
		case lastInit >= 0 && size < uint64(lastInit)*bs && n.Flags&disk.InodeVerity == 0:
			why = "less than its blocks"
		case !extents && size > (disk.DirectBlocks+per+per*per+per*per*per)*bs:
			why = "more than indirect blocks can map"
		case extents && size > 1<<(32+c.bits)-1:
			why = "more than extents can map"
		}
	}
	if why != "" {
		return c.add(inInode(InodeSize, ino), "its size is %d bytes, which is %s: the last block is %d", size, why, last)
	}
	if type_ == modeReg && size > 1<<31-1 && !c.hasROCompat(disk.ROCompatLargeFile) {
		return c.add(inInode(SuperFeatures, ino), "its size is %d bytes, but the file system has no large files", size)
	}
	return nil
}

// inodeCount checks i_blocks.
func (c *checker) inodeCount(ino uint32, raw []byte, n *disk.Inode, blocks uint64) error {
	have := n.Blocks
	huge := false
	if !c.hasROCompat(disk.ROCompatHugeFile) {
		have &= 1<<32 - 1
	} else {
		huge = n.Flags&disk.InodeHugeFile != 0
	}
	want := blocks
	if !huge {
		want *= uint64(c.bs / 512)
	}
	if want != have || huge && le.Uint16(raw[offBlocksHigh:]) != 0 {
		return c.add(inInode(InodeBlocks, ino), "i_blocks is %d, should be %d", have, want)
	}
	return nil
}
