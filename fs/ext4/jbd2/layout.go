package jbd2

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"

	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
)

// layout is a journal whose superblock has been read and checked: where its log is, and in
// what form.
type layout struct {
	Journal
	sb   disk.JournalSuper
	raw  []byte // the superblock's block
	seed uint32 // of the log's checksums
	last uint32 // behind the last block of the log
	own  []Run  // Runs in order of Home
}

// load reads and checks the superblock.
func (l *layout) load() error {
	var total uint64
	for _, run := range l.Runs {
		if uint64(run.First) != total || run.N == 0 {
			return errors.New("the journal's file has a hole")
		}
		total += uint64(run.N)
	}
	l.own = slices.Clone(l.Runs)
	slices.SortFunc(l.own, func(a, b Run) int { return cmp.Compare(a.Home, b.Home) })
	if total == 0 {
		return errors.New("the journal's file is empty")
	}
	l.raw = make([]byte, l.BlockSize)
	if err := l.readLog(0, l.raw); err != nil {
		return err
	}
	s := &l.sb
	s.Decode(l.raw)
	switch {
	case s.Header.Magic != disk.JournalMagic:
		return fmt.Errorf("superblock has magic number %#x", s.Header.Magic)
	case s.Header.Type != disk.JournalSuperV1 && s.Header.Type != disk.JournalSuperV2:
		return fmt.Errorf("superblock has type %d", s.Header.Type)
	case s.BlockSize != uint32(l.BlockSize):
		return fmt.Errorf("block size is %d, the file system's %d", s.BlockSize, l.BlockSize)
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
		if want := disk.JournalSuperChecksum(l.raw); s.StoredChecksum != want {
			return fmt.Errorf("superblock checksum is %#x, should be %#x", s.StoredChecksum, want)
		}
		l.seed = s.Seed()
	}
	l.last = s.MaxLen
	if s.FeatureIncompat&disk.JournalIncompatFastCommit != 0 {
		n := s.FastCommits
		if n == 0 {
			n = disk.JournalDefaultFC
		}
		if n < 2 || n >= s.MaxLen-s.First {
			return fmt.Errorf("%d blocks of fast commits in a journal of %d", n, s.MaxLen)
		}
		l.last -= n
	}
	if s.Start != 0 && (s.Start < s.First || s.Start >= l.last) {
		return fmt.Errorf("log starts at block %d, outside of %d to %d", s.Start, s.First, l.last)
	}
	return nil
}

// home returns where block n of the journal's file is.
func (l *layout) home(n uint32) (uint64, error) {
	i, found := slices.BinarySearchFunc(l.Runs, n, func(run Run, n uint32) int {
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
	return l.Runs[i].Home + uint64(n-l.Runs[i].First), nil
}

func (l *layout) readLog(n uint32, p []byte) error {
	home, err := l.home(n)
	if err != nil {
		return err
	}
	if err := l.Device.ReadAt(p, int64(home)*int64(l.BlockSize)); err != nil {
		return fmt.Errorf("log block %d: %w", n, err)
	}
	return nil
}

// next returns the block n blocks behind at, around the end of the log.
func (l *layout) next(at uint32, n uint64) uint32 {
	size := uint64(l.last - l.sb.First)
	return l.sb.First + uint32((uint64(at-l.sb.First)+n)%size)
}

// tags decodes a descriptor block.
func (l *layout) tags(block []byte) []disk.JournalTag {
	end := len(block)
	if l.sb.HasChecksum() {
		end -= disk.JournalTailSize
	}
	size := l.sb.TagSize()
	var tags []disk.JournalTag
	for at := disk.JournalHeaderSize; at+size <= end; {
		t := l.sb.DecodeTag(block[at:])
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

// superVec encodes the superblock, and returns the write that puts it in its place.
func (l *layout) superVec() (blockdev.Vec, error) {
	l.sb.Encode(l.raw)
	home, err := l.home(0)
	return blockdev.Vec{Off: int64(home) * int64(l.BlockSize), Data: l.raw}, err
}

// inJournal tells whether the journal itself is at block.
func (l *layout) inJournal(block uint64) bool {
	i := sort.Search(len(l.own), func(i int) bool { return l.own[i].Home+uint64(l.own[i].N) > block })
	return i < len(l.own) && l.own[i].Home <= block
}
