// Package vfs is the contract between the kernel and its file systems, and the
// code that every file system shares: path walk, dentry cache, permissions.
//
// A file system implements [FileSystem] and [Node]. Everything above it (paths,
// symbolic links, mounts, permission checks, name caching, the rules of rename)
// is done once, by [Namespace].
//
// Lock order, outermost first: Namespace rename lock, dentry, node (parent before
// child, lower inode number first among siblings), file-system wide, device.
// Content callbacks ([Dest.Put], [Source.Get]) run with the node's lock held and
// touch guest memory; they take no lock of any file system.
package vfs

import "pinhole/abi"

// Timespec is a time of a file: seconds since the epoch and nanoseconds 0..999999999.
type Timespec struct {
	Sec  int64
	Nsec int32
}

// Attr is what stat tells of a node.
type Attr struct {
	Dev     uint64 // device of the file system, set by the Namespace's mount
	Ino     uint64
	Mode    uint32 // type and permission bits, as Linux's st_mode
	Nlink   uint32
	UID     uint32
	GID     uint32
	Rdev    uint64 // for devices, in Linux's 64-bit encoding
	Size    int64
	Blksize int32
	Blocks  int64 // in units of 512 bytes
	Atime   Timespec
	Mtime   Timespec
	Ctime   Timespec
	Btime   Timespec // birth
}

// Bits of SetAttr.Mask.
const (
	SetMode = 1 << iota
	SetUID
	SetGID
	SetSize
	SetAtime
	SetMtime
	SetAtimeNow // the file system's own clock, in place of SetAttr.Atime
	SetMtimeNow
)

// SetAttr changes the attributes whose bits are in Mask; change time follows by itself.
type SetAttr struct {
	Mask     uint32
	Mode     uint32 // permission bits only (07777)
	UID, GID uint32
	Size     int64
	Atime    Timespec
	Mtime    Timespec
}

// NewNode describes a node to be made. Mode carries the type bits (S_IFREG, S_IFDIR,
// S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK); umask and setgid inheritance are applied by the caller.
type NewNode struct {
	Mode     uint32
	UID, GID uint32
	Rdev     uint64
}

// StatFS is what statfs tells, in units of Bsize bytes.
type StatFS struct {
	Type    uint64 // magic, as in Linux's statfs(2)
	Bsize   int64
	Blocks  uint64
	Bfree   uint64
	Bavail  uint64
	Files   uint64
	Ffree   uint64
	Fsid    uint64
	Namelen int64
	Flags   uint64
}

// Dest takes file content in order. Put takes all of p, or fewer bytes and an error
// (EFAULT when the guest's memory ends). p is only valid during the call and must not be written.
type Dest interface {
	Put(p []byte) (int, abi.Errno)
}

// Source gives file content in order. Get fills all of p, or fewer bytes and an error.
type Source interface {
	Get(p []byte) (int, abi.Errno)
}

// DirEntry is one name of a directory. Name is only valid during the emit call.
type DirEntry struct {
	Ino    uint64
	Type   uint8 // DT_* as in getdents64(2)
	Name   string
	Cookie int64 // pass to ReadDir to go on after this entry
}

// FileSystem is a mounted file system. All methods may be called concurrently.
type FileSystem interface {
	// Root returns the root directory with a reference taken.
	Root() Node
	StatFS(*StatFS) abi.Errno
	// Sync puts everything that was written before the call on stable storage.
	Sync() abi.Errno
	// Unmount writes everything back and marks the file system clean. No node is in use.
	Unmount() abi.Errno
	// ReadOnly tells whether changes are refused (asked for, or after corruption was found).
	ReadOnly() bool
}

// Node is one file, directory, link or device of a file system: one object per inode
// for as long as somebody holds a reference. All methods may be called concurrently;
// each is atomic towards the others. Names are single components: not empty, not "."
// or "..", without '/' and NUL, at most 255 bytes (longer: ENAMETOOLONG). A name is only
// valid during the call and must be cloned to be kept. A method that does not fit the
// node's type returns the errno that Linux would (ENOTDIR, EISDIR, EINVAL).
type Node interface {
	// Ref and Unref count the users of a node. A node without names and without
	// references is freed on disk. Lookup, Create, Symlink and Root return a reference.
	Ref()
	Unref()

	Ino() uint64
	// Mode returns type and permission bits without taking locks (fast path of the walk).
	Mode() uint32
	Attr(*Attr) abi.Errno
	SetAttr(*SetAttr) abi.Errno

	// Directories. Permissions and mount rules have been checked by the caller.
	Lookup(name string) (Node, abi.Errno)
	Create(name string, n *NewNode) (Node, abi.Errno) // EEXIST if the name is taken
	Symlink(name, target string, n *NewNode) (Node, abi.Errno)
	Link(name string, target Node) abi.Errno
	Unlink(name string) abi.Errno // EISDIR for a directory
	Rmdir(name string) abi.Errno  // ENOTEMPTY, ENOTDIR
	// Rename moves name to newName in newDir (of the same file system), replacing what
	// is there under Linux's rules; flags are RENAME_NOREPLACE and RENAME_EXCHANGE. The
	// caller has refused loops and serialised directory renames.
	Rename(name string, newDir Node, newName string, flags uint32) abi.Errno
	// ReadDir emits entries ("." and ".." included) after cookie (0: from the start)
	// until emit returns false or the directory ends. Entries present all the while are
	// emitted exactly once across calls.
	ReadDir(cookie int64, emit func(*DirEntry) bool) abi.Errno

	Readlink() (string, abi.Errno)

	// Read puts up to n bytes from offset off into d; 0 at the end of the file.
	Read(off int64, n int, d Dest) (int, abi.Errno)
	// Write takes n bytes from s to offset off, or to the end if off is AtEnd, and returns
	// how many it took and the offset behind them.
	Write(off int64, n int, s Source) (int, int64, abi.Errno)
	// Sync puts the node's content (and, unless dataOnly, all of its attributes) on stable storage.
	Sync(dataOnly bool) abi.Errno
}

// AtEnd as Write's offset appends.
const AtEnd = -1

// Allocator is a Node that has fallocate(2).
type Allocator interface {
	Allocate(mode uint32, off, n int64) abi.Errno
}

// HoleSeeker is a Node that knows its holes. SeekData and SeekHole return ENXIO past the end.
type HoleSeeker interface {
	SeekData(off int64) (int64, abi.Errno)
	SeekHole(off int64) (int64, abi.Errno)
}

// XattrNode is a Node with extended attributes; names carry their prefix ("user.x") and are at most
// 255 bytes, values at most 65536. Who may do what has been checked by the caller. Access control lists
// (system.posix_acl_access, system.posix_acl_default) are given and taken in the format of getxattr(2),
// whatever the one on the disk. A value is the caller's to keep; one that is set must not be kept.
// Errors: ENODATA, ERANGE, ENOSPC, EEXIST, EOPNOTSUPP, EINVAL (a prefix without a name).
type XattrNode interface {
	Getxattr(name string) ([]byte, abi.Errno)
	Setxattr(name string, value []byte, flags uint32) abi.Errno
	Listxattr() ([]string, abi.Errno)
	Removexattr(name string) abi.Errno
}

// Extent says where a run of a file's bytes is at home on the device.
type Extent struct {
	Off  int64 // in the file
	Home int64 // on the device; -1 for a hole or an unwritten run
	Len  int64
}

// Mapper is a Node whose content can be mapped from the device. All offsets are
// multiples of 4096.
type Mapper interface {
	// MapExtents writes what is dirty in the range to its home (without a flush) and says
	// where it is. The range stays at home until Unmap is told (blocks are not freed or
	// moved; revoke is called before they would be, and takes the mapping away).
	MapExtents(off, n int64) ([]Extent, abi.Errno)
}
