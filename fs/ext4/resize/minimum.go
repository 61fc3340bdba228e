package resize

import (
	"fmt"

	"pinhole/blockdev"
)

// Minimum returns the least size to which Resize can bring the file system. It is a little more than what
// is in use: moving files into what is free between others can take blocks for their maps.
func Minimum(dev blockdev.Device) (Size, error) {
	f, err := load(dev, Options{})
	if err != nil {
		return Size{}, err
	}
	if err := f.loadBitmaps(); err != nil {
		return Size{}, err
	}
	l := &f.old
	table := 2 + f.tableLen()
	var free, inodes, spans uint64
	runs := make([]uint64, l.groups) // free ones of each group
	data := make([]uint64, l.groups) // blocks in use of each group
	for g := range l.groups {
		p := f.groups[g].blocks
		if p == nil {
			p = f.initialBlocks(g)
		}
		n := zeroBits(p, 0, l.len(g))
		free += n
		data[g] = l.len(g) - n
		runs[g] = countRuns(p, l.len(g))
		spans += l.span(g)
		inodes += uint64(f.sb.InodesPerGroup - f.groups[g].desc.FreeInodes)
	}
	used := l.blocks - l.first0 - free
	if meta := spans + l.groups*table; used >= meta {
		used -= meta
	} else {
		return Size{}, &CorruptError{"bitmaps", "less is in use than the bookkeeping takes"}
	}
	behind := uint64(0) // blocks in use in the groups that have been added, counted from the end
	for _, n := range data {
		behind += n
	}
	space := uint64(0)
	for groups := uint64(1); groups <= l.groups; groups++ {
		behind -= data[groups-1]
		space += runs[groups-1]
		if groups*uint64(f.sb.InodesPerGroup) < inodes {
			continue
		}
		n := f.layoutFor(l.first(groups-1) + l.perGroup)
		meta := groups * table
		for g := range groups {
			meta += n.span(g)
		}
		// What is cut off the last group moves, too.
		slack := uint64(0)
		if moves := behind + data[groups-1]; moves > 0 {
			slack = min(space, moves) + 8
		}
		need := n.first0 + meta + used + slack
		if need > n.first(groups-1)+n.perGroup {
			continue
		}
		last := groups - 1
		need = max(need, n.first(last)+min(n.span(last)+table+50, n.perGroup))
		if need >= l.blocks {
			break
		}
		got, err := f.plan(need)
		if err != nil {
			return Size{}, fmt.Errorf("least size: %w", err)
		}
		return Size{got.blocks, f.bs}, nil
	}
	return Size{l.blocks, f.bs}, nil
}

// countRuns counts the runs of clear bits.
func countRuns(p []byte, n uint64) uint64 {
	count, in := uint64(0), false
	for i := range n {
		free := !bit(p, i)
		if free && !in {
			count++
		}
		in = free
	}
	return count
}
