package blockdev

import (
	"bytes"
	"errors"
	"testing"
)

func TestEphemeral(t *testing.T) {
	image := bytes.Repeat([]byte("image..."), 8*PageSize/8)
	d := NewEphemeralDevice(image, 3*PageSize, nil)
	data := bytes.Repeat([]byte{'x'}, PageSize)

	if err := d.WriteV([]Vec{{Off: PageSize - 512, Data: data[:1024]}, {Off: 6 * PageSize, Data: data[:512]}}); err != nil {
		t.Fatal(err)
	}
	for page, want := range []bool{false, false, true, true, true, true, false, true} {
		if got := d.Pristine(int64(page)*PageSize, PageSize); got != want {
			t.Errorf("page %d pristine: %v", page, got)
		}
	}
	if d.Pristine(0, d.Size()) || !d.Pristine(2*PageSize, 4*PageSize) {
		t.Error("a range is pristine as its pages are not")
	}
	got := make([]byte, 1024)
	if err := d.ReadAt(got, PageSize-512); err != nil || !bytes.Equal(got, data[:1024]) {
		t.Errorf("read back %q, %v", got[:8], err)
	}
	if !bytes.Equal(d.Bytes(6*PageSize, 512), data[:512]) {
		t.Error("Bytes does not show what was written")
	}
	// Three pages are dirty: they may change again, no other may.
	if err := d.WriteV([]Vec{{Off: 0, Data: data}, {Off: PageSize, Data: data}}); err != nil {
		t.Errorf("write to dirty pages: %v", err)
	}
	if err := d.WriteV([]Vec{{Off: 4 * PageSize, Data: data}}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("write beyond the limit: %v", err)
	}
	if !bytes.Equal(image[4*PageSize:4*PageSize+8], []byte("image...")) {
		t.Error("a refused write was done")
	}
}

func TestEphemeralBounds(t *testing.T) {
	d := NewEphemeralDevice(make([]byte, PageSize+512), 1<<20, nil)
	for _, v := range []Vec{
		{Off: PageSize, Data: make([]byte, 1024)},
		{Off: -512, Data: make([]byte, 512)},
		{Off: 1<<63 - 512, Data: make([]byte, 512)},
		{Off: 8, Data: make([]byte, 512)},
		{Off: 0, Data: make([]byte, 8)},
	} {
		if err := d.WriteV([]Vec{v}); err == nil {
			t.Errorf("write of %d bytes at %d succeeded", len(v.Data), v.Off)
		}
	}
	if err := d.WriteV([]Vec{{Off: PageSize, Data: make([]byte, 512)}, {Off: PageSize + 512}}); err != nil {
		t.Errorf("write at the end: %v", err)
	}
	if err := d.ReadAt(make([]byte, 1), PageSize+512); err == nil {
		t.Error("a read past the end succeeded")
	}
}

func TestEphemeralFailingImage(t *testing.T) {
	half := func(dst, src []byte) int { return copy(dst[:len(dst)/2], src) }
	d := NewEphemeralDevice(make([]byte, PageSize), PageSize, half)
	if err := d.ReadAt(make([]byte, 512), 0); err == nil {
		t.Error("a read that the image failed succeeded")
	}
	if err := d.WriteV([]Vec{{Data: make([]byte, 512)}}); err == nil || errors.Is(err, ErrNoSpace) {
		t.Errorf("a write that the image failed: %v", err)
	}
}
