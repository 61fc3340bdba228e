package check

import (
	"slices"

	"pinhole/fs/ext4/disk"
)

// findDir returns the place of a directory in checker.dirs.
func (c *checker) findDir(ino uint32) (int, bool) {
	return slices.BinarySearchFunc(c.dirs, ino, func(d dirInfo, ino uint32) int {
		switch {
		case d.ino < ino:
			return -1
		case d.ino > ino:
			return 1
		}
		return 0
	})
}

// connect is pass 3: every directory is to be reached from the root, and to know its parent.
func (c *checker) connect() error {
	if i, ok := c.findDir(disk.RootInode); ok {
		c.dirs[i].flags |= dirDone
		c.dirs[i].parent = disk.RootInode
	}
	walks := make([]uint32, len(c.dirs)) // 1 + the directory from which each was first come to
	for i := range c.dirs {
		if i%4096 == 0 {
			if err := c.tick(int64(i), int64(len(c.dirs))); err != nil {
				return err
			}
		}
		d := &c.dirs[i]
		if d.parent != 0 && d.dotdot != d.parent && len(c.dirRuns(i)) > 0 {
			if err := c.add(inInode(DirParent, d.ino), "its \"..\" is inode %d, but it is in directory %d", d.dotdot, d.parent); err != nil {
				return err
			}
		}
		if err := c.climb(i, walks); err != nil {
			return err
		}
	}
	return nil
}

// climb goes up from directory i to the root, or to one from which that was done.
func (c *checker) climb(i int, walks []uint32) error {
	for j := i; c.dirs[j].flags&dirDone == 0; {
		d := &c.dirs[j]
		d.flags |= dirDone
		walks[j] = uint32(i) + 1
		if d.parent == 0 {
			if c.table.kind(d.ino)&kindOrphan != 0 {
				return nil
			}
			return c.add(inInode(DirLost, d.ino), "the directory has no name (its \"..\" is inode %d)", d.dotdot)
		}
		k, ok := c.findDir(d.parent)
		if !ok {
			return nil
		}
		if walks[k] == uint32(i)+1 {
			return c.add(inInode(DirLost, c.dirs[k].ino), "the directory is in itself, some levels down")
		}
		j = k
	}
	return nil
}

// dirRuns returns the runs of a directory.
func (c *checker) dirRuns(i int) []dirRun {
	end := uint32(len(c.runs))
	if i+1 < len(c.dirs) {
		end = c.dirs[i+1].run
	}
	return c.runs[c.dirs[i].run:end]
}
