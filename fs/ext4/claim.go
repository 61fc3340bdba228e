package ext4

import "pinhole/abi"

// Content is written before the transaction that maps it begins. Its blocks are claimed for that:
// kept from being used by anybody else, as those are that wait for a commit, but free on disk, so
// that a crash leaves no trace of them.

// claim keeps up to k blocks in a row for the file's blocks from block on, which are delayed, and
// returns the first and how many. goal is where the block before lies, if the caller knows, or 0.
func (n *inode) claim(block, k uint32, goal uint64) (uint64, uint32, error) {
	fs := n.fs
	if goal == 0 {
		goal = n.goal(block)
	}
	start, got := fs.windows.claim(n, goal, k)
	if got > 0 {
		fs.giveSpace(int64(got)) // they had been taken when the window was opened
	} else {
		var err error
		for try := 0; ; try++ {
			start, got, err = fs.claimRun(goal, k)
			if err != abi.ENOSPC || try > 0 {
				break
			}
			// The blocks are there, but groups change while they are searched.
			fs.windows.closeAll(fs)
		}
		if err != nil {
			return 0, 0, err
		}
		if n.grows(block) {
			fs.windows.open(fs, n, start+uint64(got), min(max(block, got, minWindow), maxWindow))
		}
	}
	n.space.claimed += int64(got)
	n.space.delayed -= int64(got)
	n.eachSlot(int64(block), int64(block)+int64(got), func(s *pageSlot, mask uint8) {
		s.delayed &^= mask
		s.claimed |= mask
	})
	return start, got, nil
}

// grows tells whether block lies behind everything that the file has on the device.
func (n *inode) grows(block uint32) bool {
	if !n.isRegular() || n.runs.big || !n.runsReady.Load() {
		return false
	}
	l := n.runs.list
	return len(l) > 0 && uint64(block) >= l[len(l)-1].end()
}

// unclaim gives claimed blocks back, after their content could not be written; it goes on being
// delayed.
func (n *inode) unclaim(r run) {
	fs := n.fs
	n.space.claimed -= int64(r.n)
	n.space.delayed += int64(r.n)
	n.eachSlot(int64(r.block), int64(r.end()), func(s *pageSlot, mask uint8) {
		s.claimed &^= mask
		s.delayed |= mask
	})
	fs.dropClaim(r.home, r.n)
}

// eachSlot calls f for the slots of the pages in memory that have some of the file's blocks [from, to),
// with a mask of those.
func (n *inode) eachSlot(from, to int64, f func(s *pageSlot, mask uint8)) {
	log := chunkShift + pageShift - n.fs.bsLog
	for from < to {
		end := min((from>>log+1)<<log, to)
		if c := n.pages.chunk(from >> log); c != nil {
			c.eachPage(from, end, f)
		}
		from = end
	}
}

// unuseClaim undoes useClaim in the same handle.
func (fs *FS) unuseClaim(h handle, start uint64, k uint32) error {
	if err := fs.unallocRun(h, start, k); err != nil {
		return err
	}
	nr, off := fs.groupOf(start)
	g := &fs.groups[nr]
	g.mu.Lock()
	fs.makeBusy(g, off, k)
	g.mu.Unlock()
	return nil
}
