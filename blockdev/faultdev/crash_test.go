package faultdev

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"pinhole/blockdev"
)

// TestImage compares an image and its clones with plain memory.
func TestImage(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const size = 3<<20 + 1536
	type pair struct {
		img *Image
		mem []byte
	}
	start := make([]byte, size)
	for i := range 40 {
		start[i*70001] = byte(i)
	}
	all := []pair{{NewImage(start), start}}
	for range 400 {
		p := &all[rng.IntN(len(all))]
		if rng.IntN(20) == 0 {
			all = append(all, pair{p.img.Clone(), bytes.Clone(p.mem)})
			continue
		}
		off := rng.IntN(size)
		n := min(size-off, 1+rng.IntN(20000))
		data := make([]byte, n)
		if rng.IntN(3) > 0 {
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
		}
		p.img.WriteAt(data, int64(off))
		copy(p.mem[off:], data)
	}
	for i, p := range all {
		got := make([]byte, size)
		p.img.ReadAt(got, 0)
		if !bytes.Equal(got, p.mem) {
			t.Errorf("image %d has another content", i)
		}
		if a, b := p.img.Sum(), NewImage(p.mem).Sum(); a != b {
			t.Errorf("image %d: sum %#x, of a new image %#x", i, a, b)
		}
		other := all[(i+1)%len(all)]
		mended := bytes.Clone(other.mem)
		p.img.Pages(other.img, func(off int64, data []byte) error {
			copy(mended[off:], data)
			return nil
		})
		if !bytes.Equal(mended, p.mem) {
			t.Errorf("image %d: the differences from the next one are not all there", i)
		}
	}
}

// recordOf makes a device with 16 sectors of zeros and has f write it.
func recordOf(t *testing.T, f func(write func(sector, n int, b byte), flush func())) *Crashes {
	t.Helper()
	base := NewZeroImage(16 * sectorSize)
	d := NewOn(base.Clone())
	d.Record = true
	f(func(sector, n int, b byte) {
		t.Helper()
		if err := d.WriteV([]blockdev.Vec{{Off: int64(sector) * sectorSize, Data: bytes.Repeat([]byte{b}, n*sectorSize)}}); err != nil {
			t.Fatal(err)
		}
	}, func() {
		if err := d.Flush(); err != nil {
			t.Fatal(err)
		}
	})
	return &Crashes{Base: base, Events: d.Events(), Seed: 1}
}

// content shows an image of one page, a digit for a sector.
func content(m *Image) string {
	var s []byte
	b := make([]byte, 1)
	for off := int64(0); off < m.Size(); off += sectorSize {
		m.ReadAt(b, off)
		s = append(s, '0'+b[0])
	}
	return string(s)
}

// TestCrashStates: all combinations, no others, and each with the right bounds.
func TestCrashStates(t *testing.T) {
	c := recordOf(t, func(write func(int, int, byte), flush func()) {
		write(0, 1, 1)
		write(1, 1, 2)
		flush()
		write(2, 1, 3)
		write(0, 1, 4)
		write(3, 3, 5)
		flush()
		write(6, 1, 6)
	})
	c.All = 4
	got := map[string][2]int{}
	for s := range c.States() {
		k := content(s.Image)[:7]
		b, ok := got[k]
		if !ok {
			b = [2]int{s.First, s.Last}
		}
		got[k] = [2]int{min(b[0], s.First), max(b[1], s.Last)}
		again, err := c.State(s.ID)
		if err != nil || content(again.Image) != content(s.Image) || again.First != s.First || again.Last != s.Last {
			t.Errorf("state %s cannot be made again (%v)", s.ID, err)
		}
	}
	want := map[string][2]int{}
	add := func(s string, first, last int) { want[s] = [2]int{first, last} }
	add("0000000", 0, 2)
	add("1000000", 1, 2)
	add("0200000", 2, 2)
	add("1200000", 2, 6) // also what is left of the second window without its writes
	for _, third := range []string{"0", "3"} {
		for _, first := range []string{"1", "4"} {
			for _, rest := range []string{"000", "500", "550", "555", "055", "005", "505"} {
				s := first + "2" + third + rest + "0"
				switch {
				case rest == "555":
					add(s, 6, 6)
				case rest == "000" && first == "4":
					add(s, 5, 6)
				case rest == "000" && third == "3":
					add(s, 4, 6)
				case rest == "000":
				case first == "4" && third == "3": // torn only at the end of a row
					add(s, 6, 6)
				}
			}
		}
	}
	add("4235550", 6, 8)
	add("4235556", 8, 8)
	for s, b := range want {
		if got[s] != b {
			t.Errorf("%s: bounds %v, want %v", s, got[s], b)
		}
	}
	for s, b := range got {
		if _, ok := want[s]; !ok {
			t.Errorf("%s: not a state (%v)", s, b)
		}
	}
}

// TestCrashWhole: what is to stay whole does.
func TestCrashWhole(t *testing.T) {
	c := recordOf(t, func(write func(int, int, byte), flush func()) { write(0, 8, 1) })
	c.Whole = [][2]int64{{2 * sectorSize, 4 * sectorSize}}
	n := 0
	for s := range c.States() {
		n++
		if k := content(s.Image); k[2] != k[3] {
			t.Errorf("state %s: %s", s.ID, k)
		}
	}
	if n < 8 {
		t.Errorf("only %d states", n)
	}
}

// TestCrashSamples: windows with many writes are sampled, and limits hold.
func TestCrashSamples(t *testing.T) {
	c := recordOf(t, func(write func(int, int, byte), flush func()) {
		for i := range 40 {
			write(i%13, 1+i%3, byte(1+i%9))
		}
		flush()
		write(15, 1, 1)
	})
	all := 0
	for s := range c.States() {
		all++
		if s.Last == len(c.Events) {
			if k := content(s.Image); k[14] == '0' {
				t.Errorf("state %s: %s has lost what was flushed", s.ID, k)
			}
		}
	}
	if all < 150 {
		t.Errorf("only %d states", all)
	}
	c.PerWindow = 20
	per, sums := 0, map[string]bool{}
	for s := range c.States() {
		per++
		sums[fmt.Sprint(s.ID)] = true
	}
	if per != 20+2 || len(sums) != per {
		t.Errorf("%d states, %d IDs, with at most 20 a window", per, len(sums))
	}
	c.Total = 10
	n := 0
	for range c.States() {
		n++
	}
	if n != 10 {
		t.Errorf("%d states, want 10", n)
	}
}

// TestFlushCovers: a flush does not cover a call that goes on meanwhile.
func TestFlushCovers(t *testing.T) {
	d := NewOn(NewZeroImage(16 * sectorSize))
	d.Record = true
	begun, flushed := make(chan bool), make(chan bool)
	d.Fail = func(op Op, off int64, n int) error {
		if op == Write && off == sectorSize {
			close(begun)
			<-flushed
		}
		return nil
	}
	go func() {
		<-begun
		d.Flush()
		close(flushed)
	}()
	if err := d.WriteV([]blockdev.Vec{{Off: 0, Data: sector(1)}, {Off: sectorSize, Data: sector(2)}}); err != nil {
		t.Fatal(err)
	}
	d.Flush()
	var covers []int
	for _, e := range d.Events() {
		if e.Op == Flush {
			covers = append(covers, e.Covers)
		}
	}
	if fmt.Sprint(covers) != "[0 3]" {
		t.Errorf("the flushes cover %v, want [0 3]", covers)
	}
}
