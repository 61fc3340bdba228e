package resize

import (
	"pinhole/fs/ext4/disk"
)

// reshape brings the bitmaps into the shape of the new size: groups are added, or the last one that stays is
// cut; places that the descriptor table takes are marked, so that nothing is put there.
func (f *fs) reshape() error {
	for i := range f.groups {
		f.total += int64(f.sb.InodesPerGroup) - int64(f.groups[i].desc.ItableUnused)
	}
	f.total *= 2
	if f.new.blocks > f.old.blocks {
		if err := f.grow(); err != nil {
			return err
		}
	}
	// Where a group's copies take more than before, or less.
	for g := range min(f.old.groups, f.new.groups) {
		before, now := f.old.span(g), f.new.span(g)
		switch {
		case now > before:
			// In use already, maybe; then it moves (see mustMove).
			f.reserve(run{f.old.first(g) + before, now - before})
		case now < before:
			f.mark(run{f.old.first(g) + now, before - now}, false)
		}
	}
	if f.new.blocks < f.old.blocks {
		// The rest of the last group is no longer there.
		last := f.new.groups - 1
		p := f.blockBitmap(last)
		setBits(p, f.new.len(last), uint64(8*f.bs))
	}
	return nil
}

// reserve marks blocks that will be descriptors.
func (f *fs) reserve(r run) { f.mark(r, true) }

// mustMove tells whether what is in a block that is in use has to go elsewhere; stays is how many blocks
// from there on are alike.
func (f *fs) mustMove(r run) (move bool, alike uint64) {
	if r.start >= f.new.blocks {
		return true, r.n
	}
	if f.new.blocks < f.old.blocks {
		return false, min(r.n, f.new.blocks-r.start)
	}
	// Behind the old table, where the new one is longer.
	g := f.new.group(r.start)
	if g >= f.old.groups {
		return false, r.n
	}
	i := r.start - f.new.first(g)
	toNext := f.new.perGroup - i
	before, now := f.old.span(g), f.new.span(g)
	switch {
	case i < before || i >= now && i >= before:
		if i < before && now > before {
			return false, min(r.n, before-i)
		}
		return false, min(r.n, toNext)
	default:
		return true, min(r.n, now-i)
	}
}

// grow adds groups.
func (f *fs) grow() error {
	last := f.old.groups - 1
	if f.new.len(last) > f.old.len(last) {
		p := f.blockBitmap(last)
		for i := f.old.len(last); i < f.new.len(last); i++ {
			clearBit(p, i)
		}
	}
	size := f.sb.DescriptorSize()
	for g := f.old.groups; g < f.new.groups; g++ {
		gr := group{raw: make([]byte, size)}
		if f.gsum {
			gr.desc.Flags = disk.GroupInodeUninit | disk.GroupInodeZeroed
			gr.desc.ItableUnused = f.sb.InodesPerGroup
		}
		gr.desc.FreeInodes = f.sb.InodesPerGroup
		gr.blocks = make([]byte, f.bs)
		gr.dirtyB = true
		setBits(gr.blocks, 0, f.new.span(g))
		setBits(gr.blocks, f.new.len(g), uint64(8*f.bs))
		f.groups = append(f.groups, gr)
		if !f.gsum {
			f.inodeBitmap(g)
		}
	}
	for g := f.old.groups; g < f.new.groups; {
		n := uint64(1)
		if f.sb.HasIncompat(disk.IncompatFlexBG) {
			// Whole flexible groups have theirs together; one that was cut short had its own then.
			if flex := uint64(1) << f.sb.LogGroupsPerFlx; g%flex == 0 {
				n = min(flex, f.new.groups-g)
			}
		}
		if err := f.placeMetadata(g, n); err != nil {
			return err
		}
		g += n
	}
	return nil
}

// placeMetadata gives n new groups from g on their bitmaps and inode tables, behind each other from the
// start of group g on.
func (f *fs) placeMetadata(g, n uint64) error {
	places := make([]run, 0, 3*n)
	for range 2 * n {
		r, err := f.allocWhole(g, 1)
		if err != nil {
			return err
		}
		places = append(places, r)
	}
	for range n {
		r, err := f.allocWhole(g, f.tableLen())
		if err != nil {
			return err
		}
		places = append(places, r)
		if !f.o.Zeroed || r.start < f.old.blocks {
			if err := f.zeroRun(r); err != nil {
				return err
			}
		}
	}
	for i := range n {
		d := &f.groups[g+i].desc
		d.BlockBitmap, d.InodeBitmap, d.InodeTable = places[i].start, places[n+i].start, places[2*n+i].start
	}
	return nil
}

// dropGroups frees the bookkeeping of groups that go away where it lies in others.
func (f *fs) dropGroups() error {
	for g := f.new.groups; g < f.old.groups; g++ {
		d := &f.groups[g].desc
		for _, r := range []run{{d.BlockBitmap, 1}, {d.InodeBitmap, 1}, {d.InodeTable, f.tableLen()}} {
			if r.start < f.new.blocks {
				r.n = min(r.n, f.new.blocks-r.start)
				f.mark(r, false)
			}
		}
	}
	return nil
}

// moveMetadata moves bitmaps and inode tables of groups that stay.
func (f *fs) moveMetadata() error {
	for g := range min(f.old.groups, f.new.groups) {
		d := &f.groups[g].desc
		for _, at := range []*uint64{&d.BlockBitmap, &d.InodeBitmap} {
			if move, _ := f.mustMove(run{*at, 1}); move {
				// It is written from memory, at the end.
				f.blockBitmap(g)
				f.inodeBitmap(g)
				r, err := f.allocWhole(g, 1)
				if err != nil {
					return err
				}
				*at = r.start
			}
		}
		table := run{d.InodeTable, f.tableLen()}
		for r := table; r.n > 0; {
			move, n := f.mustMove(r)
			if !move {
				r = run{r.start + n, r.n - n}
				continue
			}
			to, err := f.allocWhole(g, table.n)
			if err != nil {
				return err
			}
			if err := f.copyRun(table.start, to.start, table.n); err != nil {
				return err
			}
			d.InodeTable = to.start
			f.release(table)
			break
		}
	}
	return nil
}

// release frees what was moved away, but for what is no longer to be used.
func (f *fs) release(r run) {
	for r.n > 0 {
		move, n := f.mustMove(r)
		if !move {
			f.mark(run{r.start, n}, false)
		}
		r = run{r.start + n, r.n - n}
	}
}
