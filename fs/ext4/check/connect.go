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
	var path []int
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
		// Up to one that is known.
		path = path[:0]
		for j := i; c.dirs[j].flags&dirDone == 0; {
			up := &c.dirs[j]
			up.flags |= dirDone // a loop comes back here
			path = append(path, j)
			orphan := c.table.kind(up.ino)&kindOrphan != 0
			if up.parent == 0 {
				if !orphan {
					if err := c.add(inInode(DirLost, up.ino), "the directory has no name (its \"..\" is inode %d)", up.dotdot); err != nil {
						return err
					}
				}
				break
			}
			k, ok := c.findDir(up.parent)
			if !ok {
				break
			}
			if slices.Contains(path, k) {
				if err := c.add(inInode(DirLost, c.dirs[k].ino), "the directory is in itself, %d levels down", len(path)-slices.Index(path, k)); err != nil {
					return err
				}
				break
			}
			j = k
		}
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
