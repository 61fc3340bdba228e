package ext4

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
	"pinhole/tests/harness"
)

// journaled makes an image whose journal has a given number of blocks.
func journaled(t testing.TB, size string, bs, blocks int, opts ...string) []byte {
	t.Helper()
	return mkfs(t, size, append([]string{"-b", fmt.Sprint(bs), "-J", fmt.Sprintf("size=%d", blocks*bs>>20)}, opts...)...)
}

// replayed has e2fsck replay an image's journal, and returns the image. With other options it
// does more.
func replayed(t testing.TB, img []byte, opts ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	writeSparse(t, path, img)
	if opts == nil {
		opts = []string{"-E", "journal_only"}
	}
	out, err := exec.Command(harness.Tool(t, "e2fsck", "e2fsprogs"), append([]string{"-y", path}, opts...)...).CombinedOutput()
	if x, ok := err.(*exec.ExitError); err != nil && (!ok || x.ExitCode() > 1) {
		t.Fatalf("e2fsck cannot replay the journal: %v\n%s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(path)
	return b
}

// treeOf mounts an image read-only and describes it. A journal is replayed in memory.
func treeOf(t testing.TB, img []byte) map[string]string {
	t.Helper()
	fs, _ := mount(t, img, true, Options{ReadOnly: true, Log: func(string, ...any) {}})
	root := fs.Root()
	defer fs.Unmount()
	defer root.Unref()
	return tree(t, root)
}

// TestJournalCrash cuts a random workload short at its writes and flushes, with the writes
// since the last flush done in part. Each state must replay to what a sync has left or
// something later, e2fsck find nothing to mend, and e2fsck's own replay show the same.
func TestJournalCrash(t *testing.T) {
	for _, tt := range []struct {
		name   string
		bs     int
		blocks int
		opts   []string
	}{
		{"1k", 1024, 1024, nil},
		{"4k", 4096, 1024, nil},
		{"no checksums", 1024, 1024, []string{"-O", "^metadata_csum,^64bit"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := journaled(t, "32M", tt.bs, tt.blocks, tt.opts...)
			fs, dev := mount(t, img, true, Options{FlushAfter: time.Hour, CommitEvery: time.Hour})
			root := fs.Root()
			type point struct {
				event int
				tree  map[string]string
			}
			points := []point{{0, tree(t, root)}}
			if e := fs.Sync(); e != 0 {
				t.Fatal(e)
			}
			dev.Record = true
			g := newGenerator(root, uint64(tt.bs))
			for round := range 6 {
				for range 40 {
					g.step(t)
				}
				g.close()
				want := tree(t, root)
				if e := fs.Sync(); e != 0 {
					t.Fatalf("round %d: %v", round, e)
				}
				points = append(points, point{dev.Recorded(), want})
			}
			root.Unref()
			if e := fs.Unmount(); e != 0 {
				t.Fatal(e)
			}
			fsck(t, dev.Content())
			events := dev.Recorded()
			rnd := rand.New(rand.NewPCG(3, 3))
			tries := 24
			if os.Getenv("PINHOLE_LONG") != "" {
				tries = events
			}
			for i := range tries {
				n := events * i / tries
				if i%4 == 0 {
					n = points[i/4%len(points)].event
				}
				var keep func(int, faultdev.Event) bool
				if i%2 == 1 {
					keep = func(int, faultdev.Event) bool { return rnd.IntN(2) == 0 }
				}
				crashed := dev.Crash(n, keep)
				byTool := treeOf(t, replayed(t, crashed))
				if d := cmp.Diff(byTool, treeOf(t, crashed)); d != "" {
					t.Errorf("event %d of %d: (-e2fsck's replay +ours in memory):\n%s", n, events, d)
				}
				again, d := mount(t, crashed, true, Options{Log: func(string, ...any) {}})
				r := again.Root()
				got := tree(t, r)
				r.Unref()
				if e := again.Unmount(); e != 0 {
					t.Errorf("event %d of %d: unmount: %v", n, events, e)
				}
				// Right behind a sync, what is left is what was synced.
				p := sort.Search(len(points), func(i int) bool { return points[i].event > n }) - 1
				if points[p].event == n {
					if d := cmp.Diff(points[p].tree, got); d != "" {
						t.Errorf("event %d of %d (-synced +found):\n%s", n, events, d)
					}
				}
				fsck(t, d.Content())
				if t.Failed() {
					return
				}
			}
		})
	}
}

// TestJournalWraps goes round a small journal many times, with a tiny cache.
func TestJournalWraps(t *testing.T) {
	for _, bs := range []int{1024, 4096} {
		img := journaled(t, "64M", bs, 1024)
		fs, dev := mount(t, img, true, Options{FlushAfter: time.Hour, CommitEvery: time.Hour, CacheBytes: 1 << 20})
		root := fs.Root()
		want := make(map[string]string)
		for round := range 30 {
			for i := range 40 {
				name := fmt.Sprintf("%d-%d", round%5, i)
				n, e := root.Create(name, &vfs.NewNode{Mode: abi.S_IFREG | 0o644})
				if e == abi.EEXIST {
					if e = root.Unlink(name); e == 0 {
						n, e = root.Create(name, &vfs.NewNode{Mode: abi.S_IFREG | 0o644})
					}
				}
				if e != 0 {
					t.Fatalf("round %d: %v", round, e)
				}
				text := []byte(fmt.Sprintf("%s in round %d", name, round))
				n.Write(0, len(text), &byteSource{p: text})
				want[name] = string(text)
				if e := n.Sync(false); e != 0 {
					t.Fatalf("round %d: %v", round, e)
				}
				n.Unref()
			}
			if round%10 == 9 {
				fs.buffers.drop()
			}
		}
		crashed := dev.Image()
		for _, img := range [][]byte{crashed, replayed(t, crashed)} {
			again, _ := mount(t, cloneSparse(img), true, Options{})
			r := again.Root()
			for name, text := range want {
				n, e := r.Lookup(name)
				if e != 0 {
					t.Fatalf("%s: %v", name, e)
				}
				if got := readAll(t, n); string(got) != text {
					t.Errorf("%s holds %q, want %q", name, got, text)
				}
				n.Unref()
			}
			r.Unref()
			if e := again.Unmount(); e != 0 {
				t.Error(e)
			}
		}
		root.Unref()
		if e := fs.Unmount(); e != 0 {
			t.Fatal(e)
		}
		fsck(t, dev.Content())
		if le.Uint32(dev.Content()[disk.SuperblockOffset+0x60:])&disk.IncompatRecover != 0 {
			t.Error("needs_recovery is set after unmount")
		}
	}
}

// TestRevoke frees directories whose blocks then become content of files, which a replay must
// not write over.
func TestRevoke(t *testing.T) {
	img := journaled(t, "5M", 1024, 1024)
	fs, dev := mount(t, img, true, Options{FlushAfter: time.Hour, CommitEvery: time.Hour})
	root := fs.Root()
	rnd := rand.New(rand.NewPCG(1, 2))
	sync := func() {
		t.Helper()
		if e := fs.Sync(); e != 0 {
			t.Fatal(e)
		}
	}
	for round := range 8 {
		d := create(t, root, "dir", abi.S_IFDIR|0o755)
		for i := range 60 {
			create(t, d, fmt.Sprintf("%0200d", i), abi.S_IFREG|0o600).Unref()
		}
		sync()
		for _, name := range names(t, d, 1000) {
			if !strings.HasPrefix(name, ".") {
				if e := d.Unlink(name); e != 0 {
					t.Fatal(e)
				}
			}
		}
		d.Unref()
		if e := root.Rmdir("dir"); e != 0 {
			t.Fatal(e)
		}
		sync()
		// A file that takes every block.
		n := create(t, root, "file", abi.S_IFREG|0o600)
		text := make([]byte, 5<<20)
		for i := range text {
			text[i] = byte(rnd.Uint32())
		}
		k, _, e := n.Write(0, len(text), &byteSource{p: text})
		if e != 0 && e != abi.ENOSPC || k < 1<<20 {
			t.Fatal(k, e)
		}
		if e := n.Sync(false); e != 0 {
			t.Fatal(e)
		}
		n.Unref()
		crashed := dev.Image()
		for i, img := range [][]byte{crashed, replayed(t, crashed)} {
			again, _ := mount(t, img, true, Options{ReadOnly: true, Log: func(string, ...any) {}})
			r := again.Root()
			n, e := r.Lookup("file")
			if e != 0 {
				t.Fatal(e)
			}
			if !bytes.Equal(readAll(t, n), text[:k]) {
				t.Errorf("round %d, replay %d: the file has other content", round, i)
			}
			n.Unref()
			r.Unref()
			again.Unmount()
		}
		root.Unlink("file")
		sync()
	}
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, dev.Content())
}

// TestNothingWritten mounts and reads; the device is not written to, nor flushed.
func TestNothingWritten(t *testing.T) {
	fs, dev := mount(t, mkfs(t, "8M", "-b", "1024"), true, Options{NoAtime: true})
	root := fs.Root()
	tree(t, root)
	root.Unref()
	if e := fs.Sync(); e != 0 {
		t.Fatal(e)
	}
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	if _, writes, flushes := dev.Counts(); writes+flushes != 0 {
		t.Errorf("%d writes and %d flushes", writes, flushes)
	}
}

// TestExternalJournal mounts images whose journal is elsewhere.
func TestExternalJournal(t *testing.T) {
	img := mkfs(t, "8M", "-b", "1024")
	changeSuper(img, func(sb *disk.Superblock) { sb.JournalInum, sb.JournalDev = 0, 0x801 })
	if _, err := Mount(faultdev.New(img), Options{}); err == nil || !strings.Contains(err.Error(), "journal_dev") {
		t.Errorf("mount says %v", err)
	}
	fs, _ := mount(t, img, true, Options{ReadOnly: true})
	fs.Unmount()
}

// TestConcurrentCrash has several threads change things while transactions are committed and
// brought home all the time, through a small journal and a small cache, and cuts that short.
func TestConcurrentCrash(t *testing.T) {
	img := journaled(t, "32M", 1024, 1024)
	fs, dev := mount(t, img, true, Options{FlushAfter: 3 * time.Millisecond, CommitEvery: 5 * time.Millisecond, CacheBytes: 2 << 20})
	root := fs.Root()
	dev.Record = true
	steps := 400
	if os.Getenv("PINHOLE_LONG") != "" {
		steps = 8000
	}
	var wg sync.WaitGroup
	for i := range 4 {
		d := create(t, root, fmt.Sprint("thread", i), abi.S_IFDIR|0o755)
		wg.Go(func() {
			defer d.Unref()
			g := newGenerator(d, uint64(i))
			defer g.close()
			for k := range steps {
				g.step(nil)
				if k%20 == 19 {
					d.Sync(false)
				}
			}
		})
	}
	wg.Wait()
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, dev.Content())
	rnd := rand.New(rand.NewPCG(5, 5))
	events := dev.Recorded()
	for range 24 {
		n := rnd.IntN(events + 1)
		crashed := dev.Crash(n, func(int, faultdev.Event) bool { return rnd.IntN(3) > 0 })
		again, d := mount(t, crashed, true, Options{Log: func(string, ...any) {}})
		if e := again.Unmount(); e != 0 {
			t.Errorf("event %d of %d: %v", n, events, e)
		}
		fsck(t, d.Content())
		if t.Failed() {
			return
		}
	}
}

// TestLeftBehind mounts and unmounts images that need nothing but their superblocks mended, which
// happens at the mount: nothing is changed that would have one written later.
func TestLeftBehind(t *testing.T) {
	base := mkfs(t, "16M", "-b", "1024")
	fs, _ := mount(t, base, false, Options{ReadOnly: true})
	runs, err := fs.journalRuns()
	if err != nil {
		t.Fatal(err)
	}
	fs.Unmount()
	journalErrno := base[runs[0].Home*1024+0x20:][:4] // no checksum yet
	for _, tt := range []struct {
		name  string
		spoil func(sb *disk.Superblock)
		state uint16
	}{
		{"counts", func(sb *disk.Superblock) {
			// As Linux leaves it, which does not journal them.
			sb.FeatureIncompat |= disk.IncompatRecover
			sb.FreeBlocksCount -= 100
			sb.FreeInodesCount += 7
		}, disk.StateValid},
		{"error", func(sb *disk.Superblock) {
			copy(journalErrno, []byte{0xff, 0xff, 0xff, 0xfb})
		}, disk.StateValid | disk.StateError},
		{"error, to be replayed", func(sb *disk.Superblock) {
			sb.FeatureIncompat |= disk.IncompatRecover
			copy(journalErrno, []byte{0xff, 0xff, 0xff, 0xfb})
		}, disk.StateValid | disk.StateError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clear(journalErrno)
			var sb disk.Superblock
			if err := sb.Decode(base[disk.SuperblockOffset:]); err != nil {
				t.Fatal(err)
			}
			tt.spoil(&sb)
			img := bytes.Clone(base)
			sb.Encode(img[disk.SuperblockOffset:])
			fs, dev := mount(t, img, true, Options{})
			if e := fs.Unmount(); e != 0 {
				t.Fatal(e)
			}
			img = dev.Image()
			fsck(t, img)
			if err := sb.Decode(img[disk.SuperblockOffset:]); err != nil || sb.State != tt.state {
				t.Errorf("the superblock says state %#x, want %#x (%v)", sb.State, tt.state, err)
			}
		})
	}
}
