package crash

import (
	"fmt"
	"slices"
	"sort"
)

// allowed says what a file may be after a crash.
//
// Names and attributes are those of state k. Content is written behind, in any order, but: what is
// durable is there; size follows content, so what a write has put behind the end of the file
// appears with the size or not at all, and zeros only where zeros once were; what truncate and
// punch took away is gone if they are in state k.
type allowed struct {
	file      *object
	k         int   // operations before this one are in the names and attributes
	durable   int   // operations before this one are in the content
	hi        int   // operations from this one on had not begun
	blockSize int64 // of the file system
	zeros     bool  // see oracle
}

// spread has, for a stretch of a file, the versions of content that may be there.
type spread struct {
	off, end int64
	versions []uint32
}

// sizes returns the sizes that the file may have: those in exact, and multiples of the block
// size from lo to hi.
//
// The size of a file that has content to be written lags behind, also when truncate or fallocate
// set it, so that it never shows what is not there. (Linux sets it at once, and shows zeros.)
func (a *allowed) sizes() (lo, hi int64, exact []int64) {
	was, lags := int64(0), false
	for _, c := range a.file.changes {
		grows := c.size > was
		was = c.size
		switch {
		case c.op >= a.hi:
			return lo, hi, exact
		case c.op < a.durable:
			lo, hi, exact = c.size, c.size, []int64{c.size}
		case c.kind == changeSize && c.op >= a.k:
			return lo, hi, exact // it is not done, and so nothing that came after it
		case c.op < a.k && (c.kind == changeSize || grows && c.kind != changeWrite) && (!lags || a.zeros):
			lo, hi, exact = c.size, c.size, []int64{c.size}
		case c.kind == changeSize && !grows:
			lo, hi = min(lo, c.size), min(hi, c.size)
			exact = append(slices.DeleteFunc(exact, func(n int64) bool { return n > c.size }), c.size)
		default:
			hi = max(hi, c.size)
			exact = append(exact, c.size)
			lags = true
		}
	}
	return lo, hi, exact
}

// layouts keeps what spreads has computed: most files are the same in most states.
type layouts map[layoutKey][]spread

type layoutKey struct {
	file        *object
	durable, hi int // changes before each of them
	k           int // those that are not writes
}

// spreads divides the file by what may be there, up to its largest size.
func (a *allowed) spreads(known layouts) []spread {
	key := layoutKey{file: a.file, durable: a.changesBefore(a.durable), hi: a.changesBefore(a.hi)}
	for _, c := range a.file.changes[:a.changesBefore(a.k)] {
		if c.kind != changeWrite {
			key.k++
		}
	}
	if out, ok := known[key]; ok {
		return out
	}
	cuts := []int64{0}
	for _, c := range a.file.changes[:key.hi] {
		cuts = append(cuts, c.off, c.end, c.size, roundUp(c.end, a.blockSize), roundUp(c.off, a.blockSize))
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var out []spread
	for i := 1; i < len(cuts); i++ {
		v := a.versions(cuts[i-1], cuts[i])
		// Within a sector a boundary stays: zeros may be there up to it, and what was written behind it.
		if n := len(out); n > 0 && slices.Equal(out[n-1].versions, v) && cuts[i-1]%sectorSize == 0 {
			out[n-1].end = cuts[i]
		} else {
			out = append(out, spread{cuts[i-1], cuts[i], v})
		}
	}
	known[key] = out
	return out
}

func (a *allowed) changesBefore(op int) int {
	return sort.Search(len(a.file.changes), func(i int) bool { return a.file.changes[i].op >= op })
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// versions returns what may be at [lo, hi), which no boundary of a change divides.
func (a *allowed) versions(lo, hi int64) []uint32 {
	var v []uint32 // none: behind the end
	was := int64(0)
	add := func(n uint32) {
		if !slices.Contains(v, n) {
			v = append(v, n)
		}
	}
	for _, c := range a.file.changes {
		if c.op >= a.hi {
			break
		}
		durable := c.op < a.durable
		covers := c.off <= lo && hi <= c.end
		switch {
		case c.kind == changeWrite && covers:
			switch {
			case durable:
				v = v[:0]
			case a.zeros && hi > was:
				add(0)
			}
			add(c.version())
		case c.kind == changeZero && covers:
			if durable || c.op < a.k {
				v = v[:0]
			}
			add(0)
		case c.kind == changeSize && lo >= c.end:
			if durable || c.op < a.k {
				v = v[:0]
			} else if lo < roundUp(c.end, a.blockSize) {
				add(0) // zeroed before the size changes
			}
		case lo >= was && hi <= c.size:
			// Between the old end and what has moved it.
			if durable {
				v = v[:0]
			}
			add(0)
		}
		was = c.size
	}
	return v
}

// check compares a file with what it may be.
func (a *allowed) check(s *seenInode, all []*object, known layouts) error {
	lo, hi, exact := a.sizes()
	if !(s.size >= lo && s.size <= hi && s.size%a.blockSize == 0 || slices.Contains(exact, s.size)) {
		return fmt.Errorf("%v has %d bytes, want %d, or of %d to %d\n%s", a.file, s.size, exact, lo, hi, a.history())
	}
	for _, sp := range a.spreads(known) {
		if sp.off >= s.size {
			break
		}
		sp.end = min(sp.end, s.size)
		if err := a.checkSpread(s, sp, all); err != nil {
			return err
		}
	}
	return nil
}

const sectorSize = 512

func (a *allowed) checkSpread(s *seenInode, sp spread, all []*object) error {
	at := sp.off
	hole := func(end int64) error {
		if at < end && !slices.Contains(sp.versions, 0) {
			return fmt.Errorf("%v is a hole from %d to %d, want what was written there by %v\n%s", a.file, at, end, a.ops(sp.versions), a.history())
		}
		at = max(at, end)
		return nil
	}
	for _, c := range s.data {
		if c.off+int64(len(c.p)) <= at {
			continue
		}
		if c.off >= sp.end {
			break
		}
		if err := hole(min(c.off, sp.end)); err != nil {
			return err
		}
		for end := min(c.off+int64(len(c.p)), sp.end); at < end; {
			n := min(sectorSize-at%sectorSize, end-at)
			p := c.p[at-c.off:][:n]
			if !slices.ContainsFunc(sp.versions, func(v uint32) bool { return matches(p, a.file.tag, v, at) }) {
				return fmt.Errorf("%v has at %d %s, want what was written by %v\n%s", a.file, at, identify(p, at, all), a.ops(sp.versions), a.history())
			}
			at += n
		}
	}
	return hole(sp.end)
}

// ops names operations for a message.
func (a *allowed) ops(versions []uint32) []string {
	var out []string
	for _, v := range versions {
		if v == 0 {
			out = append(out, "zeros")
		} else {
			out = append(out, fmt.Sprintf("operation %d", v-1))
		}
	}
	if out == nil {
		out = []string{"nothing"}
	}
	return out
}

// history tells what has been done to the file, for a message.
func (a *allowed) history() string {
	s := fmt.Sprintf("(%d and later are not in the names, %d and later need not be in the content):", a.k, a.durable)
	for _, c := range a.file.changes {
		if c.op < a.hi {
			what := [...]string{"write", "truncate", "zero", "fallocate", "rename over"}[c.kind]
			s += fmt.Sprintf(" %d: %s %d-%d, size %d;", c.op, what, c.off, c.end, c.size)
		}
	}
	return s
}
