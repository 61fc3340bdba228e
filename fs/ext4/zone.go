package ext4

import (
	"slices"
	"sort"
)

// zone is a run of blocks that hold the file system's own structures.
type zone struct {
	start, end uint64 // end is behind the last block
	owner      uint32 // inode that may map it (the journal), 0 for none
}

// zones are all such runs, in order. No file may map a block of one, so that content never
// overlays a bitmap or an inode table, whatever the image says.
type zones []zone

// add notes a run; order is made by finish.
func (z *zones) add(start, n uint64, owner uint32) {
	*z = append(*z, zone{start, start + n, owner})
}

// finish sorts and joins the runs. overlap is a block that two of them claim, 0 for none.
func (z *zones) finish() (overlap uint64) {
	s := *z
	slices.SortFunc(s, func(a, b zone) int {
		switch {
		case a.start < b.start:
			return -1
		case a.start > b.start:
			return 1
		}
		return 0
	})
	out := s[:0]
	for _, r := range s {
		if n := len(out); n > 0 {
			last := &out[n-1]
			if r.start < last.end {
				overlap = r.start
				last.end = max(last.end, r.end)
				continue
			}
			if r.start == last.end && r.owner == last.owner {
				last.end = r.end
				continue
			}
		}
		out = append(out, r)
	}
	*z = slices.Clip(out)
	return overlap
}

// from returns the runs that end behind block.
func (z zones) from(block uint64) zones {
	return z[sort.Search(len(z), func(i int) bool { return z[i].end > block }):]
}

// hits tells whether inode ino must not map one of the n blocks from start on.
func (z zones) hits(start, n uint64, ino uint32) bool {
	for _, r := range z.from(start) {
		if r.start >= start+n {
			break
		}
		if r.owner == 0 || r.owner != ino {
			return true
		}
	}
	return false
}
