package check

import (
	"fmt"
	"strings"
)

// Severity says what a problem means.
type Severity uint8

// The severities.
const (
	// Note is worth knowing, but nothing is wrong for who uses the file system.
	Note Severity = iota
	// Error has to be repaired.
	Error
	// Fatal is an error that ended the check: what is behind it was not looked at.
	Fatal
)

// String returns the severity's name, as in JSON.
func (s Severity) String() string { return [...]string{"note", "error", "fatal"}[s] }

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Code names a kind of problem. Codes do not change their meaning.
type Code string

// The codes, by the pass that finds them.
const (
	// Pass 0.
	SuperMagic     Code = "super-magic"     // no superblock
	SuperChecksum  Code = "super-checksum"  // its checksum
	SuperValue     Code = "super-value"     // a field has a value that cannot be
	SuperSize      Code = "super-size"      // larger than the device
	SuperFeatures  Code = "super-features"  // features that contradict each other
	SuperTime      Code = "super-time"      // a time in the future
	SuperState     Code = "super-state"     // not unmounted, or with errors found in use
	SuperBackup    Code = "super-backup"    // a copy of the superblock differs
	GroupChecksum  Code = "group-checksum"  // of a descriptor
	GroupPlace     Code = "group-place"     // a bitmap or inode table where it cannot be
	GroupFlags     Code = "group-flags"     // says that parts are not in use, which it cannot
	GroupOverlap   Code = "group-overlap"   // metadata on top of other metadata
	GroupBackup    Code = "group-backup"    // a copy of the descriptors differs
	JournalInode   Code = "journal-inode"   // the journal's file
	JournalSuper   Code = "journal-super"   // the journal's superblock
	JournalLog     Code = "journal-log"     // what is to be replayed
	JournalPending Code = "journal-pending" // has to be replayed
	ResizeInode    Code = "resize-inode"    // blocks reserved for more descriptors
	OrphanList     Code = "orphan-list"     // the list in the superblock
	OrphanFile     Code = "orphan-file"     // the file with orphans
	OrphanPending  Code = "orphan-pending"  // files to be deleted at the next mount

	// Pass 1.
	InodeChecksum  Code = "inode-checksum"
	InodeMode      Code = "inode-mode"       // type that does not exist, or is not this inode's
	InodeFlags     Code = "inode-flags"      // flags that this inode cannot have
	InodeSize      Code = "inode-size"       // i_size does not go with the blocks
	InodeBlocks    Code = "inode-blocks"     // i_blocks
	InodeDtime     Code = "inode-dtime"      // deletion time of an inode in use, or none of a deleted one
	InodeField     Code = "inode-field"      // a field that has to be zero
	InodeExtra     Code = "inode-extra"      // i_extra_isize
	InodeTime      Code = "inode-time"       // a time before 1970 in an old, wrong form
	InodeDevice    Code = "inode-device"     // device, FIFO or socket with content
	InodeSymlink   Code = "inode-symlink"    // target
	InodeReserved  Code = "inode-reserved"   // one of the first inodes is used for what it is not for
	InodeRoot      Code = "inode-root"       // the root is not a directory
	InodeNoBlocks  Code = "inode-no-blocks"  // a directory without a block
	BlockRange     Code = "block-range"      // a block number that is not on the device
	BlockShared    Code = "block-shared"     // in use more than once
	BlockMetadata  Code = "block-metadata"   // in use on top of metadata of the file system
	BlockTooMany   Code = "block-too-many"   // more blocks than the file may have
	ExtentHeader   Code = "extent-header"    // of a node of an extent tree
	ExtentChecksum Code = "extent-checksum"  // of a node
	ExtentOrder    Code = "extent-order"     // not sorted, or overlapping
	ExtentLength   Code = "extent-length"    // of no block, or reaching where it must not
	ExtentIndex    Code = "extent-index"     // an index entry does not go with the node below
	ExtentUnset    Code = "extent-unwritten" // unwritten blocks in a directory
	ExtentLoose    Code = "extent-loose"     // the tree could be smaller (note)
	XattrBlock     Code = "xattr-block"      // header of a block of attributes
	XattrEntry     Code = "xattr-entry"      // names and values
	XattrHash      Code = "xattr-hash"
	XattrChecksum  Code = "xattr-checksum"
	XattrRefs      Code = "xattr-refs" // count of inodes that share a block of attributes

	// Pass 2.
	DirHole      Code = "dir-hole"      // a block is missing
	DirChecksum  Code = "dir-checksum"  // of a block
	DirEntry     Code = "dir-entry"     // an entry that contradicts itself
	DirDot       Code = "dir-dot"       // "."
	DirDotDot    Code = "dir-dotdot"    // ".."
	DirName      Code = "dir-name"      // name that cannot be
	DirInode     Code = "dir-inode"     // number of an inode that cannot be named, or is not in use
	DirType      Code = "dir-type"      // file type
	DirLink      Code = "dir-link"      // a directory with two names, or the root with one
	DirDuplicate Code = "dir-duplicate" // a name twice
	HtreeRoot    Code = "htree-root"    // root of a hash tree
	HtreeNode    Code = "htree-node"    // entries of a root or node
	HtreeOrder   Code = "htree-order"   // of the entries
	HtreeBlock   Code = "htree-block"   // a block that is not, or more than once, in the tree
	HtreeHash    Code = "htree-hash"    // a name in the wrong block

	// Pass 3.
	DirLost   Code = "dir-lost"   // cannot be reached from the root
	DirParent Code = "dir-parent" // ".." is not where the directory is

	// Pass 4.
	LinkCount Code = "link-count"
	FileLost  Code = "file-lost" // in use, but without a name

	// Pass 5.
	BitmapChecksum Code = "bitmap-checksum"
	BlockBitmap    Code = "block-bitmap"
	InodeBitmap    Code = "inode-bitmap"
	BitmapPadding  Code = "bitmap-padding"
	GroupCount     Code = "group-count" // of free blocks, inodes or of directories in a descriptor
	SuperCount     Code = "super-count" // of free blocks or inodes in the superblock

	// Any.
	TooMany Code = "too-many" // problems: the check gave up
)

// Problem is one thing that is wrong. Fields that do not apply are zero, or negative where zero
// means something.
type Problem struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	Pass     int      `json:"pass"`
	// Group is the number of a block group, or -1.
	Group int64 `json:"group"`
	// Inode is the inode that is wrong, or that has what is wrong; 0: none.
	Inode uint32 `json:"inode,omitempty"`
	// Block is a block of the device; 0: none.
	Block uint64 `json:"block,omitempty"`
	// Logical is the block of the file, or -1.
	Logical int64 `json:"logical"`
	// Path is where the inode is in the tree, if that was asked for and can be found.
	Path string `json:"path,omitempty"`
	// Name is a directory entry's, as it is on the disk: it may hold any byte.
	Name string `json:"name,omitempty"`
	// Text says what is wrong, without the place.
	Text string `json:"text"`
}

// String returns place and text in one line: "inode 12, block 8193: ...".
func (p Problem) String() string {
	var at []string
	if p.Group >= 0 {
		at = append(at, fmt.Sprintf("group %d", p.Group))
	}
	if p.Inode != 0 {
		text := fmt.Sprintf("inode %d", p.Inode)
		if p.Path != "" {
			text += fmt.Sprintf(" (%q)", p.Path)
		}
		at = append(at, text)
	}
	if p.Logical >= 0 {
		at = append(at, fmt.Sprintf("its block %d", p.Logical))
	}
	if p.Block != 0 {
		at = append(at, fmt.Sprintf("block %d", p.Block))
	}
	if p.Name != "" {
		at = append(at, fmt.Sprintf("entry %q", p.Name))
	}
	if len(at) == 0 {
		return p.Text
	}
	return strings.Join(at, ", ") + ": " + p.Text
}
