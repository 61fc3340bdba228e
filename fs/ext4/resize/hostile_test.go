package resize_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"pinhole/blockdev"
	"pinhole/fs/ext4/resize"
)

// memory is a device of pages that were written, over an image that is not changed.
type memory struct {
	base  []byte
	size  int64
	pages map[int64][]byte
}

func (m *memory) Size() int64 { return m.size }

func (m *memory) ReadAt(p []byte, off int64) error {
	if off < 0 || int64(len(p)) > m.size-off {
		return fmt.Errorf("read of %d bytes at %d: beyond the end", len(p), off)
	}
	for len(p) > 0 {
		page, in := off/4096, off%4096
		n := min(int64(len(p)), 4096-in)
		if q, ok := m.pages[page]; ok {
			copy(p[:n], q[in:])
		} else {
			clear(p[:n])
			if off < int64(len(m.base)) {
				copy(p[:n], m.base[off:])
			}
		}
		p, off = p[n:], off+n
	}
	return nil
}

func (m *memory) WriteV(v []blockdev.Vec) error {
	for _, w := range v {
		if w.Off < 0 || w.Off%512 != 0 || len(w.Data)%512 != 0 || int64(len(w.Data)) > m.size-w.Off {
			return fmt.Errorf("write of %d bytes at %d: beyond the end", len(w.Data), w.Off)
		}
		for p, off := w.Data, w.Off; len(p) > 0; {
			page, in := off/4096, off%4096
			n := min(int64(len(p)), 4096-in)
			q, ok := m.pages[page]
			if !ok {
				q = make([]byte, 4096)
				if page*4096 < int64(len(m.base)) {
					copy(q, m.base[page*4096:])
				}
				m.pages[page] = q
			}
			copy(q[in:], p[:n])
			p, off = p[n:], off+n
		}
	}
	return nil
}

func (m *memory) Flush() error { return nil }

// TestHostile: whatever is written into the bookkeeping of an image, resizing it ends, without a panic, and
// writes nothing outside of it.
func TestHostile(t *testing.T) {
	rounds, seed := 150, uint64(1)
	if os.Getenv("PINHOLE_LONG") != "" {
		rounds, seed = 20_000, rand.Uint64()
	}
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 2))
	for _, kind := range []int{9, 12, 13} { // without checksums: with them, the first look ends it
		path := makeImage(t, kind, rnd, 0.5)
		image, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bs := int(kinds[kind].bs)
		// Superblock, descriptors, and what is behind them: bitmaps, inodes, first blocks of files.
		front := 300 * bs
		ended, refused := 0, 0
		for range rounds {
			m := &memory{base: image, size: 1 << 30, pages: make(map[int64][]byte)}
			for range 1 + rnd.IntN(8) {
				at := 1024 + rnd.IntN(front)
				switch rnd.IntN(4) {
				case 0:
					at = 1024 + rnd.IntN(1024)
				case 1:
					at = rnd.IntN(len(image))
				}
				sector := int64(at &^ 511)
				p := make([]byte, 512)
				m.ReadAt(p, sector)
				for range 1 + rnd.IntN(4) {
					p[(at+rnd.IntN(4))%512] = []byte{0, 1, 0x7f, 0x80, 0xff, byte(rnd.Uint32())}[rnd.IntN(6)]
				}
				m.WriteV([]blockdev.Vec{{Off: sector, Data: p}})
			}
			start := time.Now()
			stop := errors.New("takes too long")
			o := resize.Options{Zeroed: true, Stop: func() error {
				if time.Since(start) > 30*time.Second {
					return stop
				}
				return nil
			}}
			if _, err := resize.Minimum(m); err != nil {
				refused++
				continue
			}
			to := uint64(rnd.IntN(3 * len(image) / bs))
			if _, err := resize.Resize(m, to, o); errors.Is(err, stop) {
				t.Fatal(err)
			} else if err != nil {
				refused++
			} else {
				ended++
			}
		}
		t.Logf("%s: %d done, %d refused", kinds[kind].name, ended, refused)
	}
}

// TestFailing: whichever read or write fails, that is the error.
func TestFailing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	path := makeImage(t, 3, rnd, 0.4)
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	count := &failing{memory: memory{base: image, size: 1 << 30, pages: make(map[int64][]byte)}, at: -1}
	to := uint64(len(image)) / 1024 * 3 / 4
	if _, err := resize.Resize(count, to, resize.Options{Zeroed: true}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d calls", count.n)
	for range 60 {
		f := &failing{memory: memory{base: image, size: 1 << 30, pages: make(map[int64][]byte)}, at: rnd.IntN(count.n)}
		if _, err := resize.Resize(f, to, resize.Options{Zeroed: true}); !errors.Is(err, errFails) {
			t.Errorf("call %d fails: %v", f.at, err)
		}
	}
}

type failing struct {
	memory
	n, at int
}

var errFails = errors.New("fails")

func (f *failing) next() error {
	f.n++
	if f.n-1 == f.at {
		return errFails
	}
	return nil
}

func (f *failing) ReadAt(p []byte, off int64) error {
	if err := f.next(); err != nil {
		return err
	}
	return f.memory.ReadAt(p, off)
}

func (f *failing) WriteV(v []blockdev.Vec) error {
	if err := f.next(); err != nil {
		return err
	}
	return f.memory.WriteV(v)
}

func (f *failing) Flush() error { return f.next() }
