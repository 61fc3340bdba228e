package ext4

import (
	"math/rand/v2"
	"testing"
	"time"

	"pinhole/abi"
	"pinhole/fs/vfs"
)

// TestBigTree makes a file of more runs than are kept in memory, in an order that leaves nodes of its tree
// half full, and frees it in two steps.
func TestBigTree(t *testing.T) {
	defer func(old int) { maxRuns = old }(maxRuns)
	maxRuns = 2000
	const count = 9000 // three levels
	for _, journal := range []string{"^has_journal", "has_journal"} {
		bigTree(t, count, journal)
	}
}

func bigTree(t *testing.T, count int, journal string) {
	fs, dev := mount(t, mkfs(t, "48M", "-b", "1024", "-O", journal, "-J", "size=4"), true, Options{FlushAfter: time.Hour})
	root := fs.Root()
	n := create(t, root, "file", abi.S_IFREG|0o644)
	rnd := rand.New(rand.NewPCG(8, 8))
	order := rnd.Perm(count)
	for len(order) > 0 {
		k := min(count/7+1, len(order))
		for _, i := range order[:k] {
			if _, _, e := n.Write(int64(i)*2048, 700, &pattern{off: int64(i) * 2048}); e != 0 {
				t.Fatal(e)
			}
		}
		order = order[k:]
		if e := n.Sync(false); e != 0 {
			t.Fatal(e)
		}
	}
	if !n.(*inode).runs.big {
		t.Fatal("all runs are in memory")
	}
	before := treeShape(t, n)
	if err := fs.sync(true); err != nil {
		t.Fatal(err)
	}
	after := treeShape(t, n)
	if want := (count + 83) / 84; before.leaves < want+20 || after.leaves > want+1 || after.entries != count {
		t.Errorf("tree of %+v became %+v, want %d leaves", before, after, want)
	}
	checkPattern(t, n, int64(count-1)*2048+700, 0, true)
	if _, _, e := n.Write(1<<30, 5000, &pattern{off: 1 << 30}); e != 0 {
		t.Fatal(e)
	}
	if e := n.(vfs.Allocator).Allocate(abi.FALLOC_FL_PUNCH_HOLE|abi.FALLOC_FL_KEEP_SIZE, 10<<20, 20<<20); e != 0 {
		t.Fatal(e)
	}
	if err := fs.sync(true); err != nil {
		t.Fatal(err)
	}
	if k := treeShape(t, n).leaves; k > after.leaves {
		t.Errorf("%d leaves after a hole was punched", k)
	}
	n.Unref()
	root.Unref()
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
	checkNothingLeft(t, fs)
	fsck(t, dev.Content())
}

// shape says how large a tree is.
type shape struct{ depth, leaves, entries int }

func treeShape(t *testing.T, n vfs.Node) shape {
	t.Helper()
	nodes, entries, err := n.(*inode).countTree()
	if err != nil {
		t.Fatal(err)
	}
	d := extNode{p: n.(*inode).d.Block[:]}.depth()
	return shape{d, nodes[d], entries[d]}
}
