package memfs

import (
	"pinhole/abi"
	"pinhole/fs/acl"
	"pinhole/fs/vfs"
)

func isACL(name string) bool { return name == acl.Access || name == acl.Default }

// list returns an access control list, nil if there is none. n.mu is held.
func (n *node) list(name string) acl.List {
	l, _ := acl.Parse(n.xattrs[name])
	return l
}

// setACL sets or, with an empty value, removes an access control list, and the permission bits that
// go with it. A list that says no more than those bits is not stored.
func (n *node) setACL(name string, value []byte) abi.Errno {
	l, e := acl.Parse(value)
	if e != 0 {
		return e
	}
	if name == acl.Default && !n.isDir() {
		if len(l) > 0 {
			return abi.EACCES
		}
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	mode, minimal := n.mode.Load(), len(l) == 0
	if name == acl.Access && !minimal {
		mode, minimal = l.Mode(mode)
	}
	if minimal {
		n.dropXattr(name)
	} else if e := n.putXattr(name, l.Value()); e != 0 {
		return e
	}
	n.mode.Store(mode)
	n.ctime = n.fs.Now()
	return 0
}

// chmodACL changes the access control list, if there is one, as chmod does. n.mu is held.
func (n *node) chmodACL(mode uint32) {
	if l := n.list(acl.Access); l != nil {
		l.SetMode(mode)
		n.xattrs[acl.Access] = l.Value() // as long as before
	}
}

// inheritACL returns the attributes and the mode of what c describes, made in directory n.
func (n *node) inheritACL(c *vfs.NewNode) (map[string][]byte, uint32) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	l := n.list(acl.Default)
	if l == nil || c.Mode&abi.S_IFMT == abi.S_IFLNK {
		return nil, c.Mode
	}
	xattrs := make(map[string][]byte)
	if c.Mode&abi.S_IFMT == abi.S_IFDIR {
		xattrs[acl.Default] = l.Value()
	}
	mode := l.Inherit(c.Mode)
	if _, minimal := l.Mode(mode); !minimal {
		xattrs[acl.Access] = l.Value()
	}
	return xattrs, mode
}
