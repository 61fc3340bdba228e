package ext4

import (
	"fmt"
	"testing"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// benchDir makes a directory of so many files.
func benchDir(b *testing.B, files int) vfs.Node {
	b.Helper()
	_, root := benchMount(b, "256M")
	d, e := root.Create("dir", &vfs.NewNode{Mode: abi.S_IFDIR | 0o755})
	if e != 0 {
		b.Fatal(e)
	}
	b.Cleanup(d.Unref)
	for i := range files {
		n, e := d.Create(fmt.Sprintf("file-%06d", i), &vfs.NewNode{Mode: abi.S_IFREG | 0o644})
		if e != 0 {
			b.Fatal(e)
		}
		n.Unref()
	}
	return d
}

func BenchmarkReadDir(b *testing.B) {
	for _, files := range []int{10, 1000, 20000} {
		b.Run(fmt.Sprint(files), func(b *testing.B) {
			d := benchDir(b, files)
			b.ReportAllocs()
			b.ResetTimer()
			defer cpuTime(b)()
			count := 0
			for b.Loop() {
				// As getdents64 does with 32 KiB.
				for cookie, more := int64(0), true; more; {
					left := 32 << 10
					more = false
					if e := d.ReadDir(cookie, func(e *vfs.DirEntry) bool {
						if left -= (len(e.Name) + 27) &^ 7; left < 0 {
							more = true
							return false
						}
						cookie = e.Cookie
						count++
						return true
					}); e != 0 {
						b.Fatal(e)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed())/float64(count), "ns/name")
		})
	}
}

func BenchmarkRename(b *testing.B) {
	for _, files := range []int{1, 1000, 20000} {
		b.Run(fmt.Sprint(files), func(b *testing.B) {
			d := benchDir(b, files)
			b.ReportAllocs()
			b.ResetTimer()
			defer cpuTime(b)()
			names := [2]string{"file-000000", "renamed"}
			for i := 0; b.Loop(); i++ {
				if e := d.Rename(names[i&1], d, names[1-i&1], 0); e != 0 {
					b.Fatal(e)
				}
			}
		})
	}
}
