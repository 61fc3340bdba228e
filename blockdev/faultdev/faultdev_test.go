package faultdev

import (
	"bytes"
	"errors"
	"testing"

	"pinhole/blockdev"
)

func sector(b byte) []byte { return bytes.Repeat([]byte{b}, 512) }

func TestCrash(t *testing.T) {
	d := New(make([]byte, 2048))
	d.Record = true
	write := func(off int64, b byte) {
		t.Helper()
		if err := d.WriteV([]blockdev.Vec{{Off: off, Data: sector(b)}}); err != nil {
			t.Fatal(err)
		}
	}
	write(0, 1)
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	write(512, 2)
	write(0, 3)
	if n := len(d.Events()); n != 4 {
		t.Fatalf("%d events, want 4", n)
	}
	for _, tt := range []struct {
		n    int
		keep func(int, Event) bool
		want []byte
	}{
		{0, nil, []byte{0, 0}},
		{1, nil, []byte{1, 0}},
		{3, nil, []byte{1, 2}},
		{4, nil, []byte{3, 2}},
		{4, func(i int, _ Event) bool { return i == 3 }, []byte{3, 0}},
		{4, func(int, Event) bool { return false }, []byte{1, 0}},
	} {
		img := d.Crash(tt.n, tt.keep)
		if got := []byte{img[0], img[512]}; !bytes.Equal(got, tt.want) {
			t.Errorf("after %d events: %v, want %v", tt.n, got, tt.want)
		}
	}
}

func TestFail(t *testing.T) {
	d := New(make([]byte, 2048))
	d.Fail = func(op Op, off int64, n int) error {
		if op == Write && off == 512 {
			return ErrInjected
		}
		return nil
	}
	err := d.WriteV([]blockdev.Vec{{Off: 0, Data: sector(1)}, {Off: 512, Data: sector(2)}, {Off: 1024, Data: sector(3)}})
	if !errors.Is(err, ErrInjected) {
		t.Fatalf("error %v, want the injected one", err)
	}
	img := d.Image()
	if img[0] != 1 || img[512] != 0 || img[1024] != 0 {
		t.Errorf("content %d %d %d, want 1 0 0", img[0], img[512], img[1024])
	}
	if err := d.ReadAt(make([]byte, 512), 2048); err == nil {
		t.Error("a read behind the end succeeds")
	}
}
