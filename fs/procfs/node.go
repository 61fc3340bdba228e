package procfs

import (
	"hash/fnv"
	"strconv"
	"sync"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// key says which node this is; nodes with the same key are the same file.
type key struct {
	dir      *dir // of a directory: its kind
	pid, tid int32
	entry    *entry // of a file or link that is always there
	fd       int32  // of one in fd or fdinfo: the descriptor + 1, negative in fdinfo
}

// nodeTable holds the nodes in use, so that there is one object for each.
type nodeTable struct {
	mu    sync.Mutex
	nodes map[key]*node
}

// node is one file, directory or link.
type node struct {
	fs   *FS
	key  key
	mode uint32
	ino  uint64
	refs int // guarded by FS.nodes.mu
}

// node returns the node for k with a reference.
func (fs *FS) node(k key) *node {
	t := &fs.nodes
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.nodes[k]
	if n == nil {
		if t.nodes == nil {
			t.nodes = make(map[key]*node)
		}
		n = &node{fs: fs, key: k, mode: k.mode(), ino: k.ino()}
		t.nodes[k] = n
	}
	n.refs++
	return n
}

func (k *key) mode() uint32 {
	switch {
	case k.dir != nil:
		return k.dir.mode
	case k.fd > 0:
		return abi.S_IFLNK | 0o700
	case k.fd < 0:
		return ownMode
	}
	return k.entry.mode
}

// ino makes an inode number that does not change as nodes come and go.
func (k *key) ino() uint64 {
	h := fnv.New64a()
	name := ""
	switch {
	case k.entry != nil:
		name = k.entry.name + "/" + k.entry.file
	case k.dir == &rootDir:
		return 1
	default:
		for i, d := range []*dir{&sysDir, &processDir, &threadDir, &taskDir, &fdDir, &infoDir} {
			if d == k.dir {
				name = strconv.Itoa(i)
			}
		}
		if name == "" && k.dir != nil {
			name = k.dir.entries[0].file
		}
	}
	h.Write([]byte(strconv.Itoa(int(k.pid)) + "/" + strconv.Itoa(int(k.tid)) + "/" + strconv.Itoa(int(k.fd)) + "/" + name))
	return h.Sum64()>>2 | 2
}

// Ref implements vfs.Node.
func (n *node) Ref() {
	n.fs.nodes.mu.Lock()
	n.refs++
	n.fs.nodes.mu.Unlock()
}

// Unref implements vfs.Node.
func (n *node) Unref() {
	n.fs.nodes.mu.Lock()
	if n.refs--; n.refs == 0 {
		delete(n.fs.nodes.nodes, n.key)
	}
	n.fs.nodes.mu.Unlock()
}

// Ino implements vfs.Node.
func (n *node) Ino() uint64 { return n.ino }

// Mode implements vfs.Node.
func (n *node) Mode() uint32 { return n.mode }

// Attr implements vfs.Node.
func (n *node) Attr(a *vfs.Attr) abi.Errno {
	*a = vfs.Attr{
		Ino: n.ino, Mode: n.mode, Nlink: 1, Blksize: 1024,
		Atime: n.fs.start, Mtime: n.fs.start, Ctime: n.fs.start,
	}
	if n.key.dir != nil {
		a.Nlink = 2
		for i := range n.key.dir.entries {
			if n.key.dir.entries[i].sub != nil {
				a.Nlink++
			}
		}
	}
	if n.key.fd > 0 {
		how, ok := n.fs.kernel.Descriptor(n.key.pid, n.key.fd-1)
		if !ok {
			return abi.ENOENT
		}
		a.Mode = abi.S_IFLNK | 0o100 | how
		a.Size = 64
	}
	if n.key.pid != 0 {
		uid, gid, ok := n.fs.kernel.Owner(n.key.pid)
		if !ok {
			return abi.ESRCH
		}
		a.UID, a.GID = uid, gid
	}
	return 0
}

// SetAttr implements vfs.Node. Opening a file for writing with O_TRUNC is allowed, and does nothing.
func (n *node) SetAttr(s *vfs.SetAttr) abi.Errno {
	if s.Mask == vfs.SetSize && n.mode&0o222 != 0 {
		return 0
	}
	return abi.EPERM
}

// Lookup implements vfs.Node.
func (n *node) Lookup(name string) (vfs.Node, abi.Errno) {
	d := n.key.dir
	if d == nil {
		return nil, abi.ENOTDIR
	}
	for i := range d.entries {
		if e := &d.entries[i]; e.name == name {
			k := key{pid: n.key.pid, tid: n.key.tid}
			if e.sub != nil {
				k.dir = e.sub
			} else {
				k.entry = e
			}
			return n.fs.node(k), 0
		}
	}
	id, ok := number(name)
	if !ok {
		return nil, abi.ENOENT
	}
	k, ok := n.member(id)
	if !ok {
		return nil, abi.ENOENT
	}
	return n.fs.node(k), 0
}

// number parses the names of processes, threads and descriptors: decimal without leading zeros.
func number(name string) (int32, bool) {
	v, err := strconv.ParseInt(name, 10, 32)
	if err != nil || v < 0 || strconv.FormatInt(v, 10) != name {
		return 0, false
	}
	return int32(v), true
}

// member returns the key of the entry with a number for its name.
func (n *node) member(id int32) (key, bool) {
	kernel, pid := n.fs.kernel, n.key.pid
	switch n.key.dir.list {
	case listProcesses:
		return key{dir: &processDir, pid: id}, id > 0 && len(kernel.Threads(id)) > 0
	case listThreads:
		for _, tid := range kernel.Threads(pid) {
			if tid == id {
				return key{dir: &threadDir, pid: pid, tid: id}, true
			}
		}
	case listLinks, listInfo:
		if _, ok := kernel.Descriptor(pid, id); ok && id < 1<<31-1 {
			k := key{pid: pid, tid: n.key.tid, fd: id + 1}
			if n.key.dir.list == listInfo {
				k.fd = -k.fd
			}
			return k, true
		}
	}
	return key{}, false
}

// The cookies of a directory: first ".", "..", and the entries that are always there, then those
// with numbers, by their number.
const firstNumber = 1 << 32

// ReadDir implements vfs.Node.
func (n *node) ReadDir(cookie int64, emit func(*vfs.DirEntry) bool) abi.Errno {
	d := n.key.dir
	if d == nil {
		return abi.ENOTDIR
	}
	if cookie < 0 {
		return abi.EINVAL
	}
	for i := cookie; i < int64(len(d.entries)+2); i++ {
		e := vfs.DirEntry{Ino: n.ino, Type: abi.DT_DIR, Name: ".", Cookie: i + 1}
		switch {
		case i == 1:
			e.Name = ".."
		case i > 1:
			known := &d.entries[i-2]
			e.Name, e.Type = known.name, uint8(known.mode>>12)
			k := key{pid: n.key.pid, tid: n.key.tid, entry: known}
			if known.sub != nil {
				k.dir, k.entry = known.sub, nil
			}
			e.Ino = k.ino()
		}
		if !emit(&e) {
			return 0
		}
	}
	next := int32(0) // the number to go on with
	if cookie >= firstNumber {
		if cookie-firstNumber > 1<<31-2 {
			return 0
		}
		next = int32(cookie - firstNumber)
	}
	typ := uint8(abi.DT_DIR)
	switch d.list {
	case listNothing:
		return 0
	case listLinks:
		typ = abi.DT_LNK
	case listInfo:
		typ = abi.DT_REG
	}
	for {
		ids := n.numbers(next)
		if len(ids) == 0 {
			return 0
		}
		for _, id := range ids {
			k, ok := n.member(id)
			if !ok {
				continue // gone meanwhile
			}
			if !emit(&vfs.DirEntry{Ino: k.ino(), Type: typ, Name: strconv.Itoa(int(id)), Cookie: firstNumber + int64(id) + 1}) {
				return 0
			}
		}
		if next = ids[len(ids)-1]; next == 1<<31-1 {
			return 0
		}
		next++
	}
}

// numbers returns some of the numbers in the directory, ascending, from the given one on; none: that
// was all.
func (n *node) numbers(from int32) []int32 {
	var ids []int32
	switch n.key.dir.list {
	case listProcesses:
		ids = n.fs.kernel.Processes()
	case listThreads:
		ids = n.fs.kernel.Threads(n.key.pid)
	case listLinks, listInfo:
		return n.fs.kernel.Descriptors(n.key.pid, from, 256)
	}
	for len(ids) > 0 && ids[0] < from {
		ids = ids[1:]
	}
	return ids
}

// content returns a file's content.
func (n *node) content() ([]byte, abi.Errno) {
	k := &n.key
	switch {
	case n.mode&abi.S_IFMT == abi.S_IFDIR:
		return nil, abi.EISDIR
	case n.mode&abi.S_IFMT == abi.S_IFLNK:
		return nil, abi.EINVAL
	case k.fd < 0:
		return n.fs.kernel.File(k.pid, k.tid, "fdinfo/"+strconv.Itoa(int(-k.fd-1)))
	}
	return n.fs.kernel.File(k.pid, k.tid, k.entry.file)
}

// Read implements vfs.Node. The content is made anew for each call.
func (n *node) Read(off int64, count int, d vfs.Dest) (int, abi.Errno) {
	p, e := n.content()
	if e != 0 || off >= int64(len(p)) {
		return 0, e
	}
	p = p[off:]
	return d.Put(p[:min(len(p), count)])
}

// maxWrite bounds what can be written to a file at once.
const maxWrite = 4096

// Write implements vfs.Node: what one call writes is a value, wherever it is written.
func (n *node) Write(off int64, count int, s vfs.Source) (int, int64, abi.Errno) {
	k := &n.key
	switch {
	case k.dir != nil:
		return 0, 0, abi.EISDIR
	case k.entry == nil || n.mode&0o222 == 0 || n.mode&abi.S_IFMT != abi.S_IFREG:
		return 0, 0, abi.EACCES
	}
	count = min(count, maxWrite)
	p := make([]byte, count)
	if got, e := s.Get(p); e != 0 {
		return got, 0, e
	}
	if e := n.fs.kernel.SetFile(k.pid, k.tid, k.entry.file, p); e != 0 {
		return 0, 0, e
	}
	return count, max(off, 0) + int64(count), 0
}

// Sync implements vfs.Node.
func (n *node) Sync(bool) abi.Errno { return abi.EINVAL }

// Create implements vfs.Node. As on Linux, a name that is not there cannot be made to be.
func (n *node) Create(string, *vfs.NewNode) (vfs.Node, abi.Errno) { return nil, abi.ENOENT }

// Symlink implements vfs.Node.
func (n *node) Symlink(string, string, *vfs.NewNode) (vfs.Node, abi.Errno) { return nil, abi.ENOENT }

// Link implements vfs.Node.
func (n *node) Link(string, vfs.Node) abi.Errno { return abi.ENOENT }

// Unlink implements vfs.Node.
func (n *node) Unlink(string) abi.Errno { return abi.EPERM }

// Rmdir implements vfs.Node.
func (n *node) Rmdir(string) abi.Errno { return abi.EPERM }

// Rename implements vfs.Node.
func (n *node) Rename(string, vfs.Node, string, uint32) abi.Errno { return abi.EPERM }
