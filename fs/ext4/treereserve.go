package ext4

import (
	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

// The blocks that an extent tree takes come out of its inode's reservation.tree, always; who needs
// more than is there puts it there first, out of the free space. The invariant is: whatever happens,
//
//	tree >= the most blocks that entering the expected extents can take,
//
// wherever they lie, one extent for each block of content. Why it holds:
//
// Call a node with m entries of room full. A full node is split in the middle, so that each half has
// room for about m/2 more; only the last node of a level keeps its entries when something comes behind
// them, and gets an empty neighbour (splitNode). Let t be ceil(m/2)+1, the most that a half has with the
// new entry, and weigh each node with the number of its entries above t, the last one of a level twice.
// An entry adds no more than 2 to the weight of a level, and a split takes m-t away. So x entries
// make no more than (weight + 2x)/(m-t) splits, and no more than x; these are the entries of
// the level above. Call the sum P(tree, x).
//
//   - P covers the worst case and is consistent: when an entry has taken u blocks, P(tree after, x-1) <=
//     P(tree before, x) - u. So what is left of a reservation that was enough remains enough. This
//     needs no look at the tree: the blocks are simply deducted.
//   - treeBound is an upper bound of P that is known from the root alone. Reserving it for all that is
//     expected is enough at any time, and what is reserved beyond it may be given back (settleTree).
//   - Entries of other making (fallocate, a hole in the middle of an extent, unwritten
//     blocks that become written) first raise the reservation to treeBound for so many more (raiseTree).
//   - Taking entries away can make P larger: nodes that join are fuller than they were. But the root does
//     not grow, so treeBound does not. Whoever cuts has reserved as much first (raiseTree with no
//     more), and nobody else joins nodes of a tree that has something to expect: that can wait
//     (compactTrees).
//
// Without anything to expect, nothing is kept, and what is done to the tree takes what it needs at that
// moment (pathNeed), so that a disk can be filled to the last block.

// treeBound returns how many blocks n's tree may need for as many more extents: P for the heaviest tree
// that has n's root.
func (n *inode) treeBound(extents int64) int64 {
	if extents == 0 || !n.hasExtents() {
		return 0
	}
	return treeBound(int(le.Uint16(n.d.Block[6:])), int64(le.Uint16(n.d.Block[2:])), int64(disk.ExtentBlockMax(n.fs.bs)), extents)
}

// treeBound is inode.treeBound for a root with entries at depth, and nodes of size entries.
func treeBound(depth int, entries, size, extents int64) int64 {
	light := size - (size+1)/2 - 1 // m-t
	sum, x := int64(0), extents
	for level := depth; level > 0; level-- {
		nodes := entries // at most
		for range level - 1 {
			if nodes > x {
				break // x it is
			}
			nodes *= size
		}
		x = min(x, nodes+1+2*x/light)
		sum += x
	}
	for entries+x > disk.RootExtentEntries {
		// The root's entries move to a node, which is light.
		x = min(x, 2*x/light)
		sum += 1 + x
		entries = 1
	}
	return sum
}

// raiseTree makes sure that more entries can be added to n's tree, besides those that are expected: at
// least need blocks are reserved for it afterwards. It returns ENOSPC if there are too few. The caller
// settles the tree when it is done.
func (n *inode) raiseTree(more int64, need int) error {
	r := &n.space
	want := int64(need)
	if x := r.expected(); x > 0 {
		want = max(want, n.treeBound(x+more))
	}
	if want <= r.tree {
		return nil
	}
	k := n.fs.takeSpace(want-r.tree, want-r.tree, 0)
	if k == 0 {
		return abi.ENOSPC
	}
	r.tree += k
	return nil
}

// settleTree gives back what the tree cannot need, after the tree or what is expected has changed.
func (n *inode) settleTree() {
	r := &n.space
	if k := r.tree - n.treeBound(r.expected()); k > 0 {
		r.tree -= k
		n.fs.giveSpace(k)
	}
}

// pathNeed returns how many blocks the insertion of up to count entries at block may take, as the tree
// is. They may be as many as three, in a row.
func (n *inode) pathNeed(block uint32, count int) (int, error) {
	root := extNode{p: n.d.Block[:]}
	need := 0
	if root.depth() > 0 {
		var p treePath
		defer p.release(n.fs)
		if err := n.findLeaf(&p, block); err != nil {
			return 0, err
		}
		// What a node has room for does not split it. Each one more may: the middle of a full node
		// may be where the next one goes, too.
		for level := p.n - 1; level > 0 && count > 0; level-- {
			x := p.nodes[level]
			count = max(count-(x.max()-x.count()), 0)
			need += count
		}
	}
	if count > 0 && root.count()+count > root.max() {
		need++ // a new level
	}
	return need, nil
}
