package ext4

import "math/bits"

// Bitmaps are little-endian: bit i is bit i%8 of byte i/8, set for what is in use.

func testBit(bm []byte, i uint32) bool { return bm[i/8]&(1<<(i%8)) != 0 }
func setBit(bm []byte, i uint32)       { bm[i/8] |= 1 << (i % 8) }
func clearBit(bm []byte, i uint32)     { bm[i/8] &^= 1 << (i % 8) }

// eachWord calls f for the 64-bit words that hold the n bits from start on, with a mask of
// those bits.
func eachWord(start, n uint32, f func(word int, mask uint64)) {
	for n > 0 {
		in := start % 64
		k := min(64-in, n)
		f(int(start/64), (^uint64(0)>>(64-k))<<in)
		start += k
		n -= k
	}
}

// setBits sets n bits from start on. It reports false, and changes nothing, if one of them
// is set already.
func setBits(bm []byte, start, n uint32) bool {
	free := true
	eachWord(start, n, func(w int, mask uint64) {
		if le.Uint64(bm[w*8:])&mask != 0 {
			free = false
		}
	})
	if free {
		eachWord(start, n, func(w int, mask uint64) { le.PutUint64(bm[w*8:], le.Uint64(bm[w*8:])|mask) })
	}
	return free
}

// clearBits clears n bits from start on. It reports false, and changes nothing, if one of
// them is clear already.
func clearBits(bm []byte, start, n uint32) bool {
	used := true
	eachWord(start, n, func(w int, mask uint64) {
		if le.Uint64(bm[w*8:])&mask != mask {
			used = false
		}
	})
	if used {
		eachWord(start, n, func(w int, mask uint64) { le.PutUint64(bm[w*8:], le.Uint64(bm[w*8:])&^mask) })
	}
	return used
}

// usedWord returns word w of a bitmap with the bits of busy (nil for none) set, too.
func usedWord(bm []byte, busy []uint64, w uint32) uint64 {
	v := le.Uint64(bm[w*8:])
	if busy != nil {
		v |= busy[w]
	}
	return v
}

// nextFree returns the first clear bit from start on, or end.
func nextFree(bm []byte, busy []uint64, start, end uint32) uint32 {
	for i := start; i < end; {
		v := ^usedWord(bm, busy, i/64) >> (i % 64)
		if v != 0 {
			return min(i+uint32(bits.TrailingZeros64(v)), end)
		}
		i = (i/64 + 1) * 64
	}
	return end
}

// freeLen returns how many bits from start on are clear, at most want, not beyond end.
func freeLen(bm []byte, busy []uint64, start, end, want uint32) uint32 {
	end = min(end, start+want)
	for i := start; i < end; {
		v := usedWord(bm, busy, i/64) >> (i % 64)
		if v != 0 {
			return min(i+uint32(bits.TrailingZeros64(v)), end) - start
		}
		i = (i/64 + 1) * 64
	}
	return end - start
}

// freeBefore returns how many bits right before start are clear.
func freeBefore(bm []byte, busy []uint64, start uint32) uint32 {
	for i := start; i > 0; {
		k := (i-1)%64 + 1 // bits of the word below i
		v := usedWord(bm, busy, (i-1)/64) << (64 - k)
		if v != 0 {
			return start - i + uint32(bits.LeadingZeros64(v))
		}
		i -= k
	}
	return start
}

// findRun looks in [start, end) for want clear bits in a row, and settles for the longest
// run if there are none; n is 0 if all bits are set.
func findRun(bm []byte, busy []uint64, start, end, want uint32) (at, n uint32) {
	for i := start; i < end; {
		i = nextFree(bm, busy, i, end)
		if i == end {
			break
		}
		k := freeLen(bm, busy, i, end, want)
		if k > n {
			at, n = i, k
			if n == want {
				break
			}
		}
		i += k
	}
	return at, n
}

// countFree returns how many of the first n bits are clear.
func countFree(bm []byte, n uint32) uint32 {
	used := 0
	eachWord(0, n, func(w int, mask uint64) { used += bits.OnesCount64(le.Uint64(bm[w*8:]) & mask) })
	return n - uint32(used)
}
