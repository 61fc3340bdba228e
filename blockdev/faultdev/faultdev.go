// Package faultdev is a disk in memory for tests: it fails where it is told to, and
// remembers every write and flush, so that the content as of any moment, and as a crash
// might leave it, can be built again.
package faultdev

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"pinhole/blockdev"
)

// ErrInjected is what injected failures wrap unless a test chooses another error.
var ErrInjected = errors.New("injected fault")

// Device is a disk in memory. Its methods may be called concurrently; the fields that
// tests set must not change while it is in use.
type Device struct {
	// Fail, if not nil, is asked before each operation; an error makes it fail. A write
	// of several parts is asked for each part, and those before the first failure are done.
	Fail func(op Op, off int64, n int) error
	// Record keeps all writes and flushes in Events.
	Record bool

	mu     sync.Mutex
	mem    []byte // the content, or
	img    *Image // the content
	start  []byte // content before the first event, if it is in mem
	rec    record
	counts [3]int
}

var _ blockdev.Device = (*Device)(nil)

// New makes a device of mem's bytes, which it changes.
func New(mem []byte) *Device { return &Device{mem: mem} }

// NewOn makes a device of an image, which it changes. It has no Crash and no Mapped.
func NewOn(m *Image) *Device { return &Device{img: m} }

// Size implements blockdev.Device.
func (d *Device) Size() int64 {
	if d.img != nil {
		return d.img.Size()
	}
	return int64(len(d.mem))
}

// Image returns a copy of the content.
func (d *Device) Image() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := make([]byte, d.Size())
	d.read(p, 0)
	return p
}

// Content returns the content itself, for when nobody uses the device; nil for one made by NewOn.
func (d *Device) Content() []byte { return d.mem }

func (d *Device) read(p []byte, off int64) {
	if d.img != nil {
		d.img.ReadAt(p, off)
	} else {
		copy(p, d.mem[off:])
	}
}

func (d *Device) write(p []byte, off int64) {
	if d.img != nil {
		d.img.WriteAt(p, off)
	} else {
		copy(d.mem[off:], p)
	}
}

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
	d.read(p, off)
	return nil
}

// WriteV implements blockdev.Device. Calls at the same time are recorded one behind the other: a
// flush covers whole calls, all that have returned.
func (d *Device) WriteV(v []blockdev.Vec) (err error) {
	for i, w := range v {
		if w.Off%sectorSize != 0 || len(w.Data)%sectorSize != 0 {
			err = fmt.Errorf("write of %d bytes at %d is not of whole sectors", len(w.Data), w.Off)
		} else {
			err = d.check(Write, w.Off, len(w.Data))
		}
		if err != nil {
			v = v[:i]
			break
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	call := d.rec.beginCall()
	for _, w := range v {
		d.counts[Write]++
		if d.Record {
			d.note(Event{Op: Write, Off: w.Off, Data: slices.Clone(w.Data), Call: call})
		}
		d.write(w.Data, w.Off)
	}
	return err
}

// Flush implements blockdev.Device.
func (d *Device) Flush() error {
	if err := d.check(Flush, 0, 0); err != nil {
		return err
	}
	d.mu.Lock()
	covers := len(d.rec.events)
	d.mu.Unlock()
	runtime.Gosched() // what others write meanwhile may come too late
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[Flush]++
	if d.Record {
		d.note(Event{Op: Flush, Covers: covers})
	}
	return nil
}

// note appends to the record. The caller holds mu and has not yet changed the content.
func (d *Device) note(e Event) {
	if d.start == nil && d.img == nil {
		d.start = slices.Clone(d.mem)
	}
	d.rec.events = append(d.rec.events, e)
}

// RecordFrom begins a record, and forgets what was recorded. The content as it is now is the
// caller's to keep: Crash is not to be used.
func (d *Device) RecordFrom() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.start = []byte{}
	d.rec = record{}
	d.Record = true
}

// Events returns what was recorded.
func (d *Device) Events() []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.rec.events)
}

// Recorded returns the number of events so far.
func (d *Device) Recorded() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.rec.events)
}

// Crash returns the content after the first n events, as if they had been done in order
// and all that followed was lost. keep, if not nil, says of each write that the flushes among
// them do not cover whether it reached the disk: a disk may reorder those. See Crashes for
// more than a few of them.
func (d *Device) Crash(n int, keep func(i int, e Event) bool) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.start == nil {
		return slices.Clone(d.mem)
	}
	mem := slices.Clone(d.start)
	stable := stableAt(d.rec.events, n)
	for i, e := range d.rec.events[:n] {
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
