// Package jbd2 is the journal of an ext4 file system: it writes transactions to it, brings them
// home, and after a crash replays those that are complete. The format is that of Linux's jbd2
// (kernel documentation, "Journal (jbd2)" of ext4's data structures).
//
// journal.go has what both sides share, log.go and layout.go write, commit.go makes a transaction
// durable, checkpoint.go brings blocks home and makes room, scan.go reads a log that somebody
// left behind, overlay.go shows its result without writing.
//
// The journal is hostile like the rest of the image: every number in it is checked, no walk is
// longer than the journal, and memory is bounded by its length.
package jbd2

import (
	"fmt"
	"slices"

	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
)

// Run is a stretch of the journal's blocks that lie together on the device.
type Run struct {
	First uint32 // of the journal
	N     uint32
	Home  uint64 // block of the device
}

// Journal says where a journal is and what it may change.
type Journal struct {
	Device    blockdev.Device
	BlockSize int
	Runs      []Run  // in order, without holes
	Blocks    uint64 // of the file system; a larger number in the journal is an error
}

// Stats says what a replay did.
type Stats struct {
	Transactions int
	Blocks       int    // brought home
	Revoked      int    // copies left alone because a later transaction freed the block
	Errno        uint32 // that the journal's last user left behind, 0 for none
}

// Features of a journal that replay understands. Fast commits are refused if there are any.
const knownIncompat = disk.JournalIncompatRevoke | disk.JournalIncompat64Bit |
	disk.JournalIncompatAsyncCommit | disk.JournalIncompatCsumV2 |
	disk.JournalIncompatCsumV3 | disk.JournalIncompatFastCommit

// maxRevoked bounds the memory of revoke records, of which a journal may claim hundreds of
// millions; Linux never writes so many.
const maxRevoked = 1 << 22

// replayer is the state of one replay.
type replayer struct {
	layout
	stats Stats

	end     uint32            // first sequence number that is not complete
	revoked map[uint64]uint32 // block: sequence of the last transaction that revoked it
	copies  map[uint64]copyAt // block: its newest copy in the log
}

// copyAt says where a block's copy is.
type copyAt struct {
	home    uint64 // block of the device
	escaped bool   // the first word is the magic number, zero in the log
}

// Replay brings home what complete transactions have in the journal, and marks it empty.
// With keep, it writes nothing, and returns a read-only device that shows the result;
// else it returns the journal's own device.
func (j Journal) Replay(keep bool) (blockdev.Device, Stats, error) {
	r := &replayer{layout: layout{Journal: j}}
	if err := r.load(); err != nil {
		return nil, Stats{}, err
	}
	r.stats.Errno = r.sb.Errno
	if r.sb.Start == 0 {
		return j.Device, r.stats, nil
	}
	if err := r.scan(); err != nil {
		return nil, Stats{}, err
	}
	if err := r.collect(); err != nil {
		return nil, Stats{}, err
	}
	r.stats.Transactions = int(r.end - r.sb.Sequence)
	r.stats.Blocks = len(r.copies)
	if keep {
		return &overlay{Device: j.Device, bs: j.BlockSize, copies: r.copies}, r.stats, nil
	}
	if err := r.bringHome(); err != nil {
		return nil, Stats{}, err
	}
	return j.Device, r.stats, r.markEmpty()
}

// bringHome writes the newest copies, in order of their place.
func (r *replayer) bringHome() error {
	blocks := make([]uint64, 0, len(r.copies))
	for b := range r.copies {
		blocks = append(blocks, b)
	}
	slices.Sort(blocks)
	const batch = 64
	mem := make([]byte, batch*r.BlockSize)
	for len(blocks) > 0 {
		part := blocks[:min(batch, len(blocks))]
		blocks = blocks[len(part):]
		var vecs []blockdev.Vec
		for i, b := range part {
			p := mem[i*r.BlockSize:][:r.BlockSize]
			if err := r.copies[b].read(r.Device, p); err != nil {
				return fmt.Errorf("copy of block %d: %w", b, err)
			}
			vecs = append(vecs, blockdev.Vec{Off: int64(b) * int64(r.BlockSize), Data: p})
		}
		if err := r.Device.WriteV(vecs); err != nil {
			return err
		}
	}
	return r.Device.Flush()
}

// read fills p with the copy's block.
func (c copyAt) read(dev blockdev.Device, p []byte) error {
	if err := dev.ReadAt(p, int64(c.home)*int64(len(p))); err != nil {
		return err
	}
	if c.escaped {
		p[0], p[1], p[2], p[3] = disk.JournalMagic>>24, disk.JournalMagic>>16&0xff, disk.JournalMagic>>8&0xff, disk.JournalMagic&0xff
	}
	return nil
}

// markEmpty writes a superblock without a log.
func (r *replayer) markEmpty() error {
	r.sb.Start = 0
	r.sb.Sequence = r.end + 1
	vec, err := r.superVec()
	if err != nil {
		return err
	}
	return blockdev.Commit(r.Device, nil, vec)
}
