package ext4

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// TestInterleavedGrowth lets files grow side by side by small steps. None may end in pieces.
func TestInterleavedGrowth(t *testing.T) {
	img := mkfs(t, "128M", "-b", "4096")
	fs, dev := mount(t, img, true, Options{})
	root := fs.Root()
	var files []vfs.Node
	for i := range 4 {
		files = append(files, create(t, root, fmt.Sprint(i), abi.S_IFREG|0o644))
	}
	src := &copySource{make([]byte, 4096)}
	for range 4 << 20 / 4096 {
		for _, n := range files {
			if _, _, e := n.Write(vfs.AtEnd, 4096, src); e != 0 {
				t.Fatal(e)
			}
		}
	}
	for _, n := range files {
		if k := len(n.(*inode).runs.list); k > 30 {
			t.Errorf("a file of 4 MiB is in %d pieces", k)
		}
		n.Unref()
	}
	if busy := fs.busyBlocks.Load(); busy != 0 {
		t.Errorf("%d blocks are kept for files that nobody uses", busy)
	}
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, dev.Content())
}

// TestGarbageBehindMkfs makes a file system on a disk full of something else, of which
// mkfs.ext4 leaves what it can: tables and bitmaps that are marked as never used.
func TestGarbageBehindMkfs(t *testing.T) {
	for _, bs := range []string{"1024", "4096"} {
		path := filepath.Join(t.TempDir(), "image")
		junk := make([]byte, 64<<20)
		for i := range junk {
			junk[i] = byte(i*7 + i>>10 | 1)
		}
		if err := os.WriteFile(path, junk, 0o600); err != nil {
			t.Fatal(err)
		}
		tool(t, "mkfs.ext4", "-q", "-F", "-b", bs, "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", path)
		img, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		fs, dev := mount(t, img, true, Options{})
		root := fs.Root()
		g := newGenerator(root, 21)
		for range 1500 {
			g.step(t)
		}
		for i := range 3000 {
			create(t, root, fmt.Sprint("more", i), abi.S_IFREG|0o644).Unref()
		}
		g.close()
		root.Unref()
		if e := fs.Unmount(); e != 0 {
			t.Fatal(e)
		}
		fsck(t, dev.Content())
	}
}
