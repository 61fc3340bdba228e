package ext4

import (
	"pinhole/abi"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

// retryFull does op again after a commit, if the disk was full and the commit may free
// blocks. op holds no lock when it returns.
func (fs *FS) retryFull(op func() error) error {
	err := op()
	if err == abi.ENOSPC && fs.heldSpace() > 0 {
		if err = fs.freeBusy(); err == nil {
			err = op()
		}
	}
	return err
}

// Create implements vfs.Node.
func (n *inode) Create(name string, c *vfs.NewNode) (vfs.Node, abi.Errno) {
	return n.createNode(name, c, "")
}

// Symlink implements vfs.Node.
func (n *inode) Symlink(name, target string, c *vfs.NewNode) (vfs.Node, abi.Errno) {
	if target == "" {
		return nil, abi.ENOENT
	}
	if len(target) >= n.fs.bs {
		return nil, abi.ENAMETOOLONG
	}
	link := *c
	link.Mode = abi.S_IFLNK | 0o777
	return n.createNode(name, &link, target)
}

func (n *inode) createNode(name string, c *vfs.NewNode, target string) (vfs.Node, abi.Errno) {
	if err := n.checkDir(name); err != nil {
		return nil, errno(err)
	}
	var child *inode
	err := n.fs.retryFull(func() (err error) {
		child, err = n.create(name, c, target)
		return err
	})
	if err != nil {
		return nil, errno(err)
	}
	return child, 0
}

// create makes a new inode and enters it under name.
func (n *inode) create(name string, c *vfs.NewNode, target string) (*inode, error) {
	n.mu.Lock()
	var s slot
	child, err := n.createAt(name, &s, c, target)
	s.release(n.fs)
	n.mu.Unlock()
	return child, err
}

func (n *inode) createAt(name string, s *slot, c *vfs.NewNode, target string) (*inode, error) {
	fs := n.fs
	if err := n.findSlot(name, s); err != nil {
		return nil, err
	}
	isDir := isType(c.Mode, abi.S_IFDIR)
	if isDir && n.linksFull() {
		return nil, abi.EMLINK
	}
	lists, mode, err := n.inheritACL(c)
	if err != nil {
		return nil, err
	}
	credits, blocks := n.putCredits(s)+newInodeCredits+orphanCredits, n.putBlocks(s)
	if isDir || len(target) >= disk.BlockAreaSize {
		credits += firstBlockCredits
		blocks++
	}
	if mode != c.Mode || lists != nil {
		inherited := *c
		inherited.Mode = mode
		c = &inherited
		credits += len(lists) * xattrCredits
		blocks += int64(len(lists))
	}
	if err := fs.roomFor(blocks, fs.mayUseReserve(c.UID, c.GID)); err != nil {
		return nil, err
	}
	h, err := fs.begin(credits)
	if err != nil {
		return nil, err
	}
	if err := h.inode(n); err != nil {
		h.end()
		return nil, err
	}
	now := fs.now()
	child, err := fs.newInode(h, n, c, now)
	if err != nil {
		h.end()
		return nil, err
	}
	switch {
	case isDir:
		err = child.initDir(h, n.ino)
	case target != "":
		err = child.setTarget(h, target)
	}
	if err == nil {
		err = child.giveACL(h, lists)
	}
	if err == nil {
		err = n.putName(h, s, name, child.ino, c.Mode)
	}
	if err != nil {
		// Without names and references the inode goes away again.
		if e := fs.addOrphan(h, child); e != nil {
			err = e
		}
		h.end()
		child.mu.Unlock()
		child.Unref()
		return nil, err
	}
	child.d.Links = 1
	if isDir {
		child.d.Links = 2
		n.addDirLink()
	}
	n.stamp(now, true)
	n.touched(h, true)
	h.end()
	child.mu.Unlock()
	return child, nil
}

// Tmpfile implements vfs.TmpMaker. The file is on the orphan list until Link takes it off.
func (n *inode) Tmpfile(c *vfs.NewNode, linkable bool) (vfs.Node, abi.Errno) {
	if !n.isDir() {
		return nil, abi.ENOTDIR
	}
	if !isType(c.Mode, abi.S_IFREG) {
		return nil, abi.EINVAL
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.removed {
		return nil, abi.ENOENT
	}
	lists, mode, err := n.inheritACL(c)
	if err != nil {
		return nil, errno(err)
	}
	unnamed := *c
	unnamed.Mode = mode
	fs := n.fs
	h, err := fs.begin(superCredits + newInodeCredits + orphanCredits + len(lists)*xattrCredits)
	if err != nil {
		return nil, errno(err)
	}
	child, err := fs.newInode(h, n, &unnamed, fs.now())
	if err != nil {
		h.end()
		return nil, errno(err)
	}
	child.linkable = linkable
	err = child.giveACL(h, lists)
	if e := fs.addOrphan(h, child); e != nil {
		err = e
	}
	h.end()
	child.mu.Unlock()
	if err != nil {
		child.Unref()
		return nil, errno(err)
	}
	return child, 0
}

// Link implements vfs.Node.
func (n *inode) Link(name string, target vfs.Node) abi.Errno {
	t, ok := target.(*inode)
	if !ok || t.fs != n.fs {
		return abi.EXDEV
	}
	if err := n.checkDir(name); err != nil {
		return errno(err)
	}
	if t.isDir() {
		return abi.EPERM
	}
	return errno(n.fs.retryFull(func() error { return n.link(name, t) }))
}

func (n *inode) link(name string, t *inode) error {
	fs := n.fs
	n.mu.Lock()
	defer n.mu.Unlock()
	var s slot
	defer s.release(fs)
	if err := n.findSlot(name, &s); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.d.Links == 0 && !t.linkable:
		return abi.ENOENT
	case t.d.Links >= maxLinks:
		return abi.EMLINK
	}
	if err := fs.roomFor(n.putBlocks(&s), true); err != nil {
		return err
	}
	h, err := fs.begin(n.putCredits(&s) + attrCredits + orphanCredits)
	if err != nil {
		return err
	}
	defer h.end()
	if err := h.inode(n); err != nil {
		return err
	}
	if err := h.inode(t); err != nil {
		return err
	}
	if err := n.putName(h, &s, name, t.ino, t.mode.Load()); err != nil {
		return err
	}
	t.d.Links++
	if t.linkable {
		// It was made without a name. Should this fail, what a mount finds on the list has a
		// name, and is kept.
		t.linkable = false
		if err := fs.dropOrphan(h, t); err != nil {
			fs.log("inode %d: %v", t.ino, err)
		}
	}
	now := fs.now()
	t.stamp(now, false)
	t.touched(h, true)
	n.stamp(now, true)
	n.touched(h, true)
	return nil
}
