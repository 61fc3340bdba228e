package ext4

import "pinhole/fs/ext4/disk"

// Trees are kept as low and narrow as e2fsck wants them: nodes that have become small join
// a neighbour, and a root's children that fit into the root go there.

// shrinkTree moves what is below the root into it, as far as it fits. A tree that has something to
// expect stays as it is for now, see treereserve.go.
func (n *inode) shrinkTree(h handle) error {
	root := extNode{p: n.d.Block[:]}
	if n.space.expected() > 0 {
		if root.depth() > 0 {
			n.loosened()
		}
		return nil
	}
	for root.depth() > 0 {
		var kids [disk.RootExtentEntries]*buffer
		total, count := 0, root.count()
		var err error
		for i := range count {
			if kids[i], err = n.extentBlock(root.index(i).Child, root.depth()-1); err != nil {
				break
			}
			if total += (extNode{p: kids[i].data}).count(); total > disk.RootExtentEntries {
				break
			}
		}
		if err == nil && total <= disk.RootExtentEntries {
			err = n.pullUp(h, root, kids[:count])
		} else if err == nil {
			count = 0 // too many
		}
		for _, b := range kids {
			n.fs.buffers.put(b)
		}
		if err != nil || count == 0 {
			return err
		}
	}
	return nil
}

// pullUp makes the entries of the root's children the root's own.
func (n *inode) pullUp(h handle, root extNode, kids []*buffer) error {
	depth := root.depth() - 1
	at := disk.ExtentHeaderSize
	clear(root.p[at:])
	for _, b := range kids {
		x := extNode{b, b.data}
		at += copy(root.p[at:], x.p[disk.ExtentHeaderSize:disk.ExtentHeaderSize+x.count()*disk.ExtentSize])
	}
	root.setCount((at - disk.ExtentHeaderSize) / disk.ExtentSize)
	le.PutUint16(root.p[6:], uint16(depth))
	for _, b := range kids {
		if err := n.freeNode(h, b.nr); err != nil {
			return err
		}
	}
	return nil
}

// freeNode frees a node's block.
func (n *inode) freeNode(h handle, nr uint64) error {
	if err := n.fs.freeRun(h, nr, 1); err != nil {
		return err
	}
	h.forget(nr)
	n.addBlocks(-1)
	return nil
}

// mergeNode joins the node at a level of p with a neighbour below the same parent, if both
// fit one block, and so on above. p is not to be used afterwards.
func (n *inode) mergeNode(h handle, p *treePath, level int) error {
	for ; level > 0; level-- {
		x, up, i := p.nodes[level], p.nodes[level-1], p.idx[level-1]
		if x.count() > x.max()/2 {
			return nil
		}
		merged := false
		for _, j := range [2]int{i - 1, i} { // the left one of each pair
			if merged || j < 0 || j+1 >= up.count() {
				continue
			}
			left, right := x, x
			other := j
			if j == i {
				other = j + 1
			}
			b, err := n.extentBlock(up.index(other).Child, x.depth())
			if err != nil {
				return err
			}
			if y := (extNode{b, b.data}); j == i {
				right = y
			} else {
				left = y
			}
			if left.count()+right.count() <= left.max() {
				err = n.joinNodes(h, up, j, left, right)
				merged = true
			}
			n.fs.buffers.put(b)
			if err != nil {
				return err
			}
		}
		if !merged {
			return nil
		}
	}
	return nil
}

// joinNodes moves the entries of right, which entry i+1 of up leads to, behind those of left.
func (n *inode) joinNodes(h handle, up extNode, i int, left, right extNode) error {
	left.access(h)
	up.access(h)
	at := disk.ExtentHeaderSize + left.count()*disk.ExtentSize
	copy(left.p[at:], right.p[disk.ExtentHeaderSize:disk.ExtentHeaderSize+right.count()*disk.ExtentSize])
	left.setCount(left.count() + right.count())
	up.cut(i + 1)
	return n.freeNode(h, right.b.nr)
}
