package ext4

import (
	"sync"

	"pinhole/fs/ext4/disk"
)

// looseTrees are the inodes whose extent tree may have become wider than it needs to be.
// Such trees are rebuilt when their files have not changed for a while: e2fsck offers to do
// so otherwise, and lookups are faster.
type looseTrees struct {
	mu   sync.Mutex
	list []*inode
}

// loosened notes that nodes of n's tree may be far from full.
func (n *inode) loosened() {
	if n.loose.Load() || n.loose.Swap(true) {
		return
	}
	l := &n.fs.loose
	l.mu.Lock()
	l.list = append(l.list, n)
	l.mu.Unlock()
}

// compactTrees rebuilds loose trees of files that did not change in the running
// transaction, or of all with force.
func (fs *FS) compactTrees(force bool) {
	fs.loose.mu.Lock()
	list := fs.loose.list
	fs.loose.list = nil
	fs.loose.mu.Unlock()
	if len(list) == 0 || fs.readOnly.Load() {
		return
	}
	fs.txLock.RLock()
	running := fs.running.id
	fs.txLock.RUnlock()
	var wait []*inode
	for _, n := range list {
		if !fs.inodes.hold(n) {
			n.loose.Store(false)
			continue
		}
		n.mu.Lock()
		if n.attrTx == running && !force {
			wait = append(wait, n)
		} else {
			n.loose.Store(false)
			if err := n.compact(); err != nil {
				fs.log("compacting the extent tree of inode %d: %v", n.ino, err)
			}
		}
		n.mu.Unlock()
		n.Unref()
	}
	if len(wait) > 0 {
		fs.loose.mu.Lock()
		fs.loose.list = append(fs.loose.list, wait...)
		fs.loose.mu.Unlock()
		fs.flusher.dirtied()
	}
}

// compact rebuilds the tree with full nodes, if that saves more than one. The caller holds
// n.mu. A full disk is no error: the tree stays as it is.
func (n *inode) compact() error {
	root := extNode{p: n.d.Block[:]}
	if !n.hasContent() || !n.hasExtents() || root.depth() == 0 {
		return nil
	}
	if err := n.loadRuns(); err != nil || n.runs.big {
		return err
	}
	per := disk.ExtentBlockMax(n.fs.bs)
	entries := 0
	for _, r := range n.runs.list {
		entries += (int(r.n) + disk.MaxUnwrittenLen - 1) / disk.MaxUnwrittenLen
	}
	nodes, leaves, err := n.treeNodes()
	if err != nil {
		return err
	}
	need := 0
	for k := entries; k > disk.RootExtentEntries; {
		k = (k + per - 1) / per
		need += k
	}
	if leaves*per-entries <= per && len(nodes) <= need+1 {
		return nil
	}
	h, err := n.fs.begin(need + len(nodes) + 4)
	if err != nil {
		return err
	}
	defer h.end()
	if err := h.inode(n); err != nil {
		return err
	}
	var blocks []uint64
	for len(blocks) < need {
		start, k, err := n.fs.allocRun(h, n.goal(0), uint32(need-len(blocks)))
		if err != nil {
			for _, b := range blocks {
				n.fs.unallocRun(h, b, 1)
			}
			return nil
		}
		for i := range k {
			blocks = append(blocks, start+uint64(i))
		}
	}
	blocks = n.packTree(h, blocks)
	for _, b := range blocks {
		if err := n.fs.unallocRun(h, b, 1); err != nil {
			return err
		}
	}
	for _, nr := range nodes {
		if err := n.freeNode(h, nr); err != nil {
			return err
		}
	}
	n.touched(h, false)
	return nil
}

// treeNodes returns the blocks of the tree's nodes, and how many of them are leaves.
func (n *inode) treeNodes() (nodes []uint64, leaves int, err error) {
	var visit func(x extNode) error
	visit = func(x extNode) error {
		for i := range x.count() {
			child := x.index(i).Child
			nodes = append(nodes, child)
			if x.depth() == 1 {
				leaves++
				continue
			}
			b, err := n.extentBlock(child, x.depth()-1)
			if err == nil {
				err = visit(extNode{b, b.data})
				n.fs.buffers.put(b)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	err = visit(extNode{p: n.d.Block[:]})
	return nodes, leaves, err
}

// packTree builds a tree of n's runs from the bottom, in blocks, of which it returns those
// that were not needed.
func (n *inode) packTree(h handle, blocks []uint64) []uint64 {
	var raw [][disk.ExtentSize]byte
	for _, r := range n.runs.list {
		for r.n > 0 {
			e := disk.Extent{Block: r.block, Len: min(r.n, disk.MaxUnwrittenLen), Start: r.start(), Unwritten: r.unwritten()}
			if !e.Unwritten && r.n >= disk.MaxExtentLen {
				e.Len = disk.MaxExtentLen
			}
			raw = append(raw, [disk.ExtentSize]byte{})
			e.Encode(raw[len(raw)-1][:])
			r.block += e.Len
			r.home += uint64(e.Len)
			r.n -= e.Len
		}
	}
	per := disk.ExtentBlockMax(n.fs.bs)
	depth := 0
	for ; len(raw) > disk.RootExtentEntries; depth++ {
		var up [][disk.ExtentSize]byte
		for len(raw) > 0 {
			part := raw[:min(per, len(raw))]
			raw = raw[len(part):]
			x := n.newNode(h, blocks[0], depth)
			for i := range part {
				x.open(i)
				copy(x.at(i), part[i][:])
			}
			idx := disk.ExtentIndex{Block: x.key(0), Child: blocks[0]}
			up = append(up, [disk.ExtentSize]byte{})
			idx.Encode(up[len(up)-1][:])
			n.fs.buffers.put(x.b)
			blocks = blocks[1:]
		}
		raw = up
	}
	root := extNode{p: n.d.Block[:]}
	clear(root.p[disk.ExtentHeaderSize:])
	root.setCount(len(raw))
	le.PutUint16(root.p[6:], uint16(depth))
	for i := range raw {
		copy(root.at(i), raw[i][:])
	}
	return blocks
}
