// Package faultdev is a disk in memory for tests: it fails where it is told to, and
// remembers every write and flush, so that the content as of any moment, and as a crash
// might leave it, can be built again.
package faultdev

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"pinhole/blockdev"
)

// ErrInjected is what injected failures wrap unless a test chooses another error.
var ErrInjected = errors.New("injected fault")

// Op is what a device is asked to do.
type Op int

// The operations of a device.
const (
	Read Op = iota
	Write
	Flush
)

func (o Op) String() string { return [...]string{"read", "write", "flush"}[o] }

// Event is one write or flush, in the order in which they completed.
type Event struct {
	Op   Op
	Off  int64
	Data []byte // nil for a flush
}

// Device is a disk in memory. Its methods may be called concurrently; the fields that
// tests set must not change while it is in use.
type Device struct {
	// Fail, if not nil, is asked before each operation; an error makes it fail. A write
	// of several parts is asked for each part, and those before the first failure are done.
	Fail func(op Op, off int64, n int) error
	// Record keeps all writes and flushes in Events.
	Record bool

	mu     sync.Mutex
	mem    []byte
	start  []byte // content before the first event
	events []Event
	counts [3]int
}

var _ blockdev.Device = (*Device)(nil)

// New makes a device of mem's bytes, which it changes.
func New(mem []byte) *Device { return &Device{mem: mem} }

// Size implements blockdev.Device.
func (d *Device) Size() int64 { return int64(len(d.mem)) }

// Image returns a copy of the content.
func (d *Device) Image() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.mem)
}

// Content returns the content itself, for when nobody uses the device.
func (d *Device) Content() []byte { return d.mem }

// Counts returns how many reads, writes (parts) and flushes were done.
func (d *Device) Counts() (reads, writes, flushes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts[Read], d.counts[Write], d.counts[Flush]
}

func (d *Device) check(op Op, off int64, n int) error {
	if off < 0 || n < 0 || off > d.Size()-int64(n) {
		return fmt.Errorf("%v of %d bytes at %d: behind the end (%d)", op, n, off, d.Size())
	}
	if d.Fail != nil {
		if err := d.Fail(op, off, n); err != nil {
			return fmt.Errorf("%v of %d bytes at %d: %w", op, n, off, err)
		}
	}
	return nil
}

// ReadAt implements blockdev.Device.
func (d *Device) ReadAt(p []byte, off int64) error {
	if err := d.check(Read, off, len(p)); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[Read]++
	copy(p, d.mem[off:])
	return nil
}

// WriteV implements blockdev.Device.
func (d *Device) WriteV(v []blockdev.Vec) error {
	for _, w := range v {
		if w.Off%512 != 0 || len(w.Data)%512 != 0 {
			return fmt.Errorf("write of %d bytes at %d is not of whole sectors", len(w.Data), w.Off)
		}
		if err := d.check(Write, w.Off, len(w.Data)); err != nil {
			return err
		}
		d.mu.Lock()
		d.counts[Write]++
		if d.Record {
			d.note(Event{Write, w.Off, slices.Clone(w.Data)})
		}
		copy(d.mem[w.Off:], w.Data)
		d.mu.Unlock()
	}
	return nil
}

// Flush implements blockdev.Device.
func (d *Device) Flush() error {
	if err := d.check(Flush, 0, 0); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[Flush]++
	if d.Record {
		d.note(Event{Op: Flush})
	}
	return nil
}

// note appends to the record. The caller holds mu and has not yet changed mem.
func (d *Device) note(e Event) {
	if d.start == nil {
		d.start = slices.Clone(d.mem)
	}
	d.events = append(d.events, e)
}

// Events returns what was recorded.
func (d *Device) Events() []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.events)
}

// Crash returns the content after the first n events, as if they had been done in order
// and all that followed was lost. keep, if not nil, says of each write behind the last
// flush before event n whether it reached the disk: a disk may reorder those.
func (d *Device) Crash(n int, keep func(i int, e Event) bool) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.start == nil {
		return slices.Clone(d.mem)
	}
	mem := slices.Clone(d.start)
	stable := 0
	for i, e := range d.events[:n] {
		if e.Op == Flush {
			stable = i
		}
	}
	for i, e := range d.events[:n] {
		if e.Op == Write && (i < stable || keep == nil || keep(i, e)) {
			copy(mem[e.Off:], e.Data)
		}
	}
	return mem
}

// Mapped is a Device whose content can be seen in memory.
type Mapped struct{ *Device }

var _ blockdev.Mapped = Mapped{}

// Bytes implements blockdev.Mapped.
func (m Mapped) Bytes(off int64, n int) []byte { return m.mem[off : off+int64(n) : off+int64(n)] }
