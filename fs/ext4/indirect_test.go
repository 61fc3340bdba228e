package ext4

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

// TestIndirectFiles changes files that map blocks the way of ext2, on an image that has got
// the extent feature later.
func TestIndirectFiles(t *testing.T) {
	src := t.TempDir()
	rnd := rand.New(rand.NewPCG(1, 1))
	content := make([]byte, 3<<20) // reaches the double indirect block
	for i := range content {
		content[i] = byte(rnd.Uint32())
	}
	for _, name := range []string{"overwrite", "append", "cut", "cut-all", "delete", "punch"} {
		if err := os.WriteFile(filepath.Join(src, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "image")
	writeSparse(t, path, mkfs(t, "64M", "-t", "ext3", "-b", "1024", "-d", src))
	tool(t, "tune2fs", "-O", "extent", path)
	img, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fs, dev := mount(t, img, true, Options{})
	root := fs.Root()
	want := map[string][]byte{}
	change := func(name string, extents bool, f func(n vfs.Node, p []byte) []byte) {
		t.Helper()
		n, e := root.Lookup(name)
		if e != 0 {
			t.Fatal(e)
		}
		want[name] = f(n, bytes.Clone(content))
		if got := n.(*inode).d.Flags&disk.InodeExtents != 0; got != extents {
			t.Errorf("%s: extents %v, want %v", name, got, extents)
		}
		n.Unref()
	}
	write := func(n vfs.Node, off int, p string) {
		t.Helper()
		if k, _, e := n.Write(int64(off), len(p), &byteSource{p: []byte(p)}); k != len(p) || e != 0 {
			t.Fatalf("write: %d, %v", k, e)
		}
	}
	change("overwrite", false, func(n vfs.Node, p []byte) []byte {
		write(n, 12345, "overwritten")
		copy(p[12345:], "overwritten")
		return p
	})
	change("append", true, func(n vfs.Node, p []byte) []byte {
		write(n, len(p), "appended")
		return append(p, "appended"...)
	})
	cut := func(size int64) func(n vfs.Node, p []byte) []byte {
		return func(n vfs.Node, p []byte) []byte {
			if e := n.SetAttr(&vfs.SetAttr{Mask: vfs.SetSize, Size: size}); e != 0 {
				t.Fatal(e)
			}
			return p[:size]
		}
	}
	change("cut", true, cut(100001))
	change("cut-all", false, cut(0))
	change("punch", false, func(n vfs.Node, p []byte) []byte {
		if e := n.(vfs.Allocator).Allocate(abi.FALLOC_FL_PUNCH_HOLE|abi.FALLOC_FL_KEEP_SIZE, 0, 4096); e != abi.EOPNOTSUPP {
			t.Errorf("punch: %v", e)
		}
		return p
	})
	if e := root.Unlink("delete"); e != 0 {
		t.Fatal(e)
	}
	for name, p := range want {
		n, e := root.Lookup(name)
		if e != 0 {
			t.Fatal(e)
		}
		if !bytes.Equal(readAll(t, n), p) {
			t.Errorf("%s: content differs", name)
		}
		n.Unref()
	}
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, dev.Content())
}
