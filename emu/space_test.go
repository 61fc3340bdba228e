package emu

import (
	"testing"

	"pinhole/abi"
)

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
