package ext4

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/blockdev/faultdev"
	"pinhole/fs/vfs"
)

// TestFreeSpace compares the index of groups with looking at all of them.
func TestFreeSpace(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for _, groups := range []uint32{1, 2, 63, 64, 65, 5000} {
		var f freeSpace
		f.init(groups)
		runs := make([]uint32, groups)
		inodes := make([]bool, groups)
		for range 3000 {
			g := rnd.Uint32N(groups)
			runs[g] = 0
			if rnd.IntN(3) > 0 {
				runs[g] = rnd.Uint32N(1 << rnd.IntN(16))
			}
			f.setRun(g, runs[g])
			g = rnd.Uint32N(groups)
			inodes[g] = rnd.IntN(50) == 0
			f.setInodes(g, inodes[g])

			from, n := rnd.Uint32N(groups), uint32(1)<<rnd.IntN(16)
			find := func(fits func(g uint32) bool) (uint32, bool) {
				for i := range groups {
					if g := (from + i) % groups; fits(g) {
						return g, true
					}
				}
				return 0, false
			}
			want, ok := find(func(g uint32) bool { return runs[g] >= n })
			if got, found := f.findRun(from, n); found != ok || ok && got != want {
				t.Fatalf("findRun(%d, %d) = %d, %v, want %d, %v", from, n, got, found, want, ok)
			}
			want, ok = find(func(g uint32) bool { return inodes[g] })
			if got, found := f.findInodes(from); found != ok || ok && got != want {
				t.Fatalf("findInodes(%d) = %d, %v, want %d, %v", from, got, found, want, ok)
			}
		}
	}
}

// checkSpace compares what is known of free space with the bitmaps. Groups are looked at one after the
// other, and content may be written behind meanwhile: what does not agree is looked at again.
func checkSpace(t *testing.T, fs *FS) {
	t.Helper()
	var problems []string
	for range 10 {
		if problems = spaceProblems(t, fs); len(problems) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

func spaceProblems(t *testing.T, fs *FS) (problems []string) {
	t.Helper()
	errorf := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	var blocks, busy, inodes, dirs int64
	flex := make([]flexGroup, len(fs.flex))
	for i := range fs.groups {
		g := &fs.groups[i]
		g.mu.Lock()
		b, err := fs.blockBitmap(g)
		if err != nil {
			g.mu.Unlock()
			t.Fatal(err)
		}
		longest, free, nBusy := uint32(0), uint32(0), uint32(0)
		for at, end := uint32(0), fs.groupLen(g.nr); at < end; {
			k := freeLen(b.data, g.busy, at, end, end-at)
			longest = max(longest, k)
			at += k + 1
		}
		for _, w := range g.busy {
			nBusy += uint32(bits.OnesCount64(w))
		}
		free = countFree(b.data, fs.groupLen(g.nr))
		if free != g.desc.FreeBlocks || nBusy != g.nBusy || longest > g.maxRun || int(fs.space.class[i]) != bits.Len32(g.maxRun) {
			errorf("group %d has %d free blocks, descriptor says %d; %d busy, counted %d; longest run is %d, known as %d in class %d",
				i, free, g.desc.FreeBlocks, nBusy, g.nBusy, longest, g.maxRun, fs.space.class[i])
		}
		f := &flex[uint32(i)>>fs.flexLog]
		f.freeBlocks.Add(int64(free))
		f.freeInodes.Add(int64(g.desc.FreeInodes))
		f.dirs.Add(int64(g.desc.UsedDirs))
		blocks += int64(free)
		busy += int64(nBusy)
		inodes += int64(g.desc.FreeInodes)
		dirs += int64(g.desc.UsedDirs)
		g.mu.Unlock()
	}
	for i := range flex {
		if a, b := fmt.Sprint(flex[i].freeBlocks.Load(), flex[i].freeInodes.Load(), flex[i].dirs.Load()),
			fmt.Sprint(fs.flex[i].freeBlocks.Load(), fs.flex[i].freeInodes.Load(), fs.flex[i].dirs.Load()); a != b {
			errorf("flex group %d has %s free blocks, inodes and directories, known are %s", i, a, b)
		}
	}
	reserved := int64(0)
	for i := range fs.inodes.shards {
		s := &fs.inodes.shards[i]
		s.mu.Lock()
		for _, n := range s.m {
			reserved += n.space.delayed + n.space.tree
		}
		s.mu.Unlock()
	}
	if k := fs.heldSpace() - fs.busyBlocks.Load(); k != reserved {
		errorf("%d blocks are reserved, inodes know of %d", k, reserved)
	}
	if a, b := fmt.Sprint(blocks, busy, inodes, dirs),
		fmt.Sprint(fs.freeBlocks.Load(), fs.busyBlocks.Load(), fs.freeInodes.Load(), fs.dirCount.Load()); a != b {
		errorf("free and busy blocks, inodes and directories are %s, known are %s", a, b)
	}
	return problems
}

// TestSpaceIsKnown takes, keeps and gives back blocks at random. What is known of each group must be
// no less than what there is, what is found must be free, and all of it can be found.
func TestSpaceIsKnown(t *testing.T) {
	for _, kind := range []string{"1k", "no_flex", "meta_bg"} {
		t.Run(kind, func(t *testing.T) {
			img := mkfs(t, "70M", imageKinds[kind]...)
			fs, dev := mount(t, img, true, Options{})
			rnd := rand.New(rand.NewPCG(1, 2))
			type taken struct {
				start uint64
				n     uint32
				claim bool
			}
			var list []taken
			for step := range 20000 {
				h, err := fs.begin(8)
				if err != nil {
					t.Fatal(err)
				}
				switch k := rnd.IntN(10); {
				case k < 4 || len(list) == 0:
					goal, want := rnd.Uint64N(fs.blocks), 1+rnd.Uint32N(1<<rnd.IntN(14))
					x := taken{claim: k < 2}
					var err error
					if x.claim {
						if k := fs.takeSpace(1, int64(want), 0); k == 0 {
							err = abi.ENOSPC
						} else if x.start, x.n, err = fs.claimRun(goal, uint32(k)); err == nil {
							fs.giveSpace(k - int64(x.n))
						}
					} else {
						x.start, x.n, err = fs.allocRun(h, goal, want)
					}
					if err == abi.ENOSPC {
						if left := fs.freeBlocks.Load() - fs.busyBlocks.Load(); left != 0 {
							t.Fatalf("the disk is said to be full, but has %d blocks", left)
						}
						for len(list) > 100 {
							x := list[len(list)-1]
							list = list[:len(list)-1]
							if x.claim {
								fs.dropClaim(x.start, x.n)
							} else if err := fs.unallocRun(h, x.start, x.n); err != nil {
								t.Fatal(err)
							}
							fs.giveSpace(int64(x.n))
						}
						break
					} else if err != nil {
						t.Fatal(err)
					}
					if x.n == 0 || x.n > want {
						t.Fatalf("got %d blocks, wanted %d", x.n, want)
					}
					list = append(list, x)
				default:
					i := rnd.IntN(len(list))
					x := list[i]
					list[i] = list[len(list)-1]
					list = list[:len(list)-1]
					switch {
					case !x.claim && k < 6:
						err = fs.freeRun(h, x.start, x.n)
					case !x.claim:
						err = fs.unallocRun(h, x.start, x.n)
						fs.giveSpace(int64(x.n))
					case k < 7:
						fs.dropClaim(x.start, x.n)
						fs.giveSpace(int64(x.n))
					default:
						if err = fs.useClaim(h, x.start, x.n); err == nil {
							list = append(list, taken{x.start, x.n, false})
						}
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				h.end()
				if step%500 == 0 {
					if err := fs.commit(0); err != nil {
						t.Fatal(err)
					}
				}
				if step%5000 == 0 {
					checkSpace(t, fs)
				}
			}
			for _, x := range list {
				if x.claim {
					fs.dropClaim(x.start, x.n)
					fs.giveSpace(int64(x.n))
					continue
				}
				h, err := fs.begin(8)
				if err != nil {
					t.Fatal(err)
				}
				if err := fs.freeRun(h, x.start, x.n); err != nil {
					t.Fatal(err)
				}
				h.end()
			}
			if err := fs.commit(0); err != nil {
				t.Fatal(err)
			}
			checkSpace(t, fs)
			if e := fs.Unmount(); e != 0 {
				t.Fatal(e)
			}
			fsck(t, dev.Content())
		})
	}
}

// TestBitmapsAreGivenBack uses all groups of an image of many, of which few can keep their bitmaps.
func TestBitmapsAreGivenBack(t *testing.T) {
	img := mkfs(t, "64M", "-b", "1024", "-g", "256", "-N", "4096")
	fs, dev := mount(t, img, true, Options{})
	fs.bitmaps.limit = 16
	for range 3 {
		for i := range fs.groupCount {
			h, err := fs.begin(8)
			if err != nil {
				t.Fatal(err)
			}
			start, n, err := fs.allocRun(h, fs.groupStart(i), 3)
			if err == nil {
				err = fs.unallocRun(h, start, n)
				fs.giveSpace(int64(n))
			}
			if err != nil {
				t.Fatal(err)
			}
			h.end()
			if i%20 == 0 {
				fs.commit(0)
			}
		}
		fs.buffers.drop()
	}
	have := 0
	for i := range fs.groups {
		if fs.groups[i].blocks != nil {
			have++
		}
	}
	if have > 17 {
		t.Errorf("%d of %d groups hold their bitmaps", have, fs.groupCount)
	}
	checkSpace(t, fs)
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, dev.Content())
}

// TestDirectoriesAreSpread checks where directories and files go.
func TestDirectoriesAreSpread(t *testing.T) {
	img := mkfs(t, "256M", "-b", "1024", "-O", "^flex_bg", "-N", "65536")
	fs, err := Mount(faultdev.New(img), Options{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	root := fs.Root()
	group := func(n vfs.Node) uint32 { return (uint32(n.Ino()) - 1) / fs.inodesPerGroup }
	seen := make(map[uint32]bool)
	for i := range fs.groupCount {
		d := create(t, root, fmt.Sprint("top", i), abi.S_IFDIR|0o755)
		seen[group(d)] = true
		for j := range 5 {
			sub := create(t, d, fmt.Sprint("sub", j), abi.S_IFDIR|0o755)
			f := create(t, sub, "file", abi.S_IFREG|0o644)
			if group(sub) != group(d) || group(f) != group(d) {
				t.Errorf("directory in group %d, one in it in group %d, its file in group %d", group(d), group(sub), group(f))
			}
			f.Unref()
			sub.Unref()
		}
		d.Unref()
	}
	if len(seen) < int(fs.groupCount)*3/4 {
		t.Errorf("%d directories at the top are in %d groups", fs.groupCount, len(seen))
	}
	// A directory with more files than a group has inodes goes on in other groups.
	d := create(t, root, "many", abi.S_IFDIR|0o755)
	for i := range 2 * fs.inodesPerGroup {
		create(t, d, fmt.Sprint(i), abi.S_IFREG|0o644).Unref()
	}
	d.Unref()
	root.Unref()
	checkSpace(t, fs)
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	fsck(t, img)
}
