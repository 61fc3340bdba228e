package memfs

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"pinhole/abi"
)

// Limits and flags of setxattr(2).
const (
	xattrNameMax  = 255
	xattrValueMax = 65536
	xattrCreate   = 1
	xattrReplace  = 2
)

func xattrCost(name string, value []byte) int64 { return nameCost + int64(len(name)+len(value)) }

// xattrName checks a name: one of the classes that Linux has, and something behind it.
func (n *node) xattrName(name string) abi.Errno {
	if name == "" || len(name) > xattrNameMax {
		return abi.ERANGE
	}
	if isACL(name) {
		if n.mode.Load()&abi.S_IFMT == abi.S_IFLNK {
			return abi.EOPNOTSUPP
		}
		return 0
	}
	class, rest, _ := strings.Cut(name, ".")
	switch class {
	case "user":
		if !n.isReg() && !n.isDir() {
			return abi.EPERM
		}
	case "trusted", "security":
	default:
		return abi.EOPNOTSUPP
	}
	if rest == "" {
		return abi.EINVAL
	}
	return 0
}

// Getxattr implements vfs.XattrNode.
func (n *node) Getxattr(name string) ([]byte, abi.Errno) {
	if e := n.xattrName(name); e != 0 {
		if e == abi.EPERM {
			e = abi.ENODATA
		}
		return nil, e
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	value, ok := n.xattrs[name]
	if !ok {
		return nil, abi.ENODATA
	}
	return bytes.Clone(value), 0
}

// Setxattr implements vfs.XattrNode.
func (n *node) Setxattr(name string, value []byte, flags uint32) abi.Errno {
	if flags&^(xattrCreate|xattrReplace) != 0 {
		return abi.EINVAL
	}
	if e := n.xattrName(name); e != 0 {
		return e
	}
	if len(value) > xattrValueMax {
		return abi.E2BIG
	}
	if isACL(name) {
		return n.setACL(name, value)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.xattrs[name]
	switch {
	case ok && flags&xattrCreate != 0:
		return abi.EEXIST
	case !ok && flags&xattrReplace != 0:
		return abi.ENODATA
	}
	if e := n.putXattr(name, value); e != 0 {
		return e
	}
	n.ctime = n.fs.Now()
	return 0
}

// putXattr sets an attribute. n.mu is held. ENOSPC.
func (n *node) putXattr(name string, value []byte) abi.Errno {
	if e := n.fs.charge(xattrCost(name, value)); e != 0 {
		return e
	}
	n.dropXattr(name)
	if n.xattrs == nil {
		n.xattrs = make(map[string][]byte)
	}
	n.xattrs[strings.Clone(name)] = append([]byte{}, value...)
	return 0
}

// dropXattr removes an attribute, if it is there. n.mu is held.
func (n *node) dropXattr(name string) {
	if old, ok := n.xattrs[name]; ok {
		delete(n.xattrs, name)
		n.fs.uncharge(xattrCost(name, old))
	}
}

// Listxattr implements vfs.XattrNode.
func (n *node) Listxattr() ([]string, abi.Errno) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return slices.Sorted(maps.Keys(n.xattrs)), 0
}

// Removexattr implements vfs.XattrNode.
func (n *node) Removexattr(name string) abi.Errno {
	if e := n.xattrName(name); e != 0 {
		return e
	}
	if isACL(name) {
		return n.setACL(name, nil)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.xattrs[name]; !ok {
		return abi.ENODATA
	}
	n.dropXattr(name)
	n.ctime = n.fs.Now()
	return 0
}
