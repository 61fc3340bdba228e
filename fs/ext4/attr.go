package ext4

import (
	"pinhole/abi"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

func timespec(t disk.Time) vfs.Timespec { return vfs.Timespec{Sec: t.Sec, Nsec: t.Nsec} }

// Attr implements vfs.Node.
func (n *inode) Attr(a *vfs.Attr) abi.Errno {
	n.mu.RLock()
	if n.loadErr != nil {
		n.mu.RUnlock()
		return errno(n.loadErr)
	}
	d := &n.d
	// Field by field and without defer: this is most of what stat costs.
	a.Dev = 0
	a.Ino = uint64(n.ino)
	a.Mode = uint32(d.Mode)
	a.Nlink = uint32(d.Links)
	a.UID, a.GID = d.UID, d.GID
	a.Rdev = 0
	a.Size = n.size
	a.Blksize = int32(n.fs.bs)
	a.Blocks = int64(d.Blocks)
	a.Atime, a.Mtime, a.Ctime, a.Btime = timespec(d.Atime), timespec(d.Mtime), timespec(d.Ctime), timespec(d.Crtime)
	if d.Flags&disk.InodeHugeFile != 0 {
		a.Blocks = int64(d.Blocks) << (n.fs.bsLog - 9)
	}
	a.Blocks += (n.space.delayed + n.space.claimed) << (n.fs.bsLog - 9)
	if n.wroteDue {
		t := disk.ClampTime(n.wrote, n.extraTime())
		a.Mtime, a.Ctime = timespec(t), timespec(later(t, d.Ctime))
	}
	switch uint32(d.Mode) & abi.S_IFMT {
	case abi.S_IFCHR, abi.S_IFBLK:
		a.Rdev = n.rdev()
	}
	n.mu.RUnlock()
	return 0
}

// SetAttr implements vfs.Node.
func (n *inode) SetAttr(s *vfs.SetAttr) abi.Errno {
	if n.fs.readOnly.Load() {
		return abi.EROFS
	}
	if s.Mask&vfs.SetSize != 0 {
		switch n.mode.Load() & abi.S_IFMT {
		case abi.S_IFREG:
		case abi.S_IFDIR:
			return abi.EISDIR
		default:
			return abi.EINVAL
		}
		if err := n.resize(s.Size); err != nil {
			return errno(err)
		}
		if s.Mask == vfs.SetSize {
			return 0
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	list := xattrChange{n: n}
	if s.Mask&vfs.SetMode != 0 {
		var err error
		if list, err = n.chmodACL(s.Mode); err != nil {
			return errno(err)
		}
	}
	h, err := n.fs.begin(xattrCredits)
	if err != nil {
		return errno(err)
	}
	defer h.end()
	if err := h.inode(n); err != nil {
		return errno(err)
	}
	if err := list.apply(h); err != nil {
		return errno(err)
	}
	n.setAttr(s)
	n.touched(h, false)
	return 0
}

// setAttr changes all but the size. The inode is announced.
func (n *inode) setAttr(s *vfs.SetAttr) {
	d := &n.d
	now := disk.ClampTime(n.fs.now(), n.extraTime())
	if s.Mask&vfs.SetMode != 0 {
		n.setMode(d.Mode&^0o7777 | uint16(s.Mode&0o7777))
	}
	if s.Mask&vfs.SetUID != 0 {
		d.UID = s.UID
	}
	if s.Mask&vfs.SetGID != 0 {
		d.GID = s.GID
	}
	set := func(t *disk.Time, to vfs.Timespec) {
		*t = disk.ClampTime(disk.Time{Sec: to.Sec, Nsec: to.Nsec}, n.extraTime())
	}
	if s.Mask&vfs.SetAtime != 0 {
		set(&d.Atime, s.Atime)
	}
	if s.Mask&(vfs.SetMtime|vfs.SetMtimeNow) != 0 {
		n.wroteDue = false
	}
	if s.Mask&vfs.SetMtime != 0 {
		set(&d.Mtime, s.Mtime)
	}
	if s.Mask&vfs.SetAtimeNow != 0 {
		d.Atime = now
	}
	if s.Mask&vfs.SetMtimeNow != 0 {
		d.Mtime = now
	}
	d.Ctime = now
	n.atimeDue.Store(atimeIsOld(d, now.Sec))
}

// Flags that users can change, by chattr(1). Those that say how content is stored (in extents, in the
// journal, folded) are not among them.
const userFlags = disk.InodeSecRm | disk.InodeUnRm | disk.InodeCompr | disk.InodeSync | disk.InodeImmutable |
	disk.InodeAppend | disk.InodeNoDump | disk.InodeNoAtime | disk.InodeNoTail | disk.InodeDirSync | disk.InodeTopDir

// inheritedFlags are passed on from a directory to what is made in it.
const inheritedFlags = disk.InodeSecRm | disk.InodeUnRm | disk.InodeCompr | disk.InodeSync | disk.InodeNoDump |
	disk.InodeNoAtime | disk.InodeNoCompr | disk.InodeNoTail | disk.InodeDirSync

// shownFlags are those that lsattr(1) shows.
const shownFlags = userFlags | disk.InodeNoCompr | disk.InodeEncrypt | disk.InodeIndex | disk.InodeJournalData |
	disk.InodeExtents | disk.InodeVerity | disk.InodeInline | disk.InodeProjInh | disk.InodeCasefold

// flagsFor returns those of flags that mean something for a file of the mode.
func flagsFor(mode, flags uint32) uint32 {
	switch mode & abi.S_IFMT {
	case abi.S_IFDIR:
		return flags
	case abi.S_IFREG:
		return flags &^ (disk.InodeDirSync | disk.InodeTopDir)
	}
	return flags & (disk.InodeNoDump | disk.InodeNoAtime)
}

// Flags implements vfs.FlagNode. ext4's flags have the values of Linux's FS_*_FL.
func (n *inode) Flags() uint32 { return n.flag.Load() & shownFlags }

// SetFlags implements vfs.FlagNode.
func (n *inode) SetFlags(flags uint32) abi.Errno {
	fs := n.fs
	if fs.readOnly.Load() {
		return abi.EROFS
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	changed := (n.d.Flags ^ flags) & shownFlags
	if flags&^shownFlags != 0 || changed&^userFlags != 0 || flagsFor(n.mode.Load(), changed) != changed {
		return abi.EOPNOTSUPP
	}
	h, err := fs.begin(superCredits + attrCredits)
	if err != nil {
		return errno(err)
	}
	defer h.end()
	if err := h.inode(n); err != nil {
		return errno(err)
	}
	n.setFlags(n.d.Flags ^ changed)
	n.stamp(fs.now(), false)
	n.touched(h, false)
	return 0
}
