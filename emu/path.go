package emu

import (
	"strings"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// place is where the path of a call starts: a directory's dentry, or nil for the process's own
// directories. It is held until done.
type place struct {
	d  *description
	at *vfs.Dentry
}

func (p *place) done() {
	if p.d != nil {
		p.d.unref()
	}
}

// startAt finds where path starts that is relative to descriptor at, in the order of Linux: an absolute
// path does not look at it. An empty path (which the caller has allowed) starts, and ends, at
// whatever at is open on. EBADF, ENOTDIR.
func (t *Task) startAt(at int32, path string) (place, abi.Errno) {
	if at == abi.AT_FDCWD || path != "" && path[0] == '/' {
		return place{}, 0
	}
	d, errno := t.fileOrPath(at)
	if errno != 0 {
		return place{}, errno
	}
	if path != "" && !d.dentry.IsDir() {
		d.unref()
		return place{}, abi.ENOTDIR
	}
	return place{d, d.dentry}, 0
}

// nameAt is somePath and startAt in one.
func (t *Task) nameAt(at int32, a abi.Addr) (string, place, abi.Errno) {
	path, errno := t.somePath(a)
	if errno != 0 {
		return "", place{}, errno
	}
	p, errno := t.startAt(at, path)
	return path, p, errno
}

// emptyNameAt is nameAt for calls that take AT_EMPTY_PATH.
func (t *Task) emptyNameAt(at int32, a abi.Addr, flags uint32) (string, place, abi.Errno) {
	path, errno := t.path(a)
	if errno != 0 {
		return "", place{}, errno
	}
	if path == "" && flags&abi.AT_EMPTY_PATH == 0 {
		return "", place{}, abi.ENOENT
	}
	p, errno := t.startAt(at, path)
	return path, p, errno
}

// openFlags are the flags of open(2) that mean something here; others are ignored, as Linux does.
const openFlags = abi.O_ACCMODE | abi.O_CREAT | abi.O_EXCL | abi.O_NOCTTY | abi.O_TRUNC | abi.O_APPEND |
	abi.O_NONBLOCK | abi.O_SYNC | abi.O_ASYNC | abi.O_DIRECT | abi.O_LARGEFILE | abi.O_DIRECTORY |
	abi.O_NOFOLLOW | abi.O_NOATIME | abi.O_CLOEXEC | abi.O_PATH | abi.O_TMPFILE

// statusFlags are those that F_GETFL shows.
const statusFlags = abi.O_ACCMODE | abi.O_APPEND | abi.O_NONBLOCK | abi.O_SYNC | abi.O_ASYNC | abi.O_DIRECT |
	abi.O_LARGEFILE | abi.O_DIRECTORY | abi.O_NOFOLLOW | abi.O_NOATIME | abi.O_PATH

// pathOpen is openat(2).
func (t *Task) pathOpen(at int32, pathAddr abi.Addr, flags, mode uint32) (uint64, abi.Errno) {
	flags &= openFlags
	if flags&abi.O_PATH != 0 {
		flags &= abi.O_PATH | abi.O_DIRECTORY | abi.O_NOFOLLOW | abi.O_CLOEXEC
	}
	const tmpfile = abi.O_TMPFILE &^ abi.O_DIRECTORY
	switch {
	case flags&(abi.O_CREAT|abi.O_DIRECTORY) == abi.O_CREAT|abi.O_DIRECTORY:
		return 0, abi.EINVAL
	case flags&tmpfile != 0 && (flags&abi.O_DIRECTORY == 0 || accessMode(flags)&modeWrite == 0):
		return 0, abi.EINVAL
	}
	path, errno := t.somePath(pathAddr)
	if errno != 0 {
		return 0, errno
	}
	if flags&abi.O_PATH == 0 {
		flags |= abi.O_LARGEFILE
	}
	files, limit := t.proc.files, t.maxFD()
	if t.proc.live.Load() == 1 {
		// Nobody else can take the last free descriptor meanwhile.
		if uint64(files.free(0)) >= limit {
			return 0, abi.EMFILE
		}
		d, errno := t.openAt(at, path, flags, mode)
		if errno != 0 {
			return 0, errno
		}
		return t.addFile(d, flags&abi.O_CLOEXEC != 0)
	}
	fd, errno := files.reserve(0, limit, flags&abi.O_CLOEXEC != 0)
	if errno != 0 {
		return 0, errno
	}
	d, errno := t.openAt(at, path, flags, mode)
	if errno != 0 {
		files.unreserve(fd)
		return 0, errno
	}
	files.install(fd, d)
	return uint64(fd), 0
}

// openAt opens path and returns its description with a reference.
func (t *Task) openAt(at int32, path string, flags, mode uint32) (*description, abi.Errno) {
	p, errno := t.startAt(at, path)
	if errno != 0 {
		return nil, errno
	}
	dentry, _, errno := t.kernel.ns.Open(t.lockFS(), p.at, path, int(flags), mode)
	t.unlockFS()
	p.done()
	if errno != 0 {
		return nil, errno
	}
	if flags&abi.O_TRUNC != 0 {
		t.kernel.truncated()
	}
	return t.openDentry(dentry, flags)
}

// openDentry makes a description of what a path walk or a link of /proc/PID/fd has found, with
// access already checked. It takes over the reference to dentry.
func (t *Task) openDentry(dentry *vfs.Dentry, flags uint32) (*description, abi.Errno) {
	node := dentry.Node()
	status := flags & statusFlags
	access := accessMode(flags)
	if flags&abi.O_PATH != 0 {
		return t.kernel.newDescription(dentry, pathFile{}, modePath, status)
	}
	if s, ok := node.(reopener); ok {
		return s.reopen(t, dentry, access, status)
	}
	switch node.Mode() & abi.S_IFMT {
	case abi.S_IFREG:
		return t.kernel.newContent(dentry, regularFile{}, access|modeSeek, status)
	case abi.S_IFDIR:
		return t.kernel.newContent(dentry, directory{}, access|modeSeek, status)
	case abi.S_IFIFO:
		return t.openFIFO(dentry, access, status)
	case abi.S_IFCHR:
		return t.openDevice(dentry, access, status)
	}
	dentry.Unref()
	return nil, abi.ENXIO // sockets; block devices, of which there are none
}

// reopener is a node of the kernel's own (a pipe, a stream of the host) that can be opened
// through a link of /proc/PID/fd. It takes over the reference to dentry.
type reopener interface {
	reopen(t *Task, dentry *vfs.Dentry, m mode, flags uint32) (*description, abi.Errno)
}

// pathReadlink is readlinkat(2).
func (t *Task) pathReadlink(at int32, pathAddr, buf abi.Addr, n uint64) (uint64, abi.Errno) {
	if int32(n) <= 0 {
		return 0, abi.EINVAL
	}
	path, p, errno := t.emptyNameAt(at, pathAddr, abi.AT_EMPTY_PATH)
	if errno != 0 {
		return 0, errno
	}
	defer p.done()
	if path == "" && p.at == nil {
		return 0, abi.ENOENT
	}
	target, errno := t.kernel.ns.Readlink(t.lockFS(), p.at, path)
	t.unlockFS()
	if errno != 0 {
		return 0, errno
	}
	target = target[:min(len(target), int(int32(n)))]
	t.dst = guestDest{addr: buf, left: uint64(len(target))}
	if done, errno := t.dst.Put(stringBytes(target)); done < len(target) {
		return 0, errno
	}
	return uint64(len(target)), 0
}

// pathMkdir is mkdirat(2).
func (t *Task) pathMkdir(at int32, pathAddr abi.Addr, mode uint32) (uint64, abi.Errno) {
	path, p, errno := t.nameAt(at, pathAddr)
	if errno != 0 {
		return 0, errno
	}
	errno = t.kernel.ns.Mkdir(t.lockFS(), p.at, path, mode)
	t.unlockFS()
	p.done()
	return 0, errno
}

// pathMknod is mknodat(2).
func (t *Task) pathMknod(at int32, pathAddr abi.Addr, mode uint32, dev uint64) (uint64, abi.Errno) {
	switch mode & abi.S_IFMT {
	case 0, abi.S_IFREG, abi.S_IFCHR, abi.S_IFBLK, abi.S_IFIFO, abi.S_IFSOCK:
	case abi.S_IFDIR:
		return 0, abi.EPERM
	default:
		return 0, abi.EINVAL
	}
	path, p, errno := t.nameAt(at, pathAddr)
	if errno != 0 {
		return 0, errno
	}
	// The call's device number has 32 bits in Linux, of which the encoding uses all.
	errno = t.kernel.ns.Mknod(t.lockFS(), p.at, path, mode, uint64(uint32(dev)))
	t.unlockFS()
	p.done()
	return 0, errno
}

// pathUnlink is unlinkat(2).
func (t *Task) pathUnlink(at int32, pathAddr abi.Addr, flags uint32) (uint64, abi.Errno) {
	if flags&^abi.AT_REMOVEDIR != 0 {
		return 0, abi.EINVAL
	}
	path, p, errno := t.nameAt(at, pathAddr)
	if errno != 0 {
		return 0, errno
	}
	c := t.lockFS()
	if flags&abi.AT_REMOVEDIR != 0 {
		errno = t.kernel.ns.Rmdir(c, p.at, path)
	} else {
		errno = t.kernel.ns.Unlink(c, p.at, path)
	}
	t.unlockFS()
	p.done()
	return 0, errno
}

// pathRename is renameat2(2). RENAME_WHITEOUT is for overlay file systems, of which there are none.
func (t *Task) pathRename(at int32, oldAddr abi.Addr, toAt int32, newAddr abi.Addr, flags uint32) (uint64, abi.Errno) {
	if flags&^(abi.RENAME_NOREPLACE|abi.RENAME_EXCHANGE) != 0 ||
		flags == abi.RENAME_NOREPLACE|abi.RENAME_EXCHANGE {
		return 0, abi.EINVAL
	}
	old, errno := t.somePath(oldAddr)
	if errno != 0 {
		return 0, errno
	}
	from, errno := t.startAt(at, old)
	if errno != 0 {
		return 0, errno
	}
	defer from.done()
	new, to, errno := t.secondName(toAt, newAddr)
	if errno != 0 {
		// What is wrong with the way to the first name comes first.
		if dir := parentPath(old); dir != "" {
			if e := t.walkable(&from, dir, 0); e != 0 {
				errno = e
			}
		}
		return 0, errno
	}
	errno = t.kernel.ns.Rename(t.lockFS(), from.at, old, to.at, new, flags)
	t.unlockFS()
	to.done()
	return 0, errno
}

// parentPath returns what precedes the last component of a path: "" for a name alone.
func parentPath(path string) string {
	path = strings.TrimRight(path, "/")
	return path[:strings.LastIndexByte(path, '/')+1]
}

// pathLink is linkat(2).
func (t *Task) pathLink(at int32, oldAddr abi.Addr, toAt int32, newAddr abi.Addr, flags uint32) (uint64, abi.Errno) {
	if flags&^(abi.AT_SYMLINK_FOLLOW|abi.AT_EMPTY_PATH) != 0 {
		return 0, abi.EINVAL
	}
	old, from, errno := t.emptyNameAt(at, oldAddr, flags)
	if errno != 0 {
		return 0, errno
	}
	defer from.done()
	if old == "" && t.proc.fs().UID != 0 { // CAP_DAC_READ_SEARCH
		return 0, abi.ENOENT
	}
	new, to, errno := t.secondName(toAt, newAddr)
	if errno != 0 {
		walkFlags := flags & abi.AT_EMPTY_PATH
		if flags&abi.AT_SYMLINK_FOLLOW == 0 {
			walkFlags |= abi.AT_SYMLINK_NOFOLLOW
		}
		if e := t.walkable(&from, old, walkFlags); e != 0 {
			errno = e
		}
		return 0, errno
	}
	errno = t.kernel.ns.Link(t.lockFS(), from.at, old, to.at, new, int(flags))
	t.unlockFS()
	to.done()
	return 0, errno
}

// secondName is nameAt for the second path of a call.
func (t *Task) secondName(at int32, a abi.Addr) (string, place, abi.Errno) {
	path, errno := t.secondPath(a)
	if errno == 0 && path == "" {
		errno = abi.ENOENT
	}
	if errno != 0 {
		return "", place{}, errno
	}
	p, errno := t.startAt(at, path)
	return path, p, errno
}

// walkable tells what is wrong with a path.
func (t *Task) walkable(p *place, path string, flags uint32) abi.Errno {
	d, errno := t.kernel.ns.Walk(t.lockFS(), p.at, path, int(flags))
	t.unlockFS()
	if errno == 0 {
		d.Unref()
	}
	return errno
}

// pathSymlink is symlinkat(2).
func (t *Task) pathSymlink(targetAddr abi.Addr, at int32, pathAddr abi.Addr) (uint64, abi.Errno) {
	target, errno := t.secondPath(targetAddr)
	if errno == 0 && target == "" {
		errno = abi.ENOENT
	}
	if errno != 0 {
		return 0, errno
	}
	path, p, errno := t.nameAt(at, pathAddr)
	if errno != 0 {
		return 0, errno
	}
	errno = t.kernel.ns.Symlink(t.lockFS(), target, p.at, path)
	t.unlockFS()
	p.done()
	return 0, errno
}

// sysSync is sync(2), which has no way to fail.
func (t *Task) sysSync() (uint64, abi.Errno) {
	t.kernel.ns.Sync()
	return 0, 0
}
