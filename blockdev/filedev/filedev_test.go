package filedev

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pinhole/blockdev"
)

func newFile(t *testing.T, size int64) (*os.File, *Device) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	d, err := New(f)
	if err != nil {
		t.Fatal(err)
	}
	return f, d
}

// TestWrites: any order, neighbours, more of them than one call takes.
func TestWrites(t *testing.T) {
	const size = 4 << 20
	_, d := newFile(t, size)
	want := make([]byte, size)
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		var v []blockdev.Vec
		// Apart from each other: order among writes of a batch is not promised.
		for _, i := range rnd.Perm(size / 512)[:3000] {
			data := bytes.Repeat([]byte{byte(rnd.Uint32())}, 512)
			copy(want[i*512:], data)
			v = append(v, blockdev.Vec{Off: int64(i) * 512, Data: data})
		}
		if err := d.WriteV(v); err != nil {
			t.Fatal(err)
		}
	}
	big := bytes.Repeat([]byte("big!"), 1<<18)
	copy(want[512:], big)
	if err := d.WriteV([]blockdev.Vec{{Off: 512, Data: big}}); err != nil {
		t.Fatal(err)
	}
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, size)
	if err := d.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("content differs")
	}
}

func TestManyNeighbours(t *testing.T) {
	const n = 3000 // more than IOV_MAX
	_, d := newFile(t, n*512)
	var v []blockdev.Vec
	for i := range n {
		v = append(v, blockdev.Vec{Off: int64(i) * 512, Data: bytes.Repeat([]byte{byte(i)}, 512)})
	}
	if err := d.WriteV(v); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 512)
	for _, i := range []int{0, 1023, 1024, 1025, 2047, 2048, n - 1} {
		if err := d.ReadAt(got, int64(i)*512); err != nil || got[0] != byte(i) || got[511] != byte(i) {
			t.Errorf("sector %d: %v, %d", i, err, got[0])
		}
	}
}

func TestBounds(t *testing.T) {
	_, d := newFile(t, 8192+100)
	if d.Size() != 8192 {
		t.Errorf("size %d", d.Size())
	}
	p := make([]byte, 4096)
	for _, off := range []int64{-1, 4097, 8192, 1 << 62} {
		if err := d.ReadAt(p, off); err == nil {
			t.Errorf("read at %d succeeded", off)
		}
		if err := d.WriteV([]blockdev.Vec{{Off: off, Data: p}}); err == nil {
			t.Errorf("write at %d succeeded", off)
		}
	}
	if err := d.WriteV([]blockdev.Vec{{Off: 100, Data: p}}); err == nil {
		t.Error("write of parts of sectors succeeded")
	}
	if err := d.WriteV([]blockdev.Vec{{Off: 0, Data: p[:100]}}); err == nil {
		t.Error("write of a part of a sector succeeded")
	}
	if err := d.ReadAt(p, 4096); err != nil {
		t.Error(err)
	}
}

// TestNoSpace: a full medium is told from a broken one.
func TestNoSpace(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	d := &Device{f: full, size: 1 << 20}
	err = d.WriteV([]blockdev.Vec{{Off: 0, Data: make([]byte, 512)}})
	if !errors.Is(err, blockdev.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write to a full medium: %v", err)
	}
}

func TestErrors(t *testing.T) {
	f, d := newFile(t, 8192)
	if err := f.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	err := d.ReadAt(make([]byte, 4096), 2048)
	if err == nil || !strings.Contains(err.Error(), "after 2048") {
		t.Errorf("read of a file that was cut: %v", err)
	}
	f.Close()
	err = d.WriteV([]blockdev.Vec{{Off: 0, Data: make([]byte, 512)}})
	if err == nil || errors.Is(err, blockdev.ErrNoSpace) {
		t.Errorf("write to a closed file: %v", err)
	}
	if err := d.Flush(); err == nil {
		t.Error("flush of a closed file succeeded")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := New(r); err == nil {
		t.Error("a pipe is no device")
	}
}
