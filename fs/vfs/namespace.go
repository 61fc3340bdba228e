package vfs

// The API of Namespace, agreed with emu (whose file calls are thin wrappers of it):
//
//	type Creds struct { UID, GID uint32; Groups []uint32 }          // fs ids; UID 0 bypasses checks
//	type Context struct { Creds; Root, Cwd *Dentry; Umask uint32 }  // of one process
//
//	func NewNamespace(root FileSystem) *Namespace
//	func (ns *Namespace) Mount(path string, fs FileSystem) abi.Errno   // path may be absent below: a synthetic mount point is made in memory
//	func (ns *Namespace) Root() *Dentry                                // with a reference
//	func (d *Dentry) Ref(); Unref(); Node() Node; FS() FileSystem
//	func (d *Dentry) Attr(*Attr) abi.Errno                             // fills Dev too
//	func (ns *Namespace) PathTo(c *Context, d *Dentry) (string, abi.Errno) // "/a/b"; "/a/b (deleted)" semantics as /proc/self/fd, ENOENT for getcwd of a removed directory
//
// All of the following take (c, at, path): at is the directory that a relative path
// starts from (nil: c.Cwd). path is only valid during the call. flags are AT_* where Linux has them.
//
//	Walk(c, at, path, flags) (*Dentry, Errno)           // must exist; AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH; returns a reference
//	Open(c, at, path, oflags, mode) (d *Dentry, created bool, _ Errno) // O_CREAT|EXCL|NOFOLLOW|DIRECTORY|TRUNC|PATH, access by O_ACCMODE; O_TMPFILE is EOPNOTSUPP
//	Stat(c, at, path, flags, *Attr) Errno               // fast path, no allocation
//	Access(c, at, path, mode, flags) Errno
//	Readlink(c, at, path) (string, Errno)
//	Mkdir(c, at, path, mode), Mknod(c, at, path, mode, dev), Symlink(c, target, at, path), Unlink(c, at, path), Rmdir(c, at, path)
//	Link(c, oldAt, old, newAt, new, flags), Rename(c, oldAt, old, newAt, new, flags)
//	SetAttr(c, at, path, flags, *SetAttr) Errno; (d *Dentry) SetAttr(c, *SetAttr) Errno   // with ownership checks, clearing of setuid bits
//	Truncate(c, at, path, size)
