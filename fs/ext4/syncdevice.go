package ext4

import (
	"errors"
	"sync"
	"sync/atomic"

	"pinhole/blockdev"
)

// syncDevice is a device whose flushes are shared: one that starts after a write has returned
// counts for that write, whoever asked for it, and none is made when nothing was written since
// the last.
//
// When a flush fails, nobody knows what the medium has of the writes before it, and the host
// reports it once. So all that follow fail, too: nothing written since the last good flush
// may ever count as stable.
type syncDevice struct {
	blockdev.Device
	written atomic.Uint64 // writes that have returned
	broken  atomic.Bool   // a flush has failed

	mu       sync.Mutex
	done     sync.Cond // a flush has ended
	flushing bool
	stable   uint64 // writes that are on stable storage
	err      error  // why a flush failed
}

// WriteV implements blockdev.Device.
func (d *syncDevice) WriteV(v []blockdev.Vec) error {
	err := d.Device.WriteV(v)
	d.written.Add(1)
	return err
}

// Flush implements blockdev.Device.
func (d *syncDevice) Flush() error {
	want := d.written.Load()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done.L == nil {
		d.done.L = &d.mu
	}
	for {
		switch {
		case d.err != nil:
			return d.err
		case d.stable >= want:
			return nil
		case !d.flushing:
			d.flushing = true
			begun := d.written.Load()
			d.mu.Unlock()
			err := d.Device.Flush()
			d.mu.Lock()
			d.flushing = false
			d.settle(begun, err)
			d.done.Broadcast()
		default:
			d.done.Wait()
		}
	}
}

// Commit implements blockdev.Committer.
func (d *syncDevice) Commit(v []blockdev.Vec, last blockdev.Vec) error {
	d.mu.Lock()
	err := d.err
	d.mu.Unlock()
	if err != nil {
		return err
	}
	begun := d.written.Load()
	c, ok := d.Device.(blockdev.Committer)
	if !ok {
		return blockdev.Commit(plainDevice{d}, v, last)
	}
	err = c.Commit(v, last)
	if err != nil {
		d.written.Add(1) // else its own writes are stable
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil || errors.Is(err, blockdev.ErrFlush) {
		d.settle(begun, err)
	}
	return err
}

// plainDevice hides that a device is a blockdev.Committer.
type plainDevice struct{ blockdev.Device }

// settle notes the outcome of a flush that began when so many writes had returned.
func (d *syncDevice) settle(begun uint64, err error) {
	if err != nil {
		d.err = err
		d.broken.Store(true)
		return
	}
	d.stable = max(d.stable, begun)
}

// flushFailed tells whether a flush of the device has failed.
func (fs *FS) flushFailed() bool {
	s, ok := fs.dev.(*syncDevice)
	return ok && s.broken.Load()
}
