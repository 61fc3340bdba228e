package jbd2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"pinhole/blockdev"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4/disk"
)

// heap is a Memory that counts.
type heap struct {
	mu  sync.Mutex
	out int
	bs  int
}

func (h *heap) Block() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.out++
	return bytes.Repeat([]byte{0xa5}, h.bs)
}

func (h *heap) Free([]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.out--
}

const (
	homes    = 200 // blocks of the device that transactions change
	ringHome = 400 // where the journal is
	ringSize = 300 // its blocks, in two parts
	ringDev  = 1024
)

// emptyJournal makes a device with a journal that has no log.
func emptyJournal(f features, version uint32, seq uint32) ([]byte, Journal) {
	dev := make([]byte, ringDev*bs)
	sb := disk.JournalSuper{
		Header:    disk.JournalHeader{Magic: disk.JournalMagic, Type: version},
		BlockSize: bs, MaxLen: ringSize, First: 1, Sequence: seq,
		FeatureCompat: f.compat, FeatureIncompat: f.incompat, Users: 1,
	}
	sb.UUID[3] = 9
	if sb.HasChecksum() {
		sb.ChecksumType = disk.JournalChecksumCRC32C
	}
	sb.Encode(dev[ringHome*bs:])
	runs := []Run{{0, 100, ringHome}, {100, ringSize - 100, ringHome + 150}}
	return dev, Journal{BlockSize: bs, Runs: runs, Blocks: ringDev}
}

// content returns a block that says which version of which block it is. Every seventh starts
// with the magic number.
func content(nr uint64, version int) []byte {
	p := make([]byte, bs)
	if version == 0 {
		return p
	}
	for i := 0; i < bs; i += 16 {
		binary.LittleEndian.PutUint64(p[i:], nr)
		binary.LittleEndian.PutUint64(p[i+8:], uint64(version))
	}
	if version%7 == 0 {
		binary.BigEndian.PutUint32(p, disk.JournalMagic)
	}
	return p
}

// model is what blocks must hold after each of the transactions.
type model struct {
	states []map[uint64]int // version of each block; states[k] is after k transactions
	done   []int            // events when a transaction's commit had returned
	plain  map[uint64]int   // blocks of content: events when their last write was stable
	seen   map[uint64]int   // and its version
}

// churn commits random transactions to l, with checkpoints in between, and returns what the
// device must show. Some blocks are freed, and written past the journal from then on.
func churn(t *testing.T, l *Log, dev *faultdev.Device, rnd *rand.Rand, count int) *model {
	m := &model{states: []map[uint64]int{{}}, plain: map[uint64]int{}, seen: map[uint64]int{}}
	for k := 1; k <= count; k++ {
		state := make(map[uint64]int)
		for nr, v := range m.states[k-1] {
			state[nr] = v
		}
		var tx Transaction
		used := map[uint64]bool{}
		for range 1 + rnd.IntN(60) {
			nr := rnd.Uint64N(homes)
			if _, plain := m.plain[nr]; plain || used[nr] {
				continue
			}
			used[nr] = true
			tx.Blocks = append(tx.Blocks, Block{Nr: nr, Data: content(nr, k)})
			state[nr] = k
		}
		for range rnd.IntN(3) {
			nr := rnd.Uint64N(homes)
			if _, plain := m.plain[nr]; plain || used[nr] || len(m.plain) > homes/2 {
				continue
			}
			used[nr] = true
			tx.Revoked = append(tx.Revoked, nr)
			delete(state, nr)
		}
		if need := l.Need(len(tx.Blocks), len(tx.Revoked)); need > l.Free() {
			if err := l.Checkpoint(need + rnd.IntN(100)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Commit(&tx); err != nil {
			t.Fatal(err)
		}
		m.states = append(m.states, state)
		m.done = append(m.done, dev.Recorded())
		for _, nr := range tx.Revoked {
			v := 1000 + k
			if err := dev.WriteV([]blockdev.Vec{{Off: int64(nr) * bs, Data: content(nr, v)}}); err != nil {
				t.Fatal(err)
			}
			if err := dev.Flush(); err != nil {
				t.Fatal(err)
			}
			m.plain[nr], m.seen[nr] = dev.Recorded(), v
		}
		if rnd.IntN(8) == 0 {
			if err := l.Checkpoint(rnd.IntN(l.Capacity())); err != nil {
				t.Fatal(err)
			}
		}
		p := make([]byte, bs)
		for range 10 {
			nr := rnd.Uint64N(homes)
			if _, plain := m.plain[nr]; plain {
				continue
			}
			found, err := l.ReadBlock(nr, p)
			if !found && err == nil {
				err = dev.ReadAt(p, int64(nr)*bs)
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(p, content(nr, state[nr])) {
				t.Fatalf("transaction %d: block %d is not version %d", k, nr, state[nr])
			}
		}
	}
	return m
}

// check looks whether dev, after n events and a replay, shows a state that a crash may leave.
func (m *model) check(dev blockdev.Device, n int) error {
	least := 0
	for least < len(m.done) && m.done[least] <= n {
		least++
	}
	var why error
	for k := least; k <= least+1 && k < len(m.states); k++ {
		if why = m.matches(dev, k, n); why == nil {
			return nil
		}
	}
	return why
}

func (m *model) matches(dev blockdev.Device, k, n int) error {
	p := make([]byte, bs)
	for nr := range uint64(homes) {
		if err := dev.ReadAt(p, int64(nr)*bs); err != nil {
			return err
		}
		want := m.states[k][nr]
		if at, plain := m.plain[nr]; plain {
			if at > n {
				continue // freed, or about to be
			}
			want = m.seen[nr]
		}
		if !bytes.Equal(p, content(nr, want)) {
			return fmt.Errorf("after %d transactions block %d does not hold version %d", k, nr, want)
		}
	}
	return nil
}

// TestLogCrash cuts random transactions short at every event and replays.
func TestLogCrash(t *testing.T) {
	for i, f := range allFeatures {
		t.Run(f.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(uint64(i), 7))
			mem, j := emptyJournal(f, disk.JournalSuperV2, ^uint32(0)-5) // the sequence wraps
			dev := faultdev.New(mem)
			j.Device = dev
			dev.Record = true
			h := &heap{bs: bs}
			l, err := j.Open(Format{}, h)
			if err != nil {
				t.Fatal(err)
			}
			m := churn(t, l, dev, rnd, 40)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if h.out != 0 {
				t.Errorf("%d blocks of memory were not given back", h.out)
			}
			events := dev.Recorded()
			if err := m.check(dev, events); err != nil {
				t.Errorf("after closing: %v", err)
			}
			for n := 1; n <= events; n += 1 + rnd.IntN(3) {
				var keep func(int, faultdev.Event) bool
				if n%2 == 0 {
					keep = func(int, faultdev.Event) bool { return rnd.IntN(2) == 0 }
				}
				crashed := faultdev.New(dev.Crash(n, keep))
				again := j
				again.Device = crashed
				view, kept, err := again.Replay(true)
				if err != nil {
					t.Fatalf("after %d of %d events: %v", n, events, err)
				}
				if err := m.check(view, n); err != nil {
					t.Fatalf("after %d of %d events, in memory: %v", n, events, err)
				}
				_, stats, err := again.Replay(false)
				if err != nil || stats != kept {
					t.Fatalf("after %d of %d events: %v (%+v, %+v)", n, events, err, stats, kept)
				}
				if err := m.check(crashed, n); err != nil {
					t.Fatalf("after %d of %d events: %v", n, events, err)
				}
				// The next user starts where this one ended.
				if _, err := again.Open(Format{Wide: true, Checksum: true}, h); err != nil {
					t.Fatalf("after %d of %d events: %v", n, events, err)
				}
			}
		})
	}
}

// TestLogErrors has writes and flushes fail at each place in turn: what a commit or checkpoint
// that failed leaves must be sound, and one that failed for want of space may be repeated.
func TestLogErrors(t *testing.T) {
	f := allFeatures[5]
	for fail := range 60 {
		rnd := rand.New(rand.NewPCG(uint64(fail), 3))
		mem, j := emptyJournal(f, disk.JournalSuperV2, 1)
		dev := faultdev.New(mem)
		j.Device = dev
		h := &heap{bs: bs}
		l, err := j.Open(Format{}, h)
		if err != nil {
			t.Fatal(err)
		}
		left := fail
		failed := 0
		dev.Fail = func(op faultdev.Op, off int64, n int) error {
			if op == faultdev.Write {
				if left--; left < 0 && left > -3 {
					failed++
					return blockdev.ErrNoSpace
				}
			}
			return nil
		}
		want := map[uint64]int{}
		for k := 1; k < 30; k++ {
			var tx Transaction
			for nr := rnd.Uint64N(20); nr < homes && len(tx.Blocks) < 30; nr += 1 + rnd.Uint64N(12) {
				tx.Blocks = append(tx.Blocks, Block{Nr: nr, Data: content(nr, k)})
				want[nr] = k
			}
			for l.Free() < l.Need(len(tx.Blocks), 0) {
				if err := l.Checkpoint(100); err != nil && !errors.Is(err, blockdev.ErrNoSpace) {
					t.Fatal(err)
				}
			}
			for tries := 0; ; tries++ {
				err := l.Commit(&tx)
				if err == nil {
					break
				}
				if !errors.Is(err, blockdev.ErrNoSpace) || tries > 5 {
					t.Fatal(err)
				}
			}
		}
		if failed == 0 {
			t.Fatal("nothing failed")
		}
		if h.out != 0 {
			t.Errorf("%d blocks of memory were not given back", h.out)
		}
		view, _, err := j.Replay(true)
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, bs)
		for nr, v := range want {
			if view.ReadAt(p, int64(nr)*bs); !bytes.Equal(p, content(nr, v)) {
				t.Errorf("failure %d: block %d does not hold version %d", fail, nr, v)
			}
		}
	}
}

// gate is a device that lets a write of one block wait.
type gate struct {
	blockdev.Device
	block         int64
	reached, pass chan struct{}
}

func (g *gate) WriteV(v []blockdev.Vec) error {
	for _, w := range v {
		if w.Off == g.block*bs {
			g.reached <- struct{}{}
			<-g.pass
		}
	}
	return g.Device.WriteV(v)
}

// TestRevokeInFlight frees a block while a checkpoint is writing it: the commit must wait, since
// whoever it returns to may give the block to a file at once.
func TestRevokeInFlight(t *testing.T) {
	mem, j := emptyJournal(allFeatures[5], disk.JournalSuperV2, 1)
	g := &gate{faultdev.New(mem), 7, make(chan struct{}), make(chan struct{})}
	j.Device = g
	l, err := j.Open(Format{}, &heap{bs: bs})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(&Transaction{Blocks: []Block{{Nr: 7, Data: content(7, 1)}}}); err != nil {
		t.Fatal(err)
	}
	checkpoint, commit := make(chan error, 1), make(chan error, 1)
	go func() { checkpoint <- l.Checkpoint(l.Capacity()) }()
	<-g.reached
	go func() { commit <- l.Commit(&Transaction{Revoked: []uint64{7}}) }()
	select {
	case err := <-commit:
		t.Errorf("the commit has not waited (%v)", err)
		commit <- err
	case <-time.After(100 * time.Millisecond):
	}
	g.pass <- struct{}{}
	if err := <-commit; err != nil {
		t.Error(err)
	}
	if err := <-checkpoint; err != nil {
		t.Error(err)
	}
}

// TestLogConcurrent commits, checkpoints and reads at the same time; the race detector looks on.
func TestLogConcurrent(t *testing.T) {
	mem, j := emptyJournal(allFeatures[6], disk.JournalSuperV2, 1)
	dev := faultdev.New(mem)
	j.Device = dev
	l, err := j.Open(Format{}, &heap{bs: bs})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := l.Checkpoint(l.Capacity()); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		p := make([]byte, bs)
		for nr := uint64(0); ; nr++ {
			select {
			case <-stop:
				return
			default:
			}
			if found, err := l.ReadBlock(nr%homes, p); err != nil {
				t.Error(err)
			} else if found && binary.LittleEndian.Uint64(p[16:]) != nr%homes {
				t.Errorf("block %d has the content of block %d", nr%homes, binary.LittleEndian.Uint64(p[16:]))
			}
		}
	})
	rnd := rand.New(rand.NewPCG(1, 1))
	plain := map[uint64]int{}
	last := map[uint64]int{}
	for k := 1; k < 400; k++ {
		var tx Transaction
		for nr := rnd.Uint64N(9); nr < homes; nr += 1 + rnd.Uint64N(20) {
			if _, freed := plain[nr]; freed {
				continue
			}
			if _, known := last[nr]; known && rnd.IntN(40) == 0 {
				tx.Revoked = append(tx.Revoked, nr)
				continue
			}
			tx.Blocks = append(tx.Blocks, Block{Nr: nr, Data: content(nr, k)})
			last[nr] = k
		}
		for l.Free() < l.Need(len(tx.Blocks), len(tx.Revoked)) {
			if err := l.Checkpoint(100); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Commit(&tx); err != nil {
			t.Fatal(err)
		}
		for _, nr := range tx.Revoked {
			delete(last, nr)
			plain[nr] = 1000 + k
			dev.WriteV([]blockdev.Vec{{Off: int64(nr) * bs, Data: content(nr, 1000+k)}})
		}
	}
	close(stop)
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, bs)
	for _, set := range []map[uint64]int{plain, last} {
		for nr, v := range set {
			if dev.ReadAt(p, int64(nr)*bs); !bytes.Equal(p, content(nr, v)) {
				t.Errorf("block %d does not hold version %d", nr, v)
			}
		}
	}
}

func TestOpen(t *testing.T) {
	for name, change := range map[string]func(w *logWriter){
		"log":       func(*logWriter) {},
		"too short": func(w *logWriter) { w.sb.Start = 0 },
	} {
		w := newLog(0, disk.JournalIncompatRevoke, 1)
		change(w)
		w.sb.Encode(w.block(0))
		if _, err := w.journal(faultdev.New(w.dev)).Open(Format{}, &heap{bs: bs}); err == nil || !strings.Contains(err.Error(), strings.Fields(name)[0]) && !strings.Contains(err.Error(), "fewer") {
			t.Errorf("%s: %v", name, err)
		}
	}
	mem, j := emptyJournal(features{}, disk.JournalSuperV1, 5)
	for i := 0x24; i < 1024; i++ {
		mem[ringHome*bs+i] = 0xff // not defined in version 1
	}
	j.Device = faultdev.New(mem)
	before := bytes.Clone(mem)
	l, err := j.Open(Format{Wide: true, Checksum: true}, &heap{bs: bs})
	if err == nil {
		err = l.Close()
	}
	if err != nil || !bytes.Equal(mem, before) {
		t.Fatalf("opened and closed (%v), the journal has changed", err)
	}
	if l, err = j.Open(Format{Wide: true, Checksum: true}, &heap{bs: bs}); err == nil {
		err = l.Commit(&Transaction{Blocks: []Block{{Nr: 1, Data: content(1, 1)}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	var sb disk.JournalSuper
	sb.Decode(mem[ringHome*bs:])
	if want := uint32(disk.JournalIncompatRevoke | disk.JournalIncompat64Bit | disk.JournalIncompatCsumV3); sb.FeatureIncompat != want || sb.FeatureCompat != 0 || sb.Header.Type != disk.JournalSuperV2 {
		t.Errorf("features %#x, %#x in a superblock of type %d", sb.FeatureCompat, sb.FeatureIncompat, sb.Header.Type)
	}
	if sb.StoredChecksum != disk.JournalSuperChecksum(mem[ringHome*bs:]) {
		t.Error("superblock checksum is wrong")
	}
}
