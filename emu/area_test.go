package emu

import (
	"math/rand/v2"
	"testing"

	"pinhole/abi"
	"pinhole/fs/memfs"
	"pinhole/fs/vfs"
)

// TestAreas: parts never overlap, as many processes as are promised find room at once, and all is one piece again
// when they have gone, in whatever order.
func TestAreas(t *testing.T) {
	m := newMemMachine(t)
	k := New(Config{Machine: m, Namespace: vfs.NewNamespace(memfs.New(1 << 20))})
	whole := uint64(m.hi - m.lo)
	first := k.newSpace()
	if n := uint64(first.hi - first.lo); n != whole/8 {
		t.Errorf("the first process has %#x of %#x", n, whole)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var have []*space
	check := func() {
		t.Helper()
		owner := map[int]*space{}
		for _, s := range append(have, first) {
			if s.lo < m.lo || s.hi > m.hi || s.lo >= s.hi {
				t.Fatalf("a part at [%#x, %#x)", s.lo, s.hi)
			}
			for i := int(uint64(s.lo-m.lo) / k.areas.unit); i < int(uint64(s.hi-m.lo)/k.areas.unit); i++ {
				if owner[i] != nil {
					t.Fatalf("unit %d is in two parts", i)
				}
				owner[i] = s
			}
			if k.areas.of(s.lo) != s || k.areas.of(s.hi-1) != s {
				t.Fatal("a part is not found by its addresses")
			}
		}
		if n := len(k.areas.all()); n != len(have)+1 {
			t.Fatalf("%d spaces, want %d", n, len(have)+1)
		}
	}
	most := 0
	for range 3000 {
		if r.IntN(1000) < 500+300-len(have) {
			if s := k.newSpace(); s != nil {
				have = append(have, s)
			} else if len(have) < 60 {
				t.Fatalf("only %d processes besides the first", len(have))
			}
		} else if len(have) > 0 {
			i := r.IntN(len(have))
			have[i].release()
			have = append(have[:i], have[i+1:]...)
		}
		most = max(most, len(have))
		if r.IntN(50) == 0 {
			check()
		}
	}
	check()
	if most < 100 {
		t.Errorf("at most %d processes at once", most)
	}
	for _, s := range have {
		s.release()
	}
	first.release()
	if f := k.areas.free; len(f) != 1 || f[0].n != len(k.areas.spaces) {
		t.Errorf("free at the end: %v", f)
	}
}

// TestAreaExtend: a mapping gets the place that it asks for if that is nobody's, as do those that come next to
// it, and it is given back.
func TestAreaExtend(t *testing.T) {
	w := newMemWorld(t)
	k, s := w.kernel, w.proc.mem()
	const anon = abi.MAP_PRIVATE | abi.MAP_ANONYMOUS
	const n = 4 << 20
	other := k.newSpace()
	_, before := w.machine.hostMappings(t)
	hint := (w.machine.lo + memArea/2) &^ (n - 1)
	for i := range abi.Addr(20) {
		if a := abi.Addr(w.ok(w.memMap(hint+i*n, n, abi.PROT_NONE, anon, -1, 0))); a != hint+i*n {
			t.Fatalf("mapping %d is at %#x, not at %#x", i, a, hint+i*n)
		}
	}
	w.ok(w.memProtect(hint+n-pageSize, 2*pageSize, abi.PROT_READ|abi.PROT_WRITE))
	if !poke(hint+n, 1) || k.areas.of(hint) != s || s.inside(hint-abi.Addr(k.areas.unit), pageSize) {
		t.Error("it cannot be used")
	}
	if a := abi.Addr(w.ok(w.memMap(other.lo, n, abi.PROT_NONE, anon, -1, 0))); a == other.lo {
		t.Error("another process's place is given away")
	}
	w.fails(abi.ENOMEM)(w.memMap(other.lo, n, abi.PROT_NONE, anon|abi.MAP_FIXED, -1, 0))
	w.fails(abi.ENOMEM)(w.memMap(0x1000, n, abi.PROT_NONE, anon|abi.MAP_FIXED, -1, 0))
	if a := abi.Addr(w.ok(w.memMap(hint+1<<30, 1<<30, abi.PROT_NONE, anon, -1, 0))); a == hint+1<<30 {
		t.Error("there is no bound")
	}
	checkSet(t, &s.set)
	if all := len(k.areas.free); all < 2 {
		t.Errorf("%d free runs", all)
	}
	s.clear()
	if s.annexes != 0 || k.areas.of(hint) != nil {
		t.Error("it is not given back")
	}
	if _, all := w.machine.hostMappings(t); all != before {
		t.Errorf("the host has %d mappings, had %d", all, before)
	}
}

// TestAreaLow: the low area is one process's at a time.
func TestAreaLow(t *testing.T) {
	m := newMemMachine(t)
	k := New(Config{Machine: m, Namespace: vfs.NewNamespace(memfs.New(1 << 20))})
	k.areas.lowLo, k.areas.lowHi = 0x10000, 0x20000
	a, b := k.newSpace(), k.newSpace()
	if a.inside(0x10000, pageSize) || !k.areas.giveLow(a) || !a.inside(0x10000, pageSize) || a.inside(0x1f000, 2*pageSize) {
		t.Error("the first does not get it")
	}
	if k.areas.giveLow(b) || b.inside(0x10000, pageSize) || k.areas.of(0x10000) != a {
		t.Error("a second one gets it")
	}
	a.release()
	if k.areas.of(0x10000) != nil || !k.areas.giveLow(b) {
		t.Error("it is not given back")
	}
}

// TestSpaceRelease: what processes have mapped is gone when they are, at the host and in the books.
func TestSpaceRelease(t *testing.T) {
	w := newMemWorld(t)
	m, k := w.machine, w.kernel
	const anon = abi.MAP_PRIVATE | abi.MAP_ANONYMOUS
	rw := uint32(abi.PROT_READ | abi.PROT_WRITE)
	_, before := m.hostMappings(t)
	used, free := k.commit.used.Load(), k.ram.left
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		s := k.newSpace()
		p := &Process{kernel: k, pid: 99, tasks: map[int32]*Task{}, files: newFdTable()}
		p.fsctx.Store(&vfs.Context{Owner: p})
		p.setLimits()
		s.enter(p)
		task := &Task{ctx: m.NewContext(), kernel: k, proc: p, tid: 99}
		p.tasks[99] = task
		p.live.Store(1)
		for range r.IntN(20) {
			a, errno := task.memMap(0, uint64(1+r.IntN(40))*pageSize, rw, anon, -1, 0)
			if errno != 0 {
				t.Fatal(errno)
			}
			poke(abi.Addr(a), 1)
			switch r.IntN(4) {
			case 0:
				task.memProtect(abi.Addr(a), pageSize, abi.PROT_READ) // moves it into the RAM
			case 1:
				task.memUnmap(abi.Addr(a), pageSize)
			case 2: // a thread's stack, whose window is kept
				b, _ := task.memMap(0, 1<<20, abi.PROT_NONE, anon, -1, 0)
				task.memProtect(abi.Addr(b)+pageSize, 1<<20-pageSize, rw)
				task.memUnmap(abi.Addr(b), 1<<20)
			}
		}
		p.memory.Store(nil)
		s.leave(p)
	}
	if _, after := m.hostMappings(t); after != before {
		t.Errorf("the host has %d mappings, had %d", after, before)
	}
	if k.commit.used.Load() != used || k.ram.left != free {
		t.Errorf("in use: %d bytes and %d of the RAM", k.commit.used.Load()-used, free-k.ram.left)
	}
	if n := len(k.areas.all()); n != 1 {
		t.Errorf("%d spaces are left", n)
	}
}
