package emu

import (
	"sort"

	"pinhole/abi"
)

const pageSize = 4096

// pageDown and pageUp round an address or a length to whole pages. pageUp of the last
// page of 64 bits is 0.
func pageDown[T ~uint64 | ~int64](a T) T { return a &^ (pageSize - 1) }
func pageUp[T ~uint64 | ~int64](a T) T   { return (a + pageSize - 1) &^ (pageSize - 1) }

// vma is a run of pages of a guest's address space that have everything in common.
type vma struct {
	start, end abi.Addr
	prot       uint8 // what the guest may do: PROT_READ, PROT_WRITE, PROT_EXEC
	flags      vmaFlags
	back       Backing // what the host has there; with BackNone and any prot but none, accesses raise SIGBUS

	// origin tells apart pages that came into being at different times, as far as the host
	// does: it joins private pages once written to with neighbours only if they were of one
	// mapping before. 0 where that does not matter.
	origin uint32

	off     int64 // of start in the image or the RAM, by back
	file    *mappedFile
	fileOff int64 // of start in file
}

type vmaFlags uint8

const (
	vmaShared    vmaFlags = 1 << iota // MAP_SHARED
	vmaWritten                        // private pages that may differ from a fresh mapping of the same backing
	vmaStack                          // the first thread's stack, for what procfs shows
	vmaHeap                           // below the break
	vmaLazy                           // has no memory yet: see lazy.go
	vmaWindow                         // the top of a thread's stack: likewise
	vmaBorrowed                       // pages of the RAM that another mapping owns; only while one is being moved
	vmaUnclaimed                      // of a shared mapping: shown without the right to store, whatever prot says, until the file is asked
)

// sharesFile tells whether v shows pages that belong to the file and not to the mapping. Shared
// mappings of no file are as private as any other: no second process shares them.
func (v *vma) sharesFile() bool { return v.flags&vmaShared != 0 && v.file != nil }

func (v *vma) len() uint64 { return uint64(v.end - v.start) }

// joins tells whether w, which begins where v ends, can be one run with it, apart from origin.
func (v *vma) joins(w *vma) bool {
	if v.end != w.start || v.prot != w.prot || v.flags != w.flags || v.back != w.back || v.file != w.file {
		return false
	}
	if (v.back == BackImage || v.back == BackRAM) && w.off != v.off+int64(v.len()) {
		return false
	}
	return v.file == nil || w.fileOff == v.fileOff+int64(v.len())
}

// advance moves the start of v up to a.
func (v *vma) advance(a abi.Addr) {
	d := int64(a - v.start)
	v.start = a
	if v.back == BackImage || v.back == BackRAM {
		v.off += d
	}
	if v.file != nil {
		v.fileOff += d
	}
}

// vmaSet is the mappings of an address space in ascending order, without overlap. It is a list of
// short sorted runs: finding, inserting and removing touch one or two runs, and a search for free
// space skips the runs that have none.
//
// The number of hosted mappings is never less than what the host has for them (besides the empty
// space between), so it can be held against the host's limit: see put.
type vmaSet struct {
	runs    []*vmaRun
	n       int // mappings
	hosted  int // those with something behind them
	origins uint32
}

// runMax is the length at which a run is halved.
const runMax = 64

type vmaRun struct {
	v   []vma // never empty
	gap uint64
	ok  bool // gap is the largest free space between two of v
}

// vmaPos is a place in a vmaSet, valid until the set changes.
type vmaPos struct{ run, i int }

// seek returns the place of the first mapping that ends above a.
func (s *vmaSet) seek(a abi.Addr) vmaPos {
	r := sort.Search(len(s.runs), func(r int) bool {
		v := s.runs[r].v
		return v[len(v)-1].end > a
	})
	if r == len(s.runs) {
		return vmaPos{r, 0}
	}
	v := s.runs[r].v
	return vmaPos{r, sort.Search(len(v), func(i int) bool { return v[i].end > a })}
}

// at returns the mapping at p, nil behind the last. It must not be moved by way of the pointer.
func (s *vmaSet) at(p vmaPos) *vma {
	if p.run >= len(s.runs) {
		return nil
	}
	return &s.runs[p.run].v[p.i]
}

// next returns the place behind p.
func (s *vmaSet) next(p vmaPos) vmaPos {
	if p.i+1 < len(s.runs[p.run].v) {
		return vmaPos{p.run, p.i + 1}
	}
	return vmaPos{p.run + 1, 0}
}

// prev returns the place before p, false at the first.
func (s *vmaSet) prev(p vmaPos) (vmaPos, bool) {
	if p.i > 0 {
		return vmaPos{p.run, p.i - 1}, true
	}
	if p.run == 0 {
		return p, false
	}
	return vmaPos{p.run - 1, len(s.runs[p.run-1].v) - 1}, true
}

// find returns the mapping that a lies in, or nil.
func (s *vmaSet) find(a abi.Addr) *vma {
	if v := s.at(s.seek(a)); v != nil && v.start <= a {
		return v
	}
	return nil
}

// insert puts v before p.
func (s *vmaSet) insert(p vmaPos, v vma) {
	s.n++
	if v.back != BackNone {
		s.hosted++
	}
	if len(s.runs) == 0 {
		s.runs = append(s.runs, &vmaRun{v: append(make([]vma, 0, runMax), v)})
		return
	}
	if p.i == 0 && p.run > 0 && (p.run == len(s.runs) || len(s.runs[p.run].v) == runMax) {
		p.run--
		p.i = len(s.runs[p.run].v)
	}
	r := s.runs[p.run]
	if len(r.v) == runMax {
		half := &vmaRun{v: append(make([]vma, 0, runMax), r.v[runMax/2:]...)}
		clear(r.v[runMax/2:])
		r.v = r.v[:runMax/2]
		r.ok = false
		s.runs = append(s.runs, nil)
		copy(s.runs[p.run+2:], s.runs[p.run+1:])
		s.runs[p.run+1] = half
		if p.i > runMax/2 {
			r = half
			p.i -= runMax / 2
		}
	}
	r.ok = false
	r.v = append(r.v, vma{})
	copy(r.v[p.i+1:], r.v[p.i:])
	r.v[p.i] = v
}

// remove takes the mapping at p out. p is then the place of the one that came behind it.
func (s *vmaSet) remove(p vmaPos) vmaPos {
	s.n--
	r := s.runs[p.run]
	if r.v[p.i].back != BackNone {
		s.hosted--
	}
	r.ok = false
	copy(r.v[p.i:], r.v[p.i+1:])
	r.v[len(r.v)-1] = vma{}
	r.v = r.v[:len(r.v)-1]
	if len(r.v) == 0 {
		s.dropRun(p.run)
		return vmaPos{p.run, 0}
	}
	if p.run > 0 {
		// Runs that have become short are joined, so that there are never many of them.
		if l := s.runs[p.run-1]; len(l.v)+len(r.v) <= runMax/2 {
			p.i += len(l.v)
			l.v = append(l.v, r.v...)
			l.ok = false
			p.run--
			s.dropRun(p.run + 1)
			r = l
		}
	}
	if p.i == len(r.v) {
		return vmaPos{p.run + 1, 0}
	}
	return p
}

func (s *vmaSet) dropRun(i int) {
	copy(s.runs[i:], s.runs[i+1:])
	s.runs[len(s.runs)-1] = nil
	s.runs = s.runs[:len(s.runs)-1]
}

// cut makes a a border between mappings, if it lies inside one.
func (s *vmaSet) cut(a abi.Addr) {
	p := s.seek(a)
	v := s.at(p)
	if v == nil || v.start >= a {
		return
	}
	upper := *v
	upper.advance(a)
	v.end = a
	if upper.file != nil {
		upper.file.refs++
	}
	s.insert(s.next(p), upper)
}

// take removes everything in [lo, hi) and appends it to out, cut at both ends. References to
// files go with it.
func (s *vmaSet) take(lo, hi abi.Addr, out []vma) []vma {
	s.cut(lo)
	s.cut(hi)
	p := s.seek(lo)
	for v := s.at(p); v != nil && v.start < hi; v = s.at(p) {
		out = append(out, *v)
		p = s.remove(p)
	}
	return out
}

// put adds v, where nothing is, and joins it with its neighbours where the host does: a fresh
// mapping always with a like one below it, else with a like one above; with both only if they have
// one origin. Were they joined here and not there, a guest could have more mappings than are
// counted.
//
// v.origin is 0 for fresh pages.
func (s *vmaSet) put(v vma) {
	p := s.seek(v.start)
	above := s.at(p)
	var below *vma
	pb, ok := s.prev(p)
	if ok {
		below = s.at(pb)
	}
	if below != nil && below.joins(&v) && like(below.origin, v.origin) {
		below.end = v.end
		drop(&v)
		if below.origin == 0 {
			below.origin = v.origin
		}
		s.runs[pb.run].ok = false
		if above != nil && below.joins(above) && below.origin == above.origin {
			below.end = above.end
			drop(above)
			s.remove(p) // which may join runs, or drop one
		}
		return
	}
	if above != nil && v.joins(above) && like(v.origin, above.origin) {
		if v.origin != 0 {
			above.origin = v.origin
		}
		above.start, above.off, above.fileOff = v.start, v.off, v.fileOff
		drop(&v)
		s.runs[p.run].ok = false
		return
	}
	if v.origin == 0 && v.settled() {
		s.origins++
		v.origin = s.origins
	}
	s.insert(p, v)
}

func like(a, b uint32) bool { return a == b || a == 0 || b == 0 }

// drop forgets the reference to its file that a mapping had which was joined with another.
func drop(v *vma) {
	if v.file != nil {
		v.file.refs--
	}
}

// free tells whether nothing is mapped in [lo, hi).
func (s *vmaSet) free(lo, hi abi.Addr) bool {
	v := s.at(s.seek(lo))
	return v == nil || v.start >= hi
}

// gap returns the highest address of n free bytes inside [lo, hi).
func (s *vmaSet) gap(lo, hi abi.Addr, n uint64) (abi.Addr, bool) {
	top := hi // everything in [top, hi) was looked at
	fits := func(bottom abi.Addr) bool {
		bottom = max(bottom, lo)
		return top > bottom && uint64(top-bottom) >= n
	}
	for i := len(s.runs) - 1; i >= 0; i-- {
		r := s.runs[i]
		if r.v[0].start >= hi {
			continue
		}
		if r.v[len(r.v)-1].end <= lo {
			break
		}
		if r.largest() < n && r.v[len(r.v)-1].end <= hi {
			// Nothing between two of the run, but perhaps above it.
			if fits(r.v[len(r.v)-1].end) {
				return top - abi.Addr(n), true
			}
			top = min(top, r.v[0].start)
			continue
		}
		for j := len(r.v) - 1; j >= 0; j-- {
			if fits(r.v[j].end) {
				return top - abi.Addr(n), true
			}
			top = min(top, r.v[j].start)
		}
	}
	if fits(lo) {
		return top - abi.Addr(n), true
	}
	// The loop may have ended at a run wholly below lo, or with top below it.
	return 0, false
}

// largest returns the largest free space between two mappings of the run.
func (r *vmaRun) largest() uint64 {
	if !r.ok {
		r.gap = 0
		for i := 1; i < len(r.v); i++ {
			r.gap = max(r.gap, uint64(r.v[i].start-r.v[i-1].end))
		}
		r.ok = true
	}
	return r.gap
}
