package blockdev

import (
	"math/bits"
	"sync"
	"unsafe"
)

// Arena hands out page frames from one stretch of memory that stays mapped for good, so
// that a recycled frame costs no page fault. Frames are numbered from 0, and low ones are
// preferred: what was never used is touched last. A ring device writes frames of its arena
// without a copy, and frames that lie together with one request. Safe for concurrent use.
type Arena struct {
	mem []byte

	mu   sync.Mutex
	free []uint64 // a bit for each frame that nobody has, lowest first
	low  int      // no word of free below has a bit
	wide int      // where to begin to look for many in a row
	left int      // free frames
}

// NewArena makes an arena over mem, whose length is a multiple of PageSize.
func NewArena(mem []byte) *Arena {
	n := len(mem) / PageSize
	a := &Arena{mem: mem, free: make([]uint64, (n+63)/64), left: n}
	for i := range a.free {
		a.free[i] = ^uint64(0) >> (64 - min(n-64*i, 64))
	}
	return a
}

// Frames returns how many frames the arena has in all.
func (a *Arena) Frames() int { return len(a.mem) / PageSize }

// Bytes returns the whole arena.
func (a *Arena) Bytes() []byte { return a.mem }

// Run returns the bytes of n frames from first on.
func (a *Arena) Run(first uint32, n int) []byte {
	off := int(first) * PageSize
	return a.mem[off : off+n*PageSize : off+n*PageSize]
}

// Alloc returns a frame of PageSize bytes with arbitrary content, or nil when none is free.
func (a *Arena) Alloc() []byte {
	first, n := a.AllocRun(1)
	if n == 0 {
		return nil
	}
	return a.Run(first, 1)
}

// wideWords is how many words of the map are looked at for a long run before a short one will do.
const wideWords = 64

// AllocRun takes up to most free frames (of which it heeds no more than 64) that lie in a row, with
// arbitrary content. It returns the first and how many: 0 when none is free.
func (a *Arena) AllocRun(most int) (first uint32, n int) {
	most = min(most, 64)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left == 0 || most <= 0 {
		return 0, 0
	}
	for a.free[a.low] == 0 {
		a.low++
	}
	if most > 1 {
		a.wide = max(a.wide, a.low)
		for w := a.wide; w < min(a.wide+wideWords, len(a.free)); w++ {
			if at, ok := onesInRow(a.free[w], most); ok {
				if most >= 16 {
					a.wide = w
				}
				return a.take(w, at, most), most
			}
		}
		if a.wide+wideWords < len(a.free) {
			a.wide += wideWords // there may be more further on, the next time
		}
	}
	at := bits.TrailingZeros64(a.free[a.low])
	n = min(bits.TrailingZeros64(^(a.free[a.low] >> at)), most)
	return a.take(a.low, at, n), n
}

// AllocAt takes frame i, if it is free.
func (a *Arena) AllocAt(i uint32) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if int(i) >= a.Frames() || a.free[i/64]>>(i%64)&1 == 0 {
		return false
	}
	a.take(int(i/64), int(i%64), 1)
	return true
}

// AllocApart takes frame at of a row of 64 that are all free, if there is one near: the others are
// likely to be free when they are wanted, too.
func (a *Arena) AllocApart(at int) (frame uint32, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for w := max(a.wide, a.low); w < min(max(a.wide, a.low)+wideWords, len(a.free)); w++ {
		if a.free[w] == ^uint64(0) {
			return a.take(w, at, 1), true
		}
	}
	return 0, false
}

// take takes n frames whose bits are set from bit at of word w on.
func (a *Arena) take(w, at, n int) uint32 {
	a.free[w] &^= ^uint64(0) >> (64 - n) << at
	a.left -= n
	return uint32(w*64 + at)
}

// onesInRow returns the lowest bit of w that n set bits begin at.
func onesInRow(w uint64, n int) (at int, ok bool) {
	for have := 1; have < n && w != 0; {
		k := min(have, n-have)
		w &= w >> k
		have += k
	}
	return bits.TrailingZeros64(w), w != 0
}

// Free gives a frame from Alloc back.
func (a *Arena) Free(frame []byte) {
	off, ok := a.Offset(frame)
	if !ok || off%PageSize != 0 {
		panic("blockdev: Arena.Free of memory that is not a frame of the arena")
	}
	a.FreeRun(uint32(off/PageSize), 1)
}

// FreeRun gives n frames from first on back.
func (a *Arena) FreeRun(first uint32, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left += n
	a.low = min(a.low, int(first)/64)
	a.wide = min(a.wide, int(first)/64)
	for n > 0 {
		w, at := int(first)/64, int(first)%64
		k := min(64-at, n)
		mask := ^uint64(0) >> (64 - k) << at
		if a.free[w]&mask != 0 {
			panic("blockdev: Arena.FreeRun of a frame that is free")
		}
		a.free[w] |= mask
		first += uint32(k)
		n -= k
	}
}

// Offset returns where p lies in the arena, if it lies there as a whole.
func (a *Arena) Offset(p []byte) (int, bool) {
	if len(a.mem) == 0 || len(p) == 0 {
		return 0, false
	}
	base := uintptr(unsafe.Pointer(unsafe.SliceData(a.mem)))
	at := uintptr(unsafe.Pointer(unsafe.SliceData(p)))
	if at < base || at-base > uintptr(len(a.mem)-len(p)) || len(p) > len(a.mem) {
		return 0, false
	}
	return int(at - base), true
}
