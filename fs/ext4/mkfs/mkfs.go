// Package mkfs makes ext4 file systems: empty ones as mke2fs makes them by default, or with a few
// files in them from the start.
//
// It writes only what has to be written, so that a file system on a sparse file, or in memory,
// takes little more than its files: of 64 MiB, about 60 blocks. Memory is bounded by the list of
// files and a few bytes for each block group.
//
// # Differences from mke2fs 1.47
//
// Blocks have 4 KiB in small file systems, too; no blocks are reserved for root unless that is
// asked for; the journal and the inode tables are where the first free blocks are and not in the
// middle; the bitmaps and tables of a flexible group never reach beyond its first block group,
// for which fewer groups are taken together if need be; a file system of 2^32 blocks or more is
// refused. The orphan file and metadata_csum_seed are made, as upstream's configuration has it and
// some distributions' has not.
package mkfs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
)

// Options of Format. The zero value is good.
type Options struct {
	// BlockSize is 1024, 2048 or 4096 bytes; 0: 4096.
	BlockSize int
	// Label is the volume name, at most 16 bytes.
	Label string
	// UUID identifies the file system; zero: a random one.
	UUID [16]byte
	// HashSeed seeds the hashes of directories; zero: made from the UUID.
	HashSeed [16]byte
	// Inodes is how many files there can be, at least; 0: as BytesPerInode says.
	Inodes uint64
	// BytesPerInode is how many bytes of the device there are for each inode, at least 1024;
	// 0: 16 KiB, 4 KiB below 512 MiB, 32 KiB from 4 TiB on.
	BytesPerInode int64
	// Reserved is how much of the blocks only root can use, in percent, up to 50.
	Reserved float64
	// JournalSize is how many bytes the journal has, at least 1024 blocks; 0: as mke2fs decides,
	// from 4 MiB to 1 GiB, and none below 2048 blocks.
	JournalSize int64
	// NoJournal leaves the journal out, and with it the orphan file.
	NoJournal bool
	// ZeroJournal is how many bytes of the journal are written with zeros, from its start: on a
	// sparse file, the log then need not be given blocks of the host's with every commit; -1: all.
	// Measured on ext4: a commit of 8 KiB takes 90 us instead of 130 us (blocks that fallocate gave
	// do not help), and the 32 MiB of a file system of 1 GiB take 26 ms to write. Linux begins the
	// log anew at every mount, so that its first part is what most commits go to.
	ZeroJournal int64
	// NoOrphanFile leaves the orphan file out, of which Linux before 5.15 and e2fsprogs before 1.47
	// do not know.
	NoOrphanFile bool
	// NoResize leaves out the blocks that are kept so that the file system can be made up to 1024
	// times as large while it is mounted.
	NoResize bool
	// NoChecksumSeed makes metadata checksums that depend on the UUID, so that it cannot be changed
	// while the file system is mounted.
	NoChecksumSeed bool
	// RootUID and RootGID are who owns the root directory.
	RootUID, RootGID uint32
	// Fresh promises that the device reads as zeros everywhere. Otherwise what has to be zero is
	// written.
	Fresh bool
	// Time is when everything is said to have been made; zero: now.
	Time time.Time
	// Files are in the file system from the start, in the order of the list; directories that are
	// not in the list before what is in them are made, owned by root, with mode 0755.
	Files []File
}

// File is a file, directory or symbolic link to be put in the new file system.
type File struct {
	// Path is absolute, without "." and "..".
	Path string
	// Mode is type and permission bits as in st_mode; of type 0 is a regular file.
	Mode uint32
	// UID and GID are the owner.
	UID, GID uint32
	// Time is the modification time; zero: Options.Time.
	Time time.Time
	// Content is of a regular file, or the target of a symbolic link. It must not change until
	// Format returns.
	Content []byte
}

// Errors that Format wraps.
var (
	ErrTooSmall = errors.New("too small for an ext4 file system")
	ErrTooLarge = errors.New("too large for an ext4 file system with such blocks")
	ErrNoRoom   = errors.New("the files do not fit")
)

// Format makes a file system on dev, whose content is lost, and flushes it. If it fails, there is
// none.
func Format(dev blockdev.Device, o Options) error {
	if o.BlockSize == 0 {
		o.BlockSize = 4096
	}
	if o.Time.IsZero() {
		o.Time = time.Now()
	}
	if o.UUID == [16]byte{} {
		rand.Read(o.UUID[:])
		o.UUID[6] = o.UUID[6]&0x0f | 0x40 // version 4
		o.UUID[8] = o.UUID[8]&0x3f | 0x80
	}
	if len(o.Label) > 16 {
		return fmt.Errorf("label %q: longer than 16 bytes", o.Label)
	}
	switch o.BlockSize {
	case 1024, 2048, 4096:
	default:
		return fmt.Errorf("block size %d: must be 1024, 2048 or 4096", o.BlockSize)
	}
	if o.Reserved < 0 || o.Reserved > 50 {
		return fmt.Errorf("%v%% reserved: must be from 0 to 50", o.Reserved)
	}
	if o.BytesPerInode != 0 && o.BytesPerInode < 1024 {
		return fmt.Errorf("%d bytes per inode: must be at least 1024", o.BytesPerInode)
	}
	b := &builder{o: o, bs: int64(o.BlockSize)}
	if err := b.geometry(dev.Size()); err != nil {
		return err
	}
	b.plan()
	if err := b.populate(); err != nil {
		return err
	}
	return b.write(dev)
}

// builder is a file system that is being made.
type builder struct {
	o  Options
	bs int64
	sb disk.Superblock

	groups   int64
	perGroup int64 // blocks
	inodes   int64 // of a group
	tableLen int64 // blocks of a group's inode table
	gdtLen   int64 // blocks of the descriptor table
	reserved int64 // blocks kept behind it
	logFlex  uint8 // 1<<logFlex groups have their bitmaps and inode tables together
	seed     uint32

	used   []run // blocks in use, sorted and apart
	next   int64 // where to look for free blocks
	nodes  []*node
	desc   []byte // the descriptor table
	orphan *node  // the orphan file
	zero   []run  // blocks to be zeroed on a device that is not fresh
	always []run  // blocks to be zeroed on any

	dev    blockdev.Device
	out    []blockdev.Vec // to be written
	outLen int            // bytes of out
	err    error          // of writing
}

// run is n blocks from start on.
type run struct{ start, n int64 }

func (r run) end() int64 { return r.start + r.n }
