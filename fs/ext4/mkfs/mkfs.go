// Package mkfs makes ext4 file systems: empty ones as mke2fs makes them by default, or with a few
// files in them from the start.
//
// It writes only what has to be written, so that a file system on a sparse file, or in memory,
// takes little more than its files: of 64 MiB, a dozen blocks.
//
// Differences from mke2fs: no resize_inode (resize2fs grows the file system all the same, while
// it is not mounted), no blocks reserved for root, 4 KiB blocks also for small file systems, and a
// journal of at most 32768 blocks.
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
	// Inodes is how many files there can be, at least; 0: one for every 16 KiB, or for every
	// 4 KiB if it is smaller than 512 MiB.
	Inodes uint64
	// NoJournal leaves the journal out. It is left out anyway below 2048 blocks.
	NoJournal bool
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
	b := &builder{o: o, bs: int64(o.BlockSize)}
	if err := b.geometry(dev.Size()); err != nil {
		return err
	}
	if err := b.plan(); err != nil {
		return err
	}
	if err := b.populate(); err != nil {
		return err
	}
	b.finish()
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
	logFlex  uint8 // 1<<logFlex groups have their bitmaps and inode tables together
	seed     uint32

	used  []run // blocks in use, sorted and apart
	next  int64 // where to look for free blocks
	nodes []*node
	desc  []byte // the descriptor table
	out   []blockdev.Vec
	zero  []run // blocks to be zeroed on a device that is not fresh
}

// run is n blocks from start on.
type run struct{ start, n int64 }

func (r run) end() int64 { return r.start + r.n }
