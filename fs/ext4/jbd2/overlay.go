package jbd2

import (
	"errors"

	"pinhole/blockdev"
)

// overlay shows a device as it will be after a replay, without writing to it.
type overlay struct {
	blockdev.Device
	bs     int
	copies map[uint64]copyAt
}

var errOverlay = errors.New("the device is open read-only")

// ReadAt implements blockdev.Device.
func (o *overlay) ReadAt(p []byte, off int64) error {
	if err := o.Device.ReadAt(p, off); err != nil {
		return err
	}
	bs := int64(o.bs)
	var block []byte
	for b := off / bs; b*bs < off+int64(len(p)); b++ {
		c, ok := o.copies[uint64(b)]
		if !ok {
			continue
		}
		if block == nil {
			block = make([]byte, o.bs)
		}
		if err := c.read(o.Device, block); err != nil {
			return err
		}
		if at := b*bs - off; at >= 0 {
			copy(p[at:], block)
		} else {
			copy(p, block[-at:])
		}
	}
	return nil
}

// WriteV and Flush implement blockdev.Device.
func (o *overlay) WriteV([]blockdev.Vec) error { return errOverlay }
func (o *overlay) Flush() error                { return nil }
