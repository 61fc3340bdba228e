package ext4

import (
	"math/bits"
	"sync"
)

// freeSpace says in which groups there is room, so that a search for it looks at no bitmap in vain:
// groups are sorted into classes by the length of their longest free run, and those with free
// inodes are a set. It costs a few words of memory a group and, for any number of groups, a search
// of some tens of nanoseconds.
//
// The length that a class stands for is an upper bound (see group.maxRun). Who finds less lowers it,
// so that nobody else finds the same.
type freeSpace struct {
	mu     sync.Mutex
	class  []uint8 // of each group: 1 + log2 of its longest run, 0 for a group without
	runs   [freeClasses]groupSet
	inodes groupSet // groups with free inodes
}

// freeClasses is the number of classes of groups with free blocks: the longest run is that of a
// group of 8 * 4096 blocks.
const freeClasses = 16

func (f *freeSpace) init(groups uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.class = make([]uint8, groups)
	for i := range f.runs {
		f.runs[i].init(groups)
	}
	f.inodes.init(groups)
}

// setRun notes the length of a group's longest free run.
func (f *freeSpace) setRun(group, n uint32) {
	c := uint8(bits.Len32(n))
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.class[group]
	if c == old {
		return
	}
	if old > 0 {
		f.runs[old-1].remove(group)
	}
	if c > 0 {
		f.runs[c-1].add(group)
	}
	f.class[group] = c
}

// setInodes notes whether a group has free inodes.
func (f *freeSpace) setInodes(group uint32, some bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if some {
		f.inodes.add(group)
	} else {
		f.inodes.remove(group)
	}
}

// findRun returns the next group from group from on, going round, that may have n blocks in a row,
// n being a power of two.
func (f *freeSpace) findRun(from, n uint32) (uint32, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	count := uint32(len(f.class))
	best, found := uint32(0), false
	for c := bits.Len32(n) - 1; c < freeClasses; c++ {
		g, ok := f.runs[c].next(from)
		if !ok {
			continue
		}
		if d := (g + count - from) % count; !found || d < best {
			best, found = d, true
		}
	}
	return (from + best) % count, found
}

// findInodes returns the next group from group from on, going round, with free inodes.
func (f *freeSpace) findInodes(from uint32) (uint32, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inodes.next(from)
}

// groupSet is a set of groups: a bit for each, and a bit for each word of these that is not zero.
type groupSet struct {
	words []uint64
	some  []uint64
}

func (s *groupSet) init(groups uint32) {
	s.words = make([]uint64, (groups+63)/64)
	s.some = make([]uint64, (len(s.words)+63)/64)
}

func (s *groupSet) add(g uint32) {
	w := g / 64
	s.words[w] |= 1 << (g % 64)
	s.some[w/64] |= 1 << (w % 64)
}

func (s *groupSet) remove(g uint32) {
	w := g / 64
	if s.words[w] &^= 1 << (g % 64); s.words[w] == 0 {
		s.some[w/64] &^= 1 << (w % 64)
	}
}

// next returns the first member from g on, or else the first of all.
func (s *groupSet) next(g uint32) (uint32, bool) {
	if m, ok := s.from(g); ok {
		return m, true
	}
	return s.from(0)
}

// from returns the first member from g on.
func (s *groupSet) from(g uint32) (uint32, bool) {
	w := int(g / 64)
	if v := s.words[w] >> (g % 64); v != 0 {
		return g + uint32(bits.TrailingZeros64(v)), true
	}
	w++
	for i := w / 64; i < len(s.some); i++ {
		v := s.some[i]
		if i == w/64 {
			v &= ^uint64(0) << (w % 64)
		}
		if v != 0 {
			w = i*64 + bits.TrailingZeros64(v)
			return uint32(w*64 + bits.TrailingZeros64(s.words[w])), true
		}
	}
	return 0, false
}
