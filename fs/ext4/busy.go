package ext4

// Busy blocks are free on the device and yet nobody's to take: freed by a transaction that is not
// committed, claimed for content that is being written, or kept for a file that grows.

// maxBusyMaps is how many groups keep the map of their busy blocks when none is busy any more.
const maxBusyMaps = 64

// makeBusy keeps n free blocks of g, which are no free space, from being allocated. The caller holds g.mu.
func (fs *FS) makeBusy(g *group, off, n uint32) {
	if g.busy == nil {
		g.busy = make([]uint64, fs.bs/8)
		fs.busyMaps.Add(1)
	}
	eachWord(off, n, func(w int, mask uint64) { g.busy[w] |= mask })
	g.nBusy += n
	fs.busyBlocks.Add(int64(n))
	fs.lostSpace(g)
}

// unbusy makes busy blocks of g free space. The caller holds g.mu.
func (fs *FS) unbusy(g *group, off, n uint32) {
	fs.clearBusy(g, off, n)
	fs.gotSpace(g, off, n)
	fs.giveSpace(int64(n))
}

// clearBusy takes the mark of blocks of g away that are free, or will be used now. The caller
// holds g.mu.
func (fs *FS) clearBusy(g *group, off, n uint32) {
	eachWord(off, n, func(w int, mask uint64) { g.busy[w] &^= mask })
	g.nBusy -= n
	fs.busyBlocks.Add(-int64(n))
	if g.nBusy == 0 && fs.busyMaps.Load() > maxBusyMaps {
		g.busy = nil
		fs.busyMaps.Add(-1)
	}
}
