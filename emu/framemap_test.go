package emu

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/fs/vfs"
)

const rw = abi.PROT_READ | abi.PROT_WRITE

// mapFD maps pages of an open file.
func (w *memWorld) mapFD(fd int32, pages uint64, prot, flags uint32, page int64) abi.Addr {
	w.Helper()
	return abi.Addr(w.ok(w.memMap(0, pages*pageSize, prot, flags, fd, page*pageSize)))
}

// sees fails the test unless the byte at a is want; -1: it cannot be read.
func (w *memWorld) sees(what string, a abi.Addr, want int) {
	w.Helper()
	v, ok := peek(a)
	switch {
	case want < 0 && ok:
		w.Errorf("%s can be read: %d", what, v)
	case want >= 0 && (!ok || int(v) != want):
		w.Errorf("%s reads %d %v, want %d", what, v, ok, want)
	}
}

// get and put are pread and pwrite of a byte.
func (w *memWorld) get(fd int32, off int64) int {
	w.Helper()
	p, a := w.mem.alloc(1)
	if w.ok(w.filePread(fd, a, 1, off)) == 0 {
		return -1
	}
	return int(p[0])
}

func (w *memWorld) put(fd int32, off int64, v byte) {
	w.Helper()
	w.ok(w.filePwrite(fd, w.mem.bytes(string([]byte{v})), 1, off))
}

func TestFramesShared(t *testing.T) {
	w := newMemWorld(t)
	n := w.newFrameNode(6*pageSize - 100)
	n.hole[2] = true
	fd := w.openNode(n, modeRead|modeWrite)
	a := w.mapFD(fd, 8, rw, abi.MAP_SHARED, 0)
	b := w.mapFD(fd, 8, abi.PROT_READ, abi.MAP_SHARED, 0)
	p := w.mapFD(fd, 8, abi.PROT_READ, abi.MAP_PRIVATE, 0)
	for page := range int64(8) {
		want := int(imageByte(page*pageSize + 9))
		switch {
		case page == 2:
			want = 0
		case page >= 6:
			want = -1
		}
		for _, m := range []abi.Addr{a, b, p} {
			w.sees("page "+string(rune('0'+page)), m+abi.Addr(page*pageSize+9), want)
		}
	}
	w.sees("behind the end", a+6*pageSize-1, 0)

	// Stores are seen at once by everybody but a private mapping, which may take a while.
	for _, page := range []abi.Addr{0, 2, 5} {
		at := page*pageSize + 40
		if !poke(a+at, 200) {
			t.Fatalf("page %d cannot be stored to", page)
		}
		w.sees("another mapping", b+at, 200)
		if v := w.get(fd, int64(at)); v != 200 {
			t.Errorf("page %d: read gives %d", page, v)
		}
	}
	// Writes as well: into pages that have a frame, and into those that were shown from the image.
	for _, page := range []abi.Addr{0, 2, 3} {
		at := page*pageSize + 41
		w.put(fd, int64(at), 201)
		w.sees("mapping after write", a+at, 201)
		w.sees("mapping after write", b+at, 201)
	}
	w.sees("private mapping after write", p+3*pageSize+41, 201)
	// A page is claimed once, and shown by one mapping of the host.
	asked := n.asked
	poke(a+50, 1)
	poke(a+51, 2)
	if n.asked != asked {
		t.Error("a page was claimed again")
	}
	// The cache takes its frames back.
	n.evict()
	w.sees("after eviction", a+40, 200)
	w.sees("after eviction", b+2*pageSize+41, 201)
	poke(b+40, 7) // not allowed
	poke(a+40, 203)
	w.sees("another mapping", b+40, 203)

	w.ok(w.memUnmap(a, 8*pageSize))
	if len(n.pinned) == 0 {
		t.Error("no page is pinned")
	}
	w.ok(w.memUnmap(b, 8*pageSize))
	if len(n.pinned) != 0 || len(w.kernel.shares.files) != 0 {
		t.Errorf("%d pages are pinned, %d files shared", len(n.pinned), len(w.kernel.shares.files))
	}
	if v := w.get(fd, 40); v != 203 {
		t.Errorf("the store before munmap became %d", v)
	}
	w.ok(w.memUnmap(p, 8*pageSize))
	w.ok(w.fdClose(fd))
	if n.refs != 0 || len(w.kernel.images.files) != 0 {
		t.Errorf("%d references, %d files", n.refs, len(w.kernel.images.files))
	}
	checkSet(t, &w.proc.mem().set)
}

// TestFramesSize: what happens under mappings when the file becomes shorter, longer, and gets holes.
func TestFramesSize(t *testing.T) {
	w := newMemWorld(t)
	n := w.newFrameNode(6 * pageSize)
	fd := w.openNode(n, modeRead|modeWrite)
	a := w.mapFD(fd, 8, rw, abi.MAP_SHARED, 0)
	p := w.mapFD(fd, 8, rw, abi.MAP_PRIVATE, 0)
	for page := range abi.Addr(6) {
		poke(a+page*pageSize, byte(100+page))
	}
	n.truncate(3*pageSize + 10)
	for page := range abi.Addr(8) {
		want := 100 + int(page)
		if page > 3 {
			want = -1
		}
		w.sees("shared, shorter", a+page*pageSize, want)
		if page > 3 {
			w.sees("private, shorter", p+page*pageSize, -1)
		}
	}
	if poke(a+4*pageSize, 1) {
		t.Error("a store behind the end")
	}
	poke(a+3*pageSize+20, 9) // behind the end in the last page
	n.truncate(6 * pageSize)
	w.sees("shared, longer", a+4*pageSize, 0)
	w.sees("private, longer", p+5*pageSize, 0)
	n.punch(0, 2)
	w.sees("shared, punched", a, 0)
	w.sees("private, punched", p+pageSize, 0)
	w.sees("shared, not punched", a+2*pageSize, 102)
	// A full disk, and a bad one.
	n.room = 0
	if poke(a, 1) {
		t.Error("a store into a hole without room for it")
	}
	w.sees("the hole", a, 0)
	n.room = 1
	if !poke(a, 1) {
		t.Error("no store into a hole with room for it")
	}
	n.evict()
	n.fail = abi.EIO
	w.sees("a page that cannot be read", a+2*pageSize, -1)
	n.fail = 0
	w.sees("a page that can", a+2*pageSize, 102)
}

func TestFramesCalls(t *testing.T) {
	w := newMemWorld(t)
	n := w.newFrameNode(20 * pageSize)
	fd := w.openNode(n, modeRead|modeWrite)
	ro := w.openNode(n, modeRead)
	a := w.mapFD(fd, 20, abi.PROT_READ, abi.MAP_SHARED, 0)
	c := w.mapFD(ro, 20, abi.PROT_READ, abi.MAP_SHARED, 0)
	w.fails(abi.EACCES)(w.memProtect(c, pageSize, rw))
	if poke(a, 1) {
		t.Error("a store to what may only be read")
	}
	w.ok(w.memProtect(a, 2*pageSize, rw))
	if !poke(a, 11) || !poke(a+pageSize, 12) || poke(a+2*pageSize, 13) {
		t.Error("stores after mprotect")
	}
	w.ok(w.memProtect(a, pageSize, abi.PROT_READ))
	if poke(a, 99) {
		t.Error("a store after mprotect")
	}
	w.sees("another mapping", c, 11)
	w.ok(w.memProtect(a, 20*pageSize, rw))
	// Discarded shared pages are the file's still.
	w.ok(w.memAdvise(a, 20*pageSize, abi.MADV_DONTNEED))
	w.sees("after MADV_DONTNEED", a+pageSize, 12)
	// Moved and made longer.
	n.truncate(30 * pageSize)
	poke(a+5*pageSize, 15)
	b := abi.Addr(w.ok(w.memRemap(a, 20*pageSize, 30*pageSize, abi.MREMAP_MAYMOVE, 0)))
	w.sees("moved", b+5*pageSize, 15)
	w.put(fd, 6*pageSize, 16)
	w.sees("moved, after write", b+6*pageSize, 16)
	poke(b+7*pageSize, 17)
	w.sees("another mapping", c+7*pageSize, 17)
	n.evict()
	w.sees("moved, after eviction", b+7*pageSize, 17)
	n.truncate(5 * pageSize)
	w.sees("moved, truncated", b+7*pageSize, -1)
	w.fails(abi.EINVAL)(w.memSync(b, pageSize, abi.MS_SYNC|abi.MS_ASYNC))
	w.fails(abi.ENOMEM)(w.memSync(b, 1<<30, abi.MS_SYNC))
	poke(b+100, 42)
	w.ok(w.memSync(b, pageSize, abi.MS_SYNC))
	if v := n.image(0)[100]; v != 42 {
		t.Errorf("msync has written %d", v)
	}
	checkSet(t, &w.proc.mem().set)
	w.proc.mem().release()
	if len(n.pinned) != 0 {
		t.Error("pages are pinned without a mapping")
	}
}

// TestFramesAhead: who stores to page after page does not ask for each.
func TestFramesAhead(t *testing.T) {
	w := newMemWorld(t)
	n := w.newFrameNode(128 * pageSize)
	a := w.mapFD(w.openNode(n, modeRead|modeWrite), 128, rw, abi.MAP_SHARED, 0)
	n.asked = 0
	for i := range abi.Addr(128) {
		poke(a+i*pageSize, byte(i))
	}
	if n.asked > 12 {
		t.Errorf("asked %d times for 128 pages", n.asked)
	}
	n.evict()
	n.asked = 0
	for i := range abi.Addr(128) {
		w.sees("page", a+i*pageSize, int(i))
	}
	if n.asked > 3 {
		t.Errorf("asked %d times to read 128 pages", n.asked)
	}
}

// TestFramesCopies: the file's content is copied from and to its own mappings, with its lock held.
func TestFramesCopies(t *testing.T) {
	w := newMemWorld(t)
	n := w.newFrameNode(64 * pageSize)
	fd := w.openNode(n, modeRead|modeWrite)
	w.ok(w.memMap(0, 1<<20, abi.PROT_NONE, abi.MAP_PRIVATE|abi.MAP_ANONYMOUS, -1, 0)) // what lies above
	a := w.mapFD(fd, 64, rw, abi.MAP_SHARED, 0)
	file := make([]byte, 64*pageSize)
	for page := range int64(64) {
		copy(file[page*pageSize:], n.image(page))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 400 {
		if i%7 == 0 {
			n.evict()
		}
		from, to := rnd.Int64N(60*pageSize), rnd.Int64N(60*pageSize)
		k := rnd.Int64N(4 * pageSize)
		if max(from, to)-min(from, to) < k {
			continue // what an overlapping copy gives is nobody's business
		}
		var done uint64
		if i%2 == 0 {
			done = w.ok(w.filePwrite(fd, a+abi.Addr(from), uint64(k), to))
		} else {
			done = w.ok(w.filePread(fd, a+abi.Addr(to), uint64(k), from))
		}
		if done != uint64(k) {
			t.Fatalf("step %d: %d of %d bytes", i, done, k)
		}
		copy(file[to:to+k], file[from:from+k])
		got := make([]byte, len(file))
		if guest.CopyIn(got, a) != len(got) || !bytes.Equal(got, file) {
			t.Fatalf("step %d: the mapping shows something else", i)
		}
	}
	if n.stops == 0 {
		t.Error("no copy was ever stopped: this tests nothing")
	}
	// What cannot be had at all is EFAULT, as far as it goes.
	w.fails(abi.EFAULT)(w.filePwrite(fd, a+64*pageSize, 10, 0))
	if done := w.ok(w.filePread(fd, a+62*pageSize, 4*pageSize, 0)); done != 2*pageSize {
		t.Errorf("%d bytes before the end of the memory", done)
	}
	copy(file[62*pageSize:], file[:2*pageSize])
	// Appending from a mapping of the file.
	d := w.proc.files.get(fd)
	d.flags.Store(d.flags.Load() | abi.O_APPEND)
	d.unref()
	n.evict()
	w.ok(w.fileWrite(fd, a+10*pageSize, 3*pageSize))
	got := make([]byte, 3*pageSize)
	if errno := readInto(got, n, 64*pageSize); errno != 0 || !bytes.Equal(got, file[10*pageSize:13*pageSize]) {
		t.Errorf("appended something else (%v)", errno)
	}
}

// TestFramesStale: what is taken away between asking and showing is asked for again.
func TestFramesStale(t *testing.T) {
	w := newMemWorld(t)
	n := &evictingNode{frameNode: w.newFrameNode(4 * pageSize)}
	a := w.mapFD(w.openNode(n, modeRead|modeWrite), 4, rw, abi.MAP_SHARED, 0)
	n.on = true
	if !poke(a, 5) {
		t.Fatal("no store")
	}
	n.on = false
	w.sees("the store", a, 5)
	if n.evictions < 3 {
		t.Errorf("%d evictions", n.evictions)
	}
	n.evict()
	w.sees("the store", a, 5)
}

type evictingNode struct {
	*frameNode
	on        bool
	evictions int
}

func (n *evictingNode) MapFrames(off, count int64, write bool) ([]vfs.Frame, abi.Errno) {
	list, errno := n.frameNode.MapFrames(off, count, write)
	if n.on && n.evictions < 3 {
		n.evictions++
		n.evict()
		n.next += 10 * pageSize // new frames elsewhere
		clear(n.w.machine.ram[:1<<20])
	}
	return list, errno
}

// TestFramesFold: a mapping of more pieces than the host has mappings is shown all the same.
func TestFramesFold(t *testing.T) {
	w := newMemWorld(t)
	n := w.newFrameNode(40 * pageSize)
	fd := w.openNode(n, modeRead|modeWrite)
	a := w.mapFD(fd, 40, rw, abi.MAP_SHARED, 0)
	w.proc.mem().set.hosted += maxHosted - 20
	for i := range abi.Addr(20) {
		if !poke(a+2*i*pageSize, byte(i+1)) {
			t.Fatalf("page %d cannot be stored to", 2*i)
		}
	}
	w.proc.mem().set.hosted -= maxHosted - 20
	for i := range abi.Addr(20) {
		w.sees("page", a+2*i*pageSize, int(i+1))
	}
	checkSet(t, &w.proc.mem().set)
}
