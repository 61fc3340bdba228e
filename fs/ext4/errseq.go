package ext4

import (
	"sync/atomic"

	"pinhole/abi"
)

// errSeq is the number that says which error of writing behind was the last one of a file, and how
// many there have been, so that each open file is told once. It is laid out as Linux's errseq_t:
//
//	0..11   error number, 0 for none yet
//	12      somebody was told or has sampled it: the next error counts on
//	13..31  count
type errSeq struct{ v atomic.Uint32 }

const (
	errSeqMask  = 1<<12 - 1
	errSeqSeen  = 1 << 12
	errSeqCount = 1 << 13
)

// set notes an error. If nobody was told of the last one, it takes that one's place.
func (q *errSeq) set(e abi.Errno) {
	for {
		old := q.v.Load()
		v := old&^(errSeqMask|errSeqSeen) | uint32(e)&errSeqMask
		if old&errSeqSeen != 0 {
			v += errSeqCount
		}
		if v == old || q.v.CompareAndSwap(old, v) {
			return
		}
	}
}

// sample returns the number for who opens the file: 0 if the last error was told to nobody.
func (q *errSeq) sample() uint32 {
	if v := q.v.Load(); v&errSeqSeen != 0 {
		return v
	}
	return 0
}

// check returns the last error if there was one since *seen, and moves *seen.
func (q *errSeq) check(seen *uint32) abi.Errno {
	v := q.v.Load()
	if v == *seen || v == 0 {
		return 0
	}
	if v&errSeqSeen == 0 && !q.v.CompareAndSwap(v, v|errSeqSeen) {
		v = q.v.Load() // another error, or somebody else was told of this one
	}
	v |= errSeqSeen
	if v == *seen {
		return 0
	}
	*seen = v
	return abi.Errno(v & errSeqMask)
}

// SampleError implements vfs.ErrorSampler.
func (n *inode) SampleError() uint32 { return n.errs.sample() }

// CheckError implements vfs.ErrorSampler.
func (n *inode) CheckError(seen *uint32) abi.Errno { return n.errs.check(seen) }

// failed notes that content of the file could not be written, or not be made to last. What was not
// written stays in memory and is tried again; only an unmount gives it up.
func (n *inode) failed(err error) { n.errs.set(errno(err)) }
