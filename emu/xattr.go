package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/fs/vfs"
)

// xattrName copies an attribute's name from the guest. ERANGE: it is empty or too long.
func xattrName(a abi.Addr) (string, abi.Errno) {
	var b [abi.XATTR_NAME_MAX + 1]byte
	n, ok := guest.CopyString(b[:], a)
	switch {
	case ok && n > 0:
		return string(b[:n]), 0
	case ok, n == len(b):
		return "", abi.ERANGE
	}
	return "", abi.EFAULT
}

// xattrAt walks to a file whose attributes are meant; the caller calls unlockFS and lets go of it.
func (t *Task) xattrAt(pathAddr abi.Addr, flags uint32) (*vfs.Context, *vfs.Dentry, abi.Errno) {
	if flags&^abi.AT_SYMLINK_NOFOLLOW != 0 {
		return nil, nil, abi.EINVAL
	}
	path, errno := t.somePath(pathAddr)
	if errno != 0 {
		return nil, nil, errno
	}
	c := t.lockFS()
	d, errno := t.kernel.ns.Walk(c, nil, path, int(flags))
	if errno != 0 {
		t.unlockFS()
	}
	return c, d, errno
}

// xattrGet is getxattr(2).
func (t *Task) xattrGet(path, name, value abi.Addr, n uint64, flags uint32) (uint64, abi.Errno) {
	c, d, errno := t.xattrAt(path, flags)
	if errno != 0 {
		return 0, errno
	}
	defer t.unlockFS()
	defer d.Unref()
	return getxattr(c, d, name, value, n)
}

// xattrFdGet is fgetxattr(2).
func (t *Task) xattrFdGet(fd int32, name, value abi.Addr, n uint64) (uint64, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	defer t.unlockFS()
	return getxattr(t.lockFS(), d.dentry, name, value, n)
}

func getxattr(c *vfs.Context, d *vfs.Dentry, nameAddr, addr abi.Addr, n uint64) (uint64, abi.Errno) {
	name, errno := xattrName(nameAddr)
	if errno != 0 {
		return 0, errno
	}
	value, errno := d.Getxattr(c, name)
	if errno != 0 {
		return 0, errno
	}
	return answer(value, addr, n)
}

// answer writes a value of unknown length to the guest's n bytes at a, and returns its length; with n 0
// only that.
func answer(value []byte, a abi.Addr, n uint64) (uint64, abi.Errno) {
	switch {
	case n == 0:
	case uint64(len(value)) > n:
		return 0, abi.ERANGE
	case guest.CopyOut(a, value) < len(value):
		return 0, abi.EFAULT
	}
	return uint64(len(value)), 0
}

// xattrList is listxattr(2).
func (t *Task) xattrList(path, list abi.Addr, n uint64, flags uint32) (uint64, abi.Errno) {
	c, d, errno := t.xattrAt(path, flags)
	if errno != 0 {
		return 0, errno
	}
	defer t.unlockFS()
	defer d.Unref()
	return listxattr(c, d, list, n)
}

// xattrFdList is flistxattr(2).
func (t *Task) xattrFdList(fd int32, list abi.Addr, n uint64) (uint64, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	defer t.unlockFS()
	return listxattr(t.lockFS(), d.dentry, list, n)
}

func listxattr(c *vfs.Context, d *vfs.Dentry, addr abi.Addr, n uint64) (uint64, abi.Errno) {
	names, errno := d.Listxattr(c)
	if errno != 0 {
		return 0, errno
	}
	var list []byte
	for _, name := range names {
		list = append(append(list, name...), 0)
	}
	if len(list) > abi.XATTR_LIST_MAX {
		return 0, abi.E2BIG
	}
	return answer(list, addr, n)
}

// xattrSet is setxattr(2).
func (t *Task) xattrSet(path, name, value abi.Addr, n uint64, flags, at uint32) (uint64, abi.Errno) {
	key, content, errno := newXattr(name, value, n, flags)
	if errno != 0 {
		return 0, errno
	}
	c, d, errno := t.xattrAt(path, at)
	if errno != 0 {
		return 0, errno
	}
	defer t.unlockFS()
	defer d.Unref()
	return 0, d.Setxattr(c, key, content, flags)
}

// xattrFdSet is fsetxattr(2).
func (t *Task) xattrFdSet(fd int32, name, value abi.Addr, n uint64, flags uint32) (uint64, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	key, content, errno := newXattr(name, value, n, flags)
	if errno != 0 {
		return 0, errno
	}
	defer t.unlockFS()
	return 0, d.dentry.Setxattr(t.lockFS(), key, content, flags)
}

// newXattr copies an attribute from the guest.
func newXattr(nameAddr, addr abi.Addr, n uint64, flags uint32) (name string, value []byte, _ abi.Errno) {
	if flags&^(abi.XATTR_CREATE|abi.XATTR_REPLACE) != 0 {
		return "", nil, abi.EINVAL
	}
	name, errno := xattrName(nameAddr)
	if errno != 0 {
		return "", nil, errno
	}
	if n > abi.XATTR_SIZE_MAX {
		return "", nil, abi.E2BIG
	}
	value = make([]byte, n)
	if n > 0 && guest.CopyIn(value, addr) < len(value) {
		return "", nil, abi.EFAULT
	}
	return name, value, 0
}

// xattrRemove is removexattr(2).
func (t *Task) xattrRemove(path, name abi.Addr, flags uint32) (uint64, abi.Errno) {
	c, d, errno := t.xattrAt(path, flags)
	if errno != 0 {
		return 0, errno
	}
	defer t.unlockFS()
	defer d.Unref()
	return removexattr(c, d, name)
}

// xattrFdRemove is fremovexattr(2).
func (t *Task) xattrFdRemove(fd int32, name abi.Addr) (uint64, abi.Errno) {
	d, errno := t.file(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	defer t.unlockFS()
	return removexattr(t.lockFS(), d.dentry, name)
}

func removexattr(c *vfs.Context, d *vfs.Dentry, nameAddr abi.Addr) (uint64, abi.Errno) {
	name, errno := xattrName(nameAddr)
	if errno != 0 {
		return 0, errno
	}
	return 0, d.Removexattr(c, name)
}
