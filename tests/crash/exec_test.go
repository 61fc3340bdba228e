package crash

import (
	"fmt"
	"strings"
	"sync/atomic"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/fs/vfs"
)

// outcome is how an operation ended.
type outcome struct {
	errno abi.Errno
	n     int64  // bytes written
	ino   uint64 // of what was made
}

// testRdev is the number of the devices that mknod makes: 5:9.
const testRdev = 5<<8 | 9

// modeOf returns type and permissions of what an operation makes.
func modeOf(o op) uint32 {
	switch o.name {
	case "mkdir":
		return abi.S_IFDIR | 0o755
	case "mkfifo":
		return abi.S_IFIFO | 0o600
	case "mknod":
		return abi.S_IFCHR | 0o600
	case "symlink":
		return abi.S_IFLNK | 0o777
	}
	return abi.S_IFREG | 0o644
}

// xattrValue is what an operation sets an attribute to. That of user.same... is the same each
// time, so that files can share the block with it.
func xattrValue(name string, nr int, n int64) []byte {
	p := make([]byte, n)
	if strings.HasPrefix(name, "user.same") {
		nr = 0
	}
	fill(p, uint32(len(name)), uint32(nr)+1, 0)
	return p
}

// runner does the operations of one thread on a file system of ours.
type runner struct {
	root    vfs.Node
	model   *model
	arena   *blockdev.Arena
	handles map[string]vfs.Node
	clock   *atomic.Int64
	events  func() int // how many the device has recorded
	log     []step
	files   []*object     // that the operations are about
	start   func() *model // the model as it was before the first of them
	sync    func() abi.Errno
	host    *hostRunner // if not nil, it does the operations
}

// step is an operation that was done.
type step struct {
	op
	outcome
	begin, end     int64 // by a clock that all threads share
	beginAt, endAt int   // events recorded
}

// lookup returns what a path or handle leads to, with a reference.
func (r *runner) lookup(path string) (vfs.Node, abi.Errno) {
	if strings.HasPrefix(path, "@") {
		n := r.handles[path]
		if n == nil {
			return nil, abi.EBADF
		}
		n.Ref()
		return n, 0
	}
	n := r.root
	n.Ref()
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		c, e := n.Lookup(name)
		n.Unref()
		if e != 0 {
			return nil, e
		}
		n = c
	}
	return n, 0
}

func (r *runner) dirOf(path string) (vfs.Node, string, abi.Errno) {
	i := strings.LastIndexByte(path, '/')
	n, e := r.lookup(path[:max(i, 0)])
	return n, path[i+1:], e
}

// source gives the content that an operation writes.
type source struct {
	file, version uint32
	off           int64
}

func (s *source) Get(p []byte) (int, abi.Errno) {
	fill(p, s.file, s.version, s.off)
	s.off += int64(len(p))
	return len(p), 0
}

// run does an operation and has the model follow.
func (r *runner) run(o op) step {
	nr := len(r.model.digests) - 1
	s := step{op: o, begin: r.clock.Add(1), beginAt: r.events()}
	if r.host != nil {
		s.outcome = r.host.do(r, nr, o)
	} else {
		s.outcome = r.do(nr, o)
	}
	s.endAt, s.end = r.events(), r.clock.Add(1)
	r.files = append(r.files, r.model.find(o.path))
	r.model.apply(nr, o, s.outcome)
	r.log = append(r.log, s)
	return s
}

func (r *runner) do(nr int, o op) (out outcome) {
	var n vfs.Node
	if o.path != "" && o.name != "symlink" && o.name != "unlink" && o.name != "rmdir" && o.name != "rename" && o.name != "close" {
		if n, out.errno = r.lookup(o.path); out.errno != 0 {
			return out
		}
		defer n.Unref()
	}
	var made vfs.Node
	switch o.name {
	case "creat", "mkdir", "mkfifo", "mknod", "symlink":
		dir, name, e := r.dirOf(o.to)
		if e != 0 {
			return outcome{errno: e}
		}
		what := vfs.NewNode{Mode: modeOf(o)}
		switch o.name {
		case "symlink":
			made, out.errno = dir.Symlink(name, o.path, &what)
		case "mknod":
			what.Rdev = testRdev
			fallthrough
		default:
			made, out.errno = dir.Create(name, &what)
		}
		dir.Unref()
	case "tmpfile":
		t, ok := n.(vfs.TmpMaker)
		if !ok {
			return outcome{errno: abi.EOPNOTSUPP}
		}
		if made, out.errno = t.Tmpfile(&vfs.NewNode{Mode: modeOf(o)}, true); out.errno == 0 {
			made.Ref()
			r.handles[o.to] = made
		}
	case "open":
		n.Ref()
		r.handles[o.to] = n
	case "close":
		h := r.handles[o.path]
		if h == nil {
			return outcome{errno: abi.EBADF}
		}
		delete(r.handles, o.path)
		h.Unref()
	case "link":
		dir, name, e := r.dirOf(o.to)
		if e != 0 {
			return outcome{errno: e}
		}
		out.errno = dir.Link(name, n)
		dir.Unref()
	case "unlink", "rmdir":
		dir, name, e := r.dirOf(o.path)
		if e != 0 {
			return outcome{errno: e}
		}
		if o.name == "rmdir" {
			out.errno = dir.Rmdir(name)
		} else {
			out.errno = dir.Unlink(name)
		}
		dir.Unref()
	case "rename":
		out.errno = r.rename(o)
	case "setxattr", "rmxattr":
		x, ok := n.(vfs.XattrNode)
		if !ok {
			return outcome{errno: abi.EOPNOTSUPP}
		}
		if o.name == "rmxattr" {
			out.errno = x.Removexattr(o.to)
		} else {
			out.errno = x.Setxattr(o.to, xattrValue(o.to, nr, o.n), 0)
		}
	case "truncate":
		out.errno = n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: o.off})
	case "chmod":
		out.errno = n.SetAttr(&vfs.SetAttr{Mask: vfs.SetMode, Mode: uint32(o.off)})
	case "chown":
		out.errno = n.SetAttr(&vfs.SetAttr{Mask: vfs.SetUID | vfs.SetGID, UID: uint32(o.off), GID: uint32(o.n)})
	case "utimes":
		at := vfs.Timespec{Sec: o.off}
		out.errno = n.SetAttr(&vfs.SetAttr{Mask: vfs.SetAtime | vfs.SetMtime, Atime: at, Mtime: at})
	case "write", "append":
		return r.write(nr, o, n)
	case "mmap":
		out.errno = r.store(nr, o, n)
	case "falloc", "punch", "zero":
		out.errno = allocate(o, n)
	case "fsync", "fdatasync":
		out.errno = n.Sync(o.name == "fdatasync")
	case "sync":
		out.errno = r.sync()
	default:
		panic("operation " + o.name)
	}
	if made != nil {
		out.ino = made.Ino()
		made.Unref()
	}
	return out
}

// rename does what the vfs does before it asks a file system.
func (r *runner) rename(o op) abi.Errno {
	if strings.HasPrefix(o.to+"/", o.path+"/") || strings.HasPrefix(o.path+"/", o.to+"/") {
		return abi.EINVAL
	}
	from, name, e := r.dirOf(o.path)
	if e != 0 {
		return e
	}
	defer from.Unref()
	to, newName, e := r.dirOf(o.to)
	if e != 0 {
		return e
	}
	defer to.Unref()
	flags := map[string]uint32{"": 0, "noreplace": abi.RENAME_NOREPLACE, "exchange": abi.RENAME_EXCHANGE}[o.flag]
	return from.Rename(name, to, newName, flags)
}

func (r *runner) write(nr int, o op, n vfs.Node) (out outcome) {
	f := r.model.find(o.path)
	off, at := o.off, o.off
	if o.name == "append" {
		off, at = vfs.AtEnd, f.size
	}
	for out.n < o.n {
		s := &source{f.tag, uint32(nr) + 1, at}
		k, end, e := n.Write(off, int(min(o.n-out.n, 1<<20)), s)
		out.n += int64(k)
		at = end
		if o.name == "write" {
			off = end
		}
		if e != 0 || k == 0 {
			if out.n == 0 {
				out.errno = e
			}
			return out
		}
	}
	return out
}

// store writes through a shared mapping of the file.
func (r *runner) store(nr int, o op, n vfs.Node) abi.Errno {
	m, ok := n.(vfs.FrameMapper)
	if !ok {
		return abi.EOPNOTSUPP
	}
	f := r.model.find(o.path)
	const page = blockdev.PageSize
	first, end := o.off/page*page, min(o.off+o.n, f.size)
	for at := first; at < end; {
		frames, e := m.MapFrames(at, (end-at+page-1)/page*page, true)
		if e != 0 {
			return e
		}
		if len(frames) == 0 {
			return abi.EFAULT
		}
		for _, fr := range frames {
			if fr.RAM < 0 {
				panic(fmt.Sprintf("MapFrames for writing says %+v", fr))
			}
			lo, hi := max(fr.Off, o.off), min(fr.Off+fr.Len, end)
			if lo < hi {
				fill(r.arena.Bytes()[fr.RAM+lo-fr.Off:][:hi-lo], f.tag, uint32(nr)+1, lo)
			}
			at = fr.Off + fr.Len
		}
	}
	m.UnmapFrames(first, (end-first+page-1)/page*page)
	return 0
}

func allocate(o op, n vfs.Node) abi.Errno {
	a, ok := n.(vfs.Allocator)
	if !ok {
		return abi.EOPNOTSUPP
	}
	mode := uint32(0)
	switch o.name {
	case "punch":
		mode = abi.FALLOC_FL_PUNCH_HOLE | abi.FALLOC_FL_KEEP_SIZE
	case "zero":
		mode = abi.FALLOC_FL_ZERO_RANGE
	}
	if o.flag == "keep" {
		mode |= abi.FALLOC_FL_KEEP_SIZE
	}
	return a.Allocate(mode, o.off, o.n)
}

// close lets go of what is open.
func (r *runner) close() {
	for _, n := range r.handles {
		n.Unref()
	}
	r.handles = nil
}
