package ext4

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/vfs"
)

// benchMount mounts a fresh image whose flusher stays out of the way.
func benchMount(b *testing.B, size string) (*FS, vfs.Node) {
	b.Helper()
	audit := overdrawn // costs more than most of what is measured
	overdrawn = nil
	b.Cleanup(func() { overdrawn = audit })
	img := mkfs(b, size, "-b", "4096")
	fs, err := Mount(faultdev.Mapped{Device: faultdev.New(cloneSparse(img))}, Options{CacheBytes: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	root := fs.Root()
	b.Cleanup(func() {
		root.Unref()
		if e := fs.Unmount(); e != 0 {
			b.Errorf("unmount: %v", e)
		}
	})
	return fs, root
}

// cpuTime reports the processor time of b's loop, which other load on the machine leaves
// alone. To be deferred right before the loop.
func cpuTime(b *testing.B) func() {
	now := func() time.Duration {
		var u syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start := now()
	return func() { b.ReportMetric(float64(now()-start)/float64(b.N), "cpu-ns/op") }
}

// discardDest takes content without looking at it; copyDest copies it.
type discardDest struct{}

func (discardDest) Put(p []byte) (int, abi.Errno) { return len(p), 0 }

type copyDest struct{ buf []byte }

func (d *copyDest) Put(p []byte) (int, abi.Errno) { return copy(d.buf, p), 0 }

// copySource gives the same bytes again and again.
type copySource struct{ buf []byte }

func (s *copySource) Get(p []byte) (int, abi.Errno) { return copy(p, s.buf[:len(p)]), 0 }

func benchFile(b *testing.B, root vfs.Node, size int) vfs.Node {
	b.Helper()
	n, e := root.Create("file", &vfs.NewNode{Mode: abi.S_IFREG | 0o644})
	if e != 0 {
		b.Fatal(e)
	}
	src := &copySource{make([]byte, 1<<20)}
	for off := 0; off < size; off += 1 << 20 {
		if _, _, e := n.Write(int64(off), min(size-off, 1<<20), src); e != 0 {
			b.Fatal(e)
		}
	}
	b.Cleanup(n.Unref)
	return n
}

func BenchmarkRead4K(b *testing.B) {
	fs, root := benchMount(b, "128M")
	n := benchFile(b, root, 16<<20)
	fs.Sync()
	fs.pages.keep = 0
	fs.pages.trim()
	var a vfs.Attr
	for _, v := range []struct {
		name string
		d    vfs.Dest
	}{{"nocopy", discardDest{}}, {"copy", &copyDest{make([]byte, 4096)}}} {
		b.Run(v.name, func(b *testing.B) {
			b.ReportAllocs()
			defer cpuTime(b)()
			i := 0
			for b.Loop() {
				n.Read(int64(i&4095)<<12, 4096, v.d)
				i++
			}
		})
	}
	b.Run("attr", func(b *testing.B) {
		b.ReportAllocs()
		defer cpuTime(b)()
		for b.Loop() {
			n.Attr(&a)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	src := &copySource{make([]byte, 1<<20)}
	b.Run("overwrite4K", func(b *testing.B) {
		_, root := benchMount(b, "128M")
		n := benchFile(b, root, 1<<20)
		b.ReportAllocs()
		defer cpuTime(b)()
		b.SetBytes(4096)
		i := 0
		for b.Loop() {
			n.Write(int64(i&255)<<12, 4096, src)
			i++
		}
	})
	b.Run("append64K", func(b *testing.B) {
		_, root := benchMount(b, "512M")
		n := benchFile(b, root, 0)
		b.ReportAllocs()
		defer cpuTime(b)()
		b.SetBytes(64 << 10)
		for b.Loop() {
			var a vfs.Attr
			n.Attr(&a)
			if a.Size >= 256<<20 {
				n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize})
			}
			if _, _, e := n.Write(vfs.AtEnd, 64<<10, src); e != 0 {
				b.Fatal(e)
			}
		}
	})
	b.Run("overwrite64K", func(b *testing.B) {
		_, root := benchMount(b, "128M")
		n := benchFile(b, root, 1<<20)
		b.ReportAllocs()
		defer cpuTime(b)()
		b.SetBytes(64 << 10)
		i := 0
		for b.Loop() {
			n.Write(int64(i&15)<<16, 64<<10, src)
			i++
		}
	})
	b.Run("append100", func(b *testing.B) {
		_, root := benchMount(b, "512M")
		n := benchFile(b, root, 0)
		b.ReportAllocs()
		defer cpuTime(b)()
		i := 0
		for b.Loop() {
			if i++; i%(1<<20) == 0 {
				n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize})
			}
			if _, _, e := n.Write(vfs.AtEnd, 100, src); e != 0 {
				b.Fatal(e)
			}
		}
	})
}

func BenchmarkCreateUnlink(b *testing.B) {
	for _, others := range []int{0, 50, 2000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			_, root := benchMount(b, "128M")
			d, e := root.Create("dir", &vfs.NewNode{Mode: abi.S_IFDIR | 0o755})
			if e != 0 {
				b.Fatal(e)
			}
			defer d.Unref()
			for i := range others {
				n, e := d.Create(fmt.Sprintf("some-other-file-%05d", i), &vfs.NewNode{Mode: abi.S_IFREG | 0o644})
				if e != 0 {
					b.Fatal(e)
				}
				n.Unref()
			}
			b.ReportAllocs()
			defer cpuTime(b)()
			for b.Loop() {
				n, e := d.Create("the-file", &vfs.NewNode{Mode: abi.S_IFREG | 0o644})
				if e != 0 {
					b.Fatal(e)
				}
				n.Unref()
				if e := d.Unlink("the-file"); e != 0 {
					b.Fatal(e)
				}
			}
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, names := range []int{50, 20000} {
		b.Run(fmt.Sprint(names), func(b *testing.B) {
			_, root := benchMount(b, "128M")
			var list []string
			for i := range names {
				name := fmt.Sprintf("some-other-file-%05d", i)
				n, e := root.Create(name, &vfs.NewNode{Mode: abi.S_IFREG | 0o644})
				if e != 0 {
					b.Fatal(e)
				}
				n.Unref()
				list = append(list, name)
			}
			b.ReportAllocs()
			defer cpuTime(b)()
			i := 0
			for b.Loop() {
				n, e := root.Lookup(list[i%50])
				if e != 0 {
					b.Fatal(e)
				}
				n.Unref()
				i++
			}
		})
	}
}
