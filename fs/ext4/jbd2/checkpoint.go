package jbd2

import (
	"fmt"
	"slices"

	"pinhole/blockdev"
)

// batchBlocks is how many blocks a checkpoint writes at a time.
const batchBlocks = 256

// Checkpoint brings transactions home, oldest first, until want log blocks are free or none
// is live. Commits go on meanwhile. If it fails, what is live stays so, and it may be tried
// again.
//
// The tail moves only when what it passes is on stable storage at home, and log blocks are
// used again only when the superblock with the new tail is.
func (l *Log) Checkpoint(want int) error {
	l.checkpointMu.Lock()
	defer l.checkpointMu.Unlock()
	count, err := l.bringHome(want)
	if count == 0 || err != nil {
		return err
	}
	l.mu.RLock()
	last := l.live[count-1]
	l.mu.RUnlock()
	return l.moveTail(count, l.next(last.start, uint64(last.n)), last.seq+1)
}

// bringHome writes home what has to come home for want log blocks to be free, and returns how
// many of the live transactions that are. Called with checkpointMu.
func (l *Log) bringHome(want int) (int, error) {
	count, blocks := l.oldest(want)
	slices.Sort(blocks)
	blocks = slices.Compact(blocks)
	mem := make([][]byte, 0, min(len(blocks), batchBlocks))
	defer func() {
		for _, p := range mem {
			l.mem.Free(p)
		}
	}()
	for range cap(mem) {
		mem = append(mem, l.mem.Block())
	}
	for len(blocks) > 0 {
		part := blocks[:min(batchBlocks, len(blocks))]
		blocks = blocks[len(part):]
		if err := l.writeHome(part, mem); err != nil {
			return 0, fmt.Errorf("checkpoint: %w", err)
		}
	}
	return count, nil
}

// oldest returns how many of the live transactions have to come home for want log blocks to
// be free, and the blocks of which these have the newest copies.
func (l *Log) oldest(want int) (count int, blocks []uint64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for free := l.Free(); count < len(l.live) && free < want; count++ {
		tx := &l.live[count]
		free += int(tx.n)
		for _, nr := range tx.blocks {
			if c, ok := l.copies[nr]; ok && c.seq == tx.seq {
				blocks = append(blocks, nr)
			}
		}
	}
	return count, blocks
}

// writeHome writes the newest copies of blocks home, those that still have one.
func (l *Log) writeHome(blocks []uint64, mem [][]byte) error {
	from := make([]copyAt, 0, len(blocks))
	vecs := make([]blockdev.Vec, 0, len(blocks))
	l.mu.Lock()
	l.inFlight = make(map[uint64]struct{}, len(blocks))
	for _, nr := range blocks {
		if c, ok := l.copies[nr]; ok {
			vecs = append(vecs, blockdev.Vec{Off: int64(nr) * int64(l.BlockSize), Data: mem[len(from)]})
			from = append(from, c.copyAt)
			l.inFlight[nr] = struct{}{}
		}
	}
	l.mu.Unlock()
	err := l.copyHome(vecs, from)
	l.mu.Lock()
	l.inFlight = nil
	l.settled.Broadcast()
	l.mu.Unlock()
	return err
}

func (l *Log) copyHome(vecs []blockdev.Vec, from []copyAt) error {
	for i, c := range from {
		if err := c.read(l.Device, vecs[i].Data); err != nil {
			return err
		}
	}
	if len(vecs) == 0 {
		return nil
	}
	return l.Device.WriteV(vecs)
}

// moveTail lets the log begin at block start with transaction seq, behind its first count
// transactions, whose blocks have been written home; or if start is 0, be empty.
func (l *Log) moveTail(count int, start, seq uint32) error {
	oldStart, oldSeq := l.sb.Start, l.sb.Sequence
	l.sb.Start, l.sb.Sequence = start, seq
	if err := l.writeSuper(); err != nil {
		// Whichever the device has now, the log is whole from there on.
		l.sb.Start, l.sb.Sequence = oldStart, oldSeq
		return fmt.Errorf("checkpoint: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	gone := l.live[:count]
	for i := range gone {
		for _, nr := range gone[i].blocks {
			if c, ok := l.copies[nr]; ok && c.seq == gone[i].seq {
				delete(l.copies, nr)
			}
		}
		l.used.Add(-int64(gone[i].n))
	}
	l.live = slices.Delete(l.live, 0, count)
	return nil
}
