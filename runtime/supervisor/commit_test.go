package supervisor

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"pinhole/blockdev"
)

// A commit's writes, then its last one, are done with a flush behind each, in this process's
// time or in the flushing goroutine's.
func TestDiskCommit(t *testing.T) {
	for _, slow := range []bool{false, true} {
		r := newRig(t, nil)
		r.slow.Store(slow)
		r.serving(t)
		d := r.client(t)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				page := bytes.Repeat([]byte{byte(g + 1)}, 4096)
				for round := range 20 {
					at := int64(g*500+round*20) * 512
					var v []blockdev.Vec
					for i := range round {
						v = append(v, blockdev.Vec{Off: at + int64(i)*512, Data: page[:512]})
					}
					last := blockdev.Vec{Off: at + int64(round)*512, Data: page[:512]}
					if round%5 == 4 {
						last = blockdev.Vec{}
					}
					if err := d.Commit(v, last); err != nil {
						t.Error(err)
					}
					if err := d.Flush(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		for g := range 4 {
			for round := range 20 {
				at := (g*500 + round*20) * 512
				for i := range 20 {
					want := byte(0)
					if i < round || i == round && round%5 != 4 {
						want = byte(g + 1)
					}
					if got := r.mapping[at+i*512]; got != want {
						t.Fatalf("slow %v: sector %d of commit %d of %d: got %d, want %d", slow, i, round, g, got, want)
					}
				}
			}
		}
	}
}

// The last write of a commit is not done if one before it failed; others are as ever.
func TestDiskCommitSkips(t *testing.T) {
	r := newRig(t, nil)
	r.writable = testImage / 2 // what lies behind is refused
	r.serving(t)
	d := r.client(t)
	page := bytes.Repeat([]byte{7}, 4096)
	err := d.Commit([]blockdev.Vec{{Off: 0, Data: page}, {Off: testImage - 4096, Data: page}}, blockdev.Vec{Off: 8192, Data: page})
	if err == nil || errors.Is(err, blockdev.ErrFlush) {
		t.Errorf("got %v", err)
	}
	if r.mapping[8192] != 0 {
		t.Error("the last write was done")
	}
	if err := d.WriteV([]blockdev.Vec{{Off: testImage - 4096, Data: page}}); err == nil {
		t.Error("a write behind the end is done")
	}
	// A write that is no part of a commit does not matter to it.
	if err := d.Commit([]blockdev.Vec{{Off: 0, Data: page}}, blockdev.Vec{Off: 8192, Data: page}); err != nil {
		t.Error(err)
	}
	if r.mapping[8192] != 7 {
		t.Error("the last write was not done")
	}
}

// What the host says to a write is told from what it says to a flush.
func TestDiskCommitErrors(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no /dev/full:", err)
	}
	r := newRig(t, full).serving(t)
	page := make([]byte, 4096)
	if err := r.client(t).Commit([]blockdev.Vec{{Off: 0, Data: page}}, blockdev.Vec{Off: 8192, Data: page}); !errors.Is(err, blockdev.ErrNoSpace) || errors.Is(err, blockdev.ErrFlush) {
		t.Errorf("commit to a full disk: %v", err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(fifo, os.O_RDWR, 0) // cannot be flushed
	if err != nil {
		t.Fatal(err)
	}
	r = newRig(t, f).serving(t)
	if err := r.client(t).Commit(nil, blockdev.Vec{Off: 0, Data: page}); !errors.Is(err, blockdev.ErrFlush) {
		t.Errorf("commit to what cannot be flushed: %v", err)
	}
}
