// Package vfstest is the conformance suite of file systems: what a program may expect of files
// and directories, independent of who implements them.
//
// Most of it is text (testdata/*.txt, see [Script]): calls and what they must return. The
// package's own test runs it with real system calls against a directory of the host, so that every
// expectation is known to be Linux's; [Run] runs it against a vfs.FileSystem under a
// vfs.Namespace.
package vfstest

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

// System is a tree of files as a process sees it. Relative paths start at the working
// directory, absolute ones at the root of the tree under test. Calls take and return what the
// Linux calls of their names do. A System is used by one goroutine at a time; Fork gives another.
type System interface {
	// Become makes the process one with these ids; the first System is root's, umask 0.
	Become(uid, gid uint32, groups []uint32)
	Umask(mask uint32)
	Chdir(path string) abi.Errno
	// Jail makes a directory root and working directory of the process, as chroot(2) and chdir(2).
	Jail(path string) abi.Errno
	Getcwd() (string, abi.Errno)
	// Fork returns another process with the same ids and directories.
	Fork() System
	// Close ends the process.
	Close()

	Open(path string, flags int, mode uint32) (File, abi.Errno)
	Stat(path string, follow bool, a *vfs.Attr) abi.Errno
	Access(path string, mode uint32) abi.Errno
	Readlink(path string) (string, abi.Errno)
	Mkdir(path string, mode uint32) abi.Errno
	Mknod(path string, mode uint32, dev uint64) abi.Errno
	Symlink(target, path string) abi.Errno
	Link(old, new string, follow bool) abi.Errno
	Unlink(path string) abi.Errno
	Rmdir(path string) abi.Errno
	Rename(old, new string, flags uint32) abi.Errno
	// SetAttr is chmod, chown and utimensat, by what the mask says (one of them at a time).
	SetAttr(path string, follow bool, s *vfs.SetAttr) abi.Errno
	Truncate(path string, size int64) abi.Errno
	Getxattr(path, name string) (string, abi.Errno)
	Setxattr(path, name, value string, flags uint32) abi.Errno
	Listxattr(path string) ([]string, abi.Errno)
	Removexattr(path, name string) abi.Errno
	Sync() abi.Errno
}

// File is an open file or directory.
type File interface {
	Close()
	Read(p []byte) (int, abi.Errno)
	Write(p []byte) (int, abi.Errno)
	Pread(p []byte, off int64) (int, abi.Errno)
	Pwrite(p []byte, off int64) (int, abi.Errno)
	Lseek(off int64, whence int) (int64, abi.Errno)
	Truncate(size int64) abi.Errno
	Allocate(mode uint32, off, n int64) abi.Errno
	Sync() abi.Errno
	Stat(a *vfs.Attr) abi.Errno
	SetAttr(s *vfs.SetAttr) abi.Errno
	// ReadDir returns some of the entries behind the file's position, "." and ".." included;
	// none at the end. Names are the caller's to keep.
	ReadDir(room int) ([]vfs.DirEntry, abi.Errno)
}
