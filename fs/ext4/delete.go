package ext4

import (
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

// deleteInode frees an inode without names and references: its content, its attributes and
// its number. Nobody else can reach it (freeing is set).
func (fs *FS) deleteInode(n *inode) {
	n.mu.Lock()
	err := fs.deleteLocked(n)
	n.mu.Unlock()
	if err != nil {
		fs.inodes.remove(n)
		// It stays on the orphan list, for e2fsck or the next mount.
		fs.log("deleting inode %d: %v", n.ino, err)
	}
}

func (fs *FS) deleteLocked(n *inode) error {
	n.pages.from(0, fs.pages.discard)
	fs.windows.close(fs, n)
	isDir := n.isDir()
	if n.mapsBlocks() {
		n.takeAway(0, n.size, vfs.RevokeFreed)
		if err := n.truncateBlocks(0); err != nil {
			return err
		}
	}
	h, err := fs.begin(8)
	if err != nil {
		return err
	}
	defer h.end()
	if err := h.inode(n); err != nil {
		return err
	}
	if n.d.FileACL != 0 {
		if err := n.dropXattrBlock(h); err != nil {
			return err
		}
	}
	// What can fail comes before the inode leaves the list: if the bitmap cannot be read, the
	// next mount has to find it there.
	if err := fs.beforeDropOrphan(h, n); err != nil {
		return err
	}
	fs.inodes.remove(n)
	if err := fs.releaseInode(h, n.ino, isDir); err != nil {
		return err
	}
	// The number can be somebody else's from now on, but in this transaction, in which n is
	// encoded before that.
	if err := fs.dropOrphan(h, n); err != nil {
		return err
	}
	n.setSize(0)
	n.d.Dtime = max(uint32(fs.now().Sec), 1)
	return nil
}

// mapsBlocks tells whether the inode may have blocks of content.
func (n *inode) mapsBlocks() bool {
	if !n.hasContent() {
		return false
	}
	if n.hasExtents() {
		return le.Uint16(n.d.Block[2:]) != 0
	}
	return true
}

// hasExtents tells whether content is mapped by an extent tree.
func (n *inode) hasExtents() bool { return n.d.Flags&disk.InodeExtents != 0 }
