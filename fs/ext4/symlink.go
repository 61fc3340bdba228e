package ext4

import (
	"bytes"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
)

// Readlink implements vfs.Node.
func (n *inode) Readlink() (string, abi.Errno) {
	if !n.isLink() {
		return "", abi.EINVAL
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	s, err := n.readlink()
	return s, errno(err)
}

func (n *inode) readlink() (string, error) {
	if n.fastLink() {
		if n.size == 0 || n.size >= disk.BlockAreaSize {
			return "", n.fs.corruptInode(n.ino, "symbolic link of %d bytes in the inode", n.size)
		}
		return string(cString(n.d.Block[:n.size])), nil
	}
	if n.size == 0 || n.size >= int64(n.fs.bs) {
		return "", n.fs.corruptInode(n.ino, "symbolic link of %d bytes in a block", n.size)
	}
	b, err := n.linkBlock()
	if err != nil {
		return "", err
	}
	defer n.fs.buffers.put(b)
	return string(cString(b.data[:n.size])), nil
}

// linkBlock reads the block of a long link's target.
func (n *inode) linkBlock() (*buffer, error) {
	r, err := n.mapRun(0)
	if err != nil {
		return nil, err
	}
	if r.home == 0 || r.unwritten() {
		return nil, n.fs.corruptInode(n.ino, "symbolic link without content")
	}
	return n.fs.buffers.read(r.home, makeRole(roleSymlink, n.ino), n.seed, nil)
}

// cString cuts p at its first zero byte.
func cString(p []byte) []byte {
	if i := bytes.IndexByte(p, 0); i >= 0 {
		return p[:i]
	}
	return p
}

// setTarget gives a new link its target: in the inode if it fits there, else in a block.
func (n *inode) setTarget(h handle, target string) error {
	n.setSize(int64(len(target)))
	if len(target) < disk.BlockAreaSize {
		copy(n.d.Block[:], target)
		return nil
	}
	n.initExtents()
	if _, err := n.fillHole(h, 0, 1, 0); err != nil {
		return err
	}
	r, err := n.mapRun(0)
	if err != nil {
		return err
	}
	b := n.fs.buffers.create(r.home, makeRole(roleSymlink, n.ino), n.seed)
	h.access(b)
	copy(b.data, target)
	n.fs.buffers.put(b)
	return nil
}
