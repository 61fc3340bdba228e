// Package procfs is the file system for /proc: what a kernel tells of its processes and of
// itself, in the shape of proc(5). The kernel gives the content; this package gives it names,
// numbers, owners and permissions.
package procfs

import (
	"pinhole/abi"
	"pinhole/fs/vfs"
)

// Kernel is what is shown. All methods may be called concurrently, and while a path walk is
// under way, so they start none. A process or thread that is gone is ESRCH.
type Kernel interface {
	// Processes returns the numbers of all processes, ascending.
	Processes() []int32
	// Threads returns the numbers of a process's threads, ascending; nil: there is no such process.
	Threads(pid int32) []int32
	// Owner returns who owns the files of a process.
	Owner(pid int32) (uid, gid uint32, ok bool)
	// Self returns the number of the process in whose name c walks, 0 if it is none's.
	Self(c *vfs.Context) int32

	// File returns the content of a file: of the system (pid 0, name as below /proc), of a
	// process, or of one of its threads (tid not 0).
	File(pid, tid int32, name string) ([]byte, abi.Errno)
	// SetFile takes what is written to a file.
	SetFile(pid, tid int32, name string, content []byte) abi.Errno

	// Link returns where a link of a process leads (exe, cwd, root, fd/N), with a reference,
	// and its text as seen by c.
	Link(c *vfs.Context, pid int32, name string) (*vfs.Dentry, string, abi.Errno)
	// Descriptors returns the open descriptors of a process from the given one on, ascending, at most n.
	Descriptors(pid, from int32, n int) []int32
	// Descriptor returns the permission bits that show how a descriptor is open (0400, 0200).
	Descriptor(pid, fd int32) (mode uint32, ok bool)
}

// FS is a file system for /proc.
type FS struct {
	kernel Kernel
	nodes  nodeTable
	start  vfs.Timespec // time of all files
}

// New makes the file system. start is the time that its files show.
func New(k Kernel, start vfs.Timespec) *FS {
	return &FS{kernel: k, start: start}
}

// TypeName implements vfs.Typed.
func (fs *FS) TypeName() string { return "proc" }

// VolatileNames implements vfs.Volatile.
func (fs *FS) VolatileNames() {}

// Root implements vfs.FileSystem.
func (fs *FS) Root() vfs.Node { return fs.node(key{dir: &rootDir}) }

// StatFS implements vfs.FileSystem.
func (fs *FS) StatFS(s *vfs.StatFS) abi.Errno {
	*s = vfs.StatFS{Type: abi.PROC_SUPER_MAGIC, Bsize: 4096, Namelen: abi.NAME_MAX}
	return 0
}

// Sync implements vfs.FileSystem.
func (fs *FS) Sync() abi.Errno { return 0 }

// Unmount implements vfs.FileSystem.
func (fs *FS) Unmount() abi.Errno { return 0 }

// ReadOnly implements vfs.FileSystem: files that can be written are those that say so.
func (fs *FS) ReadOnly() bool { return false }
