package fs

import (
	"fmt"
	"sync"
	"testing"

	"pinhole/fs/vfs/vfstest"
)

// workload is a kind of steps on a kind of image.
type workload struct {
	name  string
	kind  kind
	make  func(seed uint64) vfstest.Generator
	steps int // in the ordinary run
	more  int // in the long form
	full  bool
	// clock: times are compared, too. Only where nothing depends on when things are written.
	clock bool
	// pending says what is known not to work yet; only the long form runs it.
	pending string
}

var everything = vfstest.TreeOptions{Devices: true, Users: true, Xattrs: true, Remount: true}

func trees(change func(o *vfstest.TreeOptions)) func(uint64) vfstest.Generator {
	o := everything
	if change != nil {
		change(&o)
	}
	return vfstest.NewTree(o)
}

// workloads are the single-threaded ones; in the long form a million steps together.
var workloads = []workload{
	{name: "tree", kind: stock4k, make: trees(nil), steps: 6000, more: 150000, clock: true},
	{name: "tree", kind: stock1k, make: trees(nil), steps: 6000, more: 150000, clock: true},
	{name: "tree", kind: own, make: trees(nil), steps: 4000, more: 100000, clock: true},
	{name: "tree", kind: tinyCache, make: trees(func(o *vfstest.TreeOptions) { o.Size = 2 << 20; o.Bytes = 100000 }), steps: 4000, more: 80000, clock: true},
	{name: "tree", kind: noJournal, make: trees(nil), steps: 3000, more: 80000, clock: true},
	{name: "tree", kind: noCsum, make: trees(nil), steps: 3000, more: 80000, clock: true},
	{name: "names", kind: stock1k, make: trees(func(o *vfstest.TreeOptions) { o.Large = true; o.Names = 300; o.Bytes = 2000 }), steps: 6000, more: 100000, clock: true},
	{name: "full", kind: tiny1k, make: trees(func(o *vfstest.TreeOptions) { o.Names = 60; o.Large = true; o.Hoard = true; o.Size = 1 << 20 }), steps: 5000, more: 100000, full: true},
	{name: "full", kind: tiny4k, make: trees(func(o *vfstest.TreeOptions) { o.Names = 60; o.Hoard = true; o.Size = 4 << 20; o.Bytes = 300000 }), steps: 4000, more: 80000, full: true},
	{name: "file", kind: stock4k, make: vfstest.NewFile(vfstest.FileOptions{Allocate: true, Remount: true}), steps: 4000, more: 80000, clock: true},
	{name: "file", kind: stock1k, make: vfstest.NewFile(vfstest.FileOptions{Allocate: true, Remount: true, Sparse: true}), steps: 4000, more: 80000, clock: true},
	{name: "file", kind: tinyCache, make: vfstest.NewFile(vfstest.FileOptions{Allocate: true, Remount: true, Size: 4 << 20, Bytes: 300 << 10}), steps: 2000, more: 30000, clock: true},
	{name: "file", kind: tiny1k, make: vfstest.NewFile(vfstest.FileOptions{Allocate: true, Remount: true, Hoard: true, Size: 6 << 20, Bytes: 300 << 10}), steps: 2000, more: 40000, full: true},
	{name: "mapped", kind: stock4k, make: vfstest.NewFile(vfstest.FileOptions{Allocate: true, Remount: true, Mapped: true}), steps: 4000, more: 80000},
	{name: "mapped", kind: stock1k, make: vfstest.NewFile(vfstest.FileOptions{Allocate: true, Remount: true, Mapped: true}), steps: 4000, more: 80000},
	{name: "mapped", kind: tinyCache, make: vfstest.NewFile(vfstest.FileOptions{Allocate: true, Remount: true, Mapped: true, Size: 4 << 20, Bytes: 300 << 10}), steps: 2000, more: 30000},
	{name: "mapped", kind: tiny4k, make: vfstest.NewFile(vfstest.FileOptions{Allocate: true, Remount: true, Mapped: true, Hoard: true, Size: 12 << 20, Bytes: 300 << 10}), steps: 2000, more: 40000, full: true},
}

// perSeed is how many steps are done with one seed: few enough to be shortened.
const perSeed = 10000

// TestDifferential does the same on an image and in memfs and compares every result.
func TestDifferential(t *testing.T) {
	for i, w := range workloads {
		t.Run(w.name+"/"+w.kind.name, func(t *testing.T) {
			if testing.Short() && !long && w.kind.name != "1k" && !w.full {
				t.Skip("short test")
			}
			if racing && w.name == "mapped" {
				t.Skip("stores through mappings are not synchronised, as a guest's are not")
			}
			if w.pending != "" && !long {
				t.Skip(w.pending)
			}
			seed := firstSeed() + uint64(i)*1000
			for left := amount(w.steps, w.more); left > 0 && !t.Failed(); left -= perSeed {
				w.comparison(t).Run(t, seed, min(left, perSeed))
				seed++
			}
		})
	}
}

func (w workload) comparison(t testing.TB) *vfstest.Comparison {
	c := new(clock)
	v := &vfstest.Comparison{
		A:         w.kind.subject(t, c),
		B:         vfstest.NewModel(c.timespec),
		Generator: w.make,
		Clock:     w.clock,
		Full:      w.full,
		Tick:      c.tick,
	}
	if w.kind.block != 0 {
		v.Block = w.kind.block
	}
	return v
}

// TestThreads runs several comparisons at once on one image, each in a directory of its own, and
// besides them processes that fight over the same names.
func TestThreads(t *testing.T) {
	for _, k := range []kind{stock4k, tinyCache, noJournal} {
		t.Run(k.name, func(t *testing.T) {
			if testing.Short() && !long && k.name != "tinycache" {
				t.Skip("short test")
			}
			rounds := amount(1, 8)
			for seed := firstSeed(); rounds > 0 && !t.Failed(); rounds-- {
				threads(t, k, seed, amount(3000, 12000))
				seed += 10
			}
		})
	}
}

func threads(t *testing.T, k kind, seed uint64, steps int) {
	k.size = "192M"
	k.name += "-large"
	inst, err := k.subject(t, nil)()
	if err != nil {
		t.Fatal(err)
	}
	root, err := inst.Start()
	if err != nil {
		t.Fatal(err)
	}
	makers := []func(uint64) vfstest.Generator{
		trees(func(o *vfstest.TreeOptions) { o.Remount = false }),
		vfstest.NewFile(vfstest.FileOptions{Allocate: true, Size: 1 << 20}),
		trees(func(o *vfstest.TreeOptions) { o.Remount = false; o.Large = true }),
		vfstest.NewFile(vfstest.FileOptions{Allocate: true, Sparse: true}),
	}
	var wg sync.WaitGroup
	for i, make := range makers {
		dir := fmt.Sprintf("w%d", i)
		if e := root.Mkdir(dir, 0o755); e != 0 {
			t.Fatalf("mkdir %s: %s", dir, e.String())
		}
		c := &vfstest.Comparison{
			A:         func() (vfstest.Instance, error) { return within{root, dir}, nil },
			B:         vfstest.NewModel(nil),
			Generator: make,
			Block:     k.block,
			// A sequence alone does not show what came of the others.
			Whole: true,
		}
		wg.Go(func() { c.Run(t, seed+uint64(i), steps) })
	}
	for i := range 2 {
		s := root.Fork()
		wg.Go(func() {
			defer s.Close()
			vfstest.Fight(t, s, seed+uint64(i), steps)
		})
	}
	wg.Wait()
	vfstest.CheckTree(t, root)
	before := dump(t, root)
	root.Close()
	if err := inst.Remount(); err != nil {
		t.Fatal(err)
	}
	if root, err = inst.Start(); err != nil {
		t.Fatal(err)
	}
	same(t, "after a remount", dump(t, root), before)
	root.Close()
	if err := inst.Close(); err != nil {
		t.Error(err)
	}
}

// within is a directory of a file system that others use, too.
type within struct {
	root vfstest.System
	dir  string
}

// Start implements vfstest.Instance.
func (w within) Start() (vfstest.System, error) {
	s := w.root.Fork()
	if e := s.Jail(w.dir); e != 0 {
		return nil, fmt.Errorf("chroot %s: %s", w.dir, e.String())
	}
	return s, nil
}

func (within) Remount() error { return nil }
func (within) Close() error   { return nil }

// dump lists a tree with all its times.
func dump(t testing.TB, s vfstest.System) []string {
	t.Helper()
	list, e := vfstest.Dump(s, true)
	if e != 0 {
		t.Fatalf("reading the tree: %s", e.String())
	}
	return list
}

// same fails the test if two lists differ.
func same(t testing.TB, what string, got, want []string) {
	t.Helper()
	if err := vfstest.DifferList(got, want); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}
