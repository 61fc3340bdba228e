package ext4

import (
	"sync"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// TestConcurrent changes one tree from several goroutines, with a cache so small that pages
// are written and taken all the time, and a flusher that hardly pauses.
func TestConcurrent(t *testing.T) {
	for _, bs := range []string{"1024", "4096"} {
		img := mkfs(t, "64M", "-b", bs)
		fs, dev := mount(t, img, true, Options{CacheBytes: 1 << 20, FlushAfter: time.Millisecond})
		root := fs.Root()
		steps := 1500
		if testing.Short() {
			steps = 300
		}
		var wg sync.WaitGroup
		for seed := range uint64(4) {
			wg.Go(func() {
				g := newGenerator(root, seed)
				for range steps {
					g.step(t)
				}
				g.close()
			})
		}
		stop := make(chan struct{})
		var readers sync.WaitGroup
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					walkHostile(root, 0, new(int))
					fs.Sync()
				}
			}
		})
		wg.Wait()
		close(stop)
		readers.Wait()
		want := tree(t, root)
		root.Unref()
		if e := fs.Unmount(); e != 0 {
			t.Fatal(e)
		}
		checkNothingLeft(t, fs)
		fsck(t, dev.Content())
		again, _ := mount(t, dev.Content(), false, Options{})
		r := again.Root()
		if got := tree(t, r); len(got) != len(want) {
			t.Errorf("%d names after a mount, %d before", len(got), len(want))
		}
		r.Unref()
		again.Unmount()
	}
}

// TestRenameInCircles has goroutines move directories about, each of which must stay below
// exactly one parent. (The vfs refuses loops; here only siblings move.)
func TestRenameInCircles(t *testing.T) {
	img := mkfs(t, "32M", "-b", "1024")
	fs, dev := mount(t, img, true, Options{FlushAfter: time.Millisecond})
	root := fs.Root()
	parents := make([]vfs.Node, 4)
	for i := range parents {
		parents[i] = create(t, root, string(rune('a'+i)), abi.S_IFDIR|0o755)
		create(t, parents[i], string(rune('p'+i)), abi.S_IFDIR|0o755).Unref()
	}
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				from, to := parents[(i+k)%4], parents[(i*k+1)%4]
				name := string(rune('p' + i%4))
				switch i % 3 {
				case 0:
					from.Rename(name, to, name, abi.RENAME_NOREPLACE)
				case 1:
					from.Rename(name, to, string(rune('p'+(i+1)%4)), abi.RENAME_EXCHANGE)
				case 2:
					from.Rename(name, to, name, 0)
				}
			}
		})
	}
	wg.Wait()
	for _, p := range parents {
		p.Unref()
	}
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, dev.Content())
}

// TestUnmountWithOpenFile leaves a file without a name open at the unmount, as a guest that
// was killed may.
func TestUnmountWithOpenFile(t *testing.T) {
	fs, dev := mount(t, mkfs(t, "16M", "-b", "1024"), true, Options{})
	root := fs.Root()
	n := create(t, root, "file", abi.S_IFREG|0o644)
	n.Write(0, 100000, &copySource{make([]byte, 1<<20)})
	if e := root.Unlink("file"); e != 0 {
		t.Fatal(e)
	}
	if got := len(readAll(t, n)); got != 100000 {
		t.Errorf("%d bytes can be read after the unlink", got)
	}
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, dev.Content())
	n.Unref()
	root.Unref()
}
