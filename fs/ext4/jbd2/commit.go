package jbd2

import (
	"encoding/binary"
	"fmt"

	"pinhole/blockdev"
	"pinhole/fs/ext4/disk"
)

// Block is the new content of a block of the file system.
type Block struct {
	Nr   uint64
	Data []byte // of the block size; a commit may change its first four bytes

	escaped bool // which it has done
}

// Transaction is what a commit makes stable as a whole.
type Transaction struct {
	Blocks  []Block  // each number once
	Revoked []uint64 // freed: older copies must not be replayed. None is in Blocks
	Sec     uint64   // when, for who looks at the journal
	Nsec    uint32
}

// Commit writes t to the log. When it returns without an error, t, and everything that was
// written to the device before, is on stable storage; on an error it may or may not be. A
// commit that failed for want of space may be tried again with the same t.
//
// The caller has made sure that there is room: Need of t is no more than Free.
func (l *Log) Commit(t *Transaction) error {
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	need := l.Need(len(t.Blocks), len(t.Revoked))
	if need > l.Free() {
		return fmt.Errorf("transaction %d needs %d blocks of the log, %d are free", l.seq, need, l.Free())
	}
	w := txWriter{l: l, at: l.head}
	defer w.release()
	if err := w.write(t); err != nil {
		return err
	}
	if !l.begun {
		if err := w.beginLog(); err != nil {
			return err
		}
	}
	if err := blockdev.Commit(l.Device, w.vecs, w.record); err != nil {
		return fmt.Errorf("transaction %d: %w", l.seq, err)
	}
	tx := logged{seq: l.seq, start: l.head, n: uint32(need), blocks: make([]uint64, len(t.Blocks))}
	l.mu.Lock()
	for i, b := range t.Blocks {
		tx.blocks[i] = b.Nr
		l.copies[b.Nr] = logCopy{w.copies[i], l.seq}
	}
	l.live = append(l.live, tx)
	l.used.Add(int64(need))
	l.drop(t.Revoked)
	l.mu.Unlock()
	l.seq++
	l.head = w.at
	l.begun = true
	return nil
}

// drop forgets the copies of blocks that are free now, so that no checkpoint writes over who
// gets them next. Called with mu, which it lets go of to wait for a checkpoint that is at one
// of them.
func (l *Log) drop(blocks []uint64) {
	for _, nr := range blocks {
		delete(l.copies, nr)
	}
	for l.writes(blocks) {
		l.settled.Wait()
	}
}

// writes tells whether a checkpoint is writing one of the blocks. Called with mu.
func (l *Log) writes(blocks []uint64) bool {
	if len(l.inFlight) == 0 {
		return false
	}
	for _, nr := range blocks {
		if _, ok := l.inFlight[nr]; ok {
			return true
		}
	}
	return false
}

// txWriter lays a transaction out in the log.
type txWriter struct {
	l      *Log
	at     uint32 // next block of the log
	own    [][]byte
	vecs   []blockdev.Vec
	record blockdev.Vec // the commit block
	copies []copyAt     // of the transaction's blocks
}

// release gives the writer's memory back.
func (w *txWriter) release() {
	for _, p := range w.own {
		w.l.mem.Free(p)
	}
}

// block returns a zeroed block with a header.
func (w *txWriter) block(kind uint32) []byte {
	p := w.l.mem.Block()
	w.own = append(w.own, p)
	clear(p)
	h := disk.JournalHeader{Magic: disk.JournalMagic, Type: kind, Sequence: w.l.seq}
	h.Encode(p)
	return p
}

// next gives p the next block of the log, and returns where that is on the device.
func (w *txWriter) next(p []byte) (blockdev.Vec, error) {
	home, err := w.l.home(w.at)
	w.at = w.l.next(w.at, 1)
	return blockdev.Vec{Off: int64(home) * int64(w.l.BlockSize), Data: p}, err
}

func (w *txWriter) put(p []byte) error {
	v, err := w.next(p)
	w.vecs = append(w.vecs, v)
	return err
}

// beginLog adds a superblock that says that the log begins with this transaction.
func (w *txWriter) beginLog() error {
	l := w.l
	l.checkpointMu.Lock()
	defer l.checkpointMu.Unlock()
	l.sb.Start, l.sb.Sequence = l.head, l.seq
	v, err := l.superVec()
	w.vecs = append(w.vecs, v)
	return err
}

func (w *txWriter) write(t *Transaction) error {
	l := w.l
	w.vecs = make([]blockdev.Vec, 0, l.Need(len(t.Blocks), len(t.Revoked)))
	w.copies = make([]copyAt, 0, len(t.Blocks))
	for rest, per := t.Revoked, l.revokesPerBlock(); len(rest) > 0; {
		part := rest[:min(per, len(rest))]
		rest = rest[len(part):]
		if err := w.revoke(part); err != nil {
			return err
		}
	}
	for rest, per := t.Blocks, l.tagsPerBlock(); len(rest) > 0; {
		part := rest[:min(per, len(rest))]
		rest = rest[len(part):]
		if err := w.describe(part); err != nil {
			return err
		}
	}
	p := w.block(disk.JournalCommit)
	c := disk.JournalCommitBlock{Sec: t.Sec, Nsec: t.Nsec}
	c.Encode(p)
	if l.sb.HasChecksum() {
		c.Checksum = disk.JournalCommitChecksum(l.seed, p)
		c.Encode(p)
	}
	var err error
	w.record, err = w.next(p)
	return err
}

// describe writes a descriptor block and the copies that it describes.
func (w *txWriter) describe(blocks []Block) error {
	l := w.l
	d := w.block(disk.JournalDescriptor)
	if err := w.put(d); err != nil {
		return err
	}
	off := disk.JournalHeaderSize
	for i := range blocks {
		b := &blocks[i]
		if binary.BigEndian.Uint32(b.Data) == disk.JournalMagic {
			// What is not a header must not look like one.
			clear(b.Data[:4])
			b.escaped = true
		}
		tag := disk.JournalTag{Block: b.Nr}
		if b.escaped {
			tag.Flags |= disk.JournalTagEscape
		}
		if i > 0 {
			tag.Flags |= disk.JournalTagSameUUID
		}
		if i == len(blocks)-1 {
			tag.Flags |= disk.JournalTagLast
		}
		if l.sb.HasChecksum() {
			tag.Checksum = disk.JournalDataChecksum(l.seed, l.seq, b.Data)
		}
		l.sb.EncodeTag(d[off:], tag)
		off += l.sb.TagSize()
		if i == 0 {
			off += copy(d[off:], l.sb.UUID[:])
		}
		v, err := w.next(b.Data)
		if err != nil {
			return err
		}
		w.vecs = append(w.vecs, v)
		w.copies = append(w.copies, copyAt{home: uint64(v.Off) / uint64(l.BlockSize), escaped: b.escaped})
	}
	if l.sb.HasChecksum() {
		disk.SetJournalTail(l.seed, d)
	}
	return nil
}

// revoke writes a revoke block.
func (w *txWriter) revoke(blocks []uint64) error {
	l := w.l
	p := w.block(disk.JournalRevoke)
	size := l.sb.RevokeSize()
	off := disk.JournalRevokeHeader
	for _, nr := range blocks {
		disk.PutJournalRevoked(p[off:], nr, size)
		off += size
	}
	disk.SetJournalRevokeCount(p, uint32(off))
	if l.sb.HasChecksum() {
		disk.SetJournalTail(l.seed, p)
	}
	return w.put(p)
}

// room returns the bytes of a descriptor or revoke block that entries can take.
func (l *layout) room(header int) int {
	n := l.BlockSize - header
	if l.sb.HasChecksum() {
		n -= disk.JournalTailSize
	}
	return n
}

// tagsPerBlock returns how many copies one descriptor block describes.
func (l *layout) tagsPerBlock() int {
	return (l.room(disk.JournalHeaderSize) - len(l.sb.UUID)) / l.sb.TagSize()
}

func (l *layout) revokesPerBlock() int {
	return l.room(disk.JournalRevokeHeader) / l.sb.RevokeSize()
}
