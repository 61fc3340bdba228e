// Package hostfs is the host's own file system as a [vfstest.System], made of real system calls, for
// comparing ours with it.
package hostfs

import (
	"encoding/binary"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"pinhole/abi"
	"pinhole/fs/vfs"
	"pinhole/fs/vfs/vfstest"
)

// native is a System on the host: a thread of this process with a root directory, working
// directory, umask and file system ids of its own.
type native struct {
	root  string // on the host
	calls chan func()
	ended chan struct{}
}

// New returns a process of root's whose root directory is the host's directory root, or skips the
// test: it needs rights.
func New(t testing.TB, root string) vfstest.System {
	t.Helper()
	if syscall.Geteuid() != 0 {
		t.Skip("needs root: to change root directory, owners and ids")
	}
	n, err := Start(root)
	if err != nil {
		t.Skipf("no thread with a root directory of its own: %v", err)
	}
	return n
}

// Start is New without a test.
func Start(root string) (vfstest.System, error) {
	n := &native{root: root, calls: make(chan func()), ended: make(chan struct{})}
	ready := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		defer close(n.ended)
		err := unix.Unshare(unix.CLONE_FS)
		top := -1
		if err == nil {
			top, err = unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		}
		if err == nil {
			err = unix.Chroot(root)
		}
		if err == nil {
			err = unix.Chdir("/")
		}
		unix.Umask(0)
		ready <- err
		if err != nil {
			return
		}
		for call := range n.calls {
			call()
		}
		// Away from root, so that what is mounted there can be unmounted when Close returns.
		unix.Fchdir(top)
		unix.Chroot(".")
		unix.Close(top)
	}()
	if err := <-ready; err != nil {
		return nil, err
	}
	return n, nil
}

func (n *native) Become(uid, gid uint32, groups []uint32) {
	n.do(func() error {
		// Raw: for this thread alone, and as root first.
		syscall.RawSyscall(syscall.SYS_SETFSUID, 0, 0, 0)
		setgroups(groups)
		syscall.RawSyscall(syscall.SYS_SETFSGID, uintptr(gid), 0, 0)
		syscall.RawSyscall(syscall.SYS_SETFSUID, uintptr(uid), 0, 0)
		return nil
	})
}

func (n *native) Umask(mask uint32) {
	n.do(func() error { unix.Umask(int(mask)); return nil })
}

// Fork implements vfstest.System; the new process has the root directory as working directory, and root's ids.
func (n *native) Fork() vfstest.System {
	f, err := Start(n.root)
	if err != nil {
		panic(err)
	}
	return f
}

func (n *native) Close() {
	close(n.calls)
	<-n.ended
}

// do runs a call on the process's thread.
func (n *native) do(call func() error) abi.Errno {
	done := make(chan error)
	n.calls <- func() {
		err := call()
		for err == syscall.EINTR {
			err = call()
		}
		done <- err
	}
	if err := <-done; err != nil {
		return abi.Errno(err.(syscall.Errno))
	}
	return 0
}

func setgroups(groups []uint32) {
	syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0)
}

func (n *native) Chdir(path string) abi.Errno {
	return n.do(func() error { return unix.Chdir(path) })
}

func (n *native) Jail(path string) abi.Errno {
	return n.do(func() error {
		err := unix.Chroot(path)
		if err == nil {
			err = unix.Chdir("/")
		}
		if err == nil {
			n.root = filepath.Join(n.root, path)
		}
		return err
	})
}

func (n *native) Getcwd() (string, abi.Errno) {
	buf := make([]byte, 8192)
	k := 0
	e := n.do(func() (err error) {
		k, err = unix.Getcwd(buf)
		return err
	})
	return strings.TrimSuffix(string(buf[:max(k, 0)]), "\x00"), e
}

func (n *native) Open(path string, flags int, mode uint32) (vfstest.File, abi.Errno) {
	fd := -1
	e := n.do(func() (err error) {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, mode)
		return err
	})
	if e != 0 {
		return nil, e
	}
	return &nativeFile{n: n, fd: fd}, 0
}

func atFlags(follow bool) int {
	if follow {
		return 0
	}
	return unix.AT_SYMLINK_NOFOLLOW
}

func attr(st *unix.Stat_t, a *vfs.Attr) {
	ts := func(t unix.Timespec) vfs.Timespec { return vfs.Timespec{Sec: t.Sec, Nsec: int32(t.Nsec)} }
	*a = vfs.Attr{Dev: st.Dev, Ino: st.Ino, Mode: st.Mode, Nlink: uint32(st.Nlink), UID: st.Uid, GID: st.Gid,
		Rdev: st.Rdev, Size: st.Size, Blksize: int32(st.Blksize), Blocks: st.Blocks,
		Atime: ts(st.Atim), Mtime: ts(st.Mtim), Ctime: ts(st.Ctim)}
}

func (n *native) Stat(path string, follow bool, a *vfs.Attr) abi.Errno {
	var st unix.Stat_t
	e := n.do(func() error { return unix.Fstatat(unix.AT_FDCWD, path, &st, atFlags(follow)) })
	attr(&st, a)
	return e
}

func (n *native) Access(path string, mode uint32) abi.Errno {
	return n.do(func() error { return unix.Faccessat2(unix.AT_FDCWD, path, mode, unix.AT_EACCESS) })
}

func (n *native) Readlink(path string) (string, abi.Errno) {
	buf := make([]byte, 8192)
	k := 0
	e := n.do(func() (err error) {
		k, err = unix.Readlinkat(unix.AT_FDCWD, path, buf)
		return err
	})
	return string(buf[:max(k, 0)]), e
}

func (n *native) Mkdir(path string, mode uint32) abi.Errno {
	return n.do(func() error { return unix.Mkdirat(unix.AT_FDCWD, path, mode) })
}

func (n *native) Mknod(path string, mode uint32, dev uint64) abi.Errno {
	return n.do(func() error { return unix.Mknodat(unix.AT_FDCWD, path, mode, int(dev)) })
}

func (n *native) Symlink(target, path string) abi.Errno {
	return n.do(func() error { return unix.Symlinkat(target, unix.AT_FDCWD, path) })
}

func (n *native) Link(old, new string, follow bool) abi.Errno {
	flags := 0
	if follow {
		flags = unix.AT_SYMLINK_FOLLOW
	}
	return n.do(func() error { return unix.Linkat(unix.AT_FDCWD, old, unix.AT_FDCWD, new, flags) })
}

func (n *native) Unlink(path string) abi.Errno {
	return n.do(func() error { return unix.Unlinkat(unix.AT_FDCWD, path, 0) })
}

func (n *native) Rmdir(path string) abi.Errno {
	return n.do(func() error { return unix.Unlinkat(unix.AT_FDCWD, path, unix.AT_REMOVEDIR) })
}

func (n *native) Rename(old, new string, flags uint32) abi.Errno {
	return n.do(func() error {
		return unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, new, uint(flags))
	})
}

func times(s *vfs.SetAttr) []unix.Timespec {
	one := func(t vfs.Timespec, set, now uint32) unix.Timespec {
		switch {
		case s.Mask&now != 0:
			return unix.Timespec{Nsec: unix.UTIME_NOW}
		case s.Mask&set != 0:
			return unix.Timespec{Sec: t.Sec, Nsec: int64(t.Nsec)}
		}
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	return []unix.Timespec{one(s.Atime, vfs.SetAtime, vfs.SetAtimeNow), one(s.Mtime, vfs.SetMtime, vfs.SetMtimeNow)}
}

func owner(s *vfs.SetAttr) (uid, gid int) {
	uid, gid = -1, -1
	if s.Mask&vfs.SetUID != 0 {
		uid = int(s.UID)
	}
	if s.Mask&vfs.SetGID != 0 {
		gid = int(s.GID)
	}
	return uid, gid
}

func (n *native) SetAttr(path string, follow bool, s *vfs.SetAttr) abi.Errno {
	return n.do(func() error {
		switch {
		case s.Mask&vfs.SetMode != 0:
			return unix.Fchmodat(unix.AT_FDCWD, path, s.Mode, atFlags(follow))
		case s.Mask&(vfs.SetUID|vfs.SetGID) != 0:
			uid, gid := owner(s)
			return unix.Fchownat(unix.AT_FDCWD, path, uid, gid, atFlags(follow))
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, times(s), atFlags(follow))
	})
}

func (n *native) Truncate(path string, size int64) abi.Errno {
	return n.do(func() error { return unix.Truncate(path, size) })
}

func (n *native) Getxattr(path, name string) (string, abi.Errno) {
	buf := make([]byte, 65536)
	k := 0
	e := n.do(func() (err error) {
		k, err = unix.Getxattr(path, name, buf)
		return err
	})
	return string(buf[:max(k, 0)]), e
}

func (n *native) Setxattr(path, name, value string, flags uint32) abi.Errno {
	return n.do(func() error { return unix.Setxattr(path, name, []byte(value), int(flags)) })
}

func (n *native) Listxattr(path string) ([]string, abi.Errno) {
	buf := make([]byte, 65536)
	k := 0
	e := n.do(func() (err error) {
		k, err = unix.Listxattr(path, buf)
		return err
	})
	names := strings.FieldsFunc(string(buf[:max(k, 0)]), func(r rune) bool { return r == 0 })
	return names, e
}

func (n *native) Removexattr(path, name string) abi.Errno {
	return n.do(func() error { return unix.Removexattr(path, name) })
}

// StatFS tells about the file system under the root.
func (n *native) StatFS(s *vfs.StatFS) abi.Errno {
	var st unix.Statfs_t
	e := n.do(func() error { return unix.Statfs("/", &st) })
	*s = vfs.StatFS{Type: uint64(st.Type), Bsize: st.Bsize, Blocks: st.Blocks, Bfree: st.Bfree, Bavail: st.Bavail,
		Files: st.Files, Ffree: st.Ffree, Namelen: st.Namelen}
	return e
}

func (n *native) Sync() abi.Errno {
	return n.do(func() error {
		fd, err := unix.Open("/", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Syncfs(fd)
			unix.Close(fd)
		}
		return err
	})
}

// nativeFile is an open descriptor.
type nativeFile struct {
	n  *native
	fd int
}

func (f *nativeFile) Close() { syscall.Close(f.fd) }

func (f *nativeFile) count(call func() (int, error)) (k int, e abi.Errno) {
	e = f.n.do(func() (err error) {
		k, err = call()
		return err
	})
	return max(k, 0), e
}

func (f *nativeFile) Read(p []byte) (int, abi.Errno) {
	return f.count(func() (int, error) { return syscall.Read(f.fd, p) })
}

func (f *nativeFile) Write(p []byte) (int, abi.Errno) {
	return f.count(func() (int, error) { return syscall.Write(f.fd, p) })
}

func (f *nativeFile) Pread(p []byte, off int64) (int, abi.Errno) {
	return f.count(func() (int, error) { return syscall.Pread(f.fd, p, off) })
}

func (f *nativeFile) Pwrite(p []byte, off int64) (int, abi.Errno) {
	return f.count(func() (int, error) { return syscall.Pwrite(f.fd, p, off) })
}

func (f *nativeFile) Lseek(off int64, whence int) (int64, abi.Errno) {
	e := f.n.do(func() (err error) {
		off, err = unix.Seek(f.fd, off, whence)
		return err
	})
	return off, e
}

func (f *nativeFile) Truncate(size int64) abi.Errno {
	return f.n.do(func() error { return syscall.Ftruncate(f.fd, size) })
}

func (f *nativeFile) Allocate(mode uint32, off, n int64) abi.Errno {
	return f.n.do(func() error { return syscall.Fallocate(f.fd, mode, off, n) })
}

func (f *nativeFile) Sync() abi.Errno { return f.n.do(func() error { return syscall.Fsync(f.fd) }) }

func (f *nativeFile) Datasync() abi.Errno {
	return f.n.do(func() error { return syscall.Fdatasync(f.fd) })
}

// Link gives a file that was opened with O_TMPFILE a name.
func (f *nativeFile) Link(path string) abi.Errno {
	return f.n.do(func() error { return unix.Linkat(f.fd, "", unix.AT_FDCWD, path, unix.AT_EMPTY_PATH) })
}

func (f *nativeFile) Stat(a *vfs.Attr) abi.Errno {
	var st unix.Stat_t
	e := f.n.do(func() error { return unix.Fstat(f.fd, &st) })
	attr(&st, a)
	return e
}

func (f *nativeFile) SetAttr(s *vfs.SetAttr) abi.Errno {
	return f.n.do(func() error {
		switch {
		case s.Mask&vfs.SetMode != 0:
			return unix.Fchmod(f.fd, s.Mode)
		case s.Mask&(vfs.SetUID|vfs.SetGID) != 0:
			uid, gid := owner(s)
			return unix.Fchown(f.fd, uid, gid)
		}
		return unix.UtimesNanoAt(f.fd, "", times(s), unix.AT_EMPTY_PATH)
	})
}

func (f *nativeFile) ReadDir(room int) ([]vfs.DirEntry, abi.Errno) {
	// A buffer that holds about as many; at least one of any length.
	buf := make([]byte, 280+room*24)
	k, e := f.count(func() (int, error) { return unix.Getdents(f.fd, buf) })
	var list []vfs.DirEntry
	for buf = buf[:k]; len(buf) > 0; {
		reclen := binary.LittleEndian.Uint16(buf[16:])
		name, _, _ := strings.Cut(string(buf[19:reclen]), "\x00")
		list = append(list, vfs.DirEntry{
			Ino:    binary.LittleEndian.Uint64(buf),
			Cookie: int64(binary.LittleEndian.Uint64(buf[8:])),
			Type:   buf[18],
			Name:   name,
		})
		buf = buf[reclen:]
	}
	return list, e
}
