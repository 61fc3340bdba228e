// Package jbd2 replays the journal of an ext4 file system that was not unmounted.
//
// The journal is hostile like the rest of the image: every number in it is checked, no
// walk is longer than the journal, and memory is bounded by its length.
package jbd2

import (
	"cmp"
	"errors"
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
	Journal
	sb    disk.JournalSuper
	raw   []byte // the superblock's block
	seed  uint32
	last  uint32 // behind the last block of the log
	own   []Run  // Runs in order of Home
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
	r := &replayer{Journal: j}
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

// load reads and checks the superblock.
func (r *replayer) load() error {
	var total uint64
	for _, run := range r.Runs {
		if uint64(run.First) != total || run.N == 0 {
			return errors.New("the journal's file has a hole")
		}
		total += uint64(run.N)
	}
	r.own = slices.Clone(r.Runs)
	slices.SortFunc(r.own, func(a, b Run) int { return cmp.Compare(a.Home, b.Home) })
	if total == 0 {
		return errors.New("the journal's file is empty")
	}
	r.raw = make([]byte, r.BlockSize)
	if err := r.readLog(0, r.raw); err != nil {
		return err
	}
	s := &r.sb
	s.Decode(r.raw)
	switch {
	case s.Header.Magic != disk.JournalMagic:
		return fmt.Errorf("superblock has magic number %#x", s.Header.Magic)
	case s.Header.Type != disk.JournalSuperV1 && s.Header.Type != disk.JournalSuperV2:
		return fmt.Errorf("superblock has type %d", s.Header.Type)
	case s.BlockSize != uint32(r.BlockSize):
		return fmt.Errorf("block size is %d, the file system's %d", s.BlockSize, r.BlockSize)
	case uint64(s.MaxLen) > total || s.First < 1 || s.First >= s.MaxLen:
		return fmt.Errorf("log from block %d to %d in a file of %d blocks", s.First, s.MaxLen, total)
	case s.FeatureIncompat&^knownIncompat != 0:
		return fmt.Errorf("features %#x are not known", s.FeatureIncompat&^knownIncompat)
	case s.FeatureIncompat&disk.JournalIncompatCsumV2 != 0 && s.FeatureIncompat&disk.JournalIncompatCsumV3 != 0:
		return errors.New("checksums of version 2 and 3 at the same time")
	}
	if s.HasChecksum() {
		if s.ChecksumType != disk.JournalChecksumCRC32C {
			return fmt.Errorf("checksum type %d is not known", s.ChecksumType)
		}
		if want := disk.JournalSuperChecksum(r.raw); s.StoredChecksum != want {
			return fmt.Errorf("superblock checksum is %#x, should be %#x", s.StoredChecksum, want)
		}
		r.seed = s.Seed()
	}
	r.last = s.MaxLen
	if s.FeatureIncompat&disk.JournalIncompatFastCommit != 0 {
		n := s.FastCommits
		if n == 0 {
			n = disk.JournalDefaultFC
		}
		if n >= s.MaxLen-s.First {
			return fmt.Errorf("%d blocks of fast commits in a journal of %d", n, s.MaxLen)
		}
		r.last -= n
	}
	if s.Start != 0 && (s.Start < s.First || s.Start >= r.last) {
		return fmt.Errorf("log starts at block %d, outside of %d to %d", s.Start, s.First, r.last)
	}
	return nil
}

// home returns where block n of the journal's file is.
func (r *replayer) home(n uint32) (uint64, error) {
	i, found := slices.BinarySearchFunc(r.Runs, n, func(run Run, n uint32) int {
		switch {
		case uint64(run.First)+uint64(run.N) <= uint64(n):
			return -1
		case run.First > n:
			return 1
		}
		return 0
	})
	if !found {
		return 0, fmt.Errorf("log block %d is behind the end", n)
	}
	return r.Runs[i].Home + uint64(n-r.Runs[i].First), nil
}

func (r *replayer) readLog(n uint32, p []byte) error {
	home, err := r.home(n)
	if err != nil {
		return err
	}
	if err := r.Device.ReadAt(p, int64(home)*int64(r.BlockSize)); err != nil {
		return fmt.Errorf("log block %d: %w", n, err)
	}
	return nil
}

// next returns the block n blocks behind at, around the end of the log.
func (r *replayer) next(at uint32, n uint64) uint32 {
	size := uint64(r.last - r.sb.First)
	return r.sb.First + uint32((uint64(at-r.sb.First)+n)%size)
}

// tags decodes a descriptor block.
func (r *replayer) tags(block []byte) []disk.JournalTag {
	end := len(block)
	if r.sb.HasChecksum() {
		end -= disk.JournalTailSize
	}
	size := r.sb.TagSize()
	var tags []disk.JournalTag
	for at := disk.JournalHeaderSize; at+size <= end; {
		t := r.sb.DecodeTag(block[at:])
		tags = append(tags, t)
		at += size
		if t.Flags&disk.JournalTagSameUUID == 0 {
			at += 16
		}
		if t.Flags&disk.JournalTagLast != 0 {
			break
		}
	}
	return tags
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
	r.sb.Encode(r.raw)
	home, err := r.home(0)
	if err != nil {
		return err
	}
	if err := r.Device.WriteV([]blockdev.Vec{{Off: int64(home) * int64(r.BlockSize), Data: r.raw}}); err != nil {
		return err
	}
	return r.Device.Flush()
}
