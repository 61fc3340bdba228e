package emu

import (
	"math/rand/v2"
	"testing"

	"pinhole/abi"
)

// checkSet checks what must always hold of a vmaSet.
func checkSet(t *testing.T, s *vmaSet) {
	t.Helper()
	n, hosted := 0, 0
	var end abi.Addr
	for _, r := range s.runs {
		if len(r.v) == 0 || len(r.v) > runMax {
			t.Fatalf("a run of %d mappings", len(r.v))
		}
		if r.ok {
			gap := uint64(0)
			for i := 1; i < len(r.v); i++ {
				gap = max(gap, uint64(r.v[i].start-r.v[i-1].end))
			}
			if gap != r.gap {
				t.Fatalf("the largest gap of a run is taken for %#x, and is %#x", r.gap, gap)
			}
		}
		for i := range r.v {
			v := &r.v[i]
			if v.start >= v.end || v.start < end {
				t.Fatalf("mapping [%#x, %#x) behind %#x", v.start, v.end, end)
			}
			end = v.end
			n++
			if v.back != BackNone {
				hosted++
			}
		}
	}
	if n != s.n || hosted != s.hosted {
		t.Fatalf("%d mappings, %d hosted; counted %d, %d", n, hosted, s.n, s.hosted)
	}
}

// TestSetGap compares the search for free space with one page by page.
func TestSetGap(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 300 {
		var s vmaSet
		const pages = 400
		var used [pages]bool
		for range r.IntN(250) {
			lo := r.IntN(pages)
			hi := min(pages, lo+1+r.IntN(3))
			v := vma{start: abi.Addr(lo+1) * pageSize, end: abi.Addr(hi+1) * pageSize, prot: uint8(r.IntN(8)), back: BackRAM, off: int64(r.IntN(1000)) * pageSize}
			if !s.free(v.start, v.end) {
				continue
			}
			s.put(v)
			for i := lo; i < hi; i++ {
				used[i] = true
			}
		}
		checkSet(t, &s)
		for range 20 {
			lo := r.IntN(pages)
			hi := lo + 1 + r.IntN(pages-lo)
			n := 1 + r.IntN(10)
			want := -1
			for at := hi - n; at >= lo && want < 0; at-- {
				want = at
				for i := at; i < at+n; i++ {
					if used[i] {
						want = -1
						break
					}
				}
			}
			a, ok := s.gap(abi.Addr(lo+1)*pageSize, abi.Addr(hi+1)*pageSize, uint64(n)*pageSize)
			if ok != (want >= 0) || ok && a != abi.Addr(want+1)*pageSize {
				t.Fatalf("%d pages in [%d, %d): %#x %v, want page %d", n, lo, hi, a, ok, want)
			}
		}
	}
}

// TestSetPut: pages that take turns to be of one kind or another, so that mappings are joined on both sides
// and runs with them.
func TestSetPut(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 9))
	const pages = 600
	f := &mappedFile{}
	for range 20 {
		var s vmaSet
		var kind [pages]Backing
		s.put(vma{end: pages * pageSize, file: f})
		f.refs = 1
		for step := range 6000 {
			lo := r.IntN(pages)
			hi := min(pages, lo+1+r.IntN(3))
			back := []Backing{BackNone, BackRAM, BackAnon}[r.IntN(3)]
			if step/1000%2 == 1 {
				back = BackNone // until there are few again
			}
			v := vma{start: abi.Addr(lo) * pageSize, end: abi.Addr(hi) * pageSize, back: back, file: f, fileOff: int64(lo) * pageSize}
			if back == BackRAM {
				v.off = int64(r.IntN(2))<<30 + int64(lo)*pageSize
			}
			f.refs -= len(s.take(v.start, v.end, nil)) - 1
			s.put(v)
			for i := lo; i < hi; i++ {
				kind[i] = back
			}
			if step%500 == 0 {
				checkSet(t, &s)
			}
		}
		for i, want := range kind {
			if v := s.find(abi.Addr(i) * pageSize); v == nil || v.back != want {
				t.Fatalf("page %d is %v, want of kind %d", i, v, want)
			}
		}
		if f.refs != s.n {
			t.Fatalf("%d references of %d mappings", f.refs, s.n)
		}
	}
}
