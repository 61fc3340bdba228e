package emu

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

// putStat writes t.attr to the guest as struct stat.
func (t *Task) putStat(buf abi.Addr) abi.Errno {
	a := &t.attr
	s := abi.Stat{
		Dev: a.Dev, Ino: a.Ino, Nlink: uint64(a.Nlink), Mode: a.Mode, UID: a.UID, GID: a.GID, Rdev: a.Rdev,
		Size: a.Size, Blksize: int64(a.Blksize), Blocks: a.Blocks,
		Atime: timespec(a.Atime), Mtime: timespec(a.Mtime), Ctime: timespec(a.Ctime),
	}
	s.Encode(t.scratch[:])
	return t.putStruct(buf, abi.StatSize)
}

func timespec(v vfs.Timespec) abi.Timespec { return abi.Timespec{Sec: v.Sec, Nsec: int64(v.Nsec)} }

const statFlags = abi.AT_SYMLINK_NOFOLLOW | abi.AT_EMPTY_PATH | abi.AT_NO_AUTOMOUNT

// pathStat is fstatat(2).
func (t *Task) pathStat(at int32, pathAddr, buf abi.Addr, flags uint32) (uint64, abi.Errno) {
	if flags&^(statFlags|abi.AT_STATX_SYNC_TYPE) != 0 {
		return 0, abi.EINVAL
	}
	if errno := t.stat(at, pathAddr, flags); errno != 0 {
		return 0, errno
	}
	return 0, t.putStat(buf)
}

// statName is emptyNameAt, but that no path at all is as an empty one, as on Linux 6.11 and later.
func (t *Task) statName(at int32, pathAddr abi.Addr, flags uint32) (string, place, abi.Errno) {
	if pathAddr == 0 && flags&abi.AT_EMPTY_PATH != 0 {
		p, errno := t.startAt(at, "")
		return "", p, errno
	}
	return t.emptyNameAt(at, pathAddr, flags)
}

// stat fills t.attr.
func (t *Task) stat(at int32, pathAddr abi.Addr, flags uint32) abi.Errno {
	path, p, errno := t.statName(at, pathAddr, flags)
	if errno != 0 {
		return errno
	}
	if path == "" && p.at != nil {
		errno = p.at.Attr(&t.attr)
	} else {
		errno = t.kernel.ns.Stat(t.lockFS(), p.at, path, int(flags), &t.attr)
		t.unlockFS()
	}
	p.done()
	return errno
}

// pathStatx is statx(2). All fields that exist are filled in, whatever the mask asks for.
func (t *Task) pathStatx(at int32, pathAddr abi.Addr, flags, mask uint32, buf abi.Addr) (uint64, abi.Errno) {
	if flags&^(statFlags|abi.AT_STATX_SYNC_TYPE) != 0 || mask&abi.STATX__RESERVED != 0 ||
		flags&abi.AT_STATX_SYNC_TYPE == abi.AT_STATX_SYNC_TYPE {
		return 0, abi.EINVAL
	}
	d, errno := t.statDentry(at, pathAddr, flags)
	if errno != 0 {
		return 0, errno
	}
	defer d.Unref()
	if errno := d.Attr(&t.attr); errno != 0 {
		return 0, errno
	}
	a := &t.attr
	s := abi.Statx{
		Mask: abi.STATX_BASIC_STATS | abi.STATX_MNT_ID, MountID: d.MountID(), Blksize: uint32(a.Blksize), Nlink: a.Nlink, UID: a.UID, GID: a.GID,
		Mode: uint16(a.Mode), Ino: a.Ino, Size: uint64(a.Size), Blocks: uint64(a.Blocks),
		Atime: timespec(a.Atime), Mtime: timespec(a.Mtime), Ctime: timespec(a.Ctime),
		RdevMajor: abi.Major(a.Rdev), RdevMinor: abi.Minor(a.Rdev),
		DevMajor: abi.Major(a.Dev), DevMinor: abi.Minor(a.Dev),
	}
	if a.Btime != (vfs.Timespec{}) {
		s.Mask |= abi.STATX_BTIME
		s.Btime = timespec(a.Btime)
	}
	s.AttributesMask = abi.STATX_ATTR_MOUNT_ROOT
	if d.IsMountRoot() {
		s.Attributes = abi.STATX_ATTR_MOUNT_ROOT
	}
	if flags, errno := d.Flags(); errno == 0 {
		// The three have the same numbers here and there.
		const same = abi.STATX_ATTR_IMMUTABLE | abi.STATX_ATTR_APPEND | abi.STATX_ATTR_NODUMP
		s.Attributes |= uint64(flags & same)
		s.AttributesMask |= same
	}
	if mask&abi.STATX_DIOALIGN != 0 && a.Mode&abi.S_IFMT == abi.S_IFREG && isOnImage(d.Node()) {
		s.Mask |= abi.STATX_DIOALIGN
		s.DIOMemAlign, s.DIOOffsetAlign = directAlign, directAlign
	}
	s.Encode(t.scratch[:])
	return 0, t.putStruct(buf, abi.StatxSize)
}

// statDentry is stat that returns the place, with a reference.
func (t *Task) statDentry(at int32, pathAddr abi.Addr, flags uint32) (*vfs.Dentry, abi.Errno) {
	path, p, errno := t.statName(at, pathAddr, flags)
	if errno != 0 {
		return nil, errno
	}
	defer p.done()
	if path == "" && p.at != nil {
		p.at.Ref()
		return p.at, 0
	}
	defer t.unlockFS()
	return t.kernel.ns.Walk(t.lockFS(), p.at, path, int(flags))
}

// pathAccess is faccessat2(2).
func (t *Task) pathAccess(at int32, pathAddr abi.Addr, mode, flags uint32) (uint64, abi.Errno) {
	if mode&^(abi.R_OK|abi.W_OK|abi.X_OK) != 0 ||
		flags&^(abi.AT_EACCESS|abi.AT_SYMLINK_NOFOLLOW|abi.AT_EMPTY_PATH) != 0 {
		return 0, abi.EINVAL
	}
	path, p, errno := t.emptyNameAt(at, pathAddr, flags)
	if errno != 0 {
		return 0, errno
	}
	defer p.done()
	c := t.lockFS()
	defer t.unlockFS()
	if uid, gid := t.proc.realIDs(); flags&abi.AT_EACCESS == 0 && (uid != c.UID || gid != c.GID) {
		asked := *c
		asked.UID, asked.GID = uid, gid
		c = &asked
	}
	return 0, t.kernel.ns.Access(c, p.at, path, mode, int(flags))
}

// realIDs returns the real user and group id.
func (p *Process) realIDs() (uid, gid uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ids.user.real, p.ids.group.real
}

// setAttr does what chmod, chown and utimensat have in common.
func (t *Task) setAttr(at int32, pathAddr abi.Addr, flags uint32, s *vfs.SetAttr) (uint64, abi.Errno) {
	path, p, errno := t.emptyNameAt(at, pathAddr, flags)
	if errno != 0 {
		return 0, errno
	}
	errno = t.kernel.ns.SetAttr(t.lockFS(), p.at, path, int(flags), s)
	t.unlockFS()
	p.done()
	return 0, errno
}

// pathChmod is fchmodat2(2).
func (t *Task) pathChmod(at int32, pathAddr abi.Addr, mode, flags uint32) (uint64, abi.Errno) {
	if flags&^(abi.AT_SYMLINK_NOFOLLOW|abi.AT_EMPTY_PATH) != 0 {
		return 0, abi.EINVAL
	}
	return t.setAttr(at, pathAddr, flags, &vfs.SetAttr{Mask: vfs.SetMode, Mode: mode & 0o7777})
}

// pathChown is fchownat(2).
func (t *Task) pathChown(at int32, pathAddr abi.Addr, uid, gid, flags uint32) (uint64, abi.Errno) {
	if flags&^(abi.AT_SYMLINK_NOFOLLOW|abi.AT_EMPTY_PATH) != 0 {
		return 0, abi.EINVAL
	}
	return t.setAttr(at, pathAddr, flags, owners(uid, gid))
}

// owners makes a change of owner and group; -1 leaves one as it is.
func owners(uid, gid uint32) *vfs.SetAttr {
	s := &vfs.SetAttr{UID: uid, GID: gid}
	if uid != ^uint32(0) {
		s.Mask |= vfs.SetUID
	}
	if gid != ^uint32(0) {
		s.Mask |= vfs.SetGID
	}
	return s
}

// pathTimes is utimensat(2); without a path it is futimens(3).
func (t *Task) pathTimes(at int32, pathAddr, times abi.Addr, flags uint32) (uint64, abi.Errno) {
	s := &vfs.SetAttr{Mask: vfs.SetAtimeNow | vfs.SetMtimeNow}
	valid := true
	if times != 0 {
		if errno := t.getStruct(times, 2*abi.TimespecSize); errno != 0 {
			return 0, errno
		}
		var a, m abi.Timespec
		a.Decode(t.scratch[:])
		m.Decode(t.scratch[abi.TimespecSize:])
		s.Mask = 0
		valid = setTime(a, &s.Atime, &s.Mask, vfs.SetAtime, vfs.SetAtimeNow) &&
			setTime(m, &s.Mtime, &s.Mask, vfs.SetMtime, vfs.SetMtimeNow)
		if s.Mask == 0 && valid {
			return 0, 0 // both UTIME_OMIT: nothing else is looked at
		}
	}
	if pathAddr == 0 && at != abi.AT_FDCWD {
		if flags != 0 {
			return 0, abi.EINVAL
		}
		d, errno := t.file(at)
		if errno != 0 {
			return 0, errno
		}
		defer d.unref()
		if !valid {
			return 0, abi.EINVAL
		}
		return 0, t.setOpen(d, s)
	}
	if flags&^(abi.AT_SYMLINK_NOFOLLOW|abi.AT_EMPTY_PATH) != 0 {
		return 0, abi.EINVAL
	}
	if !valid { // which is EINVAL only if the path leads somewhere
		if errno := t.stat(at, pathAddr, flags); errno != 0 {
			return 0, errno
		}
		return 0, abi.EINVAL
	}
	return t.setAttr(at, pathAddr, flags, s)
}

// setTime translates one time of utimensat; false if it is none.
func setTime(v abi.Timespec, to *vfs.Timespec, mask *uint32, set, now uint32) bool {
	switch {
	case v.Nsec == abi.UTIME_NOW:
		*mask |= now
	case v.Nsec == abi.UTIME_OMIT:
	case uint64(v.Nsec) < 1e9:
		*mask |= set
		*to = vfs.Timespec{Sec: v.Sec, Nsec: int32(v.Nsec)}
	default:
		return false
	}
	return true
}

// pathTruncate is truncate(2).
func (t *Task) pathTruncate(pathAddr abi.Addr, n int64) (uint64, abi.Errno) {
	if n < 0 {
		return 0, abi.EINVAL
	}
	path, errno := t.somePath(pathAddr)
	if errno != 0 {
		return 0, errno
	}
	c := t.lockFS()
	defer t.unlockFS()
	if limit := t.proc.limit(abi.RLIMIT_FSIZE); uint64(n) > limit {
		if errno := t.kernel.ns.Stat(c, nil, path, 0, &t.attr); errno != 0 {
			return 0, errno
		}
		if t.attr.Mode&abi.S_IFMT == abi.S_IFREG && n > t.attr.Size {
			t.signal(abi.SIGXFSZ)
			return 0, abi.EFBIG
		}
	}
	defer t.kernel.truncated()
	return 0, t.kernel.ns.Truncate(c, nil, path, n)
}

// pathStatfs is statfs(2).
func (t *Task) pathStatfs(pathAddr, buf abi.Addr) (uint64, abi.Errno) {
	path, errno := t.somePath(pathAddr)
	if errno != 0 {
		return 0, errno
	}
	d, errno := t.kernel.ns.Walk(t.lockFS(), nil, path, 0)
	t.unlockFS()
	if errno != 0 {
		return 0, errno
	}
	errno = t.statfs(d, buf)
	d.Unref()
	return 0, errno
}

// statfs writes what is known of d's file system to the guest as struct statfs.
func (t *Task) statfs(d *vfs.Dentry, buf abi.Addr) abi.Errno {
	var f vfs.StatFS
	if fs := d.FS(); fs != nil {
		if errno := fs.StatFS(&f); errno != 0 {
			return errno
		}
		if fs.ReadOnly() {
			f.Flags |= abi.ST_RDONLY
		}
	} else {
		f = vfs.StatFS{Type: abi.PIPEFS_MAGIC, Bsize: 4096, Namelen: abi.NAME_MAX}
	}
	s := abi.Statfs{
		Type: int64(f.Type), Bsize: f.Bsize, Blocks: f.Blocks, Bfree: f.Bfree, Bavail: f.Bavail,
		Files: f.Files, Ffree: f.Ffree, Fsid: f.Fsid, Namelen: f.Namelen, Frsize: f.Bsize,
		Flags: int64(f.Flags | abi.ST_VALID),
	}
	s.Encode(t.scratch[:])
	return t.putStruct(buf, abi.StatfsSize)
}
