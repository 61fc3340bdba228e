package vfs

import "pinhole/abi"

// Volatile is a FileSystem whose names come and go by themselves, as those of processes in
// /proc. Its names are not cached: every walk asks Lookup again. Nothing can be mounted on it
// but on its root.
type Volatile interface {
	FileSystem
	VolatileNames()
}

// Jumper is a symbolic link whose target depends on who follows it, or that leads to something
// that its text does not name (/proc/self, /proc/PID/fd/N).
type Jumper interface {
	Node
	// Target is the text as c sees it: what readlink shows.
	Target(c *Context) (string, abi.Errno)
	// Jump returns where the link leads, with a reference; nil: where the text says.
	Jump(c *Context) (*Dentry, abi.Errno)
}

// Typed is a FileSystem that has a name for /proc/mounts ("ext4"); others are shown as "none".
type Typed interface {
	FileSystem
	TypeName() string
}

// ErrorSampler is a Node that tells of errors of writing behind once to each open file, as Linux's
// errseq_t does. A node keeps one number that says how many errors there have been and which one
// the last was.
//
// Both may be called concurrently, and take no lock that is held while content is written.
type ErrorSampler interface {
	Node
	// SampleError returns the number as it is now, for a file that is being opened. If the last
	// error was told to nobody yet, it is the number from before that, so that the first who asks
	// is told of an error that came when nobody had the file open.
	SampleError() uint32
	// CheckError returns the last error (EIO, ENOSPC) if there was one since *seen, and sets *seen
	// to now; 0 if there was none. Callers with the same seen are serialised by themselves.
	//
	// Sync, for a node that is an ErrorSampler, returns only errors of what it does itself, and
	// these count as errors of writing behind as well: who calls Sync calls CheckError afterwards
	// and takes its answer, so as not to tell the same error twice.
	CheckError(seen *uint32) abi.Errno
}

// TmpMaker is a directory that can make files without a name (O_TMPFILE).
type TmpMaker interface {
	Node
	// Tmpfile makes a regular file in the directory's file system that has no name: its link count
	// is 0, and it is gone with its last reference or by a crash, until Link gives it a name. If
	// linkable is false (O_EXCL), Link of it fails with ENOENT as for any file without names. The
	// node is returned with a reference. Errors as of Create, but for EEXIST.
	Tmpfile(n *NewNode, linkable bool) (Node, abi.Errno)
}

// FlagNode is a Node with the flags of chattr(1): abi.FS_IMMUTABLE_FL and so on. Namespace and the
// kernel enforce immutable and append-only; the file system keeps the flags, and heeds those that are
// about how it stores things.
type FlagNode interface {
	Node
	// Flags returns the flags without taking locks.
	Flags() uint32
	// SetFlags changes the flags that can be changed by users (those of FS_FL_USER_MODIFIABLE) and
	// that the file system supports; EOPNOTSUPP for others that differ from what they are. The
	// change time follows.
	SetFlags(flags uint32) abi.Errno
}

// Unprivileged is a [Source] that says on whose behalf Write is called. A Source without it has all
// rights. It is asked only when the space that is left is reserved.
type Unprivileged interface {
	Source
	// Unprivileged tells that the caller lacks CAP_SYS_RESOURCE: blocks that the file system
	// reserves are not for it, and Write returns ENOSPC.
	Unprivileged() bool
}

// AllocUnprivileged in the mode of Allocator.Allocate says the same as [Unprivileged]. Without a
// word, who makes names (Create, Symlink, Link, Rename) is privileged as NewNode.UID is 0, and where
// there is none, yes: single blocks of directories are not worth the bookkeeping.
const AllocUnprivileged = 1 << 31
