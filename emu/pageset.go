package emu

import "math/bits"

// pageSet is a set of pages of a file, which may be larger than it was told: beyond pageSetMost words it
// counts every page as in it, until it is empty again by clear.
type pageSet struct {
	words map[int64]uint64 // 64 pages each
	all   bool
}

// pageSetMost bounds the words of a set. They are enough for 16 GiB of a file in one piece.
const pageSetMost = 1 << 16

// each calls f for the words that the bytes [lo, hi) have pages in, with those pages, until f returns
// false.
func (s *pageSet) each(lo, hi int64, f func(word int64, mask uint64) bool) {
	first, end := lo/pageSize, (hi+pageSize-1)/pageSize
	for first < end {
		word, bit := first/64, first%64
		n := min(64-bit, end-first)
		if !f(word, ^uint64(0)>>(64-n)<<bit) {
			return
		}
		first += n
	}
}

// add adds the pages of the bytes [lo, hi).
func (s *pageSet) add(lo, hi int64) {
	if s.words == nil {
		s.words = make(map[int64]uint64)
	}
	s.each(lo, hi, func(word int64, mask uint64) bool {
		if s.all {
			return false
		}
		s.words[word] |= mask
		if len(s.words) > pageSetMost {
			s.words, s.all = nil, true
		}
		return true
	})
}

// take removes the pages of the bytes [lo, hi), and tells whether one of them was in the set.
func (s *pageSet) take(lo, hi int64) bool {
	if s.all {
		return true
	}
	some := false
	if len(s.words) == 0 {
		return false
	}
	s.each(lo, hi, func(word int64, mask uint64) bool {
		old := s.words[word]
		if old&mask == 0 {
			return true
		}
		some = true
		if old &^= mask; old == 0 {
			delete(s.words, word)
		} else {
			s.words[word] = old
		}
		return true
	})
	return some
}

// around extends the bytes [lo, hi), of whole pages, by what the set has of the pages before and behind, inside
// the 64 pages that lo lies in.
func (s *pageSet) around(lo, hi int64) (int64, int64) {
	const all = 64 * pageSize
	word := lo / all
	begin := word * all
	if s.all || hi > begin+all {
		return lo, hi
	}
	w := s.words[word]
	first, end := (lo-begin)/pageSize, (hi-begin)/pageSize
	before := bits.LeadingZeros64(^(w << (64 - first)))
	behind := bits.TrailingZeros64(^(w >> end))
	return lo - min(int64(before), first)*pageSize, hi + min(int64(behind), 64-end)*pageSize
}

// clear empties the set.
func (s *pageSet) clear() { *s = pageSet{} }
