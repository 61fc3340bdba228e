package ext4

import (
	"pinhole/abi"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

// dirPos is where an entry is: a block with a reference, and the offsets of the entry and
// the one before it in the block (-1: none).
type dirPos struct {
	b         *buffer
	off, prev int
}

func (p dirPos) ino() uint32 { return le.Uint32(p.b.data[p.off:]) }

// indexed tells whether the directory has a hash tree.
func (n *inode) indexed() bool { return n.d.Flags&disk.InodeIndex != 0 }

// dirBlocks returns the number of blocks of the directory.
func (n *inode) dirBlocks() uint32 { return uint32(n.size >> n.fs.bsLog) }

// dirHome returns where block i of the directory is on the device.
func (n *inode) dirHome(i uint32) (uint64, error) {
	if i >= n.dirBlocks() {
		return 0, n.fs.corruptInode(n.ino, "directory block %d of %d", i, n.dirBlocks())
	}
	r, err := n.mapRun(i)
	if err != nil {
		return 0, err
	}
	if r.home == 0 || r.unwritten() {
		return 0, n.fs.corruptInode(n.ino, "directory block %d is a hole", i)
	}
	return r.home, nil
}

// leaf reads block i of the directory, which holds entries.
func (n *inode) leaf(i uint32) (*buffer, error) {
	home, err := n.dirHome(i)
	if err != nil {
		return nil, err
	}
	return n.fs.buffers.read(home, makeRole(roleDir, n.ino), n.seed, checkDirLeaf)
}

// entries returns the part of a leaf that entries are in.
func (n *inode) entries(b *buffer) []byte { return b.data[:n.fs.leafSpace()] }

// checkDir refuses what is not a directory, and names that no entry can have.
func (n *inode) checkDir(name string) error {
	if !n.isDir() {
		return abi.ENOTDIR
	}
	if len(name) > disk.MaxNameLen {
		return abi.ENAMETOOLONG
	}
	return nil
}

// find looks a name up. The caller holds n.mu and gives the position's buffer back.
// ENOENT if there is no such entry.
func (n *inode) find(name string) (dirPos, error) {
	if n.indexed() {
		return n.findIndexed(name)
	}
	for i := range n.dirBlocks() {
		b, err := n.leaf(i)
		if err != nil {
			return dirPos{}, err
		}
		if off, prev := findEntry(n.entries(b), name); off >= 0 {
			return dirPos{b, off, prev}, nil
		}
		n.fs.buffers.put(b)
	}
	return dirPos{}, abi.ENOENT
}

// Lookup implements vfs.Node.
func (n *inode) Lookup(name string) (vfs.Node, abi.Errno) {
	if err := n.checkDir(name); err != nil {
		return nil, errno(err)
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	child, err := n.lookup(name)
	if err != nil {
		return nil, errno(err)
	}
	return child, 0
}

// lookup returns the inode that name stands for, with a reference. The caller holds n.mu,
// which keeps the entry from going away in between.
func (n *inode) lookup(name string) (*inode, error) {
	p, err := n.find(name)
	if err != nil {
		return nil, err
	}
	ino := p.ino()
	n.fs.buffers.put(p.b)
	if ino == n.ino && name != "." {
		return nil, n.fs.corruptInode(n.ino, "the directory has itself as an entry")
	}
	return n.fs.iget(ino)
}
