package ext4

import (
	"slices"

	"pinhole/fs/ext4/disk"
)

// run is a stretch of a file's blocks that lie together on the device.
type run struct {
	block uint32 // of the file
	n     uint32
	home  uint64 // on the device; unwrittenBit marks blocks that read as zeros
}

const unwrittenBit = 1 << 63

func (r run) start() uint64   { return r.home &^ unwrittenBit }
func (r run) unwritten() bool { return r.home&unwrittenBit != 0 }
func (r run) end() uint64     { return uint64(r.block) + uint64(r.n) }

func runOf(e disk.Extent) run {
	r := run{e.Block, e.Len, e.Start}
	if e.Unwritten {
		r.home |= unwrittenBit
	}
	return r
}

// runList is a file's runs in order, without overlap; what no run covers is a hole. It
// mirrors the tree on disk.
type runList struct {
	list []run
	big  bool // too many to keep: look into the tree each time
}

// maxRuns bounds the memory of one file's list to 1 MiB. Only tests change it.
var maxRuns = 1 << 16

// find returns the index of the first run that ends behind block.
func (l *runList) find(block uint32) int {
	s := l.list
	if len(s) > 0 {
		// Appending and sequential reading of files with one run need no search.
		if last := &s[len(s)-1]; block >= last.block {
			if uint64(block) < last.end() {
				return len(s) - 1
			}
			return len(s)
		}
	}
	lo, hi := 0, len(s)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s[mid].end() > uint64(block) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// at returns the run of block cut to start there; for a hole n is its length (as far as
// the next run, or the end of block numbers) and home is 0.
func (l *runList) at(block uint32) run {
	i := l.find(block)
	if i == len(l.list) {
		return run{block: block, n: maxFileBlocks - block}
	}
	r := l.list[i]
	if r.block > block {
		return run{block: block, n: r.block - block}
	}
	d := block - r.block
	return run{block: block, n: r.n - d, home: r.home + uint64(d)}
}

// remove makes a hole of n blocks.
func (l *runList) remove(block, n uint32) {
	end := uint64(block) + uint64(n)
	i := l.find(block)
	if i == len(l.list) {
		return
	}
	if r := l.list[i]; r.block < block {
		l.list[i].n = block - r.block
		i++
		if r.end() > end {
			d := uint32(end - uint64(r.block))
			l.list = slices.Insert(l.list, i, run{uint32(end), r.n - d, r.home + uint64(d)})
			return
		}
	}
	j := i
	for j < len(l.list) && l.list[j].end() <= end {
		j++
	}
	l.list = slices.Delete(l.list, i, j)
	if i < len(l.list) && uint64(l.list[i].block) < end {
		d := uint32(end - uint64(l.list[i].block))
		l.list[i].block += d
		l.list[i].n -= d
		l.list[i].home += uint64(d)
	}
}

// put maps r's blocks to its home, whatever was there.
func (l *runList) put(r run) {
	if i := l.find(r.block); i < len(l.list) && uint64(l.list[i].block) < r.end() {
		l.remove(r.block, r.n)
	}
	i := l.find(r.block)
	joinLeft := i > 0 && l.list[i-1].end() == uint64(r.block) && l.list[i-1].home+uint64(l.list[i-1].n) == r.home
	joinRight := i < len(l.list) && uint64(l.list[i].block) == r.end() && r.home+uint64(r.n) == l.list[i].home
	switch {
	case joinLeft && joinRight:
		l.list[i-1].n += r.n + l.list[i].n
		l.list = slices.Delete(l.list, i, i+1)
	case joinLeft:
		l.list[i-1].n += r.n
	case joinRight:
		l.list[i] = run{r.block, r.n + l.list[i].n, r.home}
	default:
		l.list = slices.Insert(l.list, i, r)
	}
	if len(l.list) > maxRuns {
		*l = runList{big: true}
	}
}
