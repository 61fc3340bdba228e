package resize

import (
	"bytes"
	"fmt"

	"pinhole/blockdev"
)

// stagedDevice is a device on which what is written before end stays in memory.
type stagedDevice struct {
	blockdev.Device
	bs, end int64
	most    int // blocks that may be kept
	blocks  map[int64][]byte
}

// ReadAt implements blockdev.Device.
func (d *stagedDevice) ReadAt(p []byte, off int64) error {
	if err := d.Device.ReadAt(p, off); err != nil {
		return err
	}
	for b := off / d.bs; b*d.bs < min(off+int64(len(p)), d.end); b++ {
		if q := d.blocks[b]; q != nil {
			if at := b*d.bs - off; at >= 0 {
				copy(p[at:], q)
			} else {
				copy(p, q[-at:])
			}
		}
	}
	return nil
}

// WriteV implements blockdev.Device.
func (d *stagedDevice) WriteV(vecs []blockdev.Vec) error {
	for _, v := range vecs {
		for v.Off < d.end && len(v.Data) > 0 {
			in := v.Off % d.bs
			n := min(int64(len(v.Data)), d.bs-in)
			q, err := d.block(v.Off / d.bs)
			if err != nil {
				return err
			}
			copy(q[in:], v.Data[:n])
			v.Off, v.Data = v.Off+n, v.Data[n:]
		}
		if len(v.Data) == 0 {
			continue
		}
		if err := d.Device.WriteV([]blockdev.Vec{v}); err != nil {
			return err
		}
	}
	return nil
}

// block returns a block that is kept, and keeps it from now on.
func (d *stagedDevice) block(b int64) ([]byte, error) {
	q := d.blocks[b]
	if q == nil {
		if len(d.blocks) == d.most {
			return nil, fmt.Errorf("more than %d blocks change: %w", d.most, ErrInPlace)
		}
		q = make([]byte, d.bs)
		if err := d.Device.ReadAt(q, b*d.bs); err != nil {
			return nil, err
		}
		d.blocks[b] = q
	}
	return q, nil
}

// Flush implements blockdev.Device: what is behind the end is flushed before it counts.
func (d *stagedDevice) Flush() error { return nil }

// settle forgets blocks that are as they were.
func (d *stagedDevice) settle() error {
	p := make([]byte, d.bs)
	for b, q := range d.blocks {
		if err := d.Device.ReadAt(p, b*d.bs); err != nil {
			return err
		}
		if bytes.Equal(p, q) {
			delete(d.blocks, b)
		}
	}
	return nil
}

// heapBlocks is memory for the log of blocks of so many bytes.
type heapBlocks int64

func (n heapBlocks) Block() []byte { return make([]byte, n) }
func (heapBlocks) Free([]byte)     {}
