package emu

import (
	"math/rand/v2"
	"testing"

	"pinhole/abi"
)

// TestFramesMany: what a store to a file costs does not depend on how often the file is mapped.
func TestFramesMany(t *testing.T) {
	const pages = 16
	cost := func(mappings int) (looks uint64, asked int) {
		w := newMemWorld(t)
		n := w.newFrameNode(pages * pageSize)
		fd := w.openNode(n, modeRead|modeWrite)
		list := make([]abi.Addr, mappings)
		for i := range list {
			list[i] = w.mapFD(fd, pages, rw, abi.MAP_SHARED, 0)
		}
		n.asked = 0
		for i := len(list) - 1; i >= 0; i-- {
			for page := abi.Addr(pages); page > 0; page-- {
				if !poke(list[i]+(page-1)*pageSize, byte(i+1)) {
					t.Fatalf("page %d of mapping %d cannot be stored to", page-1, i)
				}
			}
		}
		w.sees("another mapping", list[0]+5*pageSize, 1)
		asked = n.asked
		for i, a := range list {
			if i%2 == 0 {
				w.ok(w.memUnmap(a, pages*pageSize))
			}
		}
		looks = w.kernel.images.looks.Load()
		checkSet(t, &w.proc.mem().set)
		checkImages(t, &w.kernel.images)
		w.proc.mem().release()
		if len(n.pinned) != 0 || len(w.kernel.images.files) != 0 || len(w.kernel.shares.files) != 0 {
			t.Error("the file is still mapped")
		}
		return looks, asked
	}
	fewLooks, fewAsked := cost(20)
	looks, asked := cost(400)
	t.Logf("20 mappings: looked at %d, asked %d times; 400 mappings: %d, %d", fewLooks, fewAsked, looks, asked)
	if looks > 20*fewLooks+400 {
		t.Errorf("looked at %d mappings with 400 there, at %d with 20", looks, fewLooks)
	}
	if asked > 2*400+pages*2 {
		t.Errorf("asked %d times for %d pages in 400 mappings", asked, pages)
	}
}

// checkImages fails the test unless every mapped file is where it says.
func checkImages(t *testing.T, m *images) {
	t.Helper()
	for ino, v := range m.files {
		for i, f := range v.private {
			if f.place != i || f.shared != nil || f.ino != ino {
				t.Errorf("private %d of inode %d: place %d, inode %d", i, ino, f.place, f.ino)
			}
		}
		for i, f := range v.shared {
			if f.place != i || f.shared == nil || f.ino != ino {
				t.Errorf("shared %d of inode %d: place %d, inode %d", i, ino, f.place, f.ino)
			}
		}
		if len(v.private)+len(v.shared) == 0 {
			t.Errorf("inode %d without mapped files", ino)
		}
	}
}

// TestFramesClaimedMeanwhile: pages that a thread was told are on the image are not shown from there once
// another thread has had them put into frames, by the same mapping or another one.
func TestFramesClaimedMeanwhile(t *testing.T) {
	for _, other := range []bool{false, true} {
		w := newMemWorld(t)
		n := w.newFrameNode(8 * pageSize)
		fd := w.openNode(n, modeRead|modeWrite)
		a := w.mapFD(fd, 8, rw, abi.MAP_SHARED, 0)
		b := a
		if other {
			b = w.mapFD(fd, 8, rw, abi.MAP_SHARED, 0)
		}
		s := w.proc.mem()
		f := s.set.find(a).file
		view, errno := f.view(0, 8*pageSize, false)
		if errno != 0 || view.backing(5*pageSize) != BackImage {
			t.Fatal("the page is not on the image: this tests nothing", errno)
		}
		if !poke(b+5*pageSize, 77) {
			t.Fatal("no store")
		}
		s.lock()
		_, again := s.supplyView(f, view, a, a, a+8*pageSize, false)
		s.unlock()
		if !again {
			t.Error("the view was not found stale")
		}
		w.sees("the page", a+5*pageSize, 77)
		w.sees("the page", b+5*pageSize, 77)
	}
}

// TestFramesFramedMeanwhile: a thread that finds its access seen to leaves nothing shown from the image
// of what it has had put into frames.
func TestFramesFramedMeanwhile(t *testing.T) {
	w := newMemWorld(t)
	n := w.newFrameNode(8 * pageSize)
	fd := w.openNode(n, modeRead|modeWrite)
	a := w.mapFD(fd, 8, rw, abi.MAP_SHARED, 0)
	for page := range abi.Addr(8) {
		w.sees("a page", a+page*pageSize, int(imageByte(int64(page)*pageSize)))
	}
	s := w.proc.mem()
	f := s.set.find(a).file
	view, errno := f.view(0, 2*pageSize, true)
	if errno != 0 {
		t.Fatal(errno)
	}
	// Another thread has got page 0 in between, and not page 1.
	if !poke(a, 1) {
		t.Fatal("no store")
	}
	s.lock()
	s.supplyView(f, view, a, a, a+2*pageSize, true)
	s.unlock()
	if v := s.set.find(a + pageSize); v.back == BackImage {
		t.Error("a page that has a frame is shown from the image")
	}
	w.put(fd, pageSize, 99)
	w.sees("page 1 after a write", a+pageSize, 99)
	if v := s.set.find(a + 5*pageSize); v.back != BackImage {
		t.Error("a page without a frame was taken away")
	}
}

func TestPageSet(t *testing.T) {
	var s pageSet
	has := map[int64]bool{}
	rnd := rand.New(rand.NewPCG(3, 4))
	const pages = 400
	for step := range 20000 {
		lo := rnd.Int64N(pages)
		hi := min(lo+1+rnd.Int64N(1+rnd.Int64N(150)), pages)
		switch rnd.IntN(3) {
		case 0:
			s.add(lo*pageSize, hi*pageSize)
			for p := lo; p < hi; p++ {
				has[p] = true
			}
		case 1:
			some := false
			for p := lo; p < hi; p++ {
				some = some || has[p]
				delete(has, p)
			}
			if got := s.take(lo*pageSize, hi*pageSize); got != some {
				t.Fatalf("step %d: take of [%d, %d) is %v", step, lo, hi, got)
			}
		case 2:
			from, to := s.around(lo*pageSize, hi*pageSize)
			first, end := lo, hi
			if window := lo / 64 * 64; hi <= window+64 {
				for first > window && has[first-1] {
					first--
				}
				for end < window+64 && has[end] {
					end++
				}
			}
			if from != first*pageSize || to != end*pageSize {
				t.Fatalf("step %d: around [%d, %d) are [%d, %d), want [%d, %d)", step, lo, hi, from/pageSize, to/pageSize, first, end)
			}
		}
	}
	if len(s.words) > pages/64+1 {
		t.Errorf("%d words for %d pages", len(s.words), pages)
	}
	// One that is too large is as one with all pages.
	s.clear()
	const all = 64 * pageSize
	for i := range int64(pageSetMost) {
		s.add(i*2*all, i*2*all+pageSize)
	}
	if s.all || s.take(all, 2*all) {
		t.Error("it is full too early")
	}
	s.add(all, 2*all)
	if !s.all || !s.take(5*all, 6*all) || !s.take(5*all, 6*all) {
		t.Error("it has forgotten pages")
	}
	s.clear()
	if s.take(0, all) {
		t.Error("it is not empty")
	}
}
