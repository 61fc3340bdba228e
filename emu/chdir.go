package emu

import (
	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/fs/vfs"
)

// procUmask is umask(2).
func (t *Task) procUmask(mask uint32) (uint64, abi.Errno) {
	var old uint32
	t.proc.changeFS(func(c *vfs.Context) abi.Errno {
		old, c.Umask = c.Umask, mask&0o777
		return 0
	})
	return uint64(old), 0
}

// procChdir is chdir(2).
func (t *Task) procChdir(pathAddr abi.Addr) (uint64, abi.Errno) {
	d, errno := t.directory(pathAddr)
	if errno != 0 {
		return 0, errno
	}
	t.proc.setCwd(d)
	return 0, 0
}

// procFchdir is fchdir(2).
func (t *Task) procFchdir(fd int32) (uint64, abi.Errno) {
	d, errno := t.fileOrPath(fd)
	if errno != 0 {
		return 0, errno
	}
	defer d.unref()
	if !d.dentry.IsDir() {
		return 0, abi.ENOTDIR
	}
	if errno := t.maySearch(d.dentry); errno != 0 {
		return 0, errno
	}
	d.dentry.Ref()
	t.proc.setCwd(d.dentry)
	return 0, 0
}

// procChroot is chroot(2).
func (t *Task) procChroot(pathAddr abi.Addr) (uint64, abi.Errno) {
	d, errno := t.directory(pathAddr)
	if errno != 0 {
		return 0, errno
	}
	if t.proc.uid() != 0 {
		d.Unref()
		return 0, abi.EPERM
	}
	t.proc.setRoot(d)
	return 0, 0
}

// directory returns the directory at a path that the process may search, with a reference.
func (t *Task) directory(pathAddr abi.Addr) (*vfs.Dentry, abi.Errno) {
	path, errno := t.somePath(pathAddr)
	if errno != 0 {
		return nil, errno
	}
	d, errno := t.kernel.ns.Walk(t.lockFS(), nil, path, 0)
	t.unlockFS()
	if errno != 0 {
		return nil, errno
	}
	if !d.IsDir() {
		errno = abi.ENOTDIR
	} else {
		errno = t.maySearch(d)
	}
	if errno != 0 {
		d.Unref()
		return nil, errno
	}
	return d, 0
}

func (t *Task) maySearch(d *vfs.Dentry) abi.Errno {
	if errno := d.Attr(&t.attr); errno != 0 {
		return errno
	}
	defer t.unlockFS()
	return t.lockFS().Permit(t.attr.Mode, t.attr.UID, t.attr.GID, abi.X_OK)
}

// procCwd is getcwd(2): the path and its NUL, whose length it returns.
func (t *Task) procCwd(buf abi.Addr, n uint64) (uint64, abi.Errno) {
	c := t.lockFS()
	cwd := c.Cwd
	if cwd == nil {
		cwd = c.Root
	}
	path := "/"
	var errno abi.Errno
	if cwd != nil {
		path, errno = t.kernel.ns.PathTo(c, cwd)
	}
	t.unlockFS()
	if errno != 0 {
		return 0, errno
	}
	if uint64(len(path))+1 > n {
		return 0, abi.ERANGE
	}
	if len(path)+1 > abi.PATH_MAX {
		return 0, abi.ENAMETOOLONG
	}
	b := append([]byte(path), 0)
	if guest.CopyOut(buf, b) < len(b) {
		return 0, abi.EFAULT
	}
	return uint64(len(b)), 0
}
