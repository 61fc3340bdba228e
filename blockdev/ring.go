package blockdev

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"
)

// The ring carries requests from the sandbox to the supervisor and replies back. It lies in
// one shared, sealed memfd of RingBytes bytes, little-endian:
//
//	0x0000  uint32  submit tail   written by the sandbox: requests put in so far, modulo 2^32
//	0x0040  uint32  reply tail    written by the supervisor: replies put in so far, modulo 2^32
//	0x0080  uint32  server idle   1 while the supervisor sleeps: ring its doorbell after a change of the submit tail
//	0x00c0  uint32  client idle   1 while the sandbox sleeps: ring its doorbell after a change of the reply tail
//	0x1000  RingEntries requests of RequestSize bytes; request i is at index i mod RingEntries
//	0x3000  RingEntries replies of ReplySize bytes, likewise
//
// Each request gets exactly one reply, in any order. The sandbox has at most RingEntries
// requests without reply, so that neither ring can overflow and no head needs to be shared:
// each side counts for itself what it has taken out. A side that goes to sleep sets its idle
// word, looks at the tail once more, and reads its eventfd; the other side stores the tail,
// then looks at the idle word. Both are sequentially consistent, so no wake-up is lost.
//
// The sandbox is hostile until proven otherwise: the supervisor believes no word of the ring,
// copies a request once before it looks at it, and never waits for the sandbox.
const (
	RingEntries = 256
	RequestSize = 32
	ReplySize   = 16
	RingBytes   = ringReplies + RingEntries*ReplySize

	ringSubmitTail = 0x0000
	ringReplyTail  = 0x0040
	ringServerIdle = 0x0080
	ringClientIdle = 0x00c0
	ringRequests   = 0x1000
	ringReplies    = ringRequests + RingEntries*RequestSize
)

// Op is what a request asks for.
type Op uint32

const (
	// OpWrite writes Len bytes from RAM of the guest RAM memfd to Off of the image. All three
	// are multiples of SectorSize, and Len is at most MaxTransfer and not zero.
	OpWrite Op = 1
	// OpFlush puts on stable storage what was replied to before. Len, Off and RAM are zero.
	OpFlush Op = 2
	// OpDiscard makes Len bytes from RAM of the guest RAM memfd zero and gives the pages back
	// to the host. RAM and Len are multiples of PageSize; Off is zero, and Len is not.
	OpDiscard Op = 3
	// OpCommit ends a commit, which begins with the requests of kind OpWrite|OpPart before it
	// in the ring, if there are any. If all those were done, it flushes, writes Len bytes from
	// RAM to Off as OpWrite does, and flushes again; with Len zero (and Off and RAM, too) it
	// ends after the first flush. If one of them was not, it does nothing, and the reply is
	// StatusSkipped. One commit is under way at a time.
	OpCommit Op = 4

	// OpPart marks an OpWrite as part of the commit that the next OpCommit ends.
	OpPart Op = 1 << 8
)

// SectorSize is the unit of offsets and lengths on the ring, in bytes.
const SectorSize = 512

// MaxTransfer is the most that one OpWrite moves, in bytes.
const MaxTransfer = 1 << 20

// Request is one record of the submission ring:
//
//	0   uint32 Op
//	4   uint32 Len
//	8   uint64 Tag
//	16  uint64 Off
//	24  uint64 RAM
type Request struct {
	Op  Op
	Len uint32 // bytes
	Tag uint64 // the client's own, comes back in the reply
	Off uint64 // byte offset in the image
	RAM uint64 // byte offset in the guest RAM memfd
}

// Status is the outcome of a request.
type Status uint32

const (
	StatusOK      Status = iota
	StatusRefused        // the request breaks the rules above, or the image is read-only
	StatusNoSpace        // the host's disk or quota is full
	StatusIO             // the host reported any other error
	StatusFlush          // of OpCommit: a flush failed
	StatusSkipped        // of OpCommit: a write before it failed
)

func (s Status) err() error {
	switch s {
	case StatusOK:
		return nil
	case StatusNoSpace:
		return ErrNoSpace
	case StatusRefused:
		return errRefused
	case StatusFlush:
		return fmt.Errorf("%w: %w", ErrFlush, errHostIO)
	}
	return errHostIO
}

var (
	errRefused = errors.New("the supervisor refused the request")
	errHostIO  = errors.New("I/O error of the host")
)

// Reply is one record of the reply ring:
//
//	0   uint64 Tag
//	8   uint32 Status
//	12  uint32 zero
type Reply struct {
	Tag    uint64
	Status Status
}

// Ring is the shared memory of a ring, seen from either side. Its methods are single atomic
// loads and stores of shared words; who may call which is said at each.
type Ring struct{ mem []byte }

// NewRing returns the ring that lies in mem, which is at least RingBytes long and aligned to
// 8 bytes. A fresh ring is all zero.
func NewRing(mem []byte) (*Ring, error) {
	if len(mem) < RingBytes {
		return nil, errors.New("ring memory is too short")
	}
	if uintptr(unsafe.Pointer(unsafe.SliceData(mem)))%8 != 0 {
		return nil, errors.New("ring memory is not aligned")
	}
	return &Ring{mem: mem[:RingBytes:RingBytes]}, nil
}

func (r *Ring) word(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.mem[off])) }
func (r *Ring) quad(off uint32) *uint64 { return (*uint64)(unsafe.Pointer(&r.mem[off])) }

// SubmitTail and ReplyTail return how many requests and replies were put in, modulo 2^32.
func (r *Ring) SubmitTail() uint32 { return atomic.LoadUint32(r.word(ringSubmitTail)) }
func (r *Ring) ReplyTail() uint32  { return atomic.LoadUint32(r.word(ringReplyTail)) }

// PublishRequests (client) and PublishReplies (server) make records up to tail visible, and
// tell whether the other side sleeps and its doorbell has to be rung.
func (r *Ring) PublishRequests(tail uint32) (wake bool) {
	atomic.StoreUint32(r.word(ringSubmitTail), tail)
	return atomic.LoadUint32(r.word(ringServerIdle)) != 0
}

func (r *Ring) PublishReplies(tail uint32) (wake bool) {
	atomic.StoreUint32(r.word(ringReplyTail), tail)
	return atomic.LoadUint32(r.word(ringClientIdle)) != 0
}

// ServerIdle (server) and ClientIdle (client) say whether that side is about to sleep.
func (r *Ring) ServerIdle(idle bool) { atomic.StoreUint32(r.word(ringServerIdle), bit(idle)) }
func (r *Ring) ClientIdle(idle bool) { atomic.StoreUint32(r.word(ringClientIdle), bit(idle)) }

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// Request returns a copy of request i (server). Each word is loaded exactly once: what the
// caller checks is what the caller uses, whatever happens to the shared memory meanwhile.
func (r *Ring) Request(i uint32) Request {
	at := ringRequests + i%RingEntries*RequestSize
	w := atomic.LoadUint64(r.quad(at))
	return Request{
		Op:  Op(uint32(w)),
		Len: uint32(w >> 32),
		Tag: atomic.LoadUint64(r.quad(at + 8)),
		Off: atomic.LoadUint64(r.quad(at + 16)),
		RAM: atomic.LoadUint64(r.quad(at + 24)),
	}
}

// PutRequest stores request i (client); PublishRequests makes it visible.
func (r *Ring) PutRequest(i uint32, q Request) {
	at := ringRequests + i%RingEntries*RequestSize
	atomic.StoreUint64(r.quad(at), uint64(q.Op)|uint64(q.Len)<<32)
	atomic.StoreUint64(r.quad(at+8), q.Tag)
	atomic.StoreUint64(r.quad(at+16), q.Off)
	atomic.StoreUint64(r.quad(at+24), q.RAM)
}

// Reply returns a copy of reply i (client).
func (r *Ring) Reply(i uint32) Reply {
	at := ringReplies + i%RingEntries*ReplySize
	return Reply{
		Tag:    atomic.LoadUint64(r.quad(at)),
		Status: Status(uint32(atomic.LoadUint64(r.quad(at + 8)))),
	}
}

// PutReply stores reply i (server); PublishReplies makes it visible.
func (r *Ring) PutReply(i uint32, p Reply) {
	at := ringReplies + i%RingEntries*ReplySize
	atomic.StoreUint64(r.quad(at), p.Tag)
	atomic.StoreUint64(r.quad(at+8), uint64(p.Status))
}

// Check says whether a request keeps the rules, for an image of imageSize bytes (zero when it
// may not be written) and a guest RAM memfd of ramSize bytes.
func (q Request) Check(imageSize, ramSize uint64) bool {
	n := uint64(q.Len)
	// The comparisons cannot overflow: the subtraction happens on the trusted side.
	within := func(off, size uint64) bool { return n <= size && off <= size-n }
	write := func() bool {
		return n != 0 && n <= MaxTransfer &&
			(n|q.Off|q.RAM)%SectorSize == 0 &&
			within(q.Off, imageSize) && within(q.RAM, ramSize)
	}
	switch q.Op {
	case OpWrite, OpWrite | OpPart:
		return write()
	case OpCommit:
		return q.Len == 0 && q.Off == 0 && q.RAM == 0 || write()
	case OpFlush:
		return q.Len == 0 && q.Off == 0 && q.RAM == 0
	case OpDiscard:
		return n != 0 && (n|q.RAM)%PageSize == 0 && q.Off == 0 && within(q.RAM, ramSize)
	}
	return false
}
