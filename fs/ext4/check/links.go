package check

import "pinhole/fs/ext4/disk"

// maxLinks is how many links a file can have; a directory with more says 1.
const maxLinks = 65000

// linkCounts is pass 4.
func (c *checker) linkCounts() error {
	for n, p := range c.table.pieces {
		if p == nil {
			continue
		}
		if err := c.tick(int64(n), int64(len(c.table.pieces))); err != nil {
			return err
		}
		for i := range p.kind {
			k := p.kind[i]
			if k.inUse() {
				c.r.UsedInodes++
			}
			if k&kindType == 0 || k&kindReserved != 0 {
				continue
			}
			ino := uint32(n)*inodePiece + uint32(i) + 1
			names, links := c.table.names(p, uint32(i), ino), uint32(p.links[i])
			switch {
			case k&kindOrphan != 0 && links == 0 && (names == 0 || k.isDir()):
				// It is deleted at the next mount; a directory has lost the names in it, too.
			case names == 0:
				if err := c.add(inInode(FileLost, ino), "it is in use, but has no name"); err != nil {
					return err
				}
			case k.isDir() && names > maxLinks && c.hasROCompat(disk.ROCompatDirNlink) && links == 1,
				k.isDir() && names > 1 && links == 1 && c.isIndexed(ino):
			case names != links:
				if err := c.add(inInode(LinkCount, ino), "it has %d links, but counts %d", names, links); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c *checker) isIndexed(ino uint32) bool {
	i, ok := c.findDir(ino)
	return ok && c.dirs[i].flags&dirIndexed != 0
}
