package check

import (
	"encoding/binary"
	"math/bits"
)

var le = binary.LittleEndian

// pieceBits is how many blocks a piece of a blockSet is for.
const pieceBits = 32768

type piece [pieceBits / 8]byte

// blockSet is a set of numbers, in pieces that are made when they are first needed.
type blockSet struct {
	pieces []*piece
	n      uint64
}

func (s *blockSet) init(size uint64) {
	s.pieces = make([]*piece, (size+pieceBits-1)/pieceBits)
	s.n = 0
}

func (s *blockSet) has(i uint64) bool {
	p := s.pieces[i/pieceBits]
	return p != nil && p[i%pieceBits/8]&(1<<(i%8)) != 0
}

// hasAny tells whether any of the n numbers from i on is in the set.
func (s *blockSet) hasAny(i, n uint64) bool {
	for n > 0 {
		lo := i % pieceBits
		k := min(n, pieceBits-lo)
		if p := s.pieces[i/pieceBits]; p != nil && p.any(lo, lo+k) {
			return true
		}
		i, n = i+k, n-k
	}
	return false
}

// add adds n numbers from i on, and calls again for each run of those that are in already.
func (s *blockSet) add(i, n uint64, again func(i, n uint64)) {
	for n > 0 {
		lo := i % pieceBits
		k := min(n, pieceBits-lo)
		p := s.pieces[i/pieceBits]
		if p == nil {
			p = new(piece)
			s.pieces[i/pieceBits] = p
		}
		if p.any(lo, lo+k) {
			s.addEach(p, i, k, again)
		} else {
			p.fill(lo, lo+k)
			s.n += k
		}
		i, n = i+k, n-k
	}
}

func (s *blockSet) addEach(p *piece, i, n uint64, again func(i, n uint64)) {
	run := uint64(0)
	for end := i + n; i < end; i++ {
		b, m := i%pieceBits/8, byte(1)<<(i%8)
		if p[b]&m != 0 {
			run++
			continue
		}
		if run > 0 {
			again(i-run, run)
			run = 0
		}
		p[b] |= m
		s.n++
	}
	if run > 0 {
		again(i-run, run)
	}
}

// any tells whether a bit from lo to before hi is set.
func (p *piece) any(lo, hi uint64) bool {
	for ; lo < hi && lo%8 != 0; lo++ {
		if p[lo/8]&(1<<(lo%8)) != 0 {
			return true
		}
	}
	for ; lo+64 <= hi; lo += 64 {
		if le.Uint64(p[lo/8:]) != 0 {
			return true
		}
	}
	for ; lo < hi; lo++ {
		if p[lo/8]&(1<<(lo%8)) != 0 {
			return true
		}
	}
	return false
}

func (p *piece) fill(lo, hi uint64) {
	for ; lo < hi && lo%8 != 0; lo++ {
		p[lo/8] |= 1 << (lo % 8)
	}
	if whole := (hi - lo) / 8; lo < hi && whole > 0 {
		b := p[lo/8:][:whole]
		for i := range b {
			b[i] = 0xff
		}
		lo += whole * 8
	}
	for ; lo < hi; lo++ {
		p[lo/8] |= 1 << (lo % 8)
	}
}

// bytes copies the bits from i on, a multiple of 8, to out.
func (s *blockSet) bytes(out []byte, i uint64) {
	for len(out) > 0 {
		lo := i % pieceBits / 8
		k := min(len(out), pieceBits/8-int(lo))
		var p *piece
		if i/pieceBits < uint64(len(s.pieces)) {
			p = s.pieces[i/pieceBits]
		}
		if p == nil {
			clear(out[:k])
		} else {
			copy(out[:k], p[lo:])
		}
		out, i = out[k:], i+uint64(k)*8
	}
}

// countOnes counts the bits that are set in p.
func countOnes(p []byte) (n int) {
	for ; len(p) >= 8; p = p[8:] {
		n += bits.OnesCount64(le.Uint64(p))
	}
	for _, b := range p {
		n += bits.OnesCount8(b)
	}
	return n
}
