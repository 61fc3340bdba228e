package supervisor

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"pinhole/blockdev"
)

// disk serves the requests of one sandbox: it writes blocks of the image, flushes it, and
// punches holes into the guest RAM. It knows nothing of what the blocks mean.
//
// What a hostile ring can cost is bounded: memory, because all of it is allocated at the start;
// time, because whatever breaks the rules or wakes the server for nothing is paid for by sleeping (see penalty).
type disk struct {
	ring     *blockdev.Ring
	image    int    // descriptor, opened for writing unless writable is 0
	writable uint64 // bytes of the image that may be written
	ramFD    int
	ram      []byte   // the guest RAM memfd, mapped shared and read-only. Its size is sealed
	in       *os.File // eventfd that the sandbox rings; does not block
	out      int      // eventfd that wakes the sandbox

	closed atomic.Bool
	done   sync.WaitGroup
	stats  diskStats

	// Of the serving goroutine.
	taken    uint32 // requests taken out of the ring so far
	offence  uint32 // see penalty
	run      run
	partLost bool // a write that is part of the next commit was not done
	holes    holes

	// reply is shared with the flushing goroutine.
	reply struct {
		mu   sync.Mutex
		tail uint32
		news bool // the sandbox has to be woken for what is new
		part bool // there are replies to parts of a commit, for which alone it has not
	}

	flush struct {
		mu      sync.Mutex
		wanted  sync.Cond
		waiting []blockdev.Request // OpFlush and OpCommit that wait for the next fdatasync; at most maxFlushes
		serving []blockdev.Request // those that the flushing goroutine is at
	}
	slow atomic.Bool // the last fdatasync took long
}

// diskStats counts what was served. Its fields may be read at any time.
type diskStats struct {
	Writes   atomic.Uint64
	Bytes    atomic.Uint64
	Flushes  atomic.Uint64
	Discards atomic.Uint64
	Refused  atomic.Uint64 // requests that broke the rules
	Garbled  atomic.Uint64 // ring words that cannot be: a tail too far ahead
	NoSpace  atomic.Uint64 // writes and flushes that failed for want of space on the host
	Failed   atomic.Uint64 // writes, flushes and discards that failed otherwise
}

// maxFlushes bounds the flushes that wait for an answer. A client that keeps to the ring's rules
// cannot have more.
const maxFlushes = blockdev.RingEntries

// oneProcessor says that to poll is to keep from running who is waited for.
var oneProcessor = runtime.GOMAXPROCS(0) == 1

// run is a row of writes that lie behind one another in the image and are done with one call.
type run struct {
	off  uint64
	n    uint64
	iov  [maxRun]unix.Iovec
	reqs [maxRun]blockdev.Request
	len  int
}

const (
	maxRun      = 64      // requests in a run
	maxRunBytes = 4 << 20 // bytes in a run
)

// start begins to serve. The descriptors and the mapping stay the caller's, and must outlive stop.
func (d *disk) start() {
	d.flush.wanted.L = &d.flush.mu
	d.holes.init(d.image, d.writable)
	d.flush.waiting = make([]blockdev.Request, 0, maxFlushes)
	d.flush.serving = make([]blockdev.Request, 0, maxFlushes)
	d.done.Add(1)
	go d.serve()
}

// stop ends the service; what is in the ring without a reply may be served or not.
func (d *disk) stop() {
	d.closed.Store(true)
	d.in.SetReadDeadline(time.Unix(1, 0)) // long ago: wakes whoever waits
	d.flush.mu.Lock()
	d.flush.wanted.Broadcast()
	d.flush.mu.Unlock()
	d.done.Wait()
}

func (d *disk) serve() {
	defer d.done.Done()
	flushing := false
	here := make([]blockdev.Request, 0, maxFlushes)
	for !d.closed.Load() {
		n := d.ring.SubmitTail() - d.taken
		switch {
		case n == 0:
			d.sleep()
		case n > blockdev.RingEntries:
			// Nobody who keeps the rules can be here: what the ring holds is not known. Start again at its tail.
			d.stats.Garbled.Add(1)
			d.taken += n
			d.penalty()
		default:
			if !d.pass(n) {
				continue
			}
			if !d.slow.Load() && d.ring.SubmitTail() == d.taken {
				// Nothing is held up by doing it here, and nobody has to be woken.
				if here = d.wanted(here); len(here) > 0 {
					d.sync(here)
				}
				continue
			}
			if !flushing {
				flushing = true
				d.done.Add(1)
				go d.flusher()
			}
			d.flush.mu.Lock()
			d.flush.wanted.Signal()
			d.flush.mu.Unlock()
		}
	}
}

// The submit tail is looked at pollsBeforeSleep times before the server sleeps, or, if there is another
// processor, for pollTime: a client that waits for a reply often has its next request ready soon after
// it sees it, and to be woken takes longer than many of them.
const (
	pollsBeforeSleep = 2000
	pollTime         = 50 * time.Microsecond
)

// sleep returns when the ring may hold something.
func (d *disk) sleep() {
	for start := time.Now(); ; {
		for range pollsBeforeSleep {
			if d.ring.SubmitTail() != d.taken {
				return
			}
		}
		if oneProcessor || time.Since(start) > pollTime {
			break
		}
	}
	d.ring.ServerIdle(true)
	if d.ring.SubmitTail() == d.taken {
		var word [8]byte
		d.in.Read(word[:])
		if d.ring.SubmitTail() == d.taken {
			d.penalty() // woken for nothing
		}
	}
	d.ring.ServerIdle(false)
}

// penalty is paid for what a client that keeps the rules rarely or never does. It keeps a flood
// from costing more than a few percent of a processor.
func (d *disk) penalty() {
	const free, pause = 32, 2 * time.Millisecond
	if d.offence++; d.offence%free == 0 {
		time.Sleep(pause)
	}
}

// pass serves the next n requests, and tells whether there was a flush among them.
func (d *disk) pass(n uint32) (flush bool) {
	ends := false // a commit, whose reply wakes who waits for its parts, too
	for range n {
		q := d.ring.Request(d.taken)
		d.taken++
		if !q.Check(d.writable, uint64(len(d.ram))) {
			d.stats.Refused.Add(1)
			d.partLost = d.partLost || q.Op&blockdev.OpPart != 0
			d.answer(q.Tag, blockdev.StatusRefused)
			d.penalty()
			continue
		}
		if !isWrite(q) || !d.run.takes(q) {
			d.write()
		}
		switch q.Op {
		case blockdev.OpWrite, blockdev.OpWrite | blockdev.OpPart:
			d.run.add(q, d.ram)
		case blockdev.OpCommit:
			lost := d.partLost
			d.partLost = false
			if lost {
				d.answer(q.Tag, blockdev.StatusSkipped)
				break
			}
			fallthrough
		case blockdev.OpFlush:
			flush = true
			d.holes.flushing()
			ends = ends || q.Op == blockdev.OpCommit
			d.wantFlush(q)
		case blockdev.OpDiscard:
			d.discard(q)
		}
	}
	d.write()
	d.reply.mu.Lock()
	d.reply.news = d.reply.news || d.reply.part && !ends
	d.reply.part = false
	d.reply.mu.Unlock()
	d.publish()
	return flush
}

func isWrite(q blockdev.Request) bool { return q.Op&^blockdev.OpPart == blockdev.OpWrite }

// takes tells whether q lies behind the run and fits into it.
func (r *run) takes(q blockdev.Request) bool {
	return r.len == 0 || r.len < maxRun && r.off+r.n == q.Off && r.n+uint64(q.Len) <= maxRunBytes
}

func (r *run) add(q blockdev.Request, ram []byte) {
	if r.len == 0 {
		r.off, r.n = q.Off, 0
	}
	r.iov[r.len].Base = &ram[q.RAM]
	r.iov[r.len].SetLen(int(q.Len))
	r.reqs[r.len] = q
	r.n += uint64(q.Len)
	r.len++
}

// write does the run of writes and answers them.
func (d *disk) write() {
	r := &d.run
	if r.len == 0 {
		return
	}
	reqs := r.reqs[:r.len]
	d.holes.wrote(r.off, r.n)
	n, e := pwritev(d.image, r.iov[:r.len], r.off)
	whole := e == 0 && uint64(n) == r.n
	r.len = 0
	for _, q := range reqs {
		s := blockdev.StatusOK
		if !whole {
			// Part of the run is written: doing each request again tells which cannot be.
			s = d.status(pwrite(d.image, d.ram[q.RAM:q.RAM+uint64(q.Len)], q.Off))
		}
		if s != blockdev.StatusOK && q.Op&blockdev.OpPart != 0 {
			d.partLost = true
		}
		d.stats.Writes.Add(1)
		d.stats.Bytes.Add(uint64(q.Len))
		if q.Op&blockdev.OpPart != 0 && s == blockdev.StatusOK {
			d.answerPart(q.Tag)
		} else {
			d.answer(q.Tag, s)
		}
	}
}

func (d *disk) discard(q blockdev.Request) {
	d.stats.Discards.Add(1)
	var e syscall.Errno
	for {
		err := unix.Fallocate(d.ramFD, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(q.RAM), int64(q.Len))
		e, _ = err.(syscall.Errno)
		if e != unix.EINTR {
			break
		}
	}
	d.answer(q.Tag, d.status(e))
}

func (d *disk) wantFlush(q blockdev.Request) {
	d.flush.mu.Lock()
	full := len(d.flush.waiting) == maxFlushes
	if !full {
		d.flush.waiting = append(d.flush.waiting, q)
	}
	d.flush.mu.Unlock()
	if full {
		d.stats.Refused.Add(1)
		d.answer(q.Tag, blockdev.StatusRefused)
		d.penalty()
	}
}

// wanted moves the flushes that wait into list, which is overwritten.
func (d *disk) wanted(list []blockdev.Request) []blockdev.Request {
	d.flush.mu.Lock()
	defer d.flush.mu.Unlock()
	list = append(list[:0], d.flush.waiting...)
	d.flush.waiting = d.flush.waiting[:0]
	return list
}

// flusher flushes the image for all who asked since the last flush began, so that writes are
// not held up meanwhile.
func (d *disk) flusher() {
	defer d.done.Done()
	f := &d.flush
	for {
		f.mu.Lock()
		for len(f.waiting) == 0 && !d.closed.Load() {
			f.wanted.Wait()
		}
		f.mu.Unlock()
		f.serving = d.wanted(f.serving)
		if len(f.serving) > 0 {
			d.sync(f.serving)
		} else if d.closed.Load() {
			return
		}
	}
}

// sync flushes the image for list, and does the commits among it.
func (d *disk) sync(list []blockdev.Request) {
	s := d.fdatasync()
	again := list[:0]
	for _, q := range list {
		d.stats.Flushes.Add(1)
		switch {
		case q.Op == blockdev.OpCommit && s != blockdev.StatusOK:
			d.answer(q.Tag, blockdev.StatusFlush)
		case q.Op == blockdev.OpCommit && q.Len > 0:
			d.stats.Writes.Add(1)
			d.stats.Bytes.Add(uint64(q.Len))
			d.holes.writing.Lock()
			e := pwrite(d.image, d.ram[q.RAM:q.RAM+uint64(q.Len)], q.Off)
			d.holes.writing.Unlock()
			if e != 0 {
				d.answer(q.Tag, d.status(e))
			} else {
				again = append(again, q)
			}
		default:
			d.answer(q.Tag, s)
		}
	}
	if len(again) > 0 {
		if len(again) < len(list) {
			d.publish()
		}
		if s = d.fdatasync(); s != blockdev.StatusOK {
			s = blockdev.StatusFlush
		}
		for _, q := range again {
			d.stats.Flushes.Add(1)
			d.answer(q.Tag, s)
		}
	}
	d.publish()
}

// slowFlush is the time from which on it does not pay to let everything else wait for a flush
// rather than to wake the flushing goroutine.
const slowFlush = time.Millisecond

func (d *disk) fdatasync() blockdev.Status {
	start := time.Now()
	err := unix.Fdatasync(d.image)
	for err == unix.EINTR {
		err = unix.Fdatasync(d.image)
	}
	d.slow.Store(time.Since(start) > slowFlush)
	e, _ := err.(syscall.Errno)
	return d.status(e)
}

// status turns a host error into what the sandbox is told, and counts it.
func (d *disk) status(e syscall.Errno) blockdev.Status {
	switch e {
	case 0:
		return blockdev.StatusOK
	case unix.ENOSPC, unix.EDQUOT, unix.EFBIG:
		d.stats.NoSpace.Add(1)
		return blockdev.StatusNoSpace
	}
	d.stats.Failed.Add(1)
	return blockdev.StatusIO
}

// answer puts a reply into the ring. A client that let the ring overflow loses replies of its own.
func (d *disk) answer(tag uint64, s blockdev.Status) {
	d.reply.mu.Lock()
	d.putLocked(tag, s)
	d.reply.news = true
	d.reply.mu.Unlock()
}

// answerPart answers a part of a commit that was done.
func (d *disk) answerPart(tag uint64) {
	d.reply.mu.Lock()
	d.putLocked(tag, blockdev.StatusOK)
	d.reply.part = true
	d.reply.mu.Unlock()
}

func (d *disk) putLocked(tag uint64, s blockdev.Status) {
	d.ring.PutReply(d.reply.tail, blockdev.Reply{Tag: tag, Status: s})
	d.reply.tail++
}

// publish shows the replies so far to the sandbox, and wakes it if it sleeps.
func (d *disk) publish() {
	d.reply.mu.Lock()
	wake := d.ring.PublishReplies(d.reply.tail) && d.reply.news
	d.reply.news = false
	d.reply.mu.Unlock()
	if wake {
		ring(d.out)
	}
}

// ring adds one to an eventfd. It blocks only if 2^64-2 rings were not read.
func ring(fd int) {
	one := [8]byte{0: 1}
	for {
		if _, err := syscall.Write(fd, one[:]); err != syscall.EINTR {
			return
		}
	}
}

// pwritev writes all of iov at byte offset off, or as much as goes.
func pwritev(fd int, iov []unix.Iovec, off uint64) (int, syscall.Errno) {
	for {
		n, _, e := syscall.Syscall6(unix.SYS_PWRITEV, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)), uintptr(off), 0, 0)
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

// pwrite writes all of p at byte offset off. The memory is shared with the sandbox but only
// read by the host kernel: pages that cannot be had are EFAULT, not a signal.
func pwrite(fd int, p []byte, off uint64) syscall.Errno {
	for len(p) > 0 {
		n, _, e := syscall.Syscall6(unix.SYS_PWRITE64, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), uintptr(off), 0, 0)
		switch {
		case e == unix.EINTR:
			continue
		case e != 0:
			return e
		case n == 0:
			return unix.ENOSPC
		}
		p, off = p[n:], off+uint64(n)
	}
	return 0
}
