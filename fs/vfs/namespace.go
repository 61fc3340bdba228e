package vfs

import (
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pinhole/abi"
)

// Namespace is the tree of a sandbox: mounted file systems, seen through one cache of names.
//
// Its calls take a context c, a directory at from which a relative path starts (nil: c.Cwd), and
// a path, which is only valid during the call. Flags are Linux's AT_* where a Linux call has
// them; unknown bits are ignored, since the caller's call decides which there are. Errors are
// those of the man page of the Linux call that does the same. All may be called concurrently.
//
// Not here, because Linux has them as settings: protected_symlinks, protected_regular,
// protected_hardlinks and protected_fifos are off.
type Namespace struct {
	cache cache
	root  *Dentry // root of the first mount
	busy  func(Node) bool

	// moving serialises what changes a directory's ancestors: renames between directories.
	moving sync.RWMutex

	mountMu   sync.Mutex // guards what follows
	mounts    []*mount
	pinned    []*Dentry // synthetic mount points, held
	synthetic atomic.Uint64
}

// NewNamespace makes a tree with root as its root file system.
func NewNamespace(root FileSystem) *Namespace {
	ns := new(Namespace)
	ns.cache.init(DefaultCacheLimit)
	ns.root = ns.newMount(root, nil).root
	return ns
}

// SetCacheLimit bounds the names in memory that nobody uses. It is for before the first call.
func (ns *Namespace) SetCacheLimit(n int) { ns.cache.limit = n }

// SetBusy sets what tells whether a file is being executed, so that it may be neither opened for writing nor
// cut (ETXTBSY). It is for before the first call.
func (ns *Namespace) SetBusy(busy func(Node) bool) { ns.busy = busy }

// mayChange tells whether a file's content may be changed by whoever has the permission.
func (ns *Namespace) mayChange(d *Dentry) abi.Errno {
	if ns.busy != nil && d.typ == abi.S_IFREG && ns.busy(d.node) {
		return abi.ETXTBSY
	}
	return 0
}

// Root returns the tree's root directory, with a reference.
func (ns *Namespace) Root() *Dentry {
	d := ns.root.cross()
	d.Ref()
	return d
}

// Sync writes back every file system, and returns the first error.
func (ns *Namespace) Sync() abi.Errno {
	var first abi.Errno
	for _, m := range ns.Mounts() {
		if e := m.FS.Sync(); e != 0 && first == 0 {
			first = e
		}
	}
	return first
}

// Close forgets all names and unmounts every file system, the last mounted first; it returns the
// first error. No call may be under way, and no dentry held.
func (ns *Namespace) Close() abi.Errno {
	return ns.close(FileSystem.Unmount)
}

// Forget is Close that leaves the file systems mounted, with none of their nodes in use.
func (ns *Namespace) Forget() {
	ns.close(func(FileSystem) abi.Errno { return 0 })
}

func (ns *Namespace) close(unmount func(FileSystem) abi.Errno) abi.Errno {
	var first abi.Errno
	ns.mountMu.Lock()
	defer ns.mountMu.Unlock()
	for _, d := range ns.pinned {
		d.flags.And(^uint32(dentryPinned))
		d.Unref()
	}
	ns.pinned = nil
	for i := len(ns.mounts) - 1; i >= 0; i-- {
		m := ns.mounts[i]
		// In rounds, since a directory is held by its children.
		ns.cache.shrink(0)
		if m.point != nil {
			m.point.mounted.Store(nil)
			m.point.Unref()
		}
		m.root.node.Unref()
		if e := unmount(m.fs); e != 0 && first == 0 {
			first = e
		}
	}
	ns.mounts = nil
	return first
}

// PathTo returns the path of d from c's root, as the links of /proc/PID/fd show it: a removed file
// or directory has " (deleted)" behind it, and ENOENT besides (for getcwd); what is not below
// the root starts with "(unreachable)".
func (ns *Namespace) PathTo(c *Context, d *Dentry) (string, abi.Errno) {
	if d.mnt.fs == nil {
		return d.at.Load().name, 0
	}
	ns.moving.RLock()
	defer ns.moving.RUnlock()
	var names []string
	size := 0
	root := ns.rootOf(c)
	prefix := ""
	for at := d; at != root; {
		p := at.at.Load()
		if p.parent == nil {
			if at.mnt.point == nil {
				prefix = "(unreachable)"
				break
			}
			at = at.mnt.point
			continue
		}
		names = append(names, p.name)
		size += 1 + len(p.name)
		at = p.parent
	}
	var b strings.Builder
	b.Grow(size + 24)
	b.WriteString(prefix)
	if len(names) == 0 {
		b.WriteByte('/')
	}
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteByte('/')
		b.WriteString(names[i])
	}
	if d.Removed() {
		b.WriteString(" (deleted)")
		return b.String(), abi.ENOENT
	}
	return b.String(), 0
}

// firstPinned is the ReadDir cookie before synthetic mount points; file systems have lower ones.
const firstPinned = math.MaxInt64 - 4096

// ReadDir is Node.ReadDir with the mount points that exist in memory only added at the end.
// A file system's own cookies are below 2^63 - 4097.
func (ns *Namespace) ReadDir(d *Dentry, cookie int64, emit func(*DirEntry) bool) abi.Errno {
	if !d.has(dentrySynthetic) {
		return d.node.ReadDir(cookie, emit)
	}
	if cookie < firstPinned {
		stopped := false
		e := d.node.ReadDir(cookie, func(entry *DirEntry) bool {
			stopped = !emit(entry)
			return !stopped
		})
		if e != 0 || stopped {
			return e
		}
	}
	ns.mountMu.Lock()
	defer ns.mountMu.Unlock()
	for i, p := range ns.pinned {
		next := firstPinned + 1 + int64(i)
		at := p.at.Load()
		if at.parent != d || next <= cookie {
			continue
		}
		if !emit(&DirEntry{Ino: p.node.Ino(), Type: abi.DT_DIR, Name: at.name, Cookie: next}) {
			break
		}
	}
	return 0
}

func now() Timespec {
	t := time.Now()
	return Timespec{Sec: t.Unix(), Nsec: int32(t.Nanosecond())}
}
