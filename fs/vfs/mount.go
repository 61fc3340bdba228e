package vfs

import (
	"strings"

	"pinhole/abi"
)

// mount is a file system in the tree.
type mount struct {
	ns    *Namespace
	fs    FileSystem
	dev   uint64
	root  *Dentry
	point *Dentry // the directory that root covers, held; nil: the namespace's root
	// transient: the file system is Volatile.
	transient bool
}

// MountInfo describes one mounted file system.
type MountInfo struct {
	Path string // from the namespace's root
	Type string
	Dev  uint64
	FS   FileSystem
}

// firstDev is the device number of the first mount: as Linux's file systems without a device
// have them, major 0.
const firstDev = 16

func (ns *Namespace) newMount(fs FileSystem, point *Dentry) *mount {
	m := &mount{ns: ns, fs: fs, point: point}
	_, m.transient = fs.(Volatile)
	node := fs.Root()
	d := &Dentry{node: node, typ: node.Mode() & abi.S_IFMT, mnt: m}
	d.first.d = d
	d.at.Store(&d.first)
	d.refs.Store(1)
	m.root = d

	c := &ns.cache
	c.mu.Lock()
	c.salt++
	d.salt = c.salt * 0x9e3779b97f4a7c15
	c.dirs[dirKey{m, node.Ino()}] = d
	c.mu.Unlock()

	m.dev = firstDev + uint64(len(ns.mounts))
	ns.mounts = append(ns.mounts, m)
	return m
}

// Mount puts fs on the directory at path, an absolute path without symbolic links. Parts of the
// path that are missing below become synthetic mount points: directories that exist in memory
// only and cannot be removed. ENOTDIR: a part is something else; EINVAL: the path is not absolute,
// or leads through a volatile file system.
func (ns *Namespace) Mount(path string, fs FileSystem) abi.Errno {
	if !strings.HasPrefix(path, "/") {
		return abi.EINVAL
	}
	ns.mountMu.Lock()
	defer ns.mountMu.Unlock()
	d := ns.root.cross()
	d.Ref()
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			d.Unref()
			return abi.EINVAL
		}
		next, e := ns.mountPoint(d, name)
		d.Unref()
		if e != 0 {
			return e
		}
		d = next.cross()
		if d != next {
			d.Ref()
			next.Unref()
		}
	}
	m := ns.newMount(fs, d) // keeps the reference to d
	d.mounted.Store(m)
	return 0
}

// mountPoint returns the directory name in dir, with a reference, made in memory if it is missing.
func (ns *Namespace) mountPoint(dir *Dentry, name string) (*Dentry, abi.Errno) {
	if dir.mnt.transient {
		return nil, abi.EINVAL
	}
	dir.mu.Lock()
	defer dir.mu.Unlock()
	d, e := ns.lookupLocked(dir, name)
	if e != 0 {
		return nil, e
	}
	if d.typ == abi.S_IFDIR {
		return d, 0
	}
	defer d.Unref()
	if d.node != nil {
		return nil, abi.ENOTDIR
	}
	ns.cache.remove(d, true)
	ino := ns.synthetic.Add(1)
	d, e = ns.cache.create(dir, name, &syntheticDir{ino: syntheticIno - ino, time: now()}, false)
	if e != 0 {
		return nil, e
	}
	d.flags.Or(dentryPinned)
	dir.flags.Or(dentrySynthetic)
	ns.pinned = append(ns.pinned, d)
	d.Ref()
	return d, 0
}

// Mounts returns what is mounted, in order of mounting.
func (ns *Namespace) Mounts() []MountInfo {
	ns.mountMu.Lock()
	defer ns.mountMu.Unlock()
	var list []MountInfo
	root := &Context{Root: ns.root}
	for _, m := range ns.mounts {
		info := MountInfo{Type: "none", Dev: m.dev, FS: m.fs}
		if t, ok := m.fs.(Typed); ok {
			info.Type = t.TypeName()
		}
		info.Path, _ = ns.PathTo(root, m.root)
		list = append(list, info)
	}
	return list
}

// syntheticIno is above every inode number of synthetic directories; they count down from it.
const syntheticIno = 1 << 62

// syntheticDir is a mount point that its file system has no directory for. It has no entries
// but the pinned ones that Namespace knows.
type syntheticDir struct {
	ino  uint64
	time Timespec
	noNode
}

func (s *syntheticDir) Ino() uint64  { return s.ino }
func (s *syntheticDir) Mode() uint32 { return abi.S_IFDIR | 0o755 }

func (s *syntheticDir) Attr(a *Attr) abi.Errno {
	*a = Attr{Ino: s.ino, Mode: s.Mode(), Nlink: 2, Blksize: 4096,
		Atime: s.time, Mtime: s.time, Ctime: s.time, Btime: s.time}
	return 0
}

func (s *syntheticDir) Lookup(string) (Node, abi.Errno) { return nil, abi.ENOENT }

func (s *syntheticDir) ReadDir(cookie int64, emit func(*DirEntry) bool) abi.Errno {
	for i, name := range [...]string{".", ".."} {
		if cookie <= int64(i) && !emit(&DirEntry{Ino: s.ino, Type: abi.DT_DIR, Name: name, Cookie: int64(i) + 1}) {
			break
		}
	}
	return 0
}

// noNode refuses what a synthetic directory cannot do.
type noNode struct{}

func (noNode) Ref()                                               {}
func (noNode) Unref()                                             {}
func (noNode) SetAttr(*SetAttr) abi.Errno                         { return abi.EROFS }
func (noNode) Create(string, *NewNode) (Node, abi.Errno)          { return nil, abi.EROFS }
func (noNode) Symlink(string, string, *NewNode) (Node, abi.Errno) { return nil, abi.EROFS }
func (noNode) Link(string, Node) abi.Errno                        { return abi.EROFS }
func (noNode) Unlink(string) abi.Errno                            { return abi.EROFS }
func (noNode) Rmdir(string) abi.Errno                             { return abi.EROFS }
func (noNode) Rename(string, Node, string, uint32) abi.Errno      { return abi.EROFS }
func (noNode) Readlink() (string, abi.Errno)                      { return "", abi.EINVAL }
func (noNode) Read(int64, int, Dest) (int, abi.Errno)             { return 0, abi.EISDIR }
func (noNode) Write(int64, int, Source) (int, int64, abi.Errno)   { return 0, 0, abi.EISDIR }
func (noNode) Sync(bool) abi.Errno                                { return 0 }
