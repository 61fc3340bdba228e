package ext4

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// byteSource gives its bytes, and the error at their end.
type byteSource struct {
	p []byte
	e abi.Errno
}

func (s *byteSource) Get(p []byte) (int, abi.Errno) {
	k := copy(p, s.p)
	s.p = s.p[k:]
	if k < len(p) {
		return k, s.e
	}
	return k, 0
}

// TestRandomFile compares a file that is written, cut and punched at random with a slice of
// bytes. Small steps far apart make deep extent trees.
func TestRandomFile(t *testing.T) {
	for _, bs := range []string{"1024", "4096"} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprint(bs, "/", seed), func(t *testing.T) {
				img := mkfs(t, "64M", "-b", bs)
				fs, dev := mount(t, img, true, Options{CacheBytes: 4 << 20})
				root := fs.Root()
				n, e := root.Create("file", &vfs.NewNode{Mode: abi.S_IFREG | 0o600})
				if e != 0 {
					t.Fatal(e)
				}
				randomFile(t, n, rand.New(rand.NewPCG(seed, 5)), 3000)
				checkRuns(t, n.(*inode))
				n.Unref()
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

// checkNothingLeft makes sure that a file system that was unmounted holds no frame, and no block but
// those that it kept for files.
func checkNothingLeft(t *testing.T, fs *FS) {
	t.Helper()
	if k := fs.pages.frames.Load(); k != 0 {
		t.Errorf("%d frames are lost", k)
	}
	if k := fs.pages.ndirty.Load(); k != 0 {
		t.Errorf("%d dirty pages are left", k)
	}
	if k := fs.heldSpace() - fs.busyBlocks.Load(); k != 0 {
		t.Errorf("%d blocks are reserved for nothing", k)
	}
}

const randomFileSize = 12 << 20

func randomFile(t *testing.T, n vfs.Node, rnd *rand.Rand, steps int) {
	t.Helper()
	var want []byte
	grow := func(size int) {
		if size > len(want) {
			want = append(want, make([]byte, size-len(want))...)
		}
	}
	alloc := n.(vfs.Allocator)
	for step := range steps {
		off := rnd.IntN(randomFileSize)
		size := 1 + rnd.IntN(1<<(4+rnd.IntN(13)))
		switch k := rnd.IntN(100); {
		case k < 70:
			p := make([]byte, size)
			for i := range p {
				p[i] = byte(rnd.Uint32())
			}
			if got, _, e := n.Write(int64(off), size, &byteSource{p: p}); e != 0 || got != size {
				t.Fatalf("step %d: write of %d at %d: %d, %v", step, size, off, got, e)
			}
			grow(off + size)
			copy(want[off:], p)
		case k < 74:
			// The guest's memory ends in the middle.
			p := []byte("short")
			got, _, e := n.Write(int64(off), size+5, &byteSource{p: p, e: abi.EFAULT})
			if e != 0 || got != 5 {
				t.Fatalf("step %d: short write: %d, %v", step, got, e)
			}
			grow(off + 5)
			copy(want[off:], p)
		case k < 84:
			if e := alloc.Allocate(abi.FALLOC_FL_PUNCH_HOLE|abi.FALLOC_FL_KEEP_SIZE, int64(off), int64(size*8)); e != 0 {
				t.Fatalf("step %d: punch: %v", step, e)
			}
			if off < len(want) {
				clear(want[off:min(off+size*8, len(want))])
			}
		case k < 90:
			if e := alloc.Allocate(uint32(k&1), int64(off), int64(size*4)); e != 0 {
				t.Fatalf("step %d: allocate: %v", step, e)
			}
			if k&1 == 0 {
				grow(off + size*4)
			}
		case k < 92:
			if e := alloc.Allocate(abi.FALLOC_FL_ZERO_RANGE, int64(off), int64(size*4)); e != 0 {
				t.Fatalf("step %d: zero: %v", step, e)
			}
			grow(off + size*4)
			clear(want[off : off+size*4])
		case k < 93:
			if e := n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: int64(off)}); e != 0 {
				t.Fatalf("step %d: truncate: %v", step, e)
			}
			grow(off)
			want = want[:off]
		default:
			if off >= len(want) {
				continue
			}
			var s sink
			got, e := n.Read(int64(off), size, &s)
			if e != 0 || got != min(size, len(want)-off) {
				t.Fatalf("step %d: read of %d at %d: %d, %v", step, size, off, got, e)
			}
			if s.String() != string(want[off:off+got]) {
				t.Fatalf("step %d: read of %d at %d differs", step, size, off)
			}
		}
		if step%500 == 499 {
			if string(readAll(t, n)) != string(want) {
				t.Fatalf("step %d: content differs", step)
			}
			if e := n.Sync(false); e != 0 {
				t.Fatal(e)
			}
		}
	}
	if string(readAll(t, n)) != string(want) {
		t.Fatal("content differs at the end")
	}
}

// checkRuns compares the list of runs in memory with the tree.
func checkRuns(t *testing.T, n *inode) {
	t.Helper()
	var l runList
	if err := n.collectExtents(&l); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(l.list) != fmt.Sprint(n.runs.list) {
		t.Errorf("runs in memory %v, in the tree %v", n.runs.list, l.list)
	}
	for _, r := range l.list {
		got, err := n.mapInTree(r.block)
		if err != nil || got.home != r.home || got.n > r.n {
			t.Errorf("tree maps %d to %+v, %v; want %+v", r.block, got, err, r)
		}
	}
}

// TestTreeShrinks makes trees with a level below the root, and takes what made them so
// away again in several ways.
func TestTreeShrinks(t *testing.T) {
	scattered := func(n vfs.Node) {
		for i := range 6 {
			n.Write(int64(i)*8192, 4096, &copySource{make([]byte, 4096)})
		}
	}
	for name, change := range map[string]func(n vfs.Node){
		"truncate": func(n vfs.Node) { n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: 10000}) },
		"punch": func(n vfs.Node) {
			n.(vfs.Allocator).Allocate(abi.FALLOC_FL_PUNCH_HOLE|abi.FALLOC_FL_KEEP_SIZE, 0, 30000)
		},
		"cut to nothing": func(n vfs.Node) { n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize}) },
	} {
		t.Run(name, func(t *testing.T) {
			fs, dev := mount(t, mkfs(t, "16M", "-b", "4096"), true, Options{})
			root := fs.Root()
			n := create(t, root, "file", abi.S_IFREG|0o644)
			scattered(n)
			if e := n.Sync(false); e != 0 {
				t.Fatal(e)
			}
			if d := (extNode{p: n.(*inode).d.Block[:]}).depth(); d != 1 {
				t.Fatalf("tree has depth %d, want 1", d)
			}
			change(n)
			if d := (extNode{p: n.(*inode).d.Block[:]}).depth(); d != 0 {
				t.Errorf("tree has depth %d, want 0", d)
			}
			n.Unref()
			root.Unref()
			if e := fs.Unmount(); e != 0 {
				t.Fatal(e)
			}
			fsck(t, dev.Content())
		})
	}
}

// TestTailBehindTheEnd makes files longer whose last block has something behind the end, as
// a driver that maps files may leave it.
func TestTailBehindTheEnd(t *testing.T) {
	for name, grow := range map[string]func(n vfs.Node){
		"truncate": func(n vfs.Node) { n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: 9000}) },
		"write":    func(n vfs.Node) { n.Write(8999, 1, &byteSource{p: []byte{0}}) },
		"append":   func(n vfs.Node) { n.Write(vfs.AtEnd, 8990, &copySource{make([]byte, 8990)}) },
		"allocate": func(n vfs.Node) { n.(vfs.Allocator).Allocate(0, 0, 9000) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, bs := range []string{"1024", "4096"} {
				fs, dev := mount(t, mkfs(t, "16M", "-b", bs), true, Options{})
				root := fs.Root()
				n := create(t, root, "file", abi.S_IFREG|0o644)
				n.Write(0, 10, &byteSource{p: []byte("0123456789")})
				fs.Sync()
				home := int(n.(*inode).runs.list[0].start()) * fs.bs
				fs.pages.keep = 0
				fs.pages.trim()
				copy(dev.Content()[home+10:], "left behind")
				grow(n)
				want := append([]byte("0123456789"), make([]byte, 8990)...)
				if got := readAll(t, n); string(got) != string(want) {
					t.Errorf("block size %s: %d bytes, starting %q", bs, len(got), got[:min(len(got), 40)])
				}
				n.Unref()
				root.Unref()
				fs.Unmount()
			}
		})
	}
}
