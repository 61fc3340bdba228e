package ext4

import (
	"fmt"
	"testing"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// TestZeroRangeInPlace zeroes a range of a file: its blocks stay where they are, and read as zeros.
func TestZeroRangeInPlace(t *testing.T) {
	for _, bs := range []string{"1024", "4096"} {
		fs, dev := mount(t, mkfs(t, "64M", "-b", bs), true, Options{})
		root := fs.Root()
		n := create(t, root, "file", abi.S_IFREG|0o644)
		n.Write(0, 3<<20, &pattern{})
		if e := n.Sync(false); e != 0 {
			t.Fatal(e)
		}
		before := n.(*inode).runs.list[0].start()
		free := fs.freeBlocks.Load()
		if e := n.(vfs.Allocator).Allocate(abi.FALLOC_FL_ZERO_RANGE, 1<<20+100, 1<<20); e != 0 {
			t.Fatal(e)
		}
		if k := fs.freeBlocks.Load(); k != free {
			t.Errorf("block size %s: %d blocks were taken", bs, free-k)
		}
		for at := uint32(0); int64(at)<<fs.bsLog < 3<<20; {
			r, err := n.(*inode).mapRun(at)
			if err != nil || r.start() != before+uint64(at) {
				t.Fatalf("block size %s: block %d is at %d, %v, was at %d", bs, at, r.start(), err, before+uint64(at))
			}
			at += r.n
		}
		checkRuns(t, n.(*inode))
		zeroed := func(off int64) bool { return off >= 1<<20+100 && off < 2<<20+100 }
		got := readAll(t, n)
		for i, b := range got {
			want := patternAt(int64(i), 0)
			if zeroed(int64(i)) {
				want = 0
			}
			if b != want {
				t.Fatalf("block size %s: byte %d is %#x, want %#x", bs, i, b, want)
			}
		}
		n.Unref()
		root.Unref()
		if e := fs.Unmount(); e != 0 {
			t.Fatal(e)
		}
		fsck(t, dev.Content())
	}
}

// TestCutInManyGroups frees files whose blocks lie in more groups than one transaction of a small journal
// has room for.
func TestCutInManyGroups(t *testing.T) {
	fs, dev := mount(t, mkfs(t, "64M", "-b", "1024", "-g", "512", "-J", "size=1", "-N", "2048"), true, Options{})
	root := fs.Root()
	size := int64(40 << 20)
	n := create(t, root, "file", abi.S_IFREG|0o644)
	if _, _, e := n.Write(0, int(size), &pattern{}); e != 0 {
		t.Fatal(e)
	}
	if e := n.Sync(false); e != 0 {
		t.Fatal(e)
	}
	if e := n.(vfs.Allocator).Allocate(abi.FALLOC_FL_PUNCH_HOLE|abi.FALLOC_FL_KEEP_SIZE, 5<<20, 20<<20); e != 0 {
		t.Errorf("punch: %v", e)
	}
	if e := n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: 3 << 20}); e != 0 {
		t.Errorf("truncate: %v", e)
	}
	checkPattern(t, n, 3<<20, 0, false)
	n.Unref()
	// A directory's blocks have to be forgotten by the journal, too.
	d := create(t, root, "dir", abi.S_IFDIR|0o755)
	for i := range 4000 {
		create(t, d, fmt.Sprintf("%0200d", i), abi.S_IFIFO|0o644).Unref()
		if i >= 1500 {
			d.Unlink(fmt.Sprintf("%0200d", i-1500))
		}
	}
	for i := range 1500 {
		d.Unlink(fmt.Sprintf("%0200d", i+2500))
	}
	d.Unref()
	if e := root.Rmdir("dir"); e != 0 {
		t.Error(e)
	}
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	checkNothingLeft(t, fs)
	fsck(t, dev.Content())
}

// TestLargestFile writes at the end of the largest file that there can be.
func TestLargestFile(t *testing.T) {
	for _, bs := range []string{"1024", "4096"} {
		fs, dev := mount(t, mkfs(t, "32M", "-b", bs), true, Options{})
		root := fs.Root()
		n := create(t, root, "file", abi.S_IFREG|0o644)
		end := fs.maxSize()
		if want := int64(1<<32-1) << fs.bsLog; end > want || end < want-1<<20 {
			t.Errorf("block size %s: the largest file has %d bytes", bs, end)
		}
		off := end - 10000
		if k, _, e := n.Write(off, 20000, &pattern{off: off}); e != 0 || k != 10000 {
			t.Errorf("block size %s: write across the limit: %d, %v", bs, k, e)
		}
		if _, _, e := n.Write(end, 1, &pattern{}); e != abi.EFBIG {
			t.Errorf("block size %s: write behind the limit: %v", bs, e)
		}
		n.Write(0, 10, &pattern{})
		check := func() {
			t.Helper()
			if at, e := n.(vfs.HoleSeeker).SeekData(1 << 20); e != 0 || at != off&^int64(fs.bs-1) {
				t.Errorf("block size %s: data at %d, %v", bs, at, e)
			}
			var s sink
			if k, e := n.Read(off-100, 20000, &s); e != 0 || k != 10100 {
				t.Fatalf("block size %s: read at the end: %d, %v", bs, k, e)
			}
			for i, b := range s.Bytes() {
				if want := patternAt(off-100+int64(i), 0); i >= 100 && b != want || i < 100 && b != 0 {
					t.Fatalf("block size %s: byte %d from the end is %#x", bs, 10100-i, b)
				}
			}
		}
		check()
		if e := n.Sync(false); e != 0 {
			t.Fatal(e)
		}
		check()
		if e := n.(vfs.Allocator).Allocate(abi.FALLOC_FL_PUNCH_HOLE|abi.FALLOC_FL_KEEP_SIZE, 4096, off+1-4096); e != 0 {
			t.Errorf("block size %s: punch of all between: %v", bs, e)
		}
		if e := n.(vfs.Allocator).Allocate(0, end-5000, 5001); e != abi.EFBIG {
			t.Errorf("block size %s: allocate beyond the limit: %v", bs, e)
		}
		n.Unref()
		root.Unref()
		if e := fs.Unmount(); e != 0 {
			t.Fatal(e)
		}
		fsck(t, dev.Content())
	}
}
