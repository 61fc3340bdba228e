package check

import "pinhole/fs/ext4/disk"

// sharedBlocks is pass 1b: it finds who claims the blocks that are claimed more than once.
func (c *checker) sharedBlocks() error {
	if c.shared.n == 0 {
		return nil
	}
	buf := make([]byte, max(tableChunk, c.bs))
	for g := range c.groups {
		if err := c.tick(int64(g), int64(len(c.groups))); err != nil {
			return err
		}
		if err := c.eachInode(g, buf, c.sharedOf); err != nil {
			return err
		}
	}
	return nil
}

// sharedOf tells which blocks of one inode are claimed by others as well.
func (c *checker) sharedOf(ino uint32, raw []byte) error {
	if !c.table.kind(ino).inUse() {
		return nil
	}
	var n disk.Inode
	n.Decode(raw)
	look := func(what string, l int64, b, k uint64) error {
		for i := b - c.first; k > 0; {
			for k > 0 && !c.shared.has(i) {
				i, k = i+1, k-1
			}
			run := uint64(0)
			meta := k > 0 && c.meta.has(i)
			for k > 0 && c.shared.has(i) && c.meta.has(i) == meta {
				run, i, k = run+1, i+1, k-1
			}
			if run == 0 {
				break
			}
			prob, who := inInode(BlockShared, ino), "something else"
			if meta {
				prob.Code, who = BlockMetadata, "the file system itself"
			}
			prob.Logical = l
			if err := c.add(prob.onBlock(i-run+c.first), "%d blocks of %s are in use by %s, too", run, what, who); err != nil {
				return err
			}
		}
		return nil
	}
	if b := n.FileACL; b != 0 && c.valid(b) && c.hasCompat(disk.CompatExtAttr) {
		if err := look("attributes", -1, b, 1); err != nil {
			return err
		}
	}
	if ino == disk.ResizeInode || !hasMap(&n) && ino != disk.BadBlocksInode {
		return nil
	}
	m := fileMap{c: c, ino: ino, inode: &n, quiet: true, dir: n.Mode&modeType == modeDir}
	m.node = func(b uint64) (bool, error) {
		if c.shared.has(b - c.first) {
			return false, look("its map", -1, b, 1)
		}
		return true, nil
	}
	m.data = func(l, k, b uint64, _ bool) error {
		if !c.shared.hasAny(b-c.first, k) {
			return nil
		}
		return look("its content", int64(l), b, k)
	}
	return m.walk()
}
