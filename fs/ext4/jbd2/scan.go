package jbd2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"pinhole/fs/ext4/disk"
)

// visitor gets the blocks of the log that are not copies of data, in order.
type visitor struct {
	// descriptor gets the tags and the log block that the first copy is in.
	descriptor func(seq uint32, block []byte, tags []disk.JournalTag, first uint32) error
	revoke     func(seq uint32, block []byte) error
	// commit tells whether the transaction is complete.
	commit func(seq uint32, block []byte) bool
}

// walk goes over the log until something does not belong to it any more: a block of
// another kind or sequence, or with a wrong checksum. It returns the sequence number that
// was expected there. limit ends the walk before the transaction of that number.
func (r *replayer) walk(v visitor, limit *uint32) (uint32, error) {
	seq := r.sb.Sequence
	at := r.sb.Start
	size := uint64(r.last - r.sb.First)
	block := make([]byte, r.BlockSize)
	// One lap is all that a log can hold.
	for used := uint64(0); used < size; {
		if limit != nil && seq == *limit {
			break
		}
		if err := r.readLog(at, block); err != nil {
			return seq, err
		}
		var h disk.JournalHeader
		h.Decode(block)
		if h.Magic != disk.JournalMagic || h.Sequence != seq {
			break
		}
		if (h.Type == disk.JournalDescriptor || h.Type == disk.JournalRevoke) && !r.tailOK(block) {
			break
		}
		n := uint64(1)
		switch h.Type {
		case disk.JournalDescriptor:
			tags := r.tags(block)
			n += uint64(len(tags))
			if used+n > size {
				return seq, nil
			}
			if err := v.descriptor(seq, block, tags, r.next(at, 1)); err != nil {
				return seq, err
			}
		case disk.JournalRevoke:
			if err := v.revoke(seq, block); err != nil {
				return seq, err
			}
		case disk.JournalCommit:
			if !v.commit(seq, block) {
				return seq, nil
			}
			seq++
		default:
			return seq, nil
		}
		used += n
		at = r.next(at, n)
	}
	return seq, nil
}

func (r *replayer) tailOK(block []byte) bool {
	return !r.sb.HasChecksum() || disk.StoredJournalTail(block) == disk.JournalTailChecksum(r.seed, block)
}

// scan finds the end of the log, and checks on the way what would make replay fail later.
func (r *replayer) scan() error {
	old := r.sb.FeatureCompat&disk.JournalCompatChecksum != 0 && !r.sb.HasChecksum()
	sum := ^uint32(0) // of the older kind, over the transaction so far
	data := make([]byte, r.BlockSize)
	end, err := r.walk(visitor{
		descriptor: func(seq uint32, block []byte, tags []disk.JournalTag, first uint32) error {
			if !old {
				return nil
			}
			sum = crc32be(sum, block)
			for i := range tags {
				if err := r.readLog(r.next(first, uint64(i)), data); err != nil {
					return err
				}
				sum = crc32be(sum, data)
			}
			return nil
		},
		revoke: func(uint32, []byte) error { return nil },
		commit: func(seq uint32, block []byte) bool {
			var c disk.JournalCommitBlock
			c.Decode(block)
			if r.sb.HasChecksum() && !disk.JournalCommitOK(r.seed, block) {
				return false
			}
			if old && (c.ChecksumType != 0 || c.ChecksumSize != 0 || c.Checksum != 0) {
				if c.ChecksumType != disk.JournalChecksumCRC32 || c.ChecksumSize != 4 || c.Checksum != sum {
					return false
				}
			}
			sum = ^uint32(0)
			return true
		},
	}, nil)
	if err != nil {
		return err
	}
	r.end = end
	return r.refuseFastCommits()
}

// refuseFastCommits fails if fast commits follow the last transaction: they are logical
// records that this replay does not know.
func (r *replayer) refuseFastCommits() error {
	if r.last == r.sb.MaxLen {
		return nil
	}
	// Linux leaves the area's first block out.
	block := make([]byte, r.BlockSize)
	if err := r.readLog(r.last+1, block); err != nil {
		return err
	}
	const tagHead = 9
	if binary.LittleEndian.Uint16(block) == tagHead && binary.LittleEndian.Uint32(block[8:]) == r.end {
		return errors.New("the journal has fast commits, which are not supported: run e2fsck, which brings them home")
	}
	return nil
}

// collect finds the newest copy of every block, leaving out those that were revoked.
func (r *replayer) collect() error {
	r.revoked = make(map[uint64]uint32)
	r.copies = make(map[uint64]copyAt)
	noDescriptor := func(uint32, []byte, []disk.JournalTag, uint32) error { return nil }
	noRevoke := func(uint32, []byte) error { return nil }
	anyCommit := func(uint32, []byte) bool { return true }
	if _, err := r.walk(visitor{noDescriptor, r.noteRevoked, anyCommit}, &r.end); err != nil {
		return err
	}
	_, err := r.walk(visitor{r.noteCopies, noRevoke, anyCommit}, &r.end)
	return err
}

// noteRevoked reads a revoke block.
func (r *replayer) noteRevoked(seq uint32, block []byte) error {
	size := r.sb.RevokeSize()
	room := len(block)
	if r.sb.HasChecksum() {
		room -= disk.JournalTailSize
	}
	used := int64(disk.JournalRevokeCount(block))
	if used < disk.JournalRevokeHeader || used > int64(room) {
		return fmt.Errorf("revoke block of transaction %d says it has %d bytes", seq, used)
	}
	for i := range (int(used) - disk.JournalRevokeHeader) / size {
		b := disk.JournalRevoked(block, i, size)
		if old, ok := r.revoked[b]; !ok || int32(seq-old) > 0 {
			r.revoked[b] = seq
		}
	}
	if len(r.revoked) > maxRevoked {
		return fmt.Errorf("more than %d blocks are revoked", maxRevoked)
	}
	return nil
}

// noteCopies reads a descriptor block.
func (r *replayer) noteCopies(seq uint32, _ []byte, tags []disk.JournalTag, first uint32) error {
	var data []byte
	for i, t := range tags {
		if rev, ok := r.revoked[t.Block]; ok && int32(rev-seq) >= 0 {
			r.stats.Revoked++
			continue
		}
		if t.Block >= r.Blocks || r.inJournal(t.Block) {
			return fmt.Errorf("transaction %d has a copy of block %d, which it must not change", seq, t.Block)
		}
		home, err := r.home(r.next(first, uint64(i)))
		if err != nil {
			return err
		}
		if r.sb.HasChecksum() {
			if data == nil {
				data = make([]byte, r.BlockSize)
			}
			if err := r.Device.ReadAt(data, int64(home)*int64(r.BlockSize)); err != nil {
				return err
			}
			sum := disk.JournalDataChecksum(r.seed, seq, data)
			want := t.Checksum
			if r.sb.FeatureIncompat&disk.JournalIncompatCsumV2 != 0 {
				sum &= 0xffff
			}
			if sum != want {
				return fmt.Errorf("copy of block %d in transaction %d has checksum %#x, should have %#x", t.Block, seq, sum, want)
			}
		}
		r.copies[t.Block] = copyAt{home: home, escaped: t.Flags&disk.JournalTagEscape != 0}
	}
	return nil
}

var crc32beTable = sync.OnceValue(func() *[256]uint32 {
	var t [256]uint32
	for i := range t {
		c := uint32(i) << 24
		for range 8 {
			if c&(1<<31) != 0 {
				c = c<<1 ^ 0x04c11db7
			} else {
				c <<= 1
			}
		}
		t[i] = c
	}
	return &t
})

// crc32be continues the CRC-32 with the highest bit first, which old journals use.
func crc32be(c uint32, p []byte) uint32 {
	t := crc32beTable()
	for _, b := range p {
		c = c<<8 ^ t[byte(c>>24)^b]
	}
	return c
}
