package fs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"pinhole/blockdev/faultdev"
	"pinhole/fs/ext4"
	"pinhole/fs/vfs/vfstest"
	"pinhole/tests/harness"
	"pinhole/tests/harness/hostfs"
)

// errNoMount says that this host or user cannot mount images.
var errNoMount = errors.New("no loop mounts here")

// canMount tries once whether the host can mount images.
var canMount = sync.OnceValue(func() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: not root", errNoMount)
	}
	dir, err := os.MkdirTemp("", "pinhole-loop-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	img := filepath.Join(dir, "image")
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", img, "1M").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %v: %s", errNoMount, err, out)
	}
	if err := loopMount(img, dir, "ro"); err != nil {
		return fmt.Errorf("%w: %v", errNoMount, err)
	}
	return harness.Unmount(dir)
})

func loopMount(img, dir, opts string) error {
	out, err := exec.Command("mount", "-t", "ext4", "-o", "loop,"+opts, img, dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mount: %v: %s", err, out)
	}
	return nil
}

// remountReadOnly makes what loopMount has mounted at dir read-only.
func remountReadOnly(dir string) error {
	out, err := exec.Command("mount", "-o", "remount,ro", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("remount read-only: %v: %s", err, out)
	}
	return nil
}

// hostReads fails unless the host, which mounts the image, reads the same tree as we do.
func hostReads(t testing.TB, img []byte) error {
	if canMount() != nil {
		return nil
	}
	fs, err := ext4.Mount(faultdev.Mapped{Device: faultdev.New(img)}, ext4.Options{ReadOnly: true, CacheBytes: 8 << 20})
	if err != nil {
		return fmt.Errorf("mount for reading: %v", err)
	}
	inst := vfstest.NewMounted(fs, nil, nil)
	s, err := inst.Start()
	if err != nil {
		return err
	}
	ours, e := vfstest.Dump(s, true)
	s.Close()
	if e != 0 {
		return fmt.Errorf("reading the tree: %s", e.String())
	}
	if err := inst.Close(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "pinhole-read-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "image")
	if err := save(path, img); err != nil {
		return err
	}
	at := filepath.Join(dir, "at")
	if err := os.Mkdir(at, 0o700); err != nil {
		return err
	}
	if err := loopMount(path, at, "ro"); err != nil {
		return fmt.Errorf("the host does not mount it: %v", err)
	}
	defer harness.Unmount(at)
	h, err := hostfs.Start(filepath.Join(at, vfstest.JailDir))
	if err != nil {
		return err
	}
	theirs, e := vfstest.Dump(h, true)
	h.Close()
	if e != 0 {
		return fmt.Errorf("the host cannot read the tree: %s", e.String())
	}
	if err := vfstest.DifferList(theirs, ours); err != nil {
		return fmt.Errorf("what the host reads: %v", err)
	}
	return nil
}

// hostExt4 is an instance of the host's own ext4.
type hostExt4 struct {
	t       testing.TB
	dir     string // of the image, and of the mount
	mounted bool
}

// newHostExt4 makes a file system of the host's on an image that stock mkfs.ext4 makes.
func newHostExt4(t testing.TB, k kind) func() (vfstest.Instance, error) {
	return func() (vfstest.Instance, error) {
		dir, err := os.MkdirTemp("", "pinhole-host-")
		if err != nil {
			return nil, err
		}
		h := &hostExt4{t: t, dir: dir}
		t.Cleanup(func() {
			if h.mounted {
				harness.Unmount(h.root())
			}
			os.RemoveAll(dir)
		})
		if err := save(h.image(), k.image(t)); err != nil {
			return nil, err
		}
		if err := os.Mkdir(h.root(), 0o755); err != nil {
			return nil, err
		}
		return h, h.mount()
	}
}

func (h *hostExt4) image() string { return filepath.Join(h.dir, "image") }
func (h *hostExt4) root() string  { return filepath.Join(h.dir, "at") }

func (h *hostExt4) mount() error {
	err := loopMount(h.image(), h.root(), "rw")
	h.mounted = err == nil
	return err
}

func (h *hostExt4) Start() (vfstest.System, error) {
	s, err := hostfs.Start(h.root())
	if err != nil {
		return nil, err
	}
	s.Mkdir(vfstest.JailDir, 0o755)
	if e := s.Jail(vfstest.JailDir); e != 0 {
		return nil, fmt.Errorf("chroot: %s", e.String())
	}
	return s, nil
}

func (h *hostExt4) Remount() error {
	if err := harness.Unmount(h.root()); err != nil {
		return err
	}
	h.mounted = false
	return h.mount()
}

func (h *hostExt4) Close() error {
	defer os.RemoveAll(h.dir)
	if err := harness.Unmount(h.root()); err != nil {
		return err
	}
	h.mounted = false
	return nil
}

// TestHost does the same on an image of ours and on one that the host has mounted.
func TestHost(t *testing.T) {
	if err := canMount(); err != nil {
		t.Skipf("the host's ext4 is not to be had: %v", err)
	}
	harness.Tool(t, "mkfs.ext4", "e2fsprogs")
	tree := func(change func(*vfstest.TreeOptions)) func(uint64) vfstest.Generator {
		// Nobody but root: the host's protected_* settings would have a say.
		return trees(func(o *vfstest.TreeOptions) {
			o.Users = false
			if change != nil {
				change(o)
			}
		})
	}
	for i, w := range []workload{
		{name: "tree", kind: stock4k, make: tree(nil), steps: 4000, more: 40000},
		{name: "tree", kind: stock1k, make: tree(nil), steps: 4000, more: 40000},
		{name: "names", kind: stock1k, make: tree(func(o *vfstest.TreeOptions) { o.Large = true; o.Names = 300; o.Bytes = 2000 }), steps: 4000, more: 40000},
		{name: "file", kind: stock4k, make: vfstest.NewFile(vfstest.FileOptions{Allocate: true, Remount: true}), steps: 3000, more: 40000},
		{name: "file", kind: stock1k, make: vfstest.NewFile(vfstest.FileOptions{Allocate: true, Sparse: true, Remount: true}), steps: 3000, more: 40000},
	} {
		t.Run(w.name+"/"+w.kind.name, func(t *testing.T) {
			if testing.Short() && !long && w.kind.name != "1k" {
				t.Skip("short test")
			}
			seed := firstSeed() + 100000 + uint64(i)*1000
			for left := amount(w.steps, w.more); left > 0 && !t.Failed(); left -= perSeed {
				c := w.comparison(t)
				c.B, c.Clock, c.Block = newHostExt4(t, w.kind), false, 0
				// Linux takes what lies unwritten under a page in memory for data, in part.
				c.OwnHoles = true
				c.Run(t, seed, min(left, perSeed))
				seed++
			}
		})
	}
}
