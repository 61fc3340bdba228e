package jbd2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"pinhole/blockdev"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4/disk"
)

var be = binary.BigEndian

const (
	bs       = 1024
	devSize  = 256 // blocks
	logHome  = 100 // block where the journal's first part is
	logSize  = 64  // blocks, in two parts
	logBreak = 20  // block of the journal where the second part starts
)

// logWriter writes a journal the way Linux does.
type logWriter struct {
	dev  []byte
	sb   disk.JournalSuper
	at   uint32 // next block of the log
	seq  uint32
	sum  uint32 // of version 1
	runs []Run
}

// block returns block n of the journal.
func (w *logWriter) block(n uint32) []byte {
	home := logHome + n
	if n >= logBreak {
		home += 30
	}
	return w.dev[home*bs:][:bs]
}

func (w *logWriter) next() []byte {
	b := w.block(w.at)
	clear(b)
	if w.at++; w.at == w.sb.MaxLen {
		w.at = w.sb.First
	}
	return b
}

func newLog(compat, incompat uint32, start uint32) *logWriter {
	w := &logWriter{dev: make([]byte, devSize*bs), at: start, seq: 7, sum: ^uint32(0)}
	w.runs = []Run{{0, logBreak, logHome}, {logBreak, logSize - logBreak, logHome + logBreak + 30}}
	w.sb = disk.JournalSuper{
		Header:    disk.JournalHeader{Magic: disk.JournalMagic, Type: disk.JournalSuperV2},
		BlockSize: bs, MaxLen: logSize, First: 1, Sequence: 7, Start: start,
		FeatureCompat: compat, FeatureIncompat: incompat, Users: 1,
	}
	w.sb.UUID[3] = 9
	if w.sb.HasChecksum() {
		w.sb.ChecksumType = disk.JournalChecksumCRC32C
	}
	w.sb.Encode(w.block(0))
	return w
}

func (w *logWriter) header(b []byte, typ uint32) {
	h := disk.JournalHeader{Magic: disk.JournalMagic, Type: typ, Sequence: w.seq}
	h.Encode(b)
}

// write adds a descriptor and copies: each of blocks filled with fill.
func (w *logWriter) write(fill byte, blocks ...uint64) {
	d := w.next()
	w.header(d, disk.JournalDescriptor)
	var copies [][]byte
	off := disk.JournalHeaderSize
	for i, nr := range blocks {
		c := w.next()
		for k := range c {
			c[k] = fill
		}
		tag := disk.JournalTag{Block: nr}
		if i > 0 {
			tag.Flags |= disk.JournalTagSameUUID
		}
		if i == len(blocks)-1 {
			tag.Flags |= disk.JournalTagLast
		}
		if fill == 0xc0 { // content that starts with the magic number
			tag.Flags |= disk.JournalTagEscape
			be.PutUint32(c, 0)
		}
		tag.Checksum = disk.JournalDataChecksum(w.sb.Seed(), w.seq, c)
		w.sb.EncodeTag(d[off:], tag)
		off += w.sb.TagSize()
		if i == 0 {
			off += 16
		}
		copies = append(copies, c)
	}
	if w.sb.HasChecksum() {
		disk.SetJournalTail(w.sb.Seed(), d)
	}
	w.sum = crc32be(w.sum, d)
	for _, c := range copies {
		w.sum = crc32be(w.sum, c)
	}
}

func (w *logWriter) revoke(blocks ...uint64) {
	b := w.next()
	w.header(b, disk.JournalRevoke)
	off := disk.JournalRevokeHeader
	for _, nr := range blocks {
		if w.sb.FeatureIncompat&disk.JournalIncompat64Bit != 0 {
			be.PutUint64(b[off:], nr)
			off += 8
		} else {
			be.PutUint32(b[off:], uint32(nr))
			off += 4
		}
	}
	be.PutUint32(b[disk.JournalHeaderSize:], uint32(off))
	if w.sb.HasChecksum() {
		disk.SetJournalTail(w.sb.Seed(), b)
	}
}

func (w *logWriter) commit() {
	b := w.next()
	w.header(b, disk.JournalCommit)
	var c disk.JournalCommitBlock
	if w.sb.FeatureCompat&disk.JournalCompatChecksum != 0 {
		c = disk.JournalCommitBlock{ChecksumType: disk.JournalChecksumCRC32, ChecksumSize: 4, Checksum: w.sum}
	}
	c.Encode(b)
	if w.sb.HasChecksum() {
		be.PutUint32(b[0x10:], disk.JournalCommitChecksum(w.sb.Seed(), b))
	}
	w.sum = ^uint32(0)
	w.seq++
}

func (w *logWriter) journal(dev blockdev.Device) Journal {
	return Journal{Device: dev, BlockSize: bs, Runs: w.runs, Blocks: devSize}
}

type features struct {
	name             string
	compat, incompat uint32
}

var allFeatures = []features{
	{"plain", 0, disk.JournalIncompatRevoke},
	{"64bit", 0, disk.JournalIncompatRevoke | disk.JournalIncompat64Bit},
	{"v1", disk.JournalCompatChecksum, disk.JournalIncompatRevoke},
	{"v2", 0, disk.JournalIncompatRevoke | disk.JournalIncompatCsumV2},
	{"v2 64bit", 0, disk.JournalIncompatRevoke | disk.JournalIncompatCsumV2 | disk.JournalIncompat64Bit},
	{"v3", 0, disk.JournalIncompatRevoke | disk.JournalIncompatCsumV3},
	{"v3 64bit async", 0, disk.JournalIncompatRevoke | disk.JournalIncompatCsumV3 | disk.JournalIncompat64Bit | disk.JournalIncompatAsyncCommit},
}

// sample writes three transactions, and a fourth without its end.
func sample(f features, start uint32) *logWriter {
	w := newLog(f.compat, f.incompat, start)
	w.write(1, 10, 11, 12)
	w.commit()
	w.write(2, 11, 20)
	w.write(0xc0, 21)
	w.commit()
	w.revoke(12, 20)
	w.write(3, 13)
	w.write(4, 20) // used again in the transaction that revokes it
	w.commit()
	w.write(5, 10, 11)
	return w
}

// checkSample looks for what sample's journal must bring home.
func checkSample(t *testing.T, dev blockdev.Device) {
	t.Helper()
	for nr, want := range map[int64]byte{10: 1, 11: 2, 12: 0, 13: 3, 20: 0, 21: 0xc0} {
		p := make([]byte, bs)
		if err := dev.ReadAt(p, nr*bs); err != nil {
			t.Fatal(err)
		}
		if p[bs-1] != want {
			t.Errorf("block %d holds %d, want %d", nr, p[bs-1], want)
		}
		if nr == 21 && be.Uint32(p) != disk.JournalMagic {
			t.Errorf("block %d starts with %#x, want the magic number", nr, be.Uint32(p))
		}
	}
}

func TestReplay(t *testing.T) {
	for _, f := range allFeatures {
		for start := uint32(1); start < logSize; start += 3 {
			t.Run(fmt.Sprint(f.name, "/", start), func(t *testing.T) {
				w := sample(f, start)
				before := bytes.Clone(w.dev)
				d := faultdev.New(w.dev)
				view, stats, err := w.journal(d).Replay(true)
				if err != nil {
					t.Fatal(err)
				}
				checkSample(t, view)
				p := make([]byte, 3*bs)
				if err := view.ReadAt(p, 10*bs+512); err != nil {
					t.Fatal(err)
				}
				if p[0] != 1 || p[511] != 1 || p[512] != 2 || p[3*bs-1] == 5 {
					t.Errorf("read across blocks: %d %d %d", p[0], p[511], p[512])
				}
				if !bytes.Equal(before, w.dev) {
					t.Fatal("a replay that keeps the device has changed it")
				}
				dev, again, err := w.journal(d).Replay(false)
				if err != nil {
					t.Fatal(err)
				}
				checkSample(t, dev)
				if stats != again || stats.Transactions != 3 || stats.Revoked != 3 {
					t.Errorf("stats %+v and %+v", stats, again)
				}
				// Nothing is left to do.
				if _, stats, err := w.journal(d).Replay(false); err != nil || stats.Transactions != 0 {
					t.Errorf("second replay: %+v, %v", stats, err)
				}
			})
		}
	}
}

// TestTornCommit damages the last transaction of a log, which must then not count, or be
// reported, but never be replayed in part.
func TestTornCommit(t *testing.T) {
	for _, f := range allFeatures {
		if f.compat == 0 && f.incompat&(disk.JournalIncompatCsumV2|disk.JournalIncompatCsumV3) == 0 {
			continue // nothing tells
		}
		for torn := range uint32(4) {
			w := newLog(f.compat, f.incompat, 1)
			w.write(1, 10)
			w.commit()
			at := w.at
			w.write(2, 10)
			w.commit()
			want := 1
			switch torn {
			case 0, 1: // descriptor, copy
				w.block(at + torn)[bs/2] ^= 1
			case 2: // commit block
				w.block(at + torn)[disk.JournalCommitSize-1] ^= 1
			case 3: // of the commit block, what means nothing
				w.block(at + 2)[bs/2] ^= 1
				want = 2
			}
			d := faultdev.New(w.dev)
			_, stats, err := w.journal(d).Replay(false)
			if err != nil {
				if p := w.dev[10*bs]; p != 0 {
					t.Errorf("%s: replay fails (%v) after it has written %d", f.name, err, p)
				}
				continue
			}
			// Version 1 has no checksum over the commit block itself.
			if p := w.dev[10*bs]; (int(p) != want || stats.Transactions != want) && !(f.compat != 0 && torn == 2) {
				t.Errorf("%s, block %d torn: block holds %d, stats %+v", f.name, torn, p, stats)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	for name, change := range map[string]func(w *logWriter){
		"magic":      func(w *logWriter) { w.sb.Header.Magic = 1 },
		"type":       func(w *logWriter) { w.sb.Header.Type = 1 },
		"block size": func(w *logWriter) { w.sb.BlockSize = 4096 },
		"length":     func(w *logWriter) { w.sb.MaxLen = logSize + 1 },
		"first":      func(w *logWriter) { w.sb.First = 0 },
		"first high": func(w *logWriter) { w.sb.First = logSize },
		"start":      func(w *logWriter) { w.sb.Start = logSize },
		"feature":    func(w *logWriter) { w.sb.FeatureIncompat |= 1 << 20 },
		"two sums":   func(w *logWriter) { w.sb.FeatureIncompat |= disk.JournalIncompatCsumV2 | disk.JournalIncompatCsumV3 },
		"sum type":   func(w *logWriter) { w.sb.FeatureIncompat |= disk.JournalIncompatCsumV3; w.sb.ChecksumType = 1 },
		"fast commits": func(w *logWriter) {
			w.sb.FeatureIncompat |= disk.JournalIncompatFastCommit
			w.sb.FastCommits = 4
			b := w.block(logSize - 3)
			b[0] = 9
			binary.LittleEndian.PutUint32(b[8:], w.seq)
		},
		"too many fast commits": func(w *logWriter) {
			w.sb.FeatureIncompat |= disk.JournalIncompatFastCommit
			w.sb.FastCommits = 1 << 31
		},
		"target behind the end": func(w *logWriter) { w.write(1, devSize); w.commit() },
		"target in the journal": func(w *logWriter) { w.write(1, logHome+3); w.commit() },
		"revoke count": func(w *logWriter) {
			at := w.at
			w.revoke(1)
			be.PutUint32(w.block(at)[disk.JournalHeaderSize:], bs+1)
			w.commit()
		},
		"hole": func(w *logWriter) { w.runs[1].First++ },
	} {
		t.Run(name, func(t *testing.T) {
			w := newLog(0, disk.JournalIncompatRevoke, 1)
			w.write(1, 10)
			w.commit()
			change(w)
			w.sb.Encode(w.block(0))
			before := bytes.Clone(w.dev)
			if _, _, err := w.journal(faultdev.New(w.dev)).Replay(false); err == nil {
				t.Error("the journal is replayed")
			} else {
				t.Log(err)
			}
			if !bytes.Equal(before, w.dev) {
				t.Error("the device has changed")
			}
		})
	}
}

// FuzzReplay changes bytes of a journal; data holds groups of offset (16 bits) and value.
func FuzzReplay(f *testing.F) {
	f.Add(uint8(0), []byte{0, 20, 1})
	f.Add(uint8(5), []byte{4, 20, 1, 8, 0, 0xff})
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		feature := allFeatures[int(kind)%len(allFeatures)]
		w := sample(feature, 1+uint32(kind/8)%(logSize-1))
		for ; len(data) >= 3; data = data[3:] {
			at := int(binary.LittleEndian.Uint16(data))
			w.block(uint32(at / bs % logSize))[at%bs] = data[2]
		}
		if w.sb.HasChecksum() {
			be.PutUint32(w.block(0)[0xfc:], disk.JournalSuperChecksum(w.block(0)))
		}
		before := bytes.Clone(w.dev)
		d := faultdev.New(w.dev)
		_, kept, err := w.journal(d).Replay(true)
		if !bytes.Equal(before, w.dev) {
			t.Fatal("a replay that keeps the device has changed it")
		}
		_, done, err2 := w.journal(d).Replay(false)
		if (err == nil) != (err2 == nil) || kept != done {
			t.Fatalf("keeping: %+v, %v; writing: %+v, %v", kept, err, done, err2)
		}
	})
}

func TestDamagedJournals(t *testing.T) {
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		w := sample(allFeatures[rnd.IntN(len(allFeatures))], 1+rnd.Uint32N(logSize-1))
		for range 1 + rnd.IntN(4) {
			w.block(rnd.Uint32N(logSize))[rnd.IntN(64)] = byte(rnd.Uint32())
		}
		if w.sb.HasChecksum() {
			be.PutUint32(w.block(0)[0xfc:], disk.JournalSuperChecksum(w.block(0)))
		}
		w.journal(faultdev.New(w.dev)).Replay(seed%2 == 0)
	}
}
