package ext4

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// TestTreeReserve enters as many extents as were expected, in orders that are hard on trees of several
// shapes. What was reserved at first must be enough until the last one, and what is reserved must never be
// less than what the next one may take.
func TestTreeReserve(t *testing.T) {
	const far = 1 << 12 // blocks between those that are there at first
	rnd := rand.New(rand.NewPCG(3, 4))
	orders := map[string]func(i, had, count int) int{
		"random":     func(_, had, _ int) int { return 2 * rnd.IntN(had*far/2) },
		"ascending":  func(i, had, _ int) int { return had*far + 2*i },
		"descending": func(i, had, count int) int { return had*far + 2*(count-i) },
		"each leaf":  func(i, had, _ int) int { return i*84%had*far + 2 + 2*(i*84/had) },
		"one leaf":   func(i, had, count int) int { return had/2*far + 2*(count-i) },
		"two ends":   func(i, had, count int) int { return i%2*(had-2)*far + 2 + 2*i },
	}
	for _, bs := range []string{"1024", "2048", "4096"} {
		fs, _ := mount(t, mkfs(t, "64M", "-b", bs), true, Options{})
		root := fs.Root()
		for name, next := range orders {
			for _, had := range []int{2, 4, 30, 84 * 4, 84 * 30} {
				for _, count := range []int{1, 2, 5, 100, 1500} {
					if bs != "1024" && (had+count)%4 != 0 {
						continue // the shapes are the same; a sample will do
					}
					t.Run(fmt.Sprint(bs, "/", name, "/", had, "+", count), func(t *testing.T) {
						node, e := root.Create(fmt.Sprint(name, had, count), &vfs.NewNode{Mode: abi.S_IFREG | 0o600})
						if e != 0 {
							t.Fatal(e)
						}
						n := node.(*inode)
						if err := n.loadRuns(); err != nil {
							t.Fatal(err)
						}
						enter := func(block int) {
							h, err := fs.begin(30)
							if err != nil {
								t.Fatal(err)
							}
							defer h.end()
							if err := h.inode(n); err != nil {
								t.Fatal(err)
							}
							need, err := n.pathNeed(uint32(block), 1)
							if err != nil {
								t.Fatal(err)
							}
							if n.space.claimed == 0 {
								if err := n.raiseTree(0, need); err != nil {
									t.Fatal(err)
								}
							} else if int64(need) > n.space.tree {
								t.Fatalf("%d blocks are reserved, %d needed, with %d extents to come", n.space.tree, need, n.space.claimed)
							}
							var pool blockPool
							if err := pool.fill(h, n, need); err != nil {
								t.Fatal(err)
							}
							// Nothing joins, since only every other block is there.
							if err := n.insertRun(h, run{uint32(block), 1, fs.blocks - 1}, &pool); err != nil {
								t.Fatalf("block %d: %v", block, err)
							}
							pool.drain(h)
							if n.space.claimed > 0 {
								n.space.claimed--
							}
							n.settleTree()
						}
						n.mu.Lock()
						defer n.mu.Unlock()
						for i := range had {
							enter(i * far)
						}
						free := fs.freeSpace.Load()
						n.space.claimed = int64(count)
						if err := n.raiseTree(0, 0); err != nil {
							t.Fatal(err)
						}
						reserved := n.space.tree
						taken := make(map[int]bool)
						for i := range count {
							block := next(i, had, count)
							for block%far == 0 || taken[block] {
								block += 2
							}
							taken[block] = true
							enter(block)
						}
						if n.space.tree != 0 {
							t.Errorf("%d blocks are reserved for nothing", n.space.tree)
						}
						if used := free - fs.freeSpace.Load(); used > reserved {
							t.Errorf("the tree has taken %d blocks, of %d", used, reserved)
						}
					})
				}
			}
		}
	}
}

// TestTreeBound says what the reserve costs where the tree is low, and that it does not shrink by
// cutting.
func TestTreeBound(t *testing.T) {
	for _, c := range []struct {
		depth         int
		entries       int64
		size, extents int64
		want          int64
	}{
		{0, 0, 340, 4, 0},
		{0, 0, 340, 5, 1},
		{0, 4, 340, 1, 1},
		{0, 1, 340, 10000, 121},
		{0, 1, 84, 10000, 514},
		{1, 1, 340, 1, 1},
		{1, 4, 340, 1, 2},
		{1, 4, 340, 100, 7},
		{2, 1, 340, 100, 103},
		{2, 1, 340, 10000, 467},
	} {
		if got := treeBound(c.depth, c.entries, c.size, c.extents); got != c.want {
			t.Errorf("treeBound(%d, %d, %d, %d) = %d, want %d", c.depth, c.entries, c.size, c.extents, got, c.want)
		}
	}
	for _, size := range []int64{84, 169, 340, 5460} {
		for x := int64(1); x < 3000; x += 1 + x/7 {
			last := int64(0)
			for depth := range 5 {
				for entries := int64(min(depth, 1)); entries <= 4; entries++ {
					// A root that takes the entries of its children up has up to four.
					got := treeBound(depth, entries, size, x)
					if depth > 0 && entries == 1 {
						last = treeBound(depth-1, 4, size, x)
					}
					if got < last {
						t.Errorf("%d extents, nodes of %d: depth %d with %d entries needs %d, what it can be cut from %d", x, size, depth, entries, got, last)
					}
					last = got
				}
			}
		}
	}
}
