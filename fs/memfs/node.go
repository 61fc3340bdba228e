package memfs

import (
	"math"
	"sync"
	"sync/atomic"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// node implements vfs.Node.
type node struct {
	fs   *FS
	ino  uint64
	refs atomic.Int64
	mode atomic.Uint32 // written with mu held

	nlink    atomic.Uint32 // written with fs.tree held
	dir      *directory    // of a directory
	linkable bool          // made without a name, and may get one; guarded by fs.tree
	flags    atomic.Uint32 // of chattr(1)

	mu       sync.RWMutex // guards what follows
	uid, gid uint32
	rdev     uint64
	atime    vfs.Timespec
	mtime    vfs.Timespec
	ctime    vfs.Timespec
	btime    vfs.Timespec
	size     int64
	data     pages
	target   string // of a symbolic link
	xattrs   map[string][]byte
}

var (
	_ vfs.TmpMaker = (*node)(nil)
	_ vfs.FlagNode = (*node)(nil)
)

func (n *node) isDir() bool { return n.dir != nil }
func (n *node) isReg() bool { return n.mode.Load()&abi.S_IFMT == abi.S_IFREG }

// Ref implements vfs.Node.
func (n *node) Ref() { n.refs.Add(1) }

// Unref implements vfs.Node: the last one of a node without names frees it.
func (n *node) Unref() {
	if n.refs.Add(-1) != 0 {
		return
	}
	n.fs.tree.RLock()
	dead := n.nlink.Load() == 0
	n.fs.tree.RUnlock()
	// Nobody can find it again; so nobody else comes here.
	if dead && n.refs.CompareAndSwap(0, math.MinInt32) {
		n.free()
	}
}

func (n *node) free() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fs.freePages(n.data.cut(0))
	cost := int64(inodeCost + len(n.target))
	for name, value := range n.xattrs {
		cost += xattrCost(name, value)
	}
	n.xattrs = nil
	n.fs.uncharge(cost)
	n.fs.inodes.Add(-1)
}

// Ino implements vfs.Node.
func (n *node) Ino() uint64 { return n.ino }

// Mode implements vfs.Node.
func (n *node) Mode() uint32 { return n.mode.Load() }

// Attr implements vfs.Node.
func (n *node) Attr(a *vfs.Attr) abi.Errno {
	n.mu.RLock()
	*a = vfs.Attr{Ino: n.ino, Mode: n.mode.Load(), Nlink: n.nlink.Load(), UID: n.uid, GID: n.gid, Rdev: n.rdev,
		Size: n.size, Blksize: pageSize, Blocks: n.data.count * (pageSize / 512),
		Atime: n.atime, Mtime: n.mtime, Ctime: n.ctime, Btime: n.btime}
	n.mu.RUnlock()
	if n.dir != nil {
		a.Size = (n.dir.count.Load() + 2) * 20 // as tmpfs: something that grows with the entries
	}
	return 0
}

// SetAttr implements vfs.Node.
func (n *node) SetAttr(s *vfs.SetAttr) abi.Errno {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.fs.Now()
	if s.Mask&vfs.SetSize != 0 {
		if n.isDir() {
			return abi.EISDIR
		}
		if !n.isReg() || s.Size < 0 {
			return abi.EINVAL
		}
		n.resize(s.Size)
		n.mtime = now
	}
	if s.Mask&vfs.SetMode != 0 {
		n.chmodACL(s.Mode)
		n.mode.Store(n.mode.Load()&abi.S_IFMT | s.Mode&0o7777)
	}
	if s.Mask&vfs.SetUID != 0 {
		n.uid = s.UID
	}
	if s.Mask&vfs.SetGID != 0 {
		n.gid = s.GID
	}
	if s.Mask&vfs.SetAtime != 0 {
		n.atime = s.Atime
	}
	if s.Mask&vfs.SetMtime != 0 {
		n.mtime = s.Mtime
	}
	if s.Mask&vfs.SetAtimeNow != 0 {
		n.atime = now
	}
	if s.Mask&vfs.SetMtimeNow != 0 {
		n.mtime = now
	}
	n.ctime = now
	return 0
}

// changed notes that the node's names, or its directory entries, have changed.
func (n *node) changed(now vfs.Timespec, entries bool) {
	n.mu.Lock()
	n.ctime = now
	if entries {
		n.mtime = now
	}
	n.mu.Unlock()
}

// Readlink implements vfs.Node.
func (n *node) Readlink() (string, abi.Errno) {
	if n.mode.Load()&abi.S_IFMT != abi.S_IFLNK {
		return "", abi.EINVAL
	}
	return n.target, 0
}

// Sync implements vfs.Node.
func (n *node) Sync(bool) abi.Errno { return 0 }
