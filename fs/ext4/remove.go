package ext4

import (
	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

// Unlink implements vfs.Node.
func (n *inode) Unlink(name string) abi.Errno {
	if err := n.checkDir(name); err != nil {
		return errno(err)
	}
	child, err := n.unlink(name)
	if child != nil {
		child.Unref()
	}
	return errno(err)
}

// removeCredits: two inodes, the leaf with the name, and the orphan list.
const removeCredits = superCredits + 2*attrCredits + 1 + orphanCredits

// unlink removes a name that is not a directory's. It returns the inode with a reference,
// which is given back without locks, as that may delete it.
func (n *inode) unlink(name string) (*inode, error) {
	fs := n.fs
	n.mu.Lock()
	defer n.mu.Unlock()
	p, err := n.find(name)
	if err != nil {
		return nil, err
	}
	defer fs.buffers.put(p.b)
	child, err := fs.igetEntry(n, p.ino())
	if err != nil {
		return nil, err
	}
	if child.isDir() {
		return child, abi.EISDIR
	}
	child.mu.Lock()
	defer child.mu.Unlock()
	h, err := fs.begin(removeCredits)
	if err != nil {
		return child, err
	}
	defer h.end()
	if err := h.inode(n); err != nil {
		return child, err
	}
	now := fs.now()
	if err := fs.dropLink(h, child, now); err != nil {
		return child, err
	}
	n.cutName(h, p)
	n.stamp(now, true)
	n.touched(h, true)
	return child, nil
}

// igetEntry returns the inode of an entry of dir, whose lock is held, and which must not
// be dir itself.
func (fs *FS) igetEntry(dir *inode, ino uint32) (*inode, error) {
	if ino == dir.ino {
		return nil, fs.corruptInode(ino, "the directory has itself as an entry")
	}
	return fs.iget(ino)
}

// dropLink takes a name of n away, whose lock is held. Without names it goes on the orphan
// list, to be deleted with the last reference.
func (fs *FS) dropLink(h handle, n *inode, now disk.Time) error {
	if n.d.Links == 0 {
		return fs.corruptInode(n.ino, "it has more names than links")
	}
	if err := h.inode(n); err != nil {
		return err
	}
	if n.isDir() || n.d.Links == 1 {
		if err := fs.addOrphan(h, n); err != nil {
			return err
		}
		n.d.Links = 0
	} else {
		n.d.Links--
	}
	n.stamp(now, false)
	n.touched(h, true)
	return nil
}

// Rmdir implements vfs.Node.
func (n *inode) Rmdir(name string) abi.Errno {
	if err := n.checkDir(name); err != nil {
		return errno(err)
	}
	switch name {
	case ".":
		return abi.EINVAL
	case "..":
		return abi.ENOTEMPTY
	}
	n.fs.nsMu.Lock()
	child, err := n.rmdir(name)
	n.fs.nsMu.Unlock()
	if child != nil {
		child.Unref()
	}
	return errno(err)
}

func (n *inode) rmdir(name string) (*inode, error) {
	fs := n.fs
	n.mu.Lock()
	defer n.mu.Unlock()
	p, err := n.find(name)
	if err != nil {
		return nil, err
	}
	defer fs.buffers.put(p.b)
	child, err := fs.igetEntry(n, p.ino())
	if err != nil {
		return nil, err
	}
	if !child.isDir() {
		return child, abi.ENOTDIR
	}
	child.mu.Lock()
	defer child.mu.Unlock()
	if empty, err := child.isEmpty(); err != nil {
		return child, err
	} else if !empty {
		return child, abi.ENOTEMPTY
	}
	h, err := fs.begin(removeCredits)
	if err != nil {
		return child, err
	}
	defer h.end()
	if err := h.inode(n); err != nil {
		return child, err
	}
	now := fs.now()
	if err := fs.dropLink(h, child, now); err != nil {
		return child, err
	}
	child.removed = true
	n.cutName(h, p)
	n.dropDirLink()
	n.stamp(now, true)
	n.touched(h, true)
	return child, nil
}
