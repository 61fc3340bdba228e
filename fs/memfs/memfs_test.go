package memfs

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

func create(t testing.TB, dir vfs.Node, name string) *node {
	t.Helper()
	n, e := dir.Create(name, &vfs.NewNode{Mode: abi.S_IFREG | 0o644})
	if e != 0 {
		t.Fatal(e)
	}
	return n.(*node)
}

func write(t testing.TB, n *node, off int64, p []byte) {
	t.Helper()
	m := vfs.Memory(p)
	if done, _, e := n.Write(off, len(p), &m); e != 0 || done != len(p) {
		t.Fatalf("write of %d at %d: %d, %s", len(p), off, done, e.String())
	}
}

func read(t testing.TB, n *node, off int64, count int) []byte {
	t.Helper()
	p := make([]byte, count)
	m := vfs.Memory(p)
	done, e := n.Read(off, count, &m)
	if e != 0 {
		t.Fatal(e)
	}
	return p[:done]
}

// failing is a program's memory that ends after some bytes.
type failing struct{ left int }

func (f *failing) Get(p []byte) (int, abi.Errno) {
	n := min(len(p), f.left)
	f.left -= n
	for i := range p[:n] {
		p[i] = 'f'
	}
	if n < len(p) {
		return n, abi.EFAULT
	}
	return n, 0
}

// TestFault: a write whose source ends early leaves what it took, and zeros where nothing was
// written, also in pages that had other content before.
func TestFault(t *testing.T) {
	fs := New(1 << 20)
	root := fs.Root()
	old := create(t, root, "old")
	write(t, old, 0, bytes.Repeat([]byte("secret"), 10000))
	old.Unref()
	if e := root.Unlink("old"); e != 0 { // its pages are used again
		t.Fatal(e)
	}
	n := create(t, root, "new")
	defer n.Unref()
	for _, test := range []struct{ off, count, good, want int }{
		{0, 8192, 4196, 4196}, {20000, 5000, 100, 100}, {40000, 100, 0, 0}, {8192, 4096, 4095, 4095},
	} {
		done, end, e := n.Write(int64(test.off), test.count, &failing{test.good})
		wantErr := abi.Errno(0)
		if test.want == 0 {
			wantErr = abi.EFAULT
		}
		if done != test.want || e != wantErr || end != int64(test.off+test.want) {
			t.Errorf("write at %d: %d, %d, %s", test.off, done, end, e.String())
		}
	}
	if e := n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: 100000}); e != 0 {
		t.Fatal(e)
	}
	if got := read(t, n, 0, 100000); bytes.ContainsAny(got, "secrt") {
		t.Error("what another file had shows")
	} else if c := bytes.Count(got, []byte("f")); c != 4196+100+4095 {
		t.Errorf("%d bytes were written", c)
	}
	// A reader whose memory ends gets what fits.
	small := vfs.Memory(make([]byte, 5000))
	if done, e := n.Read(0, 10000, &small); done != 5000 || e != 0 {
		t.Errorf("read: %d, %s", done, e.String())
	}
	if done, e := n.Read(0, 10000, &small); done != 0 || e != abi.EFAULT {
		t.Errorf("read: %d, %s", done, e.String())
	}
}

// TestAccounting: what is charged is given back, to the byte.
func TestAccounting(t *testing.T) {
	fs := New(4 << 20)
	root := fs.Root()
	before := fs.used.Load()
	for round := range 3 {
		var nodes []*node
		for i := range 50 {
			n := create(t, root, fmt.Sprint(i))
			write(t, n, int64(i)*10000, bytes.Repeat([]byte("x"), i*100+1))
			if e := n.Setxattr("user.a", make([]byte, i), 0); e != 0 {
				t.Fatal(e)
			}
			if e := n.Setxattr("user.a", make([]byte, 2*i), 0); e != 0 {
				t.Fatal(e)
			}
			if e := root.Link(fmt.Sprint("link", i), n); e != 0 {
				t.Fatal(e)
			}
			if e := root.Rename(fmt.Sprint("link", i), root, fmt.Sprint("longer name", i), 0); e != 0 {
				t.Fatal(e)
			}
			if i%2 == 0 {
				if e := root.Rename(fmt.Sprint("longer name", i), root, fmt.Sprint(i), 0); e != 0 { // the same file: stays
					t.Fatal(e)
				}
			}
			if e := n.Allocate(abi.FALLOC_FL_KEEP_SIZE, 0, 30000); e != 0 {
				t.Fatal(e)
			}
			if e := n.Allocate(abi.FALLOC_FL_PUNCH_HOLE|abi.FALLOC_FL_KEEP_SIZE, 100, 9000); e != 0 {
				t.Fatal(e)
			}
			nodes = append(nodes, n)
			l, e := root.Symlink(fmt.Sprint("sym", i), "target", &vfs.NewNode{})
			if e != 0 {
				t.Fatal(e)
			}
			l.Unref()
			d, e := root.Create(fmt.Sprint("dir", i), &vfs.NewNode{Mode: abi.S_IFDIR | 0o755})
			if e != 0 {
				t.Fatal(e)
			}
			d.Unref()
		}
		for i, n := range nodes {
			if round == 1 {
				n.Unref() // before its names go; otherwise after
			}
			for _, name := range []string{fmt.Sprint(i), fmt.Sprint("longer name", i), fmt.Sprint("sym", i)} {
				if e := root.Unlink(name); e != 0 {
					t.Fatalf("%s: %s", name, e.String())
				}
			}
			if e := root.Rmdir(fmt.Sprint("dir", i)); e != 0 {
				t.Fatal(e)
			}
			if round != 1 {
				n.Unref()
			}
		}
		if got := fs.used.Load(); got != before {
			t.Errorf("round %d: %d bytes are charged for nothing", round, got-before)
		}
		if got := fs.inodes.Load(); got != 1 {
			t.Errorf("round %d: %d inodes", round, got)
		}
	}
}

// TestLimit: everything that can grow is bounded, and a failure charges nothing.
func TestLimit(t *testing.T) {
	for what, grow := range map[string]func(root vfs.Node, n *node, i int) abi.Errno{
		"files": func(root vfs.Node, n *node, i int) abi.Errno {
			f, e := root.Create(fmt.Sprint(i), &vfs.NewNode{Mode: abi.S_IFREG})
			if e == 0 {
				f.Unref()
			}
			return e
		},
		"links": func(root vfs.Node, n *node, i int) abi.Errno { return root.Link(fmt.Sprint(i), n) },
		"symlinks": func(root vfs.Node, n *node, i int) abi.Errno {
			l, e := root.Symlink(fmt.Sprint(i), string(make([]byte, 4000)), &vfs.NewNode{})
			if e == 0 {
				l.Unref()
			}
			return e
		},
		"attributes": func(root vfs.Node, n *node, i int) abi.Errno {
			return n.Setxattr(fmt.Sprint("user.", i), make([]byte, 60000), 0)
		},
		"content": func(root vfs.Node, n *node, i int) abi.Errno {
			m := vfs.Memory(make([]byte, 10000))
			_, _, e := n.Write(int64(i)*10000, 10000, &m)
			return e
		},
		"holes": func(root vfs.Node, n *node, i int) abi.Errno {
			m := vfs.Memory{1}
			_, _, e := n.Write(int64(i)<<40, 1, &m)
			return e
		},
		"allocation": func(root vfs.Node, n *node, i int) abi.Errno { return n.Allocate(0, 0, int64(i)*100000) },
	} {
		fs := New(1 << 20)
		root := fs.Root()
		n := create(t, root, "file")
		e := abi.Errno(0)
		i := 1
		for ; e == 0 && i < 100000; i++ {
			e = grow(root, n, i)
		}
		if e != abi.ENOSPC || i < 5 {
			t.Errorf("%s: %s after %d", what, e.String(), i)
		}
		if used := fs.used.Load(); used > 1<<20 || used < 1<<20-70000 && what != "allocation" {
			t.Errorf("%s: %d bytes charged", what, used)
		}
	}
	fs := New(1 << 20)
	n := create(t, fs.Root(), "file")
	before := fs.used.Load()
	for _, size := range []int64{2 << 20, 1 << 40, math.MaxInt64 - 1} {
		if e := n.Allocate(0, 0, size); e != abi.ENOSPC {
			t.Errorf("allocation of %d: %s", size, e.String())
		}
	}
	if got := fs.used.Load(); got != before {
		t.Errorf("a failed allocation charges %d bytes", got-before)
	}
}

// TestPages compares the tree of pages with a map.
func TestPages(t *testing.T) {
	var p pages
	model := make(map[int64]*page)
	numbers := []int64{0, 1, 63, 64, 65, 4095, 4096, 1 << 20, 1<<20 + 1, 1 << 36, 1<<51 - 1}
	check := func() {
		t.Helper()
		if p.count != int64(len(model)) {
			t.Fatalf("%d pages, want %d", p.count, len(model))
		}
		for _, i := range numbers {
			if p.get(i) != model[i] {
				t.Fatalf("page %d is wrong", i)
			}
			want := int64(-1)
			for _, j := range numbers {
				if j >= i && model[j] != nil {
					want = j
					break
				}
			}
			if got := p.next(i); got != want {
				t.Fatalf("next of %d is %d, want %d", i, got, want)
			}
		}
	}
	check()
	for _, lo := range append([]int64{2}, numbers...) {
		for _, hi := range append(numbers, 100, math.MaxInt64) {
			for _, i := range numbers {
				if model[i] == nil {
					model[i] = new(page)
					p.put(i, model[i])
				}
			}
			check()
			removed := 0
			for _, i := range numbers {
				if i >= lo && i < hi {
					delete(model, i)
					removed++
				}
			}
			if got := p.remove(lo, hi); len(got) != removed {
				t.Fatalf("remove(%d, %d) gave %d pages, want %d", lo, hi, len(got), removed)
			}
			check()
		}
	}
}

func BenchmarkRead4K(b *testing.B) {
	fs := New(64 << 20)
	n := create(b, fs.Root(), "f")
	write(b, n, 0, make([]byte, 1<<20))
	buf := make([]byte, 4096)
	m := new(vfs.Memory)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		*m = buf
		if _, e := n.Read(int64(i%256)*4096, 4096, m); e != 0 {
			b.Fatal(e)
		}
	}
}

func BenchmarkWrite4K(b *testing.B) {
	fs := New(64 << 20)
	n := create(b, fs.Root(), "f")
	buf := make([]byte, 4096)
	m := new(vfs.Memory)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		*m = buf
		if _, _, e := n.Write(int64(i%256)*4096, 4096, m); e != 0 {
			b.Fatal(e)
		}
	}
}
