package ext4

import (
	"fmt"
	"testing"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// TestAllocatedOnFullDisk writes here and there into blocks that were allocated before the disk became full
// to the last block. There must be room for all of it, and what lies between must read as zeros.
func TestAllocatedOnFullDisk(t *testing.T) {
	for _, bs := range []int64{1024, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			fs, dev := mount(t, mkfs(t, "24M", "-b", fmt.Sprint(bs)), true, Options{CacheBytes: 4 << 20})
			root := fs.Root()
			create := func(name string) *inode {
				n, e := root.Create(name, &vfs.NewNode{Mode: abi.S_IFREG | 0o600})
				if e != 0 {
					t.Fatal(e)
				}
				return n.(*inode)
			}
			n, filler := create("file"), create("filler")
			size := 3000 * bs
			if e := n.Allocate(0, 0, size); e != 0 {
				t.Fatal(e)
			}
			if e := fs.Sync(); e != 0 {
				t.Fatal(e)
			}
			for k := int64(1 << 20); k > 0; {
				room := fs.freeSpace.Load()
				if room == 0 {
					break
				}
				if e := filler.Allocate(abi.FALLOC_FL_KEEP_SIZE, 0, (int64(filler.d.Blocks)*512/bs+min(room, k))*bs); e == abi.ENOSPC {
					k = min(room, k) / 2
				} else if e != 0 {
					t.Fatal(e)
				}
			}
			if free := fs.freeSpace.Load(); free != 0 {
				t.Fatalf("%d blocks are free", free)
			}
			want := make([]byte, size)
			for round := range 4 {
				for i := int64(round); i < 3000; i += 7 + int64(round) {
					p := []byte(fmt.Sprintf("round %d block %d", round, i))
					off := i*bs + int64(100*round)
					if got, _, e := n.Write(off, len(p), &byteSource{p: p}); e != 0 || got != len(p) {
						t.Fatalf("write to allocated block %d: %d, %v", i, got, e)
					}
					copy(want[off:], p)
				}
				if e := n.Sync(false); e != 0 {
					t.Fatalf("round %d: fsync: %v", round, e)
				}
			}
			n.mu.Lock()
			n.pages.from(0, fs.pages.discard)
			n.mu.Unlock()
			if string(readAll(t, n)) != string(want) {
				t.Error("content differs")
			}
			n.Unref()
			filler.Unref()
			root.Unref()
			if e := fs.Unmount(); e != 0 {
				t.Fatal(e)
			}
			checkNothingLeft(t, fs)
			fsck(t, dev.Content())
		})
	}
}
