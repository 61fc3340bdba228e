package vfs

import (
	"fmt"

	"pinhole/abi"
)

// openTmpfile is Open with O_TMPFILE: path is a directory.
func (ns *Namespace) openTmpfile(c *Context, at *Dentry, path string, flags int, mode uint32) (*Dentry, abi.Errno) {
	walkFlags := 0
	if flags&abi.O_NOFOLLOW != 0 {
		walkFlags = abi.AT_SYMLINK_NOFOLLOW
	}
	dir, e := ns.Walk(c, at, path, walkFlags)
	if e != 0 {
		return nil, e
	}
	defer dir.Unref()
	if dir.typ != abi.S_IFDIR {
		return nil, abi.ENOTDIR
	}
	if e := c.mayWrite(dir, abi.W_OK|abi.X_OK); e != 0 {
		return nil, e
	}
	maker, ok := dir.node.(TmpMaker)
	if !ok {
		return nil, abi.EOPNOTSUPP
	}
	if dir.Removed() {
		return nil, abi.ENOENT
	}
	n := NewNode{Mode: abi.S_IFREG | mode&0o7777&^c.Umask}
	w := walk{ns: ns, c: c}
	if e := w.inherit(dir, &n); e != 0 {
		return nil, e
	}
	linkable := flags&abi.O_EXCL == 0
	node, e := maker.Tmpfile(&n, linkable)
	if e != 0 {
		return nil, e
	}
	dir.mu.Lock()
	d, e := ns.cache.create(dir, fmt.Sprintf("#%d", node.Ino()), node, true)
	dir.mu.Unlock()
	if e != 0 {
		return nil, e
	}
	d.flags.Or(dentryRemoved)
	if linkable {
		d.flags.Or(dentryLinkable)
	}
	return d, 0
}
