package abi

// Constants of files, paths and descriptors, as on Linux x86-64.

// Flags of open(2). O_LARGEFILE is the kernel's value: C libraries define it as 0 on 64-bit
// machines and kernels set it by themselves.
const (
	O_RDONLY    = 0x0
	O_WRONLY    = 0x1
	O_RDWR      = 0x2
	O_ACCMODE   = 0x3
	O_CREAT     = 0x40
	O_EXCL      = 0x80
	O_NOCTTY    = 0x100
	O_TRUNC     = 0x200
	O_APPEND    = 0x400
	O_NONBLOCK  = 0x800
	O_DSYNC     = 0x1000
	O_ASYNC     = 0x2000
	O_DIRECT    = 0x4000
	O_LARGEFILE = 0x8000
	O_DIRECTORY = 0x10000
	O_NOFOLLOW  = 0x20000
	O_NOATIME   = 0x40000
	O_CLOEXEC   = 0x80000
	O_SYNC      = 0x101000
	O_PATH      = 0x200000
	O_TMPFILE   = 0x410000
)

// The directory descriptor that stands for the working directory, and the flags of the *at calls
// (openat(2), fstatat(2), statx(2)).
const (
	AT_FDCWD              = -100
	AT_SYMLINK_NOFOLLOW   = 0x100
	AT_EACCESS            = 0x200
	AT_REMOVEDIR          = 0x200
	AT_SYMLINK_FOLLOW     = 0x400
	AT_NO_AUTOMOUNT       = 0x800
	AT_EMPTY_PATH         = 0x1000
	AT_STATX_SYNC_TYPE    = 0x6000
	AT_STATX_SYNC_AS_STAT = 0x0
	AT_STATX_FORCE_SYNC   = 0x2000
	AT_STATX_DONT_SYNC    = 0x4000
	AT_RECURSIVE          = 0x8000
)

// Types and permission bits of st_mode (inode(7)).
const (
	S_IFMT   = 0o170000
	S_IFSOCK = 0o140000
	S_IFLNK  = 0o120000
	S_IFREG  = 0o100000
	S_IFBLK  = 0o60000
	S_IFDIR  = 0o40000
	S_IFCHR  = 0o20000
	S_IFIFO  = 0o10000
	S_ISUID  = 0o4000
	S_ISGID  = 0o2000
	S_ISVTX  = 0o1000
	S_IRWXU  = 0o700
	S_IRUSR  = 0o400
	S_IWUSR  = 0o200
	S_IXUSR  = 0o100
	S_IRWXG  = 0o70
	S_IRGRP  = 0o40
	S_IWGRP  = 0o20
	S_IXGRP  = 0o10
	S_IRWXO  = 0o7
	S_IROTH  = 0o4
	S_IWOTH  = 0o2
	S_IXOTH  = 0o1
)

// Types of directory entries (getdents64(2)): the type bits of st_mode shifted right by 12.
const (
	DT_UNKNOWN = 0
	DT_FIFO    = 1
	DT_CHR     = 2
	DT_DIR     = 4
	DT_BLK     = 6
	DT_REG     = 8
	DT_LNK     = 10
	DT_SOCK    = 12
	DT_WHT     = 14
)

// Modes of access(2).
const (
	F_OK = 0
	R_OK = 4
	W_OK = 2
	X_OK = 1
)

// Origins of lseek(2).
const (
	SEEK_SET  = 0
	SEEK_CUR  = 1
	SEEK_END  = 2
	SEEK_DATA = 3
	SEEK_HOLE = 4
)

// Commands of fcntl(2).
const (
	F_DUPFD         = 0
	F_GETFD         = 1
	F_SETFD         = 2
	F_GETFL         = 3
	F_SETFL         = 4
	F_GETLK         = 5
	F_SETLK         = 6
	F_SETLKW        = 7
	F_SETOWN        = 8
	F_GETOWN        = 9
	F_SETSIG        = 10
	F_GETSIG        = 11
	F_SETOWN_EX     = 15
	F_GETOWN_EX     = 16
	F_OFD_GETLK     = 36
	F_OFD_SETLK     = 37
	F_OFD_SETLKW    = 38
	F_SETLEASE      = 1024
	F_GETLEASE      = 1025
	F_NOTIFY        = 1026
	F_DUPFD_CLOEXEC = 1030
	F_SETPIPE_SZ    = 1031
	F_GETPIPE_SZ    = 1032
	F_ADD_SEALS     = 1033
	F_GET_SEALS     = 1034
)

// The descriptor flag of F_GETFD and F_SETFD.
const (
	FD_CLOEXEC = 1
)

// Types of record locks (Flock.Type).
const (
	F_RDLCK = 0
	F_WRLCK = 1
	F_UNLCK = 2
)

// Seals of F_ADD_SEALS.
const (
	F_SEAL_SEAL         = 0x1
	F_SEAL_SHRINK       = 0x2
	F_SEAL_GROW         = 0x4
	F_SEAL_WRITE        = 0x8
	F_SEAL_FUTURE_WRITE = 0x10
)

// Operations of flock(2).
const (
	LOCK_SH = 1
	LOCK_EX = 2
	LOCK_NB = 4
	LOCK_UN = 8
)

// Events of poll(2).
const (
	POLLIN     = 0x1
	POLLPRI    = 0x2
	POLLOUT    = 0x4
	POLLERR    = 0x8
	POLLHUP    = 0x10
	POLLNVAL   = 0x20
	POLLRDNORM = 0x40
	POLLRDBAND = 0x80
	POLLWRNORM = 0x100
	POLLWRBAND = 0x200
	POLLMSG    = 0x400
	POLLRDHUP  = 0x2000
)

// Flags of renameat2(2).
const (
	RENAME_NOREPLACE = 0x1
	RENAME_EXCHANGE  = 0x2
	RENAME_WHITEOUT  = 0x4
)

// Modes of fallocate(2).
const (
	FALLOC_FL_KEEP_SIZE      = 0x1
	FALLOC_FL_PUNCH_HOLE     = 0x2
	FALLOC_FL_NO_HIDE_STALE  = 0x4
	FALLOC_FL_COLLAPSE_RANGE = 0x8
	FALLOC_FL_ZERO_RANGE     = 0x10
	FALLOC_FL_INSERT_RANGE   = 0x20
	FALLOC_FL_UNSHARE_RANGE  = 0x40
)

// Flags of preadv2(2) and pwritev2(2).
const (
	RWF_HIPRI  = 0x1
	RWF_DSYNC  = 0x2
	RWF_SYNC   = 0x4
	RWF_NOWAIT = 0x8
	RWF_APPEND = 0x10
)

// Flags of splice(2), tee(2) and vmsplice(2).
const (
	SPLICE_F_MOVE     = 0x1
	SPLICE_F_NONBLOCK = 0x2
	SPLICE_F_MORE     = 0x4
	SPLICE_F_GIFT     = 0x8
)

// Request and result bits of statx(2), and the attribute bits of its answer.
const (
	STATX_TYPE            = 0x1
	STATX_MODE            = 0x2
	STATX_NLINK           = 0x4
	STATX_UID             = 0x8
	STATX_GID             = 0x10
	STATX_ATIME           = 0x20
	STATX_MTIME           = 0x40
	STATX_CTIME           = 0x80
	STATX_INO             = 0x100
	STATX_SIZE            = 0x200
	STATX_BLOCKS          = 0x400
	STATX_BASIC_STATS     = 0x7ff
	STATX_BTIME           = 0x800
	STATX_MNT_ID          = 0x1000
	STATX_DIOALIGN        = 0x2000
	STATX__RESERVED       = 0x80000000
	STATX_ATTR_COMPRESSED = 0x4
	STATX_ATTR_IMMUTABLE  = 0x10
	STATX_ATTR_APPEND     = 0x20
	STATX_ATTR_NODUMP     = 0x40
	STATX_ATTR_ENCRYPTED  = 0x800
	STATX_ATTR_AUTOMOUNT  = 0x1000
	STATX_ATTR_MOUNT_ROOT = 0x2000
	STATX_ATTR_VERITY     = 0x100000
	STATX_ATTR_DAX        = 0x200000
)

// Special nanoseconds of utimensat(2).
const (
	UTIME_NOW  = 0x3fffffff
	UTIME_OMIT = 0x3ffffffe
)

// Advice of posix_fadvise(2).
const (
	POSIX_FADV_NORMAL     = 0
	POSIX_FADV_RANDOM     = 1
	POSIX_FADV_SEQUENTIAL = 2
	POSIX_FADV_WILLNEED   = 3
	POSIX_FADV_DONTNEED   = 4
	POSIX_FADV_NOREUSE    = 5
)

// Flags of sync_file_range(2).
const (
	SYNC_FILE_RANGE_WAIT_BEFORE = 1
	SYNC_FILE_RANGE_WRITE       = 2
	SYNC_FILE_RANGE_WAIT_AFTER  = 4
)

// Flags of close_range(2).
const (
	CLOSE_RANGE_UNSHARE = 0x2
	CLOSE_RANGE_CLOEXEC = 0x4
)

// Mount flags as statfs(2) reports them (f_flags).
const (
	ST_RDONLY      = 0x1
	ST_NOSUID      = 0x2
	ST_NODEV       = 0x4
	ST_NOEXEC      = 0x8
	ST_SYNCHRONOUS = 0x10
	ST_NOATIME     = 0x400
	ST_NODIRATIME  = 0x800
	ST_RELATIME    = 0x1000
	ST_VALID       = 0x20
)

// File system types as statfs(2) reports them (f_type).
const (
	EXT4_SUPER_MAGIC    = 0xef53
	TMPFS_MAGIC         = 0x1021994
	PROC_SUPER_MAGIC    = 0x9fa0
	DEVPTS_SUPER_MAGIC  = 0x1cd1
	SYSFS_MAGIC         = 0x62656572
	PIPEFS_MAGIC        = 0x50495045
	SOCKFS_MAGIC        = 0x534f434b
	ANON_INODE_FS_MAGIC = 0x9041934
)

// Requests of ioctl(2) on any descriptor and on terminals (ioctl_tty(2)).
const (
	TCGETS            = 0x5401
	TCSETS            = 0x5402
	TCSETSW           = 0x5403
	TCSETSF           = 0x5404
	TCGETA            = 0x5405
	TCSETA            = 0x5406
	TCSETAW           = 0x5407
	TCSETAF           = 0x5408
	TCSBRK            = 0x5409
	TCXONC            = 0x540a
	TCFLSH            = 0x540b
	TIOCEXCL          = 0x540c
	TIOCNXCL          = 0x540d
	TIOCSCTTY         = 0x540e
	TIOCGPGRP         = 0x540f
	TIOCSPGRP         = 0x5410
	TIOCOUTQ          = 0x5411
	TIOCSTI           = 0x5412
	TIOCGWINSZ        = 0x5413
	TIOCSWINSZ        = 0x5414
	FIONREAD          = 0x541b
	TIOCINQ           = 0x541b
	TIOCCONS          = 0x541d
	FIONBIO           = 0x5421
	TIOCNOTTY         = 0x5422
	TIOCSETD          = 0x5423
	TIOCGETD          = 0x5424
	TCSBRKP           = 0x5425
	TIOCSBRK          = 0x5427
	TIOCCBRK          = 0x5428
	TIOCGSID          = 0x5429
	TCGETS2           = 0x802c542a
	TCSETS2           = 0x402c542b
	TCSETSW2          = 0x402c542c
	TCSETSF2          = 0x402c542d
	TIOCGPTN          = 0x80045430
	TIOCSPTLCK        = 0x40045431
	TIOCGDEV          = 0x80045432
	TIOCVHANGUP       = 0x5437
	TIOCGPTLCK        = 0x80045439
	TIOCGEXCL         = 0x80045440
	TIOCGPTPEER       = 0x5441
	FIONCLEX          = 0x5450
	FIOCLEX           = 0x5451
	FIOASYNC          = 0x5452
	FIOQSIZE          = 0x5460
	FIGETBSZ          = 0x2
	FIFREEZE          = 0xc0045877
	FITHAW            = 0xc0045878
	FITRIM            = 0xc0185879
	FIDEDUPERANGE     = 0xc0189436
	FS_IOC_GETFLAGS   = 0x80086601
	FS_IOC_SETFLAGS   = 0x40086602
	FS_IOC_GETVERSION = 0x80087601
	FS_IOC_FSGETXATTR = 0x801c581f
	FS_IOC_FSSETXATTR = 0x401c5820
	FS_IOC_FIEMAP     = 0xc020660b
	BLKGETSIZE        = 0x1260
	BLKGETSIZE64      = 0x80081272
	BLKSSZGET         = 0x1268
	FICLONE           = 0x40049409
	FICLONERANGE      = 0x4020940d
)

// Limits of names and vectors.
const (
	NAME_MAX    = 255
	PATH_MAX    = 4096
	IOV_MAX     = 1024
	PIPE_BUF    = 4096
	NGROUPS_MAX = 65536
	SYMLOOP_MAX = 40
)

// Flags of FS_IOC_GETFLAGS (linux/fs.h, ext4.h): what chattr(1) sets, and what a file system shows.
const (
	FS_SECRM_FL           = 0x1
	FS_UNRM_FL            = 0x2
	FS_COMPR_FL           = 0x4
	FS_SYNC_FL            = 0x8
	FS_IMMUTABLE_FL       = 0x10
	FS_APPEND_FL          = 0x20
	FS_NODUMP_FL          = 0x40
	FS_NOATIME_FL         = 0x80
	FS_INDEX_FL           = 0x1000
	FS_JOURNAL_DATA_FL    = 0x4000
	FS_NOTAIL_FL          = 0x8000
	FS_DIRSYNC_FL         = 0x10000
	FS_TOPDIR_FL          = 0x20000
	FS_HUGE_FILE_FL       = 0x40000
	FS_EXTENT_FL          = 0x80000
	FS_INLINE_DATA_FL     = 0x10000000
	FS_FL_USER_VISIBLE    = 0x0003dfff
	FS_FL_USER_MODIFIABLE = 0x000380ff
)

// Extended attributes (xattr(7), setxattr(2)).
const (
	XATTR_CREATE   = 0x1
	XATTR_REPLACE  = 0x2
	XATTR_NAME_MAX = 255
	XATTR_SIZE_MAX = 65536
	XATTR_LIST_MAX = 65536
)
