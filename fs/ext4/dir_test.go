package ext4

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pinhole/abi"
	"pinhole/fs/ext4/disk"
	"pinhole/fs/vfs"
)

func create(t testing.TB, d vfs.Node, name string, mode uint32) vfs.Node {
	t.Helper()
	n, e := d.Create(name, &vfs.NewNode{Mode: mode})
	if e != 0 {
		t.Fatalf("create %q: %v", name, e)
	}
	return n
}

// TestLargeDirectory fills a directory until its hash tree has inner nodes, takes most of
// the names away again, and has e2fsck look each time.
func TestLargeDirectory(t *testing.T) {
	for _, tt := range []struct {
		bs     string
		names  int
		long   int
		levels uint8
	}{{"1024", 12000, 12, 1}, {"4096", 30000, 4, 0}, {"1024", 100000, 60, 2}} {
		t.Run(fmt.Sprint(tt.bs, "/", tt.names), func(t *testing.T) {
			if tt.names > 50000 && testing.Short() {
				t.Skip("short test")
			}
			img := mkfs(t, "96M", "-b", tt.bs, "-O", "large_dir", "-N", fmt.Sprint(tt.names+1000))
			fs, dev := mount(t, img, true, Options{})
			root := fs.Root()
			d := create(t, root, "dir", abi.S_IFDIR|0o755)
			target := create(t, root, "target", abi.S_IFREG|0o644)
			name := func(i int) string {
				return fmt.Sprintf("%d-%s", i, strings.Repeat("name", tt.long/2+i%tt.long/2))
			}
			links := 1
			for i := range tt.names {
				// Hard links need no inode each; now and then the target is full.
				if links == maxLinks {
					target.Unref()
					target = create(t, root, "target2", abi.S_IFREG|0o644)
					links = 1
				}
				if e := d.Link(name(i), target); e != 0 {
					t.Fatalf("link %d: %v", i, e)
				}
				links++
			}
			if e := d.Link(name(5), target); e != abi.EEXIST {
				t.Errorf("a name can be taken twice: %v", e)
			}
			if e := fs.Sync(); e != 0 {
				t.Fatal(e)
			}
			fsck(t, dev.Image())
			b, err := d.(*inode).htreeNode(0, 0)
			if err != nil {
				t.Fatal(err)
			}
			var info disk.HtreeInfo
			info.Decode(b.data)
			if info.Levels != tt.levels {
				t.Errorf("hash tree has %d inner levels, the test wants %d", info.Levels, tt.levels)
			}
			fs.buffers.put(b)
			all := names(t, d, 1000)
			slices.Sort(all)
			if all = slices.Compact(all); len(all) != tt.names+2 {
				t.Errorf("%d different names, want %d", len(all), tt.names+2)
			}
			for i := range tt.names {
				if i%16 == 0 {
					if n, e := d.Lookup(name(i)); e != 0 || n.Ino() == 0 {
						t.Fatalf("lookup %d: %v", i, e)
					} else {
						n.Unref()
					}
					continue
				}
				if e := d.Unlink(name(i)); e != 0 {
					t.Fatalf("unlink %d: %v", i, e)
				}
			}
			if got := len(names(t, d, 100)); got != (tt.names+15)/16+2 {
				t.Errorf("%d names are left, want %d", got, (tt.names+15)/16+2)
			}
			target.Unref()
			d.Unref()
			root.Unref()
			if e := fs.Unmount(); e != 0 {
				t.Fatal(e)
			}
			fsck(t, dev.Image())
		})
	}
}

// TestFullDirectory fills a directory until its hash tree is full.
func TestFullDirectory(t *testing.T) {
	img := mkfs(t, "64M", "-b", "1024")
	fs, dev := mount(t, img, true, Options{})
	root := fs.Root()
	target := create(t, root, "target", abi.S_IFREG|0o644)
	made := 0
	for e := abi.Errno(0); e == 0; made++ {
		e = root.Link(fmt.Sprintf("%d-%s", made, strings.Repeat("name", 60)), target)
		if e != 0 && e != abi.ENOSPC {
			t.Fatal(e)
		}
	}
	if made < 10000 {
		t.Errorf("the directory is full with %d names", made)
	}
	if e := root.Link("x", target); e != 0 && e != abi.ENOSPC {
		t.Error(e)
	}
	target.Unref()
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, dev.Image())
}

// TestReadDirWhileChanging reads a directory a few names at a time while others come and
// go, through its growth into a hash tree. Names that stay must be met once.
func TestReadDirWhileChanging(t *testing.T) {
	for _, opts := range [][]string{{"-b", "1024"}, {"-b", "1024", "-O", "^dir_index"}} {
		img := mkfs(t, "32M", opts...)
		fs, dev := mount(t, img, true, Options{})
		root := fs.Root()
		d := create(t, root, "dir", abi.S_IFDIR|0o755)
		rnd := rand.New(rand.NewPCG(8, 8))
		for round := range 20 {
			stay := map[string]int{}
			for i := range 8 {
				name := fmt.Sprintf("stay-%d-%d", round, i)
				create(t, d, name, abi.S_IFREG|0o644).Unref()
				stay[name] = 0
			}
			cookie := int64(0)
			for done := false; !done; {
				done = true
				few := 1 + rnd.IntN(5)
				e := d.ReadDir(cookie, func(de *vfs.DirEntry) bool {
					if few == 0 {
						done = false
						return false
					}
					few--
					if _, ok := stay[de.Name]; ok {
						stay[de.Name]++
					}
					cookie = de.Cookie
					return true
				})
				if e != 0 {
					t.Fatal(e)
				}
				for range 6 {
					name := fmt.Sprintf("come-%d", rnd.IntN(40*(round+1)))
					if rnd.IntN(5) < 2 {
						d.Unlink(name)
					} else if n, e := d.Create(name, &vfs.NewNode{Mode: abi.S_IFREG | 0o644}); e == 0 {
						n.Unref()
					}
				}
			}
			for name, times := range stay {
				if times != 1 {
					t.Errorf("%v round %d: %s was met %d times", opts, round, name, times)
				}
			}
		}
		d.Unref()
		root.Unref()
		if e := fs.Unmount(); e != 0 {
			t.Fatal(e)
		}
		fsck(t, dev.Image())
	}
}

// TestManySubdirectories goes beyond the link count that an inode can hold.
func TestManySubdirectories(t *testing.T) {
	if testing.Short() {
		t.Skip("short test")
	}
	const count = maxLinks + 500
	img := mkfs(t, "512M", "-b", "1024", "-I", "128", "-N", fmt.Sprint(count+1000), "-J", "size=1")
	fs, dev := mount(t, img, true, Options{})
	root := fs.Root()
	for i := range count {
		create(t, root, fmt.Sprint(i), abi.S_IFDIR|0o755).Unref()
	}
	var a vfs.Attr
	if root.Attr(&a); a.Nlink != 1 {
		t.Errorf("link count is %d, want 1 for many", a.Nlink)
	}
	for i := range 1000 {
		if e := root.Rmdir(fmt.Sprint(i)); e != 0 {
			t.Fatal(e)
		}
	}
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, dev.Image())
}

// TestHashCollisions reads a directory name by name that has names with the same hash.
func TestHashCollisions(t *testing.T) {
	img := mkfs(t, "32M", "-b", "1024")
	fs, dev := mount(t, img, true, Options{})
	seen := make(map[uint32]string)
	var list []string
	for i := 0; len(list) < 12; i++ {
		name := fmt.Sprint("collides-", i)
		h := fs.hashOf(fs.hashVersion, name)
		if other, ok := seen[h]; ok {
			list = append(list, other, name)
		}
		seen[h] = name
	}
	root := fs.Root()
	d := create(t, root, "dir", abi.S_IFDIR|0o755)
	for i, name := range list {
		create(t, d, name, abi.S_IFREG|0o644).Unref()
		for k := range 20 {
			create(t, d, fmt.Sprintf("other-%d-%d", i, k), abi.S_IFREG|0o644).Unref()
		}
	}
	all := names(t, d, 1)
	slices.Sort(all)
	if u := slices.Compact(slices.Clone(all)); len(u) != len(all) || len(all) != 2+len(list)*21 {
		t.Errorf("%d names, %d different, want %d", len(all), len(u), 2+len(list)*21)
	}
	for _, name := range list {
		if e := d.Unlink(name); e != 0 {
			t.Errorf("unlink %s: %v", name, e)
		}
	}
	d.Unref()
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, dev.Image())
}
