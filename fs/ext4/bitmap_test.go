package ext4

import (
	"math/rand/v2"
	"testing"
)

// TestBitmap compares every function with the obvious one, bit by bit.
func TestBitmap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	const size = 1024
	for range 2000 {
		bm := make([]byte, size/8)
		busy := make([]uint64, size/64)
		var used, real [size]bool
		for range rnd.IntN(12) {
			start, n := rnd.UintN(size), rnd.UintN(200)
			for i := start; i < min(start+n, size); i++ {
				if rnd.IntN(3) == 0 {
					busy[i/64] |= 1 << (i % 64)
				} else {
					setBit(bm, uint32(i))
					real[i] = true
				}
				used[i] = true
			}
		}
		start := uint32(rnd.UintN(size))
		end := start + uint32(rnd.UintN(uint(size-start)+1))
		want := uint32(1 + rnd.UintN(100))
		// The longest run of free bits, the first of its length, cut at want.
		var at, n uint32
		for i := start; i < end && n < want; i++ {
			k := uint32(0)
			for i+k < end && k < want && !used[i+k] {
				k++
			}
			if k > n {
				at, n = i, k
			}
		}
		if a, k := findRun(bm, busy, start, end, want); k != n || n > 0 && a != at {
			t.Fatalf("findRun(%d, %d, %d) = %d, %d; want %d, %d", start, end, want, a, k, at, n)
		}
		before := uint32(0)
		for before < start && !used[start-before-1] {
			before++
		}
		if got := freeBefore(bm, busy, start); got != before {
			t.Fatalf("freeBefore(%d) = %d, want %d", start, got, before)
		}
		free := uint32(0)
		for i := range end {
			if !real[i] {
				free++
			}
		}
		if got := countFree(bm, end); got != free {
			t.Fatalf("countFree(%d) = %d, want %d", end, got, free)
		}
		allClear, allSet := true, true
		for i := start; i < end; i++ {
			allClear = allClear && !real[i]
			allSet = allSet && real[i]
		}
		if got := setBits(bm, start, end-start); got != allClear {
			t.Fatalf("setBits(%d, %d) = %v, want %v", start, end-start, got, allClear)
		} else if got && end > start && !clearBits(bm, start, end-start) {
			t.Fatal("what was set cannot be cleared")
		}
		if got := clearBits(bm, start, end-start); got != allSet {
			t.Fatalf("clearBits(%d, %d) = %v, want %v", start, end-start, got, allSet)
		}
	}
}
