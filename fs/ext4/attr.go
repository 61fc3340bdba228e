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
	defer n.mu.RUnlock()
	if n.loadErr != nil {
		return errno(n.loadErr)
	}
	d := &n.d
	*a = vfs.Attr{
		Ino:     uint64(n.ino),
		Mode:    uint32(d.Mode),
		Nlink:   uint32(d.Links),
		UID:     d.UID,
		GID:     d.GID,
		Size:    n.size,
		Blksize: int32(n.fs.bs),
		Blocks:  int64(d.Blocks),
		Atime:   timespec(d.Atime),
		Mtime:   timespec(d.Mtime),
		Ctime:   timespec(d.Ctime),
		Btime:   timespec(d.Crtime),
	}
	if d.Flags&disk.InodeHugeFile != 0 {
		a.Blocks = int64(d.Blocks) << (n.fs.bsLog - 9)
	}
	switch uint32(d.Mode) & abi.S_IFMT {
	case abi.S_IFCHR, abi.S_IFBLK:
		a.Rdev = n.rdev()
	}
	return 0
}
