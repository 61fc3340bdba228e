// Package memfs is a file system in memory, as Linux's tmpfs: the sandbox's /tmp and /dev/shm,
// and the reference that other file systems are compared with.
//
// Lock order: FS.tree, then node.mu (never two of them), then FS.pool.
package memfs

import (
	"sync"
	"sync/atomic"
	"time"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

const (
	magic    = 0x01021994 // TMPFS_MAGIC of statfs(2)
	pageSize = 4096
	// What an inode and a name cost against the limit besides their content, in bytes:
	// about what they take in memory.
	inodeCost = 512
	nameCost  = 128
	maxLinks  = 1 << 30
	maxPooled = 256 // pages kept for reuse
)

// FS is a file system in memory. Everything in it goes when it is unmounted.
type FS struct {
	// Now is the clock for the times of files. It may be replaced before first use.
	Now func() vfs.Timespec

	limit  int64
	used   atomic.Int64 // bytes charged
	inodes atomic.Int64
	ino    atomic.Uint64
	root   *node

	// tree guards the entries of all directories, and their parents.
	tree sync.RWMutex

	pool struct {
		sync.Mutex
		pages []*page
	}
}

type page [pageSize]byte

var zeros [16 * pageSize]byte

// New makes an empty file system whose content, names and inodes together may take limit
// bytes of memory (ENOSPC). The root directory belongs to root with mode 0755.
func New(limit int64) *FS {
	fs := &FS{limit: limit, Now: now}
	fs.root, _ = fs.newNode(&vfs.NewNode{Mode: abi.S_IFDIR | 0o755}, true)
	fs.root.nlink.Store(2)
	fs.root.dir.parent = fs.root
	return fs
}

func now() vfs.Timespec {
	t := time.Now()
	return vfs.Timespec{Sec: t.Unix(), Nsec: int32(t.Nanosecond())}
}

// Root implements vfs.FileSystem.
func (fs *FS) Root() vfs.Node {
	fs.root.Ref()
	return fs.root
}

// StatFS implements vfs.FileSystem. Inodes are only bounded by the bytes they take.
func (fs *FS) StatFS(s *vfs.StatFS) abi.Errno {
	free := max(fs.limit-fs.used.Load(), 0)
	files := uint64(fs.inodes.Load())
	*s = vfs.StatFS{
		Type: magic, Bsize: pageSize, Namelen: vfs.NameMax,
		Blocks: uint64(fs.limit / pageSize),
		Bfree:  uint64(free / pageSize), Bavail: uint64(free / pageSize),
		Files: files + uint64(free/inodeCost), Ffree: uint64(free / inodeCost),
	}
	return 0
}

// Sync implements vfs.FileSystem.
func (fs *FS) Sync() abi.Errno { return 0 }

// Unmount implements vfs.FileSystem.
func (fs *FS) Unmount() abi.Errno { return 0 }

// ReadOnly implements vfs.FileSystem.
func (fs *FS) ReadOnly() bool { return false }

// TypeName implements vfs.Typed.
func (fs *FS) TypeName() string { return "tmpfs" }

// charge takes n bytes of the limit. ENOSPC.
func (fs *FS) charge(n int64) abi.Errno {
	if fs.used.Add(n) > fs.limit {
		fs.used.Add(-n)
		return abi.ENOSPC
	}
	return 0
}

func (fs *FS) uncharge(n int64) { fs.used.Add(-n) }

// newPage returns a charged page; clean asks for zeros.
func (fs *FS) newPage(clean bool) (*page, abi.Errno) {
	if e := fs.charge(pageSize); e != 0 {
		return nil, e
	}
	fs.pool.Lock()
	if n := len(fs.pool.pages); n > 0 {
		p := fs.pool.pages[n-1]
		fs.pool.pages = fs.pool.pages[:n-1]
		fs.pool.Unlock()
		if clean {
			clear(p[:])
		}
		return p, 0
	}
	fs.pool.Unlock()
	return new(page), 0
}

// freePages gives back pages that no file refers to any more.
func (fs *FS) freePages(pages []*page) {
	fs.uncharge(int64(len(pages)) * pageSize)
	fs.pool.Lock()
	defer fs.pool.Unlock()
	if room := maxPooled - len(fs.pool.pages); len(pages) > room {
		pages = pages[:room]
	}
	fs.pool.pages = append(fs.pool.pages, pages...)
}

// newNode makes a node with one reference and no names. free: it is not charged for.
func (fs *FS) newNode(n *vfs.NewNode, free bool) (*node, abi.Errno) {
	if !free {
		if e := fs.charge(inodeCost); e != 0 {
			return nil, e
		}
	}
	t := fs.Now()
	nd := &node{fs: fs, ino: fs.ino.Add(1), uid: n.UID, gid: n.GID, rdev: n.Rdev,
		atime: t, mtime: t, ctime: t, btime: t}
	nd.mode.Store(n.Mode)
	nd.refs.Store(1)
	if n.Mode&abi.S_IFMT == abi.S_IFDIR {
		nd.dir = newDirectory()
	}
	fs.inodes.Add(1)
	return nd, 0
}
