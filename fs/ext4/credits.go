package ext4

import "pinhole/fs/ext4/disk"

// Upper bounds of the metadata blocks that a handle changes, for begin. The superblock is in each
// of them, since its counts follow every allocation.
const (
	superCredits = 1
	// attrCredits: an inode's fields, in its block of the inode table.
	attrCredits = 1
	// allocCredits: a run of blocks taken or given back, in a bitmap and a descriptor.
	allocCredits = 2
	// newInodeCredits: bitmap, descriptor and table block of an inode.
	newInodeCredits = 3
	// firstBlockCredits: a block of content or attributes for an inode whose tree has room.
	firstBlockCredits = 1 + allocCredits
	// orphanCredits: an inode put on the orphan list or taken off it: the one before it or the
	// superblock, and a block of the orphan file.
	orphanCredits = attrCredits + superCredits + 1
)

// growCredits bounds what appending a block to a directory changes.
func (n *inode) growCredits() int {
	depth := min(int(le.Uint16(n.d.Block[6:])), disk.MaxExtentDepth)
	nodes := n.treeNeed(1) // new ones
	return firstBlockCredits + depth + nodes*(1+allocCredits)
}

// putCredits bounds what entering a name at s changes in the directory, its inode included.
func (n *inode) putCredits(s *slot) int {
	credits := superCredits + attrCredits + 1 // the leaf
	if s.off >= 0 {
		return credits
	}
	// A split adds a leaf, and in the worst case a node at each level and one more level; making a
	// hash tree of a single block does no more. What is split is changed, too.
	levels := 1
	if n.indexed() {
		levels += s.path.n
	}
	return credits + levels + (levels+1)*n.growCredits()
}

// putBlocks bounds how many blocks entering a name at s takes.
func (n *inode) putBlocks(s *slot) int64 {
	if s.off >= 0 {
		return 0
	}
	levels := 1
	if n.indexed() {
		levels += s.path.n
	}
	return int64((levels + 1) * (1 + n.treeNeed(1)))
}
