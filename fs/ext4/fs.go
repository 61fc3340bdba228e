package ext4

import (
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

// Options of Mount.
type Options struct {
	// ReadOnly refuses every change and writes nothing to the device, not even the
	// replay of a journal, which is then kept in memory.
	ReadOnly bool
	// Arena has the frames of the cache; nil for one of CacheBytes on the heap. For MapFrames it has to
	// begin where the guest RAM begins.
	Arena *blockdev.Arena
	// CacheBytes limits file content and metadata in the cache; 0 for the default.
	CacheBytes int
	// Clock returns the time for timestamps; nil for the host's, in steps of 4 ms, as Linux
	// has it: a file that is written and synced again and again needs no commit each time.
	Clock func() (sec int64, nsec int32)
	// Log takes what an operator should know, a line at a time; nil for nothing.
	Log func(format string, args ...any)
	// NoAtime keeps access times as they are. Otherwise they follow Linux's relatime.
	NoAtime bool
	// Revoke takes away what mappings show of a range of a file: see vfs.RevokeReason. It is
	// called for what MapExtents or MapFrames has told of, with the inode's lock held. It may
	// be nil.
	Revoke func(ino uint64, off, n int64, why vfs.RevokeReason)
	// FlushAfter is how long content may stay in memory before it is written; 0 for the
	// default. Without a journal it holds for metadata, too.
	FlushAfter time.Duration
	// CommitEvery is how long a change may wait for its commit, after which it outlives a
	// crash; 0 for the default.
	CommitEvery time.Duration
}

const (
	defaultCacheBytes  = 64 << 20
	minCacheBytes      = 1 << 20
	defaultFlushAfter  = 400 * time.Millisecond
	defaultCommitEvery = 5 * time.Second
)

// FS is a mounted ext4 file system. It implements [vfs.FileSystem].
type FS struct {
	dev    blockdev.Device
	mapped blockdev.Mapped // dev, if its content is in memory
	opts   Options
	clock  func() (int64, int32)
	logf   func(string, ...any)

	geometry
	sbMu       sync.Mutex // guards sb's changing fields and the orphan list
	sb         disk.Superblock
	orphan     *inode // head of the orphan list
	orphanFile orphanFile

	groups     []group
	flex       []flexGroup
	space      freeSpace
	bitmaps    bitmapCache
	busyMaps   atomic.Int32 // groups with a map of busy blocks
	zones      zones
	freeBlocks atomic.Int64
	freeSpace  atomic.Int64 // of freeBlocks, those that nobody has a right to; see reserve.go
	busyBlocks atomic.Int64 // of freeBlocks, those that are known to be somebody's; see busy.go
	freeInodes atomic.Int64
	dirCount   atomic.Int64

	buffers bufferCache
	frames  frameSource
	inodes  inodeCache
	pages   pageCache

	txLock     sync.RWMutex
	onBegin    func(credits int) // for tests: told of each handle
	running    *transaction      // changed only under txLock
	commitMu   sync.Mutex        // one commit at a time
	stuck      *frozen           // closed, but the device had no room for it; guarded by commitMu
	committed  atomic.Uint64     // last transaction on the device; changed under commitMu
	frozen     atomic.Uint64     // last transaction that is closed, on the device or not
	cleanState uint16            // superblock's state when all is written
	gdt        []*buffer         // descriptor table
	journalState
	behind  contentWriter
	flusher flusher
	loose   looseTrees
	windows windows

	bounces sync.Pool // of *[]byte, see bounce

	xattrMu     sync.Mutex // guards blocks of attributes, which inodes may share
	xattrHashes xattrHashes
	nsMu        sync.Mutex // see the package's lock order

	readOnly   atomic.Bool
	mounted    atomic.Bool
	damaged    atomic.Bool // corruption was found
	damage     damageLog
	unmounted  atomic.Bool
	cookieSeed maphash.Seed // of directory cookies; differs from mount to mount
}

var _ vfs.FileSystem = (*FS)(nil)

// Mount opens the ext4 file system on dev. A journal that was left dirty is replayed, and
// inodes on the orphan list are deleted or truncated. The caller keeps dev open until after
// Unmount.
func Mount(dev blockdev.Device, opts Options) (*FS, error) {
	fs := &FS{dev: dev, opts: opts, clock: opts.Clock, logf: opts.Log, cookieSeed: maphash.MakeSeed()}
	if fs.clock == nil {
		fs.clock = hostClock
	}
	if fs.opts.FlushAfter <= 0 {
		fs.opts.FlushAfter = defaultFlushAfter
	}
	if fs.opts.CommitEvery <= 0 {
		fs.opts.CommitEvery = defaultCommitEvery
	}
	fs.dev = &syncDevice{Device: dev}
	fs.readOnly.Store(opts.ReadOnly)
	if err := fs.loadSuperblock(); err != nil {
		return nil, err
	}
	fs.frames.init(fs.opts.Arena, fs.opts.CacheBytes, fs.bs)
	fs.buffers.init(fs)
	fs.inodes.init(fs)
	fs.pages.init(fs)
	fs.mapped, _ = dev.(blockdev.Mapped)
	fs.running = newTransaction(1)
	// What a crash has left half written is mended by the journal.
	if err := fs.loadGroups(!fs.sb.HasIncompat(disk.IncompatRecover)); err != nil {
		return nil, err
	}
	if err := fs.replayJournal(); err != nil {
		return nil, err
	}
	if err := fs.protectJournal(); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if err := fs.checkRoot(); err != nil {
		return nil, err
	}
	if err := fs.startJournal(); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	fs.damage.base = fs.sb.ErrorCount
	fs.mounted.Store(true)
	fs.behind.init(fs)
	fs.flusher.init(fs)
	if !fs.readOnly.Load() {
		fs.noteMount()
		if err := fs.processOrphans(); err != nil {
			fs.behind.stop()
			fs.flusher.stop()
			fs.stopJournal()
			return nil, fmt.Errorf("orphan list: %w", err)
		}
	}
	return fs, nil
}

func hostClock() (int64, int32) {
	const step = int(4 * time.Millisecond)
	t := time.Now()
	return t.Unix(), int32(t.Nanosecond() / step * step)
}

func (fs *FS) log(format string, args ...any) {
	if fs.logf != nil {
		fs.logf(format, args...)
	}
}

// now returns the time for a timestamp.
func (fs *FS) now() disk.Time {
	sec, nsec := fs.clock()
	return disk.Time{Sec: sec, Nsec: nsec}
}

// checkRoot makes sure that there is a root directory.
func (fs *FS) checkRoot() error {
	n, err := fs.iget(disk.RootInode)
	if err != nil {
		return fmt.Errorf("root directory: %w", err)
	}
	defer n.Unref()
	if !n.isDir() {
		return fs.corruptInode(disk.RootInode, "the root is not a directory (mode %#o)", n.Mode())
	}
	return nil
}

// Root returns the root directory with a reference.
func (fs *FS) Root() vfs.Node {
	n, err := fs.iget(disk.RootInode)
	if err != nil {
		// Mount has read it; only a failing device gets here.
		fs.log("root directory: %v", err)
		n = fs.inodes.broken()
	}
	return n
}

// StatFS implements vfs.FileSystem.
func (fs *FS) StatFS(s *vfs.StatFS) abi.Errno {
	free := uint64(max(fs.freeSpace.Load()+fs.busyBlocks.Load(), 0))
	*s = vfs.StatFS{
		Type:    disk.Magic,
		Bsize:   int64(fs.bs),
		Blocks:  fs.blocks - fs.overhead,
		Bfree:   free,
		Files:   uint64(fs.inodesCount),
		Ffree:   uint64(max(fs.freeInodes.Load(), 0)),
		Fsid:    fs.fsid,
		Namelen: disk.MaxNameLen,
	}
	if free > fs.sb.RBlocksCount {
		s.Bavail = free - fs.sb.RBlocksCount
	}
	if fs.readOnly.Load() {
		s.Flags |= abi.ST_RDONLY
	}
	return 0
}

// TypeName implements vfs.Typed.
func (fs *FS) TypeName() string { return "ext4" }

// ReadOnly implements vfs.FileSystem.
func (fs *FS) ReadOnly() bool { return fs.readOnly.Load() }
