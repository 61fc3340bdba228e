package emu

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pinhole/abi"
)

// modelPage is what a page of the model is: mapped, protected, and with what at its beginning.
type modelPage struct {
	mapped bool
	prot   uint8
	value  byte
}

// model is an address space as a table of pages: slow, and plainly right.
type model struct {
	pages [modelPages]modelPage
}

const modelPages = 96

func (m *model) each(lo, n int, f func(*modelPage)) {
	for i := lo; i < lo+n; i++ {
		f(&m.pages[i])
	}
}

func (m *model) all(lo, n int) bool {
	ok := true
	m.each(lo, n, func(p *modelPage) { ok = ok && p.mapped })
	return ok
}

// TestSpaceModel does the same random operations to an address space and to a table of pages.
func TestSpaceModel(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newMemWorld(t)
			runSpaceModel(t, w, rand.New(rand.NewPCG(seed, 1)), 1000)
		})
	}
}

func runSpaceModel(t *testing.T, w *memWorld, r *rand.Rand, steps int) {
	var m model
	base := w.machine.lo + 64*pageSize
	at := func(page int) abi.Addr { return base + abi.Addr(page)*pageSize }
	prots := []uint32{0, abi.PROT_READ, abi.PROT_READ | abi.PROT_WRITE, abi.PROT_READ | abi.PROT_EXEC, abi.PROT_READ | abi.PROT_WRITE | abi.PROT_EXEC}
	for step := range steps {
		lo := r.IntN(modelPages)
		n := 1 + r.IntN(min(12, modelPages-lo))
		prot := prots[r.IntN(len(prots))]
		var what string
		switch op := r.IntN(7); op {
		case 0:
			what = fmt.Sprintf("map %d+%d %x", lo, n, prot)
			flags := uint32(abi.MAP_PRIVATE | abi.MAP_ANONYMOUS | abi.MAP_FIXED)
			if r.IntN(8) == 0 {
				flags |= abi.MAP_POPULATE
			}
			if got := w.ok(w.memMap(at(lo), uint64(n)*pageSize, prot, flags, -1, 0)); got != uint64(at(lo)) {
				t.Fatalf("step %d: %s: at %#x", step, what, got)
			}
			m.each(lo, n, func(p *modelPage) { *p = modelPage{mapped: true, prot: uint8(prot)} })
		case 1:
			what = fmt.Sprintf("unmap %d+%d", lo, n)
			w.ok(w.memUnmap(at(lo), uint64(n)*pageSize))
			m.each(lo, n, func(p *modelPage) { *p = modelPage{} })
		case 2:
			what = fmt.Sprintf("protect %d+%d %x", lo, n, prot)
			_, errno := w.memProtect(at(lo), uint64(n)*pageSize, prot)
			if want := m.all(lo, n); want != (errno == 0) {
				t.Fatalf("step %d: %s: %v, all mapped: %v", step, what, errno, want)
			}
			for i := lo; i < lo+n && m.pages[i].mapped; i++ {
				m.pages[i].prot = uint8(prot)
			}
		case 3:
			what = fmt.Sprintf("discard %d+%d", lo, n)
			_, errno := w.memAdvise(at(lo), uint64(n)*pageSize, abi.MADV_DONTNEED)
			if want := m.all(lo, n); want != (errno == 0) {
				t.Fatalf("step %d: %s: %v, all mapped: %v", step, what, errno, want)
			}
			m.each(lo, n, func(p *modelPage) { p.value = 0 })
		case 4:
			to := r.IntN(modelPages)
			k := 1 + r.IntN(min(12, modelPages-to))
			what = fmt.Sprintf("remap %d+%d to %d+%d", lo, n, to, k)
			_, errno := w.memRemap(at(lo), uint64(n)*pageSize, uint64(k)*pageSize, abi.MREMAP_MAYMOVE|abi.MREMAP_FIXED, at(to))
			switch {
			case to < lo+n && lo < to+k:
				if errno != abi.EINVAL {
					t.Fatalf("step %d: %s: %v for overlapping places", step, what, errno)
				}
			case !m.alike(lo, n):
				if errno != abi.EFAULT {
					t.Fatalf("step %d: %s: %v, want EFAULT", step, what, errno)
				}
			case errno != 0:
				t.Fatalf("step %d: %s: %v", step, what, errno)
			default:
				old := append([]modelPage(nil), m.pages[lo:lo+n]...)
				m.each(lo, n, func(p *modelPage) { *p = modelPage{} })
				for i := range k {
					m.pages[to+i] = modelPage{mapped: true, prot: old[0].prot}
					if i < n {
						m.pages[to+i].value = old[i].value
					}
				}
			}
		default:
			what = "write"
			for range 8 {
				i, v := r.IntN(modelPages), byte(1+r.IntN(255))
				p := &m.pages[i]
				want := p.mapped && p.prot&abi.PROT_WRITE != 0
				if got := poke(at(i), v); got != want {
					t.Fatalf("step %d: write to page %d (%+v): %v", step, i, *p, got)
				}
				if want {
					p.value = v
				}
			}
		}
		for i, p := range m.pages {
			v, ok := peek(at(i))
			if want := p.mapped && p.prot != 0; ok != want || ok && v != p.value {
				t.Fatalf("step %d: after %s: page %d reads %d, %v; want %+v", step, what, i, v, ok, p)
			}
		}
		checkSet(t, &w.proc.mem().set)
		s := w.proc.mem()
		host, all := w.machine.hostMappings(t)
		if bound := 2*s.set.hosted + 1 + 2*len(s.kept); host > s.set.hosted || all > bound {
			t.Fatalf("step %d: after %s: the host has %d mappings and %d in all, %d were counted, %d kept", step, what, host, all, s.set.hosted, len(s.kept))
		}
		if got, want := w.proc.mem().mapped, uint64(m.count())*pageSize; got != want {
			t.Fatalf("step %d: after %s: %d bytes mapped, want %d", step, what, got, want)
		}
	}
	free := w.kernel.ram.left
	w.proc.mem().release()
	if used := w.kernel.commit.used.Load(); used != 0 {
		t.Errorf("%d bytes of memory are still charged for an empty space", used)
	}
	if left := w.kernel.ram.left; left < free || left != memRAM-1<<20 || len(w.kernel.ram.free) != 1 {
		t.Errorf("%d bytes of RAM are free in %d runs, of an empty space; had %d", left, len(w.kernel.ram.free), free)
	}
	for i, b := range w.machine.ram[1<<20:] {
		if b != 0 {
			t.Fatalf("free RAM at %#x is not zero", i+1<<20)
		}
	}
}

func (m *model) count() (n int) {
	for _, p := range m.pages {
		if p.mapped {
			n++
		}
	}
	return n
}

func (m *model) alike(lo, n int) bool {
	ok := m.all(lo, n)
	m.each(lo, n, func(p *modelPage) { ok = ok && p.prot == m.pages[lo].prot })
	return ok
}
