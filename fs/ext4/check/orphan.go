package check

import "pinhole/fs/ext4/disk"

// orphans finds the inodes that the next mount deletes or truncates.
func (c *checker) orphans() error {
	if err := c.orphanFile(); err != nil {
		return err
	}
	if !c.o.Replay {
		if c.sb.LastOrphan != 0 {
			return c.add(at(OrphanPending).as(Note), "files are to be deleted at the next mount")
		}
		return nil
	}
	for ino, prev := c.sb.LastOrphan, uint32(0); ino != 0; {
		prob := inInode(OrphanList, ino)
		if ino > c.inodes || ino < c.sb.FirstIno {
			return c.add(prob, "the list of orphans has an inode that cannot be in it, behind inode %d", prev)
		}
		if c.table.kind(ino)&kindOrphan != 0 {
			return c.add(prob, "the list of orphans has an inode twice")
		}
		raw, n, err := c.readInode(ino)
		if err != nil || raw == nil {
			return err
		}
		if n.Mode == 0 {
			return c.add(prob, "the list of orphans has an inode that is not in use")
		}
		c.orphan(ino)
		prev, ino = ino, n.Dtime
		if c.r.Orphans%1024 == 0 {
			if err := c.tick(0, 0); err != nil {
				return err
			}
		}
	}
	if c.r.Orphans > 0 {
		return c.add(at(OrphanPending).as(Note), "%d files are to be deleted or truncated at the next mount", c.r.Orphans)
	}
	return nil
}

func (c *checker) orphan(ino uint32) {
	c.table.mark(ino, kindOrphan)
	c.r.Orphans++
}

// orphanFile checks the orphan file, and takes the orphans from it.
func (c *checker) orphanFile() error {
	ino := c.sb.OrphanFileInum
	if !c.hasCompat(disk.CompatOrphanFile) {
		return nil
	}
	prob := inInode(OrphanFile, ino)
	if ino == 0 || ino > c.inodes {
		return c.add(prob, "the orphan file's inode does not exist")
	}
	raw, n, err := c.readInode(ino)
	if err != nil || raw == nil {
		return err
	}
	if n.Mode&modeType != modeReg || n.Size == 0 || n.Size&uint64(c.bs-1) != 0 {
		return c.add(prob, "the orphan file is not a regular file of whole blocks (mode %#o, %d bytes)", n.Mode, n.Size)
	}
	const maxRuns = 1 << 16
	runs, ok, err := c.fileRuns(ino, &n, maxRuns)
	if err != nil {
		return err
	}
	next := uint64(0)
	for _, r := range runs {
		ok = ok && r.logical == next
		next = r.logical + r.n
	}
	if !ok || next != n.Size>>c.bits {
		return c.add(prob, "the orphan file has a hole, or a block more than once")
	}
	seed := c.inodeSeed(ino, n.Generation)
	entries := 0
	for _, r := range runs {
		for i := range r.n {
			if i%1024 == 0 {
				if err := c.tick(0, 0); err != nil {
					return err
				}
			}
			k, err := c.orphanBlock(prob.logical(r.logical+i).onBlock(r.block+i), seed)
			if err != nil {
				return err
			}
			entries += k
		}
	}
	if entries == 0 && c.hasROCompat(disk.ROCompatOrphanPresent) && !c.o.Replay {
		return c.add(prob, "the superblock says that the orphan file is in use, but it is empty")
	}
	return nil
}

// orphanBlock checks one block of the orphan file, and returns how many slots are taken.
func (c *checker) orphanBlock(prob Problem, seed uint32) (entries int, err error) {
	p := c.block
	if err := c.read(p, prob.Block); err != nil {
		return 0, err
	}
	if !disk.HasOrphanTail(p) {
		return 0, c.add(prob, "a block of the orphan file has no magic number")
	}
	if c.csum {
		if have, want := disk.StoredOrphanChecksum(p), disk.OrphanChecksum(seed, prob.Block, p); have != want {
			return 0, c.add(prob, "a block of the orphan file has checksum %#08x, should have %#08x", have, want)
		}
	}
	for i := range disk.OrphanSlots(c.bs) {
		ino := disk.OrphanSlot(p, i)
		if ino == 0 {
			continue
		}
		entries++
		if !c.hasROCompat(disk.ROCompatOrphanPresent) {
			return 1, c.add(prob, "the orphan file has inode %d, but the superblock says it is empty", ino)
		}
		if !c.o.Replay {
			return 1, c.add(prob.as(Note), "files are to be deleted at the next mount")
		}
		if ino > c.inodes || ino < c.sb.FirstIno || ino == c.sb.OrphanFileInum {
			if err := c.add(prob, "the orphan file has inode %d, which cannot be in it", ino); err != nil {
				return 0, err
			}
			continue
		}
		if c.table.kind(ino)&kindOrphan != 0 {
			if err := c.add(prob, "the orphan file has inode %d twice", ino); err != nil {
				return 0, err
			}
			continue
		}
		raw, n, err := c.readInode(ino)
		if err != nil {
			return 0, err
		}
		if raw == nil || n.Mode == 0 {
			if err := c.add(prob, "the orphan file has inode %d, which is not in use", ino); err != nil {
				return 0, err
			}
			continue
		}
		c.orphan(ino)
	}
	return entries, nil
}
