package supervisor

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"pinhole/blockdev"
)

// TestHolesFilled: where small writes and flushes go on, an image gets blocks of the host; what it
// reads as stays the same.
func TestHolesFilled(t *testing.T) {
	r := newRig(t, nil).serving(t)
	if r.holes.heat == nil {
		t.Skip("the folder for temporary files is in memory: holes cost nothing there")
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(r.image, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < fillSpace {
		t.Skipf("too little space for temporary files: %d blocks of %d, %v", fs.Bavail, fs.Bsize, err)
	}
	d := r.client(t)
	want := make([]byte, testImage)
	page := func(off int64, b byte) {
		t.Helper()
		p := r.ram[:4096]
		for i := range p {
			p[i] = b
		}
		copy(want[off:], p)
		if err := d.WriteV([]blockdev.Vec{{Off: off, Data: p}}); err != nil {
			t.Fatal(err)
		}
		if err := d.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	blocks := func() int64 {
		var st unix.Stat_t
		if err := unix.Fstat(r.image, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	page(regionBytes+3*4096, 1)
	page(3*regionBytes-4096, 2)
	page(2*regionBytes-4096, 3)
	if n := blocks(); n > regionBytes/2 {
		t.Fatalf("%d bytes of the image have blocks after three writes", n)
	}
	for i := range hot {
		page(int64(regionBytes+(10+i)*4096), byte(4+i))
	}
	if n := blocks(); n < regionBytes || n > 2*regionBytes {
		t.Fatalf("%d bytes of the image have blocks, want those of one region and a little", n)
	}
	// A row of writes that crosses into the next region takes that along at once.
	page(2*regionBytes, 9)
	if n := blocks(); n < 2*regionBytes || n > 3*regionBytes {
		t.Fatalf("%d bytes of the image have blocks, want those of two regions", n)
	}
	got, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	for off := 0; off < testImage; off += 4096 {
		if !bytes.Equal(got[off:off+4096], want[off:off+4096]) {
			t.Fatalf("the page at %d reads as %d, want %d", off, got[off], want[off])
		}
	}
}

// TestHolesStay: what is not sparse, or written in large pieces, is left alone.
func TestHolesStay(t *testing.T) {
	var h holes
	f, err := os.Create(t.TempDir() + "/image")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 2*regionBytes)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	h.init(int(f.Fd()), 2*regionBytes)
	if h.heat != nil {
		t.Error("an image without holes is looked after")
	}
	h.wrote(0, 4096) // must do nothing
	h.flushing()

	h = holes{fd: -1, heat: make([]uint8, 4), fresh: make([]uint32, 0, freshMost)}
	h.wrote(0, smallWrite)
	h.wrote(4*regionBytes, 4096) // in the short region at the end
	for range 2 * freshMost {
		h.wrote(regionBytes, 4096)
		h.wrote(2*regionBytes, 4096)
	}
	if len(h.fresh) != freshMost || h.heat[0] != 0 {
		t.Errorf("%d regions noted, want %d", len(h.fresh), freshMost)
	}
	for range 300 {
		h.wrote(regionBytes, 4096)
		h.flushing()
	}
	if h.heat[1] != solid {
		t.Errorf("a region that cannot be filled is tried again")
	}
}
