package jbd2

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
)

// Memory provides blocks for what is written. Free gives back what Block has returned. Both
// may be called concurrently.
type Memory interface {
	Block() []byte // of the journal's block size, with arbitrary content
	Free([]byte)
}

// Format says what a log is to look like where the journal does not say so already.
type Format struct {
	Wide     bool // block numbers of 64 bits
	Checksum bool // checksums of version 3, unless the journal has those of version 2
}

// Log is a journal open for writing. It takes whole transactions, remembers where the newest
// copy of each block lies in it, and brings those home to make room for more.
//
// The log itself is what checkpoints copy from: nothing of a committed transaction needs to
// stay in memory but its block numbers. Until a block has come home, it must be read through
// ReadBlock.
//
// All methods may be called concurrently. Locks in order: commitMu, checkpointMu, mu.
type Log struct {
	layout // sb and raw are guarded by checkpointMu
	mem    Memory

	commitMu sync.Mutex // one commit at a time
	seq      uint32     // of the next transaction
	head     uint32     // log block where it goes
	begun    bool       // the superblock on stable storage says that there is a log

	checkpointMu sync.Mutex // one checkpoint at a time; the tail moves only under it

	mu       sync.RWMutex
	copies   map[uint64]logCopy  // newest copy of each block that is not yet home
	live     []logged            // transactions from the tail on
	inFlight map[uint64]struct{} // blocks that a checkpoint is writing at the moment
	settled  sync.Cond           // inFlight is empty

	used atomic.Int64 // log blocks of live transactions
}

// logCopy is a copy in the log, and the transaction that it belongs to.
type logCopy struct {
	copyAt
	seq uint32
}

// logged is a transaction in the log.
type logged struct {
	seq    uint32
	start  uint32 // its first block
	n      uint32 // blocks in the log
	blocks []uint64
}

// MinBlocks is the length of the shortest log that can be written, without the journal's
// superblock and fast-commit area. mke2fs makes no journal shorter than 1024 blocks.
const MinBlocks = 256

// Open makes an empty journal ready for transactions; one that is not empty has to be
// replayed first. It writes nothing: the superblock goes with the first transaction.
//
// A fast-commit area is left alone, and the feature set, for the next driver that wants it.
func (j Journal) Open(f Format, mem Memory) (*Log, error) {
	l := &Log{layout: layout{Journal: j}, mem: mem, copies: make(map[uint64]logCopy)}
	l.settled.L = &l.mu
	if err := l.load(); err != nil {
		return nil, err
	}
	s := &l.sb
	if s.Start != 0 {
		return nil, errors.New("the journal has a log, but the file system does not need recovery: run e2fsck")
	}
	if n := l.last - s.First; n < MinBlocks {
		return nil, fmt.Errorf("the log has %d blocks, fewer than %d", n, MinBlocks)
	}
	if s.Header.Type == disk.JournalSuperV1 {
		// Version 1 has no features; what lies behind its fields is not defined.
		clear(l.raw[0x24:disk.JournalSuperSize])
		s.Header.Type = disk.JournalSuperV2
		s.Users = 1
	}
	s.FeatureCompat &^= disk.JournalCompatChecksum
	s.FeatureIncompat &^= disk.JournalIncompatAsyncCommit
	s.FeatureIncompat |= disk.JournalIncompatRevoke
	if f.Wide {
		s.FeatureIncompat |= disk.JournalIncompat64Bit
	}
	if f.Checksum && !s.HasChecksum() {
		s.FeatureIncompat |= disk.JournalIncompatCsumV3
	}
	if s.HasChecksum() {
		s.ChecksumType = disk.JournalChecksumCRC32C
		l.seed = s.Seed()
	}
	// The number of a transaction that a crash cut short must not come again: its remains
	// would continue the new one.
	l.seq = s.Sequence + 1
	l.head = s.First
	s.Sequence = l.seq
	return l, nil
}

// writeSuper puts the superblock on stable storage, and everything written before it first.
func (l *Log) writeSuper() error {
	vec, err := l.superVec()
	if err != nil {
		return err
	}
	return blockdev.Commit(l.Device, nil, vec)
}

// Capacity returns the number of log blocks that transactions can have together.
func (l *Log) Capacity() int {
	// A log without one free block would end where it starts.
	return int(l.last-l.sb.First) - 1
}

// Free returns the number of log blocks that are not in use.
func (l *Log) Free() int { return l.Capacity() - int(l.used.Load()) }

// Need returns the log blocks that a transaction takes.
func (l *Log) Need(blocks, revoked int) int {
	return blocks + ceil(blocks, l.tagsPerBlock()) + ceil(revoked, l.revokesPerBlock()) + 1
}

func ceil(n, per int) int { return (n + per - 1) / per }

// ReadBlock fills p with the newest copy of block nr, if the log has one that is not yet
// home; else it returns false, and the block's home has its content.
func (l *Log) ReadBlock(nr uint64, p []byte) (bool, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	c, ok := l.copies[nr]
	if !ok {
		return false, nil
	}
	return true, c.read(l.Device, p)
}

// Has tells whether the log has a copy of block nr that is not yet home.
func (l *Log) Has(nr uint64) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	_, ok := l.copies[nr]
	return ok
}

// Close brings everything home and marks the journal empty.
func (l *Log) Close() error {
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	l.checkpointMu.Lock()
	defer l.checkpointMu.Unlock()
	if l.sb.Start == 0 {
		return nil
	}
	count, err := l.bringHome(l.Capacity())
	if err != nil {
		return err
	}
	return l.moveTail(count, 0, l.seq)
}

// LastError returns the error (a Linux error number, positive) that the superblock tells of, 0
// for none.
func (l *Log) LastError() uint32 {
	l.checkpointMu.Lock()
	defer l.checkpointMu.Unlock()
	return -l.sb.Errno
}

// ClearError has the superblock forget LastError. What was written before, say the same in
// another place, is on stable storage first.
func (l *Log) ClearError() error {
	l.checkpointMu.Lock()
	defer l.checkpointMu.Unlock()
	l.sb.Errno = 0
	return l.writeSuper()
}

// Abort records in the superblock that the journal's user has met an error (a Linux error
// number, positive), for who mounts next. The log stays as it is.
func (l *Log) Abort(errno uint32) error {
	l.checkpointMu.Lock()
	defer l.checkpointMu.Unlock()
	l.sb.Errno = -errno // negative on disk, as Linux has it
	vec, err := l.superVec()
	if err != nil {
		return err
	}
	// No flush before: the superblock says nothing new of the log.
	if err := l.Device.WriteV([]blockdev.Vec{vec}); err != nil {
		return err
	}
	return l.Device.Flush()
}
