package vfs

import "pinhole/abi"

// FrameMapper is a Node whose content can be mapped as it is in memory: the frames of the file
// system's cache, which lie in the guest RAM, are what a mapping shows, what Read gives and what
// Write changes. It is how shared mappings work; private ones show the device ([Mapper]).
//
// A page is pinned or not; pins are not counted. While a page is pinned, its frame stays where it
// is: it is not recycled, Write changes it in place, and so does whoever zeroes a part of it. It
// may change under the file system's hands at any instant, also while it is being written to the
// device: the file system writes a page that is pinned for write whenever its content differs
// from what it wrote last (write-behind, Sync, the end of the pin), so no store is lost that
// was made before the pin ended.
//
// The caller makes calls of MapFrames and UnmapFrames of one node one after the other. Read,
// Write, SetAttr, Allocate and Sync come at any time. None of the methods touches guest memory
// other than frames.
type FrameMapper interface {
	Node
	// MapFrames says where the pages [off, off+n) of a regular file are, in ascending order
	// and without gaps, up to the page with the end of the file; less if the rest is more than
	// it cares to do at once, but at least one page, or none if off lies at or behind the end of
	// the file. off and n are multiples of 4096.
	//
	// With write set, all of them are frames, pinned, read if need be, and the space that their
	// writing will need is reserved, as if they had been written to. Their content counts as
	// changed only once it is. Without, pages that have a frame are pinned, if they are not,
	// without any claim to write (one that is pinned for write remains so); pages that are clean
	// and have none are told by where they are on the device, and holes as holes. What cannot be
	// shown from the device (blocks that are smaller than a page and do not lie together, a device
	// whose content is not all in the image file, the page with the end of the file, whose rest
	// must read as zeros) gets a frame.
	//
	// What lies behind the end of the file in its last page is zero when it is told of, and is
	// never written to the device as anything but zero; it is zero again when the file grows.
	//
	// Errors: ENOSPC, EDQUOT, EIO, EUCLEAN, EROFS (write on a read-only file system), ENOMEM when
	// the cache has no frame to give. After an error nothing new is pinned. Space that is reserved
	// for privileged callers is not taken.
	MapFrames(off, n int64, write bool) ([]Frame, abi.Errno)
	// UnmapFrames ends the pins of the pages [off, off+n): no address shows them any more. Pages
	// that are not pinned are left alone. What was stored is kept and written behind.
	UnmapFrames(off, n int64)
}

// Frame is a run of pages of a file. Exactly one of RAM and Home is not negative, or none for a
// hole. All numbers are multiples of 4096.
type Frame struct {
	Off  int64 // in the file
	Len  int64
	RAM  int64 // where the frames are, in the guest RAM; -1: the pages have none
	Home int64 // where the content is, in the image; -1: in frames, or nowhere (reads as zeros)
}

// RevokeReason says why a file system takes away what mappings show of a range of a file. Whatever
// the reason, pins of pages in the range are void when the call returns, and none of the addresses
// concerned shows the content any more: the next access asks again.
//
// A file system calls with locks of its own held, the inode's among them; the kernel calls
// nothing of the file system from inside. A reply of MapFrames or MapExtents that is not yet
// shown when the call comes is thrown away by the kernel. The range is taken in whole pages that
// contain a byte of it. There is no need to call for pages that MapFrames puts into frames: the kernel sees
// to it that nobody goes on showing them from the device.
type RevokeReason uint8

const (
	// RevokeFreed: the pages' blocks or frames are about to be given up, since the file was
	// truncated there, a hole was punched, or the blocks moved; holes that lie behind a new end of
	// the file included. It concerns private mappings, too, with what was stored to them: so the
	// range begins at the first block that goes, not in the one before. Access behind the end of
	// the file is SIGBUS then.
	RevokeFreed RevokeReason = iota
	// RevokeChanged: a Write put pages into frames, or filled holes, that mappings may show from the
	// device; or the cache wants pinned frames back. It concerns shared mappings, and private ones
	// that cannot have been stored to. For the latter the file system looks at the content again after
	// the call: until then it may have changed.
	RevokeChanged
)
