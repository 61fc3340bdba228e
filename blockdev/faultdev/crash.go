package faultdev

import (
	"fmt"
	"iter"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// Crashes are the contents that a disk may have after the power failed while a record was made.
//
// A disk keeps what a completed flush covers. Of the other writes, those of the flush window, any
// may be there and any may be missing, whatever their order, since disks reorder what is in their
// caches; and of a write of several sectors, any sectors may be there. A sector is old or new as
// a whole. Two writes to the same sector keep their order.
//
// Of the 2^n combinations of n writes, all are made for small n, and for larger ones those that
// find most bugs (everything up to a point, all but one, one alone, all but the first or the last
// few, one call torn) and random ones.
type Crashes struct {
	Base   *Image // content before the first event
	Events []Event
	Seed   uint64
	// All is the number of writes in a window up to which every combination of them is made: from
	// 4, the default, to 16.
	All int
	// PerWindow is how many states of one window there are at most; if there could be more, they
	// are chosen at random. 0 is no limit.
	PerWindow int
	// Total is how many states there are at most, chosen at random; 0 is no limit.
	Total int
	// Whole are ranges of bytes, of whole sectors, that no write is torn in: what a file system
	// must be able to rely on where it has one place only for something.
	Whole [][2]int64
}

// State is a content after a crash.
type State struct {
	// ID names the state, for State; it means the same for every equal record.
	ID string
	// First and Last are the numbers of events between which the crash can have come: at First, the
	// first event that is missing in Image could have been next; until Last, all that a flush covers
	// is in it.
	First, Last int
	// Image is the receiver's to change.
	Image *Image
}

// cut is a state that is not built yet.
type cut struct {
	window int
	kind   byte
	a, b   uint64
}

// Kinds of cuts. Writes are counted in their window.
const (
	cutPrefix = 'p' // the first a writes
	cutTorn   = 't' // the first a writes, and of the next one what tear b says
	cutMask   = 'm' // the writes whose bits are set in a
	cutDrop   = 'd' // all but write a
	cutOnly   = 'o' // write a alone
	cutSuffix = 's' // all but the first a writes
	cutCall   = 'c' // all but those of call a
	cutRandom = 'r' // at random, with seed a; some torn
)

func (c cut) String() string { return fmt.Sprintf("%d:%c%d.%d", c.window, c.kind, c.a, c.b) }

// window is a row of writes that a disk may reorder.
type window struct {
	stable int   // events before this one are on the disk
	end    int   // the window ends before this event: the flush that covers it
	writes []int // indexes of events
}

func (c *Crashes) windows() []window {
	var out []window
	stable := 0
	cut := func(end int) {
		w := window{stable: stable, end: end}
		for i := stable; i < end; i++ {
			if c.Events[i].Op == Write {
				w.writes = append(w.writes, i)
			}
		}
		if len(w.writes) > 0 || len(out) == 0 {
			out = append(out, w)
		}
	}
	for i, e := range c.Events {
		if e.Op == Flush {
			cut(i)
			stable = max(stable, e.Covers)
		}
	}
	cut(len(c.Events))
	return out
}

// tear is how a write of several sectors is torn: the sectors [lo, hi) of it are there or, if
// not, are missing.
type tear struct {
	lo, hi int
	not    bool
}

func (t tear) code() uint64 {
	c := uint64(t.lo)<<32 | uint64(t.hi)<<1
	if t.not {
		c |= 1
	}
	return c
}

func tearOf(code uint64) tear {
	return tear{int(code >> 32), int(code >> 1 & (1<<31 - 1)), code&1 != 0}
}

// tears lists ways to tear a write of n sectors.
func tears(n int) []tear {
	var out []tear
	add := func(lo, hi int, not bool) {
		t := tear{lo, hi, not}
		if lo >= 0 && hi <= n && hi > lo && hi-lo < n && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	const block = pageSize / sectorSize
	if n <= block {
		for i := 1; i < n; i++ {
			add(0, i, false)
			add(i, n, false)
		}
		add(1, n-1, true)
		return out
	}
	for _, i := range []int{1, block, n / 2 / block * block, n/2/block*block + 3, (n - 1) / block * block, n - 1} {
		add(0, i, false)
		add(i, n, false)
	}
	add(1, n-1, true)
	add(block, 2*block, true)
	return out
}

// tears lists the ways to tear event i.
func (c *Crashes) tears(i int) []tear {
	e := c.Events[i]
	return slices.DeleteFunc(tears(len(e.Data)/sectorSize), func(t tear) bool {
		for _, edge := range []int{t.lo, t.hi} {
			at := e.Off + int64(edge)*sectorSize
			for _, w := range c.Whole {
				if w[0] < at && at < w[1] {
					return true
				}
			}
		}
		return false
	})
}

// cuts lists the states of a window.
func (c *Crashes) cuts(nr int, w window) []cut {
	n := len(w.writes)
	var out []cut
	add := func(kind byte, a int, b uint64) { out = append(out, cut{nr, kind, uint64(a), b}) }
	for i := range n + 1 {
		add(cutPrefix, i, 0)
	}
	for i, e := range w.writes {
		for _, t := range c.tears(e) {
			add(cutTorn, i, t.code())
		}
	}
	if n <= max(c.All, 4) && n <= 16 {
		for mask := 1; mask < 1<<n-1; mask++ {
			if mask&(mask+1) != 0 { // else it is a prefix
				add(cutMask, mask, 0)
			}
		}
		return out
	}
	for i := range n {
		add(cutDrop, i, 0)
		add(cutOnly, i, 0)
		if i > 0 {
			add(cutSuffix, i, 0)
		}
		if i == 0 || c.Events[w.writes[i]].Call != c.Events[w.writes[i-1]].Call {
			add(cutCall, c.Events[w.writes[i]].Call, 0)
		}
	}
	rng := rand.New(rand.NewPCG(c.Seed, uint64(nr)))
	for range max(16, min(n, 64)) {
		add(cutRandom, int(rng.Uint32()), 0)
	}
	return out
}

// sample leaves n of the cuts, in their order. Those that keep everything or nothing stay.
func sample(cuts []cut, n int, rng *rand.Rand) []cut {
	if n <= 0 || len(cuts) <= n {
		return cuts
	}
	out := make([]cut, 0, n)
	left := len(cuts)
	for i, c := range cuts {
		// A whole prefix is followed by something else, or by the next window.
		whole := c.kind == cutPrefix && (c.a == 0 || i+1 == len(cuts) || cuts[i+1].kind != cutPrefix)
		if whole && len(out) < n || rng.IntN(left) < n-len(out) {
			out = append(out, c)
		}
		left--
	}
	return out
}

// build makes the state of a cut, on top of stable, the content at the window's start.
func (c *Crashes) build(stable *Image, w window, k cut) State {
	s := State{ID: k.String(), First: w.stable, Last: w.end, Image: stable.Clone()}
	put := func(i int, t *tear) {
		e := c.Events[w.writes[i]]
		s.First = w.writes[i] + 1
		n := len(e.Data) / sectorSize
		switch {
		case t == nil:
			s.Image.WriteAt(e.Data, e.Off)
		case t.not:
			s.Image.WriteAt(e.Data[:t.lo*sectorSize], e.Off)
			s.Image.WriteAt(e.Data[t.hi*sectorSize:n*sectorSize], e.Off+int64(t.hi*sectorSize))
		default:
			s.Image.WriteAt(e.Data[t.lo*sectorSize:t.hi*sectorSize], e.Off+int64(t.lo*sectorSize))
		}
	}
	var rng *rand.Rand
	var rate int
	if k.kind == cutRandom {
		rng = rand.New(rand.NewPCG(k.a, 0))
		rate = 1 + rng.IntN(15)
	}
	for i := range w.writes {
		keep := false
		switch k.kind {
		case cutPrefix, cutTorn:
			keep = i < int(k.a)
		case cutMask:
			keep = k.a>>i&1 != 0
		case cutDrop:
			keep = i != int(k.a)
		case cutOnly:
			keep = i == int(k.a)
		case cutSuffix:
			keep = i >= int(k.a)
		case cutCall:
			keep = c.Events[w.writes[i]].Call != int(k.a)
		case cutRandom:
			keep = rng.IntN(16) < rate
			if ts := c.tears(w.writes[i]); keep && len(ts) > 0 && rng.IntN(6) == 0 {
				put(i, &ts[rng.IntN(len(ts))])
				continue
			}
		}
		if keep {
			put(i, nil)
		} else if k.kind == cutTorn && i == int(k.a) {
			t := tearOf(k.b)
			put(i, &t)
		}
	}
	return s
}

// States makes the states, one after the other, in the order of the record. Different ones may
// have the same content; Image.Sum tells.
func (c *Crashes) States() iter.Seq[State] {
	return func(yield func(State) bool) {
		windows := c.windows()
		var cuts []cut
		for nr, w := range windows {
			rng := rand.New(rand.NewPCG(c.Seed, 1<<32+uint64(nr)))
			cuts = append(cuts, sample(c.cuts(nr, w), c.PerWindow, rng)...)
		}
		cuts = sample(cuts, c.Total, rand.New(rand.NewPCG(c.Seed, 1<<33)))
		stable, at, nr := c.Base.Clone(), 0, -1
		for _, k := range cuts {
			if k.window != nr {
				nr = k.window
				at = c.apply(stable, at, windows[nr].stable)
			}
			if !yield(c.build(stable, windows[nr], k)) {
				return
			}
		}
	}
}

// apply does the writes among the events [from, to), and returns to.
func (c *Crashes) apply(m *Image, from, to int) int {
	for _, e := range c.Events[from:to] {
		if e.Op == Write {
			m.WriteAt(e.Data, e.Off)
		}
	}
	return to
}

// State makes the state with an ID that States has given for the same record.
func (c *Crashes) State(id string) (State, error) {
	var k cut
	if _, err := fmt.Sscanf(id, "%d:%c%d.%d", &k.window, &k.kind, &k.a, &k.b); err != nil {
		return State{}, fmt.Errorf("state %q: %w", id, err)
	}
	windows := c.windows()
	if k.window < 0 || k.window >= len(windows) {
		return State{}, fmt.Errorf("state %q: the record has %d windows", id, len(windows))
	}
	w := windows[k.window]
	bad := false
	switch n := uint64(len(w.writes)); k.kind {
	case cutPrefix, cutSuffix:
		bad = k.a > n
	case cutDrop, cutOnly:
		bad = k.a >= n
	case cutMask:
		bad = bits.Len64(k.a) > int(n)
	case cutTorn:
		t := tearOf(k.b)
		bad = k.a >= n || t.lo > t.hi || t.hi > len(c.Events[w.writes[k.a]].Data)/sectorSize
	case cutCall, cutRandom:
	default:
		bad = true
	}
	if bad {
		return State{}, fmt.Errorf("state %q: no such cut of a window with %d writes", id, len(w.writes))
	}
	stable := c.Base.Clone()
	c.apply(stable, 0, w.stable)
	return c.build(stable, w, k), nil
}
