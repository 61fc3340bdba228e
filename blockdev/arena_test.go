package blockdev

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

// TestArena takes and gives frames at random, and compares with a list of who has which.
func TestArena(t *testing.T) {
	for _, frames := range []int{1, 63, 64, 65, 1000} {
		a := NewArena(make([]byte, frames*PageSize))
		if a.Frames() != frames {
			t.Errorf("%d frames, want %d", a.Frames(), frames)
		}
		type run struct {
			first uint32
			n     int
		}
		var taken []run
		used := make([]bool, frames)
		left := frames
		rnd := rand.New(rand.NewPCG(uint64(frames), 1))
		for range 20000 {
			if rnd.IntN(2) == 0 {
				most := 1 + rnd.IntN(80)
				if rnd.IntN(3) == 0 {
					most = 1
				}
				first, n := a.AllocRun(most)
				if n > most || n == 0 && left > 0 || n > 0 && left == 0 {
					t.Fatalf("%d frames of %d wanted, %d left", n, most, left)
				}
				for i := range n {
					if used[int(first)+i] {
						t.Fatalf("frame %d is given twice", int(first)+i)
					}
					used[int(first)+i] = true
				}
				left -= n
				if n > 0 {
					taken = append(taken, run{first, n})
				}
			} else if len(taken) > 0 {
				i := rnd.IntN(len(taken))
				r := taken[i]
				if k := rnd.IntN(r.n); k > 0 {
					// Only the end of it.
					taken[i].n = k
					r.first, r.n = r.first+uint32(k), r.n-k
				} else {
					taken[i] = taken[len(taken)-1]
					taken = taken[:len(taken)-1]
				}
				a.FreeRun(r.first, r.n)
				for i := range r.n {
					used[int(r.first)+i] = false
				}
				left += r.n
			}
		}
	}
}

// TestArenaRuns makes sure that what is taken together lies together, low frames first.
func TestArenaRuns(t *testing.T) {
	a := NewArena(make([]byte, 640*PageSize))
	if first, n := a.AllocRun(64); first != 0 || n != 64 {
		t.Errorf("the first run: %d+%d", first, n)
	}
	if first, n := a.AllocRun(1); first != 64 || n != 1 {
		t.Errorf("a single frame: %d+%d", first, n)
	}
	if first, n := a.AllocRun(64); first != 128 || n != 64 {
		t.Errorf("a run does not go where it fits: %d+%d", first, n)
	}
	if first, n := a.AllocRun(16); first != 192 || n != 16 {
		t.Errorf("a run goes on where the last one was found: %d+%d", first, n)
	}
	a.FreeRun(0, 64)
	if first, n := a.AllocRun(64); first != 0 || n != 64 {
		t.Errorf("a run that was given back: %d+%d", first, n)
	}
	if f, ok := a.AllocApart(5); !ok || f != 256+5 {
		t.Errorf("a frame apart: %d, %v", f, ok)
	}
	if !a.AllocAt(256+6) || a.AllocAt(256+5) || a.AllocAt(640) {
		t.Error("a certain frame")
	}
	p := a.Alloc()
	if off, ok := a.Offset(p); !ok || off != 65*PageSize || unsafe.SliceData(p) != unsafe.SliceData(a.Run(65, 1)) {
		t.Errorf("frame at %d, %v", off, ok)
	}
	a.Free(p)
	defer func() {
		if recover() == nil {
			t.Error("a frame can be given back twice")
		}
	}()
	a.Free(p)
}
