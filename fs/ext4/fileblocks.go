package ext4

// goal returns where on the device block of the file should lie: behind what comes before
// it in the file, else in the inode's group, where the group's last allocation ended.
func (n *inode) goal(block uint32) uint64 {
	if n.runs.big && n.hasExtents() {
		var p treePath
		defer p.release(n.fs)
		if n.findLeaf(&p, block) == nil {
			leaf := p.leaf()
			e := leaf.extent(max(leaf.lastStartingBy(block), 0))
			return e.start() + uint64(block) - uint64(e.block)
		}
	}
	if n.runsReady.Load() && !n.runs.big && len(n.runs.list) > 0 {
		i := n.runs.find(block)
		if i > 0 {
			r := n.runs.list[i-1]
			return r.start() + uint64(block-r.block)
		}
		r := n.runs.list[0]
		if back := uint64(r.block - min(block, r.block)); r.start() > back {
			return r.start() - back
		}
	}
	g := (n.ino - 1) / n.fs.inodesPerGroup
	return n.fs.groupStart(g) + uint64(n.fs.groups[g].nextBlockHint())
}

// nextBlockHint returns where the group's last allocation ended. It may be out of date.
func (g *group) nextBlockHint() uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.nextBlock
}

// fillHole allocates up to k blocks in a row for the hole at block, and returns how many
// it got. flag is unwrittenBit or 0.
func (n *inode) fillHole(h handle, block, k uint32, flag uint64) (uint32, error) {
	if !n.hasExtents() {
		if err := n.toExtents(h); err != nil {
			return 0, err
		}
	}
	var pool blockPool
	need, err := n.pathNeed(block, 1)
	if err != nil {
		return 0, err
	}
	defer n.settleTree()
	if err := n.raiseTree(1, need); err != nil {
		return 0, err
	}
	if err := pool.fill(h, n, need); err != nil {
		return 0, err
	}
	defer pool.drain(h)
	n.fs.windows.close(n.fs, n)
	start, got, err := n.fs.allocRun(h, n.goal(block), min(k, maxExtent(flag)))
	if err != nil {
		return 0, err
	}
	if err := n.insertRun(h, run{block, got, start | flag}, &pool); err != nil {
		if n.fs.unallocRun(h, start, got) == nil {
			n.fs.giveSpace(int64(got))
		}
		return 0, err
	}
	n.addBlocks(int64(got))
	return got, nil
}
