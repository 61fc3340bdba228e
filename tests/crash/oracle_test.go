package crash

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// oracle knows what a workload may leave behind.
type oracle struct {
	threads   []*runner
	setup     int // operations of the setup, which all threads have in common; they are durable
	blockSize int64
	// zeros says that what is written behind the end of a file may be zeros after a crash. Linux
	// moves the end when it has chosen blocks, and marks them written when they are.
	zeros bool

	known layouts
}

// bounds are those of one thread for a crash between two numbers of events.
type bounds struct {
	lo int // operations before this one are durable in their metadata
	hi int // operations from this one on have left nothing on the disk
	// whole is the operation before which everything is durable, content, too.
	whole int
	// content has, for each file with its own fsyncs, the operation before which its content is durable.
	content map[*object]int
}

// bounds computes those of thread t. What is done at last must be there; what had not begun at
// first must not.
func (o *oracle) bounds(t, first, last int) bounds {
	r := o.threads[t]
	b := bounds{lo: o.setup, hi: o.setup, whole: o.setup, content: map[*object]int{}}
	for i, s := range r.log {
		if s.beginAt < first {
			b.hi = o.setup + i + 1
		}
	}
	for u, other := range o.threads {
		for i, s := range other.log {
			if s.endAt > last {
				break
			}
			if s.errno != 0 {
				continue
			}
			switch {
			case s.name == "sync":
				b.whole = max(b.whole, o.setup+r.completed(s.begin))
			case u == t && s.persists():
				f := r.files[i]
				for _, touch := range f.touched {
					if touch.op >= o.setup+i {
						break
					}
					if s.name == "fsync" || touch.data {
						b.lo = max(b.lo, touch.op+1)
					}
				}
				b.content[f] = o.setup + i
			}
		}
	}
	b.lo = max(b.lo, b.whole)
	b.hi = max(b.hi, b.lo)
	return b
}

// completed returns how many of the runner's operations had ended at a time of the clock.
func (r *runner) completed(clock int64) int {
	return sort.Search(len(r.log), func(i int) bool { return r.log[i].end > clock })
}

// check says what is wrong with a tree that a crash between two numbers of events has left.
func (o *oracle) check(s *seen, first, last int) error {
	fits := make([][]int, len(o.threads))
	for t, r := range o.threads {
		b := o.bounds(t, first, last)
		var err error
		if fits[t], err = o.fit(r, s, b); err != nil {
			if len(o.threads) > 1 {
				err = fmt.Errorf("thread %d: %w", t, err)
			}
			return err
		}
	}
	// A thread's operation that is there has seen to it that what others had completed before is, too.
	for t, r := range o.threads {
		k := slices.Min(fits[t])
		if k <= o.setup {
			continue
		}
		begin := r.log[k-1-o.setup].begin
		for u, other := range o.threads {
			done := o.setup + other.completed(begin)
			// What changes no names counts for nothing here.
			for ; done > o.setup && other.model.digests[done] == other.model.digests[done-1]; done-- {
			}
			if m := slices.Max(fits[u]); m < done {
				return fmt.Errorf("thread %d's operation %d is there, but not thread %d's operation %d, which was completed before it began",
					t, k-1, u, done-1)
			}
		}
	}
	return nil
}

// fit returns the states of a thread that a tree can be, or says why there is none.
func (o *oracle) fit(r *runner, s *seen, b bounds) ([]int, error) {
	digest := s.digest(r.model.prefix)
	var fits []int
	var why error
	for k := b.lo; k <= b.hi; k++ {
		if r.model.digests[k] != digest {
			continue
		}
		if err := o.content(r, s, b, k); err != nil {
			if why == nil {
				why = fmt.Errorf("names and attributes are those before operation %d, but: %w", k, err)
			}
			continue
		}
		fits = append(fits, k)
		if len(o.threads) == 1 {
			break // one is enough
		}
	}
	switch {
	case fits != nil:
		return fits, nil
	case why != nil:
		return nil, why
	}
	return nil, o.noState(r, s, b, digest)
}

// noState explains a tree that is none of the states.
func (o *oracle) noState(r *runner, s *seen, b bounds, digest uint64) error {
	if k := slices.Index(r.model.digests, digest); k >= 0 {
		what := "which is too late: it had not begun"
		if k < b.lo {
			what = "which is too early: later ones are durable"
		}
		return fmt.Errorf("names and attributes are those before operation %d, %s\nwant those before one of %d to %d", k, what, b.lo, b.hi)
	}
	best := ""
	for _, k := range slices.Compact([]int{b.lo, (b.lo + b.hi) / 2, b.hi}) {
		d := differences(o.stateLines(r, k), s.lines(r.model.prefix))
		if best == "" || strings.Count(d, "\n") < strings.Count(best, "\n") {
			best = fmt.Sprintf("compared with those before operation %d (- expected, + found):\n%s", k, d)
		}
	}
	return fmt.Errorf("names and attributes are those before none of the operations %d to %d\n%s", b.lo, b.hi, best)
}

// stateLines makes state k of a thread anew.
func (o *oracle) stateLines(r *runner, k int) []string {
	m := r.start()
	for i, s := range r.log[:k-o.setup] {
		m.apply(o.setup+i, s.op, s.outcome)
	}
	return m.lines()
}

// content compares the files with what they may be in state k.
func (o *oracle) content(r *runner, s *seen, b bounds, k int) error {
	for _, f := range r.model.objects {
		if !f.isFile() || f.born >= k || f.born < 0 {
			continue
		}
		i := s.inodes[f.ino]
		if f.gone >= 0 && f.gone < k || f.named >= k {
			continue
		}
		if i == nil {
			return fmt.Errorf("%v is not there", f)
		}
		durable := max(b.whole, b.content[f])
		for _, c := range f.changes {
			if c.kind == changeOver && c.op < k {
				durable = max(durable, c.op)
			}
		}
		a := allowed{file: f, k: k, durable: durable, hi: b.hi, blockSize: o.blockSize, zeros: o.zeros}
		if err := a.check(i, r.model.objects, o.known); err != nil {
			return err
		}
		if err := grownEarly(f, i, durable, k); err != nil {
			return err
		}
		if f.utimeOp >= 0 && f.utimeOp < k && !changedSince(f, f.utimeOp, b.hi) && i.mtime != f.utime {
			return fmt.Errorf("%v was changed at %d, want %d", f, i.mtime, f.utime)
		}
	}
	return nil
}

// grownEarly finds a file that is longer than it was before an operation of which state k is
// too early: size follows names in the order of operations.
func grownEarly(f *object, i *seenInode, durable, k int) error {
	size := int64(0)
	for _, c := range f.changes {
		if c.op >= durable && c.op > k && c.size > size && i.size > size {
			return fmt.Errorf("%v has %d bytes, as operation %d made it", f, i.size, c.op)
		}
		size = max(size, c.size)
	}
	return nil
}

func changedSince(f *object, op, hi int) bool {
	for _, c := range f.changes {
		if c.op > op && c.op < hi {
			return true
		}
	}
	return false
}
