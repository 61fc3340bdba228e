package emu

import (
	"encoding/binary"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// contentIoctl does the requests that files and directories have in common. Errors as ext4 gives
// them: ENOTTY where nobody knows the request, EOPNOTSUPP where a file system might do it.
func (t *Task) contentIoctl(d *description, cmd uint32, arg abi.Addr) abi.Errno {
	switch cmd {
	case abi.FIGETBSZ:
		if errno := d.node.Attr(&t.attr); errno != 0 {
			return errno
		}
		return t.putInt(arg, t.attr.Blksize)
	case abi.FS_IOC_GETFLAGS:
		flags, errno := d.dentry.Flags()
		if errno != 0 {
			return errno
		}
		return t.putInt(arg, int32(flags)) // an int, in spite of its number
	case abi.FS_IOC_SETFLAGS:
		if errno := t.getStruct(arg, 4); errno != 0 {
			return errno
		}
		defer t.unlockFS()
		return d.dentry.SetFlags(t.lockFS(), binary.LittleEndian.Uint32(t.scratch[:]))
	case abi.FS_IOC_FIEMAP, abi.FICLONE, abi.FICLONERANGE, abi.FIDEDUPERANGE:
		return abi.EOPNOTSUPP
	case abi.FITRIM, abi.FIFREEZE, abi.FITHAW:
		if t.proc.uid() != 0 {
			return abi.EPERM
		}
		return abi.EOPNOTSUPP
	}
	return abi.ENOTTY
}

// directAlign is what offsets, lengths and addresses are multiples of in the calls on a file opened
// with O_DIRECT: the sector of the disk. Content goes through the cache all the same.
const directAlign = 512

// aligned checks the n bytes at off, and the memory that they go to or come from, for O_DIRECT. Files
// that do not lie on the image take everything, as those of tmpfs.
func aligned(d *description, off int64, n int, mem any) bool {
	if !isOnImage(d.node) {
		return true
	}
	all := uint64(n)
	if off != vfs.AtEnd {
		all |= uint64(off)
	}
	switch m := mem.(type) {
	case *guestDest:
		all |= alignment(m.addr, m.left, m.rest)
	case *guestSource:
		all |= alignment(m.addr, m.left, m.rest)
	default:
		return true // the kernel's own, between two files
	}
	return all%directAlign == 0
}

func alignment(addr abi.Addr, left uint64, rest []abi.Iovec) uint64 {
	all := uint64(0)
	if left > 0 {
		all = uint64(addr) | left
	}
	for _, v := range rest {
		all |= uint64(v.Base) | v.Len
	}
	return all
}
