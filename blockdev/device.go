// Package blockdev is the disk under a file system: a fixed number of bytes that can be
// read at any offset, written in batches, and flushed.
package blockdev

import (
	"errors"
	"fmt"
)

// PageSize is the unit of frames and of mappings, in bytes.
const PageSize = 4096

// ErrNoSpace is returned (wrapped) by WriteV and Flush when the medium behind the device is
// full, as a sparse image's host disk can be. Everything else is an I/O error.
var ErrNoSpace = errors.New("no space behind the device")

// ErrFlush is wrapped by what Commit returns when it was a flush that failed: which of the
// writes before it are on stable storage is not known.
var ErrFlush = errors.New("flush failed")

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

// Committer is a Device that can order writes without the caller waiting in between.
type Committer interface {
	Device
	// Commit is what the function of the same name does.
	Commit(v []Vec, last Vec) error
}

// Commit does the writes of v, flushes, writes last, and flushes again: last is on stable
// storage only if v is. An empty last ends it with the first flush. A step that fails keeps
// those behind it from being done.
func Commit(d Device, v []Vec, last Vec) error {
	if c, ok := d.(Committer); ok {
		return c.Commit(v, last)
	}
	return plainCommit(d, v, last)
}

// plainCommit is Commit step by step.
func plainCommit(d Device, v []Vec, last Vec) error {
	if len(v) > 0 {
		if err := d.WriteV(v); err != nil {
			return err
		}
	}
	if err := flush(d); err != nil || len(last.Data) == 0 {
		return err
	}
	if err := d.WriteV([]Vec{last}); err != nil {
		return err
	}
	return flush(d)
}

func flush(d Device) error {
	if err := d.Flush(); err != nil {
		return fmt.Errorf("%w: %w", ErrFlush, err)
	}
	return nil
}

// Volatile is implemented by devices whose content ends with the process: what is on them
// need not be consistent at any moment.
type Volatile interface{ Volatile() bool }
