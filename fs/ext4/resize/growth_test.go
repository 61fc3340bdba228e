package resize_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4"
	"pinhole/fs/ext4/check"
	"pinhole/fs/ext4/resize"
)

// TestGrow: growing in place gives what Resize gives, or says that it cannot.
func TestGrow(t *testing.T) {
	inPlace := 0
	for kind, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(uint64(kind), 7))
			path := makeImage(t, kind, rnd, 0.3)
			want := contents(t, path)
			for range 2 {
				f, dev := open(t, path)
				before, err := resize.SizeOf(dev)
				if err != nil {
					t.Fatal(err)
				}
				blocks := before.Blocks + uint64(k.start/k.bs) + uint64(rnd.IntN(5000))
				if err := f.Truncate(int64(blocks) * k.bs); err != nil {
					t.Fatal(err)
				}
				f.Close()
				f, dev = open(t, path)
				g, err := resize.Grow(dev, blocks, resize.Options{Zeroed: true})
				if errors.Is(err, resize.ErrInPlace) {
					t.Logf("from %d to %d: %v", before.Blocks, blocks, err)
				} else if err != nil {
					t.Fatal(err)
				} else {
					inPlace++
					if r, err := check.Run(g.Device(), check.Options{}); err != nil || !r.Clean() {
						t.Fatalf("before the commit: %v, %v", err, r.Err())
					}
				}
				f.Close()
				// Until now, nothing has changed.
				fsck(t, path)
				if d := cmp.Diff(want, contents(t, path)); d != "" {
					t.Fatalf("content differs before the commit (-want +got):\n%s", d)
				}
				if err != nil {
					return
				}
				if err := g.Commit(); err == nil {
					t.Fatal("the device is closed, but the commit works")
				}
				f, dev = open(t, path)
				if g, err = resize.Grow(dev, blocks, resize.Options{Zeroed: true}); err != nil {
					t.Fatal(err)
				}
				if err := g.Commit(); err != nil {
					t.Fatal(err)
				}
				f.Close()
				fsck(t, path)
				if d := cmp.Diff(want, contents(t, path)); d != "" {
					t.Fatalf("content differs (-want +got):\n%s", d)
				}
				f, dev = open(t, path)
				if now, err := resize.SizeOf(dev); err != nil || now != g.Size() || now.Blocks <= before.Blocks {
					t.Fatalf("%d blocks, should be %d: %v", now.Blocks, g.Size().Blocks, err)
				}
				f.Close()
			}
		})
	}
	if inPlace < 4 {
		t.Errorf("%d file systems could grow in place", inPlace)
	}
}

// TestGrowCrash: whenever the power fails, the file system has either size, and all of its files.
func TestGrowCrash(t *testing.T) {
	total := 40
	switch {
	case os.Getenv("PINHOLE_LONG") != "":
		total = 0
	case testing.Short():
		total = 20
	}
	for _, kind := range []int{0, 1} {
		k := kinds[kind]
		t.Run(k.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(uint64(kind), 8))
			path := makeImage(t, kind, rnd, 0.2)
			want := contents(t, path)
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			old := uint64(len(raw)) / uint64(k.bs)
			blocks := old + uint64(k.start/k.bs)*3
			img := faultdev.NewZeroImage(int64(blocks) * k.bs)
			img.WriteAt(raw, 0)
			base := img.Clone()
			dev := faultdev.NewOn(img)
			dev.RecordFrom()
			g, err := resize.Grow(dev, blocks, resize.Options{Zeroed: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Commit(); err != nil {
				t.Fatal(err)
			}
			// The superblock is written whole, or nothing of the file system would survive.
			c := faultdev.Crashes{Base: base, Events: dev.Events(), Seed: 1, PerWindow: 200, Total: total, Whole: [][2]int64{{1024, 2048}}}
			if total == 0 {
				c.PerWindow = 1000
			}
			sizes := make(map[uint64]int)
			states := 0
			for s := range c.States() {
				states++
				r, err := check.Run(faultdev.NewOn(s.Image), check.Options{Replay: true})
				if err == nil {
					err = r.Err()
				}
				if err != nil {
					t.Fatalf("state %s: %v", s.ID, err)
				}
				sizes[r.Blocks]++
				if states%5 != 0 {
					continue
				}
				for _, replay := range []func(t *testing.T, path string){remount, fsckReplay} {
					crashed := filepath.Join(t.TempDir(), "crashed")
					if err := dump(s.Image, crashed); err != nil {
						t.Fatal(err)
					}
					replay(t, crashed)
					fsck(t, crashed)
					if d := cmp.Diff(want, contents(t, crashed)); d != "" {
						t.Fatalf("state %s: content differs (-want +got):\n%s", s.ID, d)
					}
					os.Remove(crashed)
				}
			}
			t.Logf("%d events, %d states; of so many blocks: %v", len(c.Events), states, sizes)
			if sizes[old] == 0 || sizes[g.Size().Blocks] == 0 || len(sizes) != 2 {
				t.Errorf("sizes after a crash: %v, should be %d and %d", sizes, old, g.Size().Blocks)
			}
		})
	}
}

// remount replays the journal with our mount, fsckReplay with e2fsck.
func remount(t *testing.T, path string) {
	f, dev := open(t, path)
	defer f.Close()
	fs, err := ext4.Mount(dev, ext4.Options{NoAtime: true})
	if err != nil {
		t.Fatal(err)
	}
	if e := fs.Unmount(); e != 0 {
		t.Fatal(e)
	}
}

func fsckReplay(t *testing.T, path string) {
	out, err := exec.Command(tool(t, "e2fsck"), "-y", "-E", "journal_only", path).CombinedOutput()
	if x := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &x) || x.ExitCode() > 1) {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
}

// dump writes an image to a sparse file.
func dump(m *faultdev.Image, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(m.Size()); err != nil {
		return err
	}
	return m.Pages(nil, func(off int64, data []byte) error {
		_, err := f.WriteAt(data, off)
		return err
	})
}

// TestGrowFails: whichever write or flush fails, the file system has either size.
func TestGrowFails(t *testing.T) {
	path := makeImage(t, 1, rand.New(rand.NewPCG(1, 9)), 0.1)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	blocks := 2 * uint64(len(raw)) / uint64(kinds[1].bs)
	broken := errors.New("broken")
	failed := 0
	for n := 0; ; n++ {
		img := faultdev.NewZeroImage(int64(blocks) * kinds[1].bs)
		img.WriteAt(raw, 0)
		dev := faultdev.NewOn(img)
		at := 0
		dev.Fail = func(op faultdev.Op, off int64, k int) error {
			if op == faultdev.Read {
				return nil
			}
			if at++; at > n {
				return broken
			}
			return nil
		}
		g, err := resize.Grow(dev, blocks, resize.Options{Zeroed: true})
		if err == nil {
			err = g.Commit()
		}
		if err == nil {
			break
		}
		failed++
		if !errors.Is(err, broken) {
			t.Fatalf("write %d fails: %v", n, err)
		}
		r, err := check.Run(faultdev.NewOn(img), check.Options{Replay: true})
		if err == nil {
			err = r.Err()
		}
		if err != nil {
			t.Fatalf("write %d fails: %v", n, err)
		}
	}
	if failed < 10 {
		t.Errorf("%d writes failed", failed)
	}
}
