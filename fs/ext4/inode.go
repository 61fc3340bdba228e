package ext4

import (
	"fmt"
	"sync"
	"sync/atomic"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

// inode is an inode in memory, the one object for its number. It implements [vfs.Node].
type inode struct {
	fs   *FS
	ino  uint32
	seed uint32 // of its checksums
	refs atomic.Int32
	mode atomic.Uint32 // copy of d.Mode, for reading without a lock
	flag atomic.Uint32 // copy of d.Flags, likewise

	wbMu     sync.Mutex   // held while content is written to the device
	wbWanted atomic.Int32 // who waits for it to change what content there is
	mu       sync.RWMutex

	// Guarded by mu; what is persistent is changed only under a handle, too.
	d          disk.Inode
	size       int64   // in memory; d.Size follows when the content up to there is on the device
	runs       runList // where the content is, once runsReady
	runsReady  atomic.Bool
	runsMu     sync.Mutex // held while runs is loaded under a shared mu
	removed    bool       // a directory that rmdir has removed
	defaultACL uint8      // of a directory: whether it has a default access control list
	linkable   bool       // a file that was made without a name, and may get one
	atimeDue   atomic.Bool
	pages      pageTable
	space      reservation
	tight      int // passes in a row that ended with errTight; guarded by wbMu
	errs       errSeq
	wrote      disk.Time   // when content was last written to memory, if
	nextRead   int64       // where reading goes on if it is sequential
	emptied    atomic.Bool // a truncate has taken all content away, and there may be new one
	wroteDue   bool        // d's times are to follow
	loose      atomic.Bool // the extent tree may have nodes that are far from full
	hasWindow  atomic.Bool // blocks are kept for its growth
	isMapped   atomic.Bool // somebody was told where content is on the device
	isShown    bool        // a shared mapping may show pages from the device

	tx     atomic.Pointer[transaction] // that will write it
	table  *buffer                     // its block of the inode table, while in a transaction
	sizeTx uint64                      // last transaction that fdatasync must see committed
	attrTx uint64                      // last transaction that fsync must see committed

	onOrphanList atomic.Bool
	// guarded by FS.sbMu
	orphanPrev, orphanNext *inode
	orphanSlot             uint32 // in the orphan file, from one; 0 for the list

	// guarded by the cache shard's lock
	freeing          bool // is being deleted
	lruPrev, lruNext *inode

	ready   atomic.Bool
	wasDead bool  // had no links when it was loaded
	loadErr error // set before mu is released by who loads it
}

var (
	_ vfs.Node       = (*inode)(nil)
	_ vfs.Allocator  = (*inode)(nil)
	_ vfs.HoleSeeker = (*inode)(nil)
	_ vfs.XattrNode  = (*inode)(nil)
	_ vfs.Mapper     = (*inode)(nil)
	_ vfs.TmpMaker   = (*inode)(nil)
	_ vfs.FlagNode   = (*inode)(nil)

	_ vfs.ErrorSampler = (*inode)(nil)
	_ vfs.FrameMapper  = (*inode)(nil)
)

func isType(mode, typ uint32) bool { return mode&abi.S_IFMT == typ }

func (n *inode) isDir() bool     { return isType(n.mode.Load(), abi.S_IFDIR) }
func (n *inode) isRegular() bool { return isType(n.mode.Load(), abi.S_IFREG) }
func (n *inode) isLink() bool    { return isType(n.mode.Load(), abi.S_IFLNK) }

// Ino implements vfs.Node.
func (n *inode) Ino() uint64 { return uint64(n.ino) }

// Mode implements vfs.Node.
func (n *inode) Mode() uint32 { return n.mode.Load() }

// setMode changes the mode in both places.
func (n *inode) setMode(m uint16) {
	n.d.Mode = m
	n.mode.Store(uint32(m))
}

// setFlags changes the flags in both places.
func (n *inode) setFlags(flags uint32) {
	n.d.Flags = flags
	n.flag.Store(flags)
}

// setSize changes the size in both places.
func (n *inode) setSize(size int64) {
	n.size = size
	n.d.Size = uint64(size)
}

// inodeBlock returns the block of the inode table that holds ino, with a reference.
func (fs *FS) inodeBlock(ino uint32) (*buffer, error) {
	nr, g := fs.inodeHome(ino)
	return fs.buffers.read(nr, makeRole(roleInodeTable, g), 0, nil)
}

// inodeHome returns the block of the inode table that holds ino, and its group.
func (fs *FS) inodeHome(ino uint32) (block uint64, group uint32) {
	group = (ino - 1) / fs.inodesPerGroup
	i := (ino - 1) % fs.inodesPerGroup
	return fs.groups[group].desc.InodeTable + uint64(i/fs.inodesPerBlock), group
}

// rawInode returns inode ino's bytes in its table block.
func (fs *FS) rawInode(b *buffer, ino uint32) []byte {
	off := int((ino-1)%fs.inodesPerBlock) * fs.inodeSize
	return b.data[off : off+fs.inodeSize : off+fs.inodeSize]
}

// inodeBytes are for the bytes of inodes that are loaded.
var inodeBytes = sync.Pool{New: func() any { return new([blockdev.PageSize]byte) }}

// readInode calls use with inode ino's bytes. If its block of the table is not in memory, and the
// device has it, they are read without the block: who looks at inodes all over a large file system
// would only fill the cache with blocks for one inode each. Nobody changes the inode meanwhile, since
// the caller is about to load it.
func (fs *FS) readInode(ino uint32, use func(raw []byte) error) error {
	nr, _ := fs.inodeHome(ino)
	// In this order: what leaves memory is in the log or at home by then.
	if fs.mapped != nil && fs.validBlocks(nr, 1) && !fs.buffers.has(nr) && (fs.journal == nil || !fs.journal.Has(nr)) {
		p := inodeBytes.Get().(*[blockdev.PageSize]byte)
		defer inodeBytes.Put(p)
		raw := p[:fs.inodeSize]
		off := int64(nr)<<fs.bsLog + int64((ino-1)%fs.inodesPerBlock)*int64(fs.inodeSize)
		if err := fs.dev.ReadAt(raw, off); err != nil {
			return fmt.Errorf("inode %d: %w", ino, err)
		}
		return use(raw)
	}
	b, err := fs.inodeBlock(ino)
	if err != nil {
		return err
	}
	defer fs.buffers.put(b)
	return use(fs.rawInode(b, ino))
}

// loadInode reads inode n.ino and checks it.
func (fs *FS) loadInode(n *inode) error {
	return fs.readInode(n.ino, func(raw []byte) error { return fs.decodeInode(n, raw) })
}

func (fs *FS) decodeInode(n *inode, raw []byte) error {
	n.d.Decode(raw)
	n.seed = disk.InodeSeed(fs.csumSeed, n.ino, n.d.Generation)
	if fs.inodeSize > disk.GoodOldInodeSize {
		if x := int(n.d.ExtraIsize); x > fs.inodeSize-disk.GoodOldInodeSize || x%4 != 0 {
			return fs.corruptInode(n.ino, "%d bytes of extra fields", x)
		}
	}
	if fs.hasCsum {
		want := disk.InodeChecksum(n.seed, raw)
		if want != n.d.Checksum {
			return fs.corruptInode(n.ino, "checksum is %#x, should be %#x", n.d.Checksum, want)
		}
	}
	return fs.adoptInode(n)
}

// adoptInode checks the fields of a decoded inode, and derives what depends on them.
func (fs *FS) adoptInode(n *inode) error {
	d := &n.d
	mode := uint32(d.Mode)
	n.mode.Store(mode)
	n.flag.Store(d.Flags)
	switch mode & abi.S_IFMT {
	case abi.S_IFREG, abi.S_IFDIR, abi.S_IFLNK, abi.S_IFCHR, abi.S_IFBLK, abi.S_IFIFO, abi.S_IFSOCK:
	default:
		return fs.corruptInode(n.ino, "file type %#o", mode&abi.S_IFMT)
	}
	if d.Flags&(disk.InodeEncrypt|disk.InodeInline|disk.InodeVerity|disk.InodeEAInode|disk.InodeCasefold) != 0 {
		return fs.corruptInode(n.ino, "flags %#x belong to features that the file system does not have", d.Flags)
	}
	if d.Size > uint64(fs.maxSize()) {
		return fs.corruptInode(n.ino, "size %d", d.Size)
	}
	n.size = int64(d.Size)
	if isType(mode, abi.S_IFDIR) && (n.size == 0 && d.Links != 0 || n.size%int64(fs.bs) != 0 || d.Size>>fs.bsLog > fs.blocks) {
		return fs.corruptInode(n.ino, "directory of %d bytes", n.size)
	}
	if d.FileACL != 0 && (!fs.validBlocks(d.FileACL, 1) || fs.zones.hits(d.FileACL, 1, n.ino)) {
		return fs.corruptInode(n.ino, "extended attributes at block %d", d.FileACL)
	}
	if d.Flags&disk.InodeHugeFile != 0 && !fs.hasHugeFile {
		return fs.corruptInode(n.ino, "block count in blocks without the huge_file feature")
	}
	n.atimeDue.Store(atimeIsOld(d, fs.now().Sec))
	n.wasDead = d.Links == 0
	// What it was changed by before it left memory may still be on its way.
	n.sizeTx = fs.frozen.Load()
	n.attrTx = n.sizeTx
	return nil
}

// fastLink tells whether a symbolic link's target is in the inode.
func (n *inode) fastLink() bool {
	blocks := n.d.Blocks
	if n.d.FileACL != 0 {
		blocks -= min(blocks, n.blockUnits())
	}
	return blocks == 0
}

// hasContent tells whether the inode's block area maps blocks.
func (n *inode) hasContent() bool {
	switch n.mode.Load() & abi.S_IFMT {
	case abi.S_IFREG, abi.S_IFDIR:
		return true
	case abi.S_IFLNK:
		return !n.fastLink()
	}
	return false
}

// blockUnits returns how many units of d.Blocks a block is.
func (n *inode) blockUnits() uint64 {
	if n.d.Flags&disk.InodeHugeFile != 0 {
		return 1
	}
	return uint64(n.fs.bs / 512)
}

// addBlocks counts blocks that the inode has got (or lost).
func (n *inode) addBlocks(delta int64) {
	v := int64(n.d.Blocks) + delta*int64(n.blockUnits())
	n.d.Blocks = uint64(max(v, 0))
}

// rdev returns a device node's number.
func (n *inode) rdev() uint64 {
	return disk.DecodeRdev(le.Uint32(n.d.Block[:]), le.Uint32(n.d.Block[4:]))
}

// touched notes in which transaction n changed; data if fdatasync must wait for it too.
func (n *inode) touched(h handle, data bool) {
	n.attrTx = h.tx.id
	if data {
		n.sizeTx = h.tx.id
	}
}

// stamp sets the change time to now, and the modification time if content changed.
func (n *inode) stamp(now disk.Time, content bool) {
	t := disk.ClampTime(now, n.extraTime())
	n.d.Ctime = t
	if content {
		n.d.Mtime = t
		n.wroteDue = false
	}
	n.d.Version++
	n.atimeDue.Store(true)
}

// extraTime tells whether the inode has room for nanoseconds.
func (n *inode) extraTime() bool { return n.d.ExtraIsize >= 24 }

// encode writes n into its block of the inode table. The caller excludes changes.
func (n *inode) encode() {
	raw := n.fs.rawInode(n.table, n.ino)
	n.d.Encode(raw)
	if n.fs.hasCsum {
		disk.SetInodeChecksum(n.seed, raw)
	}
}
