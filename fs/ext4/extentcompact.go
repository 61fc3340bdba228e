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
// transaction, or of all with force, unless there is something to expect for them.
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
		if n.attrTx == running && !force || n.space.expected() > 0 {
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

// compact fills the nodes of the tree from the left, level by level, if it can do with fewer. The caller
// holds n.mu. It is done in many small changes, after each of which the tree is sound.
func (n *inode) compact() error {
	root := extNode{p: n.d.Block[:]}
	if !n.hasContent() || !n.hasExtents() || root.depth() == 0 {
		return nil
	}
	if err := n.checkExtentRoot(); err != nil {
		return err
	}
	nodes, entries, err := n.countTree()
	if err != nil {
		return err
	}
	// What e2fsck bears: room for as many entries as a node has, at each level.
	per := disk.ExtentBlockMax(n.fs.bs)
	for level := root.depth(); level > 0; level-- {
		if nodes[level]*per-entries[level] >= per {
			if err := n.packLevel(level); err != nil {
				return err
			}
			if level > 1 {
				if nodes, entries, err = n.countTree(); err != nil {
					return err
				}
			}
		}
	}
	h, err := n.fs.begin(n.packCredits())
	if err != nil {
		return err
	}
	defer h.end()
	if err := h.inode(n); err != nil {
		return err
	}
	n.touched(h, false)
	return n.shrinkTree(h)
}

// countTree returns how many nodes the tree has at each level, the root's being 0, and how many entries
// these have.
func (n *inode) countTree() (nodes, entries [disk.MaxExtentDepth + 2]int, err error) {
	// The file's blocks [lo, hi) are what the entry above promises. Since nodes have entries, and these
	// ranges have none in common, no node is visited twice.
	var visit func(x extNode, level int, lo, hi uint64) error
	visit = func(x extNode, level int, lo, hi uint64) error {
		count := x.count()
		nodes[level]++
		entries[level] += count
		if count > 0 && (uint64(x.key(0)) < lo || uint64(x.key(count-1)) >= hi) {
			return n.fs.corruptInode(n.ino, "extent node has entries outside of its index entry (%d to %d)", lo, hi)
		}
		if x.depth() == 0 {
			return nil
		}
		for i := range count {
			end := hi
			if i+1 < count {
				end = uint64(x.key(i + 1))
			}
			b, err := n.extentBlock(x.index(i).Child, x.depth()-1)
			if err != nil {
				return err
			}
			err = visit(extNode{b, b.data}, level+1, uint64(x.key(i)), end)
			n.fs.buffers.put(b)
			if err != nil {
				return err
			}
		}
		return nil
	}
	err = visit(extNode{p: n.d.Block[:]}, 0, 0, maxFileBlocks)
	return nodes, entries, err
}

// packCredits returns how many blocks a step of packLevel may change: two nodes and what leads to them,
// a node that is freed at each level, with its bitmap and descriptor, and one that joins a neighbour.
func (n *inode) packCredits() int {
	depth := int(le.Uint16(n.d.Block[6:]))
	return 2 + 2*(depth+1) + 4*(depth+1) + 2*disk.RootExtentEntries
}

// packLevel moves entries to the left, from node to node of a level, until all nodes but the last
// are full.
func (n *inode) packLevel(level int) error {
	var at uint64 // file block that the node to be filled has
	for done := false; !done; {
		each := n.packCredits()
		steps := max(n.fs.maxCredits()/2/each, 1)
		h, err := n.fs.begin(1 + steps*each)
		if err != nil {
			return err
		}
		if err = h.inode(n); err == nil {
			n.touched(h, false)
			for ; steps > 0 && !done && err == nil; steps-- {
				at, done, err = n.packNode(h, level, at)
			}
		}
		h.end()
		if err != nil {
			return err
		}
	}
	return nil
}

// packNode fills the node of a level that leads to the file's block at from the one on its right, and
// returns the block to go on with; done if there is none on its right.
func (n *inode) packNode(h handle, level int, at uint64) (next uint64, done bool, err error) {
	var p, q treePath
	defer p.release(n.fs)
	defer q.release(n.fs)
	if err := n.findLeaf(&p, uint32(at)); err != nil {
		return 0, false, err
	}
	if level >= p.n {
		return 0, true, nil // the tree has become lower
	}
	p.cut(n.fs, level+1)
	next = p.end()
	if next >= maxFileBlocks {
		return 0, true, nil
	}
	if err := n.findLeaf(&q, uint32(next)); err != nil {
		return 0, false, err
	}
	q.cut(n.fs, level+1)
	x, y := p.leaf(), q.leaf()
	k := min(x.max()-x.count(), y.count())
	if k <= 0 {
		return next, false, nil
	}
	x.access(h)
	y.access(h)
	from := x.count()
	copy(x.p[disk.ExtentHeaderSize+from*disk.ExtentSize:], y.p[disk.ExtentHeaderSize:disk.ExtentHeaderSize+k*disk.ExtentSize])
	x.setCount(from + k)
	rest := y.count() - k
	copy(y.p[disk.ExtentHeaderSize:], y.p[disk.ExtentHeaderSize+k*disk.ExtentSize:disk.ExtentHeaderSize+(k+rest)*disk.ExtentSize])
	clear(y.p[disk.ExtentHeaderSize+rest*disk.ExtentSize : disk.ExtentHeaderSize+(k+rest)*disk.ExtentSize])
	y.setCount(rest)
	if rest > 0 {
		next = uint64(y.key(0))
		n.fixKeysFrom(h, &q, level)
		return next, false, nil
	}
	return at, false, n.dropLeaf(h, &q)
}
