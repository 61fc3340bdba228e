package procfs

import (
	"strconv"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// Readlink implements vfs.Node, for those who do not say who they are.
func (n *node) Readlink() (string, abi.Errno) { return n.Target(&vfs.Context{}) }

// isLink tells apart the links from the other nodes, which are all of one type.
func (n *node) isLink() bool { return n.mode&abi.S_IFMT == abi.S_IFLNK }

// Target implements vfs.Jumper.
func (n *node) Target(c *vfs.Context) (string, abi.Errno) {
	if !n.isLink() {
		return "", abi.EINVAL
	}
	if text, ok, e := n.plain(c); ok {
		return text, e
	}
	d, text, e := n.follow(c)
	if d != nil {
		d.Unref()
	}
	return text, e
}

// Jump implements vfs.Jumper: the links of a process lead to what they stand for, whatever their text
// says.
func (n *node) Jump(c *vfs.Context) (*vfs.Dentry, abi.Errno) {
	if _, ok, e := n.plain(c); ok {
		return nil, e
	}
	d, _, e := n.follow(c)
	return d, e
}

// plain returns the target of a link that leads where its text says; false if it does not.
func (n *node) plain(c *vfs.Context) (string, bool, abi.Errno) {
	e := n.key.entry
	switch {
	case e == nil || n.key.pid != 0:
		return "", false, 0
	case e.link != "":
		return e.link, true, 0
	}
	if pid := n.fs.kernel.Self(c); pid != 0 {
		return strconv.Itoa(int(pid)), true, 0
	}
	return "", true, abi.ENOENT
}

// follow returns where a link of a process leads. Only who could look into the process may know.
func (n *node) follow(c *vfs.Context) (*vfs.Dentry, string, abi.Errno) {
	kernel, pid := n.fs.kernel, n.key.pid
	uid, _, ok := kernel.Owner(pid)
	if !ok {
		return nil, "", abi.ENOENT
	}
	if c.UID != 0 && c.UID != uid {
		return nil, "", abi.EACCES
	}
	if n.key.fd > 0 {
		return kernel.Link(c, pid, "fd/"+strconv.Itoa(int(n.key.fd-1)))
	}
	return kernel.Link(c, pid, n.key.entry.name)
}
