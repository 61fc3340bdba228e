package ext4

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/vfs"
)

// pattern is a Source of bytes that tell where in the file they belong.
type pattern struct {
	off  int64
	salt byte
}

func (s *pattern) Get(p []byte) (int, abi.Errno) {
	for i := range p {
		p[i] = patternAt(s.off, s.salt)
		s.off++
	}
	return len(p), 0
}

func patternAt(off int64, salt byte) byte {
	return byte(off) ^ byte(off>>8)*3 ^ byte(off>>16)*5 ^ salt | 1
}

// checkPattern makes sure that a file has its pattern, and nothing but zeros where it was not written.
func checkPattern(t *testing.T, n vfs.Node, size int64, salt byte, holes bool) {
	t.Helper()
	checkPatternBut(t, n, size, salt, func(int64) bool { return holes })
}

// checkPatternBut is checkPattern for files that may have zeros where holes says so.
func checkPatternBut(t *testing.T, n vfs.Node, size int64, salt byte, holes func(off int64) bool) {
	t.Helper()
	got := readAll(t, n)
	if int64(len(got)) != size {
		t.Errorf("inode %d has %d bytes, want %d", n.Ino(), len(got), size)
	}
	for i, b := range got {
		if want := patternAt(int64(i), salt); b != want && !(b == 0 && holes(int64(i))) {
			t.Errorf("inode %d: byte %d is %#x, want %#x", n.Ino(), i, b, want)
			return
		}
	}
}

// TestShortLived makes, writes and removes files before their time to be written has come: none of
// their content reaches the device, and no block is looked for.
func TestShortLived(t *testing.T) {
	fs, dev := mount(t, mkfs(t, "32M", "-b", "4096"), true, Options{FlushAfter: time.Hour, CommitEvery: time.Hour})
	root := fs.Root()
	free := fs.freeBlocks.Load()
	_, before, _ := dev.Counts()
	var s0, s1 vfs.StatFS
	fs.StatFS(&s0)
	for i := range 50 {
		n := create(t, root, "file", abi.S_IFREG|0o644)
		if _, _, e := n.Write(0, 100000, &pattern{salt: byte(i)}); e != 0 {
			t.Fatal(e)
		}
		var a vfs.Attr
		n.Attr(&a)
		fs.StatFS(&s1)
		if a.Blocks != 25*8 || a.Size != 100000 || s0.Bfree-s1.Bfree < 25 {
			t.Errorf("%d sectors and %d bytes, %d blocks fewer are free", a.Blocks, a.Size, s0.Bfree-s1.Bfree)
		}
		checkPattern(t, n, 100000, byte(i), false)
		if i%2 == 0 {
			n.Write(50, 10, &pattern{off: 50, salt: byte(i)}) // again: nothing more is reserved
			n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: 5000})
			if n.Attr(&a); a.Blocks != 2*8 {
				t.Errorf("%d sectors after a truncate", a.Blocks)
			}
		}
		n.Unref()
		if e := root.Unlink("file"); e != 0 {
			t.Fatal(e)
		}
	}
	if _, after, _ := dev.Counts(); after != before {
		t.Errorf("%d writes for nothing", after-before)
	}
	if k := fs.freeBlocks.Load(); k != free {
		t.Errorf("%d blocks were taken", free-k)
	}
	if k := fs.heldSpace() - fs.busyBlocks.Load(); k != 0 {
		t.Errorf("%d blocks remain reserved", k)
	}
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, dev.Content())
}

// TestHolesInMemory asks where the data is before any of it is on the device.
func TestHolesInMemory(t *testing.T) {
	for _, bs := range []string{"1024", "4096"} {
		fs, dev := mount(t, mkfs(t, "32M", "-b", bs), true, Options{FlushAfter: time.Hour})
		root := fs.Root()
		n := create(t, root, "file", abi.S_IFREG|0o644)
		h := n.(vfs.HoleSeeker)
		n.Write(1<<20, 4096, &pattern{})
		n.Write(3<<20+8192, 8192, &pattern{})
		if e := n.(vfs.Allocator).Allocate(0, 5<<20, 1<<20); e != 0 {
			t.Fatal(e)
		}
		n.Write(5<<20+4096, 4096, &pattern{})
		check := func(when string) {
			t.Helper()
			for _, c := range []struct {
				data bool
				from int64
				want int64
			}{
				{true, 0, 1 << 20}, {false, 0, 0}, {false, 1 << 20, 1<<20 + 4096}, {true, 1<<20 + 4096, 3<<20 + 8192},
				{false, 3<<20 + 9000, 3<<20 + 16384}, {true, 4 << 20, 5<<20 + 4096}, {false, 5<<20 + 5000, 5<<20 + 8192},
			} {
				got, e := h.SeekHole(c.from)
				if c.data {
					got, e = h.SeekData(c.from)
				}
				if e != 0 || got != c.want {
					t.Errorf("%s: from %d (data %v): %d, %v, want %d", when, c.from, c.data, got, e, c.want)
				}
			}
			if _, e := h.SeekData(5<<20 + 8192); e != abi.ENXIO {
				t.Errorf("%s: data behind the last: %v", when, e)
			}
		}
		check("in memory")
		if e := fs.Sync(); e != 0 {
			t.Fatal(e)
		}
		check("on the device")
		n.Unref()
		root.Unref()
		fs.Unmount()
		fsck(t, dev.Content())
	}
}

// TestFillToTheBrim writes until the disk is full, in several ways. What Write took must reach the
// device, and next to nothing be left over.
func TestFillToTheBrim(t *testing.T) {
	for _, bs := range []string{"1024", "4096"} {
		for name, step := range map[string]struct{ size, stride int64 }{
			"large":     {256 << 10, 256 << 10},
			"small":     {3000, 3000},
			"scattered": {1000, 20000}, // each block an extent of its own
		} {
			t.Run(bs+"/"+name, func(t *testing.T) {
				fs, dev := mount(t, mkfs(t, "16M", "-b", bs, "-m", "0"), true, Options{FlushAfter: 5 * time.Millisecond})
				root := fs.Root()
				for round := range 3 {
					n := create(t, root, "file", abi.S_IFREG|0o644)
					off := int64(0)
					for {
						k, _, e := n.Write(off, int(step.size), &pattern{off: off, salt: byte(round)})
						if e == abi.ENOSPC {
							break
						} else if e != 0 {
							t.Fatal(e)
						}
						if off += step.stride; int64(k) < step.size {
							continue // the next one says why
						}
					}
					// Byte by byte nothing goes, either, but where there are blocks.
					if e := n.Sync(false); e != 0 {
						t.Errorf("what was taken cannot be written: %v", e)
					}
					if left := fs.freeSpace.Load(); left > 8 {
						t.Errorf("%d blocks are left over", left)
					}
					var a vfs.Attr
					n.Attr(&a)
					checkPattern(t, n, a.Size, byte(round), name == "scattered")
					n.Unref()
					if e := root.Unlink("file"); e != 0 {
						t.Fatal(e)
					}
				}
				root.Unref()
				if e := fs.Unmount(); e != 0 {
					t.Fatal(e)
				}
				checkNothingLeft(t, fs)
				fsck(t, dev.Content())
			})
		}
	}
}

// TestFillTogether has several writers, of files and of directories, fill the disk.
func TestFillTogether(t *testing.T) {
	fs, dev := mount(t, mkfs(t, "24M", "-b", "1024", "-N", "4096"), true, Options{FlushAfter: time.Millisecond, CacheBytes: 2 << 20})
	root := fs.Root()
	var wg sync.WaitGroup
	files := make([]vfs.Node, 4)
	ends := make([]int64, 4)
	for i := range files {
		files[i] = create(t, root, fmt.Sprint(i), abi.S_IFREG|0o644)
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 3))
			for full := 0; full < 5; {
				k, _, e := files[i].Write(ends[i], 1+rnd.IntN(100000), &pattern{off: ends[i], salt: byte(i)})
				ends[i] += int64(k)
				switch e {
				case 0:
				case abi.ENOSPC:
					full++
				default:
					t.Error(e)
					return
				}
				if rnd.IntN(20) == 0 {
					if e := files[i].Sync(rnd.IntN(2) == 0); e != 0 {
						t.Errorf("sync: %v", e)
						return
					}
				}
			}
		})
	}
	wg.Go(func() {
		for i := 0; ; i++ {
			d, e := root.Create(fmt.Sprint("dir", i), &vfs.NewNode{Mode: abi.S_IFDIR | 0o755})
			if e != 0 {
				return
			}
			d.Unref()
		}
	})
	wg.Wait()
	if e := fs.Sync(); e != 0 {
		t.Errorf("what was taken cannot be written: %v", e)
	}
	for i, n := range files {
		checkPattern(t, n, ends[i], byte(i), false)
		n.Unref()
	}
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	checkNothingLeft(t, fs)
	fsck(t, dev.Content())
}

// TestNoStaleContent cuts the power at every write while files grow on a disk full of old content. No
// file may show any of that, or have a size that its content has not reached.
func TestNoStaleContent(t *testing.T) {
	const salt = 0x40
	img := mkfs(t, "16M", "-b", "4096")
	// Make a file of all free blocks, with content that must not come back, and remove it.
	fs, dev := mount(t, img, true, Options{})
	root := fs.Root()
	n := create(t, root, "old", abi.S_IFREG|0o644)
	old := bytes.Repeat([]byte{0xee}, 1<<20)
	for e := abi.Errno(0); e == 0; {
		_, _, e = n.Write(vfs.AtEnd, len(old), &byteSource{p: old})
	}
	n.Unref()
	root.Unlink("old")
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}

	dev = faultdev.New(dev.Content())
	dev.Record = true
	dev.Fail = func(op faultdev.Op, off int64, n int) error {
		if op == faultdev.Write && n > 8192 {
			time.Sleep(3 * time.Millisecond) // content takes its time: commits come in between
		}
		return nil
	}
	fs, err := Mount(faultdev.Mapped{Device: dev}, Options{Log: t.Logf, FlushAfter: time.Millisecond, CommitEvery: 3 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	root = fs.Root()
	rnd := rand.New(rand.NewPCG(1, 2))
	cut := make(map[string][]int64) // where files were cut: the rest of the block is zeroed first
	for i := range 12 {
		n := create(t, root, fmt.Sprint("file", i), abi.S_IFREG|0o644)
		switch i % 4 {
		case 1:
			n.(vfs.Allocator).Allocate(abi.FALLOC_FL_KEEP_SIZE*uint32(i&4/4), 0, 200000)
		case 2:
			n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: 150000})
		}
		for off := int64(0); off < 300000; {
			k := 1 + rnd.IntN(50000)
			if _, _, e := n.Write(off, k, &pattern{off: off, salt: salt}); e != 0 {
				t.Fatal(e)
			}
			off += int64(k)
			if rnd.IntN(3) == 0 {
				time.Sleep(time.Millisecond)
			}
			if rnd.IntN(12) == 0 {
				if e := n.Sync(true); e != 0 {
					t.Fatal(e)
				}
			}
			if rnd.IntN(20) == 0 {
				off = int64(rnd.IntN(int(off)))
				cut[fmt.Sprint("file", i)] = append(cut[fmt.Sprint("file", i)], off)
				n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: off})
			}
		}
		n.Unref()
	}
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, dev.Content())
	// What a crash leaves changes what a mount finds only with a flush: before each of them
	// is where a commit would be that came too early.
	var cuts []int
	for i, e := range dev.Events() {
		if e.Op == faultdev.Flush {
			cuts = append(cuts, i)
		}
	}
	step := max(len(cuts)/80, 1)
	for i := 0; i < len(cuts); i += step {
		k := cuts[i]
		crashed := dev.Crash(k, nil)
		again, d := mount(t, crashed, true, Options{})
		r := again.Root()
		for _, name := range names(t, r, 100) {
			if name[0] != 'f' {
				continue
			}
			n, e := r.Lookup(name)
			if e != 0 {
				t.Fatal(e)
			}
			var a vfs.Attr
			n.Attr(&a)
			// Files that were given their size before have zeros where nothing was written yet.
			sized := name[4:] != "0" && name[4:] != "4" && name[4:] != "8"
			checkPatternBut(t, n, a.Size, salt, func(off int64) bool {
				for _, c := range cut[name] {
					if sized = sized || off >= c && off < c|4095+1; sized {
						break
					}
				}
				return sized
			})
			n.Unref()
		}
		r.Unref()
		if e := again.Unmount(); e != 0 {
			t.Fatal(e)
		}
		fsck(t, d.Content())
		if t.Failed() {
			t.Fatalf("after %d of %d events", k, len(dev.Events()))
		}
	}
}

// TestReplaceByTruncate writes a file anew after it was emptied, and closes it: the content is on the
// device before long, without a sync, and a rename over another file waits for it.
func TestReplaceByTruncate(t *testing.T) {
	fs, dev := mount(t, mkfs(t, "32M", "-b", "4096"), true, Options{FlushAfter: time.Hour, CommitEvery: time.Hour})
	root := fs.Root()
	n := create(t, root, "file", abi.S_IFREG|0o644)
	n.Write(0, 50000, &pattern{})
	if e := n.Sync(false); e != 0 {
		t.Fatal(e)
	}
	n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize})
	n.Write(0, 60000, &pattern{salt: 8})
	n.Unref()
	for tries := 0; fs.pages.unclean() > 0; tries++ {
		if tries > 5000 {
			t.Fatal("the content stays in memory")
		}
		time.Sleep(time.Millisecond)
	}
	n = create(t, root, "new", abi.S_IFREG|0o644)
	n.Write(0, 70000, &pattern{salt: 16})
	n.Unref()
	if fs.pages.unclean() == 0 {
		t.Fatal("a new file is written at once")
	}
	if e := root.Rename("new", root, "file", 0); e != 0 {
		t.Fatal(e)
	}
	if k := fs.pages.unclean(); k > 0 {
		t.Errorf("%d pages are in memory when the file has its name", k)
	}
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, dev.Content())
}
