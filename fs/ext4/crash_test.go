package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pinhole/abi"
	"pinhole/blockdev"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/vfs"
	"pinhole/tests/harness"
)

// TestQuietMoment takes the image away, without an unmount, when nothing has happened for a
// while: everything must be there, and e2fsck silent.
func TestQuietMoment(t *testing.T) {
	for _, bs := range []string{"1024", "4096"} {
		img := mkfs(t, "48M", "-b", bs)
		fs, dev := mount(t, img, true, Options{FlushAfter: 20 * time.Millisecond, CommitEvery: 20 * time.Millisecond})
		root := fs.Root()
		g := newGenerator(root, 11)
		for round := range 3 {
			for range 500 {
				g.step(t)
			}
			g.close() // names that are gone leave no orphans
			// Quiet is when no write has come for some time.
			_, last, _ := dev.Counts()
			for calm := 0; calm < 10; {
				time.Sleep(25 * time.Millisecond)
				if _, w, _ := dev.Counts(); w != last {
					last, calm = w, 0
				} else {
					calm++
				}
			}
			if fs.pages.ndirty.Load() != 0 {
				t.Errorf("round %d: %d dirty pages at a quiet moment", round, fs.pages.ndirty.Load())
			}
			want := tree(t, root)
			copied := dev.Image()
			fsck(t, copied)
			again, _ := mount(t, copied, true, Options{ReadOnly: true})
			r := again.Root()
			if d := cmp.Diff(want, tree(t, r)); d != "" {
				t.Errorf("round %d (-mounted +taken away):\n%s", round, d)
			}
			r.Unref()
			again.Unmount()
		}
		root.Unref()
		if e := fs.Unmount(); e != 0 {
			t.Fatal(e)
		}
		fsck(t, dev.Content())
	}
}

// TestCutShort cuts the writing of changes short at every moment, in a file system without a
// journal. The superblock must own up to it, or the image be sound; e2fsck must be able to mend
// it, and what was synced before must still be there.
func TestCutShort(t *testing.T) {
	img := mkfs(t, "16M", "-b", "1024", "-O", "^has_journal")
	fs, dev := mount(t, img, true, Options{FlushAfter: time.Hour})
	root := fs.Root()
	synced := bytes.Repeat([]byte("synced"), 5000)
	n := create(t, root, "synced", abi.S_IFREG|0o644)
	n.Write(0, len(synced), &byteSource{p: synced})
	if e := n.Sync(false); e != 0 {
		t.Fatal(e)
	}
	n.Unref()
	dev.Record = true
	g := newGenerator(root, 5)
	for round := range 3 {
		for range 60 {
			g.step(t)
		}
		if e := fs.Sync(); e != 0 {
			t.Fatalf("round %d: %v", round, e)
		}
	}
	events := len(dev.Events())
	step := max(events/60, 1)
	for k := 0; k <= events; k += step {
		path := filepath.Join(t.TempDir(), "image")
		crashed := dev.Crash(k, nil)
		writeSparse(t, path, crashed)
		clean := le.Uint16(crashed[1024+0x3a:])&1 != 0
		out, err := exec.Command(harness.Tool(t, "e2fsck", "e2fsprogs"), "-fn", path).CombinedOutput()
		// Inodes that were open and have no names are on the orphan list, as they should
		// be; e2fsck -n cannot do anything about them.
		orphans := le.Uint32(crashed[1024+0xe8:]) != 0
		if err != nil && clean && !orphans {
			t.Errorf("after %d of %d events the image says that it is clean:\n%s", k, events, out)
		}
		exec.Command(harness.Tool(t, "e2fsck", "e2fsprogs"), "-fy", path).Run()
		if out, err := exec.Command(harness.Tool(t, "e2fsck", "e2fsprogs"), "-fn", path).CombinedOutput(); err != nil {
			t.Errorf("after %d of %d events e2fsck cannot mend the image:\n%s", k, events, out)
		}
		mended, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		fs, _ := mount(t, mended, true, Options{})
		root := fs.Root()
		want := fmt.Sprintf("size=%d sum=%x", len(synced), sum(synced))
		found := false
		for path, what := range tree(t, root) {
			// A directory that was being given a hash tree can lose names.
			found = found || strings.HasSuffix(what, want) && (path == "/synced" || strings.HasPrefix(path, "/lost+found/"))
		}
		if !found {
			t.Errorf("after %d of %d events the synced file is gone", k, events)
		}
		root.Unref()
		fs.Unmount()
	}
	g.close()
	root.Unref()
	fs.Unmount()
}

// TestWriteErrors has the device fail for a while. Syncs must say so, and once the device
// works again everything must reach it if it was only full.
func TestWriteErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want abi.Errno
	}{{"full", blockdev.ErrNoSpace, abi.ENOSPC}, {"broken", faultdev.ErrInjected, abi.EIO}} {
		t.Run(tt.name, func(t *testing.T) {
			img := mkfs(t, "32M", "-b", "4096")
			var failing atomic.Bool
			dev := faultdev.New(img)
			dev.Fail = func(op faultdev.Op, off int64, n int) error {
				if failing.Load() && op == faultdev.Write && off > 64<<10 {
					return tt.err
				}
				return nil
			}
			fs, err := Mount(faultdev.Mapped{Device: dev}, Options{Log: t.Logf, FlushAfter: 10 * time.Millisecond, CacheBytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			root := fs.Root()
			a := create(t, root, "a", abi.S_IFREG|0o644)
			b := create(t, root, "b", abi.S_IFREG|0o644)
			if e := fs.Sync(); e != 0 {
				t.Fatal(e)
			}
			failing.Store(true)
			content := bytes.Repeat([]byte("content"), 3000)
			a.Write(0, len(content), &byteSource{p: content})
			if e := a.Sync(false); e != tt.want {
				t.Errorf("sync of the file: %v, want %v", e, tt.want)
			}
			// A writer must not wait for ever for a device that takes nothing.
			var e abi.Errno
			for i := 0; i < 100 && e == 0; i++ {
				_, _, e = b.Write(vfs.AtEnd, 1<<16, &copySource{make([]byte, 1<<16)})
			}
			if e == 0 {
				t.Error("a writer goes on for ever")
			}
			if e := fs.Sync(); e != tt.want {
				t.Errorf("sync of the file system: %v, want %v", e, tt.want)
			}
			failing.Store(false)
			if e := fs.Sync(); e != 0 {
				t.Errorf("sync with a good device: %v", e)
			}
			if fs.ReadOnly() {
				t.Error("content that cannot be written made the file system read-only")
			}
			if !bytes.Equal(readAll(t, a), content) {
				t.Error("content is lost in memory")
			}
			a.Unref()
			b.Unref()
			root.Unref()
			e = fs.Unmount()
			if e != 0 {
				t.Errorf("unmount: %v", e)
			}
			fsck(t, dev.Content())
			again, _ := mount(t, dev.Content(), true, Options{})
			r := again.Root()
			n, e := r.Lookup("a")
			if e != 0 || !bytes.Equal(readAll(t, n), content) {
				t.Errorf("content is lost on the device (%v)", e)
			}
		})
	}
}

// TestReadErrors has reads fail: an error is returned, and nothing else happens.
func TestReadErrors(t *testing.T) {
	src, want := sourceTree(t)
	img := mkfs(t, "64M", "-b", "1024", "-d", src)
	var count, failAt atomic.Int64
	dev := faultdev.New(img)
	dev.Fail = func(op faultdev.Op, off int64, n int) error {
		if op == faultdev.Read && count.Add(1) == failAt.Load() {
			return faultdev.ErrInjected
		}
		return nil
	}
	for k := int64(1); k < 60; k++ {
		count.Store(0)
		failAt.Store(k)
		fs, err := Mount(dev, Options{ReadOnly: true})
		if err != nil {
			if !errors.Is(err, faultdev.ErrInjected) {
				t.Errorf("failed read %d: mount says %v", k, err)
			}
			continue
		}
		root := fs.Root()
		for path := range want {
			d := root
			d.Ref()
			for _, name := range bytes.Split([]byte(path[1:]), []byte("/")) {
				c, e := d.Lookup(string(name))
				d.Unref()
				if d = c; e != 0 {
					if e != abi.EIO {
						t.Errorf("failed read %d: %s: %v", k, path, e)
					}
					d = nil
					break
				}
			}
			if d != nil {
				d.Unref()
			}
		}
		if fs.damaged.Load() {
			t.Errorf("failed read %d counts as corruption", k)
		}
		// What failed once works later.
		failAt.Store(0)
		if got := tree(t, root); len(got) < len(want) {
			t.Errorf("failed read %d: %d names afterwards, want %d", k, len(got), len(want))
		}
		root.Unref()
		fs.Unmount()
	}
}

// TestFullDisk fills small file systems in several ways, with e2fsck after each.
func TestFullDisk(t *testing.T) {
	for _, bs := range []string{"1024", "4096"} {
		for extra := range 12 {
			t.Run(fmt.Sprint(bs, "/", extra), func(t *testing.T) {
				img := mkfs(t, fmt.Sprint(3000+extra*7, "K"), "-b", bs, "-O", "^has_journal", "-N", "200")
				fs, dev := mount(t, img, true, Options{FlushAfter: time.Millisecond})
				root := fs.Root()
				full := 0
				for i := 0; i < 400 && full < 30; i++ {
					var e abi.Errno
					switch i % 4 {
					case 0, 1:
						var n vfs.Node
						n, e = root.Create(fmt.Sprintf("file%d", i), &vfs.NewNode{Mode: abi.S_IFREG | 0o644})
						if e == 0 {
							// Scattered blocks need room for the tree, too.
							for k := 0; k < 40 && e == 0; k++ {
								_, _, e = n.Write(int64(k)*9000, 700, &copySource{make([]byte, 700)})
							}
							n.(vfs.XattrNode).Setxattr("user.large", make([]byte, 500), 0)
							n.Unref()
						}
					case 2:
						var n vfs.Node
						n, e = root.Create(fmt.Sprintf("dir%d", i), &vfs.NewNode{Mode: abi.S_IFDIR | 0o755})
						if e == 0 {
							for k := 0; k < 60 && e == 0; k++ {
								var c vfs.Node
								if c, e = n.Symlink(fmt.Sprintf("%0100d", k), string(bytes.Repeat([]byte("t"), 40+k)), &vfs.NewNode{}); e == 0 {
									c.Unref()
								}
							}
							n.Unref()
						}
					case 3:
						e = root.Unlink(fmt.Sprintf("file%d", i-2-i%8))
						if e == abi.ENOENT {
							e = 0
						}
					}
					if e == abi.ENOSPC {
						full++
					} else if e != 0 {
						t.Fatalf("step %d: %v", i, e)
					}
				}
				if full == 0 {
					t.Error("the disk is never full")
				}
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
