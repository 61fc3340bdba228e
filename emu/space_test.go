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

// checkSet checks what must always hold of a vmaSet.
func checkSet(t *testing.T, s *vmaSet) {
	t.Helper()
	n, hosted := 0, 0
	var end abi.Addr
	for _, r := range s.runs {
		if len(r.v) == 0 || len(r.v) > runMax {
			t.Fatalf("a run of %d mappings", len(r.v))
		}
		if r.ok {
			gap := uint64(0)
			for i := 1; i < len(r.v); i++ {
				gap = max(gap, uint64(r.v[i].start-r.v[i-1].end))
			}
			if gap != r.gap {
				t.Fatalf("the largest gap of a run is taken for %#x, and is %#x", r.gap, gap)
			}
		}
		for i := range r.v {
			v := &r.v[i]
			if v.start >= v.end || v.start < end {
				t.Fatalf("mapping [%#x, %#x) behind %#x", v.start, v.end, end)
			}
			end = v.end
			n++
			if v.back != BackNone {
				hosted++
			}
		}
	}
	if n != s.n || hosted != s.hosted {
		t.Fatalf("%d mappings, %d hosted; counted %d, %d", n, hosted, s.n, s.hosted)
	}
}

// TestSetGap compares the search for free space with one page by page.
func TestSetGap(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 300 {
		var s vmaSet
		const pages = 400
		var used [pages]bool
		for range r.IntN(250) {
			lo := r.IntN(pages)
			hi := min(pages, lo+1+r.IntN(3))
			v := vma{start: abi.Addr(lo+1) * pageSize, end: abi.Addr(hi+1) * pageSize, prot: uint8(r.IntN(8)), back: BackRAM, off: int64(r.IntN(1000)) * pageSize}
			if !s.free(v.start, v.end) {
				continue
			}
			s.put(v)
			for i := lo; i < hi; i++ {
				used[i] = true
			}
		}
		checkSet(t, &s)
		for range 20 {
			lo := r.IntN(pages)
			hi := lo + 1 + r.IntN(pages-lo)
			n := 1 + r.IntN(10)
			want := -1
			for at := hi - n; at >= lo && want < 0; at-- {
				want = at
				for i := at; i < at+n; i++ {
					if used[i] {
						want = -1
						break
					}
				}
			}
			a, ok := s.gap(abi.Addr(lo+1)*pageSize, abi.Addr(hi+1)*pageSize, uint64(n)*pageSize)
			if ok != (want >= 0) || ok && a != abi.Addr(want+1)*pageSize {
				t.Fatalf("%d pages in [%d, %d): %#x %v, want page %d", n, lo, hi, a, ok, want)
			}
		}
	}
}

func TestMemMapErrors(t *testing.T) {
	w := newMemWorld(t)
	const anon = abi.MAP_PRIVATE | abi.MAP_ANONYMOUS
	rw := uint32(abi.PROT_READ | abi.PROT_WRITE)
	at := w.machine.lo + 1<<20
	w.ok(w.memMap(at, pageSize, rw, anon|abi.MAP_FIXED, -1, 0))
	for _, c := range []struct {
		name  string
		addr  abi.Addr
		n     uint64
		flags uint32
		fd    int32
		off   int64
		want  abi.Errno
	}{
		{"no length", 0, 0, anon, -1, 0, abi.EINVAL},
		{"length overflows", 0, ^uint64(0), anon, -1, 0, abi.ENOMEM},
		{"more than there is", 0, 1 << 46, anon, -1, 0, abi.ENOMEM},
		{"nearly as much as there is", 0, 1<<30 - 64<<20, anon, -1, 0, 0},
		{"neither shared nor private", 0, pageSize, abi.MAP_ANONYMOUS, -1, 0, abi.EINVAL},
		{"misaligned place", at + 1, pageSize, anon | abi.MAP_FIXED, -1, 0, abi.EINVAL},
		{"outside", 0x1000, pageSize, anon | abi.MAP_FIXED, -1, 0, abi.ENOMEM},
		{"wraps", ^abi.Addr(0) &^ 4095, 2 * pageSize, anon | abi.MAP_FIXED, -1, 0, abi.ENOMEM},
		{"taken", at, pageSize, anon | abi.MAP_FIXED_NOREPLACE, -1, 0, abi.EEXIST},
		{"misaligned offset", 0, pageSize, abi.MAP_PRIVATE, 0, 1, abi.EINVAL},
		{"no file", 0, pageSize, abi.MAP_PRIVATE, 99, 0, abi.EBADF},
		{"huge pages", 0, pageSize, anon | abi.MAP_HUGETLB, -1, 0, abi.ENOMEM},
		{"sync", 0, pageSize, abi.MAP_SHARED_VALIDATE | abi.MAP_SYNC | abi.MAP_ANONYMOUS, -1, 0, abi.EOPNOTSUPP},
	} {
		if _, errno := w.memMap(c.addr, c.n, rw, c.flags, c.fd, c.off); errno != c.want {
			t.Errorf("%s: %v, want %v", c.name, errno, c.want)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	w := newMemWorld(t)
	w.kernel.commit.limit = 64 << 20
	const anon = abi.MAP_PRIVATE | abi.MAP_ANONYMOUS
	rw := uint32(abi.PROT_READ | abi.PROT_WRITE)
	a := abi.Addr(w.ok(w.memMap(0, 48<<20, rw, anon, -1, 0)))
	w.fails(abi.ENOMEM)(w.memMap(0, 32<<20, rw, anon, -1, 0))
	b := abi.Addr(w.ok(w.memMap(0, 256<<20, abi.PROT_NONE, anon, -1, 0)))
	w.fails(abi.ENOMEM)(w.memProtect(b, 32<<20, rw))
	w.ok(w.memUnmap(a, 40<<20))
	w.ok(w.memProtect(b, 32<<20, rw))
	if !poke(b, 1) {
		t.Error("page cannot be written")
	}
}

// TestMappingLimit makes as many mappings as there may be, and goes on from there.
func TestMappingLimit(t *testing.T) {
	w := newMemWorld(t)
	s := w.proc.mem()
	// Without host calls: empty space that is mapped differently counts as well.
	n := 0
	for ; ; n++ {
		flags := vmaFlags(0)
		if n%2 == 0 {
			flags = vmaStack
		}
		s.lock()
		errno := s.mapAnon(s.lo+abi.Addr(n)*pageSize, pageSize, 0, flags, false)
		s.unlock()
		if errno != 0 {
			break
		}
	}
	if n < 65000 || s.set.n > maxMappings {
		t.Errorf("%d mappings were admitted", n)
	}
	checkSet(t, &s.set)
	w.fails(abi.ENOMEM)(w.memMap(0, pageSize, abi.PROT_READ, abi.MAP_PRIVATE|abi.MAP_ANONYMOUS, -1, 0))
	w.ok(w.memUnmap(s.lo, 1000*pageSize))
	w.ok(w.memMap(0, pageSize, abi.PROT_READ, abi.MAP_PRIVATE|abi.MAP_ANONYMOUS, -1, 0))
}

// TestHostOutOfMappings lets the host refuse each call of an operation in turn: nothing may get lost.
func TestHostOutOfMappings(t *testing.T) {
	for fail := range 6 {
		w := newMemWorld(t)
		const anon = abi.MAP_PRIVATE | abi.MAP_ANONYMOUS
		rw := uint32(abi.PROT_READ | abi.PROT_WRITE)
		a := abi.Addr(w.ok(w.memMap(0, 8*pageSize, rw, anon, -1, 0)))
		for i := range 8 {
			poke(a+abi.Addr(i)*pageSize, byte(i+1))
		}
		w.ok(w.memProtect(a+2*pageSize, pageSize, abi.PROT_READ))
		w.ok(w.memProtect(a+2*pageSize, pageSize, rw))
		w.machine.fail = fail
		b, errno := w.memRemap(a, 8*pageSize, 16*pageSize, abi.MREMAP_MAYMOVE|abi.MREMAP_FIXED, a-1<<20)
		w.machine.fail = -1
		at := a
		if errno == 0 {
			at = abi.Addr(b)
		}
		for i := range 8 {
			if v, ok := peek(at + abi.Addr(i)*pageSize); !ok || v != byte(i+1) {
				t.Errorf("host fails after %d calls, remap %v: page %d is %d %v", fail, errno, i, v, ok)
			}
		}
		checkSet(t, &w.proc.mem().set)
		w.proc.mem().release()
		if used := w.kernel.commit.used.Load(); used != 0 {
			t.Errorf("host fails after %d calls: %d bytes are still charged", fail, used)
		}
		if left := w.kernel.ram.left; left != memRAM-1<<20 {
			t.Errorf("host fails after %d calls: %d bytes of RAM are lost", fail, memRAM-1<<20-left)
		}
	}
}

// TestProtectToggle switches a page between writable and executable, as a code generator does.
func TestProtectToggle(t *testing.T) {
	w := newMemWorld(t)
	rw, rx := uint32(abi.PROT_READ|abi.PROT_WRITE), uint32(abi.PROT_READ|abi.PROT_EXEC)
	a := abi.Addr(w.ok(w.memMap(0, 4*pageSize, rw, abi.MAP_PRIVATE|abi.MAP_ANONYMOUS, -1, 0)))
	for i := range 50 {
		if !poke(a+pageSize, byte(i)) {
			t.Fatal("cannot write")
		}
		calls := w.machine.calls
		w.ok(w.memProtect(a, 4*pageSize, rx))
		if v, ok := peek(a + pageSize); !ok || v != byte(i) {
			t.Fatalf("round %d: content %d, %v", i, v, ok)
		}
		if poke(a+pageSize, 1) {
			t.Fatal("writable")
		}
		w.ok(w.memProtect(a, 4*pageSize, rw))
		if n := w.machine.calls - calls; n != 2 {
			t.Fatalf("round %d: two changes of protection took %d host calls", i, n)
		}
	}
}

// TestThreadStack does what a C library does for threads' stacks. After the first, that takes no host call, and
// what a thread left behind is not there for the next.
func TestThreadStack(t *testing.T) {
	w := newMemWorld(t)
	const pages, guard = 36, 1
	for round := range 5 {
		calls := w.machine.calls
		a := abi.Addr(w.ok(w.memMap(0, pages*pageSize, abi.PROT_NONE, abi.MAP_PRIVATE|abi.MAP_ANONYMOUS, -1, 0)))
		w.ok(w.memProtect(a+guard*pageSize, (pages-guard)*pageSize, abi.PROT_READ|abi.PROT_WRITE))
		if poke(a, 1) {
			t.Error("the guard page can be written")
		}
		top := a + pages*pageSize
		for _, at := range []abi.Addr{top - 1, top - windowSize, a + 20*pageSize} {
			if at < top-windowSize && round%2 == 0 {
				continue // deeper only every other time
			}
			if v, ok := peek(at); !ok || v != 0 {
				t.Errorf("round %d: %d pages below the top: %d %v", round, (top-at)/pageSize, v, ok)
			}
			if !poke(at, 1) {
				t.Errorf("round %d: %d pages below the top cannot be written", round, (top-at)/pageSize)
			}
		}
		checkSet(t, &w.proc.mem().set)
		w.ok(w.memUnmap(a, pages*pageSize))
		n := w.machine.calls - calls
		if round == 0 && n != 1 || round > 0 && round%2 == 0 && n != 0 {
			t.Errorf("round %d: %d host calls", round, n)
		}
	}
	if w.proc.mem().set.n != 0 || w.kernel.commit.used.Load() != 0 {
		t.Error("something is left")
	}
	// Anything else in that place finds nothing of it.
	for _, prot := range []uint32{abi.PROT_NONE, abi.PROT_READ, abi.PROT_READ | abi.PROT_WRITE} {
		a := abi.Addr(w.ok(w.memMap(0, 36*pageSize, 0, abi.MAP_PRIVATE|abi.MAP_ANONYMOUS, -1, 0)))
		w.ok(w.memProtect(a+pageSize, 35*pageSize, 3))
		poke(a+36*pageSize-1, 9)
		w.ok(w.memUnmap(a, 36*pageSize))
		b := abi.Addr(w.ok(w.memMap(0, 2*pageSize, prot, abi.MAP_PRIVATE|abi.MAP_ANONYMOUS, -1, 0)))
		if b != a+34*pageSize {
			t.Fatal("it came to lie elsewhere")
		}
		if v, ok := peek(b + 2*pageSize - 1); ok != (prot != 0) || v != 0 {
			t.Errorf("protection %d: reads %d %v", prot, v, ok)
		}
		if _, ok := peek(b - pageSize); ok {
			t.Error("the rest of the window can be read")
		}
		w.ok(w.memUnmap(b, 2*pageSize))
	}
	w.proc.mem().release()
	if n, all := w.machine.hostMappings(t); n != 0 || all != 1 {
		t.Errorf("the host has %d mappings left", n)
	}
}

func TestMemBreak(t *testing.T) {
	w := newMemWorld(t)
	s := w.proc.mem()
	s.heap = s.lo + 1<<20
	s.brk = s.heap
	start := w.ok(w.memBreak(0))
	if got := w.ok(w.memBreak(abi.Addr(start + 10000))); got != start+10000 {
		t.Fatalf("break at %#x", got)
	}
	if !poke(abi.Addr(start+9999), 7) || poke(abi.Addr(start+3*pageSize), 7) {
		t.Error("the heap does not end with its last page")
	}
	w.ok(w.memBreak(abi.Addr(start + 100)))
	if poke(abi.Addr(start+pageSize), 7) {
		t.Error("the heap did not shrink")
	}
	w.ok(w.memMap(abi.Addr(start+1<<20), pageSize, 3, abi.MAP_PRIVATE|abi.MAP_ANONYMOUS|abi.MAP_FIXED, -1, 0))
	if got := w.ok(w.memBreak(abi.Addr(start + 2<<20))); got != start+100 {
		t.Errorf("the heap grew into a mapping: %#x", got)
	}
	if got := w.ok(w.memBreak(^abi.Addr(0))); got != start+100 {
		t.Errorf("the break went to the end of the world: %#x", got)
	}
}

// TestRemapGrow grows a mapping as realloc does: it moves at most once every doubling.
func TestRemapGrow(t *testing.T) {
	w := newMemWorld(t)
	rw := uint32(abi.PROT_READ | abi.PROT_WRITE)
	a := abi.Addr(w.ok(w.memMap(0, 16*pageSize, rw, abi.MAP_PRIVATE|abi.MAP_ANONYMOUS, -1, 0)))
	moves := 0
	for n := uint64(16); n < 1024; n += 16 {
		poke(a+abi.Addr(n-1)*pageSize, byte(n))
		b := abi.Addr(w.ok(w.memRemap(a, n*pageSize, (n+16)*pageSize, abi.MREMAP_MAYMOVE, 0)))
		if b != a {
			moves++
		}
		a = b
		for i := uint64(16); i <= n; i += 16 {
			if v, ok := peek(a + abi.Addr(i-1)*pageSize); !ok || v != byte(i) {
				t.Fatalf("page %d of %d: %d %v", i-1, n, v, ok)
			}
		}
	}
	if moves > 7 {
		t.Errorf("%d moves", moves)
	}
}

// TestSetPut: pages that take turns to be of one kind or another, so that mappings are joined on both sides
// and runs with them.
func TestSetPut(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 9))
	const pages = 600
	f := &mappedFile{}
	for range 20 {
		var s vmaSet
		var kind [pages]Backing
		s.put(vma{end: pages * pageSize, file: f})
		f.refs = 1
		for step := range 6000 {
			lo := r.IntN(pages)
			hi := min(pages, lo+1+r.IntN(3))
			back := []Backing{BackNone, BackRAM, BackAnon}[r.IntN(3)]
			if step/1000%2 == 1 {
				back = BackNone // until there are few again
			}
			v := vma{start: abi.Addr(lo) * pageSize, end: abi.Addr(hi) * pageSize, back: back, file: f, fileOff: int64(lo) * pageSize}
			if back == BackRAM {
				v.off = int64(r.IntN(2))<<30 + int64(lo)*pageSize
			}
			f.refs -= len(s.take(v.start, v.end, nil)) - 1
			s.put(v)
			for i := lo; i < hi; i++ {
				kind[i] = back
			}
			if step%500 == 0 {
				checkSet(t, &s)
			}
		}
		for i, want := range kind {
			if v := s.find(abi.Addr(i) * pageSize); v == nil || v.back != want {
				t.Fatalf("page %d is %v, want of kind %d", i, v, want)
			}
		}
		if f.refs != s.n {
			t.Fatalf("%d references of %d mappings", f.refs, s.n)
		}
	}
}
