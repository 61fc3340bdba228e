package check

import (
	"pinhole/fs/ext4/disk"
)

// resizeInode checks the file that holds the blocks kept for more descriptors: its double indirect
// block has, at the place of each block of the table to come, that block in group 0, which is an
// indirect block of the same in all groups with a copy of the superblock.
func (c *checker) resizeInode() error {
	raw, n, err := c.readInode(disk.ResizeInode)
	if err != nil || raw == nil {
		return err
	}
	reserved := uint64(c.sb.ReservedGDT)
	if !c.hasCompat(disk.CompatResizeInode) {
		if reserved != 0 {
			if err := c.add(at(ResizeInode), "%d blocks are reserved for descriptors, but the file system has no resize inode", reserved); err != nil {
				return err
			}
		}
		if n.Blocks != 0 || !allZero(n.Block[:]) {
			return c.add(inInode(ResizeInode, disk.ResizeInode), "it is in use, but the file system has no resize inode")
		}
		return nil
	}
	prob := inInode(ResizeInode, disk.ResizeInode)
	const dindAt = 4 * (disk.DirectBlocks + 1)
	dind := uint64(le.Uint32(n.Block[dindAt:]))
	rest := n.Block
	clear(rest[dindAt:][:4])
	if !allZero(rest[:]) || n.Links == 0 || n.Mode&modeType != modeReg || !c.valid(dind) {
		return c.add(prob, "it is not a file with a double indirect block alone")
	}
	p := make([]byte, c.bs)
	if err := c.read(p, dind); err != nil {
		return err
	}
	per := uint64(c.bs / 4)
	ind := make([]byte, c.bs)
	expect := make([]byte, c.bs)
	copies := c.superGroups(int(per))
	for i := range reserved {
		off := (c.gdtLen + i) % per
		b := c.first + 1 + c.gdtLen + i
		if have := uint64(le.Uint32(p[4*off:])); have != b {
			return c.add(prob.onBlock(dind), "entry %d of the double indirect block is %d, should be %d", off, have, b)
		}
		if !c.valid(b) {
			return c.add(prob, "the reserved blocks do not fit")
		}
		if err := c.read(ind, b); err != nil {
			return err
		}
		clear(expect)
		for k, g := range copies {
			le.PutUint32(expect[4*k:], uint32(b+uint64(g)*c.perGroup))
		}
		if string(ind) != string(expect) {
			return c.add(prob.onBlock(b), "the indirect block does not list the copies of block %d of the table", c.gdtLen+i)
		}
	}
	return nil
}
