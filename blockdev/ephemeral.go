package blockdev

import (
	"fmt"
	"sync"
)

// EphemeralDevice is an image whose changes live in memory and end with the process: the image
// is mapped private and writable, so that unchanged pages are shared with everybody who has the
// image, and changed ones are the process's own.
type EphemeralDevice struct {
	image    []byte
	copyFrom func(dst, src []byte) int

	mu    sync.RWMutex
	dirty []uint64 // a bit for each page of the image: it differs from the image file
	left  int64    // pages that may still become dirty
}

// NewEphemeralDevice makes a device of image, a private writable mapping of a whole image file.
// At most limit bytes may differ from the file; a write beyond that is ErrNoSpace. copyFrom is as
// RingConfig.Copy.
func NewEphemeralDevice(image []byte, limit int64, copyFrom func(dst, src []byte) int) *EphemeralDevice {
	if copyFrom == nil {
		copyFrom = func(dst, src []byte) int { return copy(dst, src) }
	}
	pages := (len(image) + PageSize - 1) / PageSize
	return &EphemeralDevice{
		image:    image,
		copyFrom: copyFrom,
		dirty:    make([]uint64, (pages+63)/64),
		left:     limit / PageSize,
	}
}

// Size implements Device.
func (d *EphemeralDevice) Size() int64 { return int64(len(d.image)) }

// Bytes implements Mapped.
func (d *EphemeralDevice) Bytes(off int64, n int) []byte {
	return d.image[off : off+int64(n) : off+int64(n)]
}

// ReadAt implements Device.
func (d *EphemeralDevice) ReadAt(p []byte, off int64) error {
	if off < 0 || off > d.Size() || int64(len(p)) > d.Size()-off {
		return fmt.Errorf("read of %d bytes at %d: beyond the device's %d bytes", len(p), off, d.Size())
	}
	if n := d.copyFrom(p, d.image[off:off+int64(len(p))]); n < len(p) {
		return fmt.Errorf("read of %d bytes at %d: the image failed at %d: %w", len(p), off, off+int64(n), errHostIO)
	}
	return nil
}

// WriteV implements Device.
func (d *EphemeralDevice) WriteV(v []Vec) error {
	for _, w := range v {
		n := int64(len(w.Data))
		if w.Off < 0 || w.Off > d.Size() || n > d.Size()-w.Off || (w.Off|n)%SectorSize != 0 {
			return fmt.Errorf("write of %d bytes at %d: beyond the device's %d bytes, or not whole sectors", n, w.Off, d.Size())
		}
		if n == 0 {
			continue
		}
		if !d.claim(w.Off, n) {
			return fmt.Errorf("write of %d bytes at %d: the memory for changes is used up: %w", n, w.Off, ErrNoSpace)
		}
		// A page that is not there yet is read from the file first, which can fail as a read can.
		if done := d.copyFrom(d.image[w.Off:w.Off+n], w.Data); int64(done) < n {
			return fmt.Errorf("write of %d bytes at %d: %w", n, w.Off, errHostIO)
		}
	}
	return nil
}

// claim marks the pages of a range dirty, unless there would be too many.
func (d *EphemeralDevice) claim(off, n int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p := off / PageSize; p <= (off+n-1)/PageSize; p++ {
		if d.dirty[p/64]>>(p%64)&1 != 0 {
			continue
		}
		if d.left == 0 {
			return false
		}
		d.left--
		d.dirty[p/64] |= 1 << (p % 64)
	}
	return true
}

// Flush implements Device. There is nothing that could be made to last.
func (d *EphemeralDevice) Flush() error { return nil }

// Volatile implements the interface of that name.
func (d *EphemeralDevice) Volatile() bool { return true }

// Pristine tells whether a range of n > 0 bytes is as in the image file, so that a mapping of the
// file shows it.
func (d *EphemeralDevice) Pristine(off, n int64) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for p := off / PageSize; p <= (off+n-1)/PageSize; p++ {
		if d.dirty[p/64]>>(p%64)&1 != 0 {
			return false
		}
	}
	return true
}

var _ Mapped = (*EphemeralDevice)(nil)
