package emu

import (
	"sync"
	"sync/atomic"
	"time"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// anonDev is the device number of what lies in no file system.
const anonDev = 13

// anonNode is the node of an open file that lies in no file system: a pipe, a stream of the
// host. It has attributes and no content of its own; the kinds embed it.
type anonNode struct {
	ino   uint64
	typ   uint32
	refs  atomic.Int64
	freed func() // called when the last reference is gone; may be nil

	mu   sync.Mutex
	attr vfs.Attr
}

// initNode fills in a node with the caller as its owner, and one reference.
func (t *Task) initNode(n *anonNode, mode uint32) {
	c := t.proc.fs()
	t.kernel.initNode(n, mode, c.UID, c.GID)
}

func (k *Kernel) initNode(n *anonNode, mode, uid, gid uint32) {
	n.ino = k.io.lastIno.Add(1)
	n.typ = mode & abi.S_IFMT
	now := vfsNow()
	n.attr = vfs.Attr{
		Ino: n.ino, Mode: mode, Nlink: 1, UID: uid, GID: gid, Blksize: 4096,
		Atime: now, Mtime: now, Ctime: now,
	}
	n.refs.Store(1)
}

func vfsNow() vfs.Timespec {
	now := time.Now()
	return vfs.Timespec{Sec: now.Unix(), Nsec: int32(now.Nanosecond())}
}

func (n *anonNode) Ref() { n.refs.Add(1) }

func (n *anonNode) Unref() {
	if n.refs.Add(-1) == 0 && n.freed != nil {
		n.freed()
	}
}

func (n *anonNode) Ino() uint64 { return n.ino }

func (n *anonNode) Mode() uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.attr.Mode
}

func (n *anonNode) Attr(a *vfs.Attr) abi.Errno {
	n.mu.Lock()
	defer n.mu.Unlock()
	*a = n.attr
	return 0
}

func (n *anonNode) SetAttr(s *vfs.SetAttr) abi.Errno {
	n.mu.Lock()
	defer n.mu.Unlock()
	a, now := &n.attr, vfsNow()
	if s.Mask&vfs.SetSize != 0 {
		return abi.EINVAL
	}
	if s.Mask&vfs.SetMode != 0 {
		a.Mode = n.typ | s.Mode&0o7777
	}
	if s.Mask&vfs.SetUID != 0 {
		a.UID = s.UID
	}
	if s.Mask&vfs.SetGID != 0 {
		a.GID = s.GID
	}
	switch {
	case s.Mask&vfs.SetAtime != 0:
		a.Atime = s.Atime
	case s.Mask&vfs.SetAtimeNow != 0:
		a.Atime = now
	}
	switch {
	case s.Mask&vfs.SetMtime != 0:
		a.Mtime = s.Mtime
	case s.Mask&vfs.SetMtimeNow != 0:
		a.Mtime = now
	}
	a.Ctime = now
	return 0
}

func (n *anonNode) Lookup(string) (vfs.Node, abi.Errno) { return nil, abi.ENOTDIR }

func (n *anonNode) Create(string, *vfs.NewNode) (vfs.Node, abi.Errno) { return nil, abi.ENOTDIR }

func (n *anonNode) Symlink(string, string, *vfs.NewNode) (vfs.Node, abi.Errno) {
	return nil, abi.ENOTDIR
}

func (n *anonNode) Link(string, vfs.Node) abi.Errno                      { return abi.ENOTDIR }
func (n *anonNode) Unlink(string) abi.Errno                              { return abi.ENOTDIR }
func (n *anonNode) Rmdir(string) abi.Errno                               { return abi.ENOTDIR }
func (n *anonNode) Rename(string, vfs.Node, string, uint32) abi.Errno    { return abi.ENOTDIR }
func (n *anonNode) ReadDir(int64, func(*vfs.DirEntry) bool) abi.Errno    { return abi.ENOTDIR }
func (n *anonNode) Readlink() (string, abi.Errno)                        { return "", abi.EINVAL }
func (n *anonNode) Read(int64, int, vfs.Dest) (int, abi.Errno)           { return 0, abi.EINVAL }
func (n *anonNode) Write(int64, int, vfs.Source) (int, int64, abi.Errno) { return 0, 0, abi.EINVAL }
func (n *anonNode) Sync(bool) abi.Errno                                  { return abi.EINVAL }
