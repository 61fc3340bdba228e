package blockdev

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// Doorbell wakes the other side of a ring and sleeps until the other side wakes this one.
type Doorbell interface {
	// Ring wakes the supervisor. It does not block.
	Ring()
	// Wait sleeps until the supervisor has rung since the last Wait; it may return early.
	// At most one call is under way at a time, and it may hold a host thread.
	Wait()
}

// RingConfig is what a RingDevice stands on. The memory stays mapped for as long as the
// device is used.
type RingConfig struct {
	Ring  []byte // at least RingBytes, shared with the supervisor
	Image []byte // the whole image, mapped shared; only read. Its length is the device's size
	RAM   []byte // the whole guest RAM memfd, mapped shared
	// Bounce is a part of RAM, page-aligned in it and at least one page long, through which data that lies
	// elsewhere goes. The device owns it.
	Bounce []byte
	Bell   Doorbell
	// Copy copies from the image, and returns how many bytes it could copy before the medium
	// failed under the mapping. Nil: the built-in copy, which does not survive that.
	Copy     func(dst, src []byte) int
	ReadOnly bool // WriteV fails
}

// RingDevice is the image as the sandbox has it: read through a mapping, written and flushed
// by the supervisor at the other end of a ring. Data of WriteV that lies in the guest RAM memfd
// at a multiple of SectorSize travels without a copy.
//
// Whoever waits for a reply while nobody else does reads the ring for all: waiting costs one host
// thread however many wait, and none when nobody does.
type RingDevice struct {
	ring     *Ring
	image    []byte
	ram      Arena // only its Offset is used
	bell     Doorbell
	copyFrom func(dst, src []byte) int
	readOnly bool

	mu      sync.Mutex
	change  sync.Cond     // signalled when replies have been taken, or nobody reads the ring any more
	reading bool          // somebody sleeps or polls on the ring, without mu
	typical time.Duration // of a wait for replies lately; of who is reading
	submit  uint32        // requests put in so far
	told    uint32        // of these, the supervisor may know
	taken   uint32        // replies taken out so far
	slots   [RingEntries]slot
	free    []uint16 // indices of unused slots
	bounce  [][]byte // unused bounce pages
	stray   uint64   // replies that nobody asked for

	oneProcessor bool // to poll is to keep from running who is waited for

	commit sync.Mutex // one Commit at a time; taken before mu
}

// slot is a request that waits for its reply. Its index and gen make the tag.
type slot struct {
	batch  *batch
	bounce []byte
	off    uint64
	n      uint32
	gen    uint32
}

// batch counts the replies that one caller waits for.
type batch struct {
	pending int
	status  Status // the first that is not StatusOK
	off     uint64 // of the request that it belongs to
	n       uint32
}

// NewRingDevice makes the sandbox's end of a ring that nobody has used yet.
func NewRingDevice(c RingConfig) (*RingDevice, error) {
	ring, err := NewRing(c.Ring)
	if err != nil {
		return nil, err
	}
	if len(c.Image)%SectorSize != 0 {
		return nil, fmt.Errorf("image of %d bytes is not a whole number of sectors", len(c.Image))
	}
	d := &RingDevice{
		ring:     ring,
		image:    c.Image,
		ram:      Arena{mem: c.RAM},
		bell:     c.Bell,
		copyFrom: c.Copy,
		readOnly: c.ReadOnly,
		free:     make([]uint16, RingEntries),

		oneProcessor: runtime.GOMAXPROCS(0) == 1,
	}
	d.change.L = &d.mu
	for i := range d.free {
		d.free[i] = uint16(RingEntries - 1 - i)
	}
	if off, ok := d.ram.Offset(c.Bounce); !ok || off%PageSize != 0 || len(c.Bounce) < PageSize {
		return nil, errors.New("bounce memory is not a run of pages of the guest RAM")
	}
	for at := 0; at+PageSize <= len(c.Bounce); at += PageSize {
		d.bounce = append(d.bounce, c.Bounce[at:at+PageSize:at+PageSize])
	}
	if d.copyFrom == nil {
		d.copyFrom = func(dst, src []byte) int { return copy(dst, src) }
	}
	return d, nil
}

// Size implements Device.
func (d *RingDevice) Size() int64 { return int64(len(d.image)) }

// Bytes implements Mapped.
func (d *RingDevice) Bytes(off int64, n int) []byte {
	return d.image[off : off+int64(n) : off+int64(n)]
}

// ReadAt implements Device.
func (d *RingDevice) ReadAt(p []byte, off int64) error {
	if off < 0 || off > d.Size() || int64(len(p)) > d.Size()-off {
		return fmt.Errorf("read of %d bytes at %d: beyond the device's %d bytes", len(p), off, d.Size())
	}
	if n := d.copyFrom(p, d.image[off:off+int64(len(p))]); n < len(p) {
		return fmt.Errorf("read of %d bytes at %d: the image failed at %d: %w", len(p), off, off+int64(n), errHostIO)
	}
	return nil
}

// WriteV implements Device.
func (d *RingDevice) WriteV(v []Vec) error {
	if err := d.check(v); err != nil {
		return err
	}
	var b batch
	d.mu.Lock()
	for _, w := range v {
		d.put(&b, w, OpWrite)
	}
	d.finish(&b)
	d.mu.Unlock()
	return b.err()
}

// check makes sure that writes are within the device.
func (d *RingDevice) check(v []Vec) error {
	for _, w := range v {
		if w.Off < 0 || w.Off > d.Size() || int64(len(w.Data)) > d.Size()-w.Off || (w.Off|int64(len(w.Data)))%SectorSize != 0 {
			return fmt.Errorf("write of %d bytes at %d: beyond the device's %d bytes, or not whole sectors", len(w.Data), w.Off, d.Size())
		}
	}
	if d.readOnly {
		return fmt.Errorf("write: the image was opened read-only")
	}
	return nil
}

// err returns what went wrong first in a batch of writes.
func (b *batch) err() error {
	if err := b.status.err(); err != nil {
		return fmt.Errorf("write of %d bytes at %d: %w", b.n, b.off, err)
	}
	return nil
}

// Commit implements Committer. All of it goes out at once, and the supervisor does not wait for
// this side in between.
func (d *RingDevice) Commit(v []Vec, last Vec) error {
	if len(last.Data) > PageSize {
		return plainCommit(d, v, last)
	}
	if err := d.check(v); err != nil {
		return err
	}
	if err := d.check([]Vec{last}); err != nil {
		return err
	}
	d.commit.Lock()
	defer d.commit.Unlock()
	var b batch
	d.mu.Lock()
	for _, w := range v {
		d.put(&b, w, OpWrite|OpPart)
	}
	if len(last.Data) > 0 {
		d.put(&b, last, OpCommit)
	} else {
		d.reserve(false)
		d.enqueue(&b, Request{Op: OpCommit}, nil)
	}
	d.finish(&b)
	d.mu.Unlock()
	return b.err()
}

// Flush implements Device.
func (d *RingDevice) Flush() error {
	if d.readOnly {
		return nil
	}
	if err := d.one(Request{Op: OpFlush}).err(); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// DiscardRAM makes n bytes of the guest RAM memfd from byte offset off zero, and gives their
// pages back to the host. Both are multiples of PageSize.
func (d *RingDevice) DiscardRAM(off, n int64) error {
	const most = 1 << 30 // of one request: its length has 32 bits
	for n > 0 {
		k := min(n, most)
		if err := d.one(Request{Op: OpDiscard, RAM: uint64(off), Len: uint32(k)}).err(); err != nil {
			return fmt.Errorf("discard of %d bytes of memory at %d: %w", k, off, err)
		}
		off, n = off+k, n-k
	}
	return nil
}

// one sends a single request and returns its outcome.
func (d *RingDevice) one(q Request) Status {
	var b batch
	d.mu.Lock()
	d.reserve(false)
	d.enqueue(&b, q, nil)
	d.finish(&b)
	d.mu.Unlock()
	return b.status
}

// put queues one write, in as many requests of kind op as it takes: one, if it is no longer than
// a page. Called with mu; may let go of it to wait.
func (d *RingDevice) put(b *batch, w Vec, op Op) {
	ram, direct := d.ram.Offset(w.Data)
	direct = direct && ram%SectorSize == 0
	for off := uint64(w.Off); len(w.Data) > 0; {
		d.reserve(!direct)
		n := min(len(w.Data), MaxTransfer)
		var page []byte
		if !direct {
			page = d.bounce[len(d.bounce)-1]
			d.bounce = d.bounce[:len(d.bounce)-1]
			n = copy(page, w.Data)
			ram, _ = d.ram.Offset(page)
		}
		d.enqueue(b, Request{Op: op, Len: uint32(n), Off: off, RAM: uint64(ram)}, page)
		w.Data, off, ram = w.Data[n:], off+uint64(n), ram+n
	}
}

// reserve waits until there is a slot, and a bounce page if one is needed.
func (d *RingDevice) reserve(bounce bool) {
	for len(d.free) == 0 || bounce && len(d.bounce) == 0 {
		d.publish()
		d.wait()
	}
}

// publishEvery is how many requests of a batch are queued before the supervisor may begin with them.
const publishEvery = 32

// enqueue puts a request into the ring. Called with mu and a free slot.
func (d *RingDevice) enqueue(b *batch, q Request, bounce []byte) {
	i := d.free[len(d.free)-1]
	d.free = d.free[:len(d.free)-1]
	s := &d.slots[i]
	s.batch, s.bounce, s.off, s.n = b, bounce, q.Off, q.Len
	s.gen++
	q.Tag = uint64(s.gen)<<32 | uint64(i)
	d.ring.PutRequest(d.submit, q)
	d.submit++
	b.pending++
	if d.submit-d.told >= publishEvery {
		d.publish()
	}
}

// publish tells the supervisor of everything queued.
func (d *RingDevice) publish() {
	d.told = d.submit
	if d.ring.PublishRequests(d.submit) {
		d.bell.Ring()
	}
}

// finish waits until b's replies are in.
func (d *RingDevice) finish(b *batch) {
	if d.told != d.submit {
		d.publish()
	}
	for b.pending > 0 {
		d.wait()
	}
}

// The reply tail is looked at for some time before the reader sleeps, as sleeping and waking cost more than
// the supervisor needs for a small write when it is awake, and no less than the host needs for a flush.
const (
	polls    = 1000                   // between looks at the clock
	pollTime = 300 * time.Microsecond // at most
)

// wait returns when replies may have been taken since the call. Called with mu, which it lets go of meanwhile.
func (d *RingDevice) wait() {
	if d.reading {
		d.change.Wait()
		return
	}
	d.reading = true
	taken := d.taken
	d.mu.Unlock()
	d.sleep(taken)
	d.mu.Lock()
	d.reading = false
	d.take()
	d.change.Broadcast()
}

// sleep returns when the ring holds replies beyond taken. It polls for as long as it had to wait lately,
// and some more, if that is not long, and lets others run in between.
func (d *RingDevice) sleep(taken uint32) {
	start := time.Now()
	patience := 2*d.typical + 10*time.Microsecond
	if d.oneProcessor || patience > pollTime {
		patience = 0
	}
	for waited := time.Duration(0); ; runtime.Gosched() {
		for range polls {
			if d.ring.ReplyTail() != taken {
				d.typical += (min(time.Since(start), 4*pollTime) - d.typical) / 8
				return
			}
		}
		if waited = time.Since(start); waited > patience {
			break
		}
	}
	d.ring.ClientIdle(true)
	for d.ring.ReplyTail() == taken {
		d.bell.Wait()
	}
	d.ring.ClientIdle(false)
	d.typical += (min(time.Since(start), 4*pollTime) - d.typical) / 8
}

// take hands the replies in the ring to their batches. Called with mu.
func (d *RingDevice) take() {
	for tail := d.ring.ReplyTail(); d.taken != tail; d.taken++ {
		p := d.ring.Reply(d.taken)
		i := uint32(p.Tag)
		if i >= RingEntries || d.slots[i].batch == nil || d.slots[i].gen != uint32(p.Tag>>32) {
			d.stray++
			continue
		}
		s := &d.slots[i]
		b := s.batch
		b.pending--
		if p.Status != StatusOK && b.status == StatusOK {
			b.status, b.off, b.n = p.Status, s.off, s.n
		}
		if s.bounce != nil {
			d.bounce = append(d.bounce, s.bounce)
		}
		s.batch, s.bounce = nil, nil
		d.free = append(d.free, uint16(i))
	}
}

var (
	_ Mapped    = (*RingDevice)(nil)
	_ Committer = (*RingDevice)(nil)
)
