// Package blockdev is the disk under a file system: a fixed number of bytes that can be
// read at any offset, written in batches, and flushed.
package blockdev

import "errors"

// PageSize is the unit of frames and of mappings, in bytes.
const PageSize = 4096

// ErrNoSpace is returned (wrapped) by WriteV and Flush when the medium behind the device is
// full, as a sparse image's host disk can be. Everything else is an I/O error.
var ErrNoSpace = errors.New("no space behind the device")

// Vec is one write: Data goes to byte offset Off of the device. Off and len(Data) are
// multiples of 512.
type Vec struct {
	Off  int64
	Data []byte
}

// Device is a disk. All methods may be called concurrently. Errors are wrapped and name
// the operation, offset and length.
type Device interface {
	// Size returns the device's length in bytes; it never changes.
	Size() int64
	// ReadAt fills p from byte offset off, or fails; there is no short read.
	// It sees every WriteV that has returned.
	ReadAt(p []byte, off int64) error
	// WriteV does the writes, in any order among themselves, and returns when all are in
	// (not necessarily stable) or some failed. Data must not change until it returns.
	WriteV(v []Vec) error
	// Flush returns when everything that WriteV completed before it is on stable storage.
	Flush() error
}

// Mapped is a Device whose home content is in memory: the slice shows what is on the device,
// without what the caller has not yet written, and follows WriteV. It must only be read, and may fault if
// the medium fails: content for a guest is copied by routines that survive this.
type Mapped interface {
	Device
	Bytes(off int64, n int) []byte
}
