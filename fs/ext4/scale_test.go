package ext4

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/vfs"
)

// sparseImage makes a large image with mkfs.ext4 in a sparse file and maps it, so that only what is
// used takes memory and disk.
func sparseImage(tb testing.TB, size string, opts ...string) []byte {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "image")
	tool(tb, "mkfs.ext4", append(append([]string{"-q", "-F", "-E", "nodiscard"}, opts...), path, size)...)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	return mapImage(tb, f)
}

func mapImage(tb testing.TB, f *os.File) []byte {
	tb.Helper()
	fi, err := f.Stat()
	if err != nil {
		tb.Fatal(err)
	}
	m, err := syscall.Mmap(int(f.Fd()), 0, int(fi.Size()), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { syscall.Munmap(m) })
	return m
}

// memoryImage is sparseImage in the host's memory: what the host's file system and its disk take for an
// image is not part of a measurement.
func memoryImage(tb testing.TB, size string, opts ...string) []byte {
	tb.Helper()
	const dir = "/dev/shm"
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return sparseImage(tb, size, opts...)
	}
	f, err := os.CreateTemp(dir, "pinhole-scale-")
	if err != nil {
		return sparseImage(tb, size, opts...)
	}
	defer f.Close()
	defer os.Remove(f.Name())
	tool(tb, "mkfs.ext4", append(append([]string{"-q", "-F", "-E", "nodiscard"}, opts...), f.Name(), size)...)
	return mapImage(tb, f)
}

// cacheOf returns the options of a mount with a cache outside of Go's heap, which is then what the file
// system takes for everything else.
func cacheOf(tb testing.TB, bytes int) Options {
	tb.Helper()
	m, err := syscall.Mmap(-1, 0, bytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { syscall.Munmap(m) })
	return Options{Arena: blockdev.NewArena(m), CacheBytes: bytes, Log: tb.Logf}
}

// heap returns what is in use of Go's heap.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// scaleRun measures what an operation costs, each phase as a metric of its own.
type scaleRun struct {
	tb   testing.TB
	fs   *FS
	base uint64 // heap before the mount
	most uint64
	cost map[string]float64 // ns of processor time
	wall map[string]float64
}

// phase does op for each i below n. In the middle it looks at the heap, which does not count.
func (s *scaleRun) phase(name string, n int, op func(i int)) {
	var cpu, wall time.Duration
	part := func(from, to int) {
		c, w := processTime(), time.Now()
		for i := from; i < to; i++ {
			op(i)
		}
		cpu += processTime() - c
		wall += time.Since(w)
	}
	part(0, (n+1)/2)
	if h := heap(); h > s.base {
		s.most = max(s.most, h-s.base)
	}
	part((n+1)/2, n)
	s.cost[name], s.wall[name] = float64(cpu)/float64(n), float64(wall)/float64(n)
}

// processTime returns the processor time of this process outside of the host's kernel: what the host
// does to give the image its pages is not the file system's.
func processTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano())
}

// auditOff measures without what tests look for in every handle.
func auditOff(b *testing.B) {
	audit := overdrawn
	overdrawn = nil
	b.Cleanup(func() { overdrawn = audit })
}

// TestMemoryIsBounded makes and finds more files than the caches can hold.
func TestMemoryIsBounded(t *testing.T) {
	files := 60000
	if testing.Short() {
		files = 20000
	}
	img := sparseImage(t, "1G", "-N", fmt.Sprint(files+1000))
	base := heap()
	fs, err := Mount(faultdev.Mapped{Device: faultdev.New(img)}, cacheOf(t, 2<<20))
	if err != nil {
		t.Fatal(err)
	}
	root := fs.Root()
	d := create(t, root, "dir", abi.S_IFDIR|0o755)
	name := func(i int) string { return fmt.Sprintf("a-name-that-is-not-short-%06d", i) }
	counts := func() (inodes, buffers int) {
		for i := range fs.inodes.shards {
			s := &fs.inodes.shards[i]
			s.mu.Lock()
			inodes += len(s.m)
			s.mu.Unlock()
		}
		for i := range fs.buffers.shards {
			s := &fs.buffers.shards[i]
			s.mu.Lock()
			buffers += len(s.m)
			s.mu.Unlock()
		}
		return inodes, buffers
	}
	most := uint64(0)
	for i := range files {
		create(t, d, name(i), abi.S_IFREG|0o644).Unref()
		if i%(files/8) == 0 {
			most = max(most, heap()-min(base, heap()))
		}
	}
	if e := fs.Sync(); e != 0 {
		t.Fatal(e)
	}
	for i := range files {
		n, e := d.Lookup(name(i * 7919 % files))
		if e != 0 {
			t.Fatal(e)
		}
		n.Unref()
	}
	inodes, buffers := counts()
	if limit := fs.inodes.limit*inodeShards + 16; inodes > limit {
		t.Errorf("%d inodes are in memory, the limit is %d", inodes, limit)
	}
	if limit := (fs.buffers.limit+8)*bufferShards + int(fs.groupCount)*2 + len(fs.gdt); buffers > limit {
		t.Errorf("%d metadata blocks are in memory, the limit is %d", buffers, limit)
	}
	most = max(most, heap()-min(base, heap()))
	t.Logf("%d inodes and %d blocks at the end, %d KiB of heap at most", inodes, buffers, most>>10)
	// What a transaction has changed cannot be dropped, but transactions are bounded, too.
	if most > 24<<20 {
		t.Errorf("%d KiB of heap", most>>10)
	}
	d.Unref()
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
}

// BenchmarkScale makes, finds, looks at, lists and removes so many files in one directory. What an
// operation costs must not depend on how many there are, and neither must the heap beyond what the
// caches may hold.
func BenchmarkScale(b *testing.B) {
	auditOff(b)
	for _, c := range []struct{ files, cache int }{{1e3, 64}, {1e4, 64}, {1e5, 64}, {1e6, 64}, {1e6, 1024}} {
		files := c.files
		b.Run(fmt.Sprintf("files=%d/cache=%dMiB", files, c.cache), func(b *testing.B) {
			img := memoryImage(b, "4G", "-N", fmt.Sprint(files+files/10+1000))
			s := &scaleRun{tb: b, base: heap(), cost: map[string]float64{}, wall: map[string]float64{}}
			opts := cacheOf(b, c.cache<<20)
			var err error
			if s.fs, err = Mount(faultdev.Mapped{Device: faultdev.New(img)}, opts); err != nil {
				b.Fatal(err)
			}
			root := s.fs.Root()
			rnd := rand.New(rand.NewPCG(1, 1))
			name := func(i int) string { return fmt.Sprintf("file-%07d.dat", i) }
			for b.Loop() {
				d, e := root.Create("dir", &vfs.NewNode{Mode: abi.S_IFDIR | 0o755})
				if e != 0 {
					b.Fatal(e)
				}
				check := func(e abi.Errno) {
					if e != 0 {
						b.Fatal(e)
					}
				}
				s.phase("create", files, func(i int) {
					n, e := d.Create(name(i), &vfs.NewNode{Mode: abi.S_IFREG | 0o644})
					check(e)
					n.Unref()
				})
				s.phase("lookup", files, func(int) {
					n, e := d.Lookup(name(rnd.IntN(files)))
					check(e)
					n.Unref()
				})
				n, e := d.Lookup(name(files / 2))
				check(e)
				var a vfs.Attr
				s.phase("stat", files, func(int) { check(n.Attr(&a)) })
				n.Unref()
				cookie, left := int64(0), 0
				s.phase("readdir", files, func(int) {
					if left == 0 {
						check(d.ReadDir(cookie, func(e *vfs.DirEntry) bool {
							cookie = e.Cookie
							left++
							return left < 500
						}))
					}
					left = max(left-1, 0)
				})
				s.phase("unlink", files, func(i int) { check(d.Unlink(name(i))) })
				d.Unref()
				check(root.Rmdir("dir"))
			}
			root.Unref()
			if e := s.fs.Unmount(); e != 0 {
				b.Fatal(e)
			}
			for name, ns := range s.cost {
				b.ReportMetric(ns, name+"-user-ns")
				b.ReportMetric(s.wall[name], name+"-ns")
			}
			b.ReportMetric(float64(s.most)/(1<<20), "heap-MB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkScaleInodes does the same on images of more and more inodes: directories at the top, files
// in them, and the mount.
func BenchmarkScaleInodes(b *testing.B) {
	auditOff(b)
	for _, inodes := range []int{1e4, 1e5, 1e6, 1e7} {
		b.Run(fmt.Sprint("inodes=", inodes), func(b *testing.B) {
			size := map[int]string{1e4: "1G", 1e5: "4G", 1e6: "16G", 1e7: "160G"}[inodes]
			img := memoryImage(b, size, "-N", fmt.Sprint(inodes), "-E", "lazy_itable_init=1,lazy_journal_init=1")
			opts := cacheOf(b, 64<<20)
			for b.Loop() {
				s := &scaleRun{tb: b, base: heap(), cost: map[string]float64{}, wall: map[string]float64{}}
				var err error
				s.phase("mount", 1, func(int) { s.fs, err = Mount(faultdev.Mapped{Device: faultdev.New(img)}, opts) })
				if err != nil {
					b.Fatal(err)
				}
				root := s.fs.Root()
				check := func(e abi.Errno) {
					if e != 0 {
						b.Fatal(e)
					}
				}
				const dirs, files = 100, 80
				dir := make([]vfs.Node, dirs)
				s.phase("mkdir", dirs, func(i int) {
					var e abi.Errno
					dir[i], e = root.Create(fmt.Sprint("dir", i), &vfs.NewNode{Mode: abi.S_IFDIR | 0o755})
					check(e)
				})
				s.phase("create", dirs*files, func(i int) {
					n, e := dir[i%dirs].Create(fmt.Sprint("file", i), &vfs.NewNode{Mode: abi.S_IFREG | 0o644})
					check(e)
					n.Unref()
				})
				s.phase("lookup", dirs*files, func(i int) {
					n, e := dir[i%dirs].Lookup(fmt.Sprint("file", i))
					check(e)
					n.Unref()
				})
				s.phase("unlink", dirs*files, func(i int) { check(dir[i%dirs].Unlink(fmt.Sprint("file", i))) })
				s.phase("rmdir", dirs, func(i int) {
					dir[i].Unref()
					check(root.Rmdir(fmt.Sprint("dir", i)))
				})
				root.Unref()
				s.phase("unmount", 1, func(int) { check(s.fs.Unmount()) })
				for name, ns := range s.cost {
					b.ReportMetric(ns, name+"-user-ns")
					b.ReportMetric(s.wall[name], name+"-ns")
				}
				b.ReportMetric(float64(s.most)/(1<<20), "heap-MB")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkScaleFile writes and reads a sparse file of 16 GiB at random places and from start to end, at
// 1/1000, 1/100, 1/10 and all of its length.
func BenchmarkScaleFile(b *testing.B) {
	auditOff(b)
	for _, size := range []int64{16 << 20, 160 << 20, 1600 << 20, 16 << 30} {
		b.Run(fmt.Sprint("MiB=", size>>20), func(b *testing.B) {
			img := memoryImage(b, "24G")
			s := &scaleRun{tb: b, base: heap(), cost: map[string]float64{}, wall: map[string]float64{}}
			var err error
			if s.fs, err = Mount(faultdev.Mapped{Device: faultdev.New(img)}, cacheOf(b, 64<<20)); err != nil {
				b.Fatal(err)
			}
			root := s.fs.Root()
			rnd := rand.New(rand.NewPCG(1, 1))
			src, dst := &copySource{make([]byte, 1<<20)}, discardDest{}
			check := func(n int, e abi.Errno) {
				if e != 0 || n == 0 {
					b.Fatal(n, e)
				}
			}
			const ops = 20000
			at := func() int64 { return rnd.Int64N(size/4096) * 4096 }
			for b.Loop() {
				n, e := root.Create("file", &vfs.NewNode{Mode: abi.S_IFREG | 0o644})
				if e != 0 {
					b.Fatal(e)
				}
				if e := n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: size}); e != 0 {
					b.Fatal(e)
				}
				s.phase("write-random-4K", ops, func(int) {
					k, _, e := n.Write(at(), 4096, src)
					check(k, e)
				})
				s.phase("sync", 1, func(int) { s.fs.Sync() })
				s.phase("read-random-4K", ops, func(int) {
					k, e := n.Read(at(), 4096, dst)
					check(k, e)
				})
				from := size - size/16
				s.phase("write-1M", int(size/16>>20), func(i int) {
					k, _, e := n.Write(from+int64(i)<<20, 1<<20, src)
					check(k, e)
				})
				s.phase("read-1M", int(size/16>>20), func(i int) {
					k, e := n.Read(from+int64(i)<<20, 1<<20, dst)
					check(k, e)
				})
				s.phase("truncate", 1, func(int) { n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize}) })
				n.Unref()
				root.Unlink("file")
			}
			root.Unref()
			if e := s.fs.Unmount(); e != 0 {
				b.Fatal(e)
			}
			for name, ns := range s.cost {
				b.ReportMetric(ns, name+"-user-ns")
				b.ReportMetric(s.wall[name], name+"-ns")
			}
			b.ReportMetric(float64(s.most)/(1<<20), "heap-MB")
			b.ReportMetric(0, "ns/op")
		})
	}
}
