package memfs

import "math"

// pages are the pages of a file that exist, by number: a tree with 64 branches at each level,
// as high as the largest number needs.
type pages struct {
	root   *table
	height int   // levels; 0: no pages
	count  int64 // pages in the tree
}

const (
	fanBits = 6
	fan     = 1 << fanBits
)

// table is one node of the tree; sub is nil on the lowest level, page on the others.
type table struct {
	used int // slots that are not nil
	sub  *[fan]*table
	page *[fan]*page
}

// covers tells whether a tree of the height has room for page i.
func covers(height int, i int64) bool {
	return height*fanBits >= 63 || i>>(height*fanBits) == 0
}

// get returns page i, or nil.
func (p *pages) get(i int64) *page {
	if p.height == 0 || !covers(p.height, i) {
		return nil
	}
	t := p.root
	for h := p.height - 1; h > 0; h-- {
		if t = t.sub[i>>(h*fanBits)&(fan-1)]; t == nil {
			return nil
		}
	}
	return t.page[i&(fan-1)]
}

func newTable(height int) *table {
	if height == 0 {
		return &table{page: new([fan]*page)}
	}
	return &table{sub: new([fan]*table)}
}

// put enters page i, which is not there yet.
func (p *pages) put(i int64, pg *page) {
	if p.height == 0 {
		p.root, p.height = newTable(0), 1
	}
	for !covers(p.height, i) {
		up := newTable(p.height)
		if p.root.used > 0 {
			up.sub[0], up.used = p.root, 1
		}
		p.root = up
		p.height++
	}
	t := p.root
	for h := p.height - 1; h > 0; h-- {
		slot := &t.sub[i>>(h*fanBits)&(fan-1)]
		if *slot == nil {
			*slot = newTable(h - 1)
			t.used++
		}
		t = *slot
	}
	t.page[i&(fan-1)] = pg
	t.used++
	p.count++
}

// remove takes the pages from lo to before hi out and returns them.
func (p *pages) remove(lo, hi int64) []*page {
	if p.height == 0 || lo >= hi {
		return nil
	}
	var out []*page
	p.root.remove(p.height-1, 0, lo, hi, &out)
	p.count -= int64(len(out))
	if p.root.used == 0 {
		p.root, p.height = nil, 0
	}
	return out
}

// cut is remove of everything from lo on.
func (p *pages) cut(lo int64) []*page { return p.remove(lo, math.MaxInt64) }

// remove works on a table h levels above the lowest, whose first page has the number base.
func (t *table) remove(h int, base, lo, hi int64, out *[]*page) {
	for s := range fan {
		first := base + int64(s)<<(h*fanBits)
		last := first + (int64(1)<<(h*fanBits) - 1)
		if first < 0 || first >= hi { // negative: beyond every number
			return
		}
		if last < lo && last >= first {
			continue
		}
		if h == 0 {
			if t.page[s] != nil {
				*out = append(*out, t.page[s])
				t.page[s] = nil
				t.used--
			}
			continue
		}
		if sub := t.sub[s]; sub != nil {
			sub.remove(h-1, first, lo, hi, out)
			if sub.used == 0 {
				t.sub[s] = nil
				t.used--
			}
		}
	}
}

// next returns the number of the first page from i on that exists; -1: none.
func (p *pages) next(i int64) int64 {
	if p.height == 0 || !covers(p.height, i) {
		return -1
	}
	return p.root.next(p.height-1, 0, i)
}

func (t *table) next(h int, base, i int64) int64 {
	s := int64(0)
	if i > base {
		s = (i - base) >> (h * fanBits)
	}
	for ; s < fan; s++ {
		first := base + s<<(h*fanBits)
		if h == 0 {
			if t.page[s] != nil {
				return first
			}
		} else if sub := t.sub[s]; sub != nil {
			if n := sub.next(h-1, first, i); n >= 0 {
				return n
			}
		}
	}
	return -1
}
