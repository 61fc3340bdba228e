package ext4

import "pinhole/fs/ext4/disk"

// freeIndirect frees all blocks of a file without extents.
func (n *inode) freeIndirect(h handle) error {
	var failed error
	w := indirectWalk{
		n: n,
		each: func(_, home uint64) bool {
			failed = n.fs.freeRun(h, home, 1)
			if failed == nil && !n.isRegular() {
				h.forget(home)
			}
			return failed == nil
		},
	}
	var nodes []uint64
	w.node = func(home uint64) { nodes = append(nodes, home) }
	complete, err := w.walk()
	if err == nil {
		err = failed
	}
	if err == nil && !complete {
		err = n.fs.corruptInode(n.ino, "more than %d indirect blocks", maxIndirectNodes)
	}
	for _, nr := range nodes {
		if err != nil {
			return err
		}
		err = n.fs.freeRun(h, nr, 1)
		h.forget(nr)
	}
	if err == nil {
		clear(n.d.Block[:])
		n.d.Blocks = 0
		if n.d.FileACL != 0 {
			n.addBlocks(1)
		}
		n.runs = runList{}
	}
	return err
}

// indirectCredits returns how many blocks may change when all blocks of a file without extents are freed,
// or when it is given an extent tree.
func (n *inode) indirectCredits() (int, error) {
	nodes := 0
	groups := make(map[uint32]bool)
	note := func(home uint64) {
		if n.fs.validBlocks(home, 1) {
			g, _ := n.fs.groupOf(home)
			groups[g] = true
		}
	}
	w := indirectWalk{
		n:    n,
		each: func(_, home uint64) bool { note(home); return true },
		node: func(home uint64) { note(home); nodes++ },
	}
	if _, err := w.walk(); err != nil {
		return 0, err
	}
	if err := n.loadRuns(); err != nil {
		return 0, err
	}
	tree := 2 * len(n.runs.list) / disk.ExtentBlockMax(n.fs.bs)
	return 16 + 2*len(groups) + nodes + 3*tree, nil
}

// convert gives a file without extents an extent tree, for who holds no lock.
func (n *inode) convert() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hasExtents() {
		return nil
	}
	credits, err := n.indirectCredits()
	if err != nil {
		return err
	}
	h, err := n.fs.begin(credits)
	if err != nil {
		return err
	}
	defer h.end()
	if err := h.inode(n); err != nil {
		return err
	}
	n.touched(h, true)
	return n.toExtents(h)
}

// toExtents gives a file without extents an extent tree, so that it can be changed.
func (n *inode) toExtents(h handle) error {
	if n.d.Flags&disk.InodeExtents != 0 {
		return nil
	}
	if !n.fs.hasExtents {
		return errNoExtents
	}
	if err := n.loadRuns(); err != nil {
		return err
	}
	if n.runs.big {
		return errNoExtents
	}
	var nodes []uint64
	w := indirectWalk{n: n, each: func(_, _ uint64) bool { return true }, node: func(home uint64) { nodes = append(nodes, home) }}
	if complete, err := w.walk(); err != nil || !complete {
		if err == nil {
			err = errNoExtents
		}
		return err
	}
	old := n.d
	list := n.runs.list
	n.d.Block = [disk.BlockAreaSize]byte{}
	n.initExtents()
	n.runs = runList{}
	var pool blockPool
	for _, r := range list {
		need, err := n.pathNeed(r.block, 1)
		need += int(r.n / disk.MaxExtentLen) // entries, of which each may take a block
		if err == nil {
			err = n.raiseTree(0, need)
		}
		if err == nil {
			err = pool.fill(h, n, need)
		}
		if err == nil {
			err = n.insertRun(h, r, &pool)
		}
		if err != nil {
			// The new tree's blocks are given back with the pool's; the inode is as before.
			pool.drain(h)
			n.settleTree()
			n.dropTree(h)
			n.d = old
			n.runs = runList{list: list}
			return err
		}
	}
	pool.drain(h)
	n.settleTree()
	for _, nr := range nodes {
		if err := n.fs.freeRun(h, nr, 1); err != nil {
			return err
		}
		h.forget(nr)
		n.addBlocks(-1)
	}
	return nil
}

// dropTree frees the blocks of n's extent tree, but not those that it maps.
func (n *inode) dropTree(h handle) {
	var free func(x extNode)
	free = func(x extNode) {
		for i := range x.count() {
			if x.depth() == 0 {
				return
			}
			child := x.index(i).Child
			if b, err := n.extentBlock(child, x.depth()-1); err == nil {
				free(extNode{b, b.data})
				n.fs.buffers.put(b)
				if n.fs.freeRun(h, child, 1) == nil {
					h.forget(child)
				}
			}
		}
	}
	free(extNode{p: n.d.Block[:]})
}
